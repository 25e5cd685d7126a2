//! What is said of a scan besides its files, and the memory that the list of them takes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::file_scan_config::FileScanConfig;

use super::named_source::NamedSource;
use super::orc::OrcSource;
use super::text::TextSource;
use crate::{FileEntry, FileTable};

/// What `EXPLAIN` shows of a scan besides its files. It lives as long as the plan, and so does what its list is counted with: a
/// table of a million files takes its part of the memory that the statement may have.
#[derive(Debug)]
pub(super) struct Label {
    text: String,
    n_partitions: Option<usize>,
    _list: MemoryReservation,
}

/// Files that are read, and that there are.
pub(super) struct Counts {
    pub(super) n_kept: usize,
    pub(super) n_listed: usize,
    /// Partitions that there are, if that is known.
    pub(super) n_partitions: Option<usize>,
}

impl Label {
    pub(super) fn new(
        table: &FileTable,
        partition_filters: &[Arc<dyn PhysicalExpr>],
        version: Option<u64>,
        Counts { n_kept, n_listed, n_partitions }: Counts,
        list: MemoryReservation,
    ) -> Self {
        let mut text = format!("catalog={}", table.catalog);
        if let Some(version) = version {
            text.push_str(&format!(", version={version}"));
        }
        if !partition_filters.is_empty() {
            let filters = partition_filters.iter().map(ToString::to_string).collect::<Vec<_>>();
            text.push_str(&format!(", partition_filters=[{}]", filters.join(", ")));
        }
        if n_kept < n_listed {
            text.push_str(&format!(", files_pruned={}", n_listed - n_kept));
        }
        Self { text, n_partitions, _list: list }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Partitions of a table that a scan reads, of those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionsRead {
    pub n_read: usize,
    /// `None` if it is not known: to find out would have taken a listing of too many directories.
    pub n_all: Option<usize>,
}

/// Returns the partitions of a scan of files; `None` if its table has none. How many there are is found out for `EXPLAIN` alone
/// ([`QueryContext::explained`](crate::QueryContext)).
pub fn partitions_read(scan: &FileScanConfig) -> Option<PartitionsRead> {
    if scan.table_partition_cols().is_empty() {
        return None;
    }
    let files = scan.file_groups.iter().flat_map(|group| group.iter());
    let n_read = distinct(files.map(|file| &file.partition_values));
    let source = scan.file_source();
    let label = (source.downcast_ref::<NamedSource>().map(|source| &source.label))
        .or_else(|| source.downcast_ref::<OrcSource>().map(|source| &source.label))
        .or_else(|| source.downcast_ref::<TextSource>().map(|source| &source.label))?;
    Some(PartitionsRead { n_read, n_all: label.n_partitions })
}

/// Returns how many different lists of values there are.
pub(super) fn distinct<'a>(values: impl Iterator<Item = &'a Vec<ScalarValue>>) -> usize {
    values.collect::<HashSet<_>>().len()
}

/// Counts the list of files with the memory of the statement.
///
/// # Errors
/// 53200 if it may not have that much.
pub(super) fn counted(
    entries: &[FileEntry],
    pool: &Arc<dyn MemoryPool>,
) -> DfResult<MemoryReservation> {
    let memory = MemoryConsumer::new("list of files").register(pool);
    memory.try_grow(entries.iter().map(bytes).sum())?;
    Ok(memory)
}

/// Returns what a file takes in the plan, about.
fn bytes(entry: &FileEntry) -> usize {
    let values = entry.partition_values.iter().map(ScalarValue::size).sum::<usize>();
    size_of::<PartitionedFile>() + entry.meta.location.as_ref().len() + values
}
