//! JSON in the syntax tree: casts to `json` and `jsonb`, and `json_agg` and its like, which are arrays of JSON values put together
//! (`scalars/json/make.rs`). Operators wait for the types of their sides (`session/json/operators.rs`).
//!
//! Branches of `CASE` and `coalesce` are JSON as a whole if the text says so of one: the planner would forget it.

use maru_core::{Error, Result};
use maru_sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Parens, SelectItem, SetExpr, Value,
};

use super::literal;
use super::literals::call;
use crate::session::scalars::{self, Gives};

/// Aggregates, what each of their values becomes, and what all of them become.
const AGGREGATES: &[(&str, &str, &str)] = &[
    ("json_agg", "json_element", "json_of_elements"),
    ("jsonb_agg", "to_jsonb", "jsonb_of_elements"),
    ("json_object_agg", "json_pair", "json_of_pairs"),
    ("jsonb_object_agg", "jsonb_pair", "jsonb_of_pairs"),
];

/// Functions that give one of their arguments.
const BRANCHES: &[&str] = &["coalesce", "nullif"];

/// Changes one cast or call.
///
/// # Errors
/// 0A000 for an aggregate of `*`, and for functions that make rows of a type of the catalog.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Cast { kind, expr: inner, data_type, .. } => {
            let Some(function) = name_of(data_type) else { return Ok(()) };
            *data_type = DataType::Text;
            if *kind != CastKind::Cast && *kind != CastKind::DoubleColon {
                return Ok(());
            }
            let mut bare = inner.as_ref();
            while let Expr::Nested(nested) = bare {
                bare = nested;
            }
            // What has no type yet is a text.
            let is_open = matches!(bare, Expr::Value(value)
                if matches!(value.value, Value::Placeholder(_) | Value::Null));
            *expr = call(function, vec![if is_open { expr.clone() } else { (**inner).clone() }]);
        }
        Expr::TypedString(typed) => {
            if let Some(function) = name_of(&typed.data_type) {
                *expr = call(function, vec![Expr::Value(typed.value.clone())]);
            }
        }
        Expr::Case { conditions, else_result, .. } => {
            let branches = || {
                let thens = conditions.iter().map(|when| &when.result);
                thens.chain(else_result.as_deref())
            };
            let Some(style) = branches().find_map(json_of) else { return Ok(()) };
            let thens = conditions.iter_mut().map(|when| &mut when.result);
            thens.chain(else_result.as_deref_mut()).for_each(|branch| settle(branch, style));
            *expr = call(mark_of(style), vec![expr.clone()]);
        }
        Expr::Function(function) => {
            return function_call(function).map(|changed| {
                if let Some(changed) = changed {
                    *expr = changed;
                }
            });
        }
        _ => {}
    }
    Ok(())
}

fn function_call(function: &mut Function) -> Result<Option<Expr>> {
    let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else { return Ok(None) };
    let called = ident.value.to_lowercase();
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    if let Some((_, each, all)) = AGGREGATES.iter().find(|(known, ..)| *known == called) {
        let values = std::mem::take(&mut list.args).into_iter().map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Ok(value),
            _ => Err(Error::unsupported(format!("{called} takes values, no names and no *"))),
        });
        let value = call(each, values.collect::<Result<Vec<_>>>()?);
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("array_agg"))]);
        return Ok(Some(call(all, vec![Expr::Function(function.clone())])));
    }
    if called.contains("populate_record") && called.starts_with("json") {
        return Err(Error::unsupported(format!("{called} is not supported"))
            .with_hint("Use jsonb_to_recordset(doc) AS t (name type, …) in FROM."));
    }
    if !BRANCHES.contains(&called.as_str()) {
        return Ok(None);
    }
    let mut values = list.args.iter_mut().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    });
    let Some(style) = values.find_map(|value| json_of(value)) else { return Ok(None) };
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument {
            settle(value, style);
        }
    }
    Ok(Some(call(mark_of(style), vec![Expr::Function(function.clone())])))
}

/// Returns the function that makes a value of a type.
fn name_of(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::JSON => Some("json"),
        DataType::JSONB => Some("jsonb"),
        _ => None,
    }
}

fn mark_of(style: Gives) -> &'static str {
    if style == Gives::Jsonb { "jsonb_mark" } else { "json_mark" }
}

/// Makes JSON of a literal that stands beside some.
fn settle(value: &mut Expr, style: Gives) {
    if literal(value).is_some() {
        let function = if style == Gives::Jsonb { "jsonb" } else { "json" };
        *value = call(function, vec![value.clone()]);
    }
}

/// Makes a column of VALUES JSON as a whole, if it is in one of its rows.
pub(super) fn values(rows: &mut [Parens<Vec<Expr>>]) {
    let width = rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
    for at in 0..width {
        let cells = || rows.iter().filter_map(|row| row.content.get(at));
        let Some(style) = cells().find_map(json_of) else { continue };
        for cell in rows.iter_mut().filter_map(|row| row.content.get_mut(at)) {
            if json_of(cell).is_none() {
                let function = if style == Gives::Jsonb { "jsonb" } else { "json" };
                let text = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(cell.clone()),
                    data_type: DataType::Text,
                    array: false,
                    format: None,
                };
                *cell = call(function, vec![text]);
            }
        }
    }
}

/// Returns which JSON an expression is, as far as its text tells.
fn json_of(expr: &Expr) -> Option<Gives> {
    match expr {
        Expr::Nested(inner) => json_of(inner),
        Expr::Function(function) => {
            let FunctionArguments::List(list) = &function.args else { return None };
            match scalars::gives_json(&function.name.to_string().to_lowercase()) {
                Gives::Other => None,
                Gives::AsFirst | Gives::Same => match list.args.first() {
                    Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => json_of(first),
                    _ => None,
                },
                style => Some(style),
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Arrow | BinaryOperator::HashArrow, .. } => {
            json_of(left)
        }
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(only) | SelectItem::ExprWithAlias { expr: only, .. }] => {
                    json_of(only)
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
