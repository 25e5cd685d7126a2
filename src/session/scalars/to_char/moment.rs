//! Templates of timestamps and intervals.
//!
//! Source: PostgreSQL 16, tables 9.27 and 9.28.

use chrono::{Datelike, NaiveDateTime, Timelike};
use maru_core::{Error, Result};

use crate::session::scalars::dates::{Parts, julian};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Patterns, of which the longest that fits is meant. Figures are read in any case; of words the case is that of the result.
const PATTERNS: &[&str] = &[
    "Y,YYY", "YYYY", "IYYY", "YYY", "IYY", "YY", "IY", "Y", "I", "HH24", "HH12", "HH", "MI",
    "SSSSS", "SSSS", "SS", "MS", "US", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "A.M.", "P.M.",
    "AM", "PM", "A.D.", "B.C.", "AD", "BC", "MONTH", "MON", "MM", "DAY", "DY", "DDD", "IDDD", "DD",
    "IDDD", "ID", "IW", "D", "WW", "W", "CC", "J", "Q", "RM", "TZH", "TZM", "TZ", "OF",
];

/// What a timestamp or an interval shows.
pub(super) struct Clock {
    /// `None` for an interval, which has no calendar.
    date: Option<NaiveDateTime>,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Seconds east of UTC, and the name of the zone.
    offset: Option<i32>,
    zone: String,
}

impl Clock {
    pub(super) fn of_timestamp(at: NaiveDateTime, offset: Option<i32>, zone: String) -> Self {
        Self {
            date: Some(at),
            year: i64::from(at.year()),
            month: i64::from(at.month()),
            day: i64::from(at.day()),
            hour: i64::from(at.hour()),
            minute: i64::from(at.minute()),
            second: i64::from(at.second()),
            micros: i64::from(at.nanosecond() / 1000),
            offset,
            zone,
        }
    }

    pub(super) fn of_interval((months, days, micros): Parts) -> Self {
        let seconds = micros / 1_000_000;
        Self {
            date: None,
            year: i64::from(months / 12),
            month: i64::from(months % 12),
            day: i64::from(days),
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % 1_000_000,
            offset: None,
            zone: String::new(),
        }
    }

    fn calendar(&self, pattern: &str) -> Result<NaiveDateTime> {
        self.date.ok_or_else(|| {
            Error::new(
                maru_core::ErrorKind::InvalidDatetime,
                format!("invalid format specification for an interval value: \"{pattern}\""),
            )
            .with_hint("Intervals are not tied to specific calendar dates.")
        })
    }
}

/// Writes by a template.
///
/// # Errors
/// 22007 for a pattern of the calendar and an interval.
pub(super) fn written(clock: &Clock, template: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (quoted, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
            out.push_str(quoted);
            rest = after;
            continue;
        }
        if first == '\\' && rest[1..].starts_with('"') {
            out.push('"');
            rest = &rest[2..];
            continue;
        }
        let (bare, fill) = match strip(rest, "FM") {
            Some(after) => (after, false),
            None => (rest, true),
        };
        if let Some(after) = strip(rest, "FX").or_else(|| strip(rest, "TM")) {
            rest = after;
            continue;
        }
        let fitting = PATTERNS.iter().filter(|pattern| strip(bare, pattern).is_some());
        let pattern = fitting.max_by_key(|pattern| pattern.len());
        let Some(pattern) = pattern else {
            if !fill {
                // FM without a pattern is nothing.
                rest = bare;
                continue;
            }
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (asked, mut after) = bare.split_at(pattern.len());
        let mut shown = value(clock, pattern, asked, fill)?;
        let number =
            shown.trim_start_matches('0').parse::<i64>().ok().or_else(|| shown.parse().ok());
        if let Some(number) = number {
            if let Some(behind) = after.strip_prefix("TH") {
                shown.push_str(&ordinal(number).to_uppercase());
                after = behind;
            } else if let Some(behind) = after.strip_prefix("th") {
                shown.push_str(ordinal(number));
                after = behind;
            }
        }
        out.push_str(&shown);
        rest = after;
    }
    Ok(out)
}

