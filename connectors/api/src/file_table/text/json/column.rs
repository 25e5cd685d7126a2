//! Columns under construction out of JSON values, nested to any depth.
//!
//! A value is taken if its column holds exactly what is written, as a cast of PostgreSQL's would from the same text,
//! only that nothing is rounded away: `1e3` is an integer, `1.5` is none. Columns of text take every value as it is
//! written. The one rounding is that of floating point, to the nearest value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Float32Builder,
    Float64Builder, Int64Builder, ListArray, MapArray, NullBufferBuilder, StringBuilder,
    StructArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::util::display::FormatOptions;
use maru_core::{Error, ErrorKind, Result};

use super::number::{self, Misfit};
use crate::file_table::text::json_text::{Kind, Scanner, Value};
use crate::file_table::text::typed;
use crate::file_table::type_name;

/// Characters of a value that an error shows.
const SHOWN_CHARS: usize = 60;

/// A column that values are appended to.
pub(super) struct Column {
    data_type: DataType,
    builder: Builder,
}

enum Builder {
    Boolean(BooleanBuilder),
    /// Of every width, which is made of it at the end.
    Integer {
        builder: Int64Builder,
        min: i64,
        max: i64,
    },
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal {
        builder: Decimal128Builder,
        precision: u8,
        scale: i8,
    },
    Text(StringBuilder),
    Binary(BinaryBuilder),
    /// Dates, times and intervals: texts until the end, each with the line it is from.
    Cast {
        builder: StringBuilder,
        lines: Vec<u64>,
    },
    List {
        field: FieldRef,
        ends: Vec<i32>,
        valid: NullBufferBuilder,
        items: Box<Column>,
    },
    Struct {
        fields: Fields,
        names: HashMap<String, usize>,
        valid: NullBufferBuilder,
        columns: Vec<Column>,
    },
    Map {
        entries: FieldRef,
        fields: Fields,
        ends: Vec<i32>,
        valid: NullBufferBuilder,
        keys: Box<Column>,
        values: Box<Column>,
    },
}

