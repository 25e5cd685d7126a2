//! Connectors `file`, `s3` and `hdfs`: catalogs whose tables are files of Parquet, CSV, JSON lines or Avro, and Delta Lake tables.
//!
//! A catalog is a tree of directories ([`layout`] says how names come from it), a table is a file or a directory with
//! files, possibly below `key=value` directories, or with a log of Delta Lake ([`location`] opens one). The bytes come from a store ([`stores`]),
//! and the engine reads them (`connectors/api/src/file_table`). Hive uses [`Stores`], `CREATE EXTERNAL TABLE` uses
//! [`open_location_table`].

mod connectors;
mod copy;
mod delta;
mod formats;
mod gate;
mod glob;
mod layout;
mod lister;
mod location;
mod new_table;
mod options;
mod partitions;
mod sample;
mod seen;
mod source;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use maru_connect::{
    Connector, Leftover, OpenedStore, SourceTable, TableChange, TableCommit, WriteJob,
    WriteRequest, leftovers_in_place,
};
use maru_core::Result;

pub use connectors::{FILE, HDFS, S3};
pub use copy::{COPY_OPTIONS, CopyTarget};
pub use glob::split_pattern;
pub use location::{LOCATION_OPTIONS, LocationTable, check_location_table, open_location_table};
pub use options::TABLE_OPTIONS;
pub use stores::Stores;

/// Begins a write of a Delta Lake table at a place that is known; `exists` says whether one is there.
///
/// # Errors
/// 0A000 for what the table demands and is not met, 42P01 and the like for what does not fit.
pub async fn begin_delta_write(
    opened: &OpenedStore,
    relation: &str,
    request: WriteRequest,
    exists: bool,
) -> Result<Arc<dyn WriteJob>> {
    let existing = if exists { delta::Existing::Table } else { delta::Existing::Nothing };
    delta::begin(opened, relation, request, existing).await
}

/// Changes a Delta Lake table at a place that is known, but for dropping it.
///
/// # Errors
/// 0A000 for what such a table cannot do, 40001 if another writer came first.
pub async fn change_delta_table(opened: &OpenedStore, change: TableChange) -> Result<()> {
    delta::change(opened, change).await
}

/// Returns the files in the directory of a Delta Lake table that it does not need.
pub async fn delta_leftovers(opened: &OpenedStore) -> Result<Vec<Leftover>> {
    Ok(leftovers_in_place(delta::leftovers(opened).await?, &opened.url))
}

/// Removes [`delta_leftovers`] of more than `retain`; in a dry run it only returns them.
pub async fn vacuum_delta_table(
    opened: &OpenedStore,
    retain: Duration,
    dry_run: bool,
) -> Result<Vec<Leftover>> {
    delta::vacuum(opened, retain, dry_run).await
}

/// Opens the files of a Delta Lake table that had better be fewer, as a table.
pub async fn open_scattered_delta(catalog: &str, opened: OpenedStore) -> Result<SourceTable> {
    delta::open_scattered(catalog, opened).await
}

/// Returns the versions of a Delta Lake table, the newest first.
pub async fn delta_history(opened: &OpenedStore) -> Result<Vec<TableCommit>> {
    delta::history(opened).await
}

/// What this room offers to the registry.
pub static CONNECTORS: &[&dyn Connector] = &[&FILE, &S3, &HDFS];

#[cfg(test)]
mod tests;
