//! JSON made of values: `to_json`, `json_build_object`, and what `json_agg` is made of.
//!
//! JSON is text whose field says so (`arrow.json`), and stands in other JSON as it is; any other text is quoted. NULL of SQL is
//! `null`. `jsonb` has a blank behind commas and colons, and its keys in order, each once.
//!
//! Source: PostgreSQL 16, tables 9.47 and 9.48.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::text::{text, text_of};
use super::{Kind, Row, RowFunction, invalid};
use crate::value_text::{Zone, put_value};

const EXTENSION_KEY: &str = "ARROW:extension:name";
const JSON: &str = "arrow.json";

/// Returns whether values of a column are JSON.
pub(in crate::session) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_KEY).is_some_and(|name| name == JSON)
}

/// Says of a column that its text is JSON.
pub(in crate::session) fn json_field(field: Field) -> Field {
    field.with_metadata(HashMap::from([(EXTENSION_KEY.to_owned(), JSON.to_owned())]))
}

const OF_VALUE: RowFunction =
    RowFunction { forms: &[&[Kind::Any]], json: true, ..RowFunction::BASE };
const OF_VALUES: RowFunction = RowFunction { variadic: true, strict: false, ..OF_VALUE };

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "to_json",
        compute: |row| made(row, Style::Json),
        syntax: "to_json(value)",
        description: "Returns a value as JSON.",
        ..OF_VALUE
    },
    RowFunction {
        name: "to_jsonb",
        compute: |row| made(row, Style::Jsonb),
        syntax: "to_jsonb(value)",
        description: "Returns a value as JSON.",
        ..OF_VALUE
    },
    RowFunction {
        name: "row_to_json",
        compute: |row| match &row.values[0] {
            ScalarValue::Struct(_) => made(row, Style::Json),
            _ => Err(Error::new(ErrorKind::UndefinedFunction, "row_to_json takes a row")
                .with_hint("Write row_to_json(row(a, b)), or json_build_object('a', a, 'b', b).")),
        },
        syntax: "row_to_json(row)",
        description: "Returns a row as a JSON object.",
        ..OF_VALUE
    },
    RowFunction {
        name: "json_build_object",
        compute: |row| object(row, Style::Json),
        syntax: "json_build_object(key, value, …)",
        description: "Returns a JSON object of keys and values in turns.",
        ..OF_VALUES
    },
    RowFunction {
        name: "jsonb_build_object",
        compute: |row| object(row, Style::Jsonb),
        syntax: "jsonb_build_object(key, value, …)",
        description: "Returns a JSON object of keys and values in turns.",
        ..OF_VALUES
    },
    RowFunction {
        name: "json_build_array",
        aliases: &["jsonb_build_array"],
        compute: array,
        syntax: "json_build_array(value, …)",
        description: "Returns a JSON array of the arguments.",
        ..OF_VALUES
    },
    RowFunction {
        name: "json_typeof",
        aliases: &["jsonb_typeof"],
        forms: &[&[Kind::Text]],
        compute: |row| kind(row.text(0)).map(text),
        syntax: "json_typeof(json)",
        description: "Returns object, array, string, number, boolean or null.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_pretty",
        forms: &[&[Kind::Text]],
        compute: |row| pretty(row.text(0)).map(text),
        syntax: "jsonb_pretty(json)",
        description: "Returns JSON with a line for each value, indented.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json",
        forms: &[&[Kind::Text]],
        json: true,
        compute: |row| {
            valid(row.text(0))?;
            Ok(text(row.text(0)))
        },
        syntax: "CAST(text AS json)",
        description: "Returns the text as JSON; 22P02 if it is none.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_part",
        forms: &[&[Kind::Text]],
        json: true,
        compute: |row| Ok(text(row.text(0))),
        syntax: "json -> key",
        description: "Returns a part of JSON, which the operators -> and #> call.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_of_elements",
        forms: &[&[Kind::Array]],
        json: true,
        compute: elements,
        syntax: "json_agg(value [ORDER BY …])",
        description: "Returns an array of JSON values as one, which json_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_pair",
        strict: false,
        json: false,
        forms: &[&[Kind::Any, Kind::Any]],
        compute: |row| pair(row, Style::Json),
        syntax: "json_object_agg(key, value)",
        description: "Returns a key and a value of an object, which json_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_pair",
        strict: false,
        json: false,
        forms: &[&[Kind::Any, Kind::Any]],
        compute: |row| pair(row, Style::Jsonb),
        syntax: "jsonb_object_agg(key, value)",
        description: "Returns a key and a value of an object, which jsonb_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_of_pairs",
        forms: &[&[Kind::Array]],
        json: true,
        compute: |row| Ok(text(format!("{{ {} }}", texts(row)?.join(", ")))),
        syntax: "json_object_agg(key, value)",
        description: "Returns keys and values as one object, which json_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_of_pairs",
        forms: &[&[Kind::Array]],
        json: true,
        compute: |row| {
            let pairs = texts(row)?;
            let keyed = pairs.iter().map(|pair| Ok((key_of(pair)?, pair.clone())));
            Ok(text(ordered(keyed.collect::<Result<Vec<_>>>()?)))
        },
        syntax: "jsonb_object_agg(key, value)",
        description: "Returns keys and values as one object, which jsonb_object_agg calls.",
        ..RowFunction::BASE
    },
];

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Jsonb,
}

