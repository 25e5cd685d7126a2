//! The table that is written: its columns as the server has them, and the SQL about it.

use arrow::datatypes::{DataType, Schema};
use maru_connect::{NewTable, WriteMode};
use maru_core::{Error, ErrorKind, Result, did_you_mean};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

use super::types::created;
use crate::mysql::catalog::{self, quoted};
use crate::mysql::types::{Choices, Kind, Mapping};

/// A table of the server, or one to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub schema: String,
    pub name: String,
    /// Its columns that are written, in the order of the rows.
    pub columns: Vec<Column>,
    /// The columns by which a row is found again; none if there is no such key.
    pub key: Vec<Column>,
    /// The names of all its columns.
    pub all: Vec<String>,
    /// What is wrong with its engine, if it knows no transactions.
    pub untransacted: Option<String>,
}

/// A column of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub name: String,
    /// The type with its character set, as SQL writes it.
    pub sql_type: String,
    pub mapping: Mapping,
    /// Places after the seconds that a time keeps.
    pub places: u8,
    /// Whether the table computes it itself.
    pub is_computed: bool,
}

impl Column {
    pub fn arrow(&self) -> DataType {
        self.mapping.kind.arrow()
    }
}

impl Target {
    /// Plans a table that does not exist yet.
    ///
    /// # Errors
    /// 22023 for a type that MySQL has no place for; 42701 for a name that comes twice.
    pub fn created(schema: &str, name: &str, rows: &Schema, new: &NewTable) -> Result<Self> {
        let mut columns: Vec<Column> = Vec::new();
        for field in rows.fields() {
            // Names of columns are the same here whatever their case.
            let same = |other: &Column| other.name.eq_ignore_ascii_case(field.name());
            if columns.iter().any(same) {
                return Err(Error::new(
                    ErrorKind::DuplicateColumn,
                    format!("column \"{}\" is named twice", field.name()),
                ));
            }
            let is_key = new.primary_key.contains(field.name());
            let n_keys = if is_key { new.primary_key.len() } else { 0 };
            let (sql_type, mapping) = created(field, n_keys)?;
            columns.push(Column {
                name: field.name().clone(),
                sql_type,
                mapping,
                places: 6,
                is_computed: false,
            });
        }
        let (schema, name) = (schema.to_owned(), name.to_owned());
        let (key, all) = (Vec::new(), Vec::new());
        Ok(Self { schema, name, columns, key, all, untransacted: None })
    }

