//! Rows as the Postgres wire carries them, in text and in binary.
//!
//! Own code, since the library that does this (arrow-pg) fails in the middle of a result for half-precision floats,
//! fixed-size binary, decimals of more than 28 digits and wide decimals, and writes a NULL of some intervals as zero.

use std::fmt::Write as _;

use crate::float_text::{DOUBLE_DIGITS, REAL_DIGITS, write_float};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use maru_core::{Error, ErrorKind, Result, ResultExt};
use pgwire::messages::data::DataRow;

use super::text::{self, Zone};
use super::types::{Wire, wires};

/// Writes the rows of one result.
#[derive(Debug)]
pub(super) struct RowEncoder {
    columns: Vec<(Wire, bool)>,
    zone: Zone,
    buffer: BytesMut,
}

impl RowEncoder {
    /// `formats` holds one code for each column of the described schema, 1 for binary.
    pub(super) fn new(schema: &Schema, formats: &[i16], zone: Zone) -> Self {
        let columns = wires(schema).into_iter().enumerate();
        Self {
            columns: columns
                .map(|(i, wire)| (wire, formats.get(i).is_some_and(|format| *format == 1)))
                .collect(),
            zone,
            buffer: BytesMut::new(),
        }
    }

    /// Brings the columns of a batch to the types that [`RowEncoder::row`] writes.
    pub(super) fn prepare(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::internal(format!(
                "the result has {} columns but was described with {}",
                batch.num_columns(),
                self.columns.len()
            )));
        }
        let columns = self.columns.iter().zip(batch.columns());
        columns.map(|((wire, _), array)| prepare(wire, array)).collect()
    }

    /// Returns one row of prepared columns as a message.
    pub(super) fn row(&mut self, columns: &[ArrayRef], row: usize) -> Result<DataRow> {
        let out = &mut self.buffer;
        for ((wire, binary), array) in self.columns.iter().zip(columns) {
            if is_null(array, row) {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            value(array, row, *binary, wire, &self.zone, out)?;
            patch_length(out, start)?;
        }
        let count = i16::try_from(self.columns.len())
            .or_error(ErrorKind::LimitExceeded, || "too many columns for the protocol".into())?;
        Ok(DataRow::new(out.split(), count))
    }
}

fn is_null(array: &dyn Array, row: usize) -> bool {
    array.data_type() == &DataType::Null || array.is_null(row)
}

