//! Texts of intervals as PostgreSQL reads them, written as the engine underneath does: `100` is seconds and not months, `12:00` is
//! hours, `1-2` a year and two months, and the fraction of a week is days.
//!
//! A text in another form stays what it is: the cast reads or refuses it.
//!
//! Source: PostgreSQL 16, section 8.5.4, and `DecodeInterval`.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use maru_core::Result;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Reads texts as intervals. With `try_cast` those that are none are NULL.
///
/// # Errors
/// 22P02 for the first that is none, 22003 for one that is too long.
pub(super) fn intervals(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    let texts = cast_with_options(texts, &DataType::Utf8, &options)?;
    let written = texts
        .as_string::<i32>()
        .iter()
        .map(|text| text.map(|text| spelled(text).map_or(Cow::Borrowed(text), Cow::Owned)));
    let written: ArrayRef = Arc::new(written.collect::<StringArray>());
    Ok(cast_with_options(&written, target, &options)?)
}

/// Returns an interval in months, days and seconds; `None` for a text that is none, or has parts of a microsecond.
pub(crate) fn spelled(text: &str) -> Option<String> {
    let Parts { months, days, micros } = read(text)?;
    let sign = if micros < 0 { "-" } else { "" };
    let (second, micros) = (SECOND.unsigned_abs(), micros.unsigned_abs());
    let (whole, rest) = (micros / second, micros % second);
    Some(format!("{months} months {days} days {sign}{whole}.{rest:06} seconds"))
}

#[derive(Debug, Default, PartialEq)]
struct Parts {
    months: i64,
    days: i64,
    micros: i64,
}

impl Parts {
    fn add(&mut self, number: &Number, unit: Unit) -> Option<()> {
        let whole = |size: i64| number.whole.checked_mul(size);
        let sum = |a: i64, b: i64| a.checked_add(b);
        match unit {
            Unit::Micros(size) => {
                let part = (number.fraction * size as f64).round_ties_even() as i64;
                self.micros = sum(sum(self.micros, whole(size)?)?, part)?;
            }
            Unit::Days(size) => {
                self.days = sum(self.days, whole(size)?)?;
                self.add_days(number.fraction * size as f64)?;
            }
            Unit::Month => {
                self.months = sum(self.months, number.whole)?;
                self.add_days(number.fraction * 30.0)?;
            }
            Unit::Years(size) => {
                let part = (number.fraction * 12.0 * size as f64).round_ties_even() as i64;
                self.months = sum(sum(self.months, whole(size.checked_mul(12)?)?)?, part)?;
            }
        }
        Some(())
    }

    /// Adds days that are no whole number: the rest of them is a time.
    fn add_days(&mut self, days: f64) -> Option<()> {
        self.days = self.days.checked_add(days.trunc() as i64)?;
        let rest = ((days - days.trunc()) * DAY as f64).round_ties_even();
        self.micros = self.micros.checked_add(rest as i64)?;
        Some(())
    }

    fn negated(&self) -> Option<Self> {
        Some(Self {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            micros: self.micros.checked_neg()?,
        })
    }
}

/// A number, and what stands behind its point, with its sign.
struct Number {
    whole: i64,
    fraction: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Micros(i64),
    Days(i64),
    Month,
    Years(i64),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" | "useconds" => Unit::Micros(1),
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" | "mseconds" => {
            Unit::Micros(1_000)
        }
        "second" | "seconds" | "s" | "sec" | "secs" => Unit::Micros(SECOND),
        "minute" | "minutes" | "m" | "min" | "mins" => Unit::Micros(MINUTE),
        "hour" | "hours" | "h" | "hr" | "hrs" => Unit::Micros(HOUR),
        "day" | "days" | "d" => Unit::Days(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "month" | "months" | "mon" | "mons" => Unit::Month,
        "year" | "years" | "y" | "yr" | "yrs" => Unit::Years(1),
        "decade" | "decades" | "dec" | "decs" => Unit::Years(10),
        "century" | "centuries" | "c" | "cent" => Unit::Years(100),
        "millennium" | "millennia" | "mil" | "mils" => Unit::Years(1_000),
        _ => return None,
    })
}

fn read(text: &str) -> Option<Parts> {
    let text = text.trim().to_lowercase();
    if let Some(parts) = text.strip_prefix('p') {
        return iso(parts);
    }
    let words = text.strip_prefix('@').unwrap_or(&text);
    let words = words.split(|c: char| c.is_whitespace() || c == ',');
    let mut words = words.filter(|word| !word.is_empty()).flat_map(pieces).collect::<Vec<_>>();
    let is_ago = words.last() == Some(&"ago");
    if is_ago {
        words.pop();
    }
    if words.is_empty() {
        return None;
    }
    let mut parts = Parts::default();
    let mut units = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).copied();
        if let Some(micros) = clock(word) {
            parts.micros = parts.micros.checked_add(micros)?;
            units.extend([HOUR, MINUTE, SECOND].map(Unit::Micros));
            at += 1;
        } else if let Some(months) = years_and_months(word) {
            parts.months = parts.months.checked_add(months)?;
            units.extend([Unit::Years(1), Unit::Month]);
            at += 1;
        } else if let Some(unit) = next.and_then(unit) {
            parts.add(&number(word)?, unit)?;
            units.push(unit);
            at += 2;
        } else if next.is_some_and(|next| clock(next).is_some()) {
            // `3 04:05`: days before a time.
            parts.add(&number(word)?, Unit::Days(1))?;
            units.push(Unit::Days(1));
            at += 1;
        } else if next.is_none() {
            parts.add(&number(word)?, Unit::Micros(SECOND))?;
            units.push(Unit::Micros(SECOND));
            at += 1;
        } else {
            return None;
        }
    }
    // Each unit is said once.
    if units.iter().enumerate().any(|(at, unit)| units.iter().take(at).any(|other| other == unit)) {
        return None;
    }
    if is_ago { parts.negated() } else { Some(parts) }
}

