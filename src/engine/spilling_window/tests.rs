//! Windows with memory for all rows, and for next to none: the same rows, and those of DataFusion's own node.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::SpillingWindows;

const ROWS: &str = "SELECT value AS id, CASE WHEN value % 13 > 0 THEN value % 7919 END AS x, repeat('wide', 20) || value AS wide \
                    FROM generate_series(1, 40000) AS t (value)";

const WINDOWS: [&str; 8] = [
    "sum(x) OVER ()",
    "avg(x) OVER (PARTITION BY id % 3), count(*) OVER (PARTITION BY id % 3)",
    "count(*) FILTER (WHERE id % 2 = 0) OVER (PARTITION BY id % 3)",
    "max(x) OVER (PARTITION BY id / 3)",
    "ntile(7) OVER (PARTITION BY id % 5 ORDER BY id)",
    "last_value(x) OVER (PARTITION BY x ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    "percent_rank() OVER (PARTITION BY x % 2 ORDER BY id)",
    "sum(x) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
];

async fn answer(windows: &str, memory: Option<usize>, ours: bool) -> (Vec<String>, usize) {
    rows_of(&format!("SELECT *, {windows} FROM ({ROWS}) AS rows"), memory, ours).await
}

/// Returns the rows as text, sorted, and what windows have spilled.
async fn rows_of(sql: &str, memory: Option<usize>, ours: bool) -> (Vec<String>, usize) {
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(bytes)));
    }
    let mut state = SessionStateBuilder::new()
        .with_config(
            SessionConfig::new()
                .with_target_partitions(2)
                .with_sort_spill_reservation_bytes(500_000),
        )
        .with_runtime_env(Arc::new(runtime.build().unwrap()))
        .with_default_features();
    if ours {
        state = state.with_physical_optimizer_rule(Arc::new(SpillingWindows));
    }
    let context = SessionContext::new_with_state(state.build());
    let frame = context.sql(sql).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut rows = text.lines().map(str::to_owned).collect::<Vec<_>>();
    rows.sort();
    (rows, spilled_bytes(&plan))
}

/// What windows have spilled, sorts aside.
fn spilled_bytes(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().filter(|_| plan.name() == "WindowAggExec");
    let own = own.and_then(|metrics| metrics.spilled_bytes()).unwrap_or_default();
    own + plan.children().into_iter().map(spilled_bytes).sum::<usize>()
}

#[tokio::test]
async fn rows_are_the_same_in_files() {
    for windows in WINDOWS {
        let (wanted, _) = answer(windows, None, false).await;
        let (all, spilled) = answer(windows, None, true).await;
        assert_eq!((all == wanted, spilled), (true, 0), "{windows}");
        let (little, _) = answer(windows, Some(64_000_000), true).await;
        assert!(little == wanted, "{windows}");
    }
}

#[tokio::test]
async fn a_partition_of_all_rows_is_spilled() {
    for windows in ["sum(x) OVER ()", "count(*) OVER ()"] {
        let (wanted, _) = answer(windows, None, true).await;
        let (little, spilled) = answer(windows, Some(4_000_000), true).await;
        assert!(spilled > 0 && little == wanted, "{windows} {spilled}");
    }
}

#[tokio::test]
async fn a_window_above_another_counts_what_it_holds() {
    let windows =
        "sum(sum) OVER () FROM (SELECT sum(x) OVER () AS sum, wide FROM rows) AS inner_rows";
    let sql = format!("WITH rows AS ({ROWS}) SELECT {windows}");
    let (wanted, _) = rows_of(&sql, None, true).await;
    let (little, _) = rows_of(&sql, Some(8_000_000), true).await;
    assert!(little == wanted);
}

#[tokio::test]
async fn many_partitions_are_answered_as_they_come() {
    let (_, spilled) = answer("max(x) OVER (PARTITION BY id / 3)", Some(64_000_000), true).await;
    assert_eq!(spilled, 0);
}
