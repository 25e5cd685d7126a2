//! What one session sees of the catalogs, and what it is told about names that are not there.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use maru_connect::{FederatedTable, SourceTable};
use maru_core::{Error, ErrorKind, Result, did_you_mean};

use super::builtin::open_path;
use super::definition::Definition;
use super::{Attached, BUILTIN, pg_catalog, version};
use crate::access::{Columns, Object, Privilege, Rights};
use crate::session::{Session, as_owner, as_owner_for, is_under_policies, stand_in};
use crate::system;

/// The schema that unqualified names are given: looked up along the session's search path.
pub const SEARCH_PATH: &str = "<search path>";

/// What a session calls the schema of its temporary relations.
pub const TEMPORARY: &str = "pg_temp";

/// The schema of `catalog.query('…')`: the name of a table in it is a query in the source's own language.
pub const NATIVE_QUERY: &str = "<query>";

/// The schema of `FROM 's3://…'`: the name of a table in it is a path, or a pattern of paths.
pub const FILES: &str = "<files>";

/// DataFusion's view of the catalogs for one session. Names are checked by [`require_table`] beforehand, so a schema
/// that does not exist only has to answer "no such table" here.
pub struct SessionCatalogs(pub Weak<Session>);

impl fmt::Debug for SessionCatalogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionCatalogs")
    }
}

impl CatalogProviderList for SessionCatalogs {
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        let session = self.0.upgrade();
        session.map_or_else(Vec::new, |session| {
            let rights = session.rights();
            let all = session.catalogs().shown_to(&rights);
            all.into_iter().map(|attached| attached.name.clone()).collect()
        })
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let session = self.0.upgrade()?;
        let attached = session.require_catalog(name).ok()?;
        Some(Arc::new(CatalogView { session: Weak::clone(&self.0), attached }))
    }
}

#[derive(Debug)]
struct CatalogView {
    session: Weak<Session>,
    attached: Arc<Attached>,
}

