//! `FROM t VERSION AS OF 3`: a table as it was.
//!
//! The parser makes an argument of it (`maru_sql::versions`). The planner resolves tables by name, and so table and version
//! become one: `"t VERSION AS OF 3"`, which `catalog/resolve.rs` takes apart.

use chrono::SecondsFormat;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs, TypedString, Value,
};
use maru_sql::versions::{TIMESTAMP_AS_OF, VERSION_AS_OF};

use super::literal;
use super::literals::spell_interval;
use crate::catalog::version;
use crate::session::plan::began;

/// Puts the version of a table into its name.
///
/// # Errors
/// 22023 for what is no number of a version, 0A000 for one that is no literal.
pub(super) fn table(table: &mut TableFactor) -> Result<()> {
    let TableFactor::Table { name, alias, args, .. } = table else { return Ok(()) };
    let Some((kind, value)) = args.as_ref().and_then(only_argument) else { return Ok(()) };
    let suffix = if kind == VERSION_AS_OF { number(value)? } else { moment(value)? };
    let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else { return Ok(()) };
    let is_path = last.quote_style == Some('\'') || last.value.contains("://");
    // Without quotes names are lower case.
    let plain = match last.quote_style {
        None => last.value.to_lowercase(),
        Some(_) => last.value.clone(),
    };
    if !is_path {
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', &plain),
            columns: Vec::new(),
            at: None,
        });
    }
    let quote = last.quote_style.unwrap_or('"');
    let span = last.span;
    *last = Ident::with_quote_and_span(quote, span, format!("{plain}{suffix}"));
    *args = None;
    Ok(())
}

/// Returns the argument's name and value if it is the one that a version became.
fn only_argument(arguments: &TableFunctionArgs) -> Option<(&'static str, &Expr)> {
    let (name, value) = match arguments.args.as_slice() {
        [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }] => (name, value),
        [
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            },
        ] => (name, value),
        _ => return None,
    };
    let known = [VERSION_AS_OF, TIMESTAMP_AS_OF];
    let name = known.into_iter().find(|known| name.value.eq_ignore_ascii_case(known))?;
    Some((name, value))
}

fn number(value: &Expr) -> Result<String> {
    let text = match value {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) | Value::SingleQuotedString(text) => text,
            _ => return Err(no_literal("VERSION AS OF 3")),
        },
        _ => return Err(no_literal("VERSION AS OF 3")),
    };
    match text.trim().parse::<u64>() {
        Ok(number) => Ok(version::suffix_of_number(number)),
        Err(_) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid number of a version: \"{text}\""),
        )),
    }
}

fn moment(value: &Expr) -> Result<String> {
    let text = match value {
        Expr::TypedString(TypedString { value, .. }) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.as_str()),
            _ => None,
        },
        other => literal(other),
    };
    let computed = if text.is_none() { computed(value) } else { None };
    let text = text.or(computed.as_deref()).ok_or_else(|| {
        no_literal("TIMESTAMP AS OF '2026-11-25 12:00:00+00' or now() - interval '1 hour'")
    })?;
    Ok(version::suffix_of_moment(text))
}

/// Returns the text of `now()` with the intervals that are added to it or taken from it. All of a statement has one `now()`.
fn computed(value: &Expr) -> Option<String> {
    match value {
        Expr::Nested(inner) => computed(inner),
        Expr::Function(function) if is_now(function) => {
            Some(began().to_rfc3339_opts(SecondsFormat::Micros, true))
        }
        Expr::BinaryOp { left, op, right } => {
            let back = match op {
                BinaryOperator::Minus => true,
                BinaryOperator::Plus => false,
                _ => return None,
            };
            Some(computed(left)? + &version::step(back, &interval(right)?))
        }
        _ => None,
    }
}

fn is_now(function: &Function) -> bool {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return false };
    let has_no_arguments = match &function.args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    };
    let names = ["now", "current_timestamp", "statement_timestamp", "transaction_timestamp"];
    has_no_arguments && names.iter().any(|known| name.value.eq_ignore_ascii_case(known))
}

fn interval(value: &Expr) -> Option<String> {
    let Expr::Interval(interval) = value else { return None };
    if interval.leading_field.is_some() || interval.last_field.is_some() {
        return None;
    }
    let mut text = literal(&interval.value)?.to_owned();
    spell_interval(&mut text);
    Some(text)
}

fn no_literal(example: &str) -> Error {
    Error::unsupported("a version of a table must be a literal")
        .with_hint(format!("Write {example}."))
}