fn made(row: &Row, style: Style) -> Result<ScalarValue> {
    value(row, 0, style).map(text)
}

/// Writes an argument.
fn value(row: &Row, at: usize, style: Style) -> Result<String> {
    let mut out = String::new();
    put_json(&row.values[at].to_array()?, 0, &row.fields[at], style, row.zone, &mut out)?;
    Ok(out)
}

fn array(row: &Row) -> Result<ScalarValue> {
    let values = (0..row.values.len()).map(|at| value(row, at, Style::Json));
    Ok(text(format!("[{}]", values.collect::<Result<Vec<_>>>()?.join(", "))))
}

fn object(row: &Row, style: Style) -> Result<ScalarValue> {
    if !row.values.len().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements").with_hint(
            "The arguments of json_build_object() must consist of alternating keys and values.",
        ));
    }
    let mut pairs = Vec::new();
    for at in (0..row.values.len()).step_by(2) {
        let key = key(row, at)?;
        pairs.push((key.clone(), colon(&key, &value(row, at + 1, style)?, style)));
    }
    Ok(text(match style {
        Style::Json => {
            let pairs = pairs.into_iter().map(|(_, pair)| pair).collect::<Vec<_>>();
            format!("{{{}}}", pairs.join(", "))
        }
        Style::Jsonb => ordered(pairs),
    }))
}

fn pair(row: &Row, style: Style) -> Result<ScalarValue> {
    let key = key(row, 0)?;
    Ok(text(colon(&key, &value(row, 1, style)?, style)))
}

fn colon(key: &str, value: &str, style: Style) -> String {
    let blank = if style == Style::Json { " " } else { "" };
    format!("{}{blank}: {value}", quoted(key))
}

fn key(row: &Row, at: usize) -> Result<String> {
    match &row.values[at] {
        value if value.is_null() => {
            Err(invalid(format!("argument {}: key must not be null", at + 1)))
        }
        ScalarValue::List(_) | ScalarValue::Struct(_) => {
            Err(invalid("key value must be scalar, not array, composite, or json"))
        }
        value => text_of(value, row.zone),
    }
}

fn key_of(pair: &str) -> Result<String> {
    let mut parts = serde_json::Deserializer::from_str(pair).into_iter::<String>();
    match parts.next() {
        Some(Ok(key)) => Ok(key),
        _ => Err(Error::internal("a pair has no key")),
    }
}

/// The pairs of a `jsonb` object: shorter keys first, of several of one key the last.
fn ordered(pairs: Vec<(String, String)>) -> String {
    let by_key: BTreeMap<(usize, String), String> =
        pairs.into_iter().map(|(key, pair)| ((key.len(), key), pair)).collect();
    let pairs = by_key.into_values().collect::<Vec<_>>();
    format!("{{{}}}", pairs.join(", "))
}

fn texts(row: &Row) -> Result<Vec<String>> {
    let ScalarValue::List(list) = &row.values[0] else {
        return Err(Error::internal("pairs are an array"));
    };
    let items = list.value(0);
    let items = arrow::compute::cast(&items, &DataType::Utf8)?;
    let items = items.as_string::<i32>();
    Ok(items.iter().map(|item| item.unwrap_or("null").to_owned()).collect())
}

fn elements(row: &Row) -> Result<ScalarValue> {
    Ok(text(format!("[{}]", texts(row)?.join(", "))))
}

