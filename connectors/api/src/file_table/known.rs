//! The files of a scan with what is known of them before any row is read.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource_parquet::ParquetRowSelection;
use futures::{StreamExt, stream};
use maru_core::{Error, Result};

use super::footers::Footers;
use super::scan::FileScanRequest;
use super::{believed, parquet};
use crate::{FileEntry, FileTable, in_place, root_of};

/// Files of one layout with what is known of them, in the order of the list.
#[derive(Default)]
pub(super) struct Known {
    pub(super) files: Vec<PartitionedFile>,
    /// Whether files were left out because those before them have rows enough.
    pub(super) cut: bool,
    /// What some files told where not all were asked.
    pub(super) sample: Vec<Arc<Statistics>>,
    /// Files left out since they told that no row of theirs is wanted.
    pub(super) n_pruned: usize,
}

/// Adds what their ends tell to each file of Parquet and ORC, and leaves out those without a wanted row. Stops early once the exact row counts reach a limit that nothing filters
/// afterwards. Of very many files only some are asked that are not known already.
pub(super) async fn with_statistics(
    table: &Arc<FileTable>,
    request: &FileScanRequest,
    state: &dyn Session,
    entries: Vec<FileEntry>,
) -> Result<Known> {
    let reader = Footers::new(table, request, state);
    let collect = state.config().collect_statistics() && !reader.is_silent();
    let limit = request.limit.filter(|_| !request.filtered_later);
    let concurrency = state.config_options().execution.meta_fetch_concurrency.get();
    let lengths = table.files.text_lengths();
    let root = root_of(&table.store_url);
    let n_entries = entries.len();
    let mut known = Vec::with_capacity(n_entries);
    let (mut n_rows, mut n_pruned) = (0_usize, 0_usize);
    let mut footers = stream::iter(entries.into_iter().enumerate())
        .map(|(index, entry)| {
            let (reader, root) = (&reader, &root);
            let asked = limit.is_some() || believed::is_sampled(index, n_entries);
            async move {
                let footer = match reader.cached(&entry.meta) {
                    Some(cached) if collect && entry.details.is_none() => Some(cached),
                    _ => {
                        let footer = footer(reader, &entry, collect && asked).await;
                        footer.map_err(|error| in_place(error, root, &entry.meta.location))?
                    }
                };
                Ok::<_, Error>((entry, footer))
            }
        })
        .boxed()
        .buffered(concurrency);
    while let Some(footer) = footers.next().await {
        let (entry, footer) = footer?;
        if footer.as_ref().is_some_and(|footer| !footer.wanted) {
            n_pruned += 1;
            continue;
        }
        let footer = match &lengths {
            Some(lengths) => footer.map(|footer| footer.without(lengths, &table.file_schema)),
            None => footer,
        };
        let footer = footer.or_else(|| believed::estimated(table, &entry));
        n_rows = match footer.as_ref().map(|footer| footer.statistics.num_rows) {
            Some(Precision::Exact(rows)) => n_rows.saturating_add(rows),
            _ => n_rows,
        };
        known.push((entry, footer));
        if limit.is_some_and(|limit| n_rows >= limit) {
            break;
        }
    }
    let cut = known.len() + n_pruned < n_entries;
    let mut sample = Vec::new();
    if known.iter().any(|(_, footer)| footer.is_none()) {
        let told = known.iter().filter_map(|(_, footer)| footer.as_ref());
        sample = told.map(|footer| Arc::clone(&footer.statistics)).collect();
        believed::extrapolate(&table.file_schema, &mut known);
    }
    let files = known.into_iter().map(|(entry, footer)| partitioned(entry, footer));
    Ok(Known { files: files.collect::<Result<Vec<_>>>()?, cut, sample, n_pruned })
}

/// Returns what is known of a file: what the table's own log tells, else what its footer does. The footer is read to learn
/// the number of rows where some of them do not count.
async fn footer(
    reader: &Footers,
    entry: &FileEntry,
    collect: bool,
) -> Result<Option<parquet::Footer>> {
    let Some(details) = &entry.details else {
        return if collect { reader.read(&entry.meta).await } else { Ok(None) };
    };
    if let Some(statistics) = details.statistics(entry.meta.size) {
        return Ok(Some(parquet::Footer::new(Arc::new(statistics), None)));
    }
    if !collect && details.deleted.is_none() {
        return Ok(None);
    }
    let Some(mut footer) = reader.read(&entry.meta).await? else { return Ok(None) };
    if details.deleted.is_some() {
        footer.statistics = Arc::new(details.adjust(&footer.statistics));
    }
    Ok(Some(footer))
}

/// Returns the rows to read of a file of which some do not count.
fn selection(
    entry: &FileEntry,
    footer: Option<&parquet::Footer>,
) -> Result<Option<ParquetRowSelection>> {
    let Some(details) = entry.details.as_ref().filter(|details| details.deleted.is_some()) else {
        return Ok(None);
    };
    let known = footer.map(|footer| footer.statistics.num_rows);
    let n_rows = match (details.n_rows, known) {
        (Some(n_rows), _) => n_rows,
        (None, Some(Precision::Exact(counted))) => counted.saturating_add(details.n_deleted()),
        (None, _) => return Err(Error::internal("deleted rows of a file of unknown length")),
    };
    details.selection(&entry.meta.location, n_rows)
}

fn partitioned(entry: FileEntry, footer: Option<parquet::Footer>) -> Result<PartitionedFile> {
    let selection = selection(&entry, footer.as_ref())?;
    let nulls = entry.partition_values.iter().map(ScalarValue::is_null).collect::<Vec<_>>();
    let mut file =
        PartitionedFile::new_from_meta(entry.meta).with_partition_values(entry.partition_values);
    if let Some(footer) = footer {
        file = file.with_statistics(footer.statistics).with_ordering(footer.ordering);
        // DataFusion takes partition values as never NULL; `IS NULL` would be pruned away.
        if nulls.contains(&true)
            && let Some(shared) = &file.statistics
        {
            let mut statistics = Statistics::clone(shared);
            let first = statistics.column_statistics.len() - nulls.len();
            for (index, _) in nulls.iter().enumerate().filter(|(_, null)| **null) {
                let column = &mut statistics.column_statistics[first + index];
                column.null_count = statistics.num_rows;
                column.min_value = Precision::Absent;
                column.max_value = Precision::Absent;
                column.distinct_count = Precision::Absent;
            }
            file.statistics = Some(Arc::new(statistics));
        }
    }
    if let Some(selection) = selection {
        file = file.with_extension(selection);
    }
    Ok(file)
}
