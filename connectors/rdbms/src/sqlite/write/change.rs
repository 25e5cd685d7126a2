//! Tables changed as a whole, in one transaction.

use maru_connect::TableChange;
use maru_core::{Error, Result};
use sqlx::AssertSqlSafe;

use super::failure;
use super::target::{declared, exists};
use crate::sqlite::file::File;
use crate::sqlite::{SCHEMA, quoted};
use crate::write::rules_of_the_database;

/// Changes a table.
///
/// # Errors
/// 42P01, 42701, 42703, 2BP01 what depends on it; 22023 for a type that SQLite has not; 0A000 what it cannot change.
pub(crate) async fn change_table(
    file: &File,
    schema: &str,
    table: &str,
    change: TableChange,
) -> Result<()> {
    let name = format!("main.{}", quoted(table));
    let mut statements = Vec::new();
    match change {
        TableChange::Drop => statements.push(format!("DROP TABLE {name}")),
        TableChange::Truncate => statements.push(format!("DELETE FROM {name}")),
        TableChange::AddColumns(columns) => {
            for field in columns.fields() {
                let declared = declared(field)?;
                let null = if field.is_nullable() { "" } else { " NOT NULL" };
                let column = quoted(field.name());
                statements.push(format!("ALTER TABLE {name} ADD COLUMN {column} {declared}{null}"));
            }
        }
        TableChange::DropColumns(columns) => statements.extend(
            columns
                .iter()
                .map(|column| format!("ALTER TABLE {name} DROP COLUMN {}", quoted(column))),
        ),
        TableChange::RenameColumn { from, to } => statements.push(format!(
            "ALTER TABLE {name} RENAME COLUMN {} TO {}",
            quoted(&from),
            quoted(&to)
        )),
        TableChange::WidenColumn(_) => {
            return Err(Error::unsupported("SQLite does not change the type of a column")
                .with_hint("Make a new table of the wanted types by CREATE TABLE … AS."));
        }
        TableChange::SetNullable { .. } => {
            return Err(Error::unsupported(
                "SQLite does not change whether a column may hold NULL",
            )
            .with_hint("Make a new table by CREATE TABLE, and INSERT the rows."));
        }
        TableChange::AddCheck { .. }
        | TableChange::DropCheck(_)
        | TableChange::SetDefault { .. } => {
            return Err(rules_of_the_database());
        }
        TableChange::RenameTable(to) => {
            statements.push(format!("ALTER TABLE {name} RENAME TO {}", quoted(&to)));
        }
    }
    let mut connection = file.connect_to_write().await?;
    let failed = |error| failure::write_error(&file.peer(), error);
    let done = async {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed)?;
        if schema != SCHEMA || !exists(&mut connection, table).await.map_err(failed)? {
            return Err(super::no_table(schema, table));
        }
        for sql in statements {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(failed)?;
        Ok(())
    };
    let done = done.await;
    // What is not committed is undone by closing.
    let _ = connection.close().await;
    done
}