fn patch_length(out: &mut BytesMut, start: usize) -> Result<()> {
    let length = i32::try_from(out.len() - start - 4)
        .or_error(ErrorKind::LimitExceeded, || "a value is larger than 2 GB".to_owned())?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn prepare(wire: &Wire, array: &ArrayRef) -> Result<ArrayRef> {
    match &wire.arrow {
        Some(to) if to == array.data_type() => Ok(array.clone()),
        Some(to) => {
            let options = CastOptions { safe: false, ..Default::default() };
            cast_with_options(array, to, &options).map_err(Error::from)
        }
        None => as_text(array),
    }
}

/// Renders values that have no PostgreSQL type as the shell shows them.
fn as_text(array: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default().with_display_error(true);
    let formatter = ArrayFormatter::try_new(array, &options).map_err(Error::from)?;
    let texts =
        (0..array.len()).map(|row| (!array.is_null(row)).then(|| formatter.value(row).to_string()));
    Ok(std::sync::Arc::new(StringArray::from_iter(texts)))
}

macro_rules! number {
    ($array:expr, $row:expr, $type:ty, $binary:expr, $out:expr, $put:ident) => {{
        let value = $array.as_primitive::<$type>().value($row);
        if $binary {
            $out.$put(value);
        } else {
            decimal(value, $out);
        }
    }};
}

fn decimal(value: impl std::fmt::Display, out: &mut BytesMut) {
    let _ = write!(out, "{value}");
}

/// Writes one value that is not NULL.
fn value(
    array: &ArrayRef,
    row: usize,
    binary: bool,
    wire: &Wire,
    zone: &Zone,
    out: &mut BytesMut,
) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => {
            let value = array.as_boolean().value(row);
            out.put_u8(match (binary, value) {
                (true, value) => u8::from(value),
                (false, true) => b't',
                (false, false) => b'f',
            });
        }
        DataType::Int16 => number!(array, row, Int16Type, binary, out, put_i16),
        DataType::Int32 => number!(array, row, Int32Type, binary, out, put_i32),
        DataType::Int64 => number!(array, row, Int64Type, binary, out, put_i64),
        DataType::UInt64 => {
            numeric(&array.as_primitive::<UInt64Type>().value(row).to_string(), binary, out);
        }
        DataType::Decimal128(_, _) => {
            numeric(&array.as_primitive::<Decimal128Type>().value_as_string(row), binary, out);
        }
        DataType::Decimal256(_, _) => {
            numeric(&array.as_primitive::<Decimal256Type>().value_as_string(row), binary, out);
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            if binary {
                out.put_f32(value);
            } else {
                write_float(out, f64::from(value), value, REAL_DIGITS);
            }
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            if binary {
                out.put_f64(value);
            } else {
                write_float(out, value, value, DOUBLE_DIGITS);
            }
        }
        DataType::Utf8 => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => out.put_slice(array.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row), binary, wire, out),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row), binary, wire, out),
        DataType::BinaryView => bytes(array.as_binary_view().value(row), binary, wire, out),
        DataType::FixedSizeBinary(_) => {
            bytes(array.as_fixed_size_binary().value(row), binary, wire, out);
        }
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            if binary {
                let days = i32::try_from(days - text::EPOCH_DAYS)
                    .or_error(ErrorKind::OutOfRange, || "date out of range".to_owned())?;
                out.put_i32(days);
            } else {
                text::date(days, out);
            }
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            let micros = array.as_primitive::<Time64NanosecondType>().value(row) / 1000;
            if binary { out.put_i64(micros) } else { text::time(micros, out) }
        }
        DataType::Timestamp(unit, with_zone) => {
            let micros = timestamp_micros(array, row, *unit)?;
            match (binary, with_zone) {
                (true, _) => {
                    let micros = micros.checked_sub(text::EPOCH_MICROS).ok_or_else(|| {
                        Error::new(ErrorKind::OutOfRange, "timestamp out of range")
                    })?;
                    out.put_i64(micros);
                }
                (false, None) => text::timestamp(micros, out),
                (false, Some(_)) => text::timestamptz(micros, zone, out),
            }
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let (months, days, micros) = interval_parts(array, row)?;
            if binary {
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(months);
            } else {
                text::interval(months, days, micros, out);
            }
        }
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            list(&items, &Wire::of_type(item.data_type()), binary, zone, out)?;
        }
        other => {
            return Err(Error::internal(format!("no encoding for values of type {other}")));
        }
    }
    Ok(())
}

fn numeric(number: &str, binary: bool, out: &mut BytesMut) {
    if binary {
        text::numeric_binary(number, out);
    } else {
        out.put_slice(number.as_bytes());
    }
}

fn bytes(value: &[u8], binary: bool, wire: &Wire, out: &mut BytesMut) {
    if binary {
        out.put_slice(value);
    } else if wire.pg == pgwire::api::Type::UUID {
        text::uuid(value, out);
    } else {
        text::bytea(value, out);
    }
}

/// PostgreSQL keeps microseconds; finer parts are cut off, towards the past.
fn timestamp_micros(array: &ArrayRef, row: usize, unit: TimeUnit) -> Result<i64> {
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
fn interval_parts(array: &ArrayRef, row: usize) -> Result<(i32, i32, i64)> {
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

/// Writes a one-dimensional array.
fn list(
    items: &ArrayRef,
    element: &Wire,
    binary: bool,
    zone: &Zone,
    out: &mut BytesMut,
) -> Result<()> {
    if binary {
        let empty = items.is_empty();
        out.put_i32(i32::from(!empty));
        out.put_i32(i32::from((0..items.len()).any(|row| is_null(items, row))));
        out.put_u32(element.pg.oid());
        if empty {
            return Ok(());
        }
        out.put_i32(items.len() as i32);
        out.put_i32(1);
        for row in 0..items.len() {
            if is_null(items, row) {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            value(items, row, true, element, zone, out)?;
            patch_length(out, start)?;
        }
        return Ok(());
    }
    out.put_u8(b'{');
    let mut item = BytesMut::new();
    for row in 0..items.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if is_null(items, row) {
            out.put_slice(b"NULL");
            continue;
        }
        item.clear();
        value(items, row, false, element, zone, &mut item)?;
        if needs_quotes(&item) {
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

#[cfg(test)]
mod tests;