/// Writes one value.
pub(crate) fn put_json(
    array: &ArrayRef,
    row: usize,
    field: &Field,
    style: Style,
    zone: &Zone,
    out: &mut String,
) -> Result<()> {
    if array.data_type().is_null() || array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    let blank = if style == Style::Jsonb { " " } else { "" };
    match array.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            let items = items(array, row)?;
            out.push('[');
            for at in 0..items.len() {
                if at > 0 {
                    let _ = write!(out, ",{blank}");
                }
                put_json(&items, at, item, style, zone, out)?;
            }
            out.push(']');
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let [key, value] = [keys, values].map(|c| Field::new("", c.data_type().clone(), true));
            let mut pairs = Vec::with_capacity(entries.len());
            for at in 0..entries.len() {
                let (mut name, mut shown) = (String::new(), String::new());
                put_json(keys, at, &key, style, zone, &mut name)?;
                put_json(values, at, &value, style, zone, &mut shown)?;
                // Numbers are names only in quotes.
                let quotes = !name.starts_with('"');
                let name = if quotes { quoted(&name) } else { name };
                pairs.push((name.clone(), format!("{name}:{blank}{shown}")));
            }
            put_object(pairs, style, out);
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            let mut pairs = Vec::with_capacity(fields.len());
            for (at, (inner, column)) in fields.iter().zip(columns.columns()).enumerate() {
                let mut value = String::new();
                put_json(column, row, inner, style, zone, &mut value)?;
                // A row without names, as PostgreSQL names its parts.
                let name =
                    match inner.name().strip_prefix('c').and_then(|n| n.parse::<usize>().ok()) {
                        Some(number) if number == at => format!("f{}", at + 1),
                        _ => inner.name().clone(),
                    };
                pairs.push((name.clone(), format!("{}:{blank}{value}", quoted(&name))));
            }
            put_object(pairs, style, out);
        }
        data_type => {
            let mut bytes = BytesMut::new();
            // One value alone: to bring a whole column to what can be written for each of its rows would take for ever.
            let plain = arrow_plain(&array.slice(row, 1))?;
            put_value(&plain, 0, zone, &mut bytes)?;
            let shown = std::str::from_utf8(&bytes)
                .map_err(|error| Error::internal("text is not UTF-8").with_cause(error))?;
            let is_number = data_type.is_integer() || data_type.is_decimal();
            match data_type {
                DataType::Boolean => out.push_str(if shown == "t" { "true" } else { "false" }),
                _ if is_number || is_json(field) => out.push_str(shown),
                _ if data_type.is_floating()
                    && shown.bytes().all(|c| !c.is_ascii_alphabetic() || c == b'e') =>
                {
                    out.push_str(shown);
                }
                DataType::Timestamp(_, zoned) => {
                    let mut shown = shown.replacen(' ', "T", 1);
                    // Hours alone are no offset of ISO 8601's extended form.
                    if zoned.is_some()
                        && shown.len() > 3
                        && shown.as_bytes()[shown.len() - 3] != b':'
                    {
                        shown.push_str(":00");
                    }
                    out.push_str(&quoted(&shown));
                }
                _ => out.push_str(&quoted(shown)),
            }
        }
    }
    Ok(())
}

/// Returns what an array holds in one row.
fn items(array: &ArrayRef, row: usize) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(_, _) => array.as_fixed_size_list().value(row),
        DataType::ListView(_) => array.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(row),
        other => return Err(Error::internal(format!("{other} is no array"))),
    })
}

fn put_object(pairs: Vec<(String, String)>, style: Style, out: &mut String) {
    match style {
        Style::Jsonb => out.push_str(&ordered(pairs)),
        Style::Json => {
            let pairs = pairs.into_iter().map(|(_, pair)| pair).collect::<Vec<_>>();
            let _ = write!(out, "{{{}}}", pairs.join(","));
        }
    }
}

/// Brings what [`put_value`] does not take to what it takes.
fn arrow_plain(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Int8 | DataType::UInt8 => arrow::compute::cast(array, &DataType::Int16)?,
        DataType::UInt16 => arrow::compute::cast(array, &DataType::Int32)?,
        DataType::UInt32 => arrow::compute::cast(array, &DataType::Int64)?,
        DataType::Dictionary(_, value) => arrow::compute::cast(array, value)?,
        DataType::Time32(_) | DataType::Time64(_) => {
            arrow::compute::cast(array, &DataType::Time64(arrow::datatypes::TimeUnit::Nanosecond))?
        }
        _ => ArrayRef::clone(array),
    })
}

/// Returns a text in JSON's quotes.
pub(in crate::session) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn valid(text: &str) -> Result<()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut reader).and_then(|_| reader.end()).map_err(|error| {
        Error::new(ErrorKind::InvalidText, "invalid input syntax for type json")
            .with_detail(error.to_string())
    })
}

fn kind(json: &str) -> Result<&'static str> {
    valid(json)?;
    Ok(match json.trim_start().bytes().next() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    })
}

/// Lays out the tokens anew, which keeps numbers as they are.
fn pretty(json: &str) -> Result<String> {
    valid(json)?;
    let mut out = String::new();
    let mut depth = 0_usize;
    let (mut in_string, mut escaped, mut opened) = (false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&" ".repeat(depth * 4));
    };
    for c in json.chars() {
        if in_string {
            out.push(c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
            line(&mut out, depth);
        } else if opened {
            line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        depth += usize::from(opened);
        out.push(c);
        match c {
            '"' => in_string = true,
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    Ok(out)
}
