//! `EXISTS`, `IN (SELECT …)`, `x > ANY (SELECT …)` and `x > ALL (SELECT …)` as values: among the columns of a result and, by
//! `beneath.rs`, in all other places.
//!
//! The planner makes joins of them where they are conditions, and nothing elsewhere (DataFusion 55.2). Here they become counts,
//! which it has joins for: one that exists counts more than 0. `IN` is NULL where nothing equal is found, but something that
//! might be: a NULL on either side. In the conditions of joins they become columns of a side (`joins.rs`).

mod beneath;
mod joins;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Spans};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit, when,
};
use maru_core::Error;

use super::dependent::looked_up;

/// What the rows of `IN (SELECT …)` are called, and how many there are: no name of a column of the row around them.
const AMONG: &str = "among";
const NUMBER: &str = "number of rows";

/// Puts counts in the place of those among columns.
///
/// # Errors
/// 0A000 for what would be drawn more than once for a row, or is looked at in a way that has no join, and what the planner says of a
/// subquery that has no plan.
pub(super) fn in_columns(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        refuse_redrawn(&node)?;
        match node {
            LogicalPlan::Projection(_) => {}
            LogicalPlan::Join(_) => return joins::as_columns(node),
            _ => return beneath::as_columns(node),
        }
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let changed = expr.transform_up(|part| value(part, &schema))?;
            refuse_tests(&changed.data)?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

/// Refuses what is left of subqueries in a plan that is to be run. The engine underneath would name it by its own words.
///
/// # Errors
/// 0A000 for one that neither counts nor joins were made of.
pub(super) fn refuse_left(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| match left(part) {
                Some(what) => Err(not_here(what).into()),
                None => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    Ok(())
}

pub(super) fn not_here(what: &str) -> Error {
    Error::unsupported(format!("{what} is not supported in this place"))
        .with_detail("It would have to be computed for each row, and no join does that here.")
        .with_hint("Join with the subquery in FROM, and write conditions on its columns.")
}

fn left(part: &Expr) -> Option<&'static str> {
    match part {
        // One that looks at nothing is computed once, wherever it stands.
        Expr::ScalarSubquery(subquery) if looks(subquery) => {
            Some("a subquery that looks so at the row around it")
        }
        other => as_test(other),
    }
}

/// Returns whether a subquery looks at a row around it.
fn looks(subquery: &Subquery) -> bool {
    !looked_up(&subquery.subquery).is_ok_and(|looked_up| looked_up.is_empty())
}

fn as_test(part: &Expr) -> Option<&'static str> {
    match part {
        Expr::InSubquery(_) => Some("IN (SELECT …)"),
        // The planner writes ANY and ALL by EXISTS.
        Expr::Exists(_) | Expr::SetComparison(_) => Some("EXISTS, ANY or ALL (SELECT …)"),
        _ => None,
    }
}

/// Refuses those that counts were not made of where the planner makes no joins of them.
fn refuse_tests(expr: &Expr) -> DfResult<()> {
    expr.apply(|part| match as_test(part) {
        Some(what) => Err(not_here(what).into()),
        None => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// Refuses a volatile value beside `IN`, `ANY` and `ALL`: it is one for all rows of the subquery, and would be drawn again for
/// each of them.
fn refuse_redrawn(node: &LogicalPlan) -> DfResult<()> {
    let is_condition = matches!(node, LogicalPlan::Filter(_));
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            let (value, is_key) = match part {
                // As the key of a join a value is drawn once for each row, unless it has no column and is no key.
                Expr::InSubquery(membership) => {
                    (&membership.expr, is_condition && membership.expr.any_column_refs())
                }
                Expr::SetComparison(comparison) => (&comparison.expr, false),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            match is_key || !value.is_volatile() {
                true => Ok(TreeNodeRecursion::Continue),
                false => Err(redrawn().into()),
            }
        })
    })?;
    Ok(())
}

fn redrawn() -> Error {
    Error::unsupported("a volatile value beside IN, ANY or ALL (SELECT …) is not supported")
        .with_detail("It would be computed again for each row of the subquery.")
        .with_hint(
            "Compute it in FROM: FROM (SELECT random() AS r, … FROM …) AS t WHERE r IN (SELECT …).",
        )
}

