//! `system.catalogs`, `schemas`, `tables`, `columns`, `secrets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use maru_connect::{SourceTable, TableEntry, TableKind};
use maru_core::{OptionKind, Result, limits};

use super::ColumnKind::{Boolean, Integer, Text};
use super::{
    Hints, INFORMATION_SCHEMA, Row, SYSTEM, TableSpec, VIRTUAL_SCHEMAS, boolean,
    information_schema, integer, text, text_or_null, types,
};
use crate::access::{Columns, Object, Privilege};
use crate::catalog::definition::Definition;
use crate::catalog::{Attached, BUILTIN};
use crate::session::{Session, is_temporary_schema};
use crate::store::RelationKind;

/// Tables opened at the same time while columns are listed.
const OPENED_AT_ONCE: usize = 8;

pub(super) static CATALOGS: TableSpec = TableSpec {
    name: "catalogs",
    doc: "Attached catalogs; options that are secret are stars.",
    columns: &[
        ("name", Text),
        ("connector", Text),
        ("state", Text),
        ("options", Text),
        ("comment", Text),
    ],
    rows: |session, _| async { Ok(catalogs(session)) }.boxed(),
};

pub(super) static SCHEMAS: TableSpec = TableSpec {
    name: "schemas",
    doc: "Schemas of all catalogs.",
    columns: &[("catalog", Text), ("name", Text), ("comment", Text), ("owner", Text)],
    rows: schemas,
};

pub(super) static TABLES: TableSpec = TableSpec {
    name: "tables",
    doc: "Tables and views of all catalogs, as the sources list them now; the definition of a view is told to those who own it.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("name", Text),
        ("kind", Text),
        ("comment", Text),
        ("owner", Text),
        ("writable", Boolean),
        ("definition", Text),
        ("row_security", Boolean),
    ],
    rows: tables,
};

pub(super) static COLUMNS: TableSpec = TableSpec {
    name: "columns",
    doc: "Columns of tables and views; give catalog and schema to keep other sources from being asked.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
        ("name", Text),
        ("position", Integer),
        ("type", Text),
        ("nullable", Boolean),
        ("comment", Text),
        ("default", Text),
    ],
    rows: columns,
};

pub(super) static SECRETS: TableSpec = TableSpec {
    name: "secrets",
    doc: "Secrets by name, with the names of their options and never a value.",
    columns: &[("name", Text), ("options", Text), ("comment", Text)],
    rows: |session, _| {
        async {
            let secrets = session.engine().inner.store.secrets().await?;
            let rights = session.rights();
            Ok(secrets
                .into_iter()
                .filter(|secret| rights.sees(&Object::secret(&secret.name)))
                .map(|secret| {
                    let names = secret.options.keys().cloned().collect::<Vec<_>>().join(", ");
                    vec![text(secret.name), text(names), text_or_null(secret.comment)]
                })
                .collect())
        }
        .boxed()
    },
};

fn catalogs(session: &Arc<Session>) -> Vec<Row> {
    let rights = session.rights();
    let all = session.catalogs().shown_to(&rights);
    all.iter()
        .map(|attached| {
            // Where the source is is its owner's business.
            let owns = rights.owns(&Object::catalog(&attached.name));
            let options = attached
                .options
                .iter()
                .map(|(name, value)| format!("{name} = {}", maru_core::quote_literal(value)))
                .collect::<Vec<_>>();
            vec![
                text(attached.name.as_str()),
                text(attached.connector),
                text(attached.state()),
                text_or_null(owns.then(|| options.join(", "))),
                text_or_null(attached.comment.read().clone()),
            ]
        })
        .collect()
}

/// Returns whether an option must not be shown; one that the connector does not know is not.
pub(super) fn is_secret(connector: &str, option: &str) -> bool {
    let Ok(connector) = crate::registry::require_connector(connector) else { return true };
    let known = connector.spec().options.iter().find(|o| o.name.eq_ignore_ascii_case(option));
    option != "secret" && known.is_none_or(|option| option.kind == OptionKind::Secret)
}

/// A catalog that fails is left out of lists over all catalogs, and is an error where it was asked for by name.
pub(super) fn tolerate<T: Default>(
    attached: &Attached,
    hints: &Hints,
    result: Result<T>,
) -> Result<T> {
    match result {
        Err(error) if hints.catalog.is_none() => {
            tracing::debug!(catalog = %attached.name, error = %error, "left out of a listing");
            Ok(T::default())
        }
        other => other,
    }
}

