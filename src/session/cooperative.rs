//! Lets other work through while a join multiplies rows.
//!
//! DataFusion's plans give way where they read their inputs. A nested loop or cross join makes millions of rows of one
//! input batch, and an aggregate above it takes them all in one step: meanwhile a cancel is not heard, and the thread
//! serves nobody else. If its condition lets hardly any row through, a nested loop join does not even give a batch: it compares
//! all rows of its left side with a batch of its right side in one step. So that batch comes in pieces, as large as are
//! compared in a moment.

mod pieces;

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, Statistics,
    StatisticsArgs, replace_children_if_necessary,
};
use maru_connect::time_sliced;

use pieces::Pieces;

/// Puts a node that gives way every few milliseconds above joins that multiply rows, and one below the right side of those that
/// may compare for long without a result.
#[derive(Debug)]
pub(super) struct YieldInJoins;

impl PhysicalOptimizerRule for YieldInJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
                let left = Arc::clone(join.left());
                let right = TimeSlicedExec::new(Arc::clone(join.right()), true);
                let sides: Vec<Arc<dyn ExecutionPlan>> = vec![left, Arc::new(right)];
                let node = replace_children_if_necessary(node, sides)?;
                return Ok(Transformed::yes(Arc::new(TimeSlicedExec::new(node, false))));
            }
            Ok(match node.downcast_ref::<CrossJoinExec>().is_some() {
                true => Transformed::yes(Arc::new(TimeSlicedExec::new(node, false))),
                false => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "yield_in_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes rows on, and gives way.
#[derive(Debug)]
struct TimeSlicedExec {
    input: Arc<dyn ExecutionPlan>,
    /// Whether batches are cut, so that what is above asks for the next soon.
    cuts: bool,
}

impl TimeSlicedExec {
    fn new(input: Arc<dyn ExecutionPlan>, cuts: bool) -> Self {
        Self { input, cuts }
    }
}

impl DisplayAs for TimeSlicedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeSlicedExec")
    }
}

impl ExecutionPlan for TimeSlicedExec {
    fn name(&self) -> &str {
        "TimeSlicedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.into_iter().next() {
            Some(input) => Ok(Arc::new(Self::new(input, self.cuts))),
            None => Err(DataFusionError::Internal("it has one input".to_owned())),
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let stream = self.input.execute(partition, context)?;
        let schema = stream.schema();
        if self.cuts {
            let pieces = time_sliced(Pieces::new(stream));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, pieces)));
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, time_sliced(stream))))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.input.schema()));
        Ok(inputs.first().map_or_else(unknown, Arc::clone))
    }
}
