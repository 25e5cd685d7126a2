//! Parquet: footers for statistics, and the source that prunes row groups and pages.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{ColumnStatistics, Statistics, TableReference};
use datafusion::execution::cache::cache_manager::{
    CachedFileMetadata, FileMetadataCache, FileStatisticsCache,
};
use datafusion::execution::cache::{SchemaFingerprint, TableScopedPath};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_expr::expressions::Column;
use datafusion_datasource::TableSchema;
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_groups::FileGroup;
use datafusion_datasource_parquet::metadata::{DFParquetMetadata, ordering_from_parquet_metadata};
use datafusion_datasource_parquet::source::ParquetSource;
use maru_core::Result;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::parquet_to_arrow_schema;

use super::column_names::{KeptNames, in_kept_names, in_names_of_file};
use super::file_error::{in_file, read_untrusted};
use super::fitting::{Way, keeps_order, way};
use super::lengths::TextLengths;
use super::metadata_cache::StoreMetadataCache;
use super::old_dates;
use super::pinned_store::{PinnedReaders, pinned};
use crate::{FileTable, QueryContext};

/// What a footer tells about a file.
pub(super) struct Footer {
    /// Of the file columns of the table.
    pub(super) statistics: Arc<Statistics>,
    /// The order the writer declared.
    pub(super) ordering: Option<LexOrdering>,
    /// Whether a row in it may satisfy the filters.
    pub(super) wanted: bool,
}

impl Footer {
    pub(super) fn new(statistics: Arc<Statistics>, ordering: Option<LexOrdering>) -> Self {
        Self { statistics, ordering, wanted: true }
    }

    /// Takes away what is told of columns whose texts are not read as the file has them.
    pub(super) fn without(mut self, lengths: &TextLengths, schema: &Schema) -> Self {
        let mut statistics = Statistics::clone(&self.statistics);
        for (field, told) in schema.fields().iter().zip(&mut statistics.column_statistics) {
            if lengths.has(field.name()) {
                let null_count = told.null_count;
                *told = ColumnStatistics { null_count, ..ColumnStatistics::new_unknown() };
            }
        }
        self.statistics = Arc::new(statistics);
        self.ordering = self.ordering.filter(|ordering| {
            let columns = ordering.iter().map(|sorted| sorted.expr.downcast_ref::<Column>());
            columns.flatten().all(|column| !lengths.has(column.name()))
        });
        self
    }
}

/// Reads footers through the caches of the session's runtime.
pub(super) struct FooterReader {
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    fingerprint: Arc<SchemaFingerprint>,
    /// Keeps apart files of the same path in different stores.
    scope: TableReference,
    statistics: Option<Arc<FileStatisticsCache>>,
    store_url: ObjectStoreUrl,
    footers: Arc<FileMetadataCache>,
    size_hint: Option<usize>,
    /// What the files call the table's columns, where the table says so.
    names: Option<Arc<KeptNames>>,
}

impl FooterReader {
    pub(super) fn new(table: &FileTable, state: &dyn Session) -> Self {
        let caches = &state.runtime_env().cache_manager;
        let names = table.files.names_in_files();
        // By the names in the files: columns may have got others since.
        let in_files = match &names {
            Some(kept) => in_kept_names(&table.file_schema, kept),
            None => Arc::clone(&table.file_schema),
        };
        Self {
            store: Arc::clone(&table.store),
            schema: Arc::clone(&table.file_schema),
            fingerprint: Arc::new(SchemaFingerprint::from_schema(&in_files)),
            scope: TableReference::bare(table.store_url.as_str()),
            statistics: caches.get_file_statistic_cache(),
            store_url: table.store_url.clone(),
            footers: caches.get_file_metadata_cache(),
            size_hint: state.config_options().execution.parquet.metadata_size_hint,
            names,
        }
    }

    fn key(&self, meta: &ObjectMeta) -> TableScopedPath {
        TableScopedPath { table: Some(self.scope.clone()), path: meta.location.clone() }
    }

    /// Returns what is known of a file without reading it.
    pub(super) fn cached(&self, meta: &ObjectMeta) -> Option<Footer> {
        let known = self.statistics.as_ref()?.get(&self.key(meta))?;
        if !known.is_valid_for(meta, &self.fingerprint) || known.meta.e_tag != meta.e_tag {
            return None;
        }
        let statistics = Arc::clone(&known.statistics);
        Some(Footer::new(statistics, known.ordering.clone()))
    }