impl Column {
    /// # Errors
    /// 0A000 for a type that JSON does not hold.
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        use DataType as T;
        let integer = |min, max| Builder::Integer { builder: Int64Builder::new(), min, max };
        let builder = match data_type {
            T::Boolean => Builder::Boolean(BooleanBuilder::new()),
            T::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
            T::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
            T::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
            T::Int64 => integer(i64::MIN, i64::MAX),
            T::UInt8 => integer(0, u8::MAX.into()),
            T::UInt16 => integer(0, u16::MAX.into()),
            T::UInt32 => integer(0, u32::MAX.into()),
            T::Float32 => Builder::Float32(Float32Builder::new()),
            T::Float64 => Builder::Float64(Float64Builder::new()),
            T::Decimal128(precision, scale) => Builder::Decimal {
                builder: Decimal128Builder::new().with_data_type(data_type.clone()),
                precision: *precision,
                scale: *scale,
            },
            T::Utf8 | T::LargeUtf8 | T::Utf8View => Builder::Text(StringBuilder::new()),
            T::Binary | T::LargeBinary | T::BinaryView => Builder::Binary(BinaryBuilder::new()),
            T::Date32
            | T::Date64
            | T::Time32(_)
            | T::Time64(_)
            | T::Timestamp(..)
            | T::Interval(_) => Builder::Cast { builder: StringBuilder::new(), lines: Vec::new() },
            T::List(field) => Builder::List {
                field: Arc::clone(field),
                ends: vec![0],
                valid: NullBufferBuilder::new(0),
                items: Box::new(Self::new(field.data_type())?),
            },
            T::Struct(fields) => Builder::Struct {
                fields: fields.clone(),
                names: by_name(fields),
                valid: NullBufferBuilder::new(0),
                columns: fields
                    .iter()
                    .map(|field| Self::new(field.data_type()))
                    .collect::<Result<_>>()?,
            },
            T::Map(entries, _) => {
                let T::Struct(fields) = entries.data_type() else {
                    return Err(Error::internal("a map without entries"));
                };
                let [key, value] = fields.as_ref() else {
                    return Err(Error::internal("a map has keys and values"));
                };
                Builder::Map {
                    entries: Arc::clone(entries),
                    fields: fields.clone(),
                    ends: vec![0],
                    valid: NullBufferBuilder::new(0),
                    keys: Box::new(Self::new(key.data_type())?),
                    values: Box::new(Self::new(value.data_type())?),
                }
            }
            other => {
                return Err(Error::unsupported(format!(
                    "columns of type {other} cannot be read from JSON"
                ))
                .with_hint("Declare the column as text and cast it."));
            }
        };
        Ok(Self { data_type: data_type.clone(), builder })
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        match &self.builder {
            Builder::Boolean(builder) => builder.len(),
            Builder::Integer { builder, .. } => builder.len(),
            Builder::Float32(builder) => builder.len(),
            Builder::Float64(builder) => builder.len(),
            Builder::Decimal { builder, .. } => builder.len(),
            Builder::Text(builder) | Builder::Cast { builder, .. } => builder.len(),
            Builder::Binary(builder) => builder.len(),
            Builder::List { valid, .. }
            | Builder::Struct { valid, .. }
            | Builder::Map { valid, .. } => valid.len(),
        }
    }

    pub(super) fn append_null(&mut self, line: u64) -> Result<()> {
        match &mut self.builder {
            Builder::Boolean(builder) => builder.append_null(),
            Builder::Integer { builder, .. } => builder.append_null(),
            Builder::Float32(builder) => builder.append_null(),
            Builder::Float64(builder) => builder.append_null(),
            Builder::Decimal { builder, .. } => builder.append_null(),
            Builder::Text(builder) => builder.append_null(),
            Builder::Binary(builder) => builder.append_null(),
            Builder::Cast { builder, lines } => {
                builder.append_null();
                lines.push(line);
            }
            Builder::List { ends, valid, items, .. } => close(ends, items, valid, false)?,
            Builder::Map { ends, valid, keys, .. } => close(ends, keys, valid, false)?,
            Builder::Struct { valid, columns, .. } => {
                columns.iter_mut().try_for_each(|column| column.append_null(line))?;
                valid.append(false);
            }
        }
        Ok(())
    }

    /// Appends a value that stands in `text`.
    ///
    /// # Errors
    /// 22P02 for a value that is none of the type, 22003 for one that is out of its range.
    pub(super) fn append(&mut self, text: &str, value: Value, line: u64) -> Result<()> {
        if value.kind == Kind::Null {
            return self.append_null(line);
        }
        let data_type = &self.data_type;
        let scalar = !matches!(value.kind, Kind::Array | Kind::Object);
        match &mut self.builder {
            Builder::Text(builder) => builder.append_value(value.characters(text)?),
            Builder::Boolean(builder) => match value.kind {
                Kind::True => builder.append_value(true),
                Kind::False => builder.append_value(false),
                _ => match value.is_text().then(|| boolean(&value.characters(text).ok()?)) {
                    Some(Some(truth)) => builder.append_value(truth),
                    _ => return Err(no_value(data_type, text, value)),
                },
            },
            Builder::Integer { builder, min, max } => {
                let read = numeral(text, value)
                    .ok_or(Misfit::NoNumber)
                    .and_then(|digits| number::integer(&digits, *min, *max));
                builder.append_value(read.map_err(|why| misfit(data_type, text, value, why))?);
            }
            Builder::Decimal { builder, precision, scale } => {
                let read = numeral(text, value)
                    .ok_or(Misfit::NoNumber)
                    .and_then(|digits| number::decimal(&digits, *precision, *scale));
                builder.append_value(read.map_err(|why| misfit(data_type, text, value, why))?);
            }
            Builder::Float64(builder) => {
                let read = float::<f64>(text, value, f64::is_finite);
                builder.append_value(read.map_err(|why| misfit(data_type, text, value, why))?);
            }
            Builder::Float32(builder) => {
                let read = float::<f32>(text, value, f32::is_finite);
                builder.append_value(read.map_err(|why| misfit(data_type, text, value, why))?);
            }
            Builder::Binary(builder) => {
                match value.is_text().then(|| hexadecimal(&value.characters(text).ok()?)) {
                    Some(Some(bytes)) => builder.append_value(bytes),
                    _ => return Err(no_value(data_type, text, value)),
                }
            }
            Builder::Cast { builder, lines } if value.is_text() => {
                builder.append_value(value.characters(text)?);
                lines.push(line);
            }
            Builder::List { ends, valid, items, .. } if value.kind == Kind::Array => {
                Scanner::inside(text, value).items(|item| items.append(text, item, line))?;
                close(ends, items, valid, true)?;
            }
            Builder::Struct { names, valid, columns, .. } if value.kind == Kind::Object => {
                let mut members = vec![None; columns.len()];
                Scanner::inside(text, value).members(|name, value| {
                    if let Some(place) = names.get(name.characters(text)?.as_ref()) {
                        members[*place] = Some(value);
                    }
                    Ok(())
                })?;
                for (column, member) in columns.iter_mut().zip(members) {
                    match member {
                        Some(value) => column.append(text, value, line)?,
                        None => column.append_null(line)?,
                    }
                }
                valid.append(true);
            }
            Builder::Map { ends, valid, keys, values, .. } if value.kind == Kind::Object => {
                let mut order: Vec<(Value, Value)> = Vec::new();
                let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
                Scanner::inside(text, value).members(|name, value| {
                    match places.get(&name.characters(text)?) {
                        Some(place) => order[*place].1 = value,
                        None => {
                            places.insert(name.characters(text)?, order.len());
                            order.push((name, value));
                        }
                    }
                    Ok(())
                })?;
                for (name, value) in order {
                    keys.append(text, name, line)?;
                    values.append(text, value, line)?;
                }
                close(ends, keys, valid, true)?;
            }
            _ => {
                let error = no_value(data_type, text, value);
                return Err(if scalar {
                    error
                } else {
                    error.with_detail("An object or array stands where a single value is expected.")
                });
            }
        }
        Ok(())
    }

    /// Returns what was appended, and begins anew.
    ///
    /// # Errors
    /// The line, and 22007 or 22P02, for a date or time that is none.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, (u64, Error)> {
        let elsewhere = |error: arrow::error::ArrowError| (0, Error::from(error));
        let array: ArrayRef = match &mut self.builder {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Integer { builder, .. } => Arc::new(builder.finish()),
            Builder::Float32(builder) => Arc::new(builder.finish()),
            Builder::Float64(builder) => Arc::new(builder.finish()),
            Builder::Decimal { builder, .. } => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Binary(builder) => Arc::new(builder.finish()),
            Builder::Cast { builder, lines } => {
                let texts: ArrayRef = Arc::new(builder.finish());
                let lines = std::mem::take(lines);
                return typed::read(&texts, &self.data_type)
                    .map_err(|error| first_misfit(&texts, &lines, &self.data_type, error));
            }
            Builder::List { field, ends, valid, items } => {
                let items = items.finish()?;
                let field = Arc::clone(field);
                let list = ListArray::try_new(field, offsets(ends), items, valid.finish());
                Arc::new(list.map_err(elsewhere)?)
            }
            Builder::Struct { fields, valid, columns, .. } => {
                let n_rows = valid.len();
                let columns =
                    columns.iter_mut().map(Self::finish).collect::<Result<Vec<_>, _>>()?;
                let fields = fields.clone();
                let rows =
                    StructArray::try_new_with_length(fields, columns, valid.finish(), n_rows);
                Arc::new(rows.map_err(elsewhere)?)
            }
            Builder::Map { entries, fields, ends, valid, keys, values } => {
                let columns = vec![keys.finish()?, values.finish()?];
                let pairs = StructArray::try_new(fields.clone(), columns, None);
                let pairs = pairs.map_err(elsewhere)?;
                let field = Arc::clone(entries);
                let map = MapArray::try_new(field, offsets(ends), pairs, valid.finish(), false);
                Arc::new(map.map_err(elsewhere)?)
            }
        };
        if array.data_type() == &self.data_type {
            return Ok(array);
        }
        // The same values in the type's own width or layout.
        cast(&array, &self.data_type).map_err(|error| (0, error))
    }
}

