//! What a query looks up in the row around it, however deep: in its steps, in subqueries of its expressions, and in what is made of each row
//! inside of it. The planner's own lists end at the first subquery (DataFusion 55.2).

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

/// Returns the columns that a query looks up in rows around it.
pub(in crate::session) fn looked_up(plan: &LogicalPlan) -> DfResult<Vec<Expr>> {
    let mut found = Vec::new();
    let within = inputs_of(plan);
    plan.apply_expressions(|expr| {
        in_expression(expr, &within, &mut found)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if let LogicalPlan::Join(join) = plan
        && is_lateral(&join.right)
    {
        add(&mut found, looked_up(&join.left)?, &[]);
        add(&mut found, looked_up(&join.right)?, &[Arc::clone(join.left.schema())]);
        return Ok(found);
    }
    for input in plan.inputs() {
        add(&mut found, looked_up(input)?, &[]);
    }
    Ok(found)
}

/// Returns what an expression of the rows of `within` looks up further out.
fn in_expression(expr: &Expr, within: &[DFSchemaRef], found: &mut Vec<Expr>) -> DfResult<()> {
    expr.apply(|part| {
        if let Expr::OuterReferenceColumn(..) = part {
            add(found, vec![part.clone()], &[]);
        } else if let Some(subquery) = subquery_of(part) {
            add(found, looked_up(&subquery.subquery)?, within);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Adds what the rows between do not have themselves.
fn add(found: &mut Vec<Expr>, more: Vec<Expr>, between: &[DFSchemaRef]) {
    for one in more {
        let is_between =
            matches!(&one, Expr::OuterReferenceColumn(_, column) if has(between, column));
        if !is_between && !found.contains(&one) {
            found.push(one);
        }
    }
}

fn has(schemas: &[DFSchemaRef], column: &Column) -> bool {
    schemas.iter().any(|schema| schema.maybe_index_of_column(column).is_some())
}

fn inputs_of(plan: &LogicalPlan) -> Vec<DFSchemaRef> {
    plan.inputs().into_iter().map(|input| Arc::clone(input.schema())).collect()
}

/// Returns whether an expression has a query in it.
pub(in crate::session) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|part| Ok(subquery_of(part).is_some())).unwrap_or(true)
}

/// Returns whether the right side of a join is made for each row of the left one.
pub(in crate::session) fn is_lateral(right: &LogicalPlan) -> bool {
    match right {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        _ => false,
    }
}

/// Returns the query of an expression that is one.
pub(in crate::session) fn subquery_of(part: &Expr) -> Option<&Subquery> {
    match part {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(membership) => Some(&membership.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

fn with_query(part: Expr, change: impl FnOnce(Subquery) -> DfResult<Subquery>) -> DfResult<Expr> {
    Ok(match part {
        Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(change(subquery)?),
        Expr::Exists(mut exists) => {
            exists.subquery = change(exists.subquery)?;
            Expr::Exists(exists)
        }
        Expr::InSubquery(mut membership) => {
            membership.subquery = change(membership.subquery)?;
            Expr::InSubquery(membership)
        }
        Expr::SetComparison(mut comparison) => {
            comparison.subquery = change(comparison.subquery)?;
            Expr::SetComparison(comparison)
        }
        other => other,
    })
}

/// Columns of a row under the names that they have now.
pub(in crate::session) trait Names {
    /// The new name of a column of the row; `None` for one of another row.
    fn renamed(&self, column: &Column) -> Option<Column>;
}

/// Makes plain columns of what an expression looks up in the row; its subqueries look up the new names. `within` are the rows that the
/// expression is of.
pub(in crate::session) fn inside(
    names: &dyn Names,
    expr: Expr,
    within: &[DFSchemaRef],
) -> DfResult<Expr> {
    expr.transform_up(|part| {
        if let Expr::OuterReferenceColumn(_, column) = &part {
            return Ok(match names.renamed(column) {
                Some(renamed) => Transformed::yes(Expr::Column(renamed)),
                None => Transformed::no(part),
            });
        }
        in_subquery(names, part, within)
    })
    .data()
}

fn in_subquery(
    names: &dyn Names,
    part: Expr,
    between: &[DFSchemaRef],
) -> DfResult<Transformed<Expr>> {
    if subquery_of(&part).is_none() {
        return Ok(Transformed::no(part));
    }
    let changed = with_query(part, |subquery| {
        let plan = renamed(names, subquery.subquery.as_ref().clone(), between)?;
        let outer_ref_columns = looked_up(&plan)?;
        Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, ..subquery })
    })?;
    Ok(Transformed::yes(changed))
}

/// Renames what a query looks up in the row, and what none of the rows `between` has.
pub(super) fn renamed(
    names: &dyn Names,
    plan: LogicalPlan,
    between: &[DFSchemaRef],
) -> DfResult<LogicalPlan> {
    let with = |more: Vec<DFSchemaRef>| between.iter().cloned().chain(more).collect::<Vec<_>>();
    let plan = match plan {
        LogicalPlan::Join(mut join) if is_lateral(&join.right) => {
            let right = with(vec![Arc::clone(join.left.schema())]);
            join.left = Arc::new(renamed(names, join.left.as_ref().clone(), between)?);
            join.right = Arc::new(renamed(names, join.right.as_ref().clone(), &right)?);
            LogicalPlan::Join(join)
        }
        LogicalPlan::Subquery(subquery) => {
            let plan = renamed(names, subquery.subquery.as_ref().clone(), between)?;
            let outer_ref_columns = looked_up(&plan)?;
            LogicalPlan::Subquery(Subquery {
                subquery: Arc::new(plan),
                outer_ref_columns,
                ..subquery
            })
        }
        other => {
            other.map_children(|child| renamed(names, child, between).map(Transformed::yes))?.data
        }
    };
    let within = with(inputs_of(&plan));
    let preserver = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = preserver.save(&expr);
        let changed = expr.transform_up(|part| match part {
            Expr::OuterReferenceColumn(field, column) if !has(between, &column) => {
                Ok(match names.renamed(&column) {
                    Some(renamed) => Transformed::yes(Expr::OuterReferenceColumn(field, renamed)),
                    None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                })
            }
            other => in_subquery(names, other, &within),
        })?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?
    .map_data(LogicalPlan::recompute_schema)
    .data()
}

/// Returns whether a row has everything that a query looks up.
pub(super) fn all_of(looked_up: &[Expr], row: &DFSchema) -> bool {
    looked_up.iter().all(|one| match one {
        Expr::OuterReferenceColumn(_, column) => row.maybe_index_of_column(column).is_some(),
        _ => false,
    })
}
