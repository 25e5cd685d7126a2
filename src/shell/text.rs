//! Values as PostgreSQL writes them, so that the embedded shell prints what psql prints over the wire.

use crate::float_text::{DOUBLE_DIGITS, REAL_DIGITS, write_float};
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    RecordBatch, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, DurationNanosecondType, Float16Type, Float32Type, Float64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
};
use arrow::temporal_conversions as temporal;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};
use maru_core::{Error, ErrorKind, Result, ResultExt};

use super::backend::{ColumnKind, Row};

/// Returns how values of a type are laid out and written in JSON.
pub fn kind_of(data_type: &DataType) -> ColumnKind {
    match data_type {
        DataType::Boolean => ColumnKind::Boolean,
        DataType::Dictionary(_, value) => kind_of(value),
        other if other.is_numeric() => ColumnKind::Number,
        _ => ColumnKind::Text,
    }
}

/// Returns the rows of a batch as text; `None` is NULL.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> =
        (0..batch.num_rows()).map(|_| Vec::with_capacity(batch.num_columns())).collect();
    for array in batch.columns() {
        for (row, value) in rows.iter_mut().zip(column(array)?) {
            row.push(value);
        }
    }
    Ok(rows)
}

/// Returns the values of a column as text.
fn column(array: &ArrayRef) -> Result<Vec<Option<String>>> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Null => vec![None; array.len()],
        T::Boolean => array
            .as_boolean()
            .iter()
            .map(|v| v.map(|v| if v { "t" } else { "f" }.to_owned()))
            .collect(),
        T::Utf8 => owned(array.as_string::<i32>().iter()),
        T::LargeUtf8 => owned(array.as_string::<i64>().iter()),
        T::Utf8View => owned(array.as_string_view().iter()),
        T::Binary => array.as_binary::<i32>().iter().map(|v| v.map(bytea)).collect(),
        T::LargeBinary => array.as_binary::<i64>().iter().map(|v| v.map(bytea)).collect(),
        T::BinaryView => array.as_binary_view().iter().map(|v| v.map(bytea)).collect(),
        T::FixedSizeBinary(_) => {
            array.as_fixed_size_binary().iter().map(|v| v.map(bytea)).collect()
        }
        T::Float16 => {
            let values = array.as_primitive::<Float16Type>().iter();
            values
                .map(|v| v.map(|v| float(f64::from(v.to_f32()), v.to_f32(), REAL_DIGITS)))
                .collect()
        }
        T::Float32 => {
            let values = array.as_primitive::<Float32Type>().iter();
            values.map(|v| v.map(|v| float(f64::from(v), v, REAL_DIGITS))).collect()
        }
        T::Float64 => {
            let values = array.as_primitive::<Float64Type>().iter();
            values.map(|v| v.map(|v| float(v, v, DOUBLE_DIGITS))).collect()
        }
        T::Decimal32(p, s) => decimal::<Decimal32Type>(array, *p, *s),
        T::Decimal64(p, s) => decimal::<Decimal64Type>(array, *p, *s),
        T::Decimal128(p, s) => decimal::<Decimal128Type>(array, *p, *s),
        T::Decimal256(p, s) => decimal::<Decimal256Type>(array, *p, *s),
        T::Date32 => each(array, |i| {
            temporal::date32_to_datetime(array.as_primitive::<Date32Type>().value(i))
                .map(|d| d.format("%Y-%m-%d").to_string())
        })?,
        T::Date64 => each(array, |i| {
            temporal::date64_to_datetime(array.as_primitive::<Date64Type>().value(i))
                .map(|d| d.format("%Y-%m-%d").to_string())
        })?,
        T::Time32(TimeUnit::Second) => each(array, |i| {
            temporal::time32s_to_time(array.as_primitive::<Time32SecondType>().value(i)).map(time)
        })?,
        T::Time32(_) => each(array, |i| {
            temporal::time32ms_to_time(array.as_primitive::<Time32MillisecondType>().value(i))
                .map(time)
        })?,
        T::Time64(TimeUnit::Microsecond) => each(array, |i| {
            temporal::time64us_to_time(array.as_primitive::<Time64MicrosecondType>().value(i))
                .map(time)
        })?,
        T::Time64(_) => each(array, |i| {
            temporal::time64ns_to_time(array.as_primitive::<Time64NanosecondType>().value(i))
                .map(time)
        })?,
        T::Timestamp(_, zone) => timestamps(array, zone.as_deref())?,
        T::Interval(unit) => intervals(array, *unit)?,
        T::Duration(_) => durations(array)?,
        T::List(_) => lists(array.as_list::<i32>())?,
        T::LargeList(_) => lists(array.as_list::<i64>())?,
        T::FixedSizeList(..) => fixed_lists(array.as_fixed_size_list())?,
        T::Struct(_) => structs(array.as_struct())?,
        T::Map(..) => maps(array.as_map())?,
        T::Dictionary(_, value) => column(&cast(array, value).map_err(bad)?)?,
        _ => other(array)?,
    })
}

