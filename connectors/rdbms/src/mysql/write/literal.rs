//! Arrow arrays as the literals of an `INSERT`, as a session with a plain `sql_mode` reads them, or as the fields of a `LOAD DATA`.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64NanosecondType, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use maru_core::{Error, Result};

use crate::mysql::types::{Kind, Mapping, Selected};
use crate::render::exact;
use crate::values::Misfit;

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// In a statement.
    Literal,
    /// In a line of fields with tabs between them, escaped by backslashes. What a field cannot say is put together by [`loaded`].
    Field,
}

/// Returns what becomes of a field that is read as text; `None` if it is the value as it stands.
pub(super) fn loaded(mapping: &Mapping, field: &str) -> Option<String> {
    match (mapping.kind, mapping.selected) {
        (_, Selected::WellKnownText) => Some(format!("ST_GeomFromText({field})")),
        (Kind::Bytes, _) => Some(format!("UNHEX({field})")),
        (Kind::Flag | Kind::Bits { .. }, _) => Some(format!("CAST({field} AS UNSIGNED)")),
        _ => None,
    }
}

/// Appends the value of a row.
///
/// # Errors
/// What MySQL cannot hold; XX000 for an array that has not the type of its kind.
pub(super) fn write(
    array: &ArrayRef,
    mapping: &Mapping,
    row: usize,
    style: Style,
    out: &mut String,
) -> Result<Result<(), Misfit>> {
    let is_field = style == Style::Field;
    if array.is_null(row) {
        out.push_str(if is_field { "\\N" } else { "NULL" });
        return Ok(Ok(()));
    }
    let quote = if is_field { "" } else { "'" };
    let other = || Error::internal("a column to write has another type than was agreed");
    macro_rules! number {
        ($type:ty) => {
            array.as_primitive_opt::<$type>().ok_or_else(other)?.value(row)
        };
    }
    match mapping.kind {
        Kind::Bool | Kind::Flag => {
            out.push(if array.as_boolean_opt().ok_or_else(other)?.value(row) { '1' } else { '0' });
        }
        Kind::Int2 { unsigned: false } => push(out, number!(Int16Type)),
        Kind::Int2 { unsigned: true } | Kind::Int4 { unsigned: false } | Kind::Year => {
            push(out, number!(Int32Type));
        }
        Kind::Int4 { unsigned: true }
        | Kind::Int8 { unsigned: false }
        | Kind::Bits { wide: false } => push(out, number!(Int64Type)),
        Kind::Int8 { unsigned: true } | Kind::Bits { wide: true } | Kind::Decimal { .. } => {
            let decimals = array.as_primitive_opt::<Decimal128Type>().ok_or_else(other)?;
            let scale = u8::try_from(decimals.scale()).map_err(|_| other())?;
            out.push_str(&exact(decimals.value(row), scale));
        }
        // As the double that is exactly this float.
        Kind::Float => return Ok(float(out, f64::from(number!(Float32Type)))),
        Kind::Double => return Ok(float(out, number!(Float64Type))),
        Kind::Text => {
            let text = array.as_string_opt::<i32>().ok_or_else(other)?.value(row);
            match mapping.selected {
                _ if is_field => escaped(out, text),
                Selected::WellKnownText => {
                    out.push_str("ST_GeomFromText(");
                    quoted(out, text);
                    out.push(')');
                }
                _ => quoted(out, text),
            }
        }
        Kind::Bytes => {
            let bytes = array.as_binary_opt::<i32>().ok_or_else(other)?.value(row);
            out.push_str(if is_field { "" } else { "x'" });
            for byte in bytes {
                push_hex(out, *byte);
            }
            out.push_str(if is_field { "" } else { "'" });
        }
        Kind::Date => {
            out.push_str(quote);
            let date = NaiveDate::from_epoch_days(number!(Date32Type));
            return Ok(match date.filter(|date| (1..=9999).contains(&date.year())) {
                Some(date) => {
                    date_of(out, date);
                    out.push_str(quote);
                    Ok(())
                }
                None => Err(no_year("date")),
            });
        }
        Kind::Time => {
            out.push_str(quote);
            let written = time(out, number!(Time64NanosecondType));
            out.push_str(quote);
            return Ok(written);
        }
        Kind::Datetime | Kind::Timestamp => {
            out.push_str(quote);
            let at = DateTime::from_timestamp_micros(number!(TimestampMicrosecondType));
            let at = at.map(|at| at.naive_utc());
            return Ok(match at.filter(|at| (1..=9999).contains(&at.year())) {
                Some(at) => {
                    date_of(out, at.date());
                    out.push(' ');
                    clock(out, at.hour(), at.minute(), at.second(), at.nanosecond() / 1000);
                    out.push_str(quote);
                    Ok(())
                }
                None => Err(no_year("time")),
            });
        }
    }
    Ok(Ok(()))
}

