//! What pg_catalog knows: schemas, tables, columns, and the columns of a query.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use maru_connect::{ColumnEstimate, TableEntry, TableKind, TableStatistics};
use sqlx::{AssertSqlSafe, Column, Executor, PgConnection, Row, SqlSafeStr, Statement, TypeInfo};

use super::estimates;
use super::parallel::Pages;
use super::types::{self, Collation, Mapping, TypeRow};

/// Something that can stand in FROM, with its columns.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// For messages: `public.customers`.
    pub shown: String,
    /// What stands in FROM.
    pub from: String,
    /// The oid in pg_class; `None` for a query.
    pub oid: Option<u32>,
    /// The tables below a derived one.
    pub bases: Vec<Base>,
    /// Whether it is a table of this database, whose rows have a place.
    pub is_table: bool,
    /// The size of a table that can be read in ranges of its pages.
    pub pages: Option<Pages>,
    /// Sets of columns in which rows differ.
    pub unique: Vec<Vec<usize>>,
    pub columns: Vec<PgColumn>,
    pub schema: SchemaRef,
    pub statistics: TableStatistics,
    /// What is believed of the columns; may be shorter than they are.
    pub estimates: Vec<ColumnEstimate>,
    /// Whether text is UTF-8 in the database, so that bytes there are bytes here.
    pub utf8: bool,
}

/// A table whose columns must still be what they were when rows are read.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub from: String,
    pub oid: u32,
    pub columns: Vec<PgColumn>,
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct PgColumn {
    pub name: String,
    /// The name in double quotes.
    pub quoted: String,
    /// Number in pg_attribute, and type, modifier and collation there: what must still hold when rows are read.
    pub number: i16,
    pub type_oid: u32,
    pub typmod: i32,
    pub collation: u32,
    /// Whether the engine was told that there is no NULL in it, which must hold, too.
    pub not_null: bool,
    pub mapping: Mapping,
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) async fn schemas(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT nspname::text FROM pg_namespace
         WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
           AND has_schema_privilege(oid, 'USAGE')
         ORDER BY nspname",
    )
    .persistent(false)
    .fetch_all(connection)
    .await
}

pub(crate) async fn tables(
    connection: &mut PgConnection,
    schema: &str,
) -> sqlx::Result<Vec<TableEntry>> {
    // Partitions are read through their table.
    let rows = sqlx::query(
        "SELECT c.relname::text, c.relkind IN ('v', 'm') AS is_view, obj_description(c.oid, 'pg_class')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
         ORDER BY c.relname",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let kind = if row.try_get(1)? { TableKind::View } else { TableKind::Table };
            Ok(TableEntry { name: row.try_get(0)?, kind, comment: row.try_get(2)? })
        })
        .collect()
}

