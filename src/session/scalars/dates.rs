//! Dates, times and intervals: `age`, `justify_days`, `make_interval`, `isfinite`, parts of the calendar.
//!
//! Source: PostgreSQL 16, 9.9, and `timestamp_age`, `interval_justify_*`, `interval_mul` of its `timestamp.c`.

use arrow::datatypes::{DataType, Date32Type, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::{Kind, Row, RowFunction, invalid};

const DAY: i64 = 86_400_000_000;
const HOUR: i64 = 3_600_000_000;

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "age",
        forms: &[&[Kind::Timestamp, Kind::Timestamp]],
        returns: interval_type,
        compute: age,
        syntax: "age(timestamp [, timestamp])",
        description: "Returns the time between two timestamps in years, months and days; from one of them to today.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "justify_days",
        forms: &[&[Kind::Interval]],
        returns: interval_type,
        compute: |row| Ok(interval(justify_days(parts(row, 0)?)?)),
        syntax: "justify_days(interval)",
        description: "Returns the interval with thirty days made a month.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "justify_hours",
        forms: &[&[Kind::Interval]],
        returns: interval_type,
        compute: |row| Ok(interval(justify_hours(parts(row, 0)?)?)),
        syntax: "justify_hours(interval)",
        description: "Returns the interval with 24 hours made a day.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "justify_interval",
        forms: &[&[Kind::Interval]],
        returns: interval_type,
        compute: |row| Ok(interval(justify(parts(row, 0)?)?)),
        syntax: "justify_interval(interval)",
        description: "Returns the interval with hours made days, days made months, and all parts of one sign.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "make_interval",
        forms: &[&[
            Kind::Whole,
            Kind::Whole,
            Kind::Whole,
            Kind::Whole,
            Kind::Whole,
            Kind::Whole,
            Kind::Float,
        ]],
        returns: interval_type,
        compute: make_interval,
        syntax: "make_interval([years [, months [, weeks [, days [, hours [, mins [, secs]]]]]]])",
        description: "Returns an interval of the parts, which may be named: make_interval(days => 10).",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "make_time",
        forms: &[&[Kind::Whole, Kind::Whole, Kind::Float]],
        returns: |_| DataType::Time64(TimeUnit::Nanosecond),
        compute: |row| {
            let micros = clock(row, 0)?;
            Ok(ScalarValue::Time64Nanosecond(Some(micros * 1000)))
        },
        syntax: "make_time(hour, minute, second)",
        description: "Returns a time of day.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "make_date",
        forms: &[&[Kind::Whole, Kind::Whole, Kind::Whole]],
        returns: |_| DataType::Date32,
        compute: |row| Ok(ScalarValue::Date32(Some(Date32Type::from_naive_date(day(row)?)))),
        syntax: "make_date(year, month, day)",
        description: "Returns a date; years below zero are before our era.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "make_timestamp",
        forms: &[&[Kind::Whole, Kind::Whole, Kind::Whole, Kind::Whole, Kind::Whole, Kind::Float]],
        returns: |_| DataType::Timestamp(TimeUnit::Microsecond, None),
        compute: make_timestamp,
        syntax: "make_timestamp(year, month, day, hour, minute, second)",
        description: "Returns a timestamp without time zone.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "isfinite",
        forms: &[&[Kind::Timestamp], &[Kind::Interval]],
        returns: |_| DataType::Boolean,
        // Maru's have no infinities.
        compute: |_| Ok(ScalarValue::Boolean(Some(true))),
        syntax: "isfinite(timestamp | interval)",
        description: "Returns whether a date, timestamp or interval is finite, which all are.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "calendar_part",
        forms: &[&[Kind::Text, Kind::Timestamp]],
        returns: |_| DataType::Float64,
        compute: calendar_part,
        syntax: "calendar_part(field, timestamp)",
        description: "Returns the century, decade, millennium or Julian day of a date, or the offset of the session's time zone: what extract calls for them.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "interval_multiply",
        forms: &[&[Kind::Interval, Kind::Float]],
        returns: interval_type,
        compute: |row| Ok(interval(scaled(parts(row, 0)?, |part| part * row.float(1))?)),
        syntax: "interval_multiply(interval, factor)",
        description: "Returns the interval times a number, which the operator * calls.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "interval_divide",
        forms: &[&[Kind::Interval, Kind::Float]],
        returns: interval_type,
        compute: |row| match row.float(1) {
            0.0 => Err(Error::new(ErrorKind::DivisionByZero, "division by zero")),
            by => Ok(interval(scaled(parts(row, 0)?, |part| part / by)?)),
        },
        syntax: "interval_divide(interval, divisor)",
        description: "Returns the interval divided by a number, which the operator / calls.",
        ..RowFunction::BASE
    },
];