/// Returns the place of each field by its name.
pub(super) fn by_name(fields: &Fields) -> HashMap<String, usize> {
    fields.iter().enumerate().map(|(place, field)| (field.name().clone(), place)).collect()
}

fn close(
    ends: &mut Vec<i32>,
    items: &Column,
    valid: &mut NullBufferBuilder,
    is_valid: bool,
) -> Result<()> {
    let end = i32::try_from(items.len())
        .map_err(|_| Error::new(ErrorKind::LimitExceeded, "a batch has too many nested values"))?;
    ends.push(end);
    valid.append(is_valid);
    Ok(())
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, vec![0])))
}

fn cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    Ok(cast_with_options(array, data_type, &options)?)
}

/// Finds the first text that is no value of the type.
fn first_misfit(
    texts: &ArrayRef,
    lines: &[u64],
    data_type: &DataType,
    error: Error,
) -> (u64, Error) {
    for row in 0..texts.len() {
        if let Err(error) = typed::read(&texts.slice(row, 1), data_type) {
            let hint = "Declare the column as text, or as a type that holds the value.";
            return (lines.get(row).copied().unwrap_or_default(), error.with_hint(hint));
        }
    }
    (0, error)
}

/// Returns the digits of a number, also of one in quotes.
fn numeral(text: &str, value: Value) -> Option<Cow<'_, str>> {
    match value.kind {
        Kind::Number => Some(Cow::Borrowed(value.written(text))),
        Kind::Text => Some(Cow::Borrowed(value.written(text).trim_ascii())),
        _ => None,
    }
}

