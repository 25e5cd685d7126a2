//! What information_schema knows: schemas, tables, columns, and the columns of a query.
//!
//! Names are compared here as well as there, because information_schema compares them without regard to case.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use maru_connect::{ColumnEstimate, TableEntry, TableKind, TableStatistics};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{
    AssertSqlSafe, Column as _, Executor, MySql, Row, SqlSafeStr, Statement, Type, TypeInfo,
};

use super::conditions::text_literal;
use super::read::SESSION;
use super::types::{self, Choices, Kind, Mapping, TypeRow};
use crate::native;

/// Schemas of the server's own, shown only if the catalog is made for one.
const HIDDEN: &[&str] = &["information_schema", "mysql", "performance_schema", "sys"];

/// Something that can stand in FROM, with its columns.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// For messages: `shop.customers`.
    pub shown: String,
    /// What stands in FROM.
    pub from: String,
    /// What must still be as it was described when rows are read; none below a query in the server's own words.
    pub bases: Vec<Base>,
    pub columns: Vec<MyColumn>,
    /// Sets of columns in which rows differ.
    pub unique: Vec<Vec<usize>>,
    pub schema: SchemaRef,
    pub statistics: TableStatistics,
    /// What is believed of the columns; may be shorter than they are.
    pub estimates: Vec<ColumnEstimate>,
}

/// A table or view that is read, and what information_schema said of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub schema: String,
    pub name: String,
    pub described: Vec<Described>,
}

/// A column as information_schema has it: its name, its type, its character set, and whether NULL may be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described(String, String, Option<String>, String);

impl Base {
    /// Returns statements of which the last one gives what [`Base::is_still`] looks at. The first keeps the table as it is until the
    /// transaction ends.
    pub fn look(&self) -> String {
        format!(
            "SELECT 1 FROM {}.{} LIMIT 0; SELECT table_schema, table_name, column_name, column_type, \
             character_set_name, is_nullable FROM information_schema.columns \
             WHERE table_schema = {} AND table_name = {}",
            quoted(&self.schema),
            quoted(&self.name),
            text_literal(&self.schema),
            text_literal(&self.name)
        )
    }

    /// Returns whether every column is still what it was described as. There may be more by now.
    pub fn is_still(&self, rows: &[MySqlRow]) -> sqlx::Result<bool> {
        let mut now = Vec::new();
        for row in rows.iter().filter(|row| row.len() == 6) {
            if text(row, 0)? == self.schema && text(row, 1)? == self.name {
                let charset = optional_text(row, 4)?;
                now.push(Described(text(row, 2)?, text(row, 3)?, charset, text(row, 5)?));
            }
        }
        Ok(now.starts_with(&self.described)
            || self.described.iter().all(|column| now.contains(column)))
    }
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct MyColumn {
    /// The name in backticks.
    pub quoted: String,
    pub nullable: bool,
    pub mapping: Mapping,
}

pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Reads text whatever character set the server says it has: MySQL 8 calls some of information_schema binary.
pub(super) fn text(row: &MySqlRow, index: usize) -> sqlx::Result<String> {
    row.try_get_unchecked(index)
}

pub(super) fn optional_text(row: &MySqlRow, index: usize) -> sqlx::Result<Option<String>> {
    row.try_get_unchecked(index)
}

fn number(row: &MySqlRow, index: usize) -> sqlx::Result<Option<u64>> {
    Ok(optional_text(row, index)?.and_then(|digits| digits.parse().ok()))
}

pub(crate) async fn schemas(
    connection: &mut MySqlConnection,
    only: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    let rows = sqlx::query("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
        .fetch_all(connection)
        .await?;
    let mut names = rows.iter().map(|row| text(row, 0)).collect::<sqlx::Result<Vec<_>>>()?;
    names.retain(|name| match only {
        Some(only) => name == only,
        None => !HIDDEN.contains(&name.to_lowercase().as_str()),
    });
    Ok(names)
}

pub(crate) async fn tables(
    connection: &mut MySqlConnection,
    schema: &str,
) -> sqlx::Result<Vec<TableEntry>> {
    let rows = sqlx::query(
        "SELECT table_schema, table_name, table_type, table_comment FROM information_schema.tables
         WHERE table_schema = ?",
    )
    .bind(schema)
    .fetch_all(connection)
    .await
    .or_else(nothing_if_no_name)?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(kind) = kind(&text(row, 2)?).filter(|_| text(row, 0).is_ok_and(|s| s == schema))
        else {
            continue;
        };
        let comment = optional_text(row, 3)?
            // Of a view it says so, or what is wrong with it.
            .filter(|comment| !comment.is_empty() && kind == TableKind::Table);
        tables.push(TableEntry { name: text(row, 1)?, kind, comment });
    }
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tables)
}

