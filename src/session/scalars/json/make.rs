//! JSON made of values: `to_json`, `json_build_object`, `json_object`, and what `json_agg` is made of.
//!
//! JSON stands in other JSON as it is; any other text is quoted. NULL of SQL is `null`. `jsonb` has a blank behind commas and
//! colons, and its keys in order, each once.
//!
//! Source: PostgreSQL 15, tables 9.47 and 9.48.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::super::text::text_of;
use super::super::{Kind, Row, RowFunction, invalid};
use super::write::{Style, ordered, put_json, quoted};
use super::{Gives, Json, jsonb, text};
use crate::value_text::{Item, parse_array};

const OF_VALUE: RowFunction =
    RowFunction { forms: &[&[Kind::Any]], json: Gives::Json, ..RowFunction::BASE };
const OF_VALUES: RowFunction = RowFunction { variadic: true, strict: false, ..OF_VALUE };

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "to_json",
        compute: |row| made(row, Style::Json),
        syntax: "to_json(value)",
        description: "Returns a value as JSON.",
        ..OF_VALUE
    },
    RowFunction {
        name: "to_jsonb",
        json: Gives::Jsonb,
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
        json: Gives::Jsonb,
        compute: |row| object(row, Style::Jsonb),
        syntax: "jsonb_build_object(key, value, …)",
        description: "Returns a JSON object of keys and values in turns.",
        ..OF_VALUES
    },
    RowFunction {
        name: "json_build_array",
        compute: |row| array(row, Style::Json),
        syntax: "json_build_array(value, …)",
        description: "Returns a JSON array of the arguments.",
        ..OF_VALUES
    },
    RowFunction {
        name: "jsonb_build_array",
        json: Gives::Jsonb,
        compute: |row| array(row, Style::Jsonb),
        syntax: "jsonb_build_array(value, …)",
        description: "Returns a JSON array of the arguments.",
        ..OF_VALUES
    },
    RowFunction {
        name: "json_object",
        forms: &[&[Kind::Path], &[Kind::Path, Kind::Path]],
        compute: |row| {
            let pairs = text_pairs(row)?.into_iter();
            let pairs = pairs.map(|(key, value)| {
                let value = value.map_or("null".to_owned(), |value| quoted(&value));
                format!("{} : {value}", quoted(&key))
            });
            Ok(text(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))))
        },
        syntax: "json_object(keys and values [, values])",
        description: "Returns a JSON object of texts.",
        ..OF_VALUE
    },
    RowFunction {
        name: "jsonb_object",
        json: Gives::Jsonb,
        forms: &[&[Kind::Path], &[Kind::Path, Kind::Path]],
        compute: |row| {
            let pairs = text_pairs(row)?.into_iter();
            let members = pairs.map(|(key, value)| (key, value.map_or(Json::Null, Json::String)));
            Ok(jsonb(&Json::object(members.collect())))
        },
        syntax: "jsonb_object(keys and values [, values])",
        description: "Returns a JSON object of texts.",
        ..OF_VALUE
    },
    RowFunction {
        name: "json_element",
        json: Gives::Json,
        compute: |row| {
            let line = row.values[0].data_type().is_nested();
            let value = value(row, 0, Style::Json)?;
            Ok(text(if line { format!("{LINE}{value}") } else { value }))
        },
        syntax: "json_agg(value [ORDER BY …])",
        description: "Returns a value as JSON for json_agg, which begins a line before rows and arrays.",
        ..OF_VALUE
    },
    RowFunction {
        name: "json_line",
        json: Gives::Json,
        compute: |row| Ok(text(format!("{LINE}{}", value(row, 0, Style::Json)?))),
        syntax: "json_agg(table)",
        description: "Returns a row as JSON for json_agg, which begins a line before it.",
        ..OF_VALUE
    },
    RowFunction {
        name: "json_row",
        forms: &[&[Kind::Any]],
        compute: |row| {
            let names = (0..row.values.len()).step_by(2);
            let pairs = names.map(|at| {
                let value = value(row, at + 1, Style::Json)?;
                Ok(format!("{}:{value}", quoted(row.text(at))))
            });
            Ok(text(format!("{{{}}}", pairs.collect::<Result<Vec<_>>>()?.join(","))))
        },
        syntax: "row_to_json(table)",
        description: "Returns names and values of columns as a JSON object, which row_to_json of a table calls.",
        ..OF_VALUES
    },
    RowFunction {
        name: "json_whole_row",
        forms: &[&[]],
        json: Gives::Json,
        compute: |_| Err(Error::unsupported("a whole row cannot stand here")),
        syntax: "row_to_json(table)",
        description: "Stands for the columns of a table until they are known.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_row_of",
        forms: &[&[Kind::Any, Kind::Text]],
        json: Gives::AsFirst,
        compute: |_| Err(Error::unsupported("a whole row cannot stand here")),
        syntax: "row_to_json(table)",
        description: "Stands for a table's row or the column of its name until the columns are known.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_of_elements",
        forms: &[&[Kind::Array]],
        json: Gives::Json,
        compute: elements,
        syntax: "json_agg(value [ORDER BY …])",
        description: "Returns an array of JSON values as one, which json_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_of_elements",
        forms: &[&[Kind::Array]],
        json: Gives::Jsonb,
        compute: elements,
        syntax: "jsonb_agg(value [ORDER BY …])",
        description: "Returns an array of jsonb values as one, which jsonb_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_pair",
        strict: false,
        forms: &[&[Kind::Any, Kind::Any]],
        compute: |row| pair(row, Style::Json),
        syntax: "json_object_agg(key, value)",
        description: "Returns a key and a value of an object, which json_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_pair",
        strict: false,
        forms: &[&[Kind::Any, Kind::Any]],
        compute: |row| pair(row, Style::Jsonb),
        syntax: "jsonb_object_agg(key, value)",
        description: "Returns a key and a value of an object, which jsonb_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_of_pairs",
        forms: &[&[Kind::Array]],
        json: Gives::Json,
        compute: |row| Ok(text(format!("{{ {} }}", texts(row)?.join(", ")))),
        syntax: "json_object_agg(key, value)",
        description: "Returns keys and values as one object, which json_object_agg calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_of_pairs",
        forms: &[&[Kind::Array]],
        json: Gives::Jsonb,
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

/// Before an element that `json_agg` begins a line with; no JSON has such a character outside of quotes, and none in them.
const LINE: char = '\u{1}';

fn made(row: &Row, style: Style) -> Result<ScalarValue> {
    value(row, 0, style).map(text)
}

/// Writes an argument.
fn value(row: &Row, at: usize, style: Style) -> Result<String> {
    let mut out = String::new();
    put_json(&row.values[at].to_array()?, 0, &row.fields[at], style, row.zone, &mut out)?;
    Ok(out)
}

fn array(row: &Row, style: Style) -> Result<ScalarValue> {
    let values = (0..row.values.len()).map(|at| value(row, at, style));
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
    let mut out = String::from("[");
    for (at, item) in texts(row)?.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        match item.strip_prefix(LINE) {
            Some(item) => {
                out.push_str(if at > 0 { "\n " } else { "" });
                out.push_str(item);
            }
            None => out.push_str(item),
        }
    }
    out.push(']');
    Ok(text(out))
}