fn interval_type(_: &[DataType]) -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

/// Months, days and microseconds.
pub(super) type Parts = (i32, i32, i64);

pub(super) fn parts(row: &Row, at: usize) -> Result<Parts> {
    match row.values.get(at) {
        Some(ScalarValue::IntervalMonthDayNano(Some(value))) => {
            Ok((value.months, value.days, value.nanoseconds.div_euclid(1000)))
        }
        _ => Err(Error::internal("an interval is expected")),
    }
}

fn interval((months, days, micros): Parts) -> ScalarValue {
    // What is beyond 292 years of hours was refused where it was computed.
    let nanoseconds = micros.saturating_mul(1000);
    ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months, days, nanoseconds }))
}

fn too_big() -> Error {
    Error::new(ErrorKind::OutOfRange, "interval out of range")
}

/// Returns the clock that a timestamp shows, one with a zone in the session's.
pub(super) fn shown(row: &Row, at: usize) -> Result<NaiveDateTime> {
    let (micros, zoned) = match row.values.get(at) {
        Some(ScalarValue::TimestampMicrosecond(Some(micros), zone)) => (*micros, zone.is_some()),
        _ => return Err(Error::internal("a timestamp is expected")),
    };
    let shift = if zoned { i64::from(row.zone.offset_seconds(micros)) * 1_000_000 } else { 0 };
    let local = micros.checked_add(shift).and_then(DateTime::from_timestamp_micros);
    local
        .map(|local| local.naive_utc())
        .ok_or_else(|| Error::new(ErrorKind::OutOfRange, "timestamp out of range"))
}

fn age(row: &Row) -> Result<ScalarValue> {
    let (later, earlier) = (shown(row, 0)?, shown(row, 1)?);
    let negative = later < earlier;
    // The days that are borrowed are those of the month of the second argument, or of the first one where that is earlier.
    let borrowed_from = if negative { later } else { earlier };
    let sign = if negative { -1 } else { 1 };
    let field = |of: fn(&NaiveDateTime) -> i64| sign * (of(&later) - of(&earlier));
    let mut micros = field(|at| {
        i64::from(at.num_seconds_from_midnight()) * 1_000_000 + i64::from(at.nanosecond() / 1000)
    });
    let mut days = field(|at| i64::from(at.day()));
    let mut months = field(|at| i64::from(at.year()) * 12 + i64::from(at.month()));
    while micros < 0 {
        micros += DAY;
        days -= 1;
    }
    while days < 0 {
        days += days_of_month(borrowed_from.date());
        months -= 1;
    }
    let months = i32::try_from(sign * months).map_err(|_| too_big())?;
    Ok(interval((months, (sign * days) as i32, sign * micros)))
}

fn days_of_month(date: NaiveDate) -> i64 {
    let first = date.with_day(1).unwrap_or(date);
    first.checked_add_months(Months::new(1)).map_or(31, |next| (next - first).num_days())
}

fn justify_days((months, days, micros): Parts) -> Result<Parts> {
    let (mut months, mut days) = (i64::from(months) + i64::from(days / 30), days % 30);
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Ok((i32::try_from(months).map_err(|_| too_big())?, days, micros))
}

