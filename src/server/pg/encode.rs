//! Rows as the Postgres wire carries them, in text and in binary.
//!
//! Own code, since the library that does this (arrow-pg) fails in the middle of a result for half-precision floats,
//! fixed-size binary, decimals of more than 28 digits and wide decimals, and writes a NULL of some intervals as zero.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use maru_core::{Error, ErrorKind, Result, ResultExt};

use super::numeric::{decimal_binary, numeric_binary};
use super::types::{Wire, wires};
use crate::session::{Style, put_json};
use crate::value_text::{self as text, Zone};

/// The letter of a row's message.
const DATA_ROW: u8 = b'D';

/// Writes the rows of one result.
#[derive(Debug)]
pub(super) struct RowEncoder {
    columns: Vec<(Wire, bool)>,
    zone: Zone,
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
        columns.map(|((wire, _), array)| prepare(wire, array, &self.zone)).collect()
    }

    /// Writes one row of prepared columns as the message `DataRow`. It is written into `out`, behind what is there, since it would be
    /// copied once more on its way through a message of its own.
    ///
    /// # Errors
    /// As for single values; then `out` is as it was.
    pub(super) fn put_row(
        &self,
        columns: &[ArrayRef],
        row: usize,
        out: &mut BytesMut,
    ) -> Result<()> {
        put_message(DATA_ROW, out, |out| self.put_fields(columns, row, out))
    }

    /// Writes one row of prepared columns as messages have it: the number of fields, and each behind its length.
    pub(super) fn put_fields(
        &self,
        columns: &[ArrayRef],
        row: usize,
        out: &mut BytesMut,
    ) -> Result<()> {
        let count = i16::try_from(self.columns.len())
            .or_error(ErrorKind::LimitExceeded, || "too many columns for the protocol".into())?;
        out.put_i16(count);
        for ((wire, binary), array) in self.columns.iter().zip(columns) {
            if is_null(array, row) {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            value(array, row, *binary, wire, &self.zone, out)?;
            patch_length(out, start, start + 4)?;
        }
        Ok(())
    }

    /// Writes one value of a prepared column, which is not NULL, as text.
    pub(super) fn put_text(
        &self,
        column: usize,
        array: &ArrayRef,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<()> {
        value(array, row, false, &self.columns[column].0, &self.zone, out)
    }
}

/// Writes a message of that letter, with what `body` writes in it; nothing, if that fails.
pub(super) fn put_message(
    letter: u8,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.put_u8(letter);
    out.put_i32(0);
    // The length counts itself.
    let written = body(out).and_then(|()| patch_length(out, start + 1, start + 1));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

pub(super) fn is_null(array: &dyn Array, row: usize) -> bool {
    array.data_type() == &DataType::Null || array.is_null(row)
}

/// Writes the number of bytes since `from` into the four at `place`.
fn patch_length(out: &mut BytesMut, place: usize, from: usize) -> Result<()> {
    let length = i32::try_from(out.len() - from)
        .or_error(ErrorKind::LimitExceeded, || "a value is larger than 2 GB".to_owned())?;
    out[place..place + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn prepare(wire: &Wire, array: &ArrayRef, zone: &Zone) -> Result<ArrayRef> {
    match &wire.arrow {
        Some(to) if to == array.data_type() => Ok(array.clone()),
        Some(to) => {
            let options = CastOptions { safe: false, ..Default::default() };
            cast_with_options(array, to, &options).map_err(Error::from)
        }
        None if wire.pg == pgwire::api::Type::JSON => as_json(array, zone),
        None => as_text(array),
    }
}

/// Writes nested values as `to_json` does.
fn as_json(array: &ArrayRef, zone: &Zone) -> Result<ArrayRef> {
    let field = Field::new("value", array.data_type().clone(), true);
    let texts = (0..array.len()).map(|row| {
        if array.is_null(row) {
            return Ok(None);
        }
        let mut text = String::new();
        put_json(array, row, &field, Style::Json, zone, &mut text)?;
        Ok(Some(text))
    });
    let texts = texts.collect::<Result<Vec<_>>>()?;
    Ok(std::sync::Arc::new(StringArray::from(texts)))
}

/// Renders values that have no PostgreSQL type as the shell shows them.
fn as_text(array: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default().with_display_error(true);
    let formatter = ArrayFormatter::try_new(array, &options).map_err(Error::from)?;
    let texts =
        (0..array.len()).map(|row| (!array.is_null(row)).then(|| formatter.value(row).to_string()));
    Ok(std::sync::Arc::new(StringArray::from_iter(texts)))
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
    if binary {
        return binary_value(array, row, wire, out);
    }
    match array.data_type() {
        DataType::FixedSizeBinary(_) if wire.pg == pgwire::api::Type::UUID => {
            text::uuid(array.as_fixed_size_binary().value(row), out);
            Ok(())
        }
        DataType::List(_) if wire.pg == pgwire::api::Type::OID_VECTOR => {
            let items = array.as_list::<i32>().value(row);
            for (at, oid) in items.as_primitive::<Int32Type>().values().iter().enumerate() {
                let between = if at == 0 { "" } else { " " };
                out.put_slice(format!("{between}{oid}").as_bytes());
            }
            Ok(())
        }
        _ => text::put_value(array, row, zone, out),
    }
}

fn binary_value(array: &ArrayRef, row: usize, wire: &Wire, out: &mut BytesMut) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => {
            numeric_binary(&array.as_primitive::<UInt64Type>().value(row).to_string(), out);
        }
        DataType::Decimal128(_, scale) => {
            decimal_binary(array.as_primitive::<Decimal128Type>().value(row), *scale, out);
        }
        DataType::Decimal256(_, _) => {
            numeric_binary(&array.as_primitive::<Decimal256Type>().value_as_string(row), out);
        }
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => text_value(array.as_string::<i32>().value(row), wire, out),
        DataType::LargeUtf8 => text_value(array.as_string::<i64>().value(row), wire, out),
        DataType::Utf8View => text_value(array.as_string_view().value(row), wire, out),
        DataType::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => out.put_slice(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => out.put_slice(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => out.put_slice(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            let days = i32::try_from(days - text::EPOCH_DAYS)
                .or_error(ErrorKind::OutOfRange, || "date out of range".to_owned())?;
            out.put_i32(days);
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            out.put_i64(array.as_primitive::<Time64NanosecondType>().value(row) / 1000);
        }
        DataType::Timestamp(unit, _) => {
            let micros = text::timestamp_micros(array, row, *unit)?;
            let micros = micros
                .checked_sub(text::EPOCH_MICROS)
                .ok_or_else(|| Error::new(ErrorKind::OutOfRange, "timestamp out of range"))?;
            out.put_i64(micros);
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let (months, days, micros) = text::interval_parts(array, row)?;
            out.put_i64(micros);
            out.put_i32(days);
            out.put_i32(months);
        }
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            let told = Wire::of(item);
            let is_oid = told.pg == pgwire::api::Type::OID;
            let element = if is_oid { told } else { Wire::of_type(item.data_type()) };
            binary_list(&items, &element, out)?;
        }
        other => {
            return Err(Error::internal(format!("no encoding for values of type {other}")));
        }
    }
    Ok(())
}

/// The binary form of text is the text; `jsonb` has a version before it.
fn text_value(value: &str, wire: &Wire, out: &mut BytesMut) {
    if wire.pg == pgwire::api::Type::JSONB {
        out.put_u8(1);
    }
    out.put_slice(value.as_bytes());
}

/// Writes a one-dimensional array.
fn binary_list(items: &ArrayRef, element: &Wire, out: &mut BytesMut) -> Result<()> {
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
        binary_value(items, row, element, out)?;
        patch_length(out, start, start + 4)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
