//! From the columns of an Avro or ORC file to those of the table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use maru_core::{Error, ErrorKind, Result};

use crate::file_table::calendar;
use crate::file_table::column_names::names_in_file;

const DAY_MICROS: i64 = 86_400_000_000;
/// 1 January 1900.
const LOCAL_1900: i64 = -2_208_988_800_000_000;

/// How values of a file are to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// Dates are counted by the Julian calendar before 1582.
    pub(super) hybrid: bool,
    /// Times come as nanoseconds in a [`NANOS`], which has room for all of them.
    pub(super) times_in_nanos: bool,
    /// How far local mean time is from the standard time of the writer's zone, in microseconds: times of day before 1900
    /// are moved by so much.
    pub(super) mean_time: i64,
}

/// What a time of any year fits into, in nanoseconds.
pub(super) const NANOS: DataType = DataType::Decimal128(38, 9);

impl Shape {
    /// Brings a column into a type of the table: fields are found by name, other types are cast.
    ///
    /// # Errors
    /// 22003 and the like for a value that does not fit.
    pub(super) fn fit(self, column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
        match (column.data_type(), wanted) {
            (DataType::Struct(_), DataType::Struct(fields)) => {
                let structs = column.as_struct();
                let columns = self.fields(structs, fields)?;
                let (nulls, n_rows) = (structs.nulls().cloned(), structs.len());
                Ok(Arc::new(StructArray::try_new_with_length(
                    fields.clone(),
                    columns,
                    nulls,
                    n_rows,
                )?))
            }
            (DataType::List(_), DataType::List(item)) => {
                let list = column.as_list::<i32>();
                let items = self.fit(list.values(), item.data_type())?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
            }
            (DataType::Map(..), DataType::Map(entries, sorted)) => {
                let map = column.as_map();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(Error::internal("a map without entries"));
                };
                let parts = [map.keys(), map.values()].into_iter().zip(fields);
                let parts = parts.map(|(part, field)| self.fit(part, field.data_type()));
                let inner =
                    StructArray::try_new(fields.clone(), parts.collect::<Result<_>>()?, None)?;
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                let entries = Arc::clone(entries);
                Ok(Arc::new(MapArray::try_new(entries, offsets, inner, nulls, *sorted)?))
            }
            _ => self.leaf(column, wanted),
        }
    }

    /// Returns the wanted fields of a struct; one that the file lacks is NULL.
    fn fields(self, structs: &StructArray, wanted: &[FieldRef]) -> Result<Vec<ArrayRef>> {
        let in_file = structs.column_names();
        let table = arrow::datatypes::Schema::new(
            wanted.iter().map(|field| Field::clone(field)).collect::<Vec<_>>(),
        );
        let names = names_in_file(&table, &in_file);
        let column = |(field, name): (&FieldRef, Option<&str>)| match name
            .and_then(|name| structs.column_by_name(name))
        {
            Some(column) => self.fit(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), structs.len())),
        };
        wanted.iter().zip(names).map(column).collect()
    }

    /// Brings a batch of a file into the shape of the table: columns are found by name, one that the file lacks is NULL.
    ///
    /// # Errors
    /// 22003 and the like for a value that does not fit.
    pub(super) fn adapt(self, batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
        let schema = batch.schema();
        let in_file = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let names = names_in_file(wanted, &in_file);
        self.adapt_named(batch, wanted, &names)
    }

    /// [`Shape::adapt`] by the names that the file has for the wanted columns.
    pub(super) fn adapt_named(
        self,
        batch: &RecordBatch,
        wanted: &SchemaRef,
        names: &[Option<&str>],
    ) -> Result<RecordBatch> {
        let columns = wanted.fields().iter().zip(names).map(|(field, name)| {
            let Some(column) = name.and_then(|name| batch.column_by_name(name)) else {
                return Ok(new_null_array(field.data_type(), batch.num_rows()));
            };
            self.fit(column, field.data_type())
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)?)
    }

    fn leaf(self, column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let column = if self.times_in_nanos
            && let (&NANOS, DataType::Timestamp(_, zone)) = (column.data_type(), wanted)
        {
            let mut micros = micros(column.as_primitive::<Decimal128Type>())?;
            if zone.is_none() && self.mean_time != 0 {
                micros = micros.unary(|time| match time < LOCAL_1900 {
                    true => time.saturating_add(self.mean_time),
                    false => time,
                });
            }
            cast_with_options(&micros.with_timezone_opt(zone.clone()), wanted, &options)?
        } else if column.data_type() == wanted {
            Arc::clone(column)
        } else {
            cast_with_options(column, wanted, &options)?
        };
        Ok(match wanted {
            DataType::Date32 if self.hybrid => {
                let days = column.as_primitive::<Date32Type>();
                let days: Date32Array = days.unary(|day| {
                    // A date that moves by days stays in the range of its type.
                    i32::try_from(calendar::from_hybrid(day.into())).unwrap_or(day)
                });
                Arc::new(days)
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) if self.hybrid => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                let times: TimestampMicrosecondArray = times.unary(|micros| {
                    let day = micros.div_euclid(DAY_MICROS);
                    micros + (calendar::from_hybrid(day) - day) * DAY_MICROS
                });
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            _ => column,
        })
    }
}

/// Cuts times to microseconds, as Parquet's INT96 are cut.
///
/// # Errors
/// 22007 beyond the year 294246.
fn micros(nanos: &Decimal128Array) -> Result<TimestampMicrosecondArray> {
    nanos
        .try_unary::<_, TimestampMicrosecondType, ArrowError>(|nanos| {
            i64::try_from(nanos.div_euclid(1000))
                .map_err(|_| ArrowError::ComputeError(String::new()))
        })
        .map_err(|_| Error::new(ErrorKind::InvalidDatetime, "timestamp out of range"))
}
