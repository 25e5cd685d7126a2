//! `IN (SELECT …)` whose answer may be NULL, where NULL is not the same as false.
//!
//! As a whole condition `NOT IN` is planned as a join that knows NULL. Deeper in a condition the planner makes a join of it that
//! only tells who is among them and who is not (DataFusion 55.2): `k NOT IN (SELECT …) OR b` would keep rows with a `k` of NULL.
//! Where NULL and false come to the same that is right; elsewhere it becomes a column of the rows beneath (`subqueries/beneath.rs`), and
//! is refused where it cannot, unless no NULL can be there.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use maru_core::{Error, Result};

/// Checks the conditions of a plan before it is optimized.
///
/// # Errors
/// 0A000 for one that would be answered wrongly.
pub(super) fn refuse_lost_nulls(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let condition = match node {
            LogicalPlan::Filter(filter) => Some((&filter.predicate, filter.input.schema())),
            LogicalPlan::Join(join) => join.filter.as_ref().map(|filter| (filter, &join.schema)),
            _ => None,
        };
        if let Some((condition, schema)) = condition {
            for part in split_conjunction(condition) {
                if !is_whole(part) {
                    check(part, Some(true), schema)?;
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Returns whether a part of a condition would be answered wrongly as it is.
pub(super) fn loses_nulls(part: &Expr, schema: &DFSchema) -> bool {
    !is_whole(part) && check(part, Some(true), schema).is_err()
}

fn is_whole(condition: &Expr) -> bool {
    match condition {
        Expr::InSubquery(_) => true,
        Expr::Not(inner) => is_whole(inner),
        _ => false,
    }
}

/// Checks a part of a condition. `wanted` is the answer for which a row is kept, if it is one; NULL then counts as the other.
fn check(expr: &Expr, wanted: Option<bool>, schema: &DFSchema) -> DfResult<()> {
    match expr {
        Expr::InSubquery(membership) => {
            let right = wanted.is_some_and(|wanted| wanted != membership.negated);
            if right || !may_be_null(membership, schema)? { Ok(()) } else { Err(refused()) }
        }
        Expr::Not(inner) => check(inner, wanted.map(|wanted| !wanted), schema),
        // NULL is not true here, whatever is asked around it.
        Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => check(inner, Some(true), schema),
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            check(&binary.left, wanted, schema)?;
            check(&binary.right, wanted, schema)
        }
        other => {
            other.apply_children(|inner| {
                check(inner, None, schema)?;
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(())
        }
    }
}

fn may_be_null(membership: &InSubquery, schema: &DFSchema) -> DfResult<bool> {
    let among = membership.subquery.subquery.schema().fields().iter().any(|f| f.is_nullable());
    Ok(among || membership.expr.nullable(schema)?)
}

fn refused() -> DataFusionError {
    Error::unsupported("IN (SELECT …) that may be NULL cannot stand in this place of a condition")
        .with_detail("Rows for which it is NULL would be taken for rows for which it is false.")
        .with_hint("Use EXISTS or NOT EXISTS (SELECT … WHERE a = b) in its place.")
        .into()
}
