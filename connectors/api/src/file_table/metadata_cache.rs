//! DataFusion's cache of Parquet footers, divided among stores.
//!
//! The shared cache knows a file by its path alone. Two buckets with the same path, size and time would give each
//! other's footers out, so each store sees the cache through a prefix of its own.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{HashMap, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::execution::cache::{Cache, CacheEntryInfo};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::path::Path;

/// The part of the shared cache that belongs to one store. Limits and counts are those of the whole.
pub(super) struct StoreMetadataCache {
    shared: Arc<FileMetadataCache>,
    prefix: Path,
    /// Of the file that is asked for. Size and time alone do not tell two versions of one second apart.
    mark: Option<String>,
}

impl StoreMetadataCache {
    /// Returns the cache as a file of `store` sees it that has the ETag `mark`.
    pub(super) fn scope(
        shared: Arc<FileMetadataCache>,
        store: &ObjectStoreUrl,
        mark: Option<String>,
    ) -> Arc<FileMetadataCache> {
        Arc::new(Self { shared, prefix: Path::from(store.as_str()), mark })
    }

    fn key(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }
}

impl Cache<Path, CachedFileMetadataEntry> for StoreMetadataCache {
    fn get(&self, key: &Path) -> Option<CachedFileMetadataEntry> {
        self.shared.get(&self.key(key)).filter(|known| known.meta.e_tag == self.mark)
    }

    fn put(&self, key: &Path, value: CachedFileMetadataEntry) -> Option<CachedFileMetadataEntry> {
        self.shared.put(&self.key(key), value)
    }

    fn remove(&self, key: &Path) -> Option<CachedFileMetadataEntry> {
        self.shared.remove(&self.key(key))
    }

    fn contains_key(&self, key: &Path) -> bool {
        self.shared.contains_key(&self.key(key))
    }

    fn len(&self) -> usize {
        self.shared.len()
    }

    fn clear(&self) {
        self.shared.clear();
    }

    fn name(&self) -> String {
        self.shared.name()
    }

    fn cache_limit(&self) -> usize {
        self.shared.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.shared.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.shared.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.shared.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> DfResult<()> {
        self.shared.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<Path, CacheEntryInfo<CachedFileMetadataEntry>> {
        self.shared.list_entries()
    }
}
