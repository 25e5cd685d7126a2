//! `timezone(zone, timestamp)`, which `timestamp AT TIME ZONE zone` stands for: the clock on a wall of the zone for an
//! instant, and the instant for what a clock there showed.
//!
//! Source: PostgreSQL 16, section 9.9.4.

mod names;

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;

pub(super) use names::{in_text, of_setting};

const WALL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Registers the function.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let function = AtTimeZone { signature: Signature::user_defined(Volatility::Immutable) };
    state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone {
    signature: Signature,
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let wrong = |types: &[DataType]| {
            let types = types.iter().map(sql_name).collect::<Vec<_>>().join(", ");
            Error::new(
                ErrorKind::UndefinedFunction,
                format!("function timezone({types}) does not exist"),
            )
            .with_hint(
                "AT TIME ZONE takes a timestamp on its left and the name of a zone on its right.",
            )
        };
        let [zone, time] = types else { return Err(wrong(types).into()) };
        if !zone.is_string() && !zone.is_null() {
            return Err(wrong(types).into());
        }
        let time = match time {
            DataType::Timestamp(_, Some(_)) => instant(),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => WALL,
            // A literal: PostgreSQL takes it for an instant.
            t if t.is_string() || t.is_null() => instant(),
            _ => return Err(wrong(types).into()),
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match types.get(1) {
            Some(DataType::Timestamp(_, Some(_))) => WALL,
            _ => instant(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [zones, times] = &ColumnarValue::values_to_arrays(&args.args)?[..] else {
            return Err(Error::internal("timezone takes two arguments").into());
        };
        let converted = convert(zones, times)?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?)
        } else {
            ColumnarValue::Array(converted)
        })
    }
}

fn convert(zones: &ArrayRef, times: &ArrayRef) -> DfResult<ArrayRef> {
    let from_instants = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
    let zones = cast(zones, &DataType::Utf8)?;
    let zones = zones.as_string::<i32>();
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut known: Option<(String, Tz)> = None;
    let mut converted = TimestampMicrosecondArray::builder(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || zones.is_null(row) {
            converted.append_null();
            continue;
        }
        let name = zones.value(row);
        let zone = match &known {
            Some((known, zone)) if known == name => *zone,
            _ => known.insert((name.to_owned(), names::written(name)?)).1,
        };
        let micros = times.value(row);
        let moved = match from_instants {
            true => wall_of(zone, micros),
            false => instant_of(zone, micros),
        };
        converted.append_value(
            moved.ok_or_else(|| Error::new(ErrorKind::OutOfRange, "timestamp out of range"))?,
        );
    }
    let converted = converted.finish();
    Ok(Arc::new(if from_instants { converted } else { converted.with_timezone("UTC") }))
}

/// Reads the name of a zone as the engine has it.
fn zone(name: &str) -> Result<Tz> {
    let name = match name.to_uppercase().as_str() {
        "UTC" | "GMT" | "Z" => "+00:00".to_owned(),
        _ => name.to_owned(),
    };
    name.parse::<Tz>().map_err(|_| unknown(&name))
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("time zone \"{name}\" not recognized"))
        .with_hint("Give a name such as Asia/Seoul or an offset such as +09:00.")
}

fn naive(micros: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_micros(micros)?.naive_utc())
}

fn wall_of(zone: Tz, micros: i64) -> Option<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(micros)?).fix().local_minus_utc();
    micros.checked_add(i64::from(offset) * 1_000_000)
}

fn instant_of(zone: Tz, micros: i64) -> Option<i64> {
    let offset = offset_at(zone, naive(micros)?)?.local_minus_utc();
    micros.checked_sub(i64::from(offset) * 1_000_000)
}

/// Returns how far a zone is from UTC when a clock there shows something. Of an hour that comes twice the second is meant; one that
/// the clock leaves out counts on as before the change.
pub(super) fn offset_at(zone: Tz, wall: NaiveDateTime) -> Option<FixedOffset> {
    if let Some(offset) = zone.offset_from_local_datetime(&wall).latest() {
        return Some(offset.fix());
    }
    // Once a zone has left out a whole day.
    [3, 27].into_iter().find_map(|hours| {
        let before = wall.checked_sub_signed(TimeDelta::hours(hours))?;
        Some(zone.offset_from_local_datetime(&before).latest()?.fix())
    })
}

/// Returns whether the clocks of a zone may change, so that what they show may be no instant or two.
pub(super) fn may_change(zone: &str) -> bool {
    !zone.eq_ignore_ascii_case("UTC")
        && !zone.starts_with(|first: char| "+-".contains(first) || first.is_ascii_digit())
}

/// Returns the instants that clocks of a zone show as these moments, in the unit of the type that they are brought to. With `safe`
/// those that are none are NULL.
///
/// # Errors
/// 22008 for a moment beyond what the type holds.
pub(super) fn instants(moments: &ArrayRef, target: &DataType, safe: bool) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, Some(name)) = target else {
        return Err(Error::internal("an instant without a zone"));
    };
    let (zone, a_second) = (zone(name)?, a_second(*unit));
    let options = CastOptions { safe, ..CastOptions::default() };
    let walls = cast_with_options(moments, &DataType::Timestamp(*unit, None), &options)?;
    let walls = cast_with_options(&walls, &DataType::Int64, &options)?;
    let walls = walls.as_primitive::<Int64Type>();
    let moved = |wall: i64| {
        let shown = DateTime::from_timestamp(wall.div_euclid(a_second), 0)?.naive_utc();
        let offset = i64::from(offset_at(zone, shown)?.local_minus_utc());
        wall.checked_sub(offset.checked_mul(a_second)?)
    };
    let counted: Int64Array = match safe {
        true => walls.unary_opt(moved),
        false => walls.try_unary(|wall| {
            moved(wall)
                .ok_or_else(|| Error::new(ErrorKind::DatetimeField, "timestamp out of range"))
        })?,
    };
    Ok(cast_with_options(&counted, target, &options)?)
}

/// Returns what the clocks of a zone show at these instants, as the type that they are brought to. With `safe` those that it does not hold
/// are NULL.
///
/// # Errors
/// 22008 for a moment beyond what the type holds.
pub(super) fn walls(
    instants: &ArrayRef,
    target: &DataType,
    name: &str,
    safe: bool,
) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = instants.data_type() else {
        return Err(Error::internal("a moment is no instant"));
    };
    let (zone, a_second) = (zone(name)?, a_second(*unit));
    let options = CastOptions { safe, ..CastOptions::default() };
    let counted = cast_with_options(instants, &DataType::Int64, &options)?;
    let counted = counted.as_primitive::<Int64Type>();
    let moved = |instant: i64| {
        let utc = DateTime::from_timestamp(instant.div_euclid(a_second), 0)?.naive_utc();
        let offset = i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc());
        instant.checked_add(offset.checked_mul(a_second)?)
    };
    let shown: Int64Array = match safe {
        true => counted.unary_opt(moved),
        false => counted.try_unary(|instant| {
            moved(instant)
                .ok_or_else(|| Error::new(ErrorKind::DatetimeField, "timestamp out of range"))
        })?,
    };
    let shown = cast_with_options(&shown, &DataType::Timestamp(*unit, None), &options)?;
    Ok(cast_with_options(&shown, target, &options)?)
}

fn a_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
