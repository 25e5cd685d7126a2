//! `USING sqlite`: one database file.
//!
//! SQLite's columns hold any type; the declared one decides here (`types.rs` of the folder), and a value that is not of
//! it is an error that names the column.

mod described;
mod file;
mod fragments;
mod held;
mod keys;
mod native;
mod read;
mod table;
mod types;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use maru_connect::{
    Capabilities, ColumnEstimate, Connector, ConnectorSpec, OpenContext, Source, SourceTable,
    TableChange, TableEntry, TableKey, TableKind, TableStatistics, TypeSpec, WriteJob,
    WriteRequest,
};
use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Result, quote_literal};
use sqlx::Row;
use tokio::sync::watch;

use crate::outdated::Outdated;
use crate::write::{READ_ONLY, is_ours, read_only, refused};
use described::columns_of;
use file::File;
use table::{Base, Column, SqliteTable};

/// The one schema of a database file.
const SCHEMA: &str = "main";

/// `USING sqlite`.
#[derive(Debug)]
pub(crate) struct SqliteConnector;

static SPEC: ConnectorSpec = ConnectorSpec {
    name: "sqlite",
    doc: "A SQLite database file.",
    options: &[
        OptionSpec::new("path", OptionKind::Text, "The file, which must exist.").required(),
        READ_ONLY,
    ],
    table_options: &[],
    types: &[
        TypeSpec::new("anything with INT", "bigint", "filter, group, min and max, order, join"),
        TypeSpec::new("BOOLEAN, BOOL", "boolean, of 0 and 1", "IS NULL"),
        TypeSpec::new(
            "anything with CHAR, CLOB, TEXT",
            "text",
            "filter, group, min and max, order; by bytes",
        ),
        TypeSpec::new("anything with REAL, FLOA, DOUB", "double precision", "IS NULL"),
        TypeSpec::new("DECIMAL(p,s), NUMERIC(p,s)", "numeric(p,s)", "IS NULL"),
        TypeSpec::new("DATE; DATETIME, TIMESTAMP", "date; timestamp, both from text", "IS NULL"),
        TypeSpec::new("anything with BLOB", "bytea", "IS NULL"),
        TypeSpec::new("anything else, or nothing", "text, as SQLite's CAST writes it", "IS NULL"),
        TypeSpec::new(
            "a value that is not of the declared type",
            "an error (22P02) that names the column",
            "–",
        ),
    ],
    capabilities: Capabilities {
        projection: true,
        filter: true,
        limit: true,
        aggregate: true,
        top_n: true,
        join: true,
        files: false,
        write: true,
    },
    example: "CREATE CATALOG crm USING sqlite WITH (path = '/data/crm.db')",
};