    /// # Errors
    /// XX001 if the file is not valid Parquet, 58P01 if it is gone; both name it.
    pub(super) async fn read(&self, meta: &ObjectMeta) -> Result<Footer> {
        if let Some(known) = self.cached(meta) {
            return Ok(known);
        }
        let key = self.key(meta);
        let mark = meta.e_tag.clone();
        let footers = StoreMetadataCache::scope(Arc::clone(&self.footers), &self.store_url, mark);
        let store = pinned(Arc::clone(&self.store), meta.e_tag.as_ref());
        let footer = DFParquetMetadata::new(store.as_ref(), meta)
            .with_metadata_size_hint(self.size_hint)
            .with_file_metadata_cache(Some(footers));
        let metadata = read_untrusted(&meta.location, footer.fetch_metadata()).await?;
        let in_this = |error| in_file(&meta.location, error);
        let marked = old_dates::mark(&metadata).map_err(|error| in_this(error.into()))?;
        let metadata = marked.map_or(metadata, Arc::new);
        // A column that the footer lacks counts as all NULL, so it is looked up by the name the file has for it.
        let root = metadata.file_metadata().schema_descr().root_schema();
        let names = root.get_fields().iter().map(|field| field.name()).collect::<Vec<_>>();
        let schema = match &self.names {
            Some(kept) => in_kept_names(&self.schema, kept),
            None => in_names_of_file(&self.schema, &names),
        };
        let mut statistics =
            DFParquetMetadata::statistics_from_parquet_metadata(&metadata, &schema)
                .map_err(in_this)?;
        let file = metadata.file_metadata();
        let file = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata());
        let file = file.map_err(|error| in_this(error.into()))?;
        without_other_bounds(&schema, &file, &mut statistics);
        let statistics = Arc::new(statistics);
        // It goes by the names in the file.
        let ordering = match self.names {
            None => ordering_from_parquet_metadata(&metadata, &self.schema).map_err(in_this)?,
            Some(_) => None,
        };
        let ordering = ordering.filter(|ordering| is_kept(ordering, &self.schema, &file));
        if let Some(cache) = &self.statistics {
            let entry = CachedFileMetadata::new(
                meta.clone(),
                Arc::clone(&self.fingerprint),
                Arc::clone(&statistics),
                ordering.clone(),
            );
            cache.put(&key, entry);
        }
        Ok(Footer::new(statistics, ordering))
    }
}

/// Takes away what is told of columns that are not cast by Arrow: 9 is less than 10, but as text it is not.
fn without_other_bounds(table: &Schema, file: &Schema, statistics: &mut Statistics) {
    for (field, told) in table.fields().iter().zip(&mut statistics.column_statistics) {
        let Ok(found) = file.field_with_name(field.name()) else { continue };
        if way(found.data_type(), field.data_type()) != Ok(Way::Cast) {
            let null_count = told.null_count;
            *told = ColumnStatistics { null_count, ..ColumnStatistics::new_unknown() };
        }
    }
}

/// Returns whether rows that the file has in an order are in it as rows of the table.
fn is_kept(ordering: &LexOrdering, table: &Schema, file: &Schema) -> bool {
    ordering.iter().all(|sorted| {
        let Some(column) = sorted.expr.downcast_ref::<Column>() else { return false };
        let types = table.field_with_name(column.name()).ok();
        let types = types.zip(file.field_with_name(column.name()).ok());
        // Writers put NaN, and the zeros, where they like.
        types.is_some_and(|(to, from)| {
            keeps_order(from.data_type(), to.data_type()) && !to.data_type().is_floating()
        })
    })
}

/// Returns the source that reads the table's files with the session's Parquet options. If the scan is `limited` it may end
/// early, and nothing is read ahead.
pub(super) fn source(
    table: &FileTable,
    state: &dyn Session,
    schema: &TableSchema,
    limited: bool,
) -> Arc<dyn FileSource> {
    let schema = match table.files.text_lengths() {
        Some(_) => unlike_files(schema),
        None => schema.clone(),
    };
    let mut options = state.default_table_options().parquet;
    // Nanoseconds, which INT96 is read as by default, overflow beyond 2262.
    options.global.coerce_int96.get_or_insert_with(|| "us".to_owned());
    let size_hint = options.global.metadata_size_hint;
    let runtime = QueryContext::runtime(state);
    // The system reads ahead in local files.
    let is_remote =
        !table.store_url.as_str().split("://").next().unwrap_or_default().ends_with("file");
    let readers = PinnedReaders {
        ahead: (is_remote && !limited).then(|| Arc::clone(&runtime.memory_pool)),
        store: Arc::clone(&table.store),
        store_url: table.store_url.clone(),
        footers: runtime.cache_manager.get_file_metadata_cache(),
    };
    let mut source = ParquetSource::new(schema)
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(readers));
    if let Some(size_hint) = size_hint {
        source = source.with_metadata_size_hint(size_hint);
    }
    Arc::new(source)
}

/// Marks a schema, so that it is not that of any file: where both are the same, the reader asks nobody how columns become the table's.
/// Batches come with the mark.
fn unlike_files(schema: &TableSchema) -> TableSchema {
    let mut file_schema = Schema::clone(schema.file_schema());
    file_schema.metadata.insert("maru:lengths".to_owned(), String::new());
    TableSchema::builder(Arc::new(file_schema))
        .with_table_partition_cols(schema.table_partition_cols().clone())
        .build()
}

/// Returns the order that the rows of all files have in common, if there is one.
pub(super) fn common_ordering(groups: &[FileGroup]) -> Option<LexOrdering> {
    let mut orderings = groups.iter().flat_map(FileGroup::iter).map(|file| file.ordering.as_ref());
    let first = orderings.next()??;
    let mut length = first.as_ref().len();
    for ordering in orderings {
        let shared = first.as_ref().iter().zip(ordering?.as_ref()).take_while(|(a, b)| a == b);
        length = length.min(shared.count());
    }
    LexOrdering::new(first.as_ref()[..length].to_vec())
}
