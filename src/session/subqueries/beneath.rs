//! Subqueries where the planner takes none: in parts of conditions whose NULL is not the same as false, in aggregates and their `FILTER`, in
//! windows, in what rows are ordered by. They become columns of the rows beneath.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::{refuse_tests, value};
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
    let exprs = match &node {
        LogicalPlan::Filter(filter) => {
            let mut parts = split_conjunction_owned(filter.predicate.clone());
            for part in &mut parts {
                if loses_nulls(part, &columns.schema) {
                    *part = columns.taken_from(part.clone())?;
                }
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
        return Ok(Transformed::no(node));
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

fn has_subqueries(node: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|part| Ok(is_subquery(part)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_subquery(part: &Expr) -> bool {
    matches!(
        part,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
    )
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
            let looks = matches!(&part, Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty());
            let part = if looks { Transformed::yes(part) } else { value(part, &self.schema)? };
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