/// Parts `1h30m` into its numbers and units; a time, and a date such as `1-2`, are one piece.
fn pieces(word: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let of_letters = first.is_alphabetic();
        let end = rest.find(|c: char| c.is_alphabetic() != of_letters).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        found.push(piece);
        rest = after;
    }
    found
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn digits(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn number(text: &str) -> Option<Number> {
    let (sign, text) = signed(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // The engine counts nanoseconds.
    if fraction.len() > 6 || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { digits(whole)? };
    let behind = if fraction.is_empty() { 0 } else { digits(fraction)? };
    let power = 10_f64.powi(i32::try_from(fraction.len()).ok()?);
    Some(Number { whole: sign * whole, fraction: sign as f64 * (behind as f64 / power) })
}

/// Reads `04:05`, `04:05:06.5`.
fn clock(text: &str) -> Option<i64> {
    let (sign, text) = signed(text);
    let mut fields = text.split(':');
    let (hours, minutes) = (digits(fields.next()?)?, digits(fields.next()?)?);
    let seconds = match fields.next() {
        Some(seconds) if seconds.bytes().next()?.is_ascii_digit() => number(seconds)?,
        Some(_) => return None,
        None => Number { whole: 0, fraction: 0.0 },
    };
    if fields.next().is_some() || minutes > 59 || seconds.whole > 59 {
        return None;
    }
    let mut time = Parts { micros: hours.checked_mul(HOUR)?, ..Parts::default() };
    time.add(&Number { whole: minutes, fraction: 0.0 }, Unit::Micros(MINUTE))?;
    time.add(&seconds, Unit::Micros(SECOND))?;
    Some(sign * time.micros)
}

/// Reads `1-2`.
fn years_and_months(text: &str) -> Option<i64> {
    let (sign, text) = signed(text);
    let (years, months) = text.split_once('-')?;
    let (years, months) = (digits(years)?, digits(months)?);
    if months > 11 {
        return None;
    }
    Some(sign * years.checked_mul(12)?.checked_add(months)?)
}

/// Reads what follows the `P` of ISO 8601 with designators.
fn iso(text: &str) -> Option<Parts> {
    let mut parts = Parts::default();
    let (mut rest, mut of_time) = (text, false);
    if rest.trim_start_matches('t').is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('t') {
            (rest, of_time) = (time, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_alphabetic())?;
        let (written, after) = rest.split_at(end);
        let mut letters = after.chars();
        let unit = match (of_time, letters.next()?) {
            (false, 'y') => Unit::Years(1),
            (false, 'm') => Unit::Month,
            (false, 'w') => Unit::Days(7),
            (false, 'd') => Unit::Days(1),
            (true, 'h') => Unit::Micros(HOUR),
            (true, 'm') => Unit::Micros(MINUTE),
            (true, 's') => Unit::Micros(SECOND),
            _ => return None,
        };
        parts.add(&number(written)?, unit)?;
        rest = letters.as_str();
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_postgresql_reads_them() {
        for (text, months, days, micros) in [
            ("100", 0, 0, 100 * SECOND),
            ("100.5", 0, 0, 100 * SECOND + SECOND / 2),
            ("12:00", 0, 0, 12 * HOUR),
            ("1 12:00", 0, 1, 12 * HOUR),
            ("-1 day +2:00", 0, -1, 2 * HOUR),
            ("1 mon -2:00:00.5", 1, 0, -2 * HOUR - SECOND / 2),
            ("1-2", 14, 0, 0),
            ("@ 1 day, 2 hours ago", 0, -1, -2 * HOUR),
            ("1h30m", 0, 0, HOUR + 30 * MINUTE),
            ("0.3 years", 4, 0, 0),
            ("1.25 months", 1, 7, 12 * HOUR),
            ("0.5 weeks", 0, 3, 12 * HOUR),
            ("-1.5 days", 0, -1, -12 * HOUR),
            ("2 centuries", 2400, 0, 0),
            ("5 days 3", 0, 5, 3 * SECOND),
            ("P1Y2M3DT4H5M6.5S", 14, 3, 4 * HOUR + 5 * MINUTE + 6 * SECOND + SECOND / 2),
            (".5 s", 0, 0, SECOND / 2),
        ] {
            assert_eq!(read(text), Some(Parts { months, days, micros }), "{text}");
        }
        for text in [
            "",
            "ago",
            "abc",
            "1 3",
            "1 day 1 day",
            "1 hour 02:00",
            "1 fortnight",
            "1e2 days",
            "10:75",
            "P",
            "PT",
            "1.0000001 s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(spelled("-0.25").as_deref(), Some("0 months 0 days -0.250000 seconds"));
    }
}
