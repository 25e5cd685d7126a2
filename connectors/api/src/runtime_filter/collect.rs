//! The node that notes the keys of a join's small side as its rows pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;

use super::keys::{Collector, JoinKeys};

/// Passes batches through and collects the values of `keys`.
#[derive(Debug)]
pub(super) struct CollectKeysExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    told: Arc<JoinKeys>,
}

impl CollectKeysExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        told: Arc<JoinKeys>,
    ) -> Self {
        Self { input, keys, told }
    }
}

impl DisplayAs for CollectKeysExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        write!(f, "CollectKeysExec: keys=[{}]", keys.join(", "))
    }
}

impl ExecutionPlan for CollectKeysExec {
    fn name(&self) -> &str {
        "CollectKeysExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("CollectKeysExec has one input".to_owned()))?;
        Ok(Arc::new(Self::new(input, self.keys.clone(), Arc::clone(&self.told))))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        for key in &self.keys {
            if f(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        if !self.told.start(partition) {
            return Ok(input);
        }
        let schema = input.schema();
        let reading = Reading {
            input,
            keys: self.keys.clone(),
            collectors: Some(self.keys.iter().map(|_| Collector::new()).collect()),
            reservation: MemoryConsumer::new("JoinKeys").register(context.memory_pool()),
            told: Arc::clone(&self.told),
        };
        let stream = futures::stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.input.next().await {
                Some(Ok(batch)) => {
                    reading.add(&batch);
                    Some((Ok(batch), Some(reading)))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => {
                    reading.finish();
                    None
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
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

/// One partition on its way. Dropped before its end, it says that there will be no keys.
struct Reading {
    input: SendableRecordBatchStream,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// `None` once given up or handed in.
    collectors: Option<Vec<Collector>>,
    reservation: MemoryReservation,
    told: Arc<JoinKeys>,
}

impl Reading {
    fn add(&mut self, batch: &RecordBatch) {
        let Some(collectors) = &mut self.collectors else { return };
        let mut n_bytes = 0;
        for (key, collector) in self.keys.iter().zip(collectors) {
            let added = key
                .evaluate(batch)
                .and_then(|values| values.into_array(batch.num_rows()))
                .and_then(|values| collector.add(&values));
            // The join evaluates the same and says what is wrong.
            if added.is_err() {
                return self.give_up();
            }
            n_bytes += collector.n_bytes();
        }
        if self.reservation.try_resize(n_bytes).is_err() {
            self.give_up();
        }
    }

    fn finish(&mut self) {
        let Some(collectors) = self.collectors.take() else { return };
        match collectors.into_iter().map(Collector::finish).collect::<DfResult<Vec<_>>>() {
            Ok(sets) => self.told.finish(sets),
            Err(_) => self.told.give_up(),
        }
    }

    fn give_up(&mut self) {
        self.collectors = None;
        self.reservation.free();
        self.told.give_up();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.collectors.is_some() {
            self.told.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::common::ScalarValue;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_expr::expressions::Column;
    use datafusion_datasource::memory::MemorySourceConfig;

    use super::super::keys::KeySet;
    use super::*;

    fn collecting() -> (CollectKeysExec, Arc<JoinKeys>) {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), None, Some(4)]));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let schema = batch.schema();
        let input =
            MemorySourceConfig::try_new_exec(&[vec![batch.clone(), batch]], schema, None).unwrap();
        let told = JoinKeys::new(1);
        let keys: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("id", 0))];
        (CollectKeysExec::new(input, keys, Arc::clone(&told)), told)
    }

    #[tokio::test]
    async fn keys_are_told_at_the_end_and_not_before() {
        let (exec, told) = collecting();
        let stream = exec.execute(0, Arc::default()).unwrap();
        assert_eq!(stream.collect::<Vec<_>>().await.len(), 2);
        let keys = told.wait().await.unwrap();
        assert_eq!(keys[0], KeySet::OneOf(vec![ScalarValue::Int64(Some(4))]));
    }

    #[tokio::test]
    async fn a_side_that_is_dropped_on_the_way_ends_the_wait() {
        let (exec, told) = collecting();
        let mut stream = exec.execute(0, Arc::default()).unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        assert!(told.wait().await.is_none());
    }

    #[tokio::test]
    async fn without_memory_the_rows_pass_and_no_keys_are_told() {
        let (exec, told) = collecting();
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(8, 1.0).build_arc().unwrap();
        let context = Arc::new(TaskContext::default().with_runtime(runtime));
        let stream = exec.execute(0, context).unwrap();
        assert_eq!(stream.collect::<Vec<_>>().await.len(), 2);
        assert!(told.wait().await.is_none());
    }
}
