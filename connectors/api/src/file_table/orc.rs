//! ORC: a file source over orc-rust that prunes stripes and trusts nothing.
//!
//! The end of each file is read and checked ([`tail`]), stripes that cannot hold a wanted row are left out ([`prune`]), the
//! streams of the others are fetched in few requests and decoded ([`stripe`]).

mod bounds;
mod negative;
mod prune;
mod sparse;
mod stripe;
mod tail;
mod tails;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_scan_config::FileScanConfig;
use datafusion_datasource::file_stream::{FileOpenFuture, FileOpener};
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion_datasource::{PartitionedFile, TableSchema};
use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use self::stripe::FileReader;
pub(super) use self::tails::Tails;
use super::file_error::in_file;
use super::label::Label;
use super::lengths::{self, TextLengths};
use super::metadata_cache::StoreMetadataCache;
use super::one_nan::one_nan;
use super::pinned_store::pinned;
use crate::{FileTable, in_place, root_of};

/// Returns the source that reads the table's files.
pub(super) fn source(
    table: &FileTable,
    state: &dyn Session,
    schema: TableSchema,
    label: Arc<Label>,
    pushdown: bool,
) -> Arc<dyn FileSource> {
    Arc::new(OrcSource {
        projection: SplitProjection::unprojected(&schema),
        schema,
        lengths: table.files.text_lengths(),
        store_url: table.store_url.clone(),
        tails: state.runtime_env().cache_manager.get_file_metadata_cache(),
        filter: None,
        label,
        pushdown,
        batch_rows: maru_core::limits::BATCH_ROWS,
        metrics: ExecutionPlanMetricsSet::new(),
    })
}

/// Returns the columns of a file.
///
/// # Errors
/// XX001 if it is not valid ORC, 0A000 for what cannot be read, 58P01 if it is gone.
pub(super) async fn infer(store: &Arc<dyn ObjectStore>, meta: &ObjectMeta) -> Result<SchemaRef> {
    Ok(Arc::clone(&tail::read(store, meta, None).await?.schema))
}

#[derive(Clone)]
pub(super) struct OrcSource {
    schema: TableSchema,
    lengths: Option<Arc<TextLengths>>,
    projection: SplitProjection,
    store_url: ObjectStoreUrl,
    tails: Arc<FileMetadataCache>,
    /// What leaves stripes out; the rows of the others are filtered behind the scan.
    filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) label: Arc<Label>,
    pushdown: bool,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl FileSource for OrcSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let opener = OrcOpener {
            source: self.clone(),
            store,
            bytes_scanned: counter("bytes_scanned"),
            n_stripes: counter("stripes"),
            n_pruned: counter("stripes_pruned"),
        };
        let schema = self.schema.file_schema();
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), schema)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, batch_rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows, ..self.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.filter.clone()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> DfResult<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let kept = vec![PushedDown::No; filters.len()];
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(kept);
        if !self.pushdown || filters.is_empty() {
            return Ok(answer);
        }
        let filter = Some(conjunction(self.filter.iter().cloned().chain(filters)));
        let source: Arc<dyn FileSource> = Arc::new(Self { filter, ..self.clone() });
        Ok(answer.with_updated_node(source))
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "orc"
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(kind, DisplayFormatType::TreeRender) {
            return Ok(());
        }
        write!(f, ", {}", self.label)?;
        match &self.filter {
            Some(filter) => write!(f, ", predicate={filter}"),
            None => Ok(()),
        }
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        match datafusion::physical_plan::apply_expression_roots(self.projection.source.iter(), f)? {
            TreeNodeRecursion::Stop => Ok(TreeNodeRecursion::Stop),
            _ => datafusion::physical_plan::apply_expression_roots(self.filter.iter(), f),
        }
    }
}

struct OrcOpener {
    source: OrcSource,
    store: Arc<dyn ObjectStore>,
    bytes_scanned: Count,
    n_stripes: Count,
    n_pruned: Count,
}

