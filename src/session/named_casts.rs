//! Names of aggregates that differ in a cast alone.
//!
//! The planner finds the aggregates of a statement by their names, in which it leaves casts out: `sum(x), sum(x::numeric)` were
//! two columns of one name, and refused. Here an argument with a cast is called what it is, casts and all.

use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};

/// Names the arguments of aggregates as the statement is planned.
#[derive(Debug)]
pub(super) struct NamedCasts;

impl ExprPlanner for NamedCasts {
    fn plan_aggregate(
        &self,
        mut call: RawAggregateExpr,
    ) -> DfResult<PlannerResult<RawAggregateExpr>> {
        // Of those with an order of their own the argument is found by that order.
        if !call.func.supports_within_group_clause() {
            for argument in &mut call.args {
                if argument.exists(|part| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_))))? {
                    *argument = argument.clone().alias(argument.to_string());
                }
            }
        }
        Ok(PlannerResult::Original(call))
    }
}
