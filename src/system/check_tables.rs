//! `system.checks`: what rows of tables of files are checked against.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use maru_connect::SourceTable;
use maru_core::{Error, Result, limits};

use super::ColumnKind::Text;
use super::object_tables::{entries, schema_names, tolerate, wanted_catalogs};
use super::{Hints, Row, TableSpec, VIRTUAL_SCHEMAS, text};
use crate::access::{Columns, Object, Privilege};
use crate::session::Session;

/// Tables that are asked at the same time.
const OPENED_AT_ONCE: usize = 8;

pub(super) static CHECKS: TableSpec = TableSpec {
    name: "checks",
    doc: "CHECK constraints that the engine sees to; give catalog and schema to keep other sources from being asked.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
        ("name", Text),
        ("condition", Text),
    ],
    rows: checks,
};

/// A condition may tell of columns: who sees some of a table alone sees none.
fn checks<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let rights = session.rights();
        let mut places = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            // Other systems see to their own.
            if !matches!(attached.connector, crate::catalog::BUILTIN | "file" | "s3" | "hdfs") {
                continue;
            }
            for schema in schema_names(session, &attached, hints).await? {
                if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
                    continue;
                }
                let names = entries(session, &attached, &schema, hints).await?.into_iter();
                let names = names
                    .map(|entry| entry.name)
                    .filter(|name| hints.table.as_deref().is_none_or(|wanted| wanted == name))
                    .filter(|name| {
                        let object = Object::table(&attached.name, &schema, name);
                        let readable = rights.columns(Privilege::Select, &object);
                        !matches!(readable, Some(Columns::Some(_)))
                    })
                    .take(limits::METADATA_TABLES_MAX);
                places.extend(names.map(|name| (Arc::clone(&attached), schema.clone(), name)));
            }
        }
        let found = futures::stream::iter(places)
            .map(|(attached, schema, name)| async move {
                let table = attached.table(&schema, &name).await;
                let checks = match tolerate(&attached, &Hints::default(), table)? {
                    Some(SourceTable::Files(table)) => table.files.checks(),
                    _ => Vec::new(),
                };
                let rows = checks.into_iter().map(|(check, condition)| {
                    vec![
                        text(attached.name.as_str()),
                        text(schema.as_str()),
                        text(name.as_str()),
                        text(check),
                        text(condition),
                    ]
                });
                Ok::<_, Error>(rows.collect::<Vec<_>>())
            })
            .buffered(OPENED_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
    .boxed()
}
