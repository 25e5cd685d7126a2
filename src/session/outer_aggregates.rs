//! `(SELECT count(o.id))`, `(SELECT sum(o.x) FROM t)`: an aggregate that looks at the row around its query alone is one of the query around (ISO/IEC
//! 9075-2, 6.9; PostgreSQL 16, section 4.2.7). The planner makes it one of the subquery, of other rows.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use maru_core::Error;

/// Refuses such aggregates.
///
/// # Errors
/// 0A000.
pub(super) fn refuse(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        for expr in &aggregate.aggr_expr {
            if expr.exists(is_of_outer_query)? {
                return Err(Error::unsupported(
                    "an aggregate of the query around a subquery is not supported in the subquery",
                )
                .with_detail("Its arguments are columns of the query around alone.")
                .with_hint("Compute it in a subquery in FROM, and use its column.")
                .into());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn is_of_outer_query(part: &Expr) -> DfResult<bool> {
    let Expr::AggregateFunction(call) = part else { return Ok(false) };
    let (mut looks_out, mut is_own) = (false, false);
    let order = call.params.order_by.iter().map(|sort| &sort.expr);
    for expr in call.params.args.iter().chain(call.params.filter.as_deref()).chain(order) {
        looks_out |= expr.contains_outer();
        is_own |= expr.exists(|part| Ok(matches!(part, Expr::Column(_))))?;
    }
    Ok(looks_out && !is_own)
}