fn strip<'a>(text: &'a str, pattern: &str) -> Option<&'a str> {
    let start = text.get(..pattern.len())?;
    start.eq_ignore_ascii_case(pattern).then(|| &text[pattern.len()..])
}

fn ordinal(number: i64) -> &'static str {
    match (number.rem_euclid(100), number.rem_euclid(10)) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// Writes the value of one pattern; `fill` with its zeros and blanks.
fn value(clock: &Clock, pattern: &str, asked: &str, fill: bool) -> Result<String> {
    let figures = |number: i64, width: usize| {
        if !fill {
            return number.to_string();
        }
        // The sign stands before the zeros.
        let sign = if number < 0 { "-" } else { "" };
        format!("{sign}{:0width$}", number.unsigned_abs())
    };
    let date = || clock.calendar(pattern);
    // Of years before 1 PostgreSQL shows the number that BC goes with.
    let year = if clock.date.is_some() && clock.year <= 0 { 1 - clock.year } else { clock.year };
    let iso_year = || date().map(|at| i64::from(at.iso_week().year()));
    let hour12 = match clock.hour.rem_euclid(12) {
        0 => 12,
        hour => hour,
    };
    let day_micros = clock.micros.abs();
    Ok(match pattern {
        "Y,YYY" => format!("{},{:03}", year / 1000, (year % 1000).abs()),
        "YYYY" => figures(year, 4),
        "YYY" => figures(year % 1000, 3),
        "YY" => figures(year % 100, 2),
        "Y" => figures(year % 10, 1),
        "IYYY" => figures(iso_year()?, 4),
        "IYY" => figures(iso_year()? % 1000, 3),
        "IY" => figures(iso_year()? % 100, 2),
        "I" => figures(iso_year()? % 10, 1),
        "HH24" => figures(clock.hour, 2),
        "HH12" | "HH" => figures(hour12, 2),
        "MI" => figures(clock.minute, 2),
        "SS" => figures(clock.second, 2),
        "SSSS" | "SSSSS" => (clock.hour * 3600 + clock.minute * 60 + clock.second).to_string(),
        "MS" => figures(day_micros / 1000, 3),
        "US" => figures(day_micros, 6),
        "AM" | "PM" | "A.M." | "P.M." => {
            let afternoon = clock.hour.rem_euclid(24) >= 12;
            let word = match (pattern.contains('.'), afternoon) {
                (false, false) => "AM",
                (false, true) => "PM",
                (true, false) => "A.M.",
                (true, true) => "P.M.",
            };
            in_case(word, asked)
        }
        "AD" | "BC" | "A.D." | "B.C." => {
            let before = date()?.year() <= 0;
            let word = match (pattern.contains('.'), before) {
                (false, false) => "AD",
                (false, true) => "BC",
                (true, false) => "A.D.",
                (true, true) => "B.C.",
            };
            in_case(word, asked)
        }
        "MONTH" => padded(MONTHS[date()?.month0() as usize], asked, fill),
        "MON" => in_case(&MONTHS[date()?.month0() as usize][..3], asked),
        "MM" => figures(clock.month, 2),
        "DAY" => padded(DAYS[date()?.weekday().num_days_from_sunday() as usize], asked, fill),
        "DY" => in_case(&DAYS[date()?.weekday().num_days_from_sunday() as usize][..3], asked),
        "DDD" => figures(
            match clock.date {
                Some(at) => i64::from(at.ordinal()),
                None => clock.year * 360 + clock.month * 30 + clock.day,
            },
            3,
        ),
        "IDDD" => {
            let at = date()?;
            let days =
                i64::from(at.iso_week().week0()) * 7 + i64::from(at.weekday().number_from_monday());
            figures(days, 3)
        }
        "DD" => figures(clock.day, 2),
        "D" => (date()?.weekday().num_days_from_sunday() + 1).to_string(),
        "ID" => date()?.weekday().number_from_monday().to_string(),
        "IW" => figures(i64::from(date()?.iso_week().week()), 2),
        "WW" => figures(i64::from(date()?.ordinal0() / 7 + 1), 2),
        "W" => (date()?.day0() / 7 + 1).to_string(),
        "CC" => {
            let century = match date()?.year() {
                year if year > 0 => i64::from((year - 1) / 100 + 1),
                year => i64::from(year / 100 - 1),
            };
            figures(century, 2)
        }
        "J" => julian(date()?.date()).to_string(),
        "Q" => (date()?.month0() / 3 + 1).to_string(),
        "RM" => {
            let roman = ROMAN[date()?.month0() as usize];
            let roman =
                if asked.starts_with('r') { roman.to_lowercase() } else { roman.to_owned() };
            if fill { format!("{roman:<4}") } else { roman }
        }
        "TZ" => match clock.offset {
            Some(_) if asked.starts_with('t') => clock.zone.to_lowercase(),
            Some(_) => clock.zone.clone(),
            None => String::new(),
        },
        "TZH" | "TZM" | "OF" => {
            let offset = clock.offset.unwrap_or(0);
            let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
            match pattern {
                "TZH" => format!("{sign}{:02}", minutes / 60),
                "TZM" => format!("{:02}", minutes % 60),
                _ if minutes % 60 == 0 => format!("{sign}{:02}", minutes / 60),
                _ => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
            }
        }
        fraction => {
            // FF1 to FF6.
            let n = fraction.as_bytes().last().map_or(6, |digit| usize::from(digit - b'0'));
            format!("{day_micros:06}")[..n.min(6)].to_owned()
        }
    })
}

