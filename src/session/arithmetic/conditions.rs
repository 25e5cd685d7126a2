//! `b <> 0 AND a / b > 1`, `t ~ '^[0-9]+$' AND t::int > 5`, `b = 0 OR a / b > 1`: what fails for some rows behind a condition that leaves them
//! out.
//!
//! PostgreSQL evaluates such conditions from left to right, and everybody writes them. The engine underneath evaluates both sides for
//! all rows of a batch (DataFusion 55.2). Here what may fail is computed of NULL where the conditions before it have decided: its result
//! does not count there. Only conditions on the same columns guard, so that all others go to their sources as they are.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_binary_owned;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};

/// Functions that fail for some arguments.
const FUNCTIONS: &[&str] = &[
    "chr",
    "exp",
    "ln",
    "log",
    "log10",
    "log2",
    "numeric_divide",
    "power",
    "sqrt",
    "to_date",
    "to_number",
    "to_timestamp",
];

/// Guards what may fail in all conditions of a plan.
///
/// # Errors
/// None but those of the walk.
pub(super) fn guarded(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let preserver = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !expr.exists(|part| Ok(is_chain(part)))? || !may_fail(&expr, &schema)? {
                return Ok(Transformed::no(expr));
            }
            let name = preserver.save(&expr);
            Ok(Transformed::yes(name.restore(within(expr, &schema)?)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn is_chain(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or))
}

fn may_fail(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    expr.exists(|part| Ok(fails(part, schema)))
}

/// Returns whether an expression may fail by itself.
fn fails(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. }) => {
            !matches!(**right, Expr::Literal(..))
        }
        Expr::Cast(cast) => {
            let is_written = matches!(*cast.expr, Expr::Literal(..));
            let from = cast.expr.get_type(schema);
            !is_written
                && from.is_ok_and(|from| from.is_string())
                && !cast.field.data_type().is_string()
        }
        Expr::ScalarFunction(call) => FUNCTIONS.contains(&call.name()),
        _ => false,
    }
}

/// Guards what stands in chains of `AND` and of `OR`.
fn within(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let op = match &expr {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => *op,
        _ => return expr.map_children(|child| within(child, schema).map(Transformed::yes)).data(),
    };
    let (mut before, mut parts) = (Vec::new(), Vec::new());
    for part in split_binary_owned(expr, op) {
        let part = within(part, schema)?;
        if may_fail(&part, schema)? {
            parts.push(behind(part, &before, op, schema)?);
        } else {
            if is_plain(&part)? {
                before.push(part.clone());
            }
            parts.push(part);
        }
    }
    let joined = parts.into_iter().reduce(|left, right| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
    });
    joined.ok_or_else(|| maru_core::Error::internal("a condition of no parts").into())
}

/// Returns whether a condition may be evaluated twice.
fn is_plain(expr: &Expr) -> DfResult<bool> {
    let strange = expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })?;
    Ok(!strange && !expr.is_volatile())
}

/// Guards a part of a chain by those before it that are on its columns, and on no table that it is not on.
fn behind(part: Expr, before: &[Expr], op: Operator, schema: &DFSchema) -> DfResult<Expr> {
    let condition = {
        let columns = part.column_refs();
        let guards = before.iter().filter(|one| {
            let theirs = one.column_refs();
            let known = |relation| columns.iter().any(|own| own.relation.as_ref() == relation);
            theirs.iter().any(|column| columns.contains(column))
                && theirs.iter().all(|column| known(column.relation.as_ref()))
        });
        guards.cloned().reduce(|left, right| {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        })
    };
    let Some(condition) = condition else { return Ok(part) };
    // What is not known yet is for the other side to decide.
    let condition = match op {
        Operator::Or => condition.is_not_true(),
        _ => condition.is_not_false(),
    };
    let only_there = |argument: Expr| match argument {
        Expr::Literal(..) => argument,
        // Guarded already.
        Expr::Case(case) if case.when_then_expr.iter().any(|(when, _)| **when == condition) => {
            Expr::Case(case)
        }
        other => {
            let branch = (Box::new(condition.clone()), Box::new(other));
            Expr::Case(Case::new(None, vec![branch], None))
        }
    };
    part.transform_up(|node| {
        if !fails(&node, schema) {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(match node {
            Expr::BinaryExpr(mut binary) => {
                binary.right = Box::new(only_there(*binary.right));
                Expr::BinaryExpr(binary)
            }
            Expr::Cast(mut cast) => {
                cast.expr = Box::new(only_there(*cast.expr));
                Expr::Cast(cast)
            }
            Expr::ScalarFunction(mut call) => {
                call.args = call.args.into_iter().map(&only_there).collect();
                Expr::ScalarFunction(call)
            }
            other => other,
        }))
    })
    .data()
}
