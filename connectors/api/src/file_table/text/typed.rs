//! What a text is as a value of its column's type, the same in external tables as in `COPY … FROM`.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::FormatOptions;
use maru_core::{Error, ErrorKind, Result};

use super::json;
use crate::file_table::type_name;
use crate::value_text::read_bytea;

/// Reads texts (`Utf8`) as values of a type.
///
/// # Errors
/// 22P02, 22003 and 22007 for a text that is no such value, without the place where it stands.
pub(super) fn read(texts: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    use DataType as D;
    match data_type {
        D::Binary | D::LargeBinary | D::BinaryView => cast(&bytes(texts)?, data_type),
        D::List(_) | D::Struct(_) | D::Map(..) => json::nested(texts.as_string(), data_type),
        D::Timestamp(_, None) => cast(&without_zones(texts), data_type),
        D::Float32 | D::Float64 => finite(texts, cast(texts, data_type)?),
        _ => cast(texts, data_type),
    }
}

fn cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    Ok(cast_with_options(array, data_type, &options)?)
}

/// A cast would take the letters themselves for the bytes.
fn bytes(texts: &ArrayRef) -> Result<ArrayRef> {
    let read = |text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => read_bytea(text).map(Some).ok_or_else(|| {
            let what = format!("invalid input syntax for type bytea: \"{text}\"");
            Error::new(ErrorKind::InvalidText, what)
        }),
    };
    let bytes = texts.as_string::<i32>().iter().map(read).collect::<Result<BinaryArray>>()?;
    Ok(Arc::new(bytes))
}

/// Leaves out the zones behind times of a type that has none, as PostgreSQL does: a cast would turn to another hour by them.
fn without_zones(texts: &ArrayRef) -> ArrayRef {
    let strings = texts.as_string::<i32>();
    if strings.iter().flatten().all(|text| zone(text).is_none()) {
        return Arc::clone(texts);
    }
    Arc::new(strings.iter().map(|text| text.map(without_zone)).collect::<StringArray>())
}

fn without_zone(text: &str) -> &str {
    match zone(text).and_then(|at| text.get(..at)) {
        Some(time) => time.trim_end(),
        None => text,
    }
}

/// Returns where the zone behind a time begins.
fn zone(text: &str) -> Option<usize> {
    let time = text.find(':')?;
    let rest = text.get(time..)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))?;
    let zone = rest.get(end..)?.trim();
    let is_zone = zone.eq_ignore_ascii_case("z") || zone.parse::<Tz>().is_ok();
    is_zone.then_some(time + end)
}

/// Numbers that are too large become infinite in a cast; only the word for it is.
fn finite(texts: &ArrayRef, values: ArrayRef) -> Result<ArrayRef> {
    let strings = texts.as_string::<i32>();
    let infinite = |row: usize| match values.data_type() {
        DataType::Float32 => values.as_primitive::<Float32Type>().value(row).is_infinite(),
        _ => values.as_primitive::<Float64Type>().value(row).is_infinite(),
    };
    let is_word = |row: usize| strings.value(row).contains(['n', 'N']);
    match (0..values.len()).find(|row| values.is_valid(*row) && infinite(*row) && !is_word(*row)) {
        None => Ok(values),
        Some(row) => {
            let (text, name) = (strings.value(row), type_name(values.data_type()));
            let what = format!("\"{text}\" is out of range for type {name}");
            Err(Error::new(ErrorKind::OutOfRange, what))
        }
    }
}
