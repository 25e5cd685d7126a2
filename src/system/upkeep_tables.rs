//! `system.orphans`, `table_history`: what tables of files have been, and what they do not need any more.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use maru_connect::TableKind;
use maru_core::Result;

use super::ColumnKind::{Integer, Text, Timestamp};
use super::object_tables::{entries, schema_names, tolerate, wanted_catalogs};
use super::{Hints, Row, TableSpec, VIRTUAL_SCHEMAS, integer, text, text_or_null, timestamp};
use crate::access::{Object, Privilege};
use crate::session::Session;

pub(super) static ORPHANS: TableSpec = TableSpec {
    name: "orphans",
    doc: "Files that lie in tables' places and that these do not need: of writes that were killed, or replaced by later ones. Those of statements that run are among them.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
        ("path", Text),
        ("n_bytes", Integer),
        ("since", Timestamp),
    ],
    rows: orphans,
};

pub(super) static TABLE_HISTORY: TableSpec = TableSpec {
    name: "table_history",
    doc: "Versions of Delta Lake tables; give catalog, schema and table. Parameters and metrics are for those who may read the whole table.",
    columns: &[
        ("catalog", Text),
        ("schema", Text),
        ("table", Text),
        ("version", Integer),
        ("committed", Timestamp),
        ("operation", Text),
        ("parameters", Text),
        ("metrics", Text),
        ("writer", Text),
    ],
    rows: history,
};

fn orphans<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let rights = session.rights();
        let mut rows = Vec::new();
        for attached in wanted_catalogs(session, hints) {
            let Ok(source) = attached.source() else { continue };
            for schema in schema_names(session, &attached, hints).await? {
                if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
                    continue;
                }
                for entry in entries(session, &attached, &schema, hints).await? {
                    let object = Object::table(&attached.name, &schema, &entry.name);
                    let wanted = hints.table.as_ref().is_none_or(|name| *name == entry.name);
                    if entry.kind != TableKind::Table || !wanted || !rights.owns(&object) {
                        continue;
                    }
                    let found = source.leftovers(&schema, &entry.name).await;
                    for one in tolerate(&attached, hints, found)? {
                        rows.push(vec![
                            text(attached.name.as_str()),
                            text(schema.as_str()),
                            text(entry.name.as_str()),
                            text(one.path),
                            integer(one.n_bytes as i64),
                            timestamp(one.since_us),
                        ]);
                    }
                }
            }
        }
        Ok(rows)
    }
    .boxed()
}

fn history<'a>(session: &'a Arc<Session>, hints: &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>> {
    async move {
        let (Some(catalog), Some(schema), Some(table)) =
            (&hints.catalog, &hints.schema, &hints.table)
        else {
            return Ok(Vec::new());
        };
        let object = Object::table(catalog, schema, table);
        let rights = session.rights();
        if !rights.sees(&object) {
            return Ok(Vec::new());
        }
        // How many rows a statement wrote, and which values it asked for, are told to whoever may read them all.
        let reads_all =
            rights.may(Privilege::Select, &object) && rights.policies(&object).is_none();
        let attached = session.require_catalog(catalog)?;
        let commits = attached.opened().await?.history(schema, table).await?;
        let row = |commit: maru_connect::TableCommit| {
            vec![
                text(catalog.as_str()),
                text(schema.as_str()),
                text(table.as_str()),
                integer(commit.version as i64),
                timestamp(commit.at_us),
                text_or_null(commit.operation),
                text_or_null(commit.parameters.filter(|_| reads_all)),
                text_or_null(commit.metrics.filter(|_| reads_all)),
                text_or_null(commit.writer),
            ]
        };
        Ok(commits.into_iter().map(row).collect())
    }
    .boxed()
}
