//! Values as the files write them: as PostgreSQL prints them, `NULL` and `(empty)` for what cannot be seen.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, DurationSecondType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::DefaultColumnType;

/// Returns the rows of a batch as text.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect())
        .collect()
}

/// Returns text as a file can show it.
pub(super) fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.replace('\n', "\\n"),
    }
}

fn cell(column: &dyn Array, row: usize) -> String {
    if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return shown(None);
    }
    if let DataType::Duration(_) = column.data_type() {
        return duration(column, row);
    }
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f+00"));
    let text = ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
    shown(Some(match column.data_type() {
        DataType::Boolean => &text[..1],
        DataType::Float32 | DataType::Float64 => text.strip_suffix(".0").unwrap_or(&text),
        _ => &text,
    }))
}

/// `1 day 12:00:00`
fn duration(column: &dyn Array, row: usize) -> String {
    let seconds = arrow::compute::cast(column, &DataType::Duration(TimeUnit::Second)).unwrap();
    let seconds = seconds.as_primitive::<DurationSecondType>().value(row);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = match days {
        0 => String::new(),
        1 => "1 day ".to_owned(),
        _ => format!("{days} days "),
    };
    format!("{days}{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Returns the letter of a type: `I` whole numbers, `R` other numbers, `T` the rest.
pub(super) fn letter(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        t if t.is_integer() => DefaultColumnType::Integer,
        t if t.is_numeric() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}
