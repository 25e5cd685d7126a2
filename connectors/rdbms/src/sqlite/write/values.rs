//! Arrow values as SQLite keeps them: so that they are read back as the same.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate};
use maru_core::{Error, Result};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::target::Column;
use crate::render::exact;
use crate::sqlite::types::Mapping;
use crate::values::Misfit;

/// A value to be bound.
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    /// Bytes, roughly.
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Blob(bytes) => bytes.len() as u64,
            _ => 8,
        }
    }

    pub fn bind<'q>(
        self,
        query: Query<'q, Sqlite, SqliteArguments>,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        match self {
            Self::Null => query.bind(None::<i64>),
            Self::Integer(n) => query.bind(n),
            Self::Real(n) => query.bind(n),
            Self::Text(text) => query.bind(text),
            Self::Blob(bytes) => query.bind(bytes),
        }
    }
}

/// Returns the value of a row.
///
/// # Errors
/// What SQLite would give back as something else; XX000 for an array that has not the type of its column.
pub(super) fn value(
    array: &ArrayRef,
    column: &Column,
    row: usize,
) -> Result<Result<Value, Misfit>> {
    if array.is_null(row) {
        return Ok(Ok(Value::Null));
    }
    let other = || Error::internal("a column to write has another type than was agreed");
    let text = || Ok::<_, Error>(array.as_string_opt::<i32>().ok_or_else(other)?.value(row));
    Ok(Ok(match column.mapping {
        Mapping::Integer => {
            Value::Integer(array.as_primitive_opt::<Int64Type>().ok_or_else(other)?.value(row))
        }
        Mapping::Boolean => {
            Value::Integer(array.as_boolean_opt().ok_or_else(other)?.value(row).into())
        }
        Mapping::Text => Value::Text(text()?.to_owned()),
        Mapping::AsText => {
            let text = text()?;
            if column.is_numeric() && text.trim().parse::<f64>().is_ok() {
                return Ok(Err(Misfit::malformed(format!(
                    "would become a number in a column declared {}",
                    column.declared
                ))
                .with_hint("Declare the column TEXT in the database.")));
            }
            Value::Text(text.to_owned())
        }
        Mapping::Float => {
            let n = array.as_primitive_opt::<Float64Type>().ok_or_else(other)?.value(row);
            if n.is_nan() {
                return Ok(Err(Misfit::out_of_range("is NaN, which SQLite keeps as NULL")
                    .with_hint("Turn such values into NULL, such as by nullif(x, 'NaN').")));
            }
            Value::Real(n)
        }
        Mapping::Decimal(..) => {
            let decimals = array.as_primitive_opt::<Decimal128Type>().ok_or_else(other)?;
            let scale = u8::try_from(decimals.scale()).map_err(|_| other())?;
            let value = decimals.value(row);
            let mut digits = value.unsigned_abs();
            while digits > 0 && digits.is_multiple_of(10) {
                digits /= 10;
            }
            if digits >= 10_u128.pow(15) {
                return Ok(Err(Misfit::out_of_range(
                    "has more than 15 digits, which SQLite does not keep",
                )
                .with_hint("Write it into a TEXT column.")));
            }
            Value::Text(exact(value, scale))
        }
        Mapping::Date => {
            let days = array.as_primitive_opt::<Date32Type>().ok_or_else(other)?.value(row);
            match NaiveDate::from_epoch_days(days).filter(|date| (1..=9999).contains(&date.year()))
            {
                Some(date) => Value::Text(date.format("%Y-%m-%d").to_string()),
                None => return Ok(Err(no_year())),
            }
        }
        Mapping::Timestamp => {
            let micros = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?;
            let at = DateTime::from_timestamp_micros(micros.value(row)).map(|at| at.naive_utc());
            match at.filter(|at| (1..=9999).contains(&at.year())) {
                Some(at) => Value::Text(at.format("%Y-%m-%d %H:%M:%S%.6f").to_string()),
                None => return Ok(Err(no_year())),
            }
        }
        Mapping::Blob => {
            Value::Blob(array.as_binary_opt::<i32>().ok_or_else(other)?.value(row).to_vec())
        }
    }))
}

fn no_year() -> Misfit {
    Misfit::datetime("is a date before the year 1 or after 9999")
}
