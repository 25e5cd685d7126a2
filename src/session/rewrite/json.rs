//! JSON, which is text here: `->`, `->>`, `#>`, `#>>` and the functions of the same meaning read a part of it.
//!
//! What is no JSON, or has no such part, gives NULL. A cast to `json` or `jsonb` is a cast to text: spaces and the order of keys
//! stay as they are.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    BinaryOperator, DataType, Expr, Function, Ident, ObjectName, ObjectNamePart, Value,
};

use super::literal;
use super::literals::call;
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
            *expr = call(function, of.chain(parts).collect());
        }
        Expr::Cast { data_type: data_type @ (DataType::JSON | DataType::JSONB), .. } => {
            *data_type = DataType::Text;
        }
        Expr::Function(Function { name, .. }) => {
            let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Ok(()) };
            let called = ident.value.to_lowercase();
            if let Some((_, other)) = NAMES.iter().find(|(known, _)| *known == called) {
                *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*other))]);
            }
        }
        _ => {}
    }
    Ok(())
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