/// Describes a table or view; `None` if there is none.
pub(crate) async fn relation(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
    numeric_scale: i8,
) -> sqlx::Result<Option<Relation>> {
    let found = sqlx::query(
        "SELECT c.oid::int8, c.reltuples::float8,
                c.relpages::int8 * current_setting('block_size')::int8,
                current_setting('server_encoding') = 'UTF8',
                c.relkind = 'p' OR (c.relkind = 'r' AND c.relpages >= 1000), c.relkind IN ('r', 'p')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    )
    .bind(schema)
    .bind(name)
    .persistent(false)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let oid = narrowed(found.try_get::<i64, _>(0)?);
    // Only a plain table enforces NOT NULL; since PostgreSQL 18 a constraint may also not be validated yet. The
    // collation's row is taken as JSON because PostgreSQL 11 has no collisdeterministic: all are.
    let rows = sqlx::query(
        "SELECT a.attname::text, a.attnum, a.atttypid::int8, a.atttypmod,
                a.attnotnull AND c.relkind IN ('r', 'p') AND NOT EXISTS (
                    SELECT FROM pg_constraint k
                    WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
                      AND a.attnum = ANY (k.conkey)),
                coalesce((to_jsonb(l) ->> 'collisdeterministic')::bool, true),
                coalesce(l.oid IN (950, 951), false), a.attndims > 1, a.attcollation::int8
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         LEFT JOIN pg_collation l ON l.oid = a.attcollation
         WHERE c.oid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum",
    )
    .bind(i64::from(oid))
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let oids = rows
        .iter()
        .map(|row| Ok(narrowed(row.try_get::<i64, _>(2)?)))
        .collect::<sqlx::Result<Vec<_>>>()?;
    let types = type_rows(connection, oids).await?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut fields = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: String = row.try_get(0)?;
        let type_oid = narrowed(row.try_get::<i64, _>(2)?);
        let typmod = row.try_get(3)?;
        let collation = Collation { deterministic: row.try_get(5)?, c_order: row.try_get(6)? };
        let mut mapping = types::mapping(type_oid, typmod, collation, &types, numeric_scale);
        if row.try_get(7)? {
            mapping = mapping.of_dimensions();
        }
        let not_null: bool = row.try_get(4)?;
        fields.push(Field::new(&name, mapping.kind.arrow(), !not_null));
        columns.push(PgColumn {
            quoted: quoted(&name),
            name,
            number: row.try_get(1)?,
            type_oid,
            typmod,
            collation: narrowed(row.try_get::<i64, _>(8)?),
            not_null,
            mapping,
        });
    }
    let unique = unique_keys(connection, oid, &columns).await?;
    let pages = if found.try_get(4)? { pages(connection, oid).await? } else { None };
    let statistics = statistics(found.try_get(1)?, found.try_get(2)?);
    let estimates = match statistics.n_rows {
        Some(n_rows) => estimates::fetch(connection, oid, &columns, n_rows).await?,
        None => Vec::new(),
    };
    Ok(Some(Relation {
        shown: format!("{schema}.{name}"),
        from: format!("{}.{}", quoted(schema), quoted(name)),
        oid: Some(oid),
        bases: Vec::new(),
        is_table: found.try_get(5)?,
        pages,
        unique,
        columns,
        schema: Arc::new(Schema::new(fields)),
        statistics,
        estimates,
        utf8: found.try_get(3)?,
    }))
}

/// Describes a query without running it.
///
/// # Errors
/// What PostgreSQL says of the query; two columns of one name.
pub(crate) async fn query(
    connection: &mut PgConnection,
    query: &str,
    numeric_scale: i8,
) -> sqlx::Result<Relation> {
    // As a subquery from the first look on: only what can stand there is read, so no INSERT and no second statement.
    let from = format!("(\n{query}\n) AS native_query");
    let sql = AssertSqlSafe(format!("SELECT * FROM {from}")).into_sql_str();
    let described = (&mut *connection).prepare(sql).await?;
    let utf8 = sqlx::query_scalar("SELECT current_setting('server_encoding') = 'UTF8'")
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    let oids = described
        .columns()
        .iter()
        .map(|column| {
            column.type_info().oid().map(|oid| oid.0).ok_or_else(|| sqlx::Error::TypeNotFound {
                type_name: column.type_info().name().to_owned(),
            })
        })
        .collect::<sqlx::Result<Vec<_>>>()?;
    let types = type_rows(connection, oids.clone()).await?;
    // The collation of a query's column is not told: text is compared under "C" or not at all.
    let collation = Collation { deterministic: false, c_order: false };
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for (column, oid) in described.columns().iter().zip(oids) {
        let name = column.name().to_owned();
        if columns.iter().any(|other: &PgColumn| other.name == name) {
            return Err(sqlx::Error::InvalidArgument(format!(
                "the query has two columns \"{name}\"; give one an alias"
            )));
        }
        let mapping = types::mapping(oid, -1, collation, &types, numeric_scale);
        fields.push(Field::new(&name, mapping.kind.arrow(), true));
        columns.push(PgColumn {
            quoted: quoted(&name),
            name,
            number: 0,
            type_oid: oid,
            typmod: -1,
            collation: 0,
            not_null: false,
            mapping,
        });
    }
    Ok(Relation {
        shown: "the native query".to_owned(),
        from,
        oid: None,
        bases: Vec::new(),
        is_table: false,
        pages: None,
        unique: Vec::new(),
        columns,
        schema: Arc::new(Schema::new(fields)),
        statistics: TableStatistics::default(),
        estimates: Vec::new(),
        utf8,
    })
}

