//! The plan of a write: rows come from below, go to a [`WriteJob`], and are published when all of them are there. It gives one
//! row, the number of rows written.
//!
//! As a part of the plan a write holds to what holds for every statement: its memory, its place among those that run, cancel,
//! timeout, `EXPLAIN ANALYZE`.

use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, ErrorKind, Result};
use tokio_util::task::AbortOnDropHandle;

use crate::{BatchStream, Committed, WriteJob};

/// Batches between the plan and one writer at most.
const BATCHES_AHEAD: usize = 2;

/// What the engine does around a commit.
pub trait WriteWatch: Send + Sync + Debug {
    /// Called when all rows are written, before they are published.
    ///
    /// # Errors
    /// 57014 if the statement was cancelled: nothing is published then. From here on it is not cancelled any more.
    fn committing(&self) -> BoxFuture<'_, Result<()>>;

    /// Called when they are, or when they could not be.
    fn committed<'a>(&'a self, outcome: &'a Result<Committed>) -> BoxFuture<'a, ()>;
}

/// Writes its input.
#[derive(Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    job: Arc<dyn WriteJob>,
    watch: Arc<dyn WriteWatch>,
    /// The table, for `EXPLAIN`.
    target: String,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl WriteExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        job: Arc<dyn WriteJob>,
        watch: Arc<dyn WriteWatch>,
        target: String,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Self::count_schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Self { input, job, watch, target, metrics: ExecutionPlanMetricsSet::new(), properties }
    }

    /// Returns the schema of the one row.
    pub fn count_schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]))
    }
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteExec: {}: {}", self.target, self.job.describe())
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &str {
        "WriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        // Streams that are merged keep no order.
        vec![match self.job.max_streams() {
            0 | 1 => Distribution::SinglePartition,
            _ => Distribution::UnspecifiedDistribution,
        }]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let schema = self.input.schema();
        let order = self.job.sorted_by().into_iter().map(|index| {
            let column = Column::new(schema.field(index).name(), index);
            PhysicalSortRequirement::new(Arc::new(column), None)
        });
        vec![LexRequirement::new(order).map(OrderingRequirements::new)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    /// Rows of one stream keep their order; they are not dealt out anew.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self {
            input,
            job: Arc::clone(&self.job),
            watch: Arc::clone(&self.watch),
            target: self.target.clone(),
            metrics: self.metrics.clone(),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        if partition > 0 {
            return Err(Error::internal("a write has one partition").into());
        }
        let rows = MetricBuilder::new(&self.metrics).global_counter("rows_written");
        let bytes = MetricBuilder::new(&self.metrics).global_counter("bytes_written");
        let write = write(
            Arc::clone(&self.input),
            Arc::clone(&self.job),
            Arc::clone(&self.watch),
            context,
            (rows, bytes),
        );
        let stream = stream::once(async move { write.await.map_err(DataFusionError::from) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Self::count_schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Takes back what was written, unless told otherwise.
struct Undo(Option<Arc<dyn WriteJob>>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let (Some(job), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(job.abort());
        }
    }
}

async fn write(
    input: Arc<dyn ExecutionPlan>,
    job: Arc<dyn WriteJob>,
    watch: Arc<dyn WriteWatch>,
    context: Arc<TaskContext>,
    (rows, bytes): (Count, Count),
) -> Result<RecordBatch> {
    let mut undo = Undo(Some(Arc::clone(&job)));
    let n_partitions = input.output_partitioning().partition_count();
    let n_streams = job.max_streams().clamp(1, n_partitions.max(1));
    let writers = (0..n_streams)
        .map(|first| {
            let partitions = (first..n_partitions).step_by(n_streams);
            let stream = gather(&input, partitions, &context)?;
            // Each in a task of its own: encoding takes more time than reading.
            let task = tokio::spawn(Arc::clone(&job).write(stream));
            Ok(AbortOnDropHandle::new(task))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut writers = stream::iter(writers).buffer_unordered(n_streams);
    while let Some(ended) = writers.next().await {
        let written =
            ended.map_err(|error| Error::internal("a writer broke off").with_cause(error))??;
        rows.add(usize::try_from(written.n_rows).unwrap_or(usize::MAX));
        bytes.add(usize::try_from(written.n_bytes).unwrap_or(usize::MAX));
    }
    drop(writers);
    watch.committing().await?;
    undo.0 = None;
    // What goes on now goes on to its end, whoever still waits for it.
    let commit = tokio::spawn(async move {
        let outcome = job.commit().await;
        watch.committed(&outcome).await;
        outcome
    });
    let committed =
        commit.await.map_err(|error| Error::internal("a commit broke off").with_cause(error))??;
    let count = Arc::new(UInt64Array::from(vec![committed.n_rows]));
    Ok(RecordBatch::try_new(WriteExec::count_schema(), vec![count])?)
}

/// Returns one stream of some partitions. Several run side by side; one keeps its order.
fn gather(
    input: &Arc<dyn ExecutionPlan>,
    mut partitions: impl ExactSizeIterator<Item = usize>,
    context: &Arc<TaskContext>,
) -> Result<BatchStream> {
    if partitions.len() == 1 {
        let partition = partitions.next().unwrap_or(0);
        let stream = input.execute(partition, Arc::clone(context))?;
        return Ok(Box::pin(stream.map_err(Error::from)));
    }
    let mut builder = RecordBatchReceiverStream::builder(input.schema(), BATCHES_AHEAD);
    for partition in partitions {
        let (sender, mut rows) = (builder.tx(), input.execute(partition, Arc::clone(context))?);
        builder.spawn(async move {
            while let Some(batch) = rows.next().await {
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    break;
                }
            }
            Ok(())
        });
    }
    Ok(Box::pin(builder.build().map_err(Error::from)))
}

/// Refuses NULL where a column must not hold it.
///
/// # Errors
/// 23502 as PostgreSQL words it.
pub fn check_not_null(relation: &str, schema: &Schema, batch: &RecordBatch) -> Result<()> {
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.is_nullable() && column.logical_null_count() > 0 {
            return Err(Error::new(
                ErrorKind::NotNullViolation,
                format!(
                    "null value in column \"{}\" of relation \"{relation}\" violates not-null constraint",
                    field.name()
                ),
            ));
        }
    }
    Ok(())
}