impl Connector for SqliteConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        &SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        async move {
            let path = PathBuf::from(context.options.require_text("path")?);
            let (closed, _) = watch::channel(false);
            let file = File { path, closed: Arc::new(closed) };
            let read_only = read_only(&context.options);
            Ok(Arc::new(SqliteSource { file, read_only }) as Arc<dyn Source>)
        }
        .boxed()
    }

    fn reads_server_files(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct SqliteSource {
    file: File,
    read_only: bool,
}

impl SqliteSource {
    fn writable(&self, name: &str) -> Result<()> {
        if self.read_only { Err(refused(name)) } else { Ok(()) }
    }

    async fn has_row_id(&self, table: &str) -> Result<bool> {
        let sql = format!(
            "SELECT count(*) FROM pragma_table_list({}) WHERE schema = 'main' AND type = 'table' AND NOT wr",
            quote_literal(table)
        );
        let rows = self.file.rows(sql).await?;
        Ok(rows.first().is_some_and(|row| row.get::<i64, _>(0) > 0))
    }

    /// Returns the sets of columns that a unique index keeps different. The row id needs no index. Collations take more for equal
    /// than the engine does, so what differs there differs here.
    async fn unique_keys(&self, table: &str, columns: &[Column]) -> Result<Vec<Vec<usize>>> {
        let table = quote_literal(table);
        let sql = format!(
            "SELECT i.name, c.name FROM pragma_index_list({table}) AS i, pragma_index_info(i.name) AS c \
             WHERE i.\"unique\" AND NOT i.partial \
             UNION ALL SELECT '', t.name FROM pragma_table_info({table}) AS t WHERE t.pk > 0"
        );
        let mut keys: Vec<(String, Option<Vec<usize>>)> = Vec::new();
        for row in self.file.rows(sql).await? {
            let (index, column) = (row.get::<String, _>(0), row.get::<Option<String>, _>(1));
            let position =
                column.and_then(|name| columns.iter().position(|known| known.name == name));
            if keys.last().is_none_or(|(last, _)| *last != index) {
                keys.push((index, Some(Vec::new())));
            }
            if let Some((_, key)) = keys.last_mut() {
                // A key with an expression in it is none of columns.
                *key = key.take().zip(position).map(|(mut key, position)| {
                    key.push(position);
                    key
                });
            }
        }
        Ok(keys.into_iter().filter_map(|(_, key)| key).collect())
    }
}

impl Source for SqliteSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        async {
            // Reading the schema proves that it is a database; the version alone would not touch the file.
            self.file.rows("SELECT count(*) FROM sqlite_master".to_owned()).await?;
            let rows = self.file.rows("SELECT sqlite_version()".to_owned()).await?;
            let version = rows.first().map(|row| row.get::<String, _>(0)).unwrap_or_default();
            Ok(format!("SQLite {version}, file {}", self.file.path.display()))
        }
        .boxed()
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        std::future::ready(Ok(vec![SCHEMA.to_owned()])).boxed()
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        async move {
            if schema != SCHEMA {
                return Ok(Vec::new());
            }
            let sql = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') \
                       AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
            let rows = self.file.rows(sql.to_owned()).await?;
            let rows = rows.iter().filter(|row| !is_ours(row.get("name")));
            Ok(rows
                .map(|row| TableEntry {
                    name: row.get("name"),
                    kind: match row.get::<&str, _>("type") {
                        "view" => TableKind::View,
                        _ => TableKind::Table,
                    },
                    comment: None,
                })
                .collect())
        }
        .boxed()
    }

    fn keys<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableKey>>> {
        async move {
            match schema == SCHEMA {
                true => keys::keys(&self.file).await,
                false => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        async move {
            let tables = self.tables(schema).await?;
            let Some(entry) = tables.iter().find(|entry| entry.name == name) else {
                return Ok(None);
            };
            let n_rows = match entry.kind {
                TableKind::Table => self.n_rows(name).await,
                _ => None,
            };
            let described = self.file.described(name).await?;
            let (columns, schema) = columns_of(&described);
            let (counted, estimates) = self.analyzed(name, &columns).await;
            let n_rows = counted.or(n_rows);
            let table = SqliteTable {
                file: self.file.clone(),
                name: name.to_owned(),
                bases: vec![Base { name: name.to_owned(), described }],
                outdated: Outdated::default(),
                from: quoted(name),
                unique: self.unique_keys(name, &columns).await?,
                has_row_id: self.has_row_id(name).await?,
                columns: Arc::new(columns),
                schema,
                statistics: TableStatistics { n_rows, n_bytes: None },
                estimates,
            };
            Ok(Some(SourceTable::Remote(Arc::new(table))))
        }
        .boxed()
    }

    fn native_query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<SourceTable>> {
        async move {
            let table = native::table(&self.file, query).await?;
            Ok(SourceTable::Remote(Arc::new(table)))
        }
        .boxed()
    }

    fn keeps_work(&self) -> bool {
        true
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        async move {
            self.writable(&request.table)?;
            write::begin(self.file.clone(), request).await
        }
        .boxed()
    }

    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            self.writable(table)?;
            write::change_table(&self.file, schema, table, change).await
        }
        .boxed()
    }

    fn create_schema<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.writable(schema)?;
            Err(match schema {
                SCHEMA => Error::new(ErrorKind::DuplicateSchema, "schema \"main\" already exists"),
                _ => Error::unsupported(format!("schema \"{schema}\" cannot be created here"))
                    .with_hint("A SQLite file has one schema, main."),
            })
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.file.closed.send_replace(true);
            // Readers hold a receiver each until their connection is closed.
            while self.file.closed.receiver_count() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        .boxed()
    }
}

impl SqliteSource {
    /// Returns about how many rows a table has by the numbers of the first and the last, which are found at once. Tables
    /// without such numbers do not tell.
    async fn n_rows(&self, name: &str) -> Option<usize> {
        let table = quoted(name);
        let sql = format!(
            "SELECT (SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1"
        );
        let rows = self.file.rows(sql).await.ok()?;
        let n_rows = rows.first()?.try_get::<Option<i64>, _>(0).ok()??;
        usize::try_from(n_rows).ok()
    }
}

impl SqliteSource {
    /// Returns the rows and the different values of columns that an index begins with, as ANALYZE has counted them; without
    /// it there is no table of them.
    async fn analyzed(
        &self,
        name: &str,
        columns: &[Column],
    ) -> (Option<usize>, Vec<ColumnEstimate>) {
        let sql = format!(
            "SELECT s.stat, (SELECT c.name FROM pragma_index_info(s.idx) AS c WHERE c.seqno = 0) \
             FROM sqlite_stat1 AS s WHERE s.tbl = {}",
            quote_literal(name)
        );
        let Ok(rows) = self.file.rows(sql).await else { return (None, Vec::new()) };
        let mut n_rows = None;
        let mut estimates = vec![ColumnEstimate::default(); columns.len()];
        for row in rows {
            // The rows, then those that one value of the first column has.
            let stat = row.try_get::<Option<String>, _>(0).ok().flatten().unwrap_or_default();
            let mut numbers = stat.split(' ').map_while(|number| number.parse::<usize>().ok());
            let Some(counted) = numbers.next().filter(|counted| *counted > 0) else { continue };
            n_rows = n_rows.max(Some(counted));
            let column = row.try_get::<Option<String>, _>(1).ok().flatten();
            let position =
                column.and_then(|name| columns.iter().position(|known| known.name == name));
            if let (Some(position), Some(each)) = (position, numbers.next()) {
                let known = &mut estimates[position].n_distinct;
                *known = (*known).max(Some((counted / each.max(1)).max(1)));
            }
        }
        (n_rows, estimates)
    }
}

/// Returns the name of a column that is read. In double quotes it would be a text wherever there is no such column.
fn named(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
