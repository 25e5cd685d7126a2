//! Operators that the engine underneath has no word for: `@`, `|/`, `||/`, `~`, `^@`, `OVERLAPS`, `LIKE ANY`, `COLLATE "C"`, slices
//! without a lower bound; and `ROW(…) IS NULL`, which asks each part.
//!
//! Source: PostgreSQL 16, tables 9.5 and 9.32, 9.24.

use maru_core::{Error, Result};
use maru_sql::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Subscript, UnaryOperator, Value,
};

use super::literals::call;

/// Collations in which texts are compared byte by byte, as Maru compares them.
const BY_BYTES: &[&str] =
    &["c", "posix", "ucs_basic", "c.utf8", "c.utf-8", "default", "pg_catalog.default"];

/// Changes one operator.
///
/// # Errors
/// 0A000 for a collation that is not by bytes.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::UnaryOp { op, expr: of } => {
            let of = (**of).clone();
            *expr = match op {
                UnaryOperator::PGAbs => call("abs", vec![of]),
                UnaryOperator::PGSquareRoot => call("sqrt", vec![double(of)]),
                UnaryOperator::PGCubeRoot => call("cbrt", vec![double(of)]),
                // The planner would put the sign before the text, whose first part alone it then belongs to.
                UnaryOperator::Minus if matches!(of, Expr::Interval(_)) => {
                    let expr = Box::new(Expr::Nested(Box::new(of)));
                    Expr::UnaryOp { op: UnaryOperator::Minus, expr }
                }
                // All bits turned over.
                UnaryOperator::BitwiseNot => binary(of, BinaryOperator::PGBitwiseXor, number("-1")),
                _ => return Ok(()),
            };
        }
        Expr::BinaryOp { left, op: BinaryOperator::PGStartsWith, right } => {
            *expr = call("starts_with", vec![(**left).clone(), (**right).clone()]);
        }
        Expr::IsNull(of) => {
            if let Some(parts) = parts_of_row(of) {
                *expr = all(parts, Expr::IsNull);
            }
        }
        Expr::IsNotNull(of) => {
            if let Some(parts) = parts_of_row(of) {
                *expr = all(parts, Expr::IsNotNull);
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => {
            if let (Expr::Tuple(first), Expr::Tuple(second)) = (left.as_ref(), right.as_ref())
                && let ([a, b], [c, d]) = (first.as_slice(), second.as_slice())
            {
                *expr = overlaps([a, b, c, d].map(Expr::clone));
            }
        }
        Expr::Like { any: true, pattern, .. } | Expr::ILike { any: true, pattern, .. } => {
            if let Some(patterns) = listed(pattern) {
                *expr = each(expr, &patterns, BinaryOperator::Or);
            }
        }
        Expr::Like { any: false, pattern, .. } | Expr::ILike { any: false, pattern, .. } => {
            let patterns = match pattern.as_ref() {
                Expr::Function(function)
                    if function.name.to_string().eq_ignore_ascii_case("all") =>
                {
                    match &function.args {
                        FunctionArguments::List(list) => match list.args.as_slice() {
                            [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] => listed(of),
                            _ => None,
                        },
                        _ => None,
                    }
                }
                _ => None,
            };
            if let Some(patterns) = patterns {
                *expr = each(expr, &patterns, BinaryOperator::And);
            }
        }
        Expr::Collate { expr: of, collation } => {
            let name = collation.to_string().replace('"', "");
            if !BY_BYTES.contains(&name.to_lowercase().as_str()) {
                return Err(Error::unsupported(format!("collation \"{name}\" is not supported"))
                    .with_hint("Texts are compared byte by byte: COLLATE \"C\". For another order ask the source itself with query($$…$$)."));
            }
            *expr = (**of).clone();
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                if let AccessExpr::Subscript(Subscript::Slice {
                    lower_bound: bound @ None, ..
                }) = access
                {
                    *bound = Some(number("1"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns what a row is written of: `(a, b)` or `ROW(a, b)`.
fn parts_of_row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Nested(inner) => parts_of_row(inner),
        Expr::Tuple(parts) => Some(parts.clone()),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &function.args else { return None };
            let part = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) => Some(part.clone()),
                _ => None,
            };
            list.args.iter().map(part).collect()
        }
        _ => None,
    }
    .filter(|parts: &Vec<Expr>| !parts.is_empty())
}

fn all(parts: Vec<Expr>, ask: fn(Box<Expr>) -> Expr) -> Expr {
    let asked = parts.into_iter().map(|part| ask(Box::new(Expr::Nested(Box::new(part)))));
    let asked = asked.reduce(|left, right| binary(left, BinaryOperator::And, right));
    asked.unwrap_or_else(|| Expr::value(Value::Boolean(true)))
}

fn number(text: &str) -> Expr {
    Expr::value(Value::Number(text.to_owned(), false))
}

fn double(expr: Expr) -> Expr {
    let data_type = DataType::DoublePrecision;
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::Nested(Box::new(Expr::BinaryOp { left: nested(left), op, right: nested(right) }))
}

/// Periods are half open, but one of no length is its instant; their ends come in any order.
fn overlaps([a, b, c, d]: [Expr; 4]) -> Expr {
    // An interval is the length of its period.
    let end = |start: &Expr, end: Expr| match end {
        Expr::Interval(_) => binary(start.clone(), BinaryOperator::Plus, end),
        other => other,
    };
    let (b, d) = (end(&a, b), end(&c, d));
    let least = |x: &Expr, y: &Expr| call("least", vec![x.clone(), y.clone()]);
    let greatest = |x: &Expr, y: &Expr| call("greatest", vec![x.clone(), y.clone()]);
    let (first, second) = (least(&a, &b), least(&c, &d));
    let meet = binary(
        binary(first.clone(), BinaryOperator::Lt, greatest(&c, &d)),
        BinaryOperator::And,
        binary(second.clone(), BinaryOperator::Lt, greatest(&a, &b)),
    );
    binary(meet, BinaryOperator::Or, binary(first, BinaryOperator::Eq, second))
}

/// Returns the elements of an array or a list that is written out.
fn listed(pattern: &Expr) -> Option<Vec<Expr>> {
    match pattern {
        Expr::Nested(inner) => listed(inner).or_else(|| match inner.as_ref() {
            literal @ Expr::Value(_) => Some(vec![literal.clone()]),
            _ => None,
        }),
        Expr::Array(array) => Some(array.elem.clone()),
        Expr::Tuple(items) => Some(items.clone()),
        _ => None,
    }
    .filter(|items| !items.is_empty())
}

/// Joins one comparison for each pattern.
fn each(like: &Expr, patterns: &[Expr], by: BinaryOperator) -> Expr {
    let one = |pattern: &Expr| {
        let mut like = like.clone();
        if let Expr::Like { any, pattern: of, .. } | Expr::ILike { any, pattern: of, .. } =
            &mut like
        {
            *any = false;
            **of = pattern.clone();
        }
        like
    };
    patterns
        .iter()
        .map(one)
        .reduce(|left, right| binary(left, by.clone(), right))
        .unwrap_or_else(|| like.clone())
}
