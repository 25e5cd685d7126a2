//! Values on their way out of Arrow: arrays brought to the one form that each kind of column is written from.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use maru_core::{Error, ErrorKind, Result};

use crate::values::Misfit;
use crate::write::misfit;

/// Returns the columns of `batch`, each of the type that `wanted` says. `first_row` is the number of rows before it.
///
/// # Errors
/// 22003 and the like, with the row where it is known, for a value that does not fit; XX000 if there are not as many columns.
pub(crate) fn columns_as(
    batch: &RecordBatch,
    table: &str,
    wanted: &[DataType],
    first_row: u64,
) -> Result<Vec<ArrayRef>> {
    if batch.num_columns() != wanted.len() {
        return Err(Error::internal("rows to write have another number of columns"));
    }
    let schema = batch.schema();
    let pairs = batch.columns().iter().zip(wanted).zip(schema.fields());
    pairs
        .map(|((array, to), field)| column_as(array, to, (table, field.name()), first_row))
        .collect()
}

fn column_as(
    array: &ArrayRef,
    to: &DataType,
    (table, column): (&str, &str),
    first_row: u64,
) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to || same_decimal(from, to) {
        return Ok(Arc::clone(array));
    }
    if let (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(..)) = (from, to) {
        let values = array.as_primitive::<TimestampNanosecondType>();
        let fine = values.iter().position(|nanos| nanos.is_some_and(|nanos| nanos % 1000 != 0));
        if let Some(row) = fine {
            let row = first_row + row as u64 + 1;
            let what = Misfit::datetime("has parts of a microsecond, for which there is no room");
            let what = what.with_hint("Cut them off with date_trunc('microsecond', …).");
            return Err(misfit(what, table, column, row));
        }
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &strict).map_err(|error| {
        let error = Error::from(error).or_context("column", column.to_owned());
        match error.kind() {
            // Too many digits.
            ErrorKind::InvalidParameter => error.with_kind(ErrorKind::OutOfRange),
            _ => error,
        }
    })
}

/// Decimals are written with their own scale, whatever their precision is called.
fn same_decimal(from: &DataType, to: &DataType) -> bool {
    matches!((from, to), (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) if from == to)
}
