//! `DROP TABLE`, `TRUNCATE`, `ALTER TABLE … ADD COLUMN`.

use std::sync::Arc;

use hive_metastore::{FieldSchema, Table};
use maru_connect::{Attempt, OpenContext, Overwritten, TableChange, WriteMode, WriteRequest};
use maru_core::{Error, ErrorKind, Options, Result};
use pilota::FastStr;

use super::create::hive_type;
use super::lock::Lock;
use super::place::Place;
use super::{job, target, upkeep};
use crate::metastore::Metastore;
use crate::table;

/// Parts of a path below which a directory is not taken for a table's own.
const DEPTH_MIN: usize = 2;

/// Changes a table as a whole.
///
/// # Errors
/// 0A000 for what Maru does not change.
pub(crate) async fn change(
    metastore: Arc<Metastore>,
    context: OpenContext,
    database: &str,
    name: &str,
    change: TableChange,
) -> Result<()> {
    let found = metastore.table(database, name).await?.ok_or_else(|| {
        Error::new(ErrorKind::UndefinedTable, format!("table \"{database}.{name}\" does not exist"))
    })?;
    match change {
        TableChange::Drop => {
            table::readable(&found, database, name)?;
            drop_table(&metastore, &context, database, name, &found).await
        }
        TableChange::Truncate => truncate(metastore, context, database, name).await,
        TableChange::AddColumns(columns) => {
            target::of(&found, database, name)?;
            add_columns(&metastore, &context, database, name, &columns).await
        }
        _ => Err(Error::unsupported(format!(
            "columns of Hive table \"{name}\" are only added, not renamed, dropped or changed"
        ))
        .with_hint("CREATE TABLE … AS SELECT makes a new table; or change it in Hive.")),
    }
}

/// Forgets the table, and then removes its files, where they are its own.
async fn drop_table(
    metastore: &Metastore,
    context: &OpenContext,
    database: &str,
    name: &str,
    found: &Table,
) -> Result<()> {
    let parameter = |key: &str| found.parameters.as_ref().and_then(|all| all.get(key));
    let purged = parameter("external.table.purge").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let owns = purged || found.table_type.as_deref() == Some("MANAGED_TABLE");
    // Before there is no table to ask about.
    let place = if owns { Some(Place::of(context, found).await?) } else { None };
    metastore.drop_table(database, name).await?;
    let Some(place) = place else { return Ok(()) };
    if place.opened.path.parts().count() < DEPTH_MIN {
        tracing::warn!(location = %place.root, "files of a dropped table stay: its directory is one that others share");
        return Ok(());
    }
    upkeep::remove_folder(&place, &place.opened.path).await;
    Ok(())
}

/// Takes all rows out of the table, by a new location.
async fn truncate(
    metastore: Arc<Metastore>,
    context: OpenContext,
    database: &str,
    name: &str,
) -> Result<()> {
    let request = WriteRequest {
        schema: database.to_owned(),
        table: name.to_owned(),
        mode: WriteMode::Overwrite(Overwritten::Table),
        columns: Arc::new(arrow::datatypes::Schema::empty()),
        options: Options::default(),
        attempt: Attempt { id: uuid::Uuid::now_v7().to_string(), once: None },
        statement: 0,
        memory: None,
        checked: Vec::new(),
        checks: Vec::new(),
    };
    job::begin(metastore, context, request).await?.commit().await.map(|_| ())
}

/// Adds columns behind those that are there; old rows have NULL in them.
async fn add_columns(
    metastore: &Metastore,
    context: &OpenContext,
    database: &str,
    name: &str,
    columns: &arrow::datatypes::Schema,
) -> Result<()> {
    let attempt = uuid::Uuid::now_v7().to_string();
    let found = metastore.table(database, name).await?;
    let place = Place::of(context, &found.unwrap_or_default()).await?;
    let lock = Lock::take(&place, &attempt).await?;
    let outcome = async {
        let mut now = metastore.table(database, name).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Serialization,
                "could not serialize access: the table was dropped",
            )
        })?;
        let keys = now.partition_keys.clone().unwrap_or_default();
        let cols = now.sd.get_or_insert_default().cols.get_or_insert_default();
        for field in columns.fields() {
            let same = |column: &FieldSchema| {
                column.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(field.name()))
            };
            if cols.iter().chain(&keys).any(same) {
                return Err(Error::new(
                    ErrorKind::DuplicateColumn,
                    format!("column \"{}\" of relation \"{name}\" already exists", field.name()),
                ));
            }
            if !field.is_nullable() {
                return Err(Error::unsupported("a column of a Hive table cannot be NOT NULL"));
            }
            cols.push(FieldSchema {
                name: Some(FastStr::new(field.name().to_lowercase())),
                r#type: Some(FastStr::new(hive_type(field)?)),
                comment: None,
            });
        }
        metastore.alter_table(database, name, &now).await
    }
    .await;
    lock.release().await;
    outcome
}
