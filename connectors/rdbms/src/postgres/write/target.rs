//! The table that is written: its columns as the database has them, and the SQL about it.

use std::collections::HashMap;

use arrow::datatypes::Schema;
use maru_connect::{Computed, NewTable, WriteMode};
use maru_core::{Error, ErrorKind, Result, did_you_mean};
use sqlx::{PgConnection, Row};

use super::change::staged_name;
use super::encode::Wire;
use super::types::created;
use crate::postgres::catalog::{self, quoted};
use crate::postgres::types::Kind;
use crate::write::is_given;

/// A table of the database, or one to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub schema: String,
    pub name: String,
    /// Its columns that are written, in the order of the rows.
    pub columns: Vec<Column>,
    /// Whether COPY cannot write to it as it is: some types have no binary form here, or rows are subject to policies.
    pub staged: bool,
    /// Views and foreign tables are not locked by themselves.
    pub is_lockable: bool,
}

/// A column of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub name: String,
    /// The type with its modifier, as SQL writes it.
    pub sql_type: String,
    /// The type without its modifier, to which text is cast; `None` for values that travel in their binary form.
    pub from_text: Option<String>,
    pub wire: Wire,
    /// Whether the table computes it itself, whatever a statement says.
    pub is_computed: bool,
}

impl Column {
    /// Returns the type of the column in a staging table.
    pub fn staged_type(&self) -> &str {
        match (&self.from_text, &self.wire.kind) {
            (None, _) => &self.sql_type,
            (Some(_), Kind::List(_)) => "text[]",
            (Some(_), _) => "text",
        }
    }
}