/// Returns the value of a subquery by counts. `schema` is that of the row around it.
fn value(part: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    match part {
        Expr::Exists(Exists { subquery, negated }) => {
            let some = counts(subquery)?.gt(lit(0_i64));
            Ok(Transformed::yes(if negated { !some } else { some }))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            Ok(match decided(&expr, &subquery, Operator::Eq, true, schema)? {
                Some(found) => Transformed::yes(if negated { !found } else { found }),
                None => Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })),
            })
        }
        Expr::SetComparison(comparison) => {
            let SetComparison { expr, subquery, op, quantifier } = &comparison;
            // One row for which it does not hold decides ALL.
            let (op, decides) = match quantifier {
                SetQuantifier::Any => (Some(*op), true),
                SetQuantifier::All => (op.negate(), false),
            };
            let found = match op {
                Some(op) => decided(expr, subquery, op, decides, schema)?,
                None => None,
            };
            Ok(match found {
                Some(found) => Transformed::yes(found),
                None => Transformed::no(Expr::SetComparison(comparison)),
            })
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Returns how many rows a subquery has: one at most where that tells enough.
fn counts(subquery: Subquery) -> DfResult<Expr> {
    // One that depends on the row around it cannot be cut.
    let may_be_cut = !looks(&subquery);
    let mut rows = LogicalPlanBuilder::from(subquery.subquery);
    if may_be_cut {
        rows = rows.limit(0, Some(1))?;
    }
    let counted = rows.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    let number = counted.schema().columns().into_iter();
    let number = number.map(|number| Expr::Column(number).alias(NUMBER)).collect::<Vec<_>>();
    let counted = LogicalPlanBuilder::from(counted).project(number)?.build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(counted), ..subquery }))
}

/// Returns `decides` where a row of a subquery compares so with an expression, NULL where one might, and else the contrary; `None` where
/// it cannot be told.
fn decided(
    expr: &Expr,
    subquery: &Subquery,
    op: Operator,
    decides: bool,
    schema: &DFSchema,
) -> DfResult<Option<Expr>> {
    // What is volatile would be drawn again for each row of the subquery.
    if expr.is_volatile() {
        return Ok(None);
    }
    // Both sides may be of one table; under a name of its own its columns are not taken for those of the row around it.
    let named = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery)).alias(AMONG)?;
    let subquery = Subquery { subquery: Arc::new(named.build()?), ..subquery.clone() };
    let columns = subquery.subquery.schema().columns();
    let ([column], Some(outer)) = (columns.as_slice(), seen_from_inside(expr, schema)) else {
        return Ok(None);
    };
    let among = Expr::Column(column.clone());
    let narrowed = |condition: Expr| {
        let plan = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery)).filter(condition)?;
        let plan = plan.build()?;
        let outer_ref_columns = looked_up(&plan)?;
        counts(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() })
    };
    let compared = BinaryExpr::new(Box::new(outer), op, Box::new(among.clone()));
    let compared = Expr::BinaryExpr(compared);
    let mut answer = when(narrowed(compared)?.gt(lit(0_i64)), lit(decides));
    let unknown = || Expr::Literal(datafusion::common::ScalarValue::Boolean(None), None);
    if subquery.subquery.schema().fields().iter().any(|field| field.is_nullable()) {
        answer = answer.when(narrowed(among.is_null())?.gt(lit(0_i64)), unknown());
    }
    if expr.nullable(schema)? {
        let any = counts(subquery)?.gt(lit(0_i64));
        answer = answer.when(expr.clone().is_null().and(any), unknown());
    }
    answer.otherwise(lit(!decides)).map(Some)
}

/// Returns whether a condition looks at no row around it, or is `=` of one of its columns.
pub(super) fn looks_by_key(condition: &Expr) -> bool {
    let is_outer = |side: &Expr| matches!(side, Expr::OuterReferenceColumn(..));
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            (is_outer(left) || !left.contains_outer())
                && (is_outer(right) || !right.contains_outer())
                && !(is_outer(left) && is_outer(right))
        }
        other => !other.contains_outer(),
    }
}

/// Returns an expression of the row around a subquery as it is written in the subquery; `None` for one that is of a row further
/// out, or has a subquery itself.
fn seen_from_inside(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let mut plain = true;
    let outer = expr
        .clone()
        .transform_up(|part| {
            Ok(match part {
                Expr::Column(column) => match schema.qualified_field_from_column(&column) {
                    Ok((_, field)) => {
                        Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column))
                    }
                    Err(_) => {
                        plain = false;
                        Transformed::no(Expr::Column(column))
                    }
                },
                Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_) => {
                    plain = false;
                    Transformed::no(part)
                }
                other => Transformed::no(other),
            })
        })
        .ok()?;
    plain.then_some(outer.data)
}
