//! Rows of SQLite into record batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use chrono::{NaiveDate, NaiveDateTime};
use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteRow, SqliteValueRef};
use sqlx::{AssertSqlSafe, Decode, Row, Sqlite, TypeInfo, ValueRef};

use super::described::description;
use super::file::File;
use super::held::{misfit, refused};
use super::table::{Base, Column};
use super::types::Mapping;
use crate::outdated::changed;
use crate::stream::Sink;
use crate::values::{BATCH_BYTES, Misfit, parse_decimal, shortened};

/// One read of a table.
pub(super) struct Read {
    pub(super) sql: String,
    pub(super) schema: SchemaRef,
    pub(super) columns: Arc<Vec<Column>>,
    pub(super) projection: Vec<usize>,
    pub(super) batch_rows: usize,
    pub(super) table: String,
    pub(super) bases: Vec<Base>,
    pub(super) file: File,
}

impl Read {
    /// Reads until the end, until nobody listens, or until the catalog is closed.
    pub(super) async fn run(self, sink: Sink) -> Result<()> {
        let mut closed = self.file.closed.subscribe();
        let mut connection = self.file.connect().await?;
        let result = tokio::select! {
            result = self.copy(&mut connection, &sink) => result,
            () = sink.abandoned() => Ok(()),
            _ = closed.wait_for(|closed| *closed) => Err(self.file.peer().closed()),
        };
        // Ends the statement, wherever it is.
        let _ = connection.close().await;
        result
    }

    async fn copy(&self, connection: &mut sqlx::SqliteConnection, sink: &Sink) -> Result<()> {
        self.begin(connection).await?;
        let peer = self.file.peer();
        let mut rows = sqlx::query(AssertSqlSafe(self.sql.clone())).fetch(connection);
        let mut batch = self.empty();
        while let Some(row) = rows.next().await {
            let row = row.map_err(|error| {
                let told = error.as_database_error().and_then(|told| refused(told.message()));
                told.unwrap_or_else(|| peer.query_error(error))
            })?;
            self.append(&mut batch, &row)?;
            if batch.n_rows >= self.batch_rows || batch.n_bytes >= BATCH_BYTES {
                sink.send(self.finish(std::mem::replace(&mut batch, self.empty()))?).await;
            }
        }
        if batch.n_rows > 0 {
            sink.send(self.finish(batch)?).await;
        }
        Ok(())
    }

    /// Begins a transaction, in which tables stay what they are, and looks whether they are still what they were described as: a
    /// value of a column that is another one by now would be read as of this one.
    async fn begin(&self, connection: &mut sqlx::SqliteConnection) -> Result<()> {
        let failed = |error| self.file.peer().query_error(error);
        // It has no snapshot before something is read.
        let begin = sqlx::raw_sql("BEGIN; SELECT 1 FROM sqlite_master LIMIT 1");
        begin.execute(&mut *connection).await.map_err(failed)?;
        for Base { name, described } in &self.bases {
            let now = description(connection, name).await.map_err(failed)?;
            if now.is_empty() {
                return Err(Error::new(
                    ErrorKind::RemoteTableNotFound,
                    format!("table {name} is not in the database any more"),
                ));
            }
            let is_same =
                now.starts_with(described) || described.iter().all(|column| now.contains(column));
            if !is_same {
                return Err(changed(name));
            }
        }
        Ok(())
    }

    fn empty(&self) -> Batch {
        let columns = self.projection.iter().filter_map(|index| self.columns.get(*index));
        let values = columns.map(|column| Values::of(column.mapping)).collect();
        Batch { values, n_rows: 0, n_bytes: 0 }
    }

    fn append(&self, batch: &mut Batch, row: &SqliteRow) -> Result<()> {
        batch.n_rows += 1;
        for (position, values) in batch.values.iter_mut().enumerate() {
            let raw =
                row.try_get_raw(position).map_err(|error| self.file.peer().query_error(error))?;
            batch.n_bytes += values.push(raw).map_err(|misfit| {
                let column = self.projection.get(position).and_then(|i| self.columns.get(*i));
                misfit.of(&self.table, column.map_or("", |column| column.name.as_str()))
            })?;
        }
        Ok(())
    }

