//! What zones are called: names in any case, abbreviations, hours, and offsets as POSIX has them, which count to the west: `UTC+9` is nine
//! hours behind UTC.
//!
//! Source: PostgreSQL 16, 8.5.3, B.4 and B.5, `check_timezone`.

use arrow::array::timezone::Tz;
use maru_core::Result;

use super::{unknown, zone};

/// Abbreviations, and how many minutes they are before UTC.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acst", 570),
    ("aedt", 660),
    ("aest", 600),
    ("akdt", -480),
    ("akst", -540),
    ("awst", 480),
    ("bst", 60),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("hkt", 480),
    ("hst", -600),
    ("ist", 120),
    ("jst", 540),
    ("kst", 540),
    ("mdt", -360),
    ("mest", 120),
    ("met", 60),
    ("msk", 180),
    ("mst", -420),
    ("nzdt", 780),
    ("nzst", 720),
    ("pdt", -420),
    ("pst", -480),
    ("sgt", 480),
    ("utc", 0),
    ("wet", 0),
    ("z", 0),
];

/// Reads what stands behind `AT TIME ZONE`.
///
/// # Errors
/// 22023.
pub(super) fn written(name: &str) -> Result<Tz> {
    let text = name.trim();
    let found = abbreviation(text).or_else(|| canonical(text)).or_else(|| posix(text));
    match found {
        Some(found) => zone(&found),
        None => Err(unknown(name)),
    }
}

/// Returns the name of a zone that a text ends with, as a cast reads it behind the clock; `None` if it reads it as it is.
pub(in crate::session) fn in_text(word: &str) -> Option<String> {
    // Central European Time has no summer; the zone of that name has.
    abbreviation(word).or_else(|| {
        let known = word.parse::<Tz>().is_ok();
        canonical(word).filter(|_| !known).map(|name| format!(" {name}"))
    })
}

/// Returns the zone that `SET timezone` names: as it is if the engine knows it, hours to the east, or an offset behind a word, as POSIX has it.
pub(in crate::session) fn of_setting(value: &str) -> Option<String> {
    let text = value.trim();
    if text.parse::<Tz>().is_ok() {
        return Some(text.to_owned());
    }
    hours(text)
        .or_else(|| canonical(text))
        .or_else(|| interval(text))
        .or_else(|| posix(text).filter(|_| !text.starts_with(['+', '-'])))
}

fn abbreviation(text: &str) -> Option<String> {
    let known = ABBREVIATIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(text))?;
    offset(known.1)
}

/// Returns a name of the database of zones as it is written there.
fn canonical(text: &str) -> Option<String> {
    let mut names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    names.find(|name| name.eq_ignore_ascii_case(text)).map(str::to_owned)
}

/// `9` and `-3.5`
fn hours(text: &str) -> Option<String> {
    let is_number = text.chars().all(|letter| letter.is_ascii_digit() || "+-.".contains(letter));
    let hours = text.parse::<f64>().ok().filter(|hours| is_number && hours.abs() < 24.0)?;
    let minutes = hours * 60.0;
    offset((minutes.fract() == 0.0).then_some(minutes as i32)?)
}

/// `INTERVAL '9 hours'` and `INTERVAL '+09:30' HOUR TO MINUTE`
fn interval(text: &str) -> Option<String> {
    let (word, rest) = text.split_once('\'')?;
    let (text, _) = rest.split_once('\'')?;
    if !word.trim().eq_ignore_ascii_case("interval") {
        return None;
    }
    let text = text.trim();
    match text.split_once(' ') {
        Some((number, "hour" | "hours")) => hours(number),
        Some(_) => None,
        None => {
            let (sign, clock) = signed(text);
            offset(sign * clock_minutes(clock).filter(|_| clock.contains(':'))?)
        }
    }
}

/// `UTC+9`, `KST-9`, `<+05>-05`, `+05:00`: what is counted to the west.
fn posix(text: &str) -> Option<String> {
    let (word, rest) = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => {
            let end = text.find(|letter: char| !letter.is_ascii_alphabetic())?;
            text.split_at(end)
        }
    };
    if !word.is_empty() && word.len() < 3 {
        return None;
    }
    let (sign, clock) = signed(rest);
    offset(-sign * clock_minutes(clock)?)
}

fn signed(text: &str) -> (i32, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `9`, `09:30`
fn clock_minutes(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
    let number = |digits: &str| {
        let is_number = (1..=2).contains(&digits.len());
        let is_number = is_number && digits.chars().all(|digit| digit.is_ascii_digit());
        digits.parse::<i32>().ok().filter(|_| is_number)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Writes an offset as the engine reads it.
fn offset(minutes: i32) -> Option<String> {
    let sign = if minutes < 0 { '-' } else { '+' };
    let far = minutes.abs();
    (far < 24 * 60).then(|| format!("{sign}{:02}:{:02}", far / 60, far % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_named_in_many_ways() {
        for (value, expected) in [
            ("Asia/Seoul", Some("Asia/Seoul")),
            ("asia/seoul", Some("Asia/Seoul")),
            ("utc", Some("UTC")),
            ("+09:00", Some("+09:00")),
            ("9", Some("+09:00")),
            ("-3.5", Some("-03:30")),
            ("UTC+9", Some("-09:00")),
            ("KST-9", Some("+09:00")),
            ("GMT-05:30", Some("+05:30")),
            ("<+05>-05", Some("+05:00")),
            ("INTERVAL '9 hours'", Some("+09:00")),
            ("INTERVAL '-09:30' HOUR TO MINUTE", Some("-09:30")),
            ("99", None),
            ("KST", None),
            ("Asia/Soul", None),
            ("", None),
        ] {
            assert_eq!(of_setting(value).as_deref(), expected, "{value}");
        }
        for (name, expected) in [
            ("KST", Some("+09:00")),
            ("est", Some("-05:00")),
            ("met", Some("+01:00")),
            ("MEST", Some("+02:00")),
            ("Z", Some("+00:00")),
            ("asia/seoul", Some(" Asia/Seoul")),
            ("Asia/Seoul", None),
            ("Nowhere", None),
        ] {
            assert_eq!(in_text(name).as_deref(), expected, "{name}");
        }
        assert_eq!(posix("+05:00").as_deref(), Some("-05:00"));
        assert!(written("UTC+9").is_ok() && written("+5").is_ok() && written("Nowhere").is_err());
    }
}