/// Fetches the sets of columns that a unique index keeps different: whole tables, checked at once, of columns as they are.
async fn unique_keys(
    connection: &mut PgConnection,
    oid: u32,
    columns: &[PgColumn],
) -> sqlx::Result<Vec<Vec<usize>>> {
    let rows = sqlx::query(
        "SELECT array(SELECT k::int2 FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k)
         FROM pg_index i
         WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
           AND i.indpred IS NULL AND i.indexprs IS NULL
         ORDER BY i.indisprimary DESC, i.indexrelid",
    )
    .bind(i64::from(oid))
    .persistent(false)
    .fetch_all(connection)
    .await?;
    let mut keys = Vec::new();
    for row in rows {
        let numbers: Vec<i16> = row.try_get(0)?;
        let position = |number| columns.iter().position(|column| column.number == number);
        keys.extend(numbers.into_iter().map(position).collect::<Option<Vec<_>>>());
    }
    Ok(keys)
}

/// Fetches the size of a table, or of one's partitions, if ranges of `ctid` are ranges of its rows which the server knows to find
/// (since PostgreSQL 14): heaps only, none of them foreign, without tables that inherit. Who may read some columns alone may not
/// lock it.
async fn pages(connection: &mut PgConnection, oid: u32) -> sqlx::Result<Option<Pages>> {
    let found = sqlx::query(
        "SELECT max(c.relpages)::int8, sum(greatest(c.relpages, 0))::int8
         FROM (SELECT $1::int8::oid AS relid
               UNION SELECT relid::oid FROM pg_partition_tree($1::int8::oid) WHERE isleaf) t
         JOIN pg_class c ON c.oid = t.relid
         WHERE c.relkind <> 'p'
         HAVING bool_and(c.relkind = 'r' AND NOT c.relhassubclass
                         AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'heap'))
            AND current_setting('server_version_num')::int >= 140000
            AND has_table_privilege($1::int8::oid, 'SELECT')",
    )
    .bind(i64::from(oid))
    .persistent(false)
    .fetch_optional(connection)
    .await;
    let found = match found {
        Ok(found) => found,
        // An older server, or one that only speaks the protocol.
        Err(sqlx::Error::Database(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(row) = found else { return Ok(None) };
    let pages = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(Some(Pages { largest: pages(row.try_get(0)?), total: pages(row.try_get(1)?) }))
}

/// Fetches the types that are not built in, and what they are made of.
async fn type_rows(
    connection: &mut PgConnection,
    oids: Vec<u32>,
) -> sqlx::Result<HashMap<u32, TypeRow>> {
    let mut types = HashMap::new();
    let mut wanted = oids;
    loop {
        wanted.retain(|oid| *oid != 0 && !types::is_builtin(*oid) && !types.contains_key(oid));
        if wanted.is_empty() {
            return Ok(types);
        }
        let rows = sqlx::query(
            "SELECT t.oid::int8, t.typtype::text, t.typbasetype::int8, t.typtypmod,
                    CASE WHEN e.typarray = t.oid THEN t.typelem::int8 ELSE 0 END
             FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
             WHERE t.oid::int8 = ANY ($1)",
        )
        .bind(wanted.iter().map(|oid| i64::from(*oid)).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
        wanted.clear();
        for row in rows {
            let found = TypeRow {
                typtype: row.try_get(1)?,
                base: narrowed(row.try_get::<i64, _>(2)?),
                base_typmod: row.try_get(3)?,
                element: narrowed(row.try_get::<i64, _>(4)?),
            };
            wanted.extend([found.base, found.element]);
            types.insert(narrowed(row.try_get::<i64, _>(0)?), found);
        }
    }
}

/// An oid, which PostgreSQL has as an unsigned number of 32 bits.
fn narrowed(oid: i64) -> u32 {
    u32::try_from(oid).unwrap_or_default()
}

/// Never analysed tables have -1, or 0 before PostgreSQL 14.
fn statistics(reltuples: f64, bytes: i64) -> TableStatistics {
    if reltuples < 1.0 {
        return TableStatistics::default();
    }
    TableStatistics {
        n_rows: Some(reltuples as usize),
        n_bytes: usize::try_from(bytes).ok().filter(|bytes| *bytes > 0),
    }
}
