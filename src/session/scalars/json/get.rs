//! Parts of JSON: `->`, `->>`, `#>`, `#>>` and the functions of the same meaning.
//!
//! A part of `json` is the piece of its text, blanks and all. What is not there is NULL.

use std::borrow::Cow;

use datafusion::common::ScalarValue;
use maru_core::Result;

use super::super::{Kind as Takes, Row, RowFunction};
use super::read::{self, Kind, unquoted};
use super::{Gives, text};

const AT: RowFunction = RowFunction {
    forms: &[&[Takes::Text, Takes::Whole], &[Takes::Text, Takes::Text]],
    ..RowFunction::BASE
};
const AT_PATH: RowFunction =
    RowFunction { forms: &[&[Takes::Text, Takes::Path]], ..RowFunction::BASE };
const AT_KEYS: RowFunction =
    RowFunction { forms: &[&[Takes::Text, Takes::Text]], variadic: true, ..RowFunction::BASE };

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "json_get_part",
        json: Gives::AsFirst,
        compute: |row| written(at(row)?),
        syntax: "json -> key",
        description: "Returns the value of a key, or the element of a number, which -> calls.",
        ..AT
    },
    RowFunction {
        name: "json_get_part_text",
        compute: |row| as_text(at(row)?),
        syntax: "json ->> key",
        description: "Returns the value of a key, or the element of a number, as text, which ->> calls.",
        ..AT
    },
    RowFunction {
        name: "jsonb_get_part",
        json: Gives::Jsonb,
        compute: |row| written(at_jsonb(row)?),
        syntax: "jsonb -> key",
        description: "Returns the value of a key, or the element of a number, which -> calls.",
        ..AT
    },
    RowFunction {
        name: "jsonb_get_part_text",
        compute: |row| as_text(at_jsonb(row)?),
        syntax: "jsonb ->> key",
        description: "Returns the value of a key, or the element of a number, as text, which ->> calls.",
        ..AT
    },
    RowFunction {
        name: "json_get_path",
        json: Gives::AsFirst,
        compute: |row| written(at_path(row.text(0), &row.texts(1)?)?),
        syntax: "json #> '{a,b}'",
        description: "Returns what stands at the end of a path, which #> calls.",
        ..AT_PATH
    },
    RowFunction {
        name: "json_get_path_text",
        compute: |row| as_text(at_path(row.text(0), &row.texts(1)?)?),
        syntax: "json #>> '{a,b}'",
        description: "Returns what stands at the end of a path as text, which #>> calls.",
        ..AT_PATH
    },
    RowFunction {
        name: "json_extract_path",
        json: Gives::Json,
        compute: |row| written(at_path(row.text(0), &keys(row))?),
        syntax: "json_extract_path(json, key, …)",
        description: "Returns what stands at the end of a path of keys.",
        ..AT_KEYS
    },
    RowFunction {
        name: "json_extract_path_text",
        aliases: &["jsonb_extract_path_text"],
        compute: |row| {
            let of = if is_jsonb(row) { row.jsonb_text(0)? } else { Cow::Borrowed(row.text(0)) };
            as_text(at_path(&of, &keys(row))?)
        },
        syntax: "json_extract_path_text(json, key, …)",
        description: "Returns what stands at the end of a path of keys as text.",
        ..AT_KEYS
    },
    RowFunction {
        name: "jsonb_extract_path",
        json: Gives::Jsonb,
        compute: |row| written(at_path(&row.jsonb_text(0)?, &keys(row))?),
        syntax: "jsonb_extract_path(jsonb, key, …)",
        description: "Returns what stands at the end of a path of keys.",
        ..AT_KEYS
    },
];

fn is_jsonb(row: &Row) -> bool {
    row.fields.first().is_some_and(|f| super::style_of(f) == Some(super::Style::Jsonb))
}

fn keys(row: &Row) -> Vec<Option<String>> {
    (1..row.values.len()).map(|at| Some(row.text(at).to_owned())).collect()
}

fn at<'a>(row: &'a Row) -> Result<Option<&'a str>> {
    let of = row.text(0);
    match &row.values[1] {
        ScalarValue::Int64(Some(index)) => element(of, *index),
        _ => member(of, row.text(1)),
    }
}

/// A scalar of `jsonb` is the one element of an array here, as PostgreSQL keeps it.
fn at_jsonb<'a>(row: &'a Row) -> Result<Option<&'a str>> {
    if let ScalarValue::Int64(Some(0 | -1)) = &row.values[1]
        && let (kind, of) = read::whole(row.text(0))?
        && kind.is_scalar()
    {
        return Ok(Some(of));
    }
    at(row)
}

fn written(part: Option<&str>) -> Result<ScalarValue> {
    Ok(part.map_or(ScalarValue::Null, text))
}

/// The part as text: a string without its quotes, NULL for null.
pub(super) fn plain(part: &str) -> Result<Option<Cow<'_, str>>> {
    Ok(match part.as_bytes().first() {
        Some(b'"') => Some(Cow::Owned(unquoted(part)?)),
        Some(b'n') => None,
        _ => Some(Cow::Borrowed(part)),
    })
}

fn as_text(part: Option<&str>) -> Result<ScalarValue> {
    let plain = part.map(plain).transpose()?.flatten();
    Ok(plain.map_or(ScalarValue::Null, text))
}

/// Returns the value of a key: of several of one key the last.
pub(super) fn member<'a>(of: &'a str, key: &str) -> Result<Option<&'a str>> {
    let (kind, of) = read::whole(of)?;
    if kind != Kind::Object {
        return Ok(None);
    }
    let mut found = None;
    for (known, value) in read::members(of)? {
        if is_key(known, key) {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Compares a key in quotes with a text.
fn is_key(quoted: &str, key: &str) -> bool {
    match quoted.contains('\\') {
        true => unquoted(quoted).is_ok_and(|known| known == key),
        false => quoted.get(1..quoted.len() - 1) == Some(key),
    }
}

/// Returns an element; negative numbers count from the end.
pub(super) fn element(of: &str, index: i64) -> Result<Option<&str>> {
    let (kind, of) = read::whole(of)?;
    if kind != Kind::Array {
        return Ok(None);
    }
    let items = read::elements(of)?;
    let from_start = if index < 0 { index + items.len() as i64 } else { index };
    Ok(usize::try_from(from_start).ok().and_then(|at| items.get(at).copied()))
}

/// Follows a path, in whose places keys and the numbers of elements are texts alike.
fn at_path<'a>(of: &'a str, path: &[Option<String>]) -> Result<Option<&'a str>> {
    let (mut kind, mut part) = read::whole(of)?;
    for step in path {
        let Some(step) = step else { return Ok(None) };
        let found = match kind {
            Kind::Object => member(part, step)?,
            Kind::Array => match step.trim().parse::<i32>() {
                Ok(index) => element(part, i64::from(index))?,
                Err(_) => None,
            },
            _ => None,
        };
        let Some(found) = found else { return Ok(None) };
        (kind, part) = read::whole(found)?;
    }
    Ok(Some(part))
}
