//! Conditions on the rows that are changed. A row is changed where the condition is true, and stays where it is false or NULL:
//! it is asked once for each row, or, where it has subqueries, in two queries that must agree.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use maru_core::{Error, Result, quote_ident};
use maru_sql::Name;
use maru_sql::ast::{self, BinaryOperator, UnaryOperator, visit_expressions};

/// A name that no column has.
const HIT: &str = "$hit";

/// Returns what the target is read from, with a column that says which rows a condition holds for; `only_hits` leaves
/// out the others.
///
/// # Errors
/// 0A000 for subqueries that the two queries could answer differently.
pub(super) fn hits(
    only_hits: bool,
    table: &Name,
    alias: &str,
    condition: Option<ast::Expr>,
) -> Result<String> {
    let (alias, hit) = (quote_ident(alias), quote_ident(HIT));
    let Some(condition) = condition else {
        return Ok(format!("(SELECT *, TRUE AS {hit} FROM {table} AS {alias}) AS {alias}"));
    };
    if only_hits {
        return Ok(format!(
            "(SELECT *, TRUE AS {hit} FROM {table} AS {alias} WHERE {condition}) AS {alias}"
        ));
    }
    if !has_subquery(&condition) {
        return Ok(format!(
            "(SELECT *, ({condition}) IS TRUE AS {hit} FROM {table} AS {alias}) AS {alias}"
        ));
    }
    // Subqueries are planned where they filter.
    let condition = two_valued(condition, true)?;
    Ok(format!(
        "(SELECT *, TRUE AS {hit} FROM {table} AS {alias} WHERE {condition} UNION ALL \
         SELECT *, FALSE AS {hit} FROM {table} AS {alias} WHERE ({condition}) IS NOT TRUE) AS {alias}"
    ))
}

/// Adds rows that no condition is asked about.
pub(super) fn with_others(hits: &str, others: &Name, alias: &str) -> String {
    let (alias, hit) = (quote_ident(alias), quote_ident(HIT));
    format!(
        "(SELECT * FROM {hits} UNION ALL SELECT *, FALSE AS {hit} FROM {others} AS {alias}) AS {alias}"
    )
}

pub(super) fn act_of_hits(alias: &str) -> String {
    format!("CASE WHEN {}.{} THEN 1 END", quote_ident(alias), quote_ident(HIT))
}

pub(super) fn has_subquery(expr: &ast::Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Brings a condition to one that is true for the same rows, and in which every subquery is true or false, never NULL:
/// under AND, OR and NOT, `IN` asks whether an equal value exists, `NOT IN` whether none exists that is or may be equal.
fn two_valued(expr: ast::Expr, holds: bool) -> Result<ast::Expr> {
    use ast::Expr as E;
    Ok(match expr {
        E::Nested(inner) => E::Nested(Box::new(two_valued(*inner, holds)?)),
        E::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            E::BinaryOp {
                left: Box::new(two_valued(*left, holds)?),
                op,
                right: Box::new(two_valued(*right, holds)?),
            }
        }
        E::UnaryOp { op: UnaryOperator::Not, expr } => {
            E::UnaryOp { op: UnaryOperator::Not, expr: Box::new(two_valued(*expr, !holds)?) }
        }
        E::InSubquery { expr, subquery, negated } => {
            refuse_unclear(&expr)?;
            // Where NULL counts as true at the end, what may be equal counts as equal.
            let test = if holds == negated { " IS NOT FALSE" } else { "" };
            let not = if negated { "NOT " } else { "" };
            let sql = format!(
                "SELECT {not}EXISTS (SELECT 1 FROM ({subquery}) AS \"$in\" (\"$value\") \
                 WHERE (\"$in\".\"$value\" = ({expr})){test})"
            );
            E::Nested(Box::new(read(&sql)?))
        }
        exists @ E::Exists { .. } => exists,
        other => {
            refuse_unclear(&other)?;
            other
        }
    })
}

/// Reads the one expression of a query.
pub(super) fn read(sql: &str) -> Result<ast::Expr> {
    let lost = || Error::internal("a condition lost its way");
    let maru_sql::Statement::Query { statement, .. } = maru_sql::parse(sql)? else {
        return Err(lost());
    };
    let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
        return Err(lost());
    };
    let ast::Statement::Query(query) = *statement else { return Err(lost()) };
    let ast::SetExpr::Select(mut select) = *query.body else { return Err(lost()) };
    match select.projection.pop() {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(lost()),
    }
}

/// # Errors
/// 0A000 for `IN`, `ANY` and `ALL` of subqueries deep in a condition, where it is not certain what their NULL becomes.
pub(super) fn refuse_unclear(expr: &ast::Expr) -> Result<()> {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::InSubquery { .. } => ControlFlow::Break("IN"),
        ast::Expr::AnyOp { right, .. } if has_subquery(right) => ControlFlow::Break("ANY"),
        ast::Expr::AllOp { right, .. } if has_subquery(right) => ControlFlow::Break("ALL"),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(what) => Err(Error::unsupported(format!(
            "{what} (SELECT …) is not supported at this place of a condition for rows that are changed"
        ))
        .with_hint("Use EXISTS (SELECT …), or IN (SELECT …) under AND, OR and NOT alone.")),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Refuses functions that answer anew each time they are asked, where a condition is asked more than once for a row.
///
/// # Errors
/// 0A000.
pub(super) fn refuse_repeated(plan: &LogicalPlan, act: &str) -> Result<()> {
    let mut is_repeated = false;
    if let LogicalPlan::Projection(projection) = plan {
        for expr in projection.expr.iter().filter(|expr| expr.schema_name().to_string() == act) {
            is_repeated |= is_volatile(expr)?;
        }
    }
    plan.apply_with_subqueries(|node| {
        // Both parts of a union ask the same condition.
        if let LogicalPlan::Union(union) = node
            && union.schema.fields().iter().any(|field| field.name() == HIT)
        {
            for input in &union.inputs {
                is_repeated |= plan_is_volatile(input)?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !is_repeated {
        return Ok(());
    }
    Err(Error::unsupported(
        "a function such as random() cannot decide which rows are changed in this form of statement",
    )
    .with_hint("Choose the rows in a table first: CREATE TABLE … AS SELECT."))
}

pub(super) fn plan_is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn is_volatile(expr: &Expr) -> Result<bool> {
    let mut found = expr.is_volatile();
    expr.apply(|part| {
        let subquery = match part {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            Expr::InSubquery(within) => Some(&within.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            found |= plan_is_volatile(&subquery.subquery)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
