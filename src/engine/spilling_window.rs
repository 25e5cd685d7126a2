//! Windows over whole partitions, whose rows need not fit into memory.
//!
//! A function whose frame reaches to the end of its partition (`avg(x) OVER (PARTITION BY k)`, `fill_missing`, `ntile`) has its values
//! when the last row has come. DataFusion (55.2) keeps all rows of all partitions for it, asks nobody for the memory, and puts
//! them together to one batch. Here a partition is answered when its last row has come, and of its rows only the columns that
//! functions look at are kept in memory; rows as they are go to a file when memory is refused.

mod chunk;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, make_comparator};
use arrow::compute::{SortOptions, partition};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, SpillMetrics,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt, stream};

use chunk::{Chunk, Functions};

/// Fewer rows are not answered by themselves, however many partitions they are.
const CHUNK_ROWS: usize = maru_core::limits::BATCH_ROWS;

/// Puts [`SpillingWindowExec`] in the place of DataFusion's node. It runs last: other rules know that one.
#[derive(Debug)]
pub(crate) struct SpillingWindows;

impl PhysicalOptimizerRule for SpillingWindows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(window) = node.downcast_ref::<WindowAggExec>() else {
                return Ok(Transformed::no(node));
            };
            let input = window.input().schema();
            let functions = Functions::new(window.window_expr(), &input, node.schema());
            Ok(match functions {
                Some(functions) => {
                    Transformed::yes(Arc::new(SpillingWindowExec::new(node, functions)))
                }
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "spilling_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// To whoever looks at a plan it is the node that it stands for. Rows of a partition lie together in its input.
#[derive(Debug)]
struct SpillingWindowExec {
    window: Arc<dyn ExecutionPlan>,
    functions: Arc<Functions>,
    metrics: ExecutionPlanMetricsSet,
}

impl SpillingWindowExec {
    fn new(window: Arc<dyn ExecutionPlan>, functions: Arc<Functions>) -> Self {
        Self { window, functions, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for SpillingWindowExec {
    fn fmt_as(&self, how: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.window.fmt_as(how, f)
    }
}

impl ExecutionPlan for SpillingWindowExec {
    fn name(&self) -> &str {
        self.window.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = replace_children_if_necessary(Arc::clone(&self.window), children)?;
        Ok(Arc::new(Self::new(window, Arc::clone(&self.functions))))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.window.children().into_iter().next();
        let input =
            input.ok_or_else(|| DataFusionError::Internal("a window of nothing".to_owned()))?;
        let rows = Input {
            rows: input.execute(partition, Arc::clone(&context))?,
            functions: Arc::clone(&self.functions),
            metrics: SpillMetrics::new(&self.metrics, partition),
            context,
            begun: None,
            keys: None,
        };
        let chunks = stream::try_unfold(rows, |mut rows| async move {
            let chunk = rows.next().await?;
            Ok::<_, DataFusionError>(chunk.map(|chunk| (chunk, rows)))
        });
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let rows = chunks
            .map_ok(Chunk::answered)
            .try_flatten()
            .inspect_ok(move |batch| baseline.record_output(batch.num_rows()))
            .boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.window.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(inputs, args)
    }
}

/// Rows as they come, cut where partitions end.
struct Input {
    rows: SendableRecordBatchStream,
    functions: Arc<Functions>,
    metrics: SpillMetrics,
    context: Arc<TaskContext>,
    begun: Option<Chunk>,
    /// The keys of the batch before.
    keys: Option<Vec<ArrayRef>>,
}

impl Input {
    /// Returns the next rows that are whole partitions.
    async fn next(&mut self) -> Result<Option<Chunk>> {
        while let Some(batch) = self.rows.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = self.functions.keys(&batch)?;
            let start = self.last_start(&keys)?;
            self.keys = Some(keys);
            let mut chunk = match self.begun.take() {
                Some(chunk) => chunk,
                None => self.chunk(),
            };
            match start.filter(|start| chunk.n_rows() + start >= CHUNK_ROWS) {
                Some(start) => {
                    if start > 0 {
                        chunk.push(batch.slice(0, start))?;
                    }
                    let mut begun = self.chunk();
                    begun.push(batch.slice(start, batch.num_rows() - start))?;
                    self.begun = Some(begun);
                    return Ok(Some(chunk));
                }
                None => {
                    chunk.push(batch)?;
                    self.begun = Some(chunk);
                }
            }
        }
        Ok(self.begun.take())
    }

    fn chunk(&self) -> Chunk {
        Chunk::new(&self.functions, &self.context, self.rows.schema(), self.metrics.clone())
    }

    /// Returns the row of a batch in which its last partition begins; `None` if that has begun before.
    fn last_start(&self, keys: &[ArrayRef]) -> Result<Option<usize>> {
        if keys.is_empty() {
            return Ok(None);
        }
        let last = partition(keys)?.ranges().last().map_or(0, |range| range.start);
        if last > 0 {
            return Ok(Some(last));
        }
        let Some(before) = &self.keys else { return Ok(None) };
        for (before, key) in before.iter().zip(keys) {
            let compare = make_comparator(before, key, SortOptions::default())?;
            if compare(before.len() - 1, 0).is_ne() {
                return Ok(Some(0));
            }
        }
        Ok(None)
    }
}
