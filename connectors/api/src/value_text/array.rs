//! Values of Arrow arrays as PostgreSQL writes them.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::*;
use bytes::{BufMut, BytesMut};
use maru_core::{Error, ErrorKind, Result};

use super::{
    Zone, bytea, date, interval, put_decimal, put_integer, time, timestamp, timestamptz, uuid,
};
use crate::float_text::{DOUBLE_DIGITS, REAL_DIGITS, write_float};

/// Returns the type that values of this type are brought to before [`put_value`] writes them; `None` if there is none.
fn canonical(data_type: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match data_type {
        D::Int8 | D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::Float16 => D::Float32,
        D::Decimal32(p, s) | D::Decimal64(p, s) => D::Decimal128(*p, *s),
        D::Date64 => D::Date32,
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Nanosecond),
        D::Dictionary(_, value) => canonical(value)?,
        D::RunEndEncoded(_, value) => canonical(value.data_type())?,
        D::List(item)
        | D::LargeList(item)
        | D::FixedSizeList(item, _)
        | D::ListView(item)
        | D::LargeListView(item) => {
            let item = Field::new("item", canonical(item.data_type())?, true);
            D::List(std::sync::Arc::new(item))
        }
        D::Struct(_) | D::Map(_, _) | D::Union(_, _) => return None,
        other => other.clone(),
    })
}

/// Returns whether [`texts`] can write values of this type.
pub fn has_text(data_type: &DataType) -> bool {
    canonical(data_type).is_some()
}

/// Returns the values as a cast to text gives them: as they are written, but booleans as words. `is_uuid` tells what
/// sixteen bytes are.
pub fn texts(array: &ArrayRef, zone: &Zone, is_uuid: bool) -> Result<StringArray> {
    let to = canonical(array.data_type()).ok_or_else(|| {
        Error::internal(format!("no text for values of type {}", array.data_type()))
    })?;
    let options = CastOptions { safe: false, ..Default::default() };
    let array = match array.data_type() == &to {
        true => array.clone(),
        false => cast_with_options(array, &to, &options).map_err(Error::from)?,
    };
    let mut out = BytesMut::new();
    let text = |row: usize| {
        if to.is_null() || array.is_null(row) {
            return Ok(None);
        }
        out.clear();
        match &to {
            DataType::Boolean => {
                out.put_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
            }
            DataType::FixedSizeBinary(16) if is_uuid => {
                uuid(array.as_fixed_size_binary().value(row), &mut out);
            }
            _ => put_value(&array, row, zone, &mut out)?,
        }
        let text = std::str::from_utf8(&out).map(str::to_owned);
        text.map(Some).map_err(|error| Error::internal("text is not UTF-8").with_cause(error))
    };
    (0..array.len()).map(text).collect::<Result<StringArray>>()
}

/// Writes one value that is not NULL as the wire and `COPY` have it.
///
/// # Errors
/// 22008 for what PostgreSQL's types do not reach.
pub fn put_value(array: &ArrayRef, row: usize, zone: &Zone, out: &mut BytesMut) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' }),
        DataType::Int16 => put_integer(array.as_primitive::<Int16Type>().value(row), out),
        DataType::Int32 => put_integer(array.as_primitive::<Int32Type>().value(row), out),
        DataType::Int64 => put_integer(array.as_primitive::<Int64Type>().value(row), out),
        DataType::UInt64 => put_integer(array.as_primitive::<UInt64Type>().value(row), out),
        DataType::Decimal128(_, scale) => {
            put_decimal(array.as_primitive::<Decimal128Type>().value(row), *scale, out);
        }
        DataType::Decimal256(_, _) => {
            let text = array.as_primitive::<Decimal256Type>().value_as_string(row);
            out.put_slice(text.as_bytes());
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            write_float(out, f64::from(value), value, REAL_DIGITS);
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            write_float(out, value, value, DOUBLE_DIGITS);
        }
        DataType::Utf8 => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => out.put_slice(array.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => bytea(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => bytea(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => bytea(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => bytea(array.as_fixed_size_binary().value(row), out),
        DataType::Date32 => date(i64::from(array.as_primitive::<Date32Type>().value(row)), out),
        DataType::Time64(TimeUnit::Nanosecond) => {
            time(array.as_primitive::<Time64NanosecondType>().value(row) / 1000, out);
        }
        DataType::Timestamp(unit, with_zone) => {
            let micros = timestamp_micros(array, row, *unit)?;
            match with_zone {
                None => timestamp(micros, out),
                Some(_) => timestamptz(micros, zone, out),
            }
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let (months, days, micros) = interval_parts(array, row)?;
            interval(months, days, micros, out);
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), zone, out)?,
        other => {
            return Err(Error::internal(format!("no text for values of type {other}")));
        }
    }
    Ok(())
}

/// Writes an array: `{1,NULL,"a b"}`; one in another stands in braces of its own.
fn list(items: &ArrayRef, zone: &Zone, out: &mut BytesMut) -> Result<()> {
    out.put_u8(b'{');
    let nested = matches!(items.data_type(), DataType::List(_));
    let mut item = BytesMut::new();
    for row in 0..items.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if items.data_type().is_null() || items.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        item.clear();
        put_value(items, row, zone, &mut item)?;
        if !nested && needs_quotes(&item) {
            out.put_u8(b'"');
            for byte in &item {
                if matches!(byte, b'"' | b'\\') {
                    out.put_u8(b'\\');
                }
                out.put_u8(*byte);
            }
            out.put_u8(b'"');
        } else {
            out.put_slice(&item);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

fn needs_quotes(item: &[u8]) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case(b"null")
        || item.iter().any(|byte| {
            matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace()
        })
}

/// PostgreSQL keeps microseconds; finer parts are cut off, towards the past.
pub fn timestamp_micros(array: &ArrayRef, row: usize, unit: TimeUnit) -> Result<i64> {
    let micros = match unit {
        TimeUnit::Second => {
            array.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000)
        }
        TimeUnit::Millisecond => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1000)
        }
        TimeUnit::Microsecond => Some(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        TimeUnit::Nanosecond => {
            Some(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1000))
        }
    };
    micros.ok_or_else(|| Error::new(ErrorKind::OutOfRange, "timestamp out of range"))
}

/// Months, days and microseconds.
pub fn interval_parts(array: &ArrayRef, row: usize) -> Result<(i32, i32, i64)> {
    let micros = |value: i64, factor: i64| {
        value
            .checked_mul(factor)
            .ok_or_else(|| Error::new(ErrorKind::OutOfRange, "interval out of range"))
    };
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            (array.as_primitive::<IntervalYearMonthType>().value(row), 0, 0)
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            (0, value.days, i64::from(value.milliseconds) * 1000)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            (value.months, value.days, value.nanoseconds.div_euclid(1000))
        }
        DataType::Duration(TimeUnit::Second) => {
            whole_days(micros(array.as_primitive::<DurationSecondType>().value(row), 1_000_000)?)
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            whole_days(micros(array.as_primitive::<DurationMillisecondType>().value(row), 1000)?)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            whole_days(array.as_primitive::<DurationMicrosecondType>().value(row))
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            whole_days(array.as_primitive::<DurationNanosecondType>().value(row).div_euclid(1000))
        }
        other => return Err(Error::internal(format!("{other} is no interval"))),
    })
}

/// Counts full days as such, as PostgreSQL does where it subtracts timestamps.
fn whole_days(micros: i64) -> (i32, i32, i64) {
    const DAY: i64 = 86_400_000_000;
    // At most 106,751,991 days fit in 64 bits of microseconds.
    (0, (micros / DAY) as i32, micros % DAY)
}
