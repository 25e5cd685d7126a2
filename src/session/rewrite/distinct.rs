//! `IS DISTINCT FROM` binds closer than `AND` and `OR`. The parser lets its right side run to the end of the condition:
//! `a IS DISTINCT FROM b AND c` is read as `a IS DISTINCT FROM (b AND c)`.
//!
//! Source: PostgreSQL 16, section 4.1.6.

use std::mem;

use maru_sql::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Groups a condition anew, if an `IS DISTINCT FROM` in it has taken too much. To be called from the outside inwards:
/// what the parser read without parentheses is one row of operands and words.
pub(super) fn regroup(expr: &mut Expr) {
    if !took_too_much(expr) {
        return;
    }
    let mut row = Vec::new();
    flatten(mem::replace(expr, Expr::value(Value::Null)), &mut row);
    // Popped from the end while it is read from the left.
    row.reverse();
    *expr = either(&mut row);
}

enum Piece {
    Operand(Box<Expr>),
    Not,
    And,
    Or,
}

/// Only what stands at the right end of `AND`, `OR` and `NOT` can have taken the rest of the text.
fn took_too_much(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            took_too_much(left) || took_too_much(right)
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => took_too_much(expr),
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => {
            let is_row = matches!(
                **right,
                Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. }
            );
            is_row || took_too_much(right)
        }
        _ => false,
    }
}

fn flatten(expr: Expr, row: &mut Vec<Piece>) {
    match expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            flatten(*left, row);
            row.push(if op == BinaryOperator::And { Piece::And } else { Piece::Or });
            flatten(*right, row);
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            row.push(Piece::Not);
            flatten(*expr, row);
        }
        Expr::IsDistinctFrom(left, right) => distinct(Expr::IsDistinctFrom, left, *right, row),
        Expr::IsNotDistinctFrom(left, right) => {
            distinct(Expr::IsNotDistinctFrom, left, *right, row);
        }
        operand => row.push(Piece::Operand(Box::new(operand))),
    }
}

/// The first operand of the right side is the comparison's own, what follows is not.
fn distinct(
    make: fn(Box<Expr>, Box<Expr>) -> Expr,
    left: Box<Expr>,
    right: Expr,
    row: &mut Vec<Piece>,
) {
    let at = row.len();
    flatten(right, row);
    // `a IS DISTINCT FROM NOT b`: the word belongs to the operand.
    let mut negations = 0;
    while matches!(row.get(at), Some(Piece::Not)) {
        row.remove(at);
        negations += 1;
    }
    if let Some(Piece::Operand(first)) = row.get_mut(at) {
        let mut own = mem::replace(first.as_mut(), Expr::value(Value::Null));
        for _ in 0..negations {
            own = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(own) };
        }
        **first = make(left, Box::new(own));
    }
}

fn either(row: &mut Vec<Piece>) -> Expr {
    let mut all = both(row);
    while matches!(row.last(), Some(Piece::Or)) {
        row.pop();
        let right = Box::new(both(row));
        all = Expr::BinaryOp { left: Box::new(all), op: BinaryOperator::Or, right };
    }
    all
}

fn both(row: &mut Vec<Piece>) -> Expr {
    let mut all = one(row);
    while matches!(row.last(), Some(Piece::And)) {
        row.pop();
        let right = Box::new(one(row));
        all = Expr::BinaryOp { left: Box::new(all), op: BinaryOperator::And, right };
    }
    all
}

fn one(row: &mut Vec<Piece>) -> Expr {
    match row.pop() {
        Some(Piece::Not) => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(one(row)) },
        Some(Piece::Operand(expr)) => *expr,
        // Between two words stands an operand.
        Some(Piece::And | Piece::Or) | None => Expr::value(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;
    use maru_sql::MaruDialect;
    use maru_sql::ast::Expr;

    use super::regroup;

    /// Writes the groups in parentheses.
    fn grouped(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", grouped(left), grouped(right))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", grouped(expr)),
            Expr::IsDistinctFrom(left, right) => {
                format!("({} ≠ {})", grouped(left), grouped(right))
            }
            Expr::IsNotDistinctFrom(left, right) => {
                format!("({} ≡ {})", grouped(left), grouped(right))
            }
            other => other.to_string(),
        }
    }

    fn check(sql: &str, wanted: &str) {
        let mut parser = Parser::new(&MaruDialect).try_with_sql(sql).unwrap();
        let mut expr = parser.parse_expr().unwrap();
        regroup(&mut expr);
        assert_eq!(grouped(&expr), wanted, "{sql}");
    }

    #[test]
    fn and_and_or_end_the_right_side() {
        check("a IS DISTINCT FROM b AND c", "((a ≠ b) AND c)");
        check("a IS DISTINCT FROM b OR c AND d", "((a ≠ b) OR (c AND d))");
        check("p AND a IS NOT DISTINCT FROM b OR c", "((p AND (a ≡ b)) OR c)");
        check("NOT a IS DISTINCT FROM b AND c", "((NOT (a ≠ b)) AND c)");
        check("a IS DISTINCT FROM b AND c IS DISTINCT FROM d OR e", "(((a ≠ b) AND (c ≠ d)) OR e)");
    }

    #[test]
    fn what_is_right_stays() {
        check("a IS DISTINCT FROM (b AND c)", "(a ≠ (b AND c))");
        check("a IS DISTINCT FROM b + 1", "(a ≠ (b + 1))");
        check("a AND b IS DISTINCT FROM c", "(a AND (b ≠ c))");
    }
}
