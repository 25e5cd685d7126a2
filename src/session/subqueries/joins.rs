//! Subqueries in the conditions of joins: `a LEFT JOIN b ON a.k = b.k AND b.v IN (SELECT …)`.
//!
//! The planner has no joins for them there (DataFusion 55.2). Of an inner join they are conditions on its rows. Of another each that looks at
//! one side alone becomes a column of that side, and one that looks at both is asked of the rows of both before those that have
//! none are added.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder};

use super::{as_test, beneath, in_columns, looks, refuse_tests, value};
use crate::session::dependent::{self, is_lateral, looked_up, subquery_of};

/// Makes columns of the subqueries in the conditions of a join.
///
/// # Errors
/// 0A000 for one that has no join, and what the planner says of a subquery that has no plan.
pub(super) fn as_columns(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
    let parts = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
    let (asked, plain): (Vec<_>, Vec<_>) = parts.into_iter().partition(asks);
    if asked.is_empty() || is_lateral(&join.right) {
        return Ok(Transformed::no(node));
    }
    match join.join_type {
        JoinType::Inner => {
            let rows = joined(join, Arc::clone(&join.left), Arc::clone(&join.right), plain)?;
            let Some(condition) = conjunction(asked) else { return Ok(Transformed::no(node)) };
            let filter = Filter::try_new(condition, Arc::new(rows))?;
            let plan = beneath::as_columns(LogicalPlan::Filter(filter))?.data;
            Ok(Transformed::yes(plan))
        }
        JoinType::Left | JoinType::Right | JoinType::Full => outer(join, asked, plain),
        _ => Ok(Transformed::no(node)),
    }
}

/// Returns whether the planner has no place for a condition in a join.
fn asks(condition: &Expr) -> bool {
    let is_asking = |part: &Expr| {
        as_test(part).is_some() || matches!(part, Expr::ScalarSubquery(query) if looks(query))
    };
    condition.exists(|part| Ok(is_asking(part))).unwrap_or(true)
}

/// The join with other sides and other conditions.
fn joined(
    join: &Join,
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    conditions: Vec<Expr>,
) -> DfResult<LogicalPlan> {
    let changed = Join::try_new(
        left,
        right,
        join.on.clone(),
        conjunction(conditions),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(LogicalPlan::Join(changed))
}

fn outer(
    join: &Join,
    asked: Vec<Expr>,
    mut plain: Vec<Expr>,
) -> DfResult<Transformed<LogicalPlan>> {
    let (mut of_left, mut of_right, mut of_both) = (Vec::new(), Vec::new(), Vec::new());
    for (at, condition) in asked.into_iter().enumerate() {
        let columns = columns_of(&condition)?;
        let all_in = |side: &DFSchema| {
            columns.iter().all(|column| side.maybe_index_of_column(column).is_some())
        };
        let side = match (all_in(join.right.schema()), all_in(join.left.schema())) {
            (true, _) => &mut of_right,
            (false, true) => &mut of_left,
            (false, false) => {
                of_both.push(condition);
                continue;
            }
        };
        let name = format!("condition {at} of the join");
        plain.push(Expr::Column(Column::new_unqualified(&name)));
        side.push(condition.alias(name));
    }
    let left = with_conditions(&join.left, of_left)?;
    let right = with_conditions(&join.right, of_right)?;
    let all = join.schema.columns().into_iter().map(Expr::Column);
    let all = all.collect::<Vec<_>>();
    if of_both.is_empty() {
        let rows = joined(join, left, right, plain)?;
        let plan = LogicalPlanBuilder::from(rows).project(all)?.build()?;
        return Ok(Transformed::yes(plan));
    }
    let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let conditions = on.chain(plain).chain(of_both).collect();
    let rows = match join.join_type {
        JoinType::Left => dependent::joined(&left, &right, right.schema(), conditions, true)?,
        JoinType::Right => dependent::joined(&right, &left, left.schema(), conditions, true)?,
        _ => None,
    };
    let Some(rows) = rows else { return Ok(Transformed::no(LogicalPlan::Join(join.clone()))) };
    let plan = LogicalPlanBuilder::from(rows).project(all)?.build()?;
    Ok(Transformed::yes(in_columns(plan)?))
}

/// Returns the columns of the join's rows that a condition looks at, in its subqueries as well.
fn columns_of(condition: &Expr) -> DfResult<Vec<Column>> {
    let mut columns = Vec::new();
    condition.apply(|part| {
        if let Expr::Column(column) = part {
            columns.push(column.clone());
        } else if let Some(subquery) = subquery_of(part) {
            for one in looked_up(&subquery.subquery)? {
                if let Expr::OuterReferenceColumn(_, column) = one {
                    columns.push(column);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// Adds conditions to a side, as columns.
fn with_conditions(side: &Arc<LogicalPlan>, conditions: Vec<Expr>) -> DfResult<Arc<LogicalPlan>> {
    if conditions.is_empty() {
        return Ok(Arc::clone(side));
    }
    let mut all = side.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    for condition in conditions {
        let condition = condition.transform_up(|part| value(part, side.schema()))?.data;
        refuse_tests(&condition)?;
        all.push(condition);
    }
    LogicalPlanBuilder::from(Arc::clone(side)).project(all)?.build().map(Arc::new)
}