pub(super) async fn schema_names(
    session: &Arc<Session>,
    attached: &Attached,
    hints: &Hints,
) -> Result<Vec<String>> {
    let mut names = tolerate(attached, hints, attached.schemas().await)?;
    let rights = session.rights();
    names.retain(|name| rights.sees(&Object::schema(&attached.name, name)));
    // Temporary relations are their session's alone.
    let own = session.temporary_schema();
    names.retain(|name| !is_temporary_schema(name) || *name == own);
    names.push(INFORMATION_SCHEMA.to_owned());
    if attached.name == BUILTIN {
        names.push(SYSTEM.to_owned());
    }
    names.retain(|name| hints.allows_schema(name));
    Ok(names)
}

pub(super) async fn entries(
    session: &Arc<Session>,
    attached: &Attached,
    schema: &str,
    hints: &Hints,
) -> Result<Vec<TableEntry>> {
    let virtual_entry = |name: &str, comment: Option<&str>| TableEntry {
        name: name.to_owned(),
        kind: TableKind::View,
        comment: comment.map(str::to_owned),
    };
    match schema {
        SYSTEM => Ok(super::TABLES
            .iter()
            .map(|table| TableEntry {
                kind: TableKind::Table,
                ..virtual_entry(table.name(), Some(table.doc))
            })
            .collect()),
        INFORMATION_SCHEMA => {
            Ok(information_schema::names().map(|name| virtual_entry(name, None)).collect())
        }
        _ => {
            let mut entries = tolerate(attached, hints, attached.tables(schema).await)?;
            let rights = session.rights();
            entries.retain(|e| rights.sees(&Object::table(&attached.name, schema, &e.name)));
            Ok(entries)
        }
    }
}

pub(super) fn wanted_catalogs(session: &Arc<Session>, hints: &Hints) -> Vec<Arc<Attached>> {
    let rights = session.rights();
    let mut all = session.catalogs().shown_to(&rights);
    all.retain(|attached| hints.allows_catalog(&attached.name));
    all
}

/// Remarks made by COMMENT ON: `(catalog, schema, object, column, text)`.
struct Remarks(Vec<[String; 5]>);

impl Remarks {
    async fn read(session: &Arc<Session>) -> Result<Self> {
        Ok(Self(session.engine().inner.store.comments().await?))
    }

    fn find(&self, place: [&str; 4]) -> Option<String> {
        self.0.iter().find(|remark| remark[..4].iter().eq(place.iter())).map(|r| r[4].clone())
    }
}

fn schemas<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let remarks = Remarks::read(session).await?;
        let stored = session.engine().inner.store.schemas().await?;
        let rights = session.rights();
        let mut rows = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            for name in schema_names(session, &attached, hints).await? {
                let comment = remarks.find([&attached.name, &name, "", ""]).or_else(|| {
                    let own = attached.name == BUILTIN;
                    let found = stored.iter().find(|(schema, _)| own && *schema == name);
                    found.and_then(|(_, comment)| comment.clone())
                });
                let owner = rights.rules().owner(&Object::schema(&attached.name, &name)).to_owned();
                rows.push(vec![
                    text(attached.name.as_str()),
                    text(name),
                    text_or_null(comment),
                    text(owner),
                ]);
            }
        }
        Ok(rows)
    }
    .boxed()
}

/// Which relations of a catalog take rows, and what its views are made of.
struct Written {
    /// Whether the connector writes, and was not told to leave it.
    writes: bool,
    /// Of the built-in catalog, by schema and name: whether it takes rows, and the query of a view.
    own: BTreeMap<(String, String), (bool, Option<String>)>,
}

impl Written {
    async fn new(session: &Arc<Session>, attached: &Attached) -> Result<Self> {
        if attached.name == BUILTIN {
            let relations = session.engine().inner.store.relations().await?.into_iter();
            let own = relations.map(|relation| {
                let takes_rows = relation.kind == RelationKind::Table;
                let query = match Definition::decode(&relation.definition) {
                    Ok(Definition::View(view)) => Some(view.sql),
                    _ => None,
                };
                ((relation.schema, relation.name), (takes_rows, query))
            });
            return Ok(Self { writes: true, own: own.collect() });
        }
        let connector = crate::registry::require_connector(attached.connector)?;
        let read_only = attached.options.get("read_only").is_some_and(|option| option == "true");
        let writes = connector.spec().capabilities.write && !read_only;
        Ok(Self { writes, own: BTreeMap::new() })
    }

    fn find(&self, schema: &str, name: &str) -> Option<&(bool, Option<String>)> {
        self.own.get(&(schema.to_owned(), name.to_owned()))
    }

    fn takes_rows(&self, schema: &str, entry: &TableEntry) -> bool {
        let own = self.find(schema, &entry.name).is_none_or(|(takes_rows, _)| *takes_rows);
        let made = VIRTUAL_SCHEMAS.contains(&schema) || entry.kind == TableKind::View;
        self.writes && own && !made
    }

