//! What `jsonb` holds: `@>`, `<@`, `?`, `?|`, `?&`; and what makes `=` compare values.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::Result;

use super::super::{Kind as Takes, Row, RowFunction};
use super::value::equality_key;
use super::{Json, text};

const TRUTH: RowFunction = RowFunction { returns: |_| DataType::Boolean, ..RowFunction::BASE };

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "jsonb_contains",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| truth(contains(&row.json(0)?, &row.json(1)?)),
        syntax: "jsonb @> jsonb",
        description: "Returns whether a value has all that another one has, which @> calls.",
        ..TRUTH
    },
    RowFunction {
        name: "jsonb_contained",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| truth(contains(&row.json(1)?, &row.json(0)?)),
        syntax: "jsonb <@ jsonb",
        description: "Returns whether all that a value has is in another one, which <@ calls.",
        ..TRUTH
    },
    RowFunction {
        name: "jsonb_exists",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| truth(has(&row.json(0)?, row.text(1))),
        syntax: "jsonb ? text",
        description: "Returns whether a text is a key or an element, which ? calls.",
        ..TRUTH
    },
    RowFunction {
        name: "jsonb_exists_any",
        forms: &[&[Takes::Text, Takes::Path]],
        compute: |row| among(row, |found| found.contains(&true)),
        syntax: "jsonb ?| text[]",
        description: "Returns whether any of the texts is a key or an element, which ?| calls.",
        ..TRUTH
    },
    RowFunction {
        name: "jsonb_exists_all",
        forms: &[&[Takes::Text, Takes::Path]],
        compute: |row| among(row, |found| !found.contains(&false)),
        syntax: "jsonb ?& text[]",
        description: "Returns whether all texts are keys or elements, which ?& calls.",
        ..TRUTH
    },
    RowFunction {
        name: "jsonb_equality_key",
        forms: &[&[Takes::Text]],
        compute: |row| equality_key(row.text(0)).map(text),
        syntax: "jsonb = jsonb",
        description: "Returns a text that is the same for equal values, which = and <> compare.",
        ..RowFunction::BASE
    },
];

fn truth(truth: bool) -> Result<ScalarValue> {
    Ok(ScalarValue::Boolean(Some(truth)))
}

fn among(row: &Row, judge: fn(&[bool]) -> bool) -> Result<ScalarValue> {
    let (of, keys) = (row.json(0)?, row.texts(1)?);
    let found = keys.iter().flatten().map(|key| has(&of, key));
    truth(judge(&found.collect::<Vec<_>>()))
}

fn has(of: &Json, key: &str) -> bool {
    let is_key = |item: &Json| matches!(item, Json::String(text) if text == key);
    match of {
        Json::Object(_) => of.get(key).is_some(),
        Json::Array(items) => items.iter().any(is_key),
        scalar => is_key(scalar),
    }
}

/// An array that holds a scalar holds it as if that stood in an array, at the top alone.
fn contains(all: &Json, part: &Json) -> bool {
    match (all, part) {
        (Json::Array(items), part) if part.kind().is_scalar() => {
            items.iter().any(|item| item.equals(part))
        }
        _ => contains_deep(all, part),
    }
}

fn contains_deep(all: &Json, part: &Json) -> bool {
    match (all, part) {
        (Json::Object(_), Json::Object(members)) => members
            .iter()
            .all(|(key, value)| all.get(key).is_some_and(|found| contains_deep(found, value))),
        (Json::Array(items), Json::Array(wanted)) => {
            wanted.iter().all(|wanted| items.iter().any(|item| contains_deep(item, wanted)))
        }
        (all, part) => all.kind() == part.kind() && all.equals(part),
    }
}
