//! `query($$ … $$)`: a query in SQLite's own words, read as a table.

use std::sync::Arc;

use maru_connect::TableStatistics;
use maru_core::{ErrorKind, Result};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use super::described::{Described, columns_of, description};
use super::file::{File, Opened};
use super::table::SqliteTable;
use crate::native;
use crate::outdated::Outdated;

/// The view that tells a query's types. It lies in the connection's temporary file and ends with it.
const VIEW: &str = "maru_native_query";

/// Describes a query without running it. A column of it has the type that is declared for the column it comes from, or that it is
/// CAST to; what is computed otherwise has none, and so is read as text.
///
/// # Errors
/// HV000 what SQLite says of the query, HV00R a table that is not there, 42000 parameters and whatever cannot stand in `FROM ( … )`.
pub(super) async fn table(file: &File, query: &str) -> Result<SqliteTable> {
    let query = query.trim().trim_end_matches(';');
    let peer = file.peer();
    let mut connection = file.connect().await?;
    let rows = describe(&mut connection, query).await;
    let _ = connection.close().await;
    let rows = rows.map_err(|error| {
        let mut error = peer.query_error(error);
        if error.message().contains("no such table") {
            error = error.with_kind(ErrorKind::RemoteTableNotFound);
        }
        native::one_select_wanted(query, error)
    })?;
    let (columns, schema) = columns_of(&rows);
    Ok(SqliteTable {
        file: file.clone(),
        name: "the native query".to_owned(),
        bases: Vec::new(),
        outdated: Outdated::default(),
        from: from(query),
        unique: Vec::new(),
        columns: Arc::new(columns),
        schema,
        statistics: TableStatistics::default(),
        estimates: Vec::new(),
        has_row_id: false,
    })
}

fn from(query: &str) -> String {
    format!("(\n{query}\n) AS native_query")
}

async fn describe(connection: &mut Opened, query: &str) -> sqlx::Result<Vec<Described>> {
    native::SQLITE
        .check(query)
        .map_err(|message| sqlx::Error::InvalidArgument(message.to_owned()))?;
    // In parentheses from the first look on: only what can stand there is read.
    let select = format!("SELECT * FROM {}", from(query));
    (&mut **connection).prepare(AssertSqlSafe(select.clone()).into_sql_str()).await?;
    let view = format!("CREATE TEMP VIEW {VIEW} AS {select}");
    sqlx::raw_sql(AssertSqlSafe(view)).execute(&mut **connection).await?;
    description(connection, VIEW).await
}
