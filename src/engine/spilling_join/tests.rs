//! Every kind of join, with memory for all of it and with next to none: the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::JoinType;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
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
    let mut options = SessionConfig::new().with_target_partitions(2).with_batch_size(512);
    let optimizer = &mut options.options_mut().optimizer;
    optimizer.hash_join_single_partition_threshold = 0;
    optimizer.hash_join_single_partition_threshold_rows = 0;
    optimizer.enable_join_dynamic_filter_pushdown = false;
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

/// `k` repeats and is sometimes NULL, `t` is a text that makes rows wide, `v` is unique.
fn table(n_rows: i64, key: impl Fn(i64) -> Option<i64>, names: [&str; 3]) -> Vec<RecordBatch> {
    let rows = (0..n_rows).collect::<Vec<_>>();
    let batches = rows.chunks(500).map(|rows| {
        let k = rows.iter().map(|row| key(*row)).collect::<Int64Array>();
        let t = rows.iter().map(|row| Some(format!("{:040}", row % 97))).collect::<StringArray>();
        let v = rows.iter().map(|row| Some(*row)).collect::<Int64Array>();
        let columns: [ArrayRef; 3] = [Arc::new(k), Arc::new(t), Arc::new(v)];
        let columns = names.iter().zip(columns).map(|(name, column)| (*name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    });
    batches.collect()
}

struct Joined {
    rows: Vec<String>,
    spilled_bytes: usize,
}

async fn joined(frame: DataFrame, context: &SessionContext) -> Joined {
    let plan = frame.create_physical_plan().await.unwrap();
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut rows = text.lines().map(str::to_owned).collect::<Vec<_>>();
    rows.sort();
    Joined { rows, spilled_bytes: spilled_bytes(&plan) }
}

fn spilled_bytes(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or_default();
    own + plan.children().into_iter().map(spilled_bytes).sum::<usize>()
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
    let left = context.read_batches(table(3000, left, ["k", "t", "v"])).unwrap();
    let right = context.read_batches(table(2000, right, ["rk", "rt", "rv"])).unwrap();
    (left, right)
}

async fn compare(skewed: bool, filtered: bool, memory: usize) {
    for kind in KINDS {
        let mut answers = Vec::new();
        for memory in [None, Some(memory)] {
            let context = context(memory);
            let (left, right) = frames(&context, skewed).await;
            let filter = filtered.then(|| (col("v") + col("rv")).gt(col("k") * lit(3)));
            let frame = left.join(right, kind, &["k"], &["rk"], filter).unwrap();
            answers.push(joined(frame, &context).await);
        }
        let [all, little] = &answers[..] else { panic!() };
        assert_eq!(all.spilled_bytes, 0, "{kind}");
        assert!(little.spilled_bytes > 0, "{kind}");
        assert!(all.rows.len() > 4, "{kind}");
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
    compare(true, false, 200_000).await;
}

#[tokio::test]
async fn rows_of_one_key_are_sorted_and_merged_under_a_condition() {
    compare(true, true, 200_000).await;
}

#[tokio::test]
async fn a_limit_holds_for_all_files_together() {
    let context = context(Some(100_000));
    let (left, right) = frames(&context, false).await;
    let frame = left.join(right, JoinType::Inner, &["k"], &["rk"], None).unwrap();
    let answer = joined(frame.limit(0, Some(100)).unwrap(), &context).await;
    // Two lines of the frame around them, a head, and a line below.
    assert_eq!(answer.rows.len(), 104);
}
