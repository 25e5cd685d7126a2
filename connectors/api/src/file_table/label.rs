//! What is said of a scan besides its files, and the memory that the list of them takes.

use std::fmt;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion_datasource::PartitionedFile;

use crate::{FileEntry, FileTable};

/// What `EXPLAIN` shows of a scan besides its files. It lives as long as the plan, and so does what its list is counted with: a
/// table of a million files takes its part of the memory that the statement may have.
#[derive(Debug)]
pub(super) struct Label {
    text: String,
    _list: MemoryReservation,
}

/// Files that are read, and that there are.
pub(super) struct Counts {
    pub(super) n_kept: usize,
    pub(super) n_listed: usize,
}

impl Label {
    pub(super) fn new(
        table: &FileTable,
        partition_filters: &[Arc<dyn PhysicalExpr>],
        version: Option<u64>,
        Counts { n_kept, n_listed }: Counts,
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
        Self { text, _list: list }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