impl CatalogProvider for CatalogView {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(SchemaView {
            session: Weak::clone(&self.session),
            attached: Arc::clone(&self.attached),
            schema: name.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct SchemaView {
    session: Weak<Session>,
    attached: Arc<Attached>,
    schema: String,
}

#[async_trait]
impl SchemaProvider for SchemaView {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let session = self.session.upgrade().ok_or_else(session_gone)?;
        Ok(find(&session, &self.attached, &self.schema, name).await?)
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }
}

/// Finds a table for a session, as a table of the engine, as far as it may be read.
async fn find(
    session: &Arc<Session>,
    attached: &Arc<Attached>,
    schema: &str,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>> {
    if schema == TEMPORARY {
        let builtin = session.require_catalog(BUILTIN)?;
        return find_in(session, &builtin, &session.temporary_schema(), name).await;
    }
    if schema != SEARCH_PATH {
        return find_in(session, attached, schema, name).await;
    }
    for (catalog, schema) in session.bare_places() {
        let attached = session.require_catalog(&catalog)?;
        if let Some(table) = Box::pin(find_in(session, &attached, &schema, name)).await? {
            return Ok(Some(table));
        }
    }
    find_in(session, attached, system::PG_CATALOG, name).await
}

/// Returns a view of the engine's own over schema `system`.
async fn own_view(
    session: &Arc<Session>,
    attached: &Arc<Attached>,
    sql: String,
) -> Result<Arc<dyn TableProvider>> {
    let plan = Box::pin(session.plan_view(&sql, None)).await?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let table = SourceTable::View { sql, schema };
    Ok(Arc::new(FederatedTable::new(&attached.name, table).with_view_plan(plan)))
}

async fn find_in(
    session: &Arc<Session>,
    attached: &Arc<Attached>,
    schema: &str,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>> {
    if let Some(plan) = stand_in(name) {
        return Ok(Some(planned(&attached.name, plan)));
    }
    let zone = session.setting("timezone").unwrap_or_default();
    let written = name;
    let (name, version) = version::split(name, &zone)?;
    let rights = session.rights();
    let object = Object::table(&attached.name, schema, name);
    let mut columns = Columns::All;
    let mut policies = None;
    let source_table = match schema {
        system::PG_CATALOG => match system::pg_table(session, name) {
            Some(table) => Some(table),
            None => {
                if let Some(sql) = system::information_schema::postgres_query(&attached.name, name)
                {
                    return own_view(session, attached, sql).await.map(Some);
                }
                let schema = pg_catalog::schema(attached, session.engine(), &rights)?;
                return Ok(schema.table(name).await?);
            }
        },
        system::SYSTEM => system::table(session, name),
        system::INFORMATION_SCHEMA => {
            match system::information_schema::query(&attached.name, name) {
                Some(sql) => return own_view(session, attached, sql).await.map(Some),
                None => None,
            }
        }
        NATIVE_QUERY => {
            rights.require(Privilege::Execute, &Object::catalog(&attached.name))?;
            Some(attached.native_query(name).await?)
        }
        FILES => Some(open_path(session.catalogs(), name, version, &rights).await?),
        _ => {
            if !rights.sees(&object) {
                return Ok(None);
            }
            columns = rights
                .columns(Privilege::Select, &object)
                .ok_or_else(|| rights.denied(Privilege::Select, &object))?;
            // Inside of its own policies a table is what it is.
            if is_under_policies(&object) {
                columns = Columns::All;
            } else {
                policies = rights.policies(&object);
            }
            let copy = match attached.name == BUILTIN {
                true => session.copy_of(schema, name),
                false => None,
            };
            match version {
                None => attached.table(copy.as_deref().unwrap_or(schema), name).await?,
                Some(version) => attached.table_at(schema, name, version).await?,
            }
        }
    };
    let Some(mut source_table) = source_table else { return Ok(None) };
    if version::is_identified(written)
        && let SourceTable::Remote(table) = &source_table
        && let Some((_, identified)) = table.with_row_identity()
    {
        source_table = SourceTable::Remote(identified);
    }
    let plan = match &source_table {
        // As in PostgreSQL, a view reads with the rights of its owner.
        SourceTable::View { sql, .. } => {
            require_owned(&rights, &object, sql)?;
            let owner = rights.rules().owner(&object);
            Some(as_owner(owner, Box::pin(session.plan_stored_view(sql))).await)
        }
        // One of the source's own reads with those of whoever attached the source.
        SourceTable::ForeignView(view) => {
            let owner = rights.rules().owner(&Object::catalog(&attached.name));
            let plan = Box::pin(session.plan_foreign_view(&attached.name, name, view));
            Some(as_owner_for(owner, rights.user(), plan).await)
        }
        SourceTable::Remote(_) | SourceTable::Files(_) => None,
    };
    let mut table = FederatedTable::new(&attached.name, source_table)
        .with_pushdown(session.pushdown(&attached.name))
        .with_verify(session.verify_pushdown(&attached.name));
    if let Some(plan) = plan {
        table = table.with_view_plan(plan.map_err(|error| {
            let error = if rights.owns(&object) { error } else { broken_view(error, name) };
            error.or_context("view", format!("{}.{schema}.{name}", attached.name))
        })?);
    }
    if let Some(policies) = policies {
        let schema = table.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let names = names.filter(|name| match &columns {
            Columns::All => true,
            Columns::Some(columns) => columns.contains(name),
        });
        let names = names.collect::<Vec<_>>();
        let plan = session.plan_policies(&object, written, &names, &policies).await?;
        return Ok(Some(planned(&attached.name, plan)));
    }
    match columns {
        Columns::All => Ok(Some(Arc::new(table))),
        Columns::Some(columns) => {
            Ok(Some(Arc::new(only(&attached.name, &object, table, &columns)?)))
        }
    }
}

/// Refuses a stored view that had an owner when it was made and has none now: it is not the superuser's for that.
///
/// # Errors
/// 42501.
fn require_owned(rights: &Rights, object: &Object, definition: &str) -> Result<()> {
    if rights.rules().owners.contains_key(object) {
        return Ok(());
    }
    match Definition::decode(definition) {
        Ok(Definition::View(view)) if view.owned => {
            let message = format!("view \"{}\" has no owner any more", object.name());
            Err(Error::new(ErrorKind::NotAllowed, message)
                .with_detail("A view reads with the rights of its owner.")
                .with_hint("A superuser gives it one: ALTER VIEW … OWNER TO role."))
        }
        _ => Ok(()),
    }
}

/// Says that a view cannot be read to whoever may read the view, but not what it reads: tables and columns that are gone, or that
/// its owner may not read any more, are its owner's affair.
fn broken_view(error: Error, name: &str) -> Error {
    if !["42", "3D", "3F"].iter().any(|class| error.sqlstate().starts_with(class)) {
        return error;
    }
    Error::new(error.kind(), format!("view \"{name}\" cannot be read"))
        .with_hint("Something that it reads is gone, or its owner may not read it. Its owner is told what it is.")
}

/// Returns a table that is what a plan gives.
fn planned(catalog: &str, plan: LogicalPlan) -> Arc<dyn TableProvider> {
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let view = SourceTable::View { sql: String::new(), schema };
    Arc::new(FederatedTable::new(catalog, view).with_view_plan(plan))
}

/// Returns a table without the columns that a role may not read: for it they are not there.
fn only(
    catalog: &str,
    object: &Object,
    table: FederatedTable,
    columns: &BTreeSet<String>,
) -> Result<FederatedTable> {
    let schema = table.schema();
    let kept = (0..schema.fields().len())
        .filter(|index| columns.contains(schema.field(*index).name()))
        .collect::<Vec<_>>();
    let source = provider_as_source(Arc::new(table));
    let plan = LogicalPlanBuilder::scan(object.name(), source, Some(kept))?.build()?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let view = SourceTable::View { sql: String::new(), schema };
    Ok(FederatedTable::new(catalog, view).with_view_plan(plan))
}

/// Checks that a table is there, before planning, so that the user is told what exactly is missing.
///
/// # Errors
/// 3D000, 3F000 or 42P01 for catalog, schema or table, each with the nearest name; a bare `a.b` whose `a` is a catalog
/// is told how to write it.
pub async fn require_table(session: &Arc<Session>, reference: &TableReference) -> Result<()> {
    let (catalog, schema, name) = match reference {
        TableReference::Bare { table } => (session.catalog(), SEARCH_PATH.to_owned(), table),
        TableReference::Partial { schema, table } => (session.catalog(), schema.to_string(), table),
        TableReference::Full { catalog, schema, table } => {
            (catalog.to_string(), schema.to_string(), table)
        }
    };
    let attached = session.require_catalog(&catalog)?;
    let rights = session.rights();
    if schema == NATIVE_QUERY {
        return rights.require(Privilege::Execute, &Object::catalog(&catalog));
    }
    if schema == FILES {
        return Ok(());
    }
    if exists(session, &attached, &schema, name).await? {
        return Ok(());
    }
    let name = version::plain_name(name);
    let written = version::plain_name(&reference.to_string()).to_owned();
    if schema == SEARCH_PATH {
        let mut near = Vec::new();
        for schema in session.search_path() {
            near.extend(shown(&rights, &attached, &schema).await?);
        }
        let error = undefined_table(&written);
        return Err(match did_you_mean(name, near.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(
                "SHOW TABLES lists the tables here; those of other catalogs are written catalog.schema.table.",
            ),
        });
    }
    let mut schemas = attached.schemas().await?;
    schemas.retain(|schema| rights.sees(&Object::schema(&catalog, schema)));
    schemas.extend(system::VIRTUAL_SCHEMAS.iter().map(|name| (*name).to_owned()));
    if !schemas.contains(&schema) {
        let error =
            Error::new(ErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist"))
                .with_detail(format!("It was looked for in catalog \"{catalog}\"."));
        if let (TableReference::Partial { .. }, Ok(other)) =
            (reference, session.require_catalog(&schema))
        {
            let mut schemas = other.schemas().await.unwrap_or_default();
            schemas.retain(|name| rights.sees(&Object::schema(&schema, name)));
            let first = schemas.first().cloned().unwrap_or_else(|| "schema".to_owned());
            return Err(error.with_hint(format!(
                "\"{schema}\" is a catalog: write {schema}.{first}.{name}, or SET catalog = '{schema}'."
            )));
        }
        return Err(match did_you_mean(&schema, schemas.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(format!("SHOW SCHEMAS FROM {catalog} lists them.")),
        });
    }
    let tables = match schema.as_str() {
        system::SYSTEM => system::TABLES.iter().map(|table| table.name().to_owned()).collect(),
        _ => shown(&rights, &attached, &schema).await?,
    };
    let error = undefined_table(&written);
    Err(match did_you_mean(name, tables.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => {
            error.with_hint(format!("SHOW TABLES FROM {catalog}.{schema} lists what is there."))
        }
    })
}

/// Returns the names of the tables of a schema that show.
async fn shown(rights: &Rights, attached: &Attached, schema: &str) -> Result<Vec<String>> {
    let names = attached.tables(schema).await?.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| rights.sees(&Object::table(&attached.name, schema, name))).collect())
}

/// Returns whether a table is there for the session.
///
/// # Errors
/// 42501 if it shows and must not be read.
async fn exists(
    session: &Arc<Session>,
    attached: &Arc<Attached>,
    schema: &str,
    name: &str,
) -> Result<bool> {
    if stand_in(name).is_some() {
        return Ok(true);
    }
    let plain = version::plain_name(name);
    let of_version = plain.len() < name.len();
    let name = plain;
    let places = match schema {
        SEARCH_PATH => {
            let mut places = session.bare_places();
            places.push((attached.name.clone(), system::PG_CATALOG.to_owned()));
            places
        }
        TEMPORARY => vec![(BUILTIN.to_owned(), session.temporary_schema())],
        _ => vec![(attached.name.clone(), schema.to_owned())],
    };
    let rights = session.rights();
    for (catalog, schema) in places {
        let attached = &session.require_catalog(&catalog)?;
        let object = Object::table(&attached.name, &schema, name);
        let found = match schema.as_str() {
            system::PG_CATALOG => {
                system::pg_table(session, name).is_some()
                    || system::information_schema::postgres_query(&attached.name, name).is_some()
                    || pg_catalog::schema(attached, session.engine(), &rights)?.table_exist(name)
            }
            system::SYSTEM => system::TABLES.iter().any(|table| table.name() == name),
            system::INFORMATION_SCHEMA => {
                system::information_schema::query(&attached.name, name).is_some()
            }
            _ if !rights.sees(&object) => false,
            // What the table is by now may be worse than what it was.
            _ if of_version
                && attached.tables(&schema).await?.iter().any(|entry| entry.name == name) =>
            {
                true
            }
            _ => attached.table(&schema, name).await?.is_some(),
        };
        if found {
            let is_own = system::VIRTUAL_SCHEMAS.contains(&schema.as_str());
            if !is_own && rights.columns(Privilege::Select, &object).is_none() {
                return Err(rights.denied(Privilege::Select, &object));
            }
            return Ok(true);
        }
    }
    Ok(false)
}

fn undefined_table(written: &str) -> Error {
    Error::new(ErrorKind::UndefinedTable, format!("table \"{written}\" does not exist"))
}

fn session_gone() -> DataFusionError {
    Error::new(ErrorKind::ShuttingDown, "the session has ended").into()
}
