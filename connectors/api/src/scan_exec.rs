//! The leaf of a plan that reads a remote table: exactly one partition, so that it is safe wherever a plan is cut.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, stats::Precision};
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;
use maru_core::{Error, Result};

use crate::{RemoteTable, ScanRequest};

/// Reads a [`RemoteTable`] with one [`ScanRequest`].
///
/// `EXPLAIN` shows `RemoteScanExec: catalog=crm, sent=SELECT …`; `EXPLAIN ANALYZE` adds `output_rows` and
/// `bytes_received` (the size of the batches in memory), which also feed `system.queries`.
#[derive(Debug)]
pub struct RemoteScanExec {
    catalog: String,
    table: Arc<dyn RemoteTable>,
    request: ScanRequest,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RemoteScanExec {
    /// # Errors
    /// XX000 if the projection does not fit the table.
    pub fn try_new(
        catalog: String,
        table: Arc<dyn RemoteTable>,
        request: ScanRequest,
    ) -> Result<Self> {
        let schema = request.projected(&table.schema())?;
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { catalog, table, request, schema, properties, metrics })
    }

    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    /// Returns what the source is sent.
    pub fn sent(&self) -> String {
        self.table.describe(&self.request)
    }
}

impl DisplayAs for RemoteScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteScanExec: catalog={}, sent={}", self.catalog, self.sent())
    }
}

impl ExecutionPlan for RemoteScanExec {
    fn name(&self) -> &str {
        "RemoteScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        _: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(Error::internal(format!("remote scan has no partition {partition}")).into());
        }
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let received = MetricBuilder::new(&self.metrics).counter("bytes_received", partition);
        let catalog = self.catalog.clone();
        let schema = Arc::clone(&self.schema);
        let stream = self.table.read(self.request.clone()).map(move |batch| {
            let batch = batch.map_err(|error| error.with_context("source", catalog.clone()))?;
            if batch.schema_ref().fields() != schema.fields() {
                return Err(Error::internal(format!(
                    "source \"{catalog}\" sent columns {:?} where {:?} were promised",
                    batch.schema_ref().fields(),
                    schema.fields()
                ))
                .into());
            }
            baseline.record_output(batch.num_rows());
            received.add(batch.get_array_memory_size());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, _: Option<usize>) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let known = self.table.statistics();
        // With filters the count is only an upper bound, which would mislead more than it helps.
        if self.request.filters.is_empty() {
            let n_rows = match (known.n_rows, self.request.limit) {
                (Some(rows), Some(limit)) => Some(rows.min(limit)),
                (rows, _) => rows,
            };
            statistics.num_rows = n_rows.map_or(Precision::Absent, Precision::Inexact);
        }
        Ok(Arc::new(statistics))
    }
}