    /// Describes the columns of a table that the rows have.
    ///
    /// # Errors
    /// 42703 for a column that it has not, 42809 for a view; `None` if there is no such table.
    pub async fn find(
        connection: &mut MySqlConnection,
        schema: &str,
        name: &str,
        names: &[&str],
        choices: Choices,
    ) -> sqlx::Result<Result<Option<Self>>> {
        let relation = catalog::relation(connection, schema, name, choices).await?;
        let Some(relation) = relation else { return Ok(Ok(None)) };
        let engine = sqlx::query(
            "SELECT CAST(t.engine AS CHAR), CAST(e.transactions AS CHAR) FROM information_schema.tables t
             LEFT JOIN information_schema.engines e ON e.engine = t.engine
             WHERE BINARY t.table_schema = BINARY ? AND BINARY t.table_name = BINARY ?",
        )
        .bind(schema)
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
        let mut untransacted = None;
        if let Some(row) = engine {
            let engine: Option<String> = row.try_get_unchecked(0)?;
            let transactions: Option<String> = row.try_get_unchecked(1)?;
            match engine {
                None => return Ok(Err(no_view(schema, name))),
                Some(engine) if transactions.as_deref() != Some("YES") => {
                    untransacted = Some(engine);
                }
                Some(_) => {}
            }
        }
        let rows = sqlx::query(
            "SELECT column_name, CAST(column_type AS CHAR), CAST(collation_name AS CHAR),
                    CAST(datetime_precision AS CHAR), CAST(extra AS CHAR)
             FROM information_schema.columns
             WHERE BINARY table_schema = BINARY ? AND BINARY table_name = BINARY ?
             ORDER BY ordinal_position",
        )
        .bind(schema)
        .bind(name)
        .fetch_all(&mut *connection)
        .await?;
        let mut all = Vec::new();
        for (row, column) in rows.iter().zip(&relation.columns) {
            let name: String = row.try_get_unchecked(0)?;
            let mut sql_type: String = row.try_get_unchecked(1)?;
            let collation: Option<String> = row.try_get_unchecked(2)?;
            let places: Option<String> = row.try_get_unchecked(3)?;
            let extra: Option<String> = row.try_get_unchecked(4)?;
            let extra = extra.unwrap_or_default().to_uppercase();
            let is_computed = extra.contains("VIRTUAL")
                || extra.contains("STORED")
                || extra.contains("PERSISTENT");
            if let Some(collation) = collation {
                sql_type.push_str(&format!(" COLLATE {collation}"));
            }
            let places = places.and_then(|places| places.parse().ok()).unwrap_or(6);
            all.push(Column { name, sql_type, mapping: column.mapping, places, is_computed });
        }
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let Some(column) = all.iter().find(|column| column.name == *name) else {
                return Ok(Err(no_column(&relation.shown, &all, name)));
            };
            columns.push(column.clone());
        }
        let key = relation.row_key().unwrap_or_default().iter();
        let key = key.filter_map(|index| all.get(*index).cloned()).collect();
        let all = all.into_iter().map(|column| column.name).collect();
        let (schema, name) = (schema.to_owned(), name.to_owned());
        Ok(Ok(Some(Self { schema, name, columns, key, all, untransacted })))
    }

    /// For messages: `shop.customers`.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Returns the place of a table in the target's schema.
    pub fn beside(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// As SQL writes it.
    pub fn quoted(&self) -> String {
        self.beside(&self.name)
    }

    /// Returns the columns' names, each by `write`, with commas between them.
    pub fn names(&self, write: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(write).collect::<Vec<_>>().join(", ")
    }

    /// Returns the beginning of the statement that puts rows into the target or one like it.
    pub fn insert(&self, table: &str) -> String {
        format!("INSERT INTO {table} ({}) VALUES ", self.names(|column| quoted(&column.name)))
    }

    /// Returns the statement that makes the table under the name `name`.
    pub fn create(&self, name: &str, new: &NewTable, rows: &Schema) -> String {
        let mut parts = Vec::new();
        for (column, field) in self.columns.iter().zip(rows.fields()) {
            let is_key = new.primary_key.contains(&column.name);
            let null = if field.is_nullable() && !is_key { " NULL" } else { " NOT NULL" };
            // Without a default of its own the first TIMESTAMP would be set by every change of its row.
            let default = match (column.mapping.kind, null) {
                (Kind::Timestamp, " NOT NULL") => " DEFAULT CURRENT_TIMESTAMP(6)",
                _ => "",
            };
            parts.push(format!("{} {}{null}{default}", quoted(&column.name), column.sql_type));
        }
        if !new.primary_key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", list(&new.primary_key)));
        }
        format!("CREATE TABLE {} ({}) ENGINE = InnoDB", self.beside(name), parts.join(", "))
    }

    /// Returns the statement that makes a staging table of this session.
    pub fn stage(&self, stage: &str) -> String {
        let parts =
            self.names(|column| format!("{} {} NULL", quoted(&column.name), column.sql_type));
        format!("CREATE TEMPORARY TABLE {} ({parts}) ENGINE = InnoDB", self.beside(stage))
    }

    /// Returns a statement that the server can check before there are rows: columns and rights.
    pub fn insert_nothing(&self) -> String {
        let names = self.names(|column| quoted(&column.name));
        let nothing = self.names(|_| "NULL".to_owned());
        format!("INSERT INTO {} ({names}) SELECT {nothing} FROM DUAL WHERE FALSE", self.quoted())
    }

    /// Returns the statements that merge staged rows by their keys: one that finds keys that come twice, one that replaces
    /// columns, one that inserts the rest.
    pub fn upsert(&self, stage: &str, mode: &WriteMode) -> Option<Upsert> {
        let WriteMode::Upsert { keys, replaced, .. } = mode else { return None };
        let (table, staged) = (self.quoted(), self.beside(stage));
        let on = keys.iter().map(|key| format!("t.{0} = s.{0}", quoted(key)));
        let on = on.collect::<Vec<_>>().join(" AND ");
        let known = keys.iter().map(|key| format!("{} IS NOT NULL", quoted(key)));
        let known = known.collect::<Vec<_>>().join(" AND ");
        let set = replaced.iter().map(|name| format!("t.{0} = s.{0}", quoted(name)));
        let set = set.collect::<Vec<_>>().join(", ");
        let names = self.names(|column| quoted(&column.name));
        let values = self.names(|column| format!("s.{}", quoted(&column.name)));
        Some(Upsert {
            twice: format!(
                "SELECT 1 FROM {staged} WHERE {known} GROUP BY {} HAVING COUNT(*) > 1 LIMIT 1",
                list(keys)
            ),
            count: format!("SELECT COUNT(*) FROM {table} t JOIN {staged} s ON {on} FOR UPDATE"),
            update: (!replaced.is_empty())
                .then(|| format!("UPDATE {table} t JOIN {staged} s ON {on} SET {set}")),
            insert: format!(
                "INSERT INTO {table} ({names}) SELECT {values} FROM {staged} s \
                 WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {on})"
            ),
        })
    }

    /// Returns whether the columns are those of a unique key.
    pub async fn has_key(
        connection: &mut MySqlConnection,
        schema: &str,
        name: &str,
        keys: &[String],
    ) -> sqlx::Result<bool> {
        let rows = sqlx::query(
            "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR), CAST(sub_part AS CHAR)
             FROM information_schema.statistics
             WHERE BINARY table_schema = BINARY ? AND BINARY table_name = BINARY ? AND non_unique = 0
             ORDER BY index_name, seq_in_index",
        )
        .bind(schema)
        .bind(name)
        .fetch_all(connection)
        .await?;
        let mut indexes: Vec<(String, Vec<Option<String>>)> = Vec::new();
        for row in &rows {
            let index: String = row.try_get_unchecked(0)?;
            let column: Option<String> = row.try_get_unchecked(1)?;
            let part: Option<String> = row.try_get_unchecked(2)?;
            if indexes.last().is_none_or(|(last, _)| *last != index) {
                indexes.push((index, Vec::new()));
            }
            if let Some((_, columns)) = indexes.last_mut() {
                columns.push(column.filter(|_| part.is_none()));
            }
        }
        Ok(indexes.iter().any(|(_, columns)| {
            columns.len() == keys.len()
                && columns
                    .iter()
                    .all(|column| column.as_ref().is_some_and(|name| keys.contains(name)))
        }))
    }
}

/// The statements of an upsert.
pub(super) struct Upsert {
    pub twice: String,
    pub count: String,
    pub update: Option<String>,
    pub insert: String,
}

/// Returns names with commas between them.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn no_view(schema: &str, name: &str) -> Error {
    Error::new(ErrorKind::WrongObjectType, format!("\"{schema}.{name}\" is a view"))
        .with_hint("Write to the tables that it reads.")
}

fn no_column(shown: &str, all: &[Column], name: &str) -> Error {
    let known = all.iter().map(|column| column.name.as_str());
    let error = Error::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{name}\" of {shown} does not exist"),
    );
    match did_you_mean(name, known) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error,
    }
}