/// MariaDB refuses to look for what could not be a name at all, such as one that ends in a blank.
pub(super) fn nothing_if_no_name(error: sqlx::Error) -> sqlx::Result<Vec<MySqlRow>> {
    const WRONG_NAMES: [u16; 2] = [1102, 1103];
    let number = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .map(MySqlDatabaseError::number);
    if number.is_some_and(|number| WRONG_NAMES.contains(&number)) {
        Ok(Vec::new())
    } else {
        Err(error)
    }
}

/// Returns what an entry is; `None` for a sequence, which holds no rows of a user.
fn kind(table_type: &str) -> Option<TableKind> {
    match table_type {
        "VIEW" | "SYSTEM VIEW" => Some(TableKind::View),
        "SEQUENCE" => None,
        _ => Some(TableKind::Table),
    }
}

/// Describes a table or view; `None` if there is none.
pub(crate) async fn relation(
    connection: &mut MySqlConnection,
    schema: &str,
    name: &str,
    choices: Choices,
) -> sqlx::Result<Option<Relation>> {
    let rows = sqlx::query(
        "SELECT table_schema, table_name, table_type, CAST(table_rows AS CHAR), CAST(data_length AS CHAR)
         FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(&mut *connection)
    .await
    .or_else(nothing_if_no_name)?;
    let this = |row: &&MySqlRow| {
        text(row, 0).is_ok_and(|found| found == schema)
            && text(row, 1).is_ok_and(|found| found == name)
    };
    let Some(found) = rows.iter().find(this) else { return Ok(None) };
    let Some(kind) = kind(&text(found, 2)?) else { return Ok(None) };
    let rows = sqlx::query(
        "SELECT table_schema, table_name, column_name, data_type, column_type,
                CAST(numeric_precision AS CHAR), CAST(numeric_scale AS CHAR), character_set_name, is_nullable
         FROM information_schema.columns WHERE table_schema = ? AND table_name = ?
         ORDER BY ordinal_position",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(&mut *connection)
    .await?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut fields = Vec::with_capacity(rows.len());
    let mut described = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(this) {
        let column = text(row, 2)?;
        let declared = TypeRow {
            data_type: text(row, 3)?,
            column_type: text(row, 4)?,
            precision: number(row, 5)?,
            scale: number(row, 6)?,
            charset: optional_text(row, 7)?,
        };
        let is_nullable = text(row, 8)?;
        // What a view says of NULL is a guess.
        let nullable = kind == TableKind::View || is_nullable != "NO";
        let (column_type, charset) = (declared.column_type.clone(), declared.charset.clone());
        described.push(Described(column.clone(), column_type, charset, is_nullable));
        let mapping = types::mapping(&declared, choices);
        fields.push(Field::new(&column, mapping.kind.arrow(), nullable));
        columns.push(MyColumn { quoted: quoted(&column), nullable, mapping });
    }
    let (unique, estimates) = match kind {
        TableKind::Table => indexes(connection, schema, name, &columns).await?,
        TableKind::View => (Vec::new(), Vec::new()),
    };
    let estimate = |value: Option<u64>| {
        value.and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0)
    };
    Ok(Some(Relation {
        shown: format!("{schema}.{name}"),
        from: format!("{}.{}", quoted(schema), quoted(name)),
        bases: vec![Base { schema: schema.to_owned(), name: name.to_owned(), described }],
        columns,
        unique,
        schema: Arc::new(Schema::new(fields)),
        statistics: TableStatistics {
            n_rows: estimate(number(found, 3)?),
            n_bytes: estimate(number(found, 4)?),
        },
        estimates,
    }))
}

/// Fetches the sets of columns that a unique index keeps different. An index on the beginning of a text keeps that apart, and so
/// the text. A collation takes more for equal than the engine does, so what differs there differs here. With them come the
/// numbers of different values of columns that an index begins with.
async fn indexes(
    connection: &mut MySqlConnection,
    schema: &str,
    name: &str,
    columns: &[MyColumn],
) -> sqlx::Result<(Vec<Vec<usize>>, Vec<ColumnEstimate>)> {
    let rows = sqlx::query(
        "SELECT table_schema, table_name, index_name, column_name, CAST(non_unique AS CHAR),
                CAST(seq_in_index AS CHAR), CAST(cardinality AS CHAR)
         FROM information_schema.statistics
         WHERE table_schema = ? AND table_name = ?
         ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(connection)
    .await?;
    let mut keys: Vec<(String, Option<Vec<usize>>)> = Vec::new();
    let mut estimates = vec![ColumnEstimate::default(); columns.len()];
    for row in &rows {
        if text(row, 0)? != schema || text(row, 1)? != name {
            continue;
        }
        let index = text(row, 2)?;
        let column = optional_text(row, 3)?.map(|column| quoted(&column));
        let position =
            column.and_then(|column| columns.iter().position(|known| known.quoted == column));
        let counted = number(row, 6)?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        if let (Some(position), Some(1)) = (position, number(row, 5)?) {
            let known = &mut estimates[position].n_distinct;
            *known = (*known).max(counted);
        }
        if number(row, 4)? != Some(0) {
            continue;
        }
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
    Ok((keys.into_iter().filter_map(|(_, key)| key).collect(), estimates))
}

/// Describes a query without running it.
///
/// # Errors
/// What the server says of the query; `?` in it; a query that leaves its parentheses.
pub(crate) async fn query(
    connection: &mut MySqlConnection,
    query: &str,
    choices: Choices,
) -> sqlx::Result<Relation> {
    let invalid = |message: &str| sqlx::Error::InvalidArgument(message.to_owned());
    native::MYSQL.check(query).map_err(invalid)?;
    sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
    // As a derived table from the first look on: only what can stand there is read, so no INSERT and no INTO OUTFILE. A
    // second statement is refused, because only one can be prepared.
    let from = format!("(\n{query}\n) AS native_query");
    let sql = AssertSqlSafe(format!("SELECT * FROM {from}")).into_sql_str();
    let described = (&mut *connection).prepare(sql).await?;
    if described.parameters().is_some_and(|parameters| parameters.right_or(0) > 0) {
        return Err(invalid("the query has a parameter \"?\"; write its value there"));
    }
    if described.columns().is_empty() {
        return Err(invalid("the query has no columns"));
    }
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for column in described.columns() {
        let name = column.name();
        let type_info = column.type_info();
        let has_charset = <str as Type<MySql>>::compatible(type_info);
        let mapping = types::native(type_info.name(), has_charset, choices);
        fields.push(Field::new(name, mapping.kind.arrow(), true));
        columns.push(MyColumn { quoted: quoted(name), nullable: true, mapping });
    }
    Ok(Relation {
        shown: "the native query".to_owned(),
        from,
        bases: Vec::new(),
        columns,
        unique: Vec::new(),
        schema: Arc::new(Schema::new(fields)),
        statistics: TableStatistics::default(),
        estimates: Vec::new(),
    })
}

impl Relation {
    /// Returns the columns of a key that every row has.
    pub fn row_key(&self) -> Option<&[usize]> {
        let whole = |key: &&Vec<usize>| {
            let known = |column: &usize| self.columns.get(*column).is_some_and(|c| !c.nullable);
            !key.is_empty() && key.iter().all(known)
        };
        self.unique.iter().find(whole).map(Vec::as_slice)
    }
}

impl MyColumn {
    /// Returns whether values may be stored that are dates only for MySQL: `0000-00-00`, `2024-02-00`.
    pub fn may_be_no_date(&self) -> bool {
        matches!(self.mapping.kind, Kind::Date | Kind::Datetime | Kind::Timestamp)
    }
}
