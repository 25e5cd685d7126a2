//! Reads one file as it was when it was listed.
//!
//! A Parquet or ORC file is read in many ranges. If another program replaces it in between, ranges of two files would make rows
//! that never were. So each range is asked for on condition that the file is still the same one, where the store has
//! marks (ETags) to tell by: local disks and S3 do, HDFS does not.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::Result as DfResult;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::PartitionedFile;
use datafusion_datasource_parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    coalesce_ranges,
};
use parquet::arrow::async_reader::AsyncFileReader;

use super::metadata_cache::StoreMetadataCache;
use super::old_dates::RecountingReader;

/// Makes readers that notice when their file is not the listed one any more.
#[derive(Debug)]
pub(super) struct PinnedReaders {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) store_url: ObjectStoreUrl,
    pub(super) footers: Arc<FileMetadataCache>,
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
        let inner = CachedParquetFileReaderFactory::new(store, footers).create_reader(
            partition_index,
            file,
            metadata_size_hint,
            metrics,
        )?;
        Ok(Box::new(RecountingReader { inner }))
    }
}

/// Returns a store that gives ranges of a file only as long as its ETag is `mark`, if it has one.
pub(super) fn pinned(store: Arc<dyn ObjectStore>, mark: Option<&String>) -> Arc<dyn ObjectStore> {
    match mark {
        Some(mark) => Arc::new(PinnedStore { inner: store, mark: mark.clone() }),
        None => store,
    }
}

/// A store from which one file is read.
#[derive(Debug)]
struct PinnedStore {
    inner: Arc<dyn ObjectStore>,
    mark: String,
}

impl fmt::Display for PinnedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for PinnedStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let options = GetOptions { if_match: Some(self.mark.clone()), ..options };
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fetch = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            self.get_opts(location, options).await?.bytes().await
        };
        coalesce_ranges(ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await
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
