//! `(a, b) IN (SELECT c, d …)` in a condition: the planner compares one column alone.
//!
//! It becomes `EXISTS`, and `NOT IN` becomes `NOT EXISTS` of a row that is equal or might be: what is NULL on a side is unknown, and a
//! condition takes unknown for false.

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{BinaryOperator, Expr, Ident, Query, Select, SetExpr, TableFactor};

/// Changes the condition of a SELECT. Below `NOT` and in other expressions unknown is not false: there the planner refuses it.
pub(super) fn select(select: &mut Select) {
    for condition in [&mut select.selection, &mut select.having].into_iter().flatten() {
        conditions(condition);
    }
}

fn conditions(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => conditions(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            conditions(left);
            conditions(right);
        }
        Expr::InSubquery { expr: row, subquery, negated } => {
            if let Expr::Tuple(parts) = row.as_ref()
                && let Some(exists) = exists(parts, subquery, *negated)
            {
                *expr = exists;
            }
        }
        _ => {}
    }
}

/// What the columns of the subquery are called, so that no name of the row means one of them.
fn column(at: usize) -> Ident {
    Ident::with_quote('"', format!("part {at} of the row"))
}

fn exists(parts: &[Expr], among: &Query, negated: bool) -> Option<Expr> {
    let names = (0..parts.len()).map(|at| column(at).to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!("EXISTS (SELECT 1 FROM (SELECT 1) AS \"rows of IN\" ({names}) WHERE true)");
    let mut parsed = Parser::new(&MaruDialect).try_with_sql(&sql).ok()?.parse_expr().ok()?;
    let Expr::Exists { subquery, negated: is_not } = &mut parsed else { return None };
    *is_not = negated;
    let SetExpr::Select(select) = subquery.body.as_mut() else { return None };
    let TableFactor::Derived { subquery: rows, .. } = &mut select.from.first_mut()?.relation else {
        return None;
    };
    **rows = among.clone();
    let compared = parts.iter().enumerate().map(|(at, part)| {
        let (part, found) = (Expr::Nested(Box::new(part.clone())), Expr::Identifier(column(at)));
        let equal = binary(part.clone(), BinaryOperator::Eq, found.clone());
        if !negated {
            return equal;
        }
        let unknown = |side: Expr| Expr::IsNull(Box::new(side));
        [unknown(part), unknown(found)]
            .into_iter()
            .fold(equal, |all, one| binary(all, BinaryOperator::Or, one))
    });
    select.selection = compared.reduce(|all, one| binary(all, BinaryOperator::And, one));
    Some(parsed)
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
}