    fn view(&self, schema: &str, name: &str) -> Option<&str> {
        self.find(schema, name).and_then(|(_, query)| query.as_deref())
    }
}

fn tables<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let remarks = Remarks::read(session).await?;
        let rights = session.rights();
        let mut rows = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            let written = Written::new(session, &attached).await?;
            for schema in schema_names(session, &attached, hints).await? {
                for entry in entries(session, &attached, &schema, hints).await? {
                    let comment = remarks.find([&attached.name, &schema, &entry.name, ""]);
                    let object = Object::table(&attached.name, &schema, &entry.name);
                    let writable = written.takes_rows(&schema, &entry);
                    let owns = rights.owns(&object);
                    let definition = written.view(&schema, &entry.name).filter(|_| owns);
                    let definition = definition.map(str::to_owned);
                    rows.push(vec![
                        text(attached.name.as_str()),
                        text(schema.as_str()),
                        text(entry.name),
                        text(match entry.kind {
                            TableKind::Table => "table",
                            TableKind::View => "view",
                        }),
                        text_or_null(comment.or(entry.comment)),
                        text(rights.rules().owner(&object)),
                        boolean(writable),
                        text_or_null(definition),
                        boolean(rights.rules().row_security.contains_key(&object)),
                    ]);
                }
            }
        }
        Ok(rows)
    }
    .boxed()
}

fn columns<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let remarks = Remarks::read(session).await?;
        let mut places = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            for schema in schema_names(session, &attached, hints).await? {
                let names = entries(session, &attached, &schema, hints).await?.into_iter();
                let names = names
                    .map(|entry| entry.name)
                    .filter(|name| hints.table.as_deref().is_none_or(|wanted| wanted == name))
                    .take(limits::METADATA_TABLES_MAX);
                places.extend(names.map(|name| (Arc::clone(&attached), schema.clone(), name)));
            }
        }
        let opened = futures::stream::iter(places)
            .map(|(attached, schema, name)| async move {
                let columns = table_columns(session, &attached, &schema, &name).await;
                let columns = match hints.table {
                    Some(_) => columns?,
                    None => tolerate(&attached, &Hints::default(), columns)?,
                };
                Ok::<_, maru_core::Error>((attached, schema, name, columns))
            })
            .buffered(OPENED_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let mut rows = Vec::new();
        for (attached, schema, table, columns) in opened {
            for (position, column) in columns.into_iter().enumerate() {
                let (name, data_type, nullable, default) = column;
                let comment = remarks.find([&attached.name, &schema, &table, &name]);
                rows.push(vec![
                    text(attached.name.as_str()),
                    text(schema.as_str()),
                    text(table.as_str()),
                    text(name),
                    integer(i64::try_from(position).unwrap_or_default() + 1),
                    text(data_type),
                    boolean(nullable),
                    text_or_null(comment),
                    text_or_null(default),
                ]);
            }
        }
        Ok(rows)
    }
    .boxed()
}

/// Returns name, type, nullability and default of a table's columns.
async fn table_columns(
    session: &Arc<Session>,
    attached: &Attached,
    place: &str,
    name: &str,
) -> Result<Vec<(String, String, bool, Option<String>)>> {
    let mut defaults = Vec::new();
    let schema = match place {
        SYSTEM => super::TABLES.iter().find(|table| table.name() == name).map(|t| t.schema()),
        INFORMATION_SCHEMA => match information_schema::query(&attached.name, name) {
            Some(sql) => {
                let plan = Box::pin(session.plan_view(&sql, None)).await?;
                Some(Arc::new(plan.schema().as_arrow().clone()))
            }
            None => None,
        },
        _ => {
            let table = attached.table(place, name).await?;
            if let Some(SourceTable::Files(files)) = &table {
                defaults = files.files.defaults();
            }
            table.map(|table| table.declared_schema())
        }
    };
    let Some(fields) = schema.map(|schema| schema.fields().clone()) else { return Ok(Vec::new()) };
    let columns = match VIRTUAL_SCHEMAS.contains(&place) {
        true => Some(Columns::All),
        false => {
            let object = Object::table(&attached.name, place, name);
            session.rights().columns(Privilege::Select, &object)
        }
    };
    Ok(fields
        .iter()
        .filter(|field| match &columns {
            Some(Columns::Some(columns)) => columns.contains(field.name()),
            Some(Columns::All) | None => true,
        })
        .map(|field| {
            let default = defaults.iter().find(|(name, _)| name == field.name());
            let default = default.map(|(_, value)| value.clone());
            let data_type = types::sql_name(field.data_type());
            (field.name().clone(), data_type, field.is_nullable(), default)
        })
        .collect())
}
