//! What rows tell of, taken aside on their way to be written and given when they are committed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{Int8Type, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, Result};
use parking_lot::Mutex;

use super::node::Returned;
use crate::engine::run::conform;

/// Rows that wait for the commit.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By the partitions that they came in, so that they keep their order.
    rows: BTreeMap<usize, Vec<RecordBatch>>,
    memory: Vec<Arc<MemoryReservation>>,
}

impl Kept {
    fn keep(&self, partition: usize, told: RecordBatch) {
        self.0.lock().rows.entry(partition).or_default().push(told);
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Passes rows on without what they tell of, which is kept.
pub(super) struct TellExec {
    input: Arc<dyn ExecutionPlan>,
    /// Of the rows that go on.
    schema: SchemaRef,
    returned: Returned,
    kept: Arc<Kept>,
    properties: Arc<PlanProperties>,
}

impl TellExec {
    /// # Errors
    /// XX000 for rows that tell of nothing.
    pub(super) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        returned: Returned,
        kept: Arc<Kept>,
    ) -> Result<Self> {
        let (n_all, n_told) = (input.schema().fields().len(), returned.schema.fields().len());
        let n_given = n_all.checked_sub(n_told);
        let n_given = n_given.ok_or_else(|| Error::internal("rows tell of nothing"))?;
        let given = (0..n_given).collect::<Vec<_>>();
        let schema = Arc::new(input.schema().project(&given)?);
        // The order that a write asks for is made below.
        let mapping = ProjectionMapping::from_indices(&given, &input.schema())?;
        let properties = PlanProperties::new(
            input.equivalence_properties().project(&mapping, Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, schema, returned, kept, properties: Arc::new(properties) })
    }
}

impl fmt::Debug for TellExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TellExec")
    }
}

impl DisplayAs for TellExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TellExec: RETURNING")
    }
}

impl ExecutionPlan for TellExec {
    fn name(&self) -> &str {
        "TellExec"
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

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        let kept = Arc::clone(&self.kept);
        Ok(Arc::new(Self::try_new(input, self.returned.clone(), kept)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("RETURNING").register(context.memory_pool());
        let memory = Arc::new(memory);
        let kept = Arc::clone(&self.kept);
        kept.0.lock().memory.push(Arc::clone(&memory));
        let rows = self.input.execute(partition, context)?;
        let returned = self.returned.clone();
        let n_given = self.schema.fields().len();
        let passed = rows.map(move |batch| {
            let batch = batch?;
            let told = told(&batch, n_given, &returned)?;
            if let Some(promised) = &returned.promised {
                // What the client cannot be given fails here, before anything is written.
                conform(told.clone(), promised)?;
            }
            if told.num_rows() > 0 {
                memory.try_grow(told.get_array_memory_size())?;
                kept.keep(partition, told);
            }
            Ok(batch.project(&(0..n_given).collect::<Vec<_>>())?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), passed)))
    }
}

/// Returns what the rows of a batch tell of.
fn told(batch: &RecordBatch, n_given: usize, returned: &Returned) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(returned.schema.fields().len());
    let all = batch.columns().iter().skip(n_given);
    for (column, field) in all.zip(returned.schema.fields()) {
        columns.push(match column.data_type() == field.data_type() {
            true => Arc::clone(column),
            false => cast(column, field.data_type())?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::clone(&returned.schema);
    let told = RecordBatch::try_new_with_options(schema, columns, &options)?;
    let Some((at, op)) = returned.op else { return Ok(told) };
    let ops = batch.columns().get(at).and_then(|ops| ops.as_primitive_opt::<Int8Type>());
    let ops = ops.ok_or_else(|| Error::internal("rows do not say what is done with them"))?;
    let wanted = ops.iter().map(|found| Some(found == Some(op))).collect::<BooleanArray>();
    Ok(filter_record_batch(&told, &wanted)?)
}

/// Runs a write to its end, then gives what its rows told of.
#[derive(Debug)]
pub(super) struct ReturnedExec {
    write: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    kept: Arc<Kept>,
    properties: Arc<PlanProperties>,
}

impl ReturnedExec {
    pub(super) fn new(write: Arc<dyn ExecutionPlan>, schema: SchemaRef, kept: Arc<Kept>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { write, schema, kept, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ReturnedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnedExec: rows that are committed")
    }
}

impl ExecutionPlan for ReturnedExec {
    fn name(&self) -> &str {
        "ReturnedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.write]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// The write is one stream.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let write = children.pop().unwrap_or_else(|| Arc::clone(&self.write));
        Ok(Arc::new(Self::new(write, Arc::clone(&self.schema), Arc::clone(&self.kept))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let mut counts = self.write.execute(partition, context)?;
        let kept = Arc::clone(&self.kept);
        let written = async move {
            while let Some(count) = counts.next().await {
                count?;
            }
            let Waiting { rows, memory } = kept.take();
            let rows = rows.into_values().flatten().collect::<VecDeque<_>>();
            // The memory is theirs until they are sent.
            let rows = stream::unfold((rows, memory), |(mut rows, memory)| async move {
                let batch = rows.pop_front()?;
                Some((Ok::<_, DataFusionError>(batch), (rows, memory)))
            });
            Ok::<_, DataFusionError>(rows)
        };
        let rows = stream::once(written).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
