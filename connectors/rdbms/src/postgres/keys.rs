//! Keys as pg_constraint has them.

use maru_connect::{KeyKind, KeyRule, Reference, TableKey};
use sqlx::{PgConnection, Row};

/// Fetches the keys of the tables of a schema. A server that only speaks the protocol may have none of this.
pub(super) async fn keys(
    connection: &mut PgConnection,
    schema: &str,
) -> sqlx::Result<Vec<TableKey>> {
    // A key of a table that refers to a partitioned one has others below it, for each partition.
    let found = sqlx::query(
        "SELECT c.relname::text, k.conname::text, k.contype::text,
                array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (n, i)
                      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.i),
                fn.nspname::text, f.relname::text,
                array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (n, i)
                      JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.i),
                (SELECT p.conname::text FROM pg_constraint p
                 WHERE p.conrelid = k.confrelid AND p.conindid = k.conindid AND p.contype IN ('p', 'u') LIMIT 1),
                k.confupdtype::text, k.confdeltype::text
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
         WHERE n.nspname = $1 AND k.contype IN ('p', 'u', 'f') AND k.conparentid = 0
           AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
         ORDER BY c.relname, k.contype <> 'p', k.conname",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await;
    let rows = match found {
        Ok(rows) => rows,
        Err(sqlx::Error::Database(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = match row.try_get::<String, _>(2)?.as_str() {
            "p" => KeyKind::Primary,
            "u" => KeyKind::Unique,
            _ => {
                let schema: Option<String> = row.try_get(4)?;
                let table: Option<String> = row.try_get(5)?;
                let (Some(schema), Some(table)) = (schema, table) else { continue };
                KeyKind::Foreign(Box::new(Reference {
                    schema,
                    table,
                    columns: row.try_get(6)?,
                    key: row.try_get(7)?,
                    on_update: rule(&row.try_get::<String, _>(8)?),
                    on_delete: rule(&row.try_get::<String, _>(9)?),
                }))
            }
        };
        let (table, name, columns) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
        keys.push(TableKey { table, name, kind, columns });
    }
    Ok(keys)
}

fn rule(letter: &str) -> KeyRule {
    match letter {
        "r" => KeyRule::Restrict,
        "c" => KeyRule::Cascade,
        "n" => KeyRule::SetNull,
        "d" => KeyRule::SetDefault,
        _ => KeyRule::NoAction,
    }
}
