//! Dates in Parquet that were counted by another calendar.
//!
//! Java's old date types count days before 15 October 1582 by the Julian calendar, and times before 1900 by a clock that never was.
//! Spark before 3.0 and Hive before 3.1.3 write so, later ones where they are told to, and then say so in the footer. What
//! was written means the date that was shown, so it is counted anew when it is read:
//!
//! 1. [`mark`] looks at a footer, takes the bounds of such columns out of it, which are in the old count, and notes the
//!    columns in it under a key of its own;
//! 2. the reader hands that note on as metadata of the file's schema, from which [`Old::of`] takes it;
//! 3. every use of such a column, in a filter as in the output, becomes one of a [`Recounted`] column.
//!
//! Where the footer does not say it (Hive of old), old dates are refused when they are met, as Spark does unless it is told how
//! to read them.

mod count;
mod expr;
mod reader;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Fields, Schema};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData,
};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use serde::{Deserialize, Serialize};

pub(super) use expr::Recounted;
pub(super) use reader::RecountingReader;

/// 15 October 1582, the first day of the Gregorian calendar, in days since 1970.
const FIRST_GREGORIAN: i64 = -141_427;
/// 1900, from when on local clocks are those of time zones, in days since 1970.
const YEAR_1900: i64 = -25_567;
const SECONDS_OF_DAY: i64 = 86_400;

/// Where the note stands, in the footer and in the schema made of it.
const NOTE: &str = "maru.old_dates";
const LEGACY_DATES: &str = "org.apache.spark.legacyDateTime";
const LEGACY_INT96: &str = "org.apache.spark.legacyINT96";

/// What is to be done with the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Rule {
    /// Counted by both calendars.
    Recount,
    /// Nobody knows: old values are refused.
    Refuse,
}

/// What a footer says of the dates and times in its file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Old {
    /// The zone by whose clock times were counted, as Java calls it.
    zone: String,
    /// By where they stand in the file's schema, see [`below`].
    columns: BTreeMap<String, Rule>,
}

impl Old {
    /// Returns the note in the schema of a file that [`mark`] has looked at.
    pub(super) fn of(file: &Schema) -> Option<Self> {
        serde_json::from_str(file.metadata().get(NOTE)?).ok()
    }

    /// Returns whether a column of the file, or something in it, is noted.
    pub(super) fn is_in(&self, column: &str) -> bool {
        self.columns.keys().any(|path| {
            path.strip_prefix(column).is_some_and(|rest| rest.is_empty() || rest.starts_with('\0'))
        })
    }
}

/// Returns where a part of a nested column stands. Fields are named; the items of a list are `*`, those of a map `k` and `v`.
fn below(path: &str, part: &str) -> String {
    format!("{path}\0{part}")
}

/// Looks at a footer. Returns the one to read the file by if it has dates or times that are so old that it matters how they
/// were counted, and they were counted otherwise, or nobody knows.
///
/// # Errors
/// What the reader says of a schema that makes no sense.
pub(super) fn mark(metadata: &ParquetMetaData) -> parquet::errors::Result<Option<ParquetMetaData>> {
    let file = metadata.file_metadata();
    let writer = Writer::of(file);
    let columns = file.schema_descr().columns();
    let rules = columns.iter().enumerate().map(|(position, column)| {
        let (rule, first) = writer.rule(column)?;
        let is_old = metadata.row_groups().iter().any(|group| may_be_old(group, position, first));
        is_old.then_some(rule)
    });
    let rules = rules.collect::<Vec<_>>();
    if rules.iter().all(Option::is_none) && value(file, NOTE).is_none() {
        return Ok(None);
    }
    let schema = parquet_to_arrow_schema(file.schema_descr(), None)?;
    let mut paths = Vec::new();
    fields(schema.fields(), None, &mut paths);
    let noted = paths.into_iter().zip(&rules).filter_map(|(path, rule)| Some((path, (*rule)?)));
    let old = Old { zone: writer.zone, columns: noted.collect() };
    let note = serde_json::to_string(&old)
        .map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))?;
    let mut pairs = file.key_value_metadata().cloned().unwrap_or_default();
    pairs.retain(|pair| pair.key != NOTE);
    pairs.push(KeyValue::new(NOTE.to_owned(), note));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(pairs),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let groups = metadata.row_groups().iter().map(|group| without_bounds(group, &rules));
    let groups = groups.collect::<parquet::errors::Result<Vec<_>>>()?;
    Ok(Some(ParquetMetaDataBuilder::new(file).set_row_groups(groups).build()))
}

/// Lists where the leaves of some fields stand, in the order in which Parquet numbers them.
fn fields(fields: &Fields, above: Option<&str>, paths: &mut Vec<String>) {
    for field in fields {
        let path = match above {
            Some(above) => below(above, field.name()),
            None => field.name().clone(),
        };
        leaves(field.data_type(), &path, paths);
    }
}

