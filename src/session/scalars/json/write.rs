//! Values of any type written as JSON, as `to_json` does and as clients see rows and maps.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use bytes::BytesMut;
use maru_core::{Error, Result};

use super::style_of;
use super::value::{canonical, numeric};
use crate::value_text::{Zone, put_value};

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Jsonb,
}

impl Style {
    /// The name of the type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        }
    }
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
                _ if is_number => out.push_str(shown),
                _ if style_of(field) == Some(style) || style_of(field) == Some(Style::Jsonb) => {
                    out.push_str(shown);
                }
                _ if style_of(field).is_some() => out.push_str(&canonical(shown)?),
                _ if data_type.is_floating()
                    && shown.bytes().all(|c| !c.is_ascii_alphabetic() || c == b'e') =>
                {
                    match style {
                        Style::Json => out.push_str(shown),
                        Style::Jsonb => out.push_str(&numeric(shown)?),
                    }
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
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    put_quoted(text, &mut out);
    out
}

/// Writes a text in JSON's quotes.
pub(super) fn put_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The pairs of a `jsonb` object: shorter keys first, of several of one key the last.
pub(super) fn ordered(pairs: Vec<(String, String)>) -> String {
    let by_key: BTreeMap<(usize, String), String> =
        pairs.into_iter().map(|(key, pair)| ((key.len(), key), pair)).collect();
    let pairs = by_key.into_values().collect::<Vec<_>>();
    format!("{{{}}}", pairs.join(", "))
}