/// Reads `{key,value,…}`, `{{key,value},…}`, or keys and values in two arrays.
fn text_pairs(row: &Row) -> Result<Vec<(String, Option<String>)>> {
    let odd = |what: &str| Error::new(ErrorKind::ArraySubscript, what);
    let (keys, values): (Vec<_>, Vec<_>) = if row.values.len() == 2 {
        let (keys, values) = (row.texts(0)?, row.texts(1)?);
        if keys.len() != values.len() {
            return Err(odd("mismatched array dimensions"));
        }
        (keys, values)
    } else {
        let all = flat(row)?;
        if !all.len().is_multiple_of(2) {
            return Err(odd("array must have even number of elements"));
        }
        all.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip()
    };
    let pair = |(key, value): (Option<String>, _)| {
        let what = "null value not allowed for object key";
        Ok((key.ok_or_else(|| Error::new(ErrorKind::NullNotAllowed, what))?, value))
    };
    keys.into_iter().zip(values).map(pair).collect()
}

/// Returns the elements of an array, or of the pairs that are its elements.
fn flat(row: &Row) -> Result<Vec<Option<String>>> {
    let wrong = || Error::new(ErrorKind::ArraySubscript, "array must have two columns");
    let mut all = Vec::new();
    match &row.values[0] {
        ScalarValue::Utf8(Some(written)) => {
            for item in parse_array(written)? {
                match item {
                    Item::Null => all.push(None),
                    Item::Text(text) => all.push(Some(text)),
                    Item::Array(pair) if pair.len() == 2 => {
                        all.extend(super::items(pair, written)?);
                    }
                    Item::Array(_) => return Err(wrong()),
                }
            }
        }
        ScalarValue::List(list) if list.value_type().is_nested() => {
            let pairs = list.value(0);
            for at in 0..pairs.len() {
                let pair = ScalarValue::try_from_array(&pairs, at)?;
                let ScalarValue::List(pair) = &pair else { return Err(wrong()) };
                let pair = super::text_items(pair)?;
                if pair.len() != 2 {
                    return Err(wrong());
                }
                all.extend(pair);
            }
        }
        _ => all = row.texts(0)?,
    }
    Ok(all)
}
