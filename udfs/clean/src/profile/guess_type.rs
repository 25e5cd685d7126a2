//! The narrowest type that holds every text of a column.

use std::net::IpAddr;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::common::ScalarValue;
use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::Sketch;
use crate::phone::Phone;

/// A type, and whether a text is one of its values.
type Type = (&'static str, fn(&str) -> bool);

/// The first that takes all texts is told.
const TYPES: &[Type] = &[
    ("boolean", |text| {
        ["true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
    }),
    ("bigint", |text| !is_code(text) && text.parse::<i64>().is_ok()),
    ("numeric", |text| !is_code(text) && is_numeric(text)),
    ("double precision", |text| !is_code(text) && text.parse::<f64>().is_ok()),
    ("date", is_day),
    // A day is its midnight, once another value has a time of day.
    ("timestamp", |text| is_moment(text, false)),
    ("timestamp with time zone", |text| is_moment(text, true)),
    ("uuid", |text| is_uuid(text)),
    ("json", |text| {
        text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }),
    ("IP address", |text| text.parse::<IpAddr>().is_ok()),
    ("e-mail address", |text| is_email(text)),
    ("URL", |text| text.contains("://") && url::Url::parse(text).is_ok()),
    ("telephone number", |text| Phone::read(text).is_some()),
    // Forms that casts do not read.
    ("date, by parse_date", |text| crate::date::is_date(text)),
    ("timestamp, by parse_timestamp", |text| crate::date::is_timestamp(text)),
    ("number, by parse_number", |text| crate::number::is_number(text)),
];

/// A day, or a day and a clock with seconds or without; behind the clock may be a zone, if it is of the type.
fn is_moment(text: &str, zoned: bool) -> bool {
    let is_clock = |text: &str| {
        ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
            .iter()
            .any(|form| NaiveDateTime::parse_from_str(text, form).is_ok())
    };
    if is_day(text) || is_clock(text) {
        return true;
    }
    if !zoned {
        return false;
    }
    // The day has hyphens as well.
    let Some((day, clock)) = text.split_at_checked(10) else { return false };
    let Some(at) = clock.find(['Z', 'z', '+', '-']) else { return false };
    let (clock, zone) = clock.split_at(at);
    is_zone(zone) && is_clock(&format!("{day}{}", clock.trim_end()))
}

fn is_day(text: &str) -> bool {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// `Z`, `+09`, `+0900` or `+09:00`.
fn is_zone(zone: &str) -> bool {
    let Some(offset) = zone.strip_prefix(['+', '-']) else { return matches!(zone, "Z" | "z") };
    let digits = offset.replacen(':', "", 1);
    matches!((offset.len(), digits.len()), (2, 2) | (4, 4) | (5, 4))
        && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Digits with at most one point among them, of as many as numeric holds.
fn is_numeric(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let n_digits = whole.len() + part.len();
    (1..=38).contains(&n_digits)
        && whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

fn is_email(text: &str) -> bool {
    let Some((user, host)) = text.split_once('@') else { return false };
    let labels = || host.split('.');
    !user.is_empty()
        && !text.contains(char::is_whitespace)
        && !host.contains('@')
        && labels().count() > 1
        && labels().all(|label| !label.is_empty())
}

/// Leading zeros are of codes and telephone numbers, which would lose them as numbers.
fn is_code(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

/// Bits of the types that are left.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GuessType {
    left: u32,
    /// Whether there was a text that is not empty.
    any: bool,
}

impl Default for GuessType {
    fn default() -> Self {
        Self { left: (1 << TYPES.len()) - 1, any: false }
    }
}

impl GuessType {
    fn look(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        self.any = true;
        let mut left = self.left;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            if !TYPES.get(at as usize).is_some_and(|(_, takes)| takes(text)) {
                self.left &= !(1 << at);
            }
        }
    }
}

impl Sketch for GuessType {
    const NAME: &'static str = "guess_type";
    const SYNTAX: &'static str = "guess_type(text)";
    const DOC: &'static str = "Tells the narrowest type that every text of a column is a value of (boolean, bigint, numeric, date, uuid, URL, …), or text; NULL if there is none but empty ones.";

    fn takes(argument: &DataType) -> Option<DataType> {
        let text = matches!(
            argument,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
        );
        text.then_some(DataType::Utf8View)
    }

    fn gives() -> DataType {
        DataType::Utf8
    }

    fn add(&mut self, values: &ArrayRef) {
        for text in values.as_string_view().iter().flatten() {
            if self.left == 0 && self.any {
                return;
            }
            self.look(text);
        }
    }

    fn merge(&mut self, other: Self) {
        self.left &= other.left;
        self.any |= other.any;
    }

    fn value(&self, _: &DataType) -> Result<ScalarValue> {
        let first = TYPES.get(self.left.trailing_zeros() as usize);
        let name = first.map_or("text", |(name, _)| name);
        Ok(ScalarValue::Utf8(self.any.then(|| name.to_owned())))
    }

    fn size_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_that_takes_all() {
        for (texts, wanted) in [
            (&["1", " 2 ", "-7", ""] as &[&str], "bigint"),
            (&["1", "2.50"], "numeric"),
            (&["1", "2e9", "NaN"], "double precision"),
            (&["007", "12"], "number, by parse_number"),
            (&["t", "No"], "boolean"),
            (&["2026-01-31"], "date"),
            (&["2026-01-31", "2026. 2. 1."], "date, by parse_date"),
            (&["2026-02-30"], "text"),
            (&["2026-01-31 10:00:00.5"], "timestamp"),
            (&["2026-01-02 10:00:00", "2026-01-03", "2026-01-04T10:30"], "timestamp"),
            (&["2026-01-02 10:00:00+09", "2026-01-03"], "timestamp with time zone"),
            (
                &["2026-01-02 10:00+0900", "2026-01-02 10:00:00.25 -03:30"],
                "timestamp with time zone",
            ),
            (&["2026-01-02 10:00:00+09", "2026-01-02 10:00:00"], "timestamp with time zone"),
            (&["2026. 1. 2. 10:00", "2026-01-03"], "timestamp, by parse_timestamp"),
            (&["2026-01-31", "2026-01-32 10:00"], "text"),
            (&["2026-01-31T10:00:00+09:00", "2026-01-31 10:00:00Z"], "timestamp with time zone"),
            (&["c56a4180-65aa-42ec-a945-5fd21dec0538"], "uuid"),
            (&["{\"a\": [1]}", "[]"], "json"),
            (&["10.0.0.1", "::1"], "IP address"),
            (&["kim@example.com"], "e-mail address"),
            (&["https://example.com/a?b=1"], "URL"),
            (&["010-1234-5678", "02-123-4567"], "telephone number"),
            (&["1,234원", "3만"], "number, by parse_number"),
            (&["1", "one"], "text"),
        ] {
            let mut sketch = GuessType::default();
            texts.iter().for_each(|text| sketch.look(text));
            let guess = sketch.value(&DataType::Utf8).unwrap();
            assert_eq!(guess, ScalarValue::Utf8(Some(wanted.to_owned())), "{texts:?}");
        }
        let nothing = GuessType::default().value(&DataType::Utf8).unwrap();
        assert_eq!(nothing, ScalarValue::Utf8(None));
    }
}
