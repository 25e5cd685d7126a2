//! Rows as they come, brought to the columns of the table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampNanosecondType};
use datafusion::common::ScalarValue;
use maru_connect::partition_text;
use maru_core::{Error, ErrorKind, Result};

use super::target::{Columns, too_long};

/// For each column of the table, where it stands in the rows that come.
pub(super) fn places(columns: &Columns, given: &Schema) -> Vec<Option<usize>> {
    columns.all.fields().iter().map(|field| given.index_of(field.name()).ok()).collect()
}

/// Returns the columns of a batch as they are in the files, and those of partitions.
pub(super) fn convert(
    columns: &Columns,
    places: &[Option<usize>],
    batch: &RecordBatch,
) -> Result<(RecordBatch, Vec<ArrayRef>)> {
    let n_rows = batch.num_rows();
    let n_in_files = columns.in_files.fields().len();
    let mut converted = Vec::with_capacity(places.len());
    for (index, (field, place)) in columns.all.fields().iter().zip(places).enumerate() {
        let named = |error: Error| error.or_context("column", field.name().clone());
        let data_type = match columns.in_files.fields().get(index) {
            Some(in_file) => in_file.data_type(),
            None => field.data_type(),
        };
        let Some(place) = place else {
            converted.push(new_null_array(data_type, n_rows));
            continue;
        };
        let values = to_type(batch.column(*place), data_type).map_err(named)?;
        if let Some((length, what)) = &columns.lengths[index] {
            let texts = values.as_string::<i32>();
            if texts.iter().flatten().any(|text| text.chars().count() > *length) {
                return Err(named(too_long(what)));
            }
        }
        converted.push(values);
    }
    let keys = converted.split_off(n_in_files);
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let in_files =
        RecordBatch::try_new_with_options(Arc::clone(&columns.in_files), converted, &options)?;
    Ok((in_files, keys))
}

fn to_type(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    if let (
        DataType::Timestamp(TimeUnit::Nanosecond, _),
        DataType::Timestamp(TimeUnit::Microsecond, _),
    ) = (values.data_type(), to)
    {
        let nanos = values.as_primitive::<TimestampNanosecondType>();
        if nanos.iter().flatten().any(|value| value % 1000 != 0) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "a timestamp has digits below the microsecond, which the table does not keep",
            )
            .with_hint("Cut them off: date_trunc('microsecond', …)."));
        }
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(values, to, &options)?)
}

/// Returns the texts of a row's partition.
pub(super) fn partition_at(
    columns: &Columns,
    keys: &[ArrayRef],
    row: usize,
) -> Result<Vec<Option<String>>> {
    let named = columns.keys.iter().zip(keys).enumerate();
    named
        .map(|(at, (key, values))| {
            let value = ScalarValue::try_from_array(values, row)?;
            partition_text(key.name(), &columns.key_value(at, value))
        })
        .collect()
}
