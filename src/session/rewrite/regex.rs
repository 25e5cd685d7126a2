//! Regular expressions in which the point matches line ends, as PostgreSQL's does. The engine underneath has it match all but them,
//! and knows flags by other letters: `n` is its `m`.
//!
//! Patterns that are written in the statement are changed, others are not.
//!
//! Source: PostgreSQL 16, section 9.7.3.4 and table 9.24.

use maru_core::Result;
use maru_sql::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, Value,
};

use super::literal;

/// Functions of the engine, and the place of their flags. The pattern is the second argument.
const FUNCTIONS: &[(&str, usize)] = &[
    ("regexp_count", 3),
    ("regexp_instr", 4),
    ("regexp_like", 2),
    ("regexp_match", 2),
    ("regexp_replace", 3),
];

/// Changes the pattern of one match.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp {
            op:
                BinaryOperator::PGRegexMatch
                | BinaryOperator::PGRegexIMatch
                | BinaryOperator::PGRegexNotMatch
                | BinaryOperator::PGRegexNotIMatch,
            right,
            ..
        } => over_lines(right),
        Expr::Function(function) => {
            let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
                return Ok(());
            };
            let known = FUNCTIONS.iter().find(|(known, _)| name.value.eq_ignore_ascii_case(known));
            let (Some((_, place)), FunctionArguments::List(list)) = (known, &mut function.args)
            else {
                return Ok(());
            };
            let by_lines = match list.args.get_mut(*place).and_then(written) {
                Some(flags) => match literal(flags).map(str::to_owned) {
                    Some(text) => {
                        let is_meant = text.contains(['n', 'm']);
                        if is_meant {
                            *flags = text_of(text.replace('n', "m"));
                        }
                        is_meant
                    }
                    // Nobody knows what they will say.
                    None => true,
                },
                None => false,
            };
            if !by_lines && let Some(pattern) = list.args.get_mut(1).and_then(written) {
                over_lines(pattern);
            }
        }
        _ => {}
    }
    Ok(())
}

fn written(argument: &mut FunctionArg) -> Option<&mut Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn text_of(text: String) -> Expr {
    Expr::value(Value::SingleQuotedString(text))
}

/// Lets the point in a pattern match line ends.
fn over_lines(pattern: &mut Expr) {
    if let Some(text) = literal(pattern)
        && text.contains('.')
        && !text.starts_with("(?s")
    {
        *pattern = text_of(format!("(?s){text}"));
    }
}