fn leaves(data_type: &DataType, path: &str, paths: &mut Vec<String>) {
    match data_type {
        DataType::Struct(inner) => fields(inner, Some(path), paths),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            leaves(item.data_type(), &below(path, "*"), paths);
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(parts) = entries.data_type() {
                for (part, name) in parts.iter().zip(["k", "v"]) {
                    leaves(part.data_type(), &below(path, name), paths);
                }
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

fn may_be_old(group: &RowGroupMetaData, position: usize, first: i64) -> bool {
    let chunk = group.column(position);
    match least(chunk.statistics()) {
        Some(least) => least < first,
        // Without bounds any value may be old.
        None => {
            let nulls = chunk.statistics().and_then(Statistics::null_count_opt);
            nulls.is_none_or(|nulls| nulls < chunk.num_values().max(0) as u64)
        }
    }
}

fn least(statistics: Option<&Statistics>) -> Option<i64> {
    match statistics? {
        Statistics::Int32(values) => values.min_opt().map(|least| i64::from(*least)),
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    }
}

fn without_bounds(
    group: &RowGroupMetaData,
    rules: &[Option<Rule>],
) -> parquet::errors::Result<RowGroupMetaData> {
    let chunks = group.columns().iter().zip(rules).map(|(chunk, rule)| match rule {
        None => Ok(chunk.clone()),
        Some(_) => {
            let chunk = chunk.clone().into_builder().clear_statistics();
            let chunk = chunk.set_column_index_offset(None).set_column_index_length(None);
            chunk.set_bloom_filter_offset(None).set_bloom_filter_length(None).build()
        }
    });
    let chunks = chunks.collect::<parquet::errors::Result<Vec<_>>>()?;
    // The order that the writer declares was that of the old count.
    group.clone().into_builder().set_sorting_columns(None).set_column_metadata(chunks).build()
}

fn value<'a>(file: &'a FileMetaData, key: &str) -> Option<&'a str> {
    let pairs = file.key_value_metadata()?;
    let found = pairs.iter().find(|pair| pair.key == key)?;
    Some(found.value.as_deref().unwrap_or_default())
}

/// How the program that wrote a file counts. `None`: by the Gregorian calendar.
#[derive(Debug)]
struct Writer {
    dates: Option<Rule>,
    /// Times that are a number of milliseconds or microseconds.
    times: Option<Rule>,
    int96: Option<Rule>,
    /// Times without a time zone are never recounted.
    instants_only: bool,
    zone: String,
}

impl Writer {
    /// Source: Spark 3.5, `DataSourceUtils.datetimeRebaseSpec` and `int96RebaseSpec`; Hive 4.0, `DataWritableReadSupport`.
    fn of(file: &FileMetaData) -> Self {
        let zone = value(file, "org.apache.spark.timeZone").unwrap_or("UTC").to_owned();
        let all = |rule| Self {
            dates: rule,
            times: rule,
            int96: rule,
            instants_only: false,
            zone: "UTC".to_owned(),
        };
        if let Some(version) = value(file, "org.apache.spark.version") {
            let is_legacy = |since: &str, key: &str| {
                (version < since || value(file, key).is_some()).then_some(Rule::Recount)
            };
            let dates = is_legacy("3.0.0", LEGACY_DATES);
            let int96 = is_legacy("3.1.0", LEGACY_INT96);
            return Self { dates, times: dates, int96, instants_only: true, zone };
        }
        match value(file, "writer.date.proleptic") {
            Some(proleptic) if proleptic.eq_ignore_ascii_case("true") => all(None),
            // Since Hive says it, its times have no calendar in them.
            Some(_) => Self { dates: Some(Rule::Recount), ..all(None) },
            None if file.created_by().is_some_and(|by| by.starts_with("parquet-mr")) => {
                all(Some(Rule::Refuse))
            }
            None => all(None),
        }
    }

    /// Returns what is to be done with a column, and its first value that is the same by any count, in the column's own unit;
    /// `None` if there is nothing to do.
    fn rule(&self, column: &ColumnDescriptor) -> Option<(Rule, i64)> {
        let seconds = |rule: Rule| match rule {
            Rule::Recount => YEAR_1900 * SECONDS_OF_DAY,
            Rule::Refuse => FIRST_GREGORIAN * SECONDS_OF_DAY,
        };
        let (rule, per_second) =
            match (column.physical_type(), column.logical_type_ref(), column.converted_type()) {
                (Type::INT32, Some(LogicalType::Date), _)
                | (Type::INT32, _, ConvertedType::DATE) => {
                    return Some((self.dates?, FIRST_GREGORIAN));
                }
                // There are no bounds of this type to look at.
                (Type::INT96, ..) => return Some((self.int96?, i64::MAX)),
                (Type::INT64, Some(LogicalType::Timestamp(time)), _) => {
                    if self.instants_only && !time.is_adjusted_to_u_t_c {
                        return None;
                    }
                    match time.unit {
                        TimeUnit::MILLIS => (self.times?, 1_000),
                        TimeUnit::MICROS => (self.times?, 1_000_000),
                        // They begin in 1677, and no writer of old dates has them.
                        TimeUnit::NANOS => return None,
                    }
                }
                (Type::INT64, None, ConvertedType::TIMESTAMP_MILLIS) => (self.times?, 1_000),
                (Type::INT64, None, ConvertedType::TIMESTAMP_MICROS) => (self.times?, 1_000_000),
                _ => return None,
            };
        Some((rule, seconds(rule) * per_second))
    }
}

#[cfg(test)]
mod tests;
