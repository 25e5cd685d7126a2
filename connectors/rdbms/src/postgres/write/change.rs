//! Tables changed as a whole, and rows changed one by one: the SQL of both.

use maru_connect::{TableChange, WriteMode};
use maru_core::Result;
use sqlx::{AssertSqlSafe, Postgres};

use super::encode::Wire;
use super::failure;
use super::target::Target;
use super::types::created;
use crate::pool::Connections;
use crate::postgres::catalog::quoted;
use crate::postgres::types::Kind;

/// The column by which a row is found again, and what it is in the database: where the version of the row lies that was read. An update
/// by another puts a new version elsewhere.
pub(crate) const ROW: &str = "ctid";
pub(crate) const ROW_SQL: &str = "(tableoid || ' ' || ctid || ' ' || xmin)";

impl Target {
    /// Returns the columns that come before the table's own in a staging table.
    pub fn leading(mode: &WriteMode) -> Vec<(String, Wire)> {
        if *mode != WriteMode::Change {
            return Vec::new();
        }
        let row = Wire { kind: Kind::Text, item: 0 };
        let op = Wire { kind: Kind::Int2, item: 0 };
        vec![("place".to_owned(), row), ("op".to_owned(), op)]
    }

    /// Returns the statement that stages rows.
    pub fn copy_staged(&self, stage: &str, mode: &WriteMode) -> String {
        let mut names = Self::leading(mode).into_iter().map(|(name, _)| quoted(&name)).collect::<Vec<_>>();
        // Columns of the same names as the leading ones do not meet them.
        names.extend(self.columns.iter().map(|column| quoted(&staged_name(&column.name))));
        format!("COPY {} ({}) FROM STDIN (FORMAT BINARY)", quoted(stage), names.join(", "))
    }

    /// Returns statements that the database can check before there are rows.
    pub fn check_changes(&self) -> Vec<String> {
        let table = self.quoted();
        let mut checks = vec![format!("DELETE FROM {table} WHERE false")];
        if !self.columns.is_empty() {
            let set = self.names(|column| format!("{0} = {0}", quoted(&column.name)));
            checks.push(format!("UPDATE {table} SET {set} WHERE false"));
        }
        checks
    }

    pub fn delete(&self, stage: &str) -> String {
        format!("DELETE FROM {} AS t USING {} AS s WHERE {}", self.quoted(), quoted(stage), same(2))
    }

    pub fn update(&self, stage: &str) -> String {
        let set = self.names(|column| {
            format!("{} = {}", quoted(&column.name), Self::staged(column, "s"))
        });
        format!(
            "UPDATE {} AS t SET {set} FROM {} AS s WHERE {}",
            self.quoted(),
            quoted(stage),
            same(1)
        )
    }

    pub fn insert_changed(&self, stage: &str) -> String {
        let insert = self.insert_staged(stage, &WriteMode::Append);
        format!("{insert} WHERE s.op = 0")
    }
}

/// Returns the name of a column in a staging table.
pub(super) fn staged_name(name: &str) -> String {
    format!("c_{name}")
}

/// The condition that a row is the one that was read.
fn same(op: u8) -> String {
    format!(
        "s.op = {op} AND t.ctid = split_part(s.place, ' ', 2)::tid \
         AND t.tableoid = split_part(s.place, ' ', 1)::oid AND t.xmin::text = split_part(s.place, ' ', 3)"
    )
}

impl Wire {
    /// Returns the type of a leading column.
    pub fn sql_type(&self) -> String {
        match self.kind {
            Kind::Int2 => "smallint".to_owned(),
            _ => "text".to_owned(),
        }
    }
}

/// Changes a table, in one statement or one transaction.
///
/// # Errors
/// PostgreSQL's own: 42P01, 42701, 42703, 2BP01 what depends on it, 42501; 22023 for a type that it has not.
pub(crate) async fn change_table(
    connections: &Connections<Postgres>,
    schema: &str,
    table: &str,
    change: TableChange,
) -> Result<()> {
    let name = format!("{}.{}", quoted(schema), quoted(table));
    let sql = match change {
        TableChange::Drop => format!("DROP TABLE {name}"),
        TableChange::Truncate => format!("TRUNCATE TABLE {name}"),
        TableChange::AddColumns(columns) => {
            let mut parts = Vec::new();
            for field in columns.fields() {
                let (sql_type, _) = created(field)?;
                let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
                parts.push(format!("ADD COLUMN {} {sql_type}{not_null}", quoted(field.name())));
            }
            format!("ALTER TABLE {name} {}", parts.join(", "))
        }
        TableChange::DropColumns(columns) => {
            let parts = columns.iter().map(|column| format!("DROP COLUMN {}", quoted(column)));
            format!("ALTER TABLE {name} {}", parts.collect::<Vec<_>>().join(", "))
        }
        TableChange::RenameColumn { from, to } => {
            format!("ALTER TABLE {name} RENAME COLUMN {} TO {}", quoted(&from), quoted(&to))
        }
        TableChange::WidenColumn(column) => {
            let mut parts = Vec::new();
            for field in column.fields() {
                let (sql_type, _) = created(field)?;
                parts.push(format!("ALTER COLUMN {} TYPE {sql_type}", quoted(field.name())));
            }
            format!("ALTER TABLE {name} {}", parts.join(", "))
        }
        TableChange::RenameTable(to) => format!("ALTER TABLE {name} RENAME TO {}", quoted(&to)),
    };
    run(connections, sql).await
}

/// Makes a schema.
///
/// # Errors
/// 42P06 if it is there, 42501.
pub(crate) async fn create_schema(connections: &Connections<Postgres>, schema: &str) -> Result<()> {
    run(connections, format!("CREATE SCHEMA {}", quoted(schema))).await
}

async fn run(connections: &Connections<Postgres>, sql: String) -> Result<()> {
    let mut lease = connections.lease().await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *lease.connection).await;
    match done {
        Ok(_) => Ok(()),
        Err(error) => {
            if failure::is_lost(&error) {
                lease.discard();
            }
            Err(failure::write_error(&connections.peer, error, 0))
        }
    }
}