/// Brings a word to the case of its pattern: MONTH, Month or month.
fn in_case(word: &str, asked: &str) -> String {
    let mut letters = asked.chars().filter(|c| c.is_alphabetic());
    let (first, second) = (letters.next(), letters.next());
    match (first, second) {
        (Some(first), _) if first.is_lowercase() => word.to_lowercase(),
        (_, Some(second)) if second.is_lowercase() => {
            let mut word = word.to_lowercase();
            if let Some(first) = word.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            word
        }
        _ => word.to_uppercase(),
    }
}

fn padded(word: &str, asked: &str, fill: bool) -> String {
    let word = in_case(word, asked);
    if fill { format!("{word:<9}") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_as_in_postgresql() {
        let at = chrono::NaiveDate::from_ymd_opt(2026, 11, 6)
            .and_then(|day| day.and_hms_micro_opt(9, 5, 7, 60_000));
        let clock = Clock::of_timestamp(at.unwrap(), None, String::new());
        for (template, shown) in [
            ("YYYY-MM-DD HH24:MI:SS.MS", "2026-11-06 09:05:07.060"),
            ("yyyymmdd", "20261106"),
            ("FMMonth DDth, YYYY", "November 06th, 2026"),
            ("FMDD FMMI", "6 5"),
            ("Month|DAY|dy|Mon|MON", "November |FRIDAY   |fri|Nov|NOV"),
            ("Q W WW IW D ID DDD J", "4 1 45 45 6 5 310 2461351"),
            ("HH:MI am P.M.", "09:05 am A.M."),
            ("\"Quarter \"Q, YYYY년 MM월", "Quarter 4, 2026년 11월"),
            ("Y,YYY CC RM", "2,026 21 XI  "),
            ("FF3 US SSSS", "060 060000 32707"),
        ] {
            assert_eq!(written(&clock, template).unwrap(), shown, "{template}");
        }
        let interval = Clock::of_interval((0, 2, 36 * 3_600_000_000));
        assert_eq!(written(&interval, "DD HH24:MI:SS").unwrap(), "02 36:00:00");
        assert_eq!(written(&interval, "Day").unwrap_err().sqlstate(), "22007");
    }
}
