//! The version of a table as a part of its name, on the way through the planner.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{
    IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config, string_to_datetime,
};
use chrono::{DateTime, Days, Months, TimeDelta};
use maru_connect::TableVersion;
use maru_core::{Error, ErrorKind, Result};

const NUMBER: &str = " VERSION AS OF ";
const MOMENT: &str = " TIMESTAMP AS OF ";
/// Behind a moment: what is taken from it, or added to it.
const MINUS: &str = " MINUS INTERVAL ";
const PLUS: &str = " PLUS INTERVAL ";
/// Not a version: the table with the columns by which its source finds a row again.
const IDENTIFIED: &str = " WITH ROW IDENTITY";

/// Returns what is added to the name of a table that is read in a version.
pub fn suffix_of_number(number: u64) -> String {
    format!("{NUMBER}{number}")
}

/// Returns what is added to the name of a table that is read as it was at a moment.
pub fn suffix_of_moment(text: &str) -> String {
    format!("{MOMENT}{text}")
}

/// Returns what is added to the text of a moment that an interval leads away from, back or on.
pub fn step(back: bool, interval: &str) -> String {
    format!("{}{interval}", if back { MINUS } else { PLUS })
}

/// Returns the name of a table whose rows are to be found again.
pub fn identified(name: &str) -> String {
    format!("{name}{IDENTIFIED}")
}

/// Returns whether a name is such a one.
pub fn is_identified(name: &str) -> bool {
    name.ends_with(IDENTIFIED)
}

/// Returns the table's own name.
pub fn plain_name(name: &str) -> &str {
    let end = [NUMBER, MOMENT, IDENTIFIED].iter().filter_map(|mark| name.find(mark)).min();
    &name[..end.unwrap_or(name.len())]
}

/// Takes a name and its version apart. A moment without a zone is one of the session's.
///
/// # Errors
/// 22007 for a text that is no moment or no interval, 22008 for a moment that is out of reach.
pub fn split<'a>(name: &'a str, zone: &str) -> Result<(&'a str, Option<TableVersion>)> {
    let plain = plain_name(name);
    if is_identified(name) {
        return Ok((plain, None));
    }
    let rest = &name[plain.len()..];
    if let Some(number) = rest.strip_prefix(NUMBER).and_then(|text| text.parse().ok()) {
        return Ok((plain, Some(TableVersion::Number(number))));
    }
    let Some(text) = rest.strip_prefix(MOMENT) else { return Ok((name, None)) };
    let zone = zone.parse::<Tz>().or_else(|_| "UTC".parse::<Tz>()).map_err(|_| invalid(text))?;
    let time = moment(text, zone)?;
    Ok((plain, Some(TableVersion::Time(time.timestamp_micros()))))
}

fn invalid(text: &str) -> Error {
    Error::new(
        ErrorKind::InvalidDatetime,
        format!("invalid input syntax for type timestamp: \"{text}\""),
    )
    .with_hint("Write TIMESTAMP AS OF '2026-11-25 12:00:00+00'.")
}

/// Reads a moment with the intervals behind it, the first of which comes first.
fn moment(text: &str, zone: Tz) -> Result<DateTime<Tz>> {
    let Some(at) = text.rfind(MINUS).max(text.rfind(PLUS)) else {
        return string_to_datetime(&zone, text.trim()).map_err(|_| invalid(text));
    };
    let (before, step) = text.split_at(at);
    let time = moment(before, zone)?;
    match step.strip_prefix(MINUS) {
        Some(interval) => moved(time, true, interval),
        None => moved(time, false, step.strip_prefix(PLUS).unwrap_or(step)),
    }
}

/// Goes an interval on or back, as PostgreSQL does: months and then days by the calendar of the zone, and then what is left.
fn moved(time: DateTime<Tz>, back: bool, text: &str) -> Result<DateTime<Tz>> {
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let interval = parse_interval_month_day_nano_config(text, config).map_err(|_| {
        Error::new(
            ErrorKind::InvalidDatetime,
            format!("invalid input syntax for type interval: \"{text}\""),
        )
    })?;
    let months = Months::new(interval.months.unsigned_abs());
    let time = match (interval.months, (interval.months < 0) == back) {
        (0, _) => Some(time),
        (_, true) => time.checked_add_months(months),
        (_, false) => time.checked_sub_months(months),
    };
    let days = Days::new(u64::from(interval.days.unsigned_abs()));
    let time = time.and_then(|time| match (interval.days, (interval.days < 0) == back) {
        (0, _) => Some(time),
        (_, true) => time.checked_add_days(days),
        (_, false) => time.checked_sub_days(days),
    });
    let rest = TimeDelta::nanoseconds(interval.nanoseconds);
    let time = time.and_then(|time| match back {
        true => time.checked_sub_signed(rest),
        false => time.checked_add_signed(rest),
    });
    time.ok_or_else(|| {
        Error::new(ErrorKind::DatetimeField, "the moment of a version is out of range")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_apart() {
        let split = |name| split(name, "Asia/Seoul").unwrap();
        assert_eq!(split("t"), ("t", None));
        assert_eq!(split("t VERSION AS OF 3"), ("t", Some(TableVersion::Number(3))));
        let nine = Some(TableVersion::Time(1_764_028_800_000_000));
        assert_eq!(split("t TIMESTAMP AS OF 2025-11-25 09:00:00"), ("t", nine));
        assert_eq!(split("t TIMESTAMP AS OF 2025-11-25 00:00:00+00"), ("t", nine));
        assert_eq!(super::split("t TIMESTAMP AS OF noon", "UTC").unwrap_err().sqlstate(), "22007");
        assert_eq!(plain_name("t TIMESTAMP AS OF 2025-11-25 MINUS INTERVAL 1 hour"), "t");
    }

    #[test]
    fn goes_away_from_moments() {
        let split = |steps: &[(bool, &str)], zone| {
            let steps = steps.iter().map(|(back, text)| step(*back, text)).collect::<String>();
            let name = format!("t{}{steps}", suffix_of_moment("2026-03-31T12:00:00.500000Z"));
            super::split(&name, zone).map(|(_, version)| version)
        };
        let micros = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
            Some(TableVersion::Time(time))
        };
        type Steps = &'static [(bool, &'static str)];
        let cases: [(Steps, &str, &str); 6] = [
            (&[(true, "1 hour")], "UTC", "2026-03-31T11:00:00.5Z"),
            (&[(true, "1 day"), (false, "2 hours")], "UTC", "2026-03-30T14:00:00.5Z"),
            (&[(true, "-90 minutes")], "UTC", "2026-03-31T13:30:00.5Z"),
            (&[(false, "-1 month 1 day")], "UTC", "2026-03-01T12:00:00.5Z"),
            // A day of the spring has 23 hours.
            (&[(true, "3 days")], "Europe/Berlin", "2026-03-28T13:00:00.5Z"),
            (&[(true, "72 hours")], "Europe/Berlin", "2026-03-28T12:00:00.5Z"),
        ];
        for (steps, zone, expected) in cases {
            assert_eq!(split(steps, zone).unwrap(), micros(expected), "{steps:?}");
        }
        assert_eq!(split(&[(true, "some time")], "UTC").unwrap_err().sqlstate(), "22007");
        assert_eq!(split(&[(true, "9999999 months")], "UTC").unwrap_err().sqlstate(), "22008");
    }
}
