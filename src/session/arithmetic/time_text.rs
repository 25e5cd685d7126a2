//! Texts of times as PostgreSQL reads them: `235959` and `2359` are without colons, `1:2:3` without zeros, and what is behind a
//! microsecond is rounded. The engine underneath takes a number alone for nanoseconds, and cuts off.
//!
//! Source: PostgreSQL 16, table 8.11.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Returns whether texts are read as this type here.
pub(super) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// Reads texts as times. With `try_cast` those that are none are NULL.
///
/// # Errors
/// 22007 for the first that is none, 22008 for one whose fields are out of range.
pub(super) fn times(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    let texts = cast_with_options(texts, &DataType::Utf8, &options)?;
    let written = texts.as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        match micros(text) {
            Some(micros) => Ok(Some(Cow::Owned(spelled(micros)))),
            // With words, a zone, or fields out of range: the cast knows.
            None if text.contains(':') => Ok(Some(Cow::Borrowed(text))),
            None if try_cast => Ok(None),
            None => Err(Error::new(
                ErrorKind::InvalidDatetime,
                format!("invalid input syntax for type time: \"{text}\""),
            )),
        }
    });
    let written: ArrayRef = Arc::new(written.collect::<Result<StringArray>>()?);
    Ok(cast_with_options(&written, target, &options)?)
}

/// Returns a time with colons and microseconds; `None` for a text that is none, or has words, a zone or other parts.
pub(crate) fn in_full(text: &str) -> Option<String> {
    micros(text).map(spelled)
}

fn spelled(micros: u64) -> String {
    let (hours, minutes) = (micros / HOUR, micros % HOUR / MINUTE);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", micros % MINUTE / SECOND, micros % SECOND)
}

/// Reads `10:00`, `1:2:3.5`, `101112` and `1011`.
fn micros(text: &str) -> Option<u64> {
    let text = text.trim();
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fields = match clock.contains(':') {
        true => clock.split(':').collect::<Vec<_>>(),
        false if matches!(clock.len(), 4 | 6) && clock.is_ascii() => {
            (0..clock.len()).step_by(2).filter_map(|at| clock.get(at..at + 2)).collect()
        }
        false => return None,
    };
    let digits = |field: &&str| {
        let is_number = (1..=2).contains(&field.len()) && field.bytes().all(|b| b.is_ascii_digit());
        if is_number { field.parse::<u64>().ok() } else { None }
    };
    let fields = fields.iter().map(digits).collect::<Option<Vec<_>>>()?;
    let (hours, minutes, seconds) = match fields.as_slice() {
        [hours, minutes] if fraction.is_empty() => (*hours, *minutes, 0),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let is_fraction = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if hours > 23 || minutes > 59 || seconds > 59 || !is_fraction {
        return None;
    }
    let part = format!("0.{fraction}0").parse::<f64>().ok()?;
    let part = (part * SECOND as f64).round_ties_even() as u64;
    let micros = hours * HOUR + minutes * MINUTE + seconds * SECOND + part;
    // The last microsecond rounded up is midnight, for which there is no time.
    (micros < 24 * HOUR).then_some(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("235959", Some("23:59:59.000000")),
            ("2359", Some("23:59:00.000000")),
            (" 10:00 ", Some("10:00:00.000000")),
            ("1:2:3", Some("01:02:03.000000")),
            ("10:00:00.9999999", Some("10:00:01.000000")),
            ("10:00:00.123456789", Some("10:00:00.123457")),
            ("101112.5", Some("10:11:12.500000")),
            ("10", None),
            ("25:00", None),
            ("10:00 PM", None),
            ("10:00.5", None),
        ] {
            assert_eq!(micros(text).map(spelled).as_deref(), expected, "{text}");
        }
    }
}
