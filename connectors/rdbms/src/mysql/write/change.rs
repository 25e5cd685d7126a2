//! Tables changed as a whole. Each statement about a table is one commit of its own.

use maru_connect::TableChange;
use maru_core::{Error, Result};
use sqlx::{AssertSqlSafe, Connection, MySql};

use super::failure::Refused;
use super::types::created;
use crate::mysql::catalog::quoted;
use crate::mysql::read;
use crate::pool::Connections;
use crate::write::rules_of_the_database;

/// Changes a table.
///
/// # Errors
/// MySQL's own: 42P01, 42701, 42703, 2BP01 what depends on it, 42501; 22023 for a type that it has not.
pub(crate) async fn change_table(
    connections: &Connections<MySql>,
    schema: &str,
    table: &str,
    change: TableChange,
) -> Result<()> {
    let name = format!("{}.{}", quoted(schema), quoted(table));
    let alter = |parts: Vec<String>| format!("ALTER TABLE {name} {}", parts.join(", "));
    let sql = match change {
        TableChange::Drop => format!("DROP TABLE {name}"),
        TableChange::Truncate => format!("TRUNCATE TABLE {name}"),
        TableChange::AddColumns(columns) => {
            let mut parts = Vec::new();
            for field in columns.fields() {
                let (sql_type, _) = created(field, 0)?;
                let null = if field.is_nullable() { "NULL" } else { "NOT NULL" };
                parts.push(format!("ADD COLUMN {} {sql_type} {null}", quoted(field.name())));
            }
            alter(parts)
        }
        TableChange::DropColumns(columns) => {
            alter(columns.iter().map(|name| format!("DROP COLUMN {}", quoted(name))).collect())
        }
        TableChange::RenameColumn { from, to } => {
            alter(vec![format!("RENAME COLUMN {} TO {}", quoted(&from), quoted(&to))])
        }
        TableChange::WidenColumn(column) => {
            let mut parts = Vec::new();
            for field in column.fields() {
                let (sql_type, _) = created(field, 0)?;
                let null = if field.is_nullable() { "NULL" } else { "NOT NULL" };
                parts.push(format!("MODIFY COLUMN {} {sql_type} {null}", quoted(field.name())));
            }
            alter(parts)
        }
        TableChange::SetNullable { .. } => {
            return Err(Error::unsupported(
                "SET NOT NULL and DROP NOT NULL are not supported here",
            )
            .with_detail(
                "MySQL asks for the whole definition of the column, its default and comment too.",
            )
            .with_hint("ALTER TABLE … MODIFY COLUMN in the database."));
        }
        TableChange::AddCheck { .. }
        | TableChange::DropCheck(_)
        | TableChange::SetDefault { .. } => {
            return Err(rules_of_the_database());
        }
        TableChange::RenameTable(to) => {
            format!("RENAME TABLE {name} TO {}.{}", quoted(schema), quoted(&to))
        }
    };
    run(connections, sql).await
}

/// Makes a database.
///
/// # Errors
/// 42P06 if it is there, 42501.
pub(crate) async fn create_schema(connections: &Connections<MySql>, schema: &str) -> Result<()> {
    run(connections, format!("CREATE DATABASE {} CHARACTER SET utf8mb4", quoted(schema))).await
}

/// Runs one statement in a session with a plain `sql_mode`.
pub(super) async fn run(connections: &Connections<MySql>, sql: String) -> Result<()> {
    let mut lease = connections.lease().await?;
    let sql = format!("{}; {sql}", read::SESSION);
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *lease.connection).await;
    match done {
        Ok(_) => Ok(()),
        Err(error) => {
            let refused = Refused::of(&connections.peer, error);
            if refused.is_lost() {
                lease.discard();
            }
            Err(refused.error(0))
        }
    }
}

/// Ends a session of the server, whatever it does; its locks and what it did not commit go with it. Best effort.
pub(super) async fn end_session(connections: &Connections<MySql>, thread: u64) {
    let asked = async {
        let mut connection = connections.connect().await?;
        let kill = sqlx::raw_sql(AssertSqlSafe(format!("KILL CONNECTION {thread}")));
        let killed = kill.execute(&mut connection).await;
        let _ = connection.close().await;
        killed.map_err(|error| connections.peer.query_error(error))
    };
    if let Err(error) = asked.await {
        tracing::debug!(%error, "could not end a session of a write");
    }
}
