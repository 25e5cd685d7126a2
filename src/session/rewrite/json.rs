//! JSON, which is text here: `->`, `->>`, `#>`, `#>>` and the functions of the same meaning read a part of it.
//!
//! What is no JSON, or has no such part, gives NULL. A cast to `json` or `jsonb` checks a text and leaves it as it is: spaces and
//! the order of keys stay. `json_agg` and its like are arrays of JSON values, put together (`scalars/json.rs`).

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Parens, Value,
};

use super::literal;
use super::literals::call;
use crate::session::scalars;
use crate::value_text::{Item, parse_array};

/// The parts as they are written.
const JSON: &str = "json_get_json";
/// The parts as text: a string without its quotes, NULL for null.
const TEXT: &str = "json_as_text";

/// PostgreSQL's names and the ones underneath.
const NAMES: &[(&str, &str)] = &[
    ("json_extract_path", JSON),
    ("jsonb_extract_path", JSON),
    ("json_extract_path_text", TEXT),
    ("jsonb_extract_path_text", TEXT),
    ("json_array_length", "json_length"),
    ("jsonb_array_length", "json_length"),
];

/// What says that a text is JSON.
const PART: &str = "json_part";

/// Aggregates, what each of their values becomes, and what all of them become.
const AGGREGATES: &[(&str, &str, &str)] = &[
    ("json_agg", "to_json", "json_of_elements"),
    ("jsonb_agg", "to_jsonb", "json_of_elements"),
    ("json_object_agg", "json_pair", "json_of_pairs"),
    ("jsonb_object_agg", "jsonb_pair", "jsonb_of_pairs"),
];

/// Changes one operator, cast or call.
///
/// # Errors
/// 0A000 for a path that is no literal, 22P02 for one that is none.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let (function, parts) = match op {
                BinaryOperator::Arrow => (JSON, vec![(**right).clone()]),
                BinaryOperator::LongArrow => (TEXT, vec![(**right).clone()]),
                BinaryOperator::HashArrow => (JSON, path(right)?),
                BinaryOperator::HashLongArrow => (TEXT, path(right)?),
                _ => return Ok(()),
            };
            let of = std::iter::once((**left).clone());
            let part = call(function, of.chain(parts).collect());
            *expr = if function == JSON { call(PART, vec![part]) } else { part };
        }
        Expr::Cast { kind, data_type: data_type @ (DataType::JSON | DataType::JSONB), .. } => {
            *data_type = DataType::Text;
            if *kind == CastKind::Cast || *kind == CastKind::DoubleColon {
                *expr = call("json", vec![expr.clone()]);
            }
        }
        Expr::Function(Function { name, args, .. }) => {
            let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Ok(()) };
            let called = ident.value.to_lowercase();
            if let Some((_, each, all)) = AGGREGATES.iter().find(|(known, ..)| *known == called) {
                let FunctionArguments::List(list) = args else { return Ok(()) };
                let values = std::mem::take(&mut list.args);
                let values = values.into_iter().map(|argument| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Ok(value),
                    _ => {
                        Err(Error::unsupported(format!("{called} takes values, no names and no *")))
                    }
                });
                let value = call(each, values.collect::<Result<Vec<_>>>()?);
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
                *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("array_agg"))]);
                *expr = call(all, vec![expr.clone()]);
            } else if let Some((_, other)) = NAMES.iter().find(|(known, _)| *known == called) {
                *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*other))]);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Makes a column of VALUES JSON as a whole, if it is in one of its rows.
pub(super) fn values(rows: &mut [Parens<Vec<Expr>>]) {
    let width = rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
    for at in 0..width {
        let cells = || rows.iter().filter_map(|row| row.content.get(at));
        if !cells().any(is_json) || cells().all(is_json) {
            continue;
        }
        for cell in rows.iter_mut().filter_map(|row| row.content.get_mut(at)) {
            if !is_json(cell) {
                *cell = call("json", vec![cell.clone()]);
            }
        }
    }
}

fn is_json(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_json(inner),
        Expr::Function(function) => scalars::gives_json(&function.name.to_string()),
        _ => false,
    }
}

/// Reads `'{a,0,b}'`: keys, and places in arrays.
fn path(expr: &Expr) -> Result<Vec<Expr>> {
    let Some(text) = literal(expr) else {
        return Err(Error::unsupported("#> takes its path as a text literal")
            .with_hint("Write doc #> '{a,b}', or doc -> a -> b."));
    };
    let hint = |error: Error| error.with_hint("A path is written '{a,b}'.");
    let parts = parse_array(text).map_err(hint)?;
    let step = |part: Item| match part {
        Item::Text(part) if part.parse::<i64>().is_ok() => {
            Ok(Expr::value(Value::Number(part, false)))
        }
        Item::Text(part) => Ok(Expr::value(Value::SingleQuotedString(part))),
        Item::Null | Item::Array(_) => {
            let message = format!("malformed array literal: \"{text}\"");
            Err(hint(Error::new(ErrorKind::InvalidText, message)))
        }
    };
    parts.into_iter().map(step).collect()
}
