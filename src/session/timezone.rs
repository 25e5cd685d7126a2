//! `timezone(zone, timestamp)`, which `timestamp AT TIME ZONE zone` stands for: the clock on a wall of the zone for an
//! instant, and the instant for what a clock there showed.
//!
//! Source: PostgreSQL 16, section 9.9.4.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;

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
            _ => known.insert((name.to_owned(), zone(name)?)).1,
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

fn zone(name: &str) -> Result<Tz> {
    let name = match name.to_uppercase().as_str() {
        "UTC" | "GMT" | "Z" => "+00:00".to_owned(),
        _ => name.to_owned(),
    };
    name.parse::<Tz>().map_err(|_| {
        Error::new(ErrorKind::InvalidParameter, format!("time zone \"{name}\" not recognized"))
            .with_hint("Give a name such as Asia/Seoul or an offset such as +09:00.")
    })
}

fn naive(micros: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_micros(micros)?.naive_utc())
}

fn wall_of(zone: Tz, micros: i64) -> Option<i64> {
    let offset = zone.offset_from_utc_datetime(&naive(micros)?).fix().local_minus_utc();
    micros.checked_add(i64::from(offset) * 1_000_000)
}

/// Of an hour that comes twice the first is meant; one that the clock leaves out counts on as before the change.
fn instant_of(zone: Tz, micros: i64) -> Option<i64> {
    let wall = naive(micros)?;
    let offset = match zone.offset_from_local_datetime(&wall).earliest() {
        Some(offset) => offset.fix().local_minus_utc(),
        None => {
            let before = wall.checked_sub_signed(TimeDelta::hours(3))?;
            zone.offset_from_local_datetime(&before).latest()?.fix().local_minus_utc()
        }
    };
    micros.checked_sub(i64::from(offset) * 1_000_000)
}