fn justify_hours((months, days, micros): Parts) -> Result<Parts> {
    let (mut days, mut micros) = (i64::from(days) + micros / DAY, micros % DAY);
    if days > 0 && micros < 0 {
        (days, micros) = (days - 1, micros + DAY);
    } else if days < 0 && micros > 0 {
        (days, micros) = (days + 1, micros - DAY);
    }
    Ok((months, i32::try_from(days).map_err(|_| too_big())?, micros))
}

fn justify((months, days, micros): Parts) -> Result<Parts> {
    let mut days = i64::from(days) + micros / DAY;
    let mut micros = micros % DAY;
    let mut months = i64::from(months) + days / 30;
    days %= 30;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        (months, days) = (months + 1, days - 30);
    }
    if days > 0 && micros < 0 {
        (days, micros) = (days - 1, micros + DAY);
    } else if days < 0 && micros > 0 {
        (days, micros) = (days + 1, micros - DAY);
    }
    let months = i32::try_from(months).map_err(|_| too_big())?;
    Ok((months, days as i32, micros))
}

/// Changes each part by `by`. Fractions of months become days of which a month has thirty, those of days become time.
fn scaled((months, days, micros): Parts, by: impl Fn(f64) -> f64) -> Result<Parts> {
    let whole = |value: f64| {
        let fits = value.is_finite() && value.abs() <= f64::from(i32::MAX);
        fits.then_some(value as i32).ok_or_else(too_big)
    };
    // To millionths, so that a third of a month is ten days and not a moment less.
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    let exact_months = by(f64::from(months));
    let exact_days = by(f64::from(days));
    let (months, days) = (whole(exact_months.trunc())?, exact_days.trunc());
    let month_days = rounded((exact_months - f64::from(months)) * 30.0);
    let day_rest = exact_days - days + month_days - month_days.trunc();
    let seconds = rounded(day_rest * 86_400.0);
    let full_days = (seconds / 86_400.0).trunc();
    let seconds = seconds - full_days * 86_400.0;
    let micros = (by(micros as f64) + seconds * 1e6).round();
    if !micros.is_finite() || micros.abs() > (i64::MAX / 1000) as f64 {
        return Err(too_big());
    }
    Ok((months, whole(days + month_days.trunc() + full_days)?, micros as i64))
}

/// Returns an interval divided by a number other than 0.
///
/// # Errors
/// 22003 if a part does not fit.
pub(in crate::session) fn divided_interval(
    of: IntervalMonthDayNano,
    by: f64,
) -> Result<IntervalMonthDayNano> {
    let parts = (of.months, of.days, of.nanoseconds.div_euclid(1000));
    let (months, days, micros) = scaled(parts, |part| part / by)?;
    Ok(IntervalMonthDayNano { months, days, nanoseconds: micros.saturating_mul(1000) })
}

fn make_interval(row: &Row) -> Result<ScalarValue> {
    let sum = |a: i64, times: i64, b: i64| {
        let sum = a.checked_mul(times).and_then(|a| a.checked_add(b)).ok_or_else(too_big)?;
        i32::try_from(sum).map_err(|_| too_big())
    };
    let months = sum(row.whole(0), 12, row.whole(1))?;
    let days = sum(row.whole(2), 7, row.whole(3))?;
    let seconds = row.whole(4) as f64 * 3600.0 + row.whole(5) as f64 * 60.0 + row.float(6);
    let micros = (seconds * 1e6).round();
    if !micros.is_finite() || micros.abs() > (i64::MAX / 1000) as f64 {
        return Err(too_big());
    }
    Ok(interval((months, days, micros as i64)))
}

