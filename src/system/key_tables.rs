//! `system.keys`: what sources say of the keys of their tables.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_connect::{KeyKind, Reference, TableKey};
use maru_core::Result;

use super::ColumnKind::{Integer, Text};
use super::object_tables::{schema_names, tolerate, wanted_catalogs};
use super::{Hints, Row, TableSpec, VIRTUAL_SCHEMAS, integer, text, text_or_null};
use crate::access::{Columns, Object, Privilege, Rights};
use crate::catalog::Attached;
use crate::session::Session;

pub(super) static KEYS: TableSpec = TableSpec {
    name: "keys",
    doc: "Keys of tables as their sources declare them, a row for each column; give catalog and schema to keep other sources from being asked.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
        ("name", Text),
        ("kind", Text),
        ("position", Integer),
        ("column", Text),
        ("referenced_schema", Text),
        ("referenced_table", Text),
        ("referenced_column", Text),
        ("referenced_key", Text),
        ("referenced_position", Integer),
        ("on_update", Text),
        ("on_delete", Text),
    ],
    rows: keys,
};

fn keys<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let rights = session.rights();
        let mut rows = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            for schema in schema_names(session, &attached, hints).await? {
                if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
                    continue;
                }
                let keys = tolerate(&attached, hints, attached.keys(&schema).await)?;
                for key in keys.iter() {
                    let is_wanted = hints.table.as_deref().is_none_or(|name| name == key.table);
                    if is_wanted && shows(&rights, &attached.name, &schema, key) {
                        add(&mut rows, &attached, &schema, key).await;
                    }
                }
            }
        }
        Ok(rows)
    }
    .boxed()
}

/// Returns whether a role may know of a key: it sees all of its columns, and of those that it refers to.
fn shows(rights: &Rights, catalog: &str, schema: &str, key: &TableKey) -> bool {
    let sees = |schema: &str, table: &str, columns: &[String]| {
        let object = Object::table(catalog, schema, table);
        rights.sees(&object)
            && match rights.columns(Privilege::Select, &object) {
                Some(Columns::Some(known)) => columns.iter().all(|column| known.contains(column)),
                Some(Columns::All) | None => true,
            }
    };
    sees(schema, &key.table, &key.columns)
        && match &key.kind {
            KeyKind::Primary | KeyKind::Unique => true,
            KeyKind::Foreign(there) => sees(&there.schema, &there.table, &there.columns),
        }
}

async fn add(rows: &mut Vec<Row>, attached: &Attached, schema: &str, key: &TableKey) {
    let (kind, there) = match &key.kind {
        KeyKind::Primary => ("primary key", None),
        KeyKind::Unique => ("unique", None),
        KeyKind::Foreign(there) => ("foreign key", Some(there.as_ref())),
    };
    let order = match there {
        Some(there) => order(attached, there).await,
        None => Vec::new(),
    };
    for (at, column) in key.columns.iter().enumerate() {
        let position = i64::try_from(at).unwrap_or_default() + 1;
        let other = there.and_then(|there| there.columns.get(at));
        let other_position = there.map(|_| {
            let found = order.iter().position(|column| Some(column) == other);
            found.and_then(|at| i64::try_from(at).ok()).map_or(position, |at| at + 1)
        });
        rows.push(vec![
            text(attached.name.as_str()),
            text(schema),
            text(key.table.as_str()),
            text(key.name.as_str()),
            text(kind),
            integer(position),
            text(column.as_str()),
            text_or_null(there.map(|there| there.schema.as_str())),
            text_or_null(there.map(|there| there.table.as_str())),
            text_or_null(other.map(String::as_str)),
            text_or_null(there.and_then(|there| there.key.as_deref())),
            ScalarValue::Int64(other_position),
            text_or_null(there.map(|there| there.on_update.words())),
            text_or_null(there.map(|there| there.on_delete.words())),
        ]);
    }
}

/// Returns the columns of the key that is referred to in its own order, if the source tells of it.
async fn order(attached: &Attached, there: &Reference) -> Vec<String> {
    let keys = attached.keys(&there.schema).await.unwrap_or_default();
    let is_it = |key: &&TableKey| {
        let is_foreign = matches!(key.kind, KeyKind::Foreign(_));
        !is_foreign && key.table == there.table && Some(&key.name) == there.key.as_ref()
    };
    keys.iter().find(is_it).map(|key| key.columns.clone()).unwrap_or_default()
}
