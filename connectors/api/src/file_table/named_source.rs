//! A file source whose errors name the file, and whose floats have one NaN.
//!
//! DataFusion's Parquet reader says what is wrong, but not in which of a thousand files. This wraps it at the level of
//! morsels, where the file is still known, and hands everything else through.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::PartitionedFile;
use datafusion_datasource::TableSchema;
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_scan_config::FileScanConfig;
use datafusion_datasource::file_stream::FileOpener;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use maru_core::Error;
use object_store::ObjectStore;
use object_store::path::Path;

use super::file_error::{in_file, makes_no_sense, read_untrusted, untrusted};
use super::label::Label;
use super::nan::decided_by_bounds;
use super::one_nan::{computes_with_floats, one_nan};
use crate::in_place;

/// Wraps a source; `label` is added to its line in `EXPLAIN`.
#[derive(Clone)]
pub(super) struct NamedSource {
    pub(super) inner: Arc<dyn FileSource>,
    /// The table's, without what the inner source marks its own with.
    pub(super) schema: TableSchema,
    /// What users call the root of the store.
    pub(super) root: Arc<str>,
    pub(super) label: Arc<Label>,
    /// Whether filters may move into the source.
    pub(super) pushdown: bool,
}

impl NamedSource {
    fn wrap(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, ..self.clone() })
    }
}

impl FileSource for NamedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Box<dyn Morselizer>> {
        let inner = self.inner.create_morselizer(store, config, partition)?;
        Ok(Box::new(NamedMorselizer { inner, root: Arc::clone(&self.root) }))
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.wrap(self.inner.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(kind, DisplayFormatType::TreeRender) {
            write!(f, ", {}", self.label)?;
        }
        self.inner.fmt_extra(kind, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        if !self.pushdown {
            let none = vec![PushedDown::No; filters.len()];
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(none));
        }
        let kept = vec![PushedDown::No; filters.len()];
        let kept = FilterPushdownPropagation::with_parent_pushdown_result(kept);
        let schema = self.table_schema().table_schema();
        let told = filters.iter().filter_map(|filter| decided_by_bounds(filter, schema));
        let told = told.collect::<Vec<_>>();
        if told.is_empty() {
            return Ok(kept);
        }
        let pushed = self.inner.try_pushdown_filters(told, config)?;
        Ok(match pushed.updated_node {
            Some(inner) => kept.with_updated_node(self.wrap(inner)),
            None => kept,
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> DfResult<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.inner.try_pushdown_sort(order, properties)? {
            SortOrderPushdownResult::Exact { inner } => {
                SortOrderPushdownResult::Exact { inner: self.wrap(inner) }
            }
            SortOrderPushdownResult::Inexact { inner } => {
                SortOrderPushdownResult::Inexact { inner: self.wrap(inner) }
            }
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> DfResult<Option<Arc<dyn FileSource>>> {
        let table = self.table_schema().table_schema();
        if computes_with_floats(projection, self.inner.projection(), table)? {
            return Ok(None);
        }
        Ok(self.inner.try_pushdown_projection(projection)?.map(|inner| self.wrap(inner)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

#[derive(Debug)]
struct NamedMorselizer {
    inner: Box<dyn Morselizer>,
    root: Arc<str>,
}

/// A file, and what users call the root of its store.
#[derive(Debug, Clone)]
struct Name {
    path: Path,
    root: Arc<str>,
}

impl Name {
    fn in_place(&self, error: impl Into<Error>) -> Error {
        in_place(error.into(), &self.root, &self.path)
    }
}

impl Morselizer for NamedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> DfResult<Box<dyn MorselPlanner>> {
        let path = file.object_meta.location.clone();
        let name = Name { path, root: Arc::clone(&self.root) };
        let inner = untrusted(&name.path, || self.inner.plan_file(file));
        Ok(Box::new(NamedPlanner { inner: inner.map_err(|error| name.in_place(error))?, name }))
    }
}

#[derive(Debug)]
struct NamedPlanner {
    inner: Box<dyn MorselPlanner>,
    name: Name,
}

impl MorselPlanner for NamedPlanner {
    fn plan(self: Box<Self>) -> DfResult<Option<MorselPlan>> {
        let Self { inner, name } = *self;
        let plan = untrusted(&name.path, || inner.plan());
        let Some(mut plan) = plan.map_err(|error| name.in_place(error))? else {
            return Ok(None);
        };
        let planner = |inner: Box<dyn MorselPlanner>, name: &Name| -> Box<dyn MorselPlanner> {
            Box::new(NamedPlanner { inner, name: name.clone() })
        };
        let morsels = plan
            .take_morsels()
            .into_iter()
            .map(|inner| Box::new(NamedMorsel { inner, name: name.clone() }) as Box<dyn Morsel>)
            .collect();
        let planners =
            plan.take_ready_planners().into_iter().map(|inner| planner(inner, &name)).collect();
        let pending = plan.take_pending_planner();
        let mut named = MorselPlan::new().with_morsels(morsels).with_planners(planners);
        if let Some(pending) = pending {
            named.set_pending_planner(async move {
                let inner = read_untrusted(&name.path, pending).await;
                Ok(planner(inner.map_err(|error| name.in_place(error))?, &name))
            });
        }
        Ok(Some(named))
    }
}

#[derive(Debug)]
struct NamedMorsel {
    inner: Box<dyn Morsel>,
    name: Name,
}

impl Morsel for NamedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, DfResult<RecordBatch>> {
        let Self { inner, name } = *self;
        // After a panic the stream ends with the error.
        AssertUnwindSafe(inner.into_stream())
            .catch_unwind()
            .map(move |end| -> DfResult<RecordBatch> {
                let plain = |batch| -> DfResult<RecordBatch> { Ok(one_nan(without_mark(batch))?) };
                let error = match end.map(|batch| batch.and_then(plain)) {
                    Ok(Ok(batch)) => return Ok(batch),
                    Ok(Err(error)) => in_file(&name.path, error),
                    Err(_) => makes_no_sense(&name.path),
                };
                Err(name.in_place(error).into())
            })
            .boxed()
    }
}

/// Takes off what a source marks its schema with.
fn without_mark(mut batch: RecordBatch) -> RecordBatch {
    if !batch.schema_ref().metadata().is_empty() {
        batch.schema_metadata_mut().clear();
    }
    batch
}