impl Target {
    /// Plans a table that does not exist yet.
    ///
    /// # Errors
    /// 22023 for a type that PostgreSQL has no place for; 42701 for a name that comes twice.
    pub fn created(schema: &str, name: &str, rows: &Schema) -> Result<Self> {
        let mut columns: Vec<Column> = Vec::new();
        for field in rows.fields() {
            if columns.iter().any(|other| other.name == *field.name()) {
                return Err(Error::new(
                    ErrorKind::DuplicateColumn,
                    format!("column \"{}\" is named twice", field.name()),
                ));
            }
            let (sql_type, wire) = created(field)?;
            columns.push(Column {
                name: field.name().clone(),
                sql_type,
                from_text: None,
                wire,
                is_computed: false,
            });
        }
        Ok(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns,
            staged: false,
            is_lockable: true,
        })
    }

    /// Describes the columns of a table that the rows have.
    ///
    /// # Errors
    /// 42703 for a column that it has not; `None` if there is no such table.
    pub async fn find(
        connection: &mut PgConnection,
        schema: &str,
        name: &str,
        names: &[&str],
        numeric_scale: i8,
    ) -> sqlx::Result<Result<Option<Self>>> {
        let relation = catalog::relation(connection, schema, name, numeric_scale).await?;
        let Some((oid, relation)) = relation.and_then(|found| Some((found.oid?, found))) else {
            return Ok(Ok(None));
        };
        let facts = sqlx::query(
            "SELECT a.attnum, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1),
                    coalesce(nullif(b.typelem, 0), t.typelem)::int8, row_security_active(a.attrelid),
                    c.relkind::text,
                    a.attidentity = 'a' OR coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
             WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped",
        )
        .bind(i64::from(oid))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
        let mut by_number = HashMap::new();
        for row in &facts {
            by_number.insert(row.try_get::<i16, _>(0)?, row);
        }
        let mut columns = Vec::with_capacity(names.len());
        // What policies say of rows, COPY does not ask. Rows of a view go where its rules say.
        let (mut staged, mut is_lockable) = (false, true);
        if let Some(row) = facts.first() {
            is_lockable = !matches!(row.try_get(5)?, "v" | "f");
            staged = row.try_get(4)? || !is_lockable;
        }
        for name in names {
            let known = relation.columns.iter().find(|column| column.name == *name);
            let Some((column, facts)) =
                known.and_then(|column| Some((column, by_number.get(&column.number)?)))
            else {
                return Ok(Err(no_column(&relation, name)));
            };
            let item: i64 = facts.try_get(3)?;
            let kind = column.mapping.kind.clone();
            // What is read as text by a cast has no binary form here, but for char(n).
            const CHAR: u32 = 1042;
            let as_text = !column.mapping.cast.is_empty() && column.type_oid != CHAR
                || (matches!(kind, Kind::List(_)) && item == 0);
            staged |= as_text;
            const TEXT: u32 = 25;
            let item = if as_text { TEXT } else { u32::try_from(item).unwrap_or_default() };
            columns.push(Column {
                name: (*name).to_owned(),
                sql_type: facts.try_get(1)?,
                from_text: if as_text { Some(facts.try_get(2)?) } else { None },
                wire: Wire { kind, item },
                is_computed: facts.try_get(6)?,
            });
        }
        let (schema, name) = (schema.to_owned(), name.to_owned());
        Ok(Ok(Some(Self { schema, name, columns, staged, is_lockable })))
    }

    /// For messages: `public.customers`.
    pub fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// As SQL writes it.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Returns the columns' names, each by `write`, with commas between them.
    pub fn names(&self, write: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(write).collect::<Vec<_>>().join(", ")
    }

    fn own_names(&self) -> String {
        self.names(|column| quoted(&column.name))
    }

    /// Returns the statement that takes the rows.
    pub fn copy(&self, into: &str) -> String {
        format!("COPY {into} ({}) FROM STDIN (FORMAT BINARY)", self.own_names())
    }

    /// Returns the statement that makes the table under the name `name`.
    pub fn create(&self, name: &str, new: &NewTable, rows: &Schema) -> String {
        let mut parts = Vec::new();
        for (column, field) in self.columns.iter().zip(rows.fields()) {
            let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
            parts.push(format!("{} {}{not_null}", quoted(&column.name), column.sql_type));
        }
        if !new.primary_key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", list(&new.primary_key)));
        }
        let table = format!("{}.{}", quoted(&self.schema), quoted(name));
        format!("CREATE TABLE {table} ({})", parts.join(", "))
    }

    /// Returns the statement that makes a staging table of this session.
    pub fn stage(&self, name: &str, more: &[(String, String)]) -> String {
        let mut parts =
            more.iter().map(|(name, sql)| format!("{} {sql}", quoted(name))).collect::<Vec<_>>();
        let own = self.columns.iter();
        parts.extend(own.map(|column| {
            format!("{} {}", quoted(&staged_name(&column.name)), column.staged_type())
        }));
        format!("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP", quoted(name), parts.join(", "))
    }

    /// Returns how the values of a column come out of a staging table.
    pub fn staged(column: &Column, alias: &str) -> String {
        let name = quoted(&staged_name(&column.name));
        match &column.from_text {
            None => format!("{alias}.{name}"),
            Some(to) if matches!(column.wire.kind, Kind::List(_)) && !to.ends_with("[]") => {
                format!("{alias}.{name}::text::{to}")
            }
            Some(to) => format!("{alias}.{name}::{to}"),
        }
    }

    /// Returns whether no value is given for any column: there is one row then.
    pub fn is_given_nothing(&self, given: &Schema) -> bool {
        !self.columns.iter().any(|column| is_given(given, &column.name))
    }

    /// Returns the statement that moves staged rows, as `mode` says.
    pub fn insert_staged(&self, stage: &str, mode: &WriteMode, given: &Schema) -> String {
        let values = self.names(|column| Self::staged(column, "s"));
        self.insert(mode, given, &format!("SELECT {values} FROM {} AS s", quoted(stage)))
    }

    /// Returns a statement that the database can check before there are rows: types, rights, keys.
    pub fn insert_nothing(&self, mode: &WriteMode, given: &Schema) -> String {
        let values = self.names(|column| format!("NULL::{}", column.sql_type));
        self.insert(mode, given, &format!("SELECT {values} WHERE false"))
    }

    fn insert(&self, mode: &WriteMode, given: &Schema, rows: &str) -> String {
        let conflict = match mode {
            WriteMode::Upsert { keys, replaced, computed } => {
                let taken = replaced.iter().map(|name| format!("{0} = excluded.{0}", quoted(name)));
                let made = computed.iter();
                let made =
                    made.map(|(name, value)| format!("{} = {}", quoted(name), made_of(value)));
                let set = taken.chain(made).collect::<Vec<_>>();
                let key =
                    if keys.is_empty() { String::new() } else { format!(" ({})", list(keys)) };
                match set.is_empty() {
                    true => format!(" ON CONFLICT{key} DO NOTHING"),
                    false => format!(" ON CONFLICT{key} DO UPDATE SET {}", set.join(", ")),
                }
            }
            _ => String::new(),
        };
        let is_named = matches!(mode, WriteMode::Upsert { computed, .. } if !computed.is_empty());
        let alias = if is_named { format!(" AS {OLD}") } else { String::new() };
        let rows = match self.is_given_nothing(given) {
            true => "DEFAULT VALUES".to_owned(),
            false => format!("({}) {rows}", self.own_names()),
        };
        format!("INSERT INTO {}{alias} {rows}{conflict}", self.quoted())
    }
}

/// What a statement calls the rows that are there.
const OLD: &str = "maru_old";

/// Writes what a column is set to.
fn made_of(value: &Computed) -> String {
    match value {
        Computed::Old(name) => format!("{OLD}.{}", quoted(name)),
        Computed::New(name) => format!("excluded.{}", quoted(name)),
        Computed::Number(digits) => format!("({digits})"),
        // Whatever the server takes backslashes for.
        Computed::Text(text) => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Computed::Null => "NULL".to_owned(),
        Computed::Binary(left, op, right) => {
            format!("({} {op} {})", made_of(left), made_of(right))
        }
        Computed::Call(name, values) => {
            let values = values.iter().map(made_of).collect::<Vec<_>>();
            format!("{name}({})", values.join(", "))
        }
    }
}

/// Returns names with commas between them.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn no_column(relation: &catalog::Relation, name: &str) -> Error {
    let known = relation.columns.iter().map(|column| column.name.as_str());
    let error = Error::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{name}\" of {} does not exist", relation.shown),
    );
    match did_you_mean(name, known) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error,
    }
}
