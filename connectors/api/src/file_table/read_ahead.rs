//! Reads the next row group of a remote Parquet file while the current one is decoded.
//!
//! The decoder asks for the column chunks of one row group, decodes them, and asks for the next. In between the line to the
//! store would be idle. So once a row group is there, the same columns of the one after it are fetched, as long as row
//! groups are read one after the other: where filters leave some out, at most one is fetched in vain.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::metrics::Count;
use datafusion_datasource::FileRange;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use tokio_util::task::AbortOnDropHandle;

use crate::io_threads::on_io_threads;

/// Bytes that one reader fetches ahead at most; what a row group has beyond them comes when it is asked for.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// A reader of one file, or of the row groups that begin in a part of it.
pub(super) struct ReadAhead {
    /// Reads the footer.
    pub(super) inner: Box<dyn AsyncFileReader + Send>,
    pub(super) file: Target,
    /// Which row groups are this reader's.
    pub(super) part: Option<FileRange>,
    /// Counts bytes that are asked for.
    pub(super) scanned: Count,
    /// What is fetched ahead counts as the statement's memory. Where it has none left, nothing is.
    pub(super) memory: Arc<dyn MemoryPool>,
    pub(super) state: State,
}

/// The file that is read.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
}

#[derive(Default)]
pub(super) struct State {
    metadata: Option<Arc<ParquetMetaData>>,
    last: Option<usize>,
    ahead: Option<Ahead>,
}

/// A row group that is being fetched.
struct Ahead {
    group: usize,
    ranges: Vec<Range<u64>>,
    bytes: Fetch,
    _memory: MemoryReservation,
}

type Fetch = AbortOnDropHandle<std::result::Result<Vec<Bytes>, StoreError>>;

impl Target {
    fn fetch(&self, ranges: Vec<Range<u64>>) -> Fetch {
        let Self { store, path } = self.clone();
        on_io_threads(async move { store.get_ranges(&path, &ranges).await })
    }
}

async fn fetched(fetch: Fetch) -> Result<Vec<Bytes>> {
    let bytes = fetch.await.map_err(|error| ParquetError::External(Box::new(error)))?;
    bytes.map_err(|error| ParquetError::External(Box::new(error)))
}

impl ReadAhead {
    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        let asked = self.whole_chunks(&ranges);
        let group = asked.as_ref().map(|(group, _)| *group);
        let ahead = match self.state.ahead.take() {
            // Asked for more of a row group, as where a filter reads its columns first.
            Some(ahead) if group.is_some() && group == self.state.last => {
                self.state.ahead = Some(ahead);
                None
            }
            Some(ahead) if group == Some(ahead.group) => Some(ahead),
            _ => None,
        };
        let known = ahead.as_ref().map_or(&[][..], |ahead| &ahead.ranges);
        let missing = ranges.iter().filter(|range| !known.contains(range)).cloned();
        let missing = missing.collect::<Vec<_>>();
        self.count(&missing);
        let rest = (!missing.is_empty()).then(|| self.file.fetch(missing.clone()));
        let mut pieces = Vec::with_capacity(ranges.len());
        if let Some(ahead) = ahead {
            pieces.extend(ahead.ranges.into_iter().zip(fetched(ahead.bytes).await?));
        }
        if let Some(rest) = rest {
            pieces.extend(missing.into_iter().zip(fetched(rest).await?));
        }
        let found = |range: &Range<u64>| {
            let piece = pieces.iter().find(|(known, _)| known == range);
            piece.map(|(_, bytes)| bytes.clone()).ok_or_else(|| {
                ParquetError::General(format!("no bytes came for {}..{}", range.start, range.end))
            })
        };
        let bytes = ranges.iter().map(found).collect::<Result<Vec<_>>>()?;
        if let Some((group, columns)) = asked
            && self.state.last != Some(group)
        {
            self.look_ahead(group, &columns);
            self.state.last = Some(group);
        }
        Ok(bytes)
    }

    fn count(&self, ranges: &[Range<u64>]) {
        let bytes = ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        self.scanned.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Returns which row group `ranges` belong to, and to which of its columns, if they are whole column chunks of one.
    fn whole_chunks(&self, ranges: &[Range<u64>]) -> Option<(usize, Vec<usize>)> {
        let groups = self.state.metadata.as_ref()?.row_groups();
        let first = ranges.first()?;
        let begin = self.state.last.unwrap_or(0);
        let holds = |index: &usize| {
            groups[*index].columns().iter().any(|column| chunk(column).as_ref() == Some(first))
        };
        let group = (begin..groups.len()).chain(0..begin).find(holds)?;
        let mut columns = Vec::with_capacity(ranges.len());
        let mut chunks = groups[group].columns().iter().enumerate();
        // Both are in the order of the columns.
        for range in ranges {
            columns.push(chunks.find(|(_, column)| chunk(column).as_ref() == Some(range))?.0);
        }
        Some((group, columns))
    }

    fn look_ahead(&mut self, group: usize, columns: &[usize]) {
        let Some(metadata) = &self.state.metadata else { return };
        let groups = metadata.row_groups();
        let mine = |index: usize| {
            let first = groups.get(index).and_then(|group| group.columns().first());
            first.and_then(chunk).is_some_and(|chunk| {
                self.part.as_ref().is_none_or(|part| {
                    i64::try_from(chunk.start).is_ok_and(|start| part.contains(start))
                })
            })
        };
        let steady = match self.state.last {
            Some(last) => last + 1 == group,
            None => group == 0 || !mine(group - 1),
        };
        let next = group + 1;
        if !steady || !mine(next) {
            return;
        }
        let (mut ranges, mut bytes) = (Vec::new(), 0);
        for column in columns {
            let Some(range) = groups[next].columns().get(*column).and_then(chunk) else { return };
            bytes += range.end - range.start;
            if bytes > AHEAD_BYTES_MAX {
                break;
            }
            ranges.push(range);
        }
        let memory = MemoryConsumer::new("read ahead").register(&self.memory);
        let size = ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        let granted = usize::try_from(size).is_ok_and(|size| memory.try_grow(size).is_ok());
        if ranges.is_empty() || !granted {
            return;
        }
        self.count(&ranges);
        let bytes = self.file.fetch(ranges.clone());
        self.state.ahead = Some(Ahead { group: next, ranges, bytes, _memory: memory });
    }
}

/// Returns where a column chunk lies; `None` if the footer makes no sense.
fn chunk(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let start = u64::try_from(start).ok()?;
    let length = u64::try_from(column.compressed_size()).ok()?;
    Some(start..start.checked_add(length)?)
}

impl AsyncFileReader for ReadAhead {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.read(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.inner.get_metadata(options).await?;
            self.state.metadata = Some(Arc::clone(&metadata));
            Ok(metadata)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
