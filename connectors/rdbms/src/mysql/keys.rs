//! Keys as information_schema has them.

use maru_connect::{KeyKind, KeyRule, Reference, TableKey};
use sqlx::mysql::{MySqlConnection, MySqlRow};

use super::catalog::{nothing_if_no_name, optional_text, text};

/// Fetches the keys of the tables of a schema.
pub(super) async fn keys(
    connection: &mut MySqlConnection,
    schema: &str,
) -> sqlx::Result<Vec<TableKey>> {
    // An index and a foreign key of one table may have one name.
    let rows = sqlx::query(
        "SELECT k.table_schema, k.table_name, k.constraint_name, c.constraint_type, k.column_name,
                k.referenced_table_schema, k.referenced_table_name, k.referenced_column_name,
                r.unique_constraint_name, r.update_rule, r.delete_rule
         FROM information_schema.key_column_usage k
         JOIN information_schema.table_constraints c
           ON c.table_schema = ? AND BINARY c.table_name = BINARY k.table_name
          AND BINARY c.constraint_name = BINARY k.constraint_name
          AND (c.constraint_type = 'FOREIGN KEY') = (k.referenced_table_name IS NOT NULL)
         LEFT JOIN information_schema.referential_constraints r
           ON r.constraint_schema = ? AND BINARY r.table_name = BINARY k.table_name
          AND BINARY r.constraint_name = BINARY k.constraint_name
         WHERE k.table_schema = ? AND c.constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY')
         ORDER BY BINARY k.table_name, c.constraint_type <> 'PRIMARY KEY', c.constraint_type,
                  BINARY k.constraint_name, k.ordinal_position",
    )
    .bind(schema)
    .bind(schema)
    .bind(schema)
    .fetch_all(connection)
    .await
    .or_else(nothing_if_no_name)?;
    let mut keys = Vec::<TableKey>::new();
    for row in &rows {
        if text(row, 0)? != schema {
            continue;
        }
        let (table, own) = (text(row, 1)?, text(row, 2)?);
        let name = named(&table, &own);
        let kind = match text(row, 3)?.as_str() {
            "PRIMARY KEY" => KeyKind::Primary,
            "UNIQUE" => KeyKind::Unique,
            _ => match reference(row)? {
                Some(reference) => KeyKind::Foreign(Box::new(reference)),
                None => continue,
            },
        };
        let column = text(row, 4)?;
        let is_foreign = |kind: &KeyKind| matches!(kind, KeyKind::Foreign(_));
        let goes_on = keys.last().is_some_and(|last| {
            last.table == table && last.name == name && is_foreign(&last.kind) == is_foreign(&kind)
        });
        if !goes_on {
            keys.push(TableKey { table, name, kind, columns: vec![column] });
        } else if let Some(last) = keys.last_mut() {
            last.columns.push(column);
            if let (KeyKind::Foreign(known), KeyKind::Foreign(more)) = (&mut last.kind, kind) {
                known.columns.extend(more.columns);
            }
        }
    }
    Ok(keys)
}

/// Every primary key is called `PRIMARY` there; tools look for keys by their names alone.
fn named(table: &str, own: &str) -> String {
    if own == "PRIMARY" { format!("{table}_pkey") } else { own.to_owned() }
}

/// Returns what one column of a foreign key refers to.
fn reference(row: &MySqlRow) -> sqlx::Result<Option<Reference>> {
    let there = (optional_text(row, 5)?, optional_text(row, 6)?, optional_text(row, 7)?);
    let (Some(schema), Some(table), Some(column)) = there else { return Ok(None) };
    let key = optional_text(row, 8)?.map(|key| named(&table, &key));
    let rule = |index| {
        let words = optional_text(row, index)?;
        Ok::<_, sqlx::Error>(KeyRule::of_words(words.as_deref().unwrap_or_default()))
    };
    let (on_update, on_delete) = (rule(9)?, rule(10)?);
    Ok(Some(Reference { schema, table, columns: vec![column], key, on_update, on_delete }))
}
