//! JSON while a statement is planned: operators by the types of their sides (`operators.rs`), and what a plan means where JSON stands
//! in it (`meaning.rs`). The functions that both call are in `scalars/json/`.

mod meaning;
mod operators;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion_functions_json::udfs;
use maru_core::{Error, ErrorKind, Result};

pub(super) use meaning::{ROW_COLUMN, ROW_VALUE, as_json_meant, refuse_ambiguous};
pub(super) use operators::JsonOperators;

use super::scalars::{self, Style, style_of};

/// Functions of the engine's own, beside PostgreSQL's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for function in [
        udfs::json_contains_udf(),
        udfs::json_get_bool_udf(),
        udfs::json_get_float_udf(),
        udfs::json_get_int_udf(),
        udfs::json_get_json_udf(),
        udfs::json_get_str_udf(),
    ] {
        state.register_udf(function)?;
    }
    Ok(())
}

/// Returns which JSON an expression gives. Of values that come from several branches the planner forgets it.
fn mark_of(expr: &Expr, schema: &DFSchema) -> Option<Style> {
    let among = |branches: &mut dyn Iterator<Item = &Expr>| {
        let marks = branches.filter_map(|branch| mark_of(branch, schema));
        marks.max_by_key(|style| *style == Style::Jsonb)
    };
    match expr {
        Expr::Alias(alias) => mark_of(&alias.expr, schema),
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            among(&mut thens.chain(case.else_expr.as_deref()))
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "coalesce" | "nvl") => {
            among(&mut call.args.iter())
        }
        Expr::ScalarFunction(call) if call.name() == "nullif" => {
            mark_of(call.args.first()?, schema)
        }
        expr => expr.to_field(schema).ok().and_then(|(_, field)| style_of(&field)),
    }
}

/// Returns whether an expression is a literal or a parameter, which has the type of what it stands beside.
fn is_open(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, None) => {
            value.is_null() || matches!(value, ScalarValue::Utf8(_) | ScalarValue::Utf8View(_))
        }
        Expr::Placeholder(_) => true,
        _ => false,
    }
}

fn call(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    scalars::call(name, arguments).ok_or_else(|| Error::internal(format!("there is no {name}")))
}

/// Makes `jsonb` of a literal, a parameter, a text, or of what is one in one of its branches.
fn as_jsonb(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let known = expr.to_field(schema).ok().and_then(|(_, field)| style_of(&field));
    match (known, &expr) {
        (Some(Style::Jsonb), _) => Ok(expr),
        (_, Expr::Placeholder(_)) => {
            let text = datafusion::arrow::datatypes::DataType::Utf8;
            let cast = datafusion::logical_expr::expr::Cast::new(Box::new(expr), text);
            call("jsonb", vec![Expr::Cast(cast)])
        }
        _ => call("jsonb", vec![expr]),
    }
}

/// Returns the name of an expression's type, as an error has it.
fn type_name(expr: &Expr, schema: &DFSchema) -> String {
    if let Some(style) = mark_of(expr, schema) {
        return style.name().to_owned();
    }
    match expr.to_field(schema) {
        _ if is_open(expr) => "unknown".to_owned(),
        Ok((_, field)) => crate::system::types::regtype_name(field.data_type()),
        Err(_) => "unknown".to_owned(),
    }
}

/// 42883, as PostgreSQL has it for an operator that types do not have.
fn no_operator(left: &str, op: &str, right: &str) -> Error {
    let what = format!("operator does not exist: {left} {op} {right}");
    let hint = match left == "json" || right == "json" {
        true => "json has few operators. CAST it to jsonb.",
        false => "CAST one side to the type of the other.",
    };
    Error::new(ErrorKind::UndefinedFunction, what).with_hint(hint)
}
