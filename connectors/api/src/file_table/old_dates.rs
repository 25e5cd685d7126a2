//! Dates in Parquet that were counted by another calendar.
//!
//! Java's old date types count days before 15 October 1582 by the Julian calendar, and times before 1900 by local clocks. Spark before 3.0 and Hive
//! before 3.1.3 write so, later ones where they are told to, and then say so in the footer. Bounds are in the same count, so files would be
//! left out by wrong ones: such a file is refused as a whole. Where the footer does not say it (Hive of old), Spark
//! refuses old dates too unless it is told how to read them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, Result};
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

/// 15 October 1582, the first day of the Gregorian calendar, in days since 1970.
const FIRST_GREGORIAN: i64 = -141_427;
/// 1900, from when on local clocks are those of time zones, in days since 1970.
const YEAR_1900: i64 = -25_567;
const SECONDS_OF_DAY: i64 = 86_400;

/// How a file's dates are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Gregorian,
    /// By both calendars, as the footer says.
    Hybrid,
    /// Written by Java's library for a program that does not say.
    Unknown,
}

/// Looks at a footer.
///
/// # Errors
/// 0A000 if the file has dates or times that are so old that it matters how they were counted, and they were counted
/// otherwise, or nobody knows.
pub(super) fn check(metadata: &ParquetMetaData, path: &Path) -> Result<()> {
    let file = metadata.file_metadata();
    let count = count_of(file);
    if count == Count::Gregorian {
        return Ok(());
    }
    for (position, column) in file.schema_descr().columns().iter().enumerate() {
        // There are no bounds of this type to look at.
        if column.physical_type() == Type::INT96 && has(file, LEGACY_INT96) {
            return Err(refused(column, count, path));
        }
        let Some(first) = first_sure(column, count) else { continue };
        let is_old = metadata.row_groups().iter().any(|group| {
            let chunk = group.column(position);
            match least(chunk.statistics()) {
                Some(least) => least < first,
                // Without bounds any value may be old.
                None => {
                    let all_null = chunk
                        .statistics()
                        .and_then(Statistics::null_count_opt)
                        .is_some_and(|nulls| nulls >= chunk.num_values().max(0) as u64);
                    count == Count::Hybrid && !all_null
                }
            }
        });
        if is_old {
            return Err(refused(column, count, path));
        }
    }
    Ok(())
}

const LEGACY_INT96: &str = "org.apache.spark.legacyINT96";

fn refused(column: &ColumnDescriptor, count: Count, path: &Path) -> Error {
    let how = match count {
        Count::Hybrid => "counted by the calendar that Java once had",
        _ => "and does not say by which calendar they are counted",
    };
    Error::unsupported(format!("file \"{path}\" has dates or times of old {how}"))
        .with_detail(format!(
            "Column \"{}\" has dates before 15 October 1582, or times before 1900.",
            column.path().string()
        ))
        .with_hint(
            "Write the file again with Spark 3 (spark.sql.parquet.datetimeRebaseModeInWrite = CORRECTED) or Hive 4.",
        )
}

fn value<'a>(file: &'a FileMetaData, key: &str) -> Option<&'a str> {
    let pairs = file.key_value_metadata()?;
    let found = pairs.iter().find(|pair| pair.key == key)?;
    Some(found.value.as_deref().unwrap_or_default())
}

fn has(file: &FileMetaData, key: &str) -> bool {
    value(file, key).is_some()
}

/// Source: Spark 3.5, `DataSourceUtils.datetimeRebaseSpec`; Hive 4.0, `DataWritableReadSupport`.
fn count_of(file: &FileMetaData) -> Count {
    if let Some(version) = value(file, "org.apache.spark.version") {
        let is_old = version.starts_with("1.") || version.starts_with("2.");
        let says_so = has(file, "org.apache.spark.legacyDateTime") || has(file, LEGACY_INT96);
        return if is_old || says_so { Count::Hybrid } else { Count::Gregorian };
    }
    match value(file, "writer.date.proleptic") {
        Some(proleptic) if proleptic.eq_ignore_ascii_case("true") => Count::Gregorian,
        Some(_) => Count::Hybrid,
        None if file.created_by().is_some_and(|by| by.starts_with("parquet-mr")) => Count::Unknown,
        None => Count::Gregorian,
    }
}

/// Returns the first value of a column that is the same by any count, in the column's own unit; `None` for columns of
/// other things.
fn first_sure(column: &ColumnDescriptor, count: Count) -> Option<i64> {
    let first_day = if count == Count::Hybrid { YEAR_1900 } else { FIRST_GREGORIAN };
    let seconds = first_day * SECONDS_OF_DAY;
    match (column.physical_type(), column.logical_type_ref(), column.converted_type()) {
        (Type::INT32, Some(LogicalType::Date), _) | (Type::INT32, _, ConvertedType::DATE) => {
            Some(FIRST_GREGORIAN)
        }
        (Type::INT64, Some(LogicalType::Timestamp(time)), _) => Some(match time.unit {
            TimeUnit::MILLIS => seconds * 1_000,
            TimeUnit::MICROS => seconds * 1_000_000,
            // They begin in 1677.
            TimeUnit::NANOS if count == Count::Hybrid => seconds * 1_000_000_000,
            TimeUnit::NANOS => return None,
        }),
        (Type::INT64, None, ConvertedType::TIMESTAMP_MILLIS) => Some(seconds * 1_000),
        (Type::INT64, None, ConvertedType::TIMESTAMP_MICROS) => Some(seconds * 1_000_000),
        _ => None,
    }
}

fn least(statistics: Option<&Statistics>) -> Option<i64> {
    match statistics? {
        Statistics::Int32(values) => values.min_opt().map(|least| i64::from(*least)),
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    }
}

/// A reader that looks at the footer before anything else is read.
pub(super) struct CheckedReader {
    pub(super) inner: Box<dyn AsyncFileReader + Send>,
    pub(super) path: Path,
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.inner.get_metadata(options).await?;
            match check(&metadata, &self.path) {
                Ok(()) => Ok(metadata),
                Err(error) => Err(ParquetError::External(Box::new(error))),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