    fn finish(&self, batch: Batch) -> Result<RecordBatch> {
        let arrays = batch.values.into_iter().map(Values::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.n_rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

struct Batch {
    values: Vec<Values>,
    n_rows: usize,
    n_bytes: usize,
}

enum Values {
    Integer(Vec<Option<i64>>),
    Boolean(Vec<Option<bool>>),
    Text(Vec<Option<String>>),
    Float(Vec<Option<f64>>),
    Decimal(Vec<Option<i128>>, u8, i8),
    Date(Vec<Option<i32>>),
    Timestamp(Vec<Option<i64>>),
    Blob(Vec<Option<Vec<u8>>>),
}

impl Values {
    fn of(mapping: Mapping) -> Self {
        match mapping {
            Mapping::Integer => Self::Integer(Vec::new()),
            Mapping::Boolean => Self::Boolean(Vec::new()),
            Mapping::Text | Mapping::AsText => Self::Text(Vec::new()),
            Mapping::Float => Self::Float(Vec::new()),
            Mapping::Decimal(precision, scale) => Self::Decimal(Vec::new(), precision, scale),
            Mapping::Date => Self::Date(Vec::new()),
            Mapping::Timestamp => Self::Timestamp(Vec::new()),
            Mapping::Blob => Self::Blob(Vec::new()),
        }
    }

    /// Takes a value over and returns its bytes, roughly.
    fn push(&mut self, raw: SqliteValueRef<'_>) -> Result<usize, Misfit> {
        let stored = Stored::read(raw)?;
        let n_bytes = match &stored {
            Stored::Text(text) => text.len(),
            Stored::Blob(bytes) => bytes.len(),
            _ => 8,
        };
        match self {
            Self::Integer(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Integer(number) => Some(number),
                other => return Err(other.misfit("a whole number")),
            }),
            Self::Boolean(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Integer(0) => Some(false),
                Stored::Integer(1) => Some(true),
                other => return Err(other.misfit("0 or 1")),
            }),
            Self::Text(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Text(text) => Some(text),
                other => return Err(other.misfit("text")),
            }),
            Self::Float(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Real(number) => Some(number),
                // Whole numbers up to 2^53 are floats exactly.
                Stored::Integer(number) if number.unsigned_abs() <= 1 << 53 => Some(number as f64),
                other => return Err(other.misfit("a number")),
            }),
            Self::Decimal(values, precision, scale) => values.push(match stored {
                Stored::Null => None,
                Stored::Integer(number) => {
                    Some(parse_decimal(&number.to_string(), *precision, *scale)?)
                }
                // The shortest text that reads back as the same float is what was written.
                Stored::Real(number) if number.is_finite() => {
                    Some(parse_decimal(&number.to_string(), *precision, *scale)?)
                }
                Stored::Text(text) => Some(parse_decimal(&text, *precision, *scale)?),
                other => return Err(other.misfit("a number")),
            }),
            Self::Date(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Text(text) => Some(date(&text)?),
                other => return Err(other.misfit("a date such as 2026-11-22")),
            }),
            Self::Timestamp(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Text(text) => Some(timestamp(&text)?),
                other => return Err(other.misfit("a time such as 2026-11-22 09:30:00")),
            }),
            Self::Blob(values) => values.push(match stored {
                Stored::Null => None,
                Stored::Blob(bytes) => Some(bytes),
                Stored::Text(text) => Some(text.into_bytes()),
                other => return Err(other.misfit("bytes")),
            }),
        }
        Ok(n_bytes)
    }

    fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Integer(values) => Arc::new(Int64Array::from(values)),
            Self::Boolean(values) => Arc::new(BooleanArray::from(values)),
            Self::Text(values) => Arc::new(StringArray::from(values)),
            Self::Float(values) => Arc::new(Float64Array::from(values)),
            Self::Decimal(values, precision, scale) => {
                Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale)?)
            }
            Self::Date(values) => Arc::new(Date32Array::from(values)),
            Self::Timestamp(values) => Arc::new(TimestampMicrosecondArray::from(values)),
            Self::Blob(values) => {
                Arc::new(BinaryArray::from_iter(values.iter().map(Option::as_deref)))
            }
        })
    }
}

/// A value as it lies in the file.
enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Stored {
    fn read(raw: SqliteValueRef<'_>) -> Result<Self, Misfit> {
        fn decode<'r, T: Decode<'r, Sqlite>>(raw: SqliteValueRef<'r>) -> Result<T, Misfit> {
            T::decode(raw).map_err(|error| Misfit::malformed(format!("cannot be read: {error}")))
        }
        if raw.is_null() {
            return Ok(Self::Null);
        }
        let name = raw.type_info().name().to_owned();
        Ok(match name.as_str() {
            "INTEGER" | "INT4" | "BIGINT" | "BOOLEAN" => Self::Integer(decode(raw)?),
            "REAL" | "NUMERIC" => Self::Real(decode(raw)?),
            "TEXT" | "DATE" | "TIME" | "DATETIME" => Self::Text(decode(raw)?),
            _ => Self::Blob(decode(raw)?),
        })
    }

    fn misfit(self, wanted: &str) -> Misfit {
        let found = match self {
            Self::Null => "NULL".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Text(text) => format!("\"{}\"", shortened(&text)),
            Self::Blob(bytes) => format!("{} bytes", bytes.len()),
        };
        misfit(&found, wanted)
    }
}

/// What is no date or time as it is written here, though SQLite keeps any text.
fn no_time(what: &str, text: &str) -> Misfit {
    Misfit::datetime(format!("is no {what}: \"{}\"", shortened(text))).with_hint(
        "Dates are written 2026-11-22, times 2026-11-22 09:30:00. Write it so there, or turn it into that by date() or datetime() in a view or in query().",
    )
}

fn date(text: &str) -> Result<i32, Misfit> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| no_time("date", text))?;
    Ok(date.to_epoch_days())
}

/// Reads a time. SQLite's own functions take one without a zone for UTC, which `Z` says, too; with another zone, the text is not the
/// time.
fn timestamp(text: &str) -> Result<i64, Misfit> {
    let misfit = || no_time("time", text);
    let plain = text.replacen('T', " ", 1);
    let plain = plain.strip_suffix(['Z', 'z']).map_or(plain.as_str(), str::trim_end);
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(plain, format) {
            return Ok(at.and_utc().timestamp_micros());
        }
    }
    let midnight = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| misfit())?;
    Ok(midnight.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
}
