//! `to_char`: timestamps, intervals and numbers by a template.
//!
//! A template with a percent sign is a format of strftime. Templates may come from a column.
//!
//! Source: PostgreSQL 16, 9.8.

mod moment;
mod number;

use arrow::datatypes::DataType;
use chrono::{DateTime, TimeZone};
use chrono_tz::OffsetName;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::text::text;
use super::{Kind, Row, RowFunction, dates};
use moment::Clock;

pub(super) const FUNCTIONS: &[RowFunction] = &[RowFunction {
    name: "to_char",
    aliases: &["date_format"],
    forms: &[
        &[Kind::Timestamp, Kind::Text],
        &[Kind::Interval, Kind::Text],
        &[Kind::Number, Kind::Text],
        // Times of day, which PostgreSQL takes as intervals.
        &[Kind::Any, Kind::Text],
    ],
    returns: |_| DataType::Utf8,
    compute,
    syntax: "to_char(timestamp | interval | number, template)",
    description: "Returns a timestamp, interval or number as text by a template such as 'YYYY-MM-DD' or 'FM999,999,990.00'.",
    ..RowFunction::BASE
}];

fn compute(row: &Row) -> Result<ScalarValue> {
    let template = row.text(1);
    let value = &row.values[0];
    let shown = match value {
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let at = dates::shown(row, 0)?;
            if template.contains('%') {
                return strftime(at, template);
            }
            let offset = zone.as_ref().map(|_| row.zone.offset_seconds(*micros));
            let zone = abbreviation(row.zone_name, *micros);
            moment::written(&Clock::of_timestamp(at, offset, zone), template)?
        }
        ScalarValue::IntervalMonthDayNano(Some(_)) => {
            moment::written(&Clock::of_interval(dates::parts(row, 0)?), template)?
        }
        ScalarValue::Time64Nanosecond(Some(nanos)) => of_time(nanos / 1000, template)?,
        ScalarValue::Time64Microsecond(Some(micros)) => of_time(*micros, template)?,
        ScalarValue::Time32Millisecond(Some(millis)) => {
            of_time(i64::from(*millis) * 1000, template)?
        }
        ScalarValue::Time32Second(Some(seconds)) => {
            of_time(i64::from(*seconds) * 1_000_000, template)?
        }
        ScalarValue::Int64(_) | ScalarValue::Float64(_) | ScalarValue::Decimal128(..) => {
            number::written(value, template)?
        }
        other => {
            let name = crate::system::types::sql_name(&other.data_type());
            return Err(Error::new(
                ErrorKind::UndefinedFunction,
                format!("function to_char({name}, text) does not exist"),
            )
            .with_hint("CAST the value to timestamp or numeric."));
        }
    };
    Ok(text(shown))
}

/// Returns what a zone is called at an instant, such as KST.
fn abbreviation(zone: &str, micros: i64) -> String {
    let instant = DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
    let known = zone.parse::<chrono_tz::Tz>().ok();
    let found = known
        .and_then(|zone| zone.offset_from_utc_datetime(&instant).abbreviation().map(str::to_owned));
    found.unwrap_or_else(|| zone.to_owned())
}

fn of_time(micros: i64, template: &str) -> Result<String> {
    if template.contains('%') {
        let at = DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
        return match strftime(at, template)? {
            ScalarValue::Utf8(Some(shown)) => Ok(shown),
            _ => Ok(String::new()),
        };
    }
    moment::written(&Clock::of_interval((0, 0, micros)), template)
}

fn strftime(at: chrono::NaiveDateTime, format: &str) -> Result<ScalarValue> {
    use std::fmt::Write as _;
    let mut out = String::new();
    // With an offset, so that one that asks for it has UTC.
    write!(out, "{}", at.and_utc().format(format)).map_err(|_| {
        Error::new(ErrorKind::InvalidDatetime, format!("\"{format}\" is no format of strftime"))
    })?;
    Ok(text(out))
}