fn bad(cause: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "cannot write a value as text").with_cause(cause)
}

fn owned<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Vec<Option<String>> {
    values.map(|value| value.map(str::to_owned)).collect()
}

/// Writes every value that is not NULL; a value outside what can be written is an error, never a guess.
fn each(array: &dyn Array, write: impl Fn(usize) -> Option<String>) -> Result<Vec<Option<String>>> {
    (0..array.len())
        .map(|i| match array.is_valid(i) {
            false => Ok(None),
            true => write(i).map(Some).ok_or_else(|| {
                Error::new(
                    ErrorKind::OutOfRange,
                    format!("value of type {} is out of range", array.data_type()),
                )
            }),
        })
        .collect()
}

/// Integers, durations and whatever else Arrow writes as PostgreSQL does.
fn other(array: &dyn Array) -> Result<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options).map_err(bad)?;
    (0..array.len())
        .map(|i| match array.is_valid(i) {
            true => formatter.value(i).try_to_string().map(Some).map_err(bad),
            false => Ok(None),
        })
        .collect()
}

fn decimal<T: DecimalType>(array: &ArrayRef, precision: u8, scale: i8) -> Vec<Option<String>> {
    let values = array.as_primitive::<T>().iter();
    values.map(|value| value.map(|value| T::format_decimal(value, precision, scale))).collect()
}

fn bytea(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn float(value: f64, number: impl std::fmt::LowerExp, digits: i32) -> String {
    let mut text = String::new();
    write_float(&mut text, value, number, digits);
    text
}

/// Writes `.25` for 250 ms, nothing for none.
fn fraction(nanoseconds: u32) -> String {
    match nanoseconds {
        0 => String::new(),
        some => format!(".{some:09}").trim_end_matches('0').to_owned(),
    }
}

fn time(time: NaiveTime) -> String {
    format!("{}{}", time.format("%H:%M:%S"), fraction(time.nanosecond()))
}

fn datetime(datetime: NaiveDateTime) -> String {
    format!("{}{}", datetime.format("%Y-%m-%d %H:%M:%S"), fraction(datetime.nanosecond()))
}

fn timestamps(array: &ArrayRef, zone: Option<&str>) -> Result<Vec<Option<String>>> {
    let nanoseconds_each = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1_i128,
    };
    let numbers = cast(array, &DataType::Int64).map_err(bad)?;
    let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
    let zone = zone
        .map(|zone| zone.parse::<arrow::array::timezone::Tz>())
        .transpose()
        .or_error(ErrorKind::Internal, || "unknown time zone in a result".to_owned())?;
    each(array, |i| {
        let nanoseconds = i128::from(numbers.value(i)) * nanoseconds_each;
        let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
        let rest = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?;
        let utc = DateTime::<Utc>::from_timestamp(seconds, rest)?.naive_utc();
        let Some(zone) = &zone else { return Some(datetime(utc)) };
        let local = zone.from_utc_datetime(&utc);
        let offset = local.offset().fix().local_minus_utc();
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
        let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
        Some(format!("{}{sign}{hours:02}{minutes}", datetime(local.naive_local())))
    })
}

fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Result<Vec<Option<String>>> {
    each(array, |i| {
        Some(match unit {
            IntervalUnit::YearMonth => {
                interval(array.as_primitive::<IntervalYearMonthType>().value(i), 0, 0)
            }
            IntervalUnit::DayTime => {
                let value = array.as_primitive::<IntervalDayTimeType>().value(i);
                interval(0, value.days, i64::from(value.milliseconds) * 1_000_000)
            }
            IntervalUnit::MonthDayNano => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(i);
                interval(value.months, value.days, value.nanoseconds)
            }
        })
    })
}

/// Full days count as such, as in PostgreSQL where it subtracts timestamps.
fn durations(array: &ArrayRef) -> Result<Vec<Option<String>>> {
    const DAY: i64 = 86_400_000_000_000;
    let numbers = cast(array, &DataType::Duration(TimeUnit::Nanosecond)).map_err(bad)?;
    let numbers = numbers.as_primitive::<DurationNanosecondType>();
    each(array, |i| {
        let value = numbers.value(i);
        Some(interval(0, (value / DAY) as i32, value % DAY))
    })
}

fn interval(months: i32, days: i32, nanoseconds: i64) -> String {
    let mut parts = Vec::new();
    for (number, one) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        match number {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            _ => parts.push(format!("{number} {one}s")),
        }
    }
    if nanoseconds != 0 || parts.is_empty() {
        let sign = if nanoseconds < 0 { "-" } else { "" };
        let total = nanoseconds.unsigned_abs();
        let (seconds, rest) = (total / 1_000_000_000, (total % 1_000_000_000) as u32);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        parts.push(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(rest)));
    }
    parts.join(" ")
}

fn lists<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Vec<Option<String>>> {
    let nulls = (0..array.len()).map(|i| array.is_valid(i));
    nulls.zip(0..).map(|(valid, i)| valid.then(|| list(&array.value(i))).transpose()).collect()
}

