//! The leaf of a plan that reads a remote table: exactly one partition, so that it is safe wherever a plan is cut.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, RecordBatch};
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

use crate::join_order::Estimate;
use crate::runtime_filter::{Learned, learn, shortened};
use crate::{
    BatchStream, Predicate, RemoteTable, RuntimeFilter, ScanRequest, batch_stream, time_sliced,
};

/// Reads a [`RemoteTable`] with one [`ScanRequest`].
///
/// `EXPLAIN` shows `RemoteScanExec: catalog=crm, sent=SELECT …`; `EXPLAIN ANALYZE` adds `output_rows` and
/// `bytes_received` (what the values take in memory), which also feed `system.queries`.
#[derive(Debug)]
pub struct RemoteScanExec {
    catalog: String,
    table: Arc<dyn RemoteTable>,
    request: ScanRequest,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// Filters that are learned at run time, before the first row is asked for.
    runtime_filters: Vec<RuntimeFilter>,
    /// Whether the source may be sent such filters.
    narrows: bool,
    /// What was learned: `None` if no row can count.
    learned: Arc<OnceLock<Option<Vec<Predicate>>>>,
    /// What is known of the whole table, if it does not say so itself.
    whole: Option<Estimate>,
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
        let (runtime_filters, learned) = (Vec::new(), Arc::default());
        Ok(Self {
            catalog,
            table,
            request,
            schema,
            properties,
            metrics,
            runtime_filters,
            narrows: true,
            learned,
            whole: None,
        })
    }

    /// Takes no filters that are learned at run time (`SET pushdown = off`).
    pub(crate) fn unnarrowed(mut self) -> Self {
        self.narrows = false;
        self
    }

    /// Returns the scan with one more filter that is learned at run time; `None` if it cannot take one on that column.
    pub(crate) fn with_runtime_filter(
        &self,
        filter: RuntimeFilter,
    ) -> Option<Arc<dyn ExecutionPlan>> {
        self.key_column(filter.column()).filter(|_| self.narrows)?;
        let mut runtime_filters = self.runtime_filters.clone();
        runtime_filters.push(filter);
        Some(Arc::new(Self {
            catalog: self.catalog.clone(),
            table: Arc::clone(&self.table),
            request: self.request.clone(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
            runtime_filters,
            narrows: true,
            learned: Arc::default(),
            whole: self.whole.clone(),
        }))
    }

    /// Returns which column of the table stands at `output` in the batches, if rows with other values of it may be
    /// left out before anything else is done with them.
    fn key_column(&self, output: usize) -> Option<usize> {
        match self.request.limit {
            None => self.request.projection.get(output).copied(),
            Some(_) => None,
        }
    }

    /// Returns the number of rows that the source knows of, before filters.
    pub(crate) fn n_rows(&self) -> Option<usize> {
        self.table.statistics().n_rows
    }

    /// Adds what is known of the table besides what it says itself.
    pub(crate) fn with_estimate(mut self, whole: Option<Estimate>) -> Self {
        self.whole = whole;
        self
    }

    /// Returns what is believed of the rows that the scan gives.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let own = || Estimate::of_table(self.table.as_ref());
        Some(self.whole.clone().or_else(own)?.asked(&self.request))
    }

    /// Returns whether the source is sent more than is known when the statement is planned.
    pub fn learns(&self) -> bool {
        !self.runtime_filters.is_empty()
    }

    /// Returns what the scan learns at run time, before it has.
    pub fn waits_for(&self) -> Option<String> {
        if self.runtime_filters.is_empty() || self.learned.get().is_some() {
            return None;
        }
        let waits = self.runtime_filters.iter().map(|filter| {
            let name = self.schema.fields().get(filter.column()).map_or("?", |field| field.name());
            format!("{name}: {filter}")
        });
        Some(waits.collect::<Vec<_>>().join(", "))
    }

    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    /// Returns what the source is sent as far as it is known before anything is read.
    pub fn planned(&self) -> String {
        self.table.describe(&self.request)
    }

    /// Returns what the source is sent, once it has run with what was learned at run time. Long lists are cut.
    pub fn sent(&self) -> String {
        match self.learned.get() {
            None => self.planned(),
            Some(None) => "nothing, no row can count".to_owned(),
            Some(Some(predicates)) => {
                let mut request = self.request.clone();
                let (shown, longest) = shortened(predicates);
                request.filters.extend(shown);
                let sent = self.table.describe(&request);
                match longest {
                    None => sent,
                    Some(n_values) => format!("{sent} (of {n_values} keys the first are shown)"),
                }
            }
        }
    }
}

impl RemoteScanExec {
    /// Reads, after what is learned at run time has been learned.
    fn read(&self) -> BatchStream {
        if self.runtime_filters.is_empty() {
            return self.table.read(self.request.clone());
        }
        let (table, mut request) = (Arc::clone(&self.table), self.request.clone());
        let filters = self.runtime_filters.clone();
        let columns = (0..self.schema.fields().len())
            .map(|output| self.key_column(output))
            .collect::<Vec<_>>();
        let learned = Arc::clone(&self.learned);
        let stream = futures::stream::once(async move {
            let place = |output: usize| columns.get(output).copied().flatten();
            let supports = |predicate: &Predicate| table.supports(predicate);
            match learn(&filters, place, supports).await {
                Learned::Nothing => {
                    let _ = learned.set(None);
                    batch_stream(futures::stream::empty())
                }
                Learned::Predicates(predicates) => {
                    let _ = learned.set(Some(predicates.clone()));
                    request.filters.extend(predicates);
                    table.read(request)
                }
            }
        });
        batch_stream(stream.flatten())
    }
}

impl DisplayAs for RemoteScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteScanExec: catalog={}, sent={}", self.catalog, self.sent())?;
        match self.waits_for() {
            Some(waits) => write!(f, ", at run time=[{waits}]"),
            None => Ok(()),
        }
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
        let stream = self.read().map(move |batch| {
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
            received.add(size_of_values(&batch));
            Ok(batch)
        });
        let stream = time_sliced(stream);
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, _: Option<usize>) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        // Bounds are not shown: the engine's rules take some for proofs.
        if let Some(known) = self.estimate() {
            statistics.num_rows = Precision::Inexact(known.rows.ceil() as usize);
            for (column, facts) in statistics.column_statistics.iter_mut().zip(known.columns) {
                let n_distinct = facts.n_distinct.map(|n| n.min(known.rows).ceil() as usize);
                column.distinct_count = n_distinct.map_or(Precision::Absent, Precision::Inexact);
            }
        } else if let Some(limit) = self.request.limit {
            statistics.num_rows = Precision::Inexact(limit);
        }
        Ok(Arc::new(statistics))
    }
}

/// Returns the size of what came, without the room that builders set aside for more of it.
fn size_of_values(batch: &RecordBatch) -> usize {
    let size = |column: &ArrayRef| {
        let values = column.to_data().get_slice_memory_size();
        values.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(size).sum()
}
