//! What drivers ask about the keys of tables, from `system.keys`: rights hold there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
};
use maru_core::{Result, quote_literal};

use super::metadata::{foreign_keys, primary_keys, texts};
use super::sessions::FlightSession;

/// Which tables are asked about: catalog, schema, table; what is not said is any.
type Place = (Option<String>, Option<String>, String);

/// Both ends of a foreign key, by the columns of `system.keys`.
const HERE: [&str; 3] = ["catalog", "schema", "\"table\""];
const THERE: [&str; 3] = ["catalog", "referenced_schema", "referenced_table"];

fn conditions(columns: [&str; 3], (catalog, schema, table): Place) -> String {
    let given = [catalog, schema, Some(table)];
    let parts = columns.into_iter().zip(given).filter_map(|(column, value)| {
        value.map(|value| format!(" AND {column} = {}", quote_literal(&value)))
    });
    parts.collect()
}

/// Answers with the columns of primary keys.
///
/// # Errors
/// Those of a source that is asked for by name.
pub(super) async fn primary(
    session: &FlightSession,
    query: CommandGetPrimaryKeys,
) -> Result<RecordBatch> {
    let wanted = conditions(HERE, (query.catalog, query.db_schema, query.table));
    let sql = format!(
        "SELECT catalog, schema, \"table\", \"column\", position, name FROM system.keys \
         WHERE kind = 'primary key'{wanted} ORDER BY catalog, schema, \"table\", name, position"
    );
    let rows = texts(session, sql).await?;
    batch(primary_keys(), &rows)
}

/// Answers with the foreign keys that refer to a table.
///
/// # Errors
/// Those of a source that is asked for by name.
pub(super) async fn exported(
    session: &FlightSession,
    query: CommandGetExportedKeys,
) -> Result<RecordBatch> {
    let wanted = conditions(THERE, (query.catalog, query.db_schema, query.table));
    foreign(session, &wanted, true).await
}

/// Answers with the foreign keys of a table.
///
/// # Errors
/// Those of a source that is asked for by name.
pub(super) async fn imported(
    session: &FlightSession,
    query: CommandGetImportedKeys,
) -> Result<RecordBatch> {
    let wanted = conditions(HERE, (query.catalog, query.db_schema, query.table));
    foreign(session, &wanted, false).await
}

/// Answers with the foreign keys of one table that refer to another.
///
/// # Errors
/// Those of a source that is asked for by name.
pub(super) async fn between(
    session: &FlightSession,
    query: CommandGetCrossReference,
) -> Result<RecordBatch> {
    let there = conditions(THERE, (query.pk_catalog, query.pk_db_schema, query.pk_table));
    let here = conditions(HERE, (query.fk_catalog, query.fk_db_schema, query.fk_table));
    foreign(session, &format!("{there}{here}"), true).await
}

/// `by_own`: in the order of the tables that refer, else in that of those referred to.
async fn foreign(session: &FlightSession, wanted: &str, by_own: bool) -> Result<RecordBatch> {
    let order = match by_own {
        true => "catalog, schema, \"table\", name, position",
        false => "catalog, referenced_schema, referenced_table, referenced_key, name, position",
    };
    let sql = format!(
        "SELECT catalog AS there, referenced_schema, referenced_table, referenced_column, catalog, schema, \"table\", \
         \"column\", position, name, referenced_key, on_update, on_delete FROM system.keys \
         WHERE kind = 'foreign key'{wanted} ORDER BY {order}"
    );
    let rows = texts(session, sql).await?;
    batch(foreign_keys(), &rows)
}

/// Makes the columns of an answer from the texts of its rows.
fn batch(schema: SchemaRef, rows: &[Vec<String>]) -> Result<RecordBatch> {
    let columns = schema.fields().iter().enumerate().map(|(at, field)| -> ArrayRef {
        let texts = rows.iter().map(|row| row.get(at).map_or("", String::as_str));
        match field.name().as_str() {
            "key_sequence" => {
                let numbers = texts.map(|text| text.parse::<i32>().unwrap_or_default());
                Arc::new(Int32Array::from(numbers.collect::<Vec<_>>()))
            }
            "update_rule" | "delete_rule" => {
                Arc::new(UInt8Array::from(texts.map(rule).collect::<Vec<_>>()))
            }
            _ => Arc::new(
                texts.map(|text| (!text.is_empty()).then_some(text)).collect::<StringArray>(),
            ),
        }
    });
    let columns = columns.collect::<Vec<_>>();
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The numbers of `UpdateDeleteRules`, which are JDBC's as well.
fn rule(words: &str) -> u8 {
    match words {
        "CASCADE" => 0,
        "RESTRICT" => 1,
        "SET NULL" => 2,
        "SET DEFAULT" => 4,
        _ => 3,
    }
}