fn push(out: &mut String, n: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{n}");
}

fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

fn float(out: &mut String, n: f64) -> Result<(), Misfit> {
    if !n.is_finite() {
        let name = if n.is_nan() { "NaN" } else { "infinite" };
        return Err(Misfit::out_of_range(format!("is {name}, which MySQL does not know"))
            .with_hint("Turn such values into NULL, such as by nullif(x, 'NaN')."));
    }
    let _ = write!(out, "{n:e}");
    Ok(())
}

/// Appends text as a literal.
pub(super) fn quoted(out: &mut String, text: &str) {
    out.push('\'');
    with_escapes(out, text, |byte| match byte {
        b'\'' => Some("\\'"),
        b'\\' => Some("\\\\"),
        0 => Some("\\0"),
        _ => None,
    });
    out.push('\'');
}

/// Appends text as a field.
fn escaped(out: &mut String, text: &str) {
    with_escapes(out, text, |byte| match byte {
        b'\t' => Some("\\t"),
        b'\n' => Some("\\n"),
        b'\\' => Some("\\\\"),
        0 => Some("\\0"),
        _ => None,
    });
}

fn with_escapes(out: &mut String, text: &str, escape: impl Fn(u8) -> Option<&'static str>) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let Some(escaped) = escape(byte) else { continue };
        out.push_str(&text[plain..at]);
        out.push_str(escaped);
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
}

fn no_year(what: &str) -> Misfit {
    Misfit::datetime(format!("is a {what} before the year 1 or after 9999"))
}

fn date_of(out: &mut String, date: NaiveDate) {
    let _ = write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
}

fn clock(out: &mut String, hour: u32, minute: u32, second: u32, micros: u32) {
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
}

fn time(out: &mut String, nanos: i64) -> Result<(), Misfit> {
    if nanos % 1000 != 0 {
        return Err(Misfit::datetime("has parts of a microsecond"));
    }
    let micros = u64::try_from(nanos / 1000).ok().filter(|micros| *micros < 86_400_000_000);
    let micros = micros.ok_or_else(|| Misfit::datetime("is no time of day"))?;
    // Less than a day: all of them fit.
    let (seconds, micros) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
    clock(out, seconds / 3600, seconds / 60 % 60, seconds % 60, micros);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_was() {
        let mut out = String::new();
        quoted(&mut out, "it's \\ a\0b 한글😀");
        assert_eq!(out, "'it\\'s \\\\ a\\0b 한글😀'");
    }

    #[test]
    fn floats_are_exact_and_times_of_one_day() {
        let mut out = String::new();
        float(&mut out, f64::from(0.1_f32)).unwrap();
        assert_eq!(out.parse::<f64>().unwrap() as f32, 0.1_f32);
        assert!(float(&mut out, f64::NAN).is_err());
        out.clear();
        time(&mut out, 86_399_999_999_000).unwrap();
        assert_eq!(out, "23:59:59.999999");
        assert!(time(&mut out, 86_400_000_000_000).is_err() && time(&mut out, 1).is_err());
    }
}