fn fixed_lists(array: &FixedSizeListArray) -> Result<Vec<Option<String>>> {
    let nulls = (0..array.len()).map(|i| array.is_valid(i));
    nulls.zip(0..).map(|(valid, i)| valid.then(|| list(&array.value(i))).transpose()).collect()
}

/// `{1,NULL,"a b"}`
fn list(values: &ArrayRef) -> Result<String> {
    let nested = matches!(
        values.data_type(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    );
    let items = column(values)?.into_iter().map(|value| match value {
        None => "NULL".to_owned(),
        Some(text) if nested => text,
        Some(text) => {
            let odd = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
            let quote = text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(odd);
            match quote {
                true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
                false => text,
            }
        }
    });
    Ok(format!("{{{}}}", items.collect::<Vec<_>>().join(",")))
}

/// `(1,,"a b")`
fn structs(array: &StructArray) -> Result<Vec<Option<String>>> {
    let columns = array.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
    each(array, |i| {
        let fields = columns.iter().map(|column| match column.get(i).and_then(Option::as_ref) {
            None => String::new(),
            Some(text) => {
                let odd = |c: char| matches!(c, '(' | ')' | ',' | '"' | '\\') || c.is_whitespace();
                match text.is_empty() || text.contains(odd) {
                    true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
                    false => text.clone(),
                }
            }
        });
        Some(format!("({})", fields.collect::<Vec<_>>().join(",")))
    })
}

/// `{"k": "v"}`: PostgreSQL has no maps, so they are written as JSON objects of text.
fn maps(array: &MapArray) -> Result<Vec<Option<String>>> {
    (0..array.len())
        .map(|i| {
            if array.is_null(i) {
                return Ok(None);
            }
            let entries = array.value(i);
            let (keys, values) = (column(entries.column(0))?, column(entries.column(1))?);
            let pairs = keys.into_iter().zip(values).map(|(key, value)| {
                let value = serde_json::Value::from(value);
                format!("{}: {value}", serde_json::Value::from(key))
            });
            Ok(Some(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn texts(array: impl Array + 'static) -> Vec<String> {
        let array: ArrayRef = Arc::new(array);
        column(&array).unwrap().into_iter().map(|v| v.unwrap_or_else(|| "-".to_owned())).collect()
    }

    #[test]
    fn numbers_are_written_as_postgres_writes_them() {
        let floats =
            vec![1.0, 0.5, 1e15, 123456789012345.0, 1e-5, 0.0001, -2.25, f64::NAN, -0.0, 1e300];
        let expected = [
            "1",
            "0.5",
            "1e+15",
            "123456789012345",
            "1e-05",
            "0.0001",
            "-2.25",
            "NaN",
            "-0",
            "1e+300",
        ];
        assert_eq!(texts(Float64Array::from(floats)), expected);
        assert_eq!(texts(Float32Array::from(vec![0.1, 1e6, 123456.0])), ["0.1", "1e+06", "123456"]);
        let decimals = Decimal128Array::from(vec![Some(-5), Some(12345), None]);
        assert_eq!(
            texts(decimals.with_precision_and_scale(10, 2).unwrap()),
            ["-0.05", "123.45", "-"]
        );
        assert_eq!(texts(BooleanArray::from(vec![true, false])), ["t", "f"]);
        assert_eq!(texts(BinaryArray::from(vec![b"\x00\xff".as_slice()])), ["\\x00ff"]);
    }

    #[test]
    fn times_are_written_as_postgres_writes_them() {
        let micros = vec![0, 1_500_000, -1];
        let plain = TimestampMicrosecondArray::from(micros.clone());
        assert_eq!(
            texts(plain),
            ["1970-01-01 00:00:00", "1970-01-01 00:00:01.5", "1969-12-31 23:59:59.999999"]
        );
        let zoned = TimestampMicrosecondArray::from(micros).with_timezone("+05:30");
        assert_eq!(texts(zoned)[0], "1970-01-01 05:30:00+05:30");
        assert_eq!(texts(Date32Array::from(vec![19_000])), ["2022-01-08"]);
        assert_eq!(texts(Time64MicrosecondArray::from(vec![3_600_000_250])), ["01:00:00.00025"]);
        assert_eq!(interval(14, 3, 3_723_000_000_000), "1 year 2 mons 3 days 01:02:03");
        assert_eq!(interval(0, 0, 0), "00:00:00");
    }

    #[test]
    fn lists_and_structs_quote_what_needs_it() {
        let ints = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
        ]);
        assert_eq!(texts(ints), ["{1,NULL}", "-"]);
        let words: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a b"), Some(""), Some("null"), Some("x")]));
        assert_eq!(list(&words).unwrap(), r#"{"a b","","null",x}"#);
        let field = Arc::new(arrow::datatypes::Field::new("w", DataType::Utf8, true));
        assert_eq!(
            texts(StructArray::from(vec![(field, words)])),
            [r#"("a b")"#, r#"("")"#, "(null)", "(x)"]
        );
    }
}