impl OrcOpener {
    /// Returns the stripes that begin in the part of the file that is asked for and may hold a wanted row.
    fn stripes(&self, file: &PartitionedFile, tail: &tail::Tail) -> DfResult<Vec<usize>> {
        let n_stripes = tail.metadata.stripe_metadatas().len();
        let mut may = vec![true; n_stripes];
        if let Some(filter) = &self.source.filter {
            // What is learned while the statement runs is taken as it is known now.
            let filter = snapshot_physical_expr(Arc::clone(filter))?;
            let schema = self.source.schema.table_schema();
            let n_file_columns = self.source.schema.file_schema().fields().len();
            let lengths = self.source.lengths.as_deref();
            may = prune::stripes(tail, schema, n_file_columns, lengths, &filter)?;
        }
        let here = |offset: u64| match &file.range {
            None => true,
            Some(range) => {
                i64::try_from(offset).is_ok_and(|at| at >= range.start && at < range.end)
            }
        };
        let offsets = tail.metadata.stripe_metadatas().iter().map(|stripe| stripe.offset());
        let mine = offsets.enumerate().filter(|(_, offset)| here(*offset));
        let (kept, pruned): (Vec<_>, Vec<_>) =
            mine.map(|(number, _)| number).partition(|number| may[*number]);
        self.n_stripes.add(kept.len());
        self.n_pruned.add(pruned.len());
        Ok(kept)
    }

    async fn open(
        &self,
        file: PartitionedFile,
    ) -> DfResult<futures::stream::BoxStream<'static, DfResult<arrow::array::RecordBatch>>> {
        let meta = file.object_meta.clone();
        let mark = meta.e_tag.clone();
        let store = pinned(Arc::clone(&self.store), mark.as_ref());
        let tails =
            StoreMetadataCache::scope(Arc::clone(&self.source.tails), &self.source.store_url, mark);
        let tail = tail::read(&store, &meta, Some(tails.as_ref())).await?;
        let stripes = self.stripes(&file, &tail)?;
        let columns = (self.source.schema.file_schema(), &self.source.projection.file_indices[..]);
        let (batch_rows, scanned) = (self.source.batch_rows, self.bytes_scanned.clone());
        let reader = FileReader::new(store, meta, tail, columns, batch_rows, scanned)?;
        let reader = Arc::new(reader);
        let path = reader.meta.location.clone();
        let batches = stream::iter(stripes).then(move |number| {
            let reader = Arc::clone(&reader);
            async move {
                let rows = reader.decode(reader.fetch(number).await?)?;
                Ok::<_, Error>(stream::iter(rows))
            }
        });
        let lengths = self.source.lengths.clone();
        let batches = batches.try_flatten().map(move |batch| {
            batch.and_then(one_nan).and_then(|batch| lengths::fit(lengths.as_deref(), batch))
        });
        let root = root_of(&self.source.store_url);
        let named = move |error: Error| in_place(in_file(&path, error), &root, &path);
        Ok(batches.map_err(move |error| named(error).into()).boxed())
    }
}

impl FileOpener for OrcOpener {
    fn open(&self, file: PartitionedFile) -> DfResult<FileOpenFuture> {
        let opener = Self {
            source: self.source.clone(),
            store: Arc::clone(&self.store),
            bytes_scanned: self.bytes_scanned.clone(),
            n_stripes: self.n_stripes.clone(),
            n_pruned: self.n_pruned.clone(),
        };
        let (root, path) = (root_of(&self.source.store_url), file.object_meta.location.clone());
        Ok(Box::pin(async move {
            let opened = opener.open(file).await;
            opened.map_err(|error| DataFusionError::from(in_place(error.into(), &root, &path)))
        }))
    }
}

fn no_orc(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::DataCorrupted, format!("file \"{path}\" is not valid ORC: {why}"))
        .with_hint("The file may be cut off or of another format. Write it again or remove it.")
}

/// Runs what reads bytes that nobody vouches for: where it panics, the file is corrupt.
fn untrusted<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(no_orc(path, "its contents make no sense")))
}
