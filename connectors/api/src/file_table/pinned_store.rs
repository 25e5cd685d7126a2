//! Reads one file as it was when it was listed.
//!
//! A Parquet or ORC file is read in many ranges. If another program replaces it in between, ranges of two files would make rows
//! that never were. So each range is asked for on condition that the file is still the same one, where the store has
//! marks (ETags) to tell by: all of ours have.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::Result as DfResult;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource_parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parquet::arrow::async_reader::AsyncFileReader;

use super::metadata_cache::StoreMetadataCache;
use super::old_dates::RecountingReader;
use super::read_ahead::{ReadAhead, State, Target};

/// Bytes between two ranges that are read and thrown away rather than asked for apart.
const GAP_BYTES_MAX: u64 = 1 << 20;

/// Bytes of one request that ranges are put together to. One connection alone does not fill a fast line.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

/// Requests of one row group at once.
const CONCURRENT_REQUESTS: usize = 6;

/// Makes readers that notice when their file is not the listed one any more.
#[derive(Debug)]
pub(super) struct PinnedReaders {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) store_url: ObjectStoreUrl,
    pub(super) footers: Arc<FileMetadataCache>,
    /// Whether to read ahead, and out of which memory.
    pub(super) ahead: Option<Arc<dyn MemoryPool>>,
}

impl ParquetFileReaderFactory for PinnedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DfResult<Box<dyn AsyncFileReader + Send>> {
        let store = pinned(Arc::clone(&self.store), file.object_meta.e_tag.as_ref());
        let mark = file.object_meta.e_tag.clone();
        let footers = StoreMetadataCache::scope(Arc::clone(&self.footers), &self.store_url, mark);
        let path = file.object_meta.location.clone();
        let part = file.range.clone();
        let mut inner = CachedParquetFileReaderFactory::new(Arc::clone(&store), footers)
            .create_reader(partition_index, file, metadata_size_hint, metrics)?;
        if let Some(memory) = &self.ahead {
            let scanned = MetricBuilder::new(metrics).counter("bytes_scanned", partition_index);
            let memory = Arc::clone(memory);
            let (file, state) = (Target { store, path }, State::default());
            inner = Box::new(ReadAhead { inner, file, part, scanned, memory, state });
        }
        Ok(Box::new(RecountingReader { inner }))
    }
}

/// Returns a store that gives ranges of a file only as long as its ETag is `mark`, if it has one.
pub(super) fn pinned(store: Arc<dyn ObjectStore>, mark: Option<&String>) -> Arc<dyn ObjectStore> {
    Arc::new(PinnedStore { inner: store, mark: mark.cloned() })
}

/// Puts ranges that lie close together into requests, in order.
fn requests(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut requests: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match requests.last_mut() {
            Some(last)
                if range.start < last.end
                    || (range.start - last.end <= GAP_BYTES_MAX
                        && range.end - last.start <= REQUEST_BYTES_MAX) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => requests.push(range),
        }
    }
    requests
}

/// A store from which one file is read.
#[derive(Debug)]
struct PinnedStore {
    inner: Arc<dyn ObjectStore>,
    mark: Option<String>,
}

impl fmt::Display for PinnedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for PinnedStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let part = options.range.is_some();
        let options = GetOptions { if_match: self.mark.clone(), ..options };
        let got = self.inner.get_opts(location, options).await?;
        let is_open_file = matches!(got.payload, GetResultPayload::File(..));
        if !(is_open_file && part && self.mark.is_some()) {
            return Ok(got);
        }
        // A local file was looked at before it is read, and may be written over in between: it is looked at again after.
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let bytes = got.bytes().await?;
        let look = GetOptions { head: true, if_match: self.mark.clone(), ..GetOptions::default() };
        self.inner.get_opts(location, look).await?;
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let requests = requests(ranges);
        let fetch = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            self.get_opts(location, options).await?.bytes().await
        };
        let answers = stream::iter(requests.clone())
            .map(fetch)
            .boxed()
            .buffered(CONCURRENT_REQUESTS)
            .try_collect::<Vec<_>>()
            .await?;
        let slice = |range: &Range<u64>| {
            let index = requests.partition_point(|request| request.start <= range.start);
            let (request, bytes) = match index.checked_sub(1) {
                Some(index) => (&requests[index], &answers[index]),
                None => return Bytes::new(),
            };
            // A file that is too short gives fewer bytes, which its reader notices.
            let place = |at: u64| {
                usize::try_from(at - request.start).map_or(bytes.len(), |at| at.min(bytes.len()))
            };
            bytes.slice(place(range.start)..place(range.end))
        };
        Ok(ranges.iter().map(slice).collect())
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn gives_ranges_as_they_were_asked_for() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("x");
        let bytes = (0..40 << 20).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>();
        store.put(&path, bytes.clone().into()).await.unwrap();
        let ranges = [30 << 20..31 << 20, 5..9, 7..20, 0..12 << 20, 12 << 20..24 << 20, 9..9];
        assert_eq!(requests(&ranges), [0..12 << 20, 12 << 20..24 << 20, 30 << 20..31 << 20]);
        let got = pinned(Arc::clone(&store), None).get_ranges(&path, &ranges).await.unwrap();
        for (range, got) in ranges.iter().zip(got) {
            assert!(got[..] == bytes[range.start as usize..range.end as usize], "{range:?}");
        }
        let gone = pinned(store, Some(&"another".to_owned())).get_ranges(&path, &ranges).await;
        assert!(matches!(gone, Err(object_store::Error::Precondition { .. })), "{gone:?}");
    }
}
