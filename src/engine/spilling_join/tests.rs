//! Every kind of join, with memory for all of it and with next to none: the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::row::{RowConverter, SortField};
use datafusion::common::JoinType;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext, col, lit};

use super::SpillingJoins;

const KINDS: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

/// A session whose joins share out rows, and hold at most so much.
fn context(memory: Option<usize>) -> SessionContext {
    // What is sorted is counted with the 128 kB that a file is read by, in a share of what there is for all that may spill.
    let mut options = SessionConfig::new()
        .with_target_partitions(2)
        .with_batch_size(64)
        .with_sort_spill_reservation_bytes(16_000);
    let optimizer = &mut options.options_mut().optimizer;
    optimizer.hash_join_single_partition_threshold = 0;
    optimizer.hash_join_single_partition_threshold_rows = 0;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    // The left side is the one that is kept, whatever it takes.
    optimizer.join_reordering = false;
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
    }
    let state = SessionStateBuilder::new()
        .with_config(options)
        .with_runtime_env(Arc::new(runtime.build().unwrap()))
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(SpillingJoins))
        .build();
    SessionContext::new_with_state(state)
}

/// `k` is a text that repeats, is sometimes NULL, and makes rows wide; `v` is unique.
fn table(
    n_rows: i64,
    width: usize,
    key: impl Fn(i64) -> Option<i64>,
    names: [&str; 2],
) -> Vec<RecordBatch> {
    let rows = (0..n_rows).collect::<Vec<_>>();
    let batches = rows.chunks(500).map(|rows| {
        let k = rows.iter().map(|row| Some(format!("{:0width$}", key(*row)?)));
        let v = rows.iter().map(|row| Some(*row)).collect::<Int64Array>();
        let columns: [ArrayRef; 2] = [Arc::new(k.collect::<StringArray>()), Arc::new(v)];
        let columns = names.iter().zip(columns).map(|(name, column)| (*name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    });
    batches.collect()
}

struct Joined {
    /// As bytes, in their order.
    rows: Vec<Vec<u8>>,
    spilled_bytes: usize,
    merged_parts: usize,
}

async fn joined(frame: DataFrame, context: &SessionContext) -> Joined {
    let plan = frame.create_physical_plan().await.unwrap();
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    let schema = plan.schema();
    let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let converted = converter.convert_columns(batch.columns()).unwrap();
        rows.extend(converted.iter().map(|row| row.as_ref().to_vec()));
    }
    rows.sort();
    let spilled_bytes = sum(&plan, |metrics| metrics.spilled_bytes());
    let merged_parts = sum(&plan, |metrics| Some(metrics.sum_by_name("merged_parts")?.as_usize()));
    Joined { rows, spilled_bytes, merged_parts }
}

fn sum(plan: &Arc<dyn ExecutionPlan>, metric: fn(&MetricsSet) -> Option<usize>) -> usize {
    let own = plan.metrics().as_ref().and_then(metric).unwrap_or_default();
    own + plan.children().into_iter().map(|child| sum(child, metric)).sum::<usize>()
}

async fn frames(context: &SessionContext, skewed: bool) -> (DataFrame, DataFrame) {
    // Either keys of which each has a few rows, or one key that nearly all rows have.
    let left = move |row: i64| match (skewed, row % 11) {
        (_, 0) => None,
        (true, 1..10) => Some(7),
        _ => Some(row % 877),
    };
    let right = move |row: i64| match (skewed, row % 13) {
        (_, 0) => None,
        (true, _) => Some(row % 1000),
        (false, _) => Some(row % 921 + 300),
    };
    let width = if skewed { 600 } else { 40 };
    let left = context.read_batches(table(3000, width, left, ["k", "v"])).unwrap();
    let right = context.read_batches(table(2000, width, right, ["rk", "rv"])).unwrap();
    (left, right)
}

async fn compare(skewed: bool, filtered: bool, memory: usize) {
    for kind in KINDS {
        let mut answers = Vec::new();
        for memory in [None, Some(memory)] {
            let context = context(memory);
            let (left, right) = frames(&context, skewed).await;
            let filter = filtered.then(|| ((col("v") + col("rv")) % lit(3)).gt(lit(0)));
            let frame = left.join(right, kind, &["k"], &["rk"], filter).unwrap();
            answers.push(joined(frame, &context).await);
        }
        let [all, little] = &answers[..] else { panic!() };
        assert_eq!(all.spilled_bytes, 0, "{kind}");
        assert!(little.spilled_bytes > 0, "{kind}");
        // Where keys are spread, a part is small before it has one key only.
        assert_eq!(little.merged_parts > 0, skewed, "{kind}");
        assert!(!all.rows.is_empty(), "{kind}");
        assert_eq!(all.rows, little.rows, "{kind}");
    }
}

#[tokio::test]
async fn rows_are_the_same_in_files() {
    compare(false, false, 100_000).await;
}

#[tokio::test]
async fn rows_are_the_same_in_files_under_a_condition() {
    compare(false, true, 100_000).await;
}

#[tokio::test]
async fn rows_of_one_key_are_sorted_and_merged() {
    compare(true, false, 2_000_000).await;
}

#[tokio::test]
async fn rows_of_one_key_are_sorted_and_merged_under_a_condition() {
    compare(true, true, 2_000_000).await;
}

#[tokio::test]
async fn a_limit_holds_for_all_files_together() {
    let context = context(Some(100_000));
    let (left, right) = frames(&context, false).await;
    let frame = left.join(right, JoinType::Inner, &["k"], &["rk"], None).unwrap();
    let answer = joined(frame.limit(0, Some(100)).unwrap(), &context).await;
    assert_eq!(answer.rows.len(), 100);
}
