//! Values as text: of CSV, of JSON, of Hive's lines, of partitions' names.

use std::fmt::Write as _;
use std::io::Write as _;

use arrow::array::{Array, AsArray, LargeStringArray, OffsetSizeTrait, StringArray};
use arrow::datatypes::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime};
use maru_core::{Error, ErrorKind, Result};

/// Whose text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As PostgreSQL writes values; lists, structs and maps as JSON.
    Csv,
    /// Quoted where it is no number.
    Json,
    /// As Hive reads them.
    Hive,
}

/// Writes the value of a row that is not NULL.
pub(super) type Cells<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + Send + 'a>;

/// Looks whether values of a type have a text.
///
/// # Errors
/// 0A000 naming the type.
pub fn check_text_type(data_type: &DataType, nested: bool) -> Result<()> {
    use DataType as D;
    match data_type {
        D::Boolean
        | D::Utf8
        | D::LargeUtf8
        | D::Binary
        | D::LargeBinary
        | D::Float32
        | D::Float64
        | D::Decimal128(..)
        | D::Date32
        | D::Time64(TimeUnit::Microsecond)
        | D::Timestamp(TimeUnit::Microsecond, _)
        | D::Null => Ok(()),
        other if other.is_integer() => Ok(()),
        D::List(item) | D::LargeList(item) if nested => check_text_type(item.data_type(), true),
        D::Struct(fields) if nested => {
            fields.iter().try_for_each(|field| check_text_type(field.data_type(), true))
        }
        D::Map(entries, _) if nested => check_text_type(entries.data_type(), true),
        other => {
            let shown = match other {
                D::Interval(_) => "interval".to_owned(),
                other => other.to_string(),
            };
            Err(Error::unsupported(format!("values of type {shown} cannot be written as text"))
                .with_hint("Write them as text of your own: CAST(… AS text)."))
        }
    }
}

fn number<'a, T>(array: &'a dyn Array) -> Cells<'a>
where
    T: ArrowPrimitiveType,
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>();
    Box::new(move |row, out| {
        let _ = write!(out, "{}", values.value(row));
        Ok(())
    })
}

/// Fractions as their shortest text, which every reader takes for the same number.
fn fraction(value: f64, shown: &str, style: Style, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(shown.as_bytes());
        return;
    }
    // JSON has no such numbers: there they are texts, as PostgreSQL writes them.
    let text = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    put(text, style, out);
}