fn float<T>(text: &str, value: Value, is_finite: fn(T) -> bool) -> Result<T, Misfit>
where
    T: Copy + std::str::FromStr,
{
    let digits = numeral(text, value).ok_or(Misfit::NoNumber)?;
    // Words that stand for values: PostgreSQL knows them in texts, JSON has none.
    let bare = digits.trim_start_matches(['-', '+']);
    let word = value.is_text()
        && ["nan", "infinity", "inf"].iter().any(|word| bare.eq_ignore_ascii_case(word));
    if !word && !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(Misfit::NoNumber);
    }
    let read = digits.parse::<T>().map_err(|_| Misfit::NoNumber)?;
    if word || is_finite(read) { Ok(read) } else { Err(Misfit::OutOfRange) }
}

/// Reads the words that PostgreSQL takes for truth.
fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads bytes as PostgreSQL writes them: `\x` and two digits for each.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    let pair = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))
    };
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn misfit(data_type: &DataType, text: &str, value: Value, why: Misfit) -> Error {
    let name = type_name(data_type);
    let shown = shown(text, value);
    match why {
        Misfit::NoNumber => no_value(data_type, text, value),
        Misfit::NotExact if matches!(data_type, DataType::Decimal128(..)) => Error::new(
            ErrorKind::InvalidText,
            format!("{shown} has more decimal places than type {name}"),
        )
        .with_hint("Declare the column with a larger scale, or as double precision."),
        Misfit::NotExact => {
            Error::new(ErrorKind::InvalidText, format!("{shown} is no whole number (type {name})"))
                .with_hint("Declare the column as numeric or double precision.")
        }
        Misfit::OutOfRange => {
            Error::new(ErrorKind::OutOfRange, format!("{shown} is out of range for type {name}"))
                .with_hint("Declare the column with a wider type, or as text.")
        }
    }
}

fn no_value(data_type: &DataType, text: &str, value: Value) -> Error {
    Error::new(
        ErrorKind::InvalidText,
        format!("invalid input syntax for type {}: {}", type_name(data_type), shown(text, value)),
    )
    .with_hint("Declare the column as text, or as a type that holds the value.")
}

/// Returns a value as an error shows it.
fn shown(text: &str, value: Value) -> String {
    let written = value.written(text);
    let quote = if value.is_text() { "\"" } else { "" };
    match written.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{quote}{}…{quote}", &written[..end]),
        None => format!("{quote}{written}{quote}"),
    }
}
