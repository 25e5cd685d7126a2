//! From the columns of an Avro or ORC file to those of the table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Fields, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use maru_core::{Error, ErrorKind, Result};

use crate::file_table::calendar;
use crate::file_table::column_names::names_in_file;
use crate::file_table::fitting;

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
    /// Brings a column into a type of the table: fields are found by name, other values are taken where they stay what they are.
    /// `from` is the type that the file says, which the decoder may have given in another form.
    ///
    /// # Errors
    /// 22003 and the like for a value that does not fit, 42804 for a type whose values do not.
    pub(super) fn fit(
        self,
        column: &ArrayRef,
        from: &DataType,
        wanted: &DataType,
    ) -> Result<ArrayRef> {
        match (from, wanted) {
            (DataType::Struct(from), DataType::Struct(fields)) => {
                let structs = column.as_struct();
                let columns = self.fields(structs, from, fields)?;
                let (nulls, n_rows) = (structs.nulls().cloned(), structs.len());
                Ok(Arc::new(StructArray::try_new_with_length(
                    fields.clone(),
                    columns,
                    nulls,
                    n_rows,
                )?))
            }
            (DataType::Map(from, _), DataType::Map(entries, sorted)) => {
                let map = column.as_map();
                let (DataType::Struct(of), DataType::Struct(fields)) =
                    (from.data_type(), entries.data_type())
                else {
                    return Err(Error::internal("a map without entries"));
                };
                let parts = [map.keys(), map.values()].into_iter().zip(of.iter().zip(fields));
                let parts = parts.map(|(part, (from, field))| {
                    self.fit(part, from.data_type(), field.data_type())
                });
                let inner =
                    StructArray::try_new(fields.clone(), parts.collect::<Result<_>>()?, None)?;
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                let entries = Arc::clone(entries);
                Ok(Arc::new(MapArray::try_new(entries, offsets, inner, nulls, *sorted)?))
            }
            (from, wanted) => match (fitting::item(from), fitting::item(wanted)) {
                (Some(of), Some(item)) => {
                    // However long its offsets are, and whether there are any.
                    let column = match column.data_type() {
                        DataType::List(_) => Arc::clone(column),
                        _ => fitting::cast(column, &DataType::List(Arc::clone(of)))?,
                    };
                    let list = column.as_list::<i32>();
                    let items = self.fit(list.values(), of.data_type(), item.data_type())?;
                    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                    let list = ListArray::try_new(Arc::clone(item), offsets, items, nulls)?;
                    fitting::cast(&(Arc::new(list) as ArrayRef), wanted)
                }
                _ => fitting::values(&self.counted(column, from)?, wanted),
            },
        }
    }

    /// Returns the wanted fields of a struct; one that the file lacks is NULL.
    fn fields(
        self,
        structs: &StructArray,
        from: &Fields,
        wanted: &[FieldRef],
    ) -> Result<Vec<ArrayRef>> {
        let in_file = structs.column_names();
        let table = arrow::datatypes::Schema::new(
            wanted.iter().map(|field| Field::clone(field)).collect::<Vec<_>>(),
        );
        let names = names_in_file(&table, &in_file);
        let column = |(field, name): (&FieldRef, Option<&str>)| {
            let found =
                name.and_then(|name| Some((structs.column_by_name(name)?, from.find(name)?)));
            match found {
                Some((column, (_, from))) => self.fit(column, from.data_type(), field.data_type()),
                None => Ok(new_null_array(field.data_type(), structs.len())),
            }
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
        self.adapt_named(batch, &schema, wanted, &names)
    }

    /// [`Shape::adapt`] by the types that the file says, and by the names that it has for the wanted columns.
    pub(super) fn adapt_named(
        self,
        batch: &RecordBatch,
        file: &SchemaRef,
        wanted: &SchemaRef,
        names: &[Option<&str>],
    ) -> Result<RecordBatch> {
        let columns = wanted.fields().iter().zip(names).map(|(field, name)| {
            let Some((column, from)) = name.and_then(|name| {
                Some((batch.column_by_name(name)?, file.field_with_name(name).ok()?))
            }) else {
                return Ok(new_null_array(field.data_type(), batch.num_rows()));
            };
            let (from, to) = (from.data_type(), field.data_type());
            fitting::way(from, to).map_err(|found| found.error(field.name(), "the file"))?;
            let fitted = self.fit(column, from, to);
            fitted.map_err(|error| error.or_context("column", field.name()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)?)
    }

    /// Returns dates and times as Arrow counts them: by the Gregorian calendar, in microseconds.
    fn counted(self, column: &ArrayRef, from: &DataType) -> Result<ArrayRef> {
        let column = match from {
            DataType::Timestamp(_, zone) if self.times_in_nanos && column.data_type() == &NANOS => {
                let mut micros = micros(column.as_primitive::<Decimal128Type>())?;
                if zone.is_none() && self.mean_time != 0 {
                    micros = micros.unary(|time| match time < LOCAL_1900 {
                        true => time.saturating_add(self.mean_time),
                        false => time,
                    });
                }
                Arc::new(micros.with_timezone_opt(zone.clone())) as ArrayRef
            }
            DataType::Timestamp(_, zone) if self.hybrid => {
                fitting::cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?
            }
            _ => Arc::clone(column),
        };
        if !self.hybrid {
            return Ok(column);
        }
        Ok(match column.data_type() {
            DataType::Date32 => {
                let days = column.as_primitive::<Date32Type>();
                let days: Date32Array = days.unary(|day| {
                    // A date that moves by days stays in the range of its type.
                    i32::try_from(calendar::from_hybrid(day.into())).unwrap_or(day)
                });
                Arc::new(days)
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
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