/// Reads hour, minute and second as microseconds of a day.
fn clock(row: &Row, at: usize) -> Result<i64> {
    let (hour, minute, second) = (row.whole(at), row.whole(at + 1), row.float(at + 2));
    let fits =
        (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
    if !fits {
        return Err(out_of_range(format!(
            "time field value out of range: {hour}:{minute:02}:{second:02}"
        )));
    }
    Ok(hour * HOUR + minute * 60_000_000 + (second * 1e6).round() as i64)
}

fn make_timestamp(row: &Row) -> Result<ScalarValue> {
    let micros = day(row)?.and_time(NaiveTime::MIN).and_utc().timestamp_micros() + clock(row, 3)?;
    Ok(ScalarValue::TimestampMicrosecond(Some(micros), None))
}

/// Reads year, month and day. The year before the first is -1.
fn day(row: &Row) -> Result<NaiveDate> {
    let part = |at: usize| u32::try_from(row.whole(at)).ok();
    let year = i32::try_from(row.whole(0)).ok().filter(|year| *year != 0);
    let year = year.map(|year| if year < 0 { year + 1 } else { year });
    let date = match (year, part(1), part(2)) {
        (Some(year), Some(month), Some(day)) => NaiveDate::from_ymd_opt(year, month, day),
        _ => None,
    };
    date.ok_or_else(|| {
        let (year, month, day) = (row.whole(0), row.whole(1), row.whole(2));
        let what = format!("date field value out of range: {year}-{month:02}-{day:02}");
        Error::new(ErrorKind::DatetimeField, what)
    })
}

fn out_of_range(what: String) -> Error {
    Error::new(ErrorKind::InvalidDatetime, what)
}

fn calendar_part(row: &Row) -> Result<ScalarValue> {
    if row.text(0).starts_with("timezone") {
        return offset_part(row);
    }
    let at = shown(row, 1)?;
    let year = at.year();
    // There is no year 0: the first century begins with the year 1.
    let of = |years: i32| if year > 0 { (year - 1) / years + 1 } else { year / years - 1 };
    let part = match row.text(0) {
        "century" => f64::from(of(100)),
        "millennium" => f64::from(of(1000)),
        "decade" => f64::from(year.div_euclid(10)),
        "julian" => {
            let micros =
                f64::from(at.num_seconds_from_midnight()) * 1e6 + f64::from(at.nanosecond() / 1000);
            f64::from(julian(at.date())) + micros / DAY as f64
        }
        other => return Err(invalid(format!("unit \"{other}\" not recognized"))),
    };
    Ok(ScalarValue::Float64(Some(part)))
}

/// The part of how far the session's time zone is ahead of UTC at a moment.
fn offset_part(row: &Row) -> Result<ScalarValue> {
    let Some(ScalarValue::TimestampMicrosecond(Some(micros), Some(_))) = row.values.get(1) else {
        let part = row.text(0);
        return Err(Error::unsupported(format!(
            "unit \"{part}\" not supported for type timestamp without time zone"
        )));
    };
    let seconds = row.zone.offset_seconds(*micros);
    let part = match row.text(0) {
        "timezone_hour" => seconds / 3600,
        "timezone_minute" => seconds / 60 % 60,
        _ => seconds,
    };
    Ok(ScalarValue::Float64(Some(f64::from(part))))
}

/// The Julian day, of which the first of 1970 is 2440588.
pub(super) fn julian(date: NaiveDate) -> i32 {
    date.num_days_from_ce() + 1_721_425
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_justified_and_scaled_as_in_postgresql() {
        assert_eq!(justify_days((0, 65, 0)).unwrap(), (2, 5, 0));
        assert_eq!(justify_hours((0, 0, 50 * HOUR)).unwrap(), (0, 2, 2 * HOUR));
        assert_eq!(justify((1, 0, -HOUR)).unwrap(), (0, 29, 23 * HOUR));
        assert_eq!(scaled((0, 1, 0), |part| part * 2.5).unwrap(), (0, 2, 12 * HOUR));
        assert_eq!(scaled((1, 0, 0), |part| part * 0.5).unwrap(), (0, 15, 0));
        assert_eq!(scaled((0, 0, HOUR), |part| part * 0.5).unwrap(), (0, 0, HOUR / 2));
        assert_eq!(scaled((1, 0, 0), |part| part / 3.0).unwrap(), (0, 10, 0));
        assert_eq!(scaled((0, 10, 0), |part| part / 3.0).unwrap(), (0, 3, 8 * HOUR));
        assert!(scaled((i32::MAX, 0, 0), |part| part * 2.0).is_err());
    }
}
