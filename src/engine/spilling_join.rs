//! Hash joins whose kept side need not fit into memory.
//!
//! DataFusion's hash join ends a statement with 53200 when the side that it keeps outgrows the statement's memory (55.2). What
//! that side has is known too late for a planner: behind groups and joins its size is a guess. So each join begins as one that
//! keeps its side, and only when memory is refused are the rows of both sides split by their keys into files, and joined file by
//! file: the "Grace" hash join (Kitsuregawa, Tanaka and Moto-oka, 1983), as PostgreSQL's batches. A part that is still too large
//! is split again; one that no splitting makes smaller, since its rows have one key, is sorted and merged.
//!
//! ```text
//! join.rs    one part: kept, or split, or merged       split.rs   rows into files by their keys
//! once.rs    a stream as the input of a plan
//! ```

mod join;
mod once;
mod split;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::LimitStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, StatisticsArgs,
};

use join::Joiner;

/// Puts [`SpillingJoinExec`] in the place of joins that may spill. It runs last: other rules know DataFusion's node.
#[derive(Debug)]
pub(crate) struct SpillingJoins;

impl PhysicalOptimizerRule for SpillingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>().filter(|join| may_spill(join))
            else {
                return Ok(Transformed::no(node));
            };
            let join = join.builder().build()?;
            Ok(Transformed::yes(Arc::new(SpillingJoinExec::new(join))))
        })
        .data()
    }

    fn name(&self) -> &str {
        "spilling_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns whether each partition of a join can be joined by itself, in any order of its rows.
///
/// A side that is kept once for all threads is small ([`maru_connect::JoinModes`]), and a `NOT IN` that minds NULLs has to see
/// all rows of the other side together.
fn may_spill(join: &HashJoinExec) -> bool {
    let alone = |side: &Arc<dyn ExecutionPlan>| side.output_partitioning().partition_count() == 1;
    let by_itself = *join.partition_mode() == PartitionMode::Partitioned
        || alone(join.left()) && alone(join.right());
    by_itself
        && !join.null_aware
        && join.properties().output_ordering().is_none()
        && join.dynamic_expressions_produced().is_empty()
}

/// A hash join that goes over to files when memory is refused. To whoever looks at a plan it is the join that it runs.
#[derive(Debug)]
struct SpillingJoinExec {
    join: HashJoinExec,
    metrics: ExecutionPlanMetricsSet,
}

impl SpillingJoinExec {
    fn new(join: HashJoinExec) -> Self {
        Self { join, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for SpillingJoinExec {
    fn fmt_as(&self, how: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.join.fmt_as(how, f)
    }
}

impl ExecutionPlan for SpillingJoinExec {
    fn name(&self) -> &str {
        self.join.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let join = self.join.builder().with_new_children(children)?.reset_state().build()?;
        Ok(Arc::new(Self::new(join)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn fetch(&self) -> Option<usize> {
        self.join.fetch()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let left = self.join.left().execute(partition, Arc::clone(&context))?;
        let right = self.join.right().execute(partition, Arc::clone(&context))?;
        let rows = Joiner::new(&self.join, context, &self.metrics, partition)?.join(left, right);
        let rows = Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows));
        Ok(match self.fetch() {
            // Each part has ended at the limit by itself, all of them together have not.
            Some(_) => {
                let baseline = BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), partition);
                Box::pin(LimitStream::new(rows, 0, self.fetch(), baseline))
            }
            None => rows,
        })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        for metric in self.join.metrics().iter().flat_map(MetricsSet::iter) {
            metrics.push(Arc::clone(metric));
        }
        Some(metrics)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.join.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.join.statistics_from_inputs(inputs, args)
    }
}
