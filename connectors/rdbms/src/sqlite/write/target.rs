//! The table that is written: its columns as the file has them, and the SQL about it.

use arrow::datatypes::{DataType, Field, Schema};
use maru_connect::{NewTable, WriteMode};
use maru_core::{Error, ErrorKind, Result, did_you_mean, quote_literal};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::sqlite::quoted;
use crate::sqlite::types::{Mapping, mapping};
use crate::write::{Declared, no_type};

/// A table of the file, or one to be made.
#[derive(Debug)]
pub(super) struct Target {
    pub name: String,
    /// Its columns that are written, in the order of the rows.
    pub columns: Vec<Column>,
    /// The names of all its columns.
    pub all: Vec<String>,
}

/// A column of the rows.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    pub declared: String,
    pub mapping: Mapping,
    /// Whether the table computes it itself.
    pub is_computed: bool,
}

impl Column {
    pub fn arrow(&self) -> DataType {
        self.mapping.data_type()
    }

    /// Returns whether SQLite turns text that looks like a number into one.
    pub fn is_numeric(&self) -> bool {
        self.mapping == Mapping::AsText && !self.declared.trim().is_empty()
    }
}

/// Returns whether there is a table or view of that name.
pub(super) async fn exists(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?";
    Ok(sqlx::query(sql).bind(name).fetch_one(connection).await?.get::<i64, _>(0) > 0)
}

/// Returns the declared type of a new column.
///
/// # Errors
/// 22023 for a type that does not come back from SQLite as it went there.
pub(super) fn declared(field: &Field) -> Result<String> {
    match crate::write::declared(field) {
        Declared::Varchar(length) => Ok(format!("VARCHAR({length})")),
        Declared::Char(length) => Ok(format!("CHAR({length})")),
        _ => by_type(field.name(), field.data_type()),
    }
}

fn by_type(column: &str, data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => "INTEGER".to_owned(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "REAL".to_owned(),
        // SQLite computes and keeps decimals as floats, which have fifteen digits for certain.
        DataType::Decimal128(precision, scale) if *precision <= 15 && (0..=15).contains(scale) => {
            format!("DECIMAL({precision},{scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            "TEXT".to_owned()
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BLOB".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Dictionary(_, values) => return by_type(column, values),
        _ => return Err(no_type("SQLite", column, data_type)),
    })
}

impl Target {
    /// Plans a table that does not exist yet.
    ///
    /// # Errors
    /// 22023 for a type that SQLite has no place for; 42701 for a name that comes twice.
    pub fn created(name: &str, rows: &Schema) -> Result<Self> {
        let mut columns: Vec<Column> = Vec::new();
        for field in rows.fields() {
            let same = |other: &Column| other.name.eq_ignore_ascii_case(field.name());
            if columns.iter().any(same) {
                return Err(Error::new(
                    ErrorKind::DuplicateColumn,
                    format!("column \"{}\" is named twice", field.name()),
                ));
            }
            let declared = declared(field)?;
            let mapping = mapping(&declared);
            columns.push(Column {
                name: field.name().clone(),
                declared,
                mapping,
                is_computed: false,
            });
        }
        Ok(Self { name: name.to_owned(), columns, all: Vec::new() })
    }

    /// Describes the columns of a table that the rows have.
    ///
    /// # Errors
    /// 42703 for a column that it has not.
    pub async fn find(
        connection: &mut SqliteConnection,
        name: &str,
        names: &[&str],
    ) -> sqlx::Result<Result<Self>> {
        let sql = format!(
            "SELECT name, type, hidden FROM pragma_table_xinfo({}) WHERE hidden <> 1",
            quote_literal(name)
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
        let known = rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>();
        let mut columns = Vec::with_capacity(names.len());
        for wanted in names {
            let Some(at) = known.iter().position(|known| known == wanted) else {
                let error = Error::new(
                    ErrorKind::UndefinedColumn,
                    format!("column \"{wanted}\" of {name} does not exist"),
                );
                let near = did_you_mean(wanted, known.iter().map(String::as_str));
                return Ok(Err(match near {
                    Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                    None => error,
                }));
            };
            let declared: String = rows[at].get(1);
            let mapping = mapping(&declared);
            let is_computed = rows[at].get::<i64, _>(2) > 1;
            columns.push(Column { name: (*wanted).to_owned(), declared, mapping, is_computed });
        }
        Ok(Ok(Self { name: name.to_owned(), columns, all: known }))
    }

    pub fn quoted(&self) -> String {
        format!("main.{}", quoted(&self.name))
    }

    /// Returns the columns' names, each by `write`, with commas between them.
    pub fn names(&self, write: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(write).collect::<Vec<_>>().join(", ")
    }

    /// Returns the statement that makes the table.
    pub fn create(&self, new: &NewTable, rows: &Schema) -> String {
        let mut parts = Vec::new();
        for (column, field) in self.columns.iter().zip(rows.fields()) {
            let is_key = new.primary_key.contains(&column.name);
            let null = if field.is_nullable() && !is_key { "" } else { " NOT NULL" };
            parts.push(format!("{} {}{null}", quoted(&column.name), column.declared));
        }
        if !new.primary_key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", list(&new.primary_key)));
        }
        format!("CREATE TABLE {} ({})", self.quoted(), parts.join(", "))
    }

    /// Returns a query without rows.
    pub fn nothing(&self) -> String {
        format!("SELECT {} WHERE false", self.names(|_| "NULL".to_owned()))
    }

    /// Returns the query of staged rows. Its condition keeps `ON CONFLICT` from being read as one of a join.
    pub fn staged(&self, stage: &str) -> String {
        format!("SELECT {} FROM {stage} WHERE true", self.names(|column| quoted(&column.name)))
    }

    /// Returns the query that finds keys which come twice.
    pub fn twice(&self, stage: &str, keys: &[String]) -> String {
        let known = keys.iter().map(|key| format!("{} IS NOT NULL", quoted(key)));
        let known = known.collect::<Vec<_>>().join(" AND ");
        let keys = list(keys);
        format!("SELECT 1 FROM {stage} WHERE {known} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1")
    }

    /// Returns the statement that puts rows into the table as `mode` says.
    pub fn insert(&self, mode: &WriteMode, rows: &str) -> String {
        let conflict = match mode {
            WriteMode::Upsert { keys, replaced, .. } if keys.is_empty() && replaced.is_empty() => {
                " ON CONFLICT DO NOTHING".to_owned()
            }
            WriteMode::Upsert { keys, replaced, .. } if replaced.is_empty() => {
                format!(" ON CONFLICT ({}) DO NOTHING", list(keys))
            }
            WriteMode::Upsert { keys, replaced, .. } => {
                let set = replaced.iter().map(|name| format!("{0} = excluded.{0}", quoted(name)));
                let set = set.collect::<Vec<_>>().join(", ");
                format!(" ON CONFLICT ({}) DO UPDATE SET {set}", list(keys))
            }
            _ => String::new(),
        };
        let names = self.names(|column| quoted(&column.name));
        format!("INSERT INTO {} ({names}) {rows}{conflict}", self.quoted())
    }
}

pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}
