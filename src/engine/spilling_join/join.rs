//! One part of a join: kept in memory, or split, or sorted and merged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::JoinType;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, SpillMetrics,
};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::spill::SpillManager;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::once::OnceExec;
use super::split::{Part, Split};

type Rows = BoxStream<'static, Result<RecordBatch>>;

/// What a row takes in the table of a hash join, beside itself: two words and what a table leaves empty.
const TABLE_ROW_BYTES: usize = 24;

/// How often rows are split: 16^4 parts of what a statement's memory holds is more than any disk does.
const LEVELS: usize = 4;

/// A part with more of the rows than this was not made smaller by being split: most of its rows have one key.
const SMALLER: f64 = 0.8;

/// Rows that are written at a time, at most.
const WRITTEN_ROWS_MAX: usize = 4096;

/// How rows of one partition are joined.
pub(super) struct Joiner {
    /// Gives keys, filter, kind and columns. Its own inputs are not read.
    join: HashJoinExec,
    keys: (Vec<PhysicalExprRef>, Vec<PhysicalExprRef>),
    spills: (SpillManager, SpillManager),
    /// Parts whose rows mostly had one key, which were sorted and merged.
    merged_parts: Count,
    context: Arc<TaskContext>,
}

impl Joiner {
    pub(super) fn new(
        join: &HashJoinExec,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Result<Self> {
        let compression = context.session_config().spill_compression();
        let spilled = SpillMetrics::new(metrics, partition);
        let spill = |schema| {
            SpillManager::new(context.runtime_env(), spilled.clone(), schema)
                .with_compression_type(compression)
        };
        let spills = (spill(join.left().schema()), spill(join.right().schema()));
        let keys = join.on().iter().cloned().unzip();
        let merged_parts = MetricBuilder::new(metrics).counter("merged_parts", partition);
        Ok(Self { join: join.builder().build()?, keys, spills, merged_parts, context })
    }

    /// Joins the rows of both sides.
    pub(super) fn join(
        self,
        left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
    ) -> Rows {
        Arc::new(self).part(left, right, 0, true)
    }

    /// Joins the rows of a part. `smaller` is whether being split has helped.
    fn part(
        self: Arc<Self>,
        left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
        level: usize,
        smaller: bool,
    ) -> Rows {
        stream::once(self.decided(left, right, level, smaller)).try_flatten().boxed()
    }

    async fn decided(
        self: Arc<Self>,
        mut left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
        level: usize,
        smaller: bool,
    ) -> Result<Rows> {
        let mut kept = Kept::new(&self.context);
        let right = Shared::new(right);
        if kept.fill(&mut left).await?
            && let Some(rows) = self.in_memory(&mut kept, &right).await?
        {
            return Ok(rows);
        }
        let Some(right) = right.unread() else {
            return Err(DataFusionError::Internal("a join has lost its rows".to_owned()));
        };
        let left =
            Box::pin(RecordBatchStreamAdapter::new(left.schema(), kept.release().chain(left)));
        if level < LEVELS && smaller {
            self.split(left, right, level).await
        } else if self.can_merge() {
            self.merged(left, right)
        } else {
            Err(DataFusionError::ResourcesExhausted(
                "a join has too many rows with one key".to_owned(),
            ))
        }
    }

    /// Joins with the left side kept. `None` if memory was refused before a row of the right side was read.
    async fn in_memory(&self, kept: &mut Kept, right: &Arc<Shared>) -> Result<Option<Rows>> {
        let schema = self.join.left().schema();
        let left = stream::iter(kept.batches.clone()).map(Ok);
        let left = OnceExec::plan(Box::pin(RecordBatchStreamAdapter::new(schema, left)));
        let join = self
            .join
            .builder()
            .with_new_children(vec![left, OnceExec::plan(Shared::stream(right))])?
            .with_partition_mode(PartitionMode::Partitioned)
            .recompute_properties()
            .build()?;
        // The table takes what was put aside for it.
        kept.reservation.try_resize(kept.n_bytes)?;
        let mut rows = join.execute(0, Arc::clone(&self.context))?;
        match rows.next().await {
            Some(Err(error)) if is_refused(&error) && right.is_unread() => Ok(None),
            first => {
                kept.forget();
                Ok(Some(stream::iter(first).chain(rows).boxed()))
            }
        }
    }

    /// Writes both sides into files, and joins those of one place after another.
    async fn split(
        self: Arc<Self>,
        left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
        level: usize,
    ) -> Result<Rows> {
        let null_equality = self.join.null_equality();
        let (keys, spills) = (&self.keys, &self.spills);
        let written_rows = self.context.session_config().batch_size().min(WRITTEN_ROWS_MAX);
        let split = |spill, keys| Split { spill, keys, null_equality, level, written_rows };
        let lefts = split(&spills.0, &keys.0);
        let lefts = lefts.run(left, |_| true).await?;
        let rights = split(&spills.1, &keys.1);
        let alone = keeps_unmatched_right(*self.join.join_type());
        let rights = rights.run(right, |part| alone || lefts[part].n_rows > 0).await?;
        let n_rows = lefts.iter().map(|part| part.n_rows).sum::<usize>() as f64;
        let parts = lefts.into_iter().zip(rights).map(move |(left, right)| {
            let smaller = (left.n_rows as f64) < n_rows * SMALLER;
            match Arc::clone(&self).files(left, right, level + 1, smaller) {
                Ok(rows) => rows,
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        });
        Ok(stream::iter(parts).flatten().boxed())
    }

    fn files(
        self: Arc<Self>,
        left: Part,
        right: Part,
        level: usize,
        smaller: bool,
    ) -> Result<Rows> {
        if left.n_rows == 0 && right.n_rows == 0 {
            return Ok(stream::empty().boxed());
        }
        let none = |spill: &SpillManager| -> SendableRecordBatchStream {
            Box::pin(EmptyRecordBatchStream::new(Arc::clone(spill.schema())))
        };
        let left = left.read(&self.spills.0)?.unwrap_or_else(|| none(&self.spills.0));
        let right = right.read(&self.spills.1)?.unwrap_or_else(|| none(&self.spills.1));
        Ok(self.part(left, right, level, smaller))
    }

    /// Returns whether sorted rows are found equal as hashed ones are: floating-point numbers and nested values may not be.
    fn can_merge(&self) -> bool {
        let schema = self.join.left().schema();
        self.keys.0.iter().all(|key| {
            key.data_type(&schema).is_ok_and(|data_type| {
                !data_type.is_floating() && !data_type.is_nested() && data_type != DataType::Null
            })
        })
    }

    /// Sorts both sides by their keys and merges them: that spills whatever there is of one key.
    fn merged(
        &self,
        left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
    ) -> Result<Rows> {
        let sorted = |rows, keys: &[PhysicalExprRef]| -> Result<Arc<dyn ExecutionPlan>> {
            let order = keys.iter().map(|key| PhysicalSortExpr::new_default(Arc::clone(key)));
            let order = LexOrdering::new(order)
                .ok_or_else(|| DataFusionError::Internal("a join without keys".to_owned()))?;
            Ok(Arc::new(SortExec::new(order, OnceExec::plan(rows))))
        };
        let join = SortMergeJoinExec::try_new(
            sorted(left, &self.keys.0)?,
            sorted(right, &self.keys.1)?,
            self.join.on().to_vec(),
            self.join.filter().cloned(),
            *self.join.join_type(),
            vec![SortOptions { descending: false, nulls_first: true }; self.keys.0.len()],
            self.join.null_equality(),
        )?;
        let (schema, columns) = (self.join.schema(), self.join.projection.clone());
        self.merged_parts.add(1);
        let rows = join.execute(0, Arc::clone(&self.context))?;
        let rows = rows.map(move |batch| {
            let batch = batch?;
            let columns = match &columns {
                Some(columns) => batch.project(columns)?.columns().to_vec(),
                None => batch.columns().to_vec(),
            };
            let options =
                arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        Ok(rows.boxed())
    }
}

/// Returns whether rows of the right side that match nothing are in the result.
fn keeps_unmatched_right(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Right | JoinType::Full | JoinType::RightAnti | JoinType::RightMark => true,
        JoinType::Inner
        | JoinType::Left
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark
        | JoinType::RightSemi => false,
    }
}

fn is_refused(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// The left side, as far as memory is given for it.
struct Kept {
    batches: Vec<RecordBatch>,
    n_bytes: usize,
    counter: RecordBatchMemoryCounter,
    reservation: MemoryReservation,
}

impl Kept {
    fn new(context: &TaskContext) -> Self {
        let consumer = MemoryConsumer::new("HashJoin").with_can_spill(true);
        Self {
            batches: Vec::new(),
            n_bytes: 0,
            counter: RecordBatchMemoryCounter::new(),
            reservation: consumer.register(context.memory_pool()),
        }
    }

    /// Reads a side to its end. Returns `false` where memory is refused before.
    async fn fill(&mut self, rows: &mut SendableRecordBatchStream) -> Result<bool> {
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let n_bytes = self.counter.count_batch(&batch);
            let table = batch.num_rows() * TABLE_ROW_BYTES;
            self.n_bytes += n_bytes;
            self.batches.push(batch);
            // Twice: a join puts batches together to one before it lets go of them.
            if self.reservation.try_grow(2 * n_bytes + table).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn forget(&mut self) {
        self.batches.clear();
        self.reservation.free();
    }

    /// Gives the rows back, one after another. What memory was given is held until the last is gone.
    fn release(self) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        let Self { batches, reservation, .. } = self;
        stream::iter(batches).map(move |batch| {
            let _held = &reservation;
            Ok(batch)
        })
    }
}

/// A stream that is read by a join, or by whoever comes after it if the join has read nothing of it.
struct Shared {
    schema: SchemaRef,
    state: Mutex<(Option<SendableRecordBatchStream>, bool)>,
}

impl Shared {
    fn new(stream: SendableRecordBatchStream) -> Arc<Self> {
        let schema = stream.schema();
        Arc::new(Self { schema, state: Mutex::new((Some(stream), false)) })
    }

    fn stream(self: &Arc<Self>) -> SendableRecordBatchStream {
        Box::pin(SharedStream(Arc::clone(self)))
    }

    fn is_unread(&self) -> bool {
        !self.state.lock().1
    }

    fn unread(&self) -> Option<SendableRecordBatchStream> {
        let mut state = self.state.lock();
        state.0.take().filter(|_| !state.1)
    }
}

struct SharedStream(Arc<Shared>);

impl Stream for SharedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state.lock();
        state.1 = true;
        match &mut state.0 {
            Some(stream) => stream.poll_next_unpin(cx),
            None => Poll::Ready(None),
        }
    }
}

impl RecordBatchStream for SharedStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }
}
