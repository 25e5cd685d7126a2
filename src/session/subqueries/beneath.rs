//! Subqueries where the planner takes none: in parts of conditions whose NULL is not the same as false, in aggregates and their `FILTER`, in
//! windows, in what rows are ordered by. They become columns of the rows beneath.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType,
};

use super::{AMONG, looks, refuse_tests, value};
use crate::session::dependent::{has_subquery, subquery_of};
use crate::session::lateral::Plain;
use crate::session::membership::loses_nulls;

/// Makes columns of the subqueries in one node of a plan.
///
/// # Errors
/// 0A000 for one that has no join, and what the planner says of a subquery that has no plan.
pub(super) fn as_columns(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let takes = matches!(
        node,
        LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_)
    );
    if !takes || !has_subqueries(&node)? {
        return Ok(Transformed::no(node));
    }
    let [input] = node.inputs()[..] else { return Ok(Transformed::no(node)) };
    let mut columns = Columns { schema: Arc::clone(input.schema()), made: Vec::new() };
    let mut renamed = false;
    let exprs = match &node {
        LogicalPlan::Filter(filter) => {
            let mut parts = split_conjunction_owned(filter.predicate.clone());
            for part in &mut parts {
                let has_joins = has_joins(part)?;
                if !has_joins || loses_nulls(part, &columns.schema) {
                    *part = columns.taken_from(part.clone())?;
                }
                if !has_joins {
                    refuse_tests(part)?;
                }
                let named = named_unions(part.clone())?;
                renamed |= named != *part;
                *part = named;
            }
            conjunction(parts).into_iter().collect::<Vec<_>>()
        }
        LogicalPlan::Sort(_) => {
            let exprs = node.expressions().into_iter();
            exprs.map(|expr| columns.taken_from(expr)).collect::<DfResult<Vec<_>>>()?
        }
        _ => {
            let preserver = NamePreserver::new(&node);
            let exprs = node.expressions().into_iter().map(|expr| {
                let name = preserver.save(&expr);
                Ok(name.restore(columns.taken_from(expr)?))
            });
            exprs.collect::<DfResult<Vec<_>>>()?
        }
    };
    if !matches!(node, LogicalPlan::Filter(_)) {
        exprs.iter().try_for_each(refuse_tests)?;
    }
    if columns.made.is_empty() {
        return match renamed {
            true => Ok(Transformed::yes(node.with_new_exprs(exprs, vec![input.clone()])?)),
            false => Ok(Transformed::no(node)),
        };
    }
    let all = input.schema().columns().into_iter().map(Expr::Column).chain(columns.made);
    let beneath = LogicalPlanBuilder::from(input.clone()).project(all)?.build()?;
    let changed = node.with_new_exprs(exprs, vec![beneath])?;
    if matches!(changed, LogicalPlan::Aggregate(_)) {
        return Ok(Transformed::yes(changed));
    }
    let before = node.schema().columns().into_iter().map(Expr::Column);
    Ok(Transformed::yes(LogicalPlanBuilder::from(changed).project(before)?.build()?))
}

/// Returns whether the planner's joins for the subqueries of a condition are right. Of those that look at the row it has such joins
/// for chosen rows of tables, and not for `NOT IN`.
fn has_joins(condition: &Expr) -> DfResult<bool> {
    let plain = Plain { keys_only: false };
    let mut has = true;
    condition.apply(|part| {
        if let Some(subquery) = subquery_of(part)
            && !matches!(part, Expr::ScalarSubquery(_))
            && looks(subquery)
        {
            has &= plain.has(rows_of(part, &subquery.subquery)?)?;
        }
        has &= match part {
            Expr::InSubquery(among) if looks(&among.subquery) => {
                !among.negated && among.expr.any_column_refs()
            }
            Expr::Not(inner) => !inner.exists(|part| {
                Ok(matches!(part, Expr::InSubquery(among) if looks(&among.subquery)))
            })?,
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(has)
}

/// Returns the rows that a test asks of: copies do not matter to it, and to `EXISTS` one row is enough.
fn rows_of<'a>(test: &Expr, plan: &'a LogicalPlan) -> DfResult<&'a LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Distinct(Distinct::All(input)) => input.as_ref(),
        LogicalPlan::Limit(limit) if matches!(test, Expr::Exists(_)) => {
            let all = matches!(limit.get_skip_type()?, SkipType::Literal(0))
                && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1..)));
            if all { limit.input.as_ref() } else { plan }
        }
        other => other,
    })
}

/// Gives the column of a union that `IN` is asked of deeper in a condition a name of its own, and that of `VALUES` anywhere. The planner takes
/// what the union's first query shows for the column, and finds none of rows that are written down (DataFusion 55.2).
fn named_unions(condition: Expr) -> DfResult<Expr> {
    let is_alone = matches!(condition, Expr::InSubquery(_));
    let changed = condition.transform_up(|part| {
        let Expr::InSubquery(mut among) = part else { return Ok(Transformed::no(part)) };
        let mut plan = among.subquery.subquery.as_ref();
        while let LogicalPlan::Distinct(Distinct::All(input)) = plan {
            plan = input;
        }
        let columns = among.subquery.subquery.schema().columns();
        let is_named = match plan {
            LogicalPlan::Union(_) => is_alone,
            LogicalPlan::Values(_) => false,
            _ => true,
        };
        if let (false, [column]) = (is_named, columns.as_slice()) {
            let column = Expr::Column(column.clone()).alias(AMONG);
            let plan = LogicalPlanBuilder::from(Arc::clone(&among.subquery.subquery))
                .project([column])?
                .alias(AMONG)?
                .project([Expr::Column(Column::new(Some(AMONG), AMONG))])?
                .build()?;
            among.subquery.subquery = Arc::new(plan);
        }
        Ok(Transformed::yes(Expr::InSubquery(among)))
    })?;
    Ok(changed.data)
}

fn has_subqueries(node: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= has_subquery(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

struct Columns {
    /// Of the rows beneath.
    schema: DFSchemaRef,
    made: Vec<Expr>,
}

impl Columns {
    fn taken_from(&mut self, expr: Expr) -> DfResult<Expr> {
        let changed = expr.transform_up(|part| {
            // One that looks at nothing is computed once, wherever it stands.
            let is_of_row = matches!(&part, Expr::ScalarSubquery(subquery) if looks(subquery));
            let part = if is_of_row { Transformed::yes(part) } else { value(part, &self.schema)? };
            if !part.transformed {
                return Ok(part);
            }
            let name = format!("subquery {} of the row", self.made.len());
            self.made.push(part.data.alias(name.clone()));
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        })?;
        Ok(changed.data)
    }
}
