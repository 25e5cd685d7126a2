//! Whether the rows that a join keeps are kept once for all threads, or shared out among them.
//!
//! Kept once ([`PartitionMode::CollectLeft`]), they are put together by one thread, and the rows of the other side stay where
//! they are. Shared out ([`PartitionMode::Partitioned`]), all threads put together a part, but every row of both sides moves to the
//! thread of its key first. DataFusion shares out from 128k rows or 1 MiB, whatever the other side has; a look at both sides
//! tells better: moving six million rows takes longer than keeping a hundred thousand.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

use super::{BelievedExec, estimate};

/// What one row costs, in times of looking one up: to keep it, and to move it.
const KEPT: f64 = 3.0;
const MOVED: f64 = 1.5;

/// More than this is not kept once, whatever the other side has: an estimate may be wrong, and one thread is slow.
const COLLECTED_BYTES_MAX: f64 = 128.0 * 1024.0 * 1024.0;

/// What text and nested values are taken to have.
const LONG_VALUE_BYTES: usize = 32;

/// Returns the cost of a join that keeps `kept` rows, looks up `asked` and makes `made`, the cheaper way.
pub(super) fn cost(kept: f64, asked: f64, made: f64, n_threads: usize) -> f64 {
    once(kept, n_threads).min(shared(kept, asked)) + asked + made
}

fn once(kept: f64, n_threads: usize) -> f64 {
    KEPT * kept * n_threads as f64
}

fn shared(kept: f64, asked: f64) -> f64 {
    KEPT * kept + MOVED * (kept + asked)
}

/// The rule. It runs after the sides of joins are chosen and before rows are distributed.
#[derive(Debug, Default)]
pub struct JoinModes;

impl PhysicalOptimizerRule for JoinModes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let n_threads = config.execution.target_partitions;
        let plan = plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            if !is_better_once(join, n_threads) {
                return Ok(Transformed::no(node));
            }
            let join = join.builder().with_partition_mode(PartitionMode::CollectLeft).build()?;
            Ok(Transformed::yes(Arc::new(join)))
        });
        // What is believed of files has done its work.
        plan.data()?
            .transform_up(|node| {
                Ok(match node.downcast_ref::<BelievedExec>() {
                    Some(believed) => Transformed::yes(Arc::clone(believed.input())),
                    None => Transformed::no(node),
                })
            })
            .data()
    }

    fn name(&self) -> &str {
        "join_modes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_better_once(join: &HashJoinExec, n_threads: usize) -> bool {
    if *join.partition_mode() != PartitionMode::Partitioned || n_threads < 2 {
        return false;
    }
    let (Some(kept), Some(asked)) = (estimate::of(join.left()), estimate::of(join.right())) else {
        return false;
    };
    kept.rows * row_bytes(&join.left().schema()) <= COLLECTED_BYTES_MAX
        && once(kept.rows, n_threads) < shared(kept.rows, asked.rows)
}

fn row_bytes(schema: &SchemaRef) -> f64 {
    let bytes = |data_type: &DataType| data_type.primitive_width().unwrap_or(LONG_VALUE_BYTES);
    schema.fields().iter().map(|field| bytes(field.data_type()) as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_kept_once_beside_many() {
        assert!(once(1e5, 2) < shared(1e5, 6e6));
        assert!(once(1e5, 16) < shared(1e5, 6e6));
        // As many on both sides, and many threads to share them.
        assert!(once(1e6, 16) > shared(1e6, 1e6));
    }

    #[test]
    fn moving_many_rows_costs_more_than_one_join_before() {
        // Six million with ten thousand first, then what is left with 800,000; or 40,000 of these first, by two columns.
        let few_first = cost(1e4, 6e6, 3e5, 2) + cost(3e5, 8e5, 3e5, 2);
        let shared = shared(8e5, 6e6) + 6e6;
        assert!(few_first < shared, "{few_first} {shared}");
    }
}
