//! From the columns of an Avro file to those of the table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, ListArray, MapArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Date32Type, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use maru_core::{Error, Result};
use memchr::memmem;

use crate::file_table::column_names::names_in_file;
use crate::file_table::text::calendar;

const DAY_MICROS: i64 = 86_400_000_000;

/// How values of a file are to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// Dates are counted by the Julian calendar before 1582.
    hybrid: bool,
}

impl Shape {
    /// Returns what Hive takes from the head of a file: it writes there by which calendar and in which zone it counted,
    /// and without a word the calendar is the old one.
    ///
    /// # Errors
    /// 0A000 for a file whose times were counted in another zone than UTC.
    pub(super) fn of_hive(header: &[u8]) -> Result<Self> {
        let says = |entry: &[u8]| memmem::find(header, entry).is_some();
        const ZONE: &[u8] = b"writer.time.zone";
        if let Some(at) = memmem::find(header, ZONE) {
            let rest = &header[at + ZONE.len()..];
            // A length, doubled, and then the name.
            let name = rest.get(1..1 + usize::from(rest.first().copied().unwrap_or(0) / 2));
            let name = String::from_utf8_lossy(name.unwrap_or_default());
            if !matches!(name.as_ref(), "UTC" | "Etc/UTC" | "GMT" | "Z") {
                return Err(Error::unsupported(format!(
                    "an Avro file that Hive wrote in time zone \"{name}\" cannot be read yet"
                )));
            }
        }
        let proleptic = says(b"writer.proleptic\x08true")
            || (says(b"org.apache.spark.version") && !says(b"org.apache.spark.legacyDateTime"));
        Ok(Self { hybrid: !proleptic })
    }

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

    fn leaf(self, column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let column = if column.data_type() == wanted {
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