/// Puts text between quotes where the style wants it.
fn put(text: &str, style: Style, out: &mut Vec<u8>) {
    match style {
        Style::Json => json_string(text, out),
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// Writes a string of JSON.
pub(super) fn json_string(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn date_out_of_range() -> Error {
    Error::new(ErrorKind::OutOfRange, "a date before the year 1 or behind 9999 has no text")
}

pub(super) fn day_text(days: i32) -> Result<String> {
    let date = Date32Type::to_naive_date_opt(days).filter(|d| (1..=9999).contains(&d.year()));
    Ok(date.ok_or_else(date_out_of_range)?.format("%Y-%m-%d").to_string())
}

fn moment(micros: i64) -> Result<NaiveDateTime> {
    let time = DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc());
    time.filter(|time| (1..=9999).contains(&time.year())).ok_or_else(date_out_of_range)
}

pub(super) fn time_text(micros: i64, zoned: bool, style: Style) -> Result<String> {
    let time = moment(micros)?;
    let mut text = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let rest = micros.rem_euclid(1_000_000);
    if rest > 0 {
        let digits = format!("{rest:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    if style == Style::Json {
        text = text.replacen(' ', "T", 1);
    }
    if zoned {
        text.push_str(if style == Style::Json { "Z" } else { "+00" });
    }
    Ok(text)
}

fn bytes_text(bytes: &[u8], style: Style) -> String {
    if style == Style::Hive {
        return STANDARD.encode(bytes);
    }
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns what writes the values of an array.
///
/// # Errors
/// 0A000 for a type without a text.
pub(super) fn cells<'a>(array: &'a dyn Array, style: Style) -> Result<Cells<'a>> {
    use DataType as D;
    Ok(match array.data_type() {
        D::Null => Box::new(|_, _| Ok(())),
        D::Boolean => {
            let values = array.as_boolean();
            Box::new(move |row, out| {
                out.extend_from_slice(if values.value(row) { b"true" } else { b"false" });
                Ok(())
            })
        }
        D::Int8 => number::<Int8Type>(array),
        D::Int16 => number::<Int16Type>(array),
        D::Int32 => number::<Int32Type>(array),
        D::Int64 => number::<Int64Type>(array),
        D::UInt8 => number::<UInt8Type>(array),
        D::UInt16 => number::<UInt16Type>(array),
        D::UInt32 => number::<UInt32Type>(array),
        D::UInt64 => number::<UInt64Type>(array),
        D::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| {
                let value = values.value(row);
                fraction(f64::from(value), &format!("{value:?}"), style, out);
                Ok(())
            })
        }
        D::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| {
                let value = values.value(row);
                fraction(value, &format!("{value:?}"), style, out);
                Ok(())
            })
        }
        D::Decimal128(..) => {
            let values = array.as_primitive::<Decimal128Type>();
            Box::new(move |row, out| {
                out.extend_from_slice(values.value_as_string(row).as_bytes());
                Ok(())
            })
        }
        D::Utf8 => {
            let values: &StringArray = array.as_string();
            Box::new(move |row, out| {
                put(values.value(row), style, out);
                Ok(())
            })
        }
        D::LargeUtf8 => {
            let values: &LargeStringArray = array.as_string();
            Box::new(move |row, out| {
                put(values.value(row), style, out);
                Ok(())
            })
        }
        D::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(move |row, out| {
                put(&bytes_text(values.value(row), style), style, out);
                Ok(())
            })
        }
        D::LargeBinary => {
            let values = array.as_binary::<i64>();
            Box::new(move |row, out| {
                put(&bytes_text(values.value(row), style), style, out);
                Ok(())
            })
        }
        D::Date32 => {
            let values = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| {
                put(&day_text(values.value(row))?, style, out);
                Ok(())
            })
        }
        D::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>();
            Box::new(move |row, out| {
                let micros = values.value(row);
                let seconds = u32::try_from(micros / 1_000_000).unwrap_or_default();
                let nanos = u32::try_from(micros % 1_000_000 * 1000).unwrap_or_default();
                let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos);
                let text = time.map(|time| time.format("%H:%M:%S%.f").to_string());
                put(&text.unwrap_or_else(|| "24:00:00".to_owned()), style, out);
                Ok(())
            })
        }
        D::Timestamp(TimeUnit::Microsecond, zone) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            let zoned = zone.is_some();
            Box::new(move |row, out| {
                put(&time_text(values.value(row), zoned, style)?, style, out);
                Ok(())
            })
        }
        D::List(_) => list::<i32>(array)?,
        D::LargeList(_) => list::<i64>(array)?,
        D::Struct(fields) => {
            let values = array.as_struct();
            let parts = fields.iter().zip(values.columns()).map(|(field, column)| {
                let mut key = Vec::new();
                json_string(field.name(), &mut key);
                key.push(b':');
                Ok((key, column, cells(column.as_ref(), Style::Json)?))
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            Box::new(move |row, out| {
                out.push(b'{');
                for (index, (key, column, cells)) in parts.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    one(*column, cells, row, out)?;
                }
                out.push(b'}');
                Ok(())
            })
        }
        D::Map(..) => {
            let values = array.as_map();
            let is_text = values.keys().data_type().is_string();
            let keys = cells(values.keys().as_ref(), Style::Json)?;
            let items = cells(values.values().as_ref(), Style::Json)?;
            let offsets = values.value_offsets();
            Box::new(move |row, out| {
                out.push(b'{');
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                for index in start..end {
                    if index > start {
                        out.push(b',');
                    }
                    if is_text {
                        keys(index, out)?;
                    } else {
                        // Names of members are strings, whatever the keys are.
                        let mut key = Vec::new();
                        keys(index, &mut key)?;
                        match key.first() {
                            Some(b'"') => out.extend_from_slice(&key),
                            _ => json_string(&String::from_utf8_lossy(&key), out),
                        }
                    }
                    out.push(b':');
                    one(values.values(), &items, index, out)?;
                }
                out.push(b'}');
                Ok(())
            })
        }
        other => {
            return check_text_type(other, true).and(Err(Error::internal("a type without cells")));
        }
    })
}

fn list<'a, O: OffsetSizeTrait>(array: &'a dyn Array) -> Result<Cells<'a>> {
    let values = array.as_list::<O>();
    let items = cells(values.values().as_ref(), Style::Json)?;
    let offsets = values.value_offsets();
    Ok(Box::new(move |row, out| {
        out.push(b'[');
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        for index in start..end {
            if index > start {
                out.push(b',');
            }
            one(values.values(), &items, index, out)?;
        }
        out.push(b']');
        Ok(())
    }))
}

fn one(array: &dyn Array, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    cells(row, out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, TimestampMicrosecondArray,
    };

    use super::*;

    fn texts(array: ArrayRef, style: Style) -> Vec<String> {
        let cells = cells(array.as_ref(), style).unwrap();
        let text = |row| {
            let mut out = Vec::new();
            cells(row, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        (0..array.len()).map(text).collect()
    }

    #[test]
    fn values_have_the_text_that_reads_back_as_them() {
        let fractions: ArrayRef =
            Arc::new(Float64Array::from(vec![0.1, -1e300, 5e-324, f64::NAN, f64::NEG_INFINITY]));
        let wanted = ["0.1", "-1e300", "5e-324", "NaN", "-Infinity"];
        assert_eq!(texts(fractions.clone(), Style::Hive), wanted);
        assert_eq!(texts(fractions, Style::Json)[3..], ["\"NaN\"", "\"-Infinity\""]);
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, 1_500_000]));
        let wanted = ["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", "1970-01-01 00:00:01.5"];
        assert_eq!(texts(times.clone(), Style::Csv), wanted);
        assert_eq!(texts(times, Style::Json)[2], "\"1970-01-01T00:00:01.5\"");
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]]));
        assert_eq!(texts(bytes.clone(), Style::Csv), ["\\xff00"]);
        assert_eq!(texts(bytes, Style::Hive), ["/wA="]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![-719_162, 2_932_896]));
        assert_eq!(texts(days, Style::Hive), ["0001-01-01", "9999-12-31"]);
    }
}
