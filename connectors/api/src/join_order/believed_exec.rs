//! A scan of files together with what others say of its columns. It stands in a plan only until joins are ordered: bounds that
//! may be wrong must not be seen by rules that take them for proofs.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};

use crate::ColumnEstimate;

/// The scan, and one estimate for each of its columns.
#[derive(Debug)]
pub(crate) struct BelievedExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Vec<ColumnEstimate>,
}

impl BelievedExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, columns: Vec<ColumnEstimate>) -> Self {
        Self { input, columns }
    }

    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub(super) fn columns(&self) -> &[ColumnEstimate] {
        &self.columns
    }
}

impl DisplayAs for BelievedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BelievedExec")
    }
}

impl ExecutionPlan for BelievedExec {
    fn name(&self) -> &str {
        "BelievedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(input, self.columns.clone())))
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
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(match inputs.first() {
            Some(input) => Arc::clone(input),
            None => Arc::new(Statistics::new_unknown(&self.schema())),
        })
    }
}
