//! What SQLite says of a table's columns, and what of their values is certain by that.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use maru_core::quote_literal;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::named;
use super::table::Column;
use super::types::mapping;

/// How far values are known to be of the type that their column declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Columns of views and queries hold whatever is computed there.
    Unknown,
    /// A column of a table turns what it can into its type. What it could not turn may be there still, but equals no value of the type.
    Turned,
    /// There is no other value: columns of `STRICT` tables, and the number of a row.
    Proven,
}

impl Certainty {
    fn of(number: i64) -> Self {
        match number {
            2 => Self::Proven,
            1 => Self::Turned,
            _ => Self::Unknown,
        }
    }
}

/// A column as SQLite describes it: its name, its declared type, whether NULL may be in it, and what else may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) nullable: bool,
    pub(super) certainty: Certainty,
}

/// Asks for the columns of a table or view; there are none of one that is not there.
pub(super) async fn description(
    connection: &mut SqliteConnection,
    name: &str,
) -> sqlx::Result<Vec<Described>> {
    let table = quote_literal(name);
    // A primary key that is the number of the row has no index of its own; `INTEGER PRIMARY KEY DESC` has one, and holds anything.
    let sql = format!(
        "SELECT c.name, c.type, c.\"notnull\", CASE WHEN t.type IS NOT 'table' THEN 0 WHEN t.strict THEN 2 \
         WHEN NOT t.wr AND c.pk = 1 AND upper(c.type) = 'INTEGER' \
         AND NOT EXISTS (SELECT 1 FROM pragma_index_list({table}) AS i WHERE i.origin = 'pk') THEN 2 ELSE 1 END \
         FROM pragma_table_xinfo({table}) AS c LEFT JOIN (SELECT type, wr, strict FROM pragma_table_list({table}) \
         ORDER BY schema = 'temp' DESC LIMIT 1) AS t WHERE c.hidden <> 1 ORDER BY c.cid"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let described = rows.iter().map(|row| {
        let (name, declared) = (row.try_get(0)?, row.try_get(1)?);
        let nullable = row.try_get::<i64, _>(2)? == 0;
        let certainty = Certainty::of(row.try_get::<i64, _>(3)?);
        Ok(Described { name, declared, nullable, certainty })
    });
    described.collect()
}

/// Reads what [`description`] has asked for.
pub(super) fn columns_of(described: &[Described]) -> (Vec<Column>, SchemaRef) {
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for Described { name, declared, nullable, certainty } in described {
        let (mapping, certainty) = (mapping(declared), *certainty);
        fields.push(Field::new(name, mapping.data_type(), *nullable));
        columns.push(Column { name: name.clone(), quoted: named(name), mapping, certainty });
    }
    (columns, Arc::new(Schema::new(fields)))
}
