//! The ends of ORC files while a scan is planned.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::PhysicalExpr;
use maru_core::Result;
use object_store::{ObjectMeta, ObjectStore};

use super::tail::{self, Tail};
use super::{prune, untrusted};
use crate::FileTable;
use crate::file_table::lengths::TextLengths;
use crate::file_table::metadata_cache::StoreMetadataCache;
use crate::file_table::parquet::Footer;
use crate::file_table::pinned_store::pinned;

/// Reads tails through the cache that the scan takes them from later.
pub(in crate::file_table) struct Tails {
    store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
    cache: Arc<FileMetadataCache>,
    file_schema: SchemaRef,
    /// With the columns of the path.
    table_schema: SchemaRef,
    lengths: Option<Arc<TextLengths>>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
}

impl Tails {
    pub(in crate::file_table) fn new(
        table: &FileTable,
        filters: &[Arc<dyn PhysicalExpr>],
        state: &dyn Session,
    ) -> Self {
        Self {
            store: Arc::clone(&table.store),
            store_url: table.store_url.clone(),
            cache: state.runtime_env().cache_manager.get_file_metadata_cache(),
            file_schema: Arc::clone(&table.file_schema),
            table_schema: table.table_schema(),
            lengths: table.files.text_lengths(),
            filters: filters.to_vec(),
        }
    }

    fn scoped(&self, meta: &ObjectMeta) -> Arc<FileMetadataCache> {
        let (shared, mark) = (Arc::clone(&self.cache), meta.e_tag.clone());
        StoreMetadataCache::scope(shared, &self.store_url, mark)
    }

    pub(in crate::file_table) fn cached(&self, meta: &ObjectMeta) -> Option<Footer> {
        let tail = tail::cached(meta, self.scoped(meta).as_ref())?;
        self.told(meta, &tail).ok()
    }

    /// # Errors
    /// XX001 if the file is not valid ORC, 0A000 for what cannot be read, 58P01 if it is gone; each names the file.
    pub(in crate::file_table) async fn read(&self, meta: &ObjectMeta) -> Result<Footer> {
        let store = pinned(Arc::clone(&self.store), meta.e_tag.as_ref());
        let tail = tail::read(&store, meta, Some(self.scoped(meta).as_ref())).await?;
        self.told(meta, &tail)
    }

    fn told(&self, meta: &ObjectMeta, tail: &Tail) -> Result<Footer> {
        untrusted(&meta.location, || {
            let statistics = Arc::new(prune::statistics(tail, &self.file_schema));
            let mut footer = Footer::new(statistics, None);
            let n_file_columns = self.file_schema.fields().len();
            for filter in &self.filters {
                let lengths = self.lengths.as_deref();
                let table = &self.table_schema;
                let may = prune::stripes(tail, table, n_file_columns, lengths, filter)?;
                footer.wanted &= may.contains(&true);
            }
            Ok(footer)
        })
    }
}
