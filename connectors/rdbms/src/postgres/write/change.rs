//! Tables changed as a whole, and rows changed one by one: the SQL of both.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use maru_connect::{ColumnEstimate, RowIdentity, TableChange, WriteMode};
use maru_core::Result;
use sqlx::{AssertSqlSafe, Postgres};

use super::encode::Wire;
use super::failure;
use super::target::Target;
use super::types::created;
use crate::pool::Connections;
use crate::postgres::catalog::{PgColumn, Relation, quoted};
use crate::postgres::types::{Kind, Mapping};
use crate::write::{is_defaulted, is_given, rules_of_the_database};

/// The column by which a row is found again, and what it is in the database: where the version of the row lies that was read. An update
/// by another puts a new version elsewhere.
const ROW: &str = "ctid";
const ROW_SQL: &str = "(tableoid || ' ' || ctid || ' ' || xmin)";

impl Relation {
    /// Returns the table with the place of its rows before its own columns.
    pub fn with_place(&self) -> Option<(RowIdentity, Self)> {
        if !self.is_table {
            return None;
        }
        let place = Field::new(ROW, DataType::Utf8, false);
        let mapping = Mapping {
            kind: Kind::Text,
            cast: "",
            comparison: crate::postgres::types::Comparison::None,
        };
        let column = PgColumn {
            name: ROW.to_owned(),
            quoted: ROW_SQL.to_owned(),
            number: 0,
            type_oid: 0,
            typmod: -1,
            collation: 0,
            not_null: false,
            mapping,
        };
        let mut columns = vec![column];
        columns.extend(self.columns.iter().cloned());
        let fields =
            [Arc::new(place.clone())].into_iter().chain(self.schema.fields().iter().cloned());
        let mut estimates = vec![ColumnEstimate::default()];
        estimates.extend(self.estimates.iter().cloned());
        let shifted = |key: &Vec<usize>| key.iter().map(|column| column + 1).collect();
        let relation = Self {
            columns,
            unique: self.unique.iter().map(shifted).collect(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            estimates,
            ..self.clone()
        };
        Some((RowIdentity { columns: Arc::new(Schema::new(vec![place])) }, relation))
    }
}

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
        let mut names =
            Self::leading(mode).into_iter().map(|(name, _)| quoted(&name)).collect::<Vec<_>>();
        // Columns of the same names as the leading ones do not meet them.
        names.extend(self.columns.iter().map(|column| quoted(&staged_name(&column.name))));
        format!("COPY {} ({}) FROM STDIN (FORMAT BINARY)", quoted(stage), names.join(", "))
    }

    /// Returns statements that the database can check before there are rows.
    pub fn check_changes(&self) -> Vec<String> {
        let table = self.quoted();
        let mut checks = vec![format!("DELETE FROM {table} WHERE false")];
        let set = self.settable().map(|column| format!("{0} = {0}", quoted(&column.name)));
        let set = set.collect::<Vec<_>>().join(", ");
        if !set.is_empty() {
            checks.push(format!("UPDATE {table} SET {set} WHERE false"));
        }
        checks
    }

    pub fn delete(&self, stage: &str) -> String {
        format!("DELETE FROM {} AS t USING {} AS s WHERE {}", self.quoted(), quoted(stage), same(2))
    }

    /// The columns that the table does not compute itself.
    fn settable(&self) -> impl Iterator<Item = &super::target::Column> {
        self.columns.iter().filter(|column| !column.is_computed)
    }

    /// Returns the statement that updates rows; `None` if there is no column to be set.
    pub fn update(&self, stage: &str, given: &Schema) -> Option<String> {
        let set = self.columns.iter().filter_map(|column| {
            let value = match is_defaulted(given, &column.name) {
                true => "DEFAULT".to_owned(),
                false if column.is_computed => return None,
                false => Self::staged(column, "s"),
            };
            Some(format!("{} = {value}", quoted(&column.name)))
        });
        let set = set.collect::<Vec<_>>().join(", ");
        let (table, stage) = (self.quoted(), quoted(stage));
        (!set.is_empty())
            .then(|| format!("UPDATE {table} AS t SET {set} FROM {stage} AS s WHERE {}", same(1)))
    }

    /// Returns the query that counts rows which would set what the table computes itself; `None` if there is no such column.
    pub fn miscomputed(&self, stage: &str) -> Option<String> {
        let computed = self.columns.iter().filter(|column| column.is_computed);
        let (updated, inserted): (Vec<_>, Vec<_>) = computed
            .map(|column| {
                let (name, staged) = (quoted(&column.name), Self::staged(column, "s"));
                (format!("t.{name} IS DISTINCT FROM {staged}"), format!("{staged} IS NOT NULL"))
            })
            .unzip();
        let (table, stage) = (self.quoted(), quoted(stage));
        (!updated.is_empty()).then(|| {
            format!(
                "SELECT (SELECT count(*) FROM {table} AS t JOIN {stage} AS s ON {} WHERE {}) \
                 + (SELECT count(*) FROM {stage} AS s WHERE s.op = 0 AND ({}))",
                same(1),
                updated.join(" OR "),
                inserted.join(" OR ")
            )
        })
    }

    /// Returns the statement that inserts rows, of the columns that they are given values for.
    pub fn insert_changed(&self, stage: &str, given: &Schema) -> String {
        let columns = self.settable().filter(|column| is_given(given, &column.name));
        let columns = columns.collect::<Vec<_>>();
        let names = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>();
        let values = columns.iter().map(|column| Self::staged(column, "s")).collect::<Vec<_>>();
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE s.op = 0",
            self.quoted(),
            names.join(", "),
            values.join(", "),
            quoted(stage)
        )
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
        TableChange::SetNullable { column, nullable } => {
            let verb = if nullable { "DROP" } else { "SET" };
            format!("ALTER TABLE {name} ALTER COLUMN {} {verb} NOT NULL", quoted(&column))
        }
        TableChange::AddCheck { .. }
        | TableChange::DropCheck(_)
        | TableChange::SetDefault { .. } => {
            return Err(rules_of_the_database());
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
