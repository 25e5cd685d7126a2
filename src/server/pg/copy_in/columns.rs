//! Values of a copy on their way into columns of the table's own types.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    LargeStringBuilder, PrimitiveBuilder, StringBuilder, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::compute::can_cast_types;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    UInt8Type, UInt16Type, UInt32Type,
};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};
use pgwire::api::Type;

use super::times;
use crate::server::pg::errors::WireError;
use crate::server::pg::numeric::numeric_digits;
use crate::server::pg::params::{boolean, from_binary, from_text};
use crate::server::pg::types::{Wire, parameter_type};
use crate::session::bytea;
use crate::system::types::sql_name;
use crate::value_text::{EPOCH_DAYS, EPOCH_MICROS, Zone};

/// One column of the rows that come.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) nullable: bool,
    /// What clients write.
    pg: Type,
    to: DataType,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    UInt8(PrimitiveBuilder<UInt8Type>),
    UInt16(PrimitiveBuilder<UInt16Type>),
    UInt32(PrimitiveBuilder<UInt32Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    LargeText(LargeStringBuilder),
    TextView(StringViewBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Uuid(Vec<Option<[u8; 16]>>),
    /// Types that are seldom copied, one value at a time.
    Other(Vec<ScalarValue>),
}

/// Does the same to the builder of every type.
macro_rules! each {
    ($values:expr, $builder:ident => $work:expr) => {
        match $values {
            Values::Boolean($builder) => $work,
            Values::Int8($builder) => $work,
            Values::Int16($builder) => $work,
            Values::Int32($builder) => $work,
            Values::Int64($builder) => $work,
            Values::UInt8($builder) => $work,
            Values::UInt16($builder) => $work,
            Values::UInt32($builder) => $work,
            Values::Float32($builder) => $work,
            Values::Float64($builder) => $work,
            Values::Text($builder) => $work,
            Values::LargeText($builder) => $work,
            Values::TextView($builder) => $work,
            Values::Bytes($builder) => $work,
            Values::Date($builder) => $work,
            Values::Timestamp($builder) => $work,
            Values::Decimal($builder, ..) => $work,
            Values::Uuid(_) | Values::Other(_) => {}
        }
    };
}

fn bad_binary(pg: &Type) -> Error {
    let message = format!("incorrect binary data format for type {}", pg.name());
    Error::new(ErrorKind::BadBinary, message)
}

fn out_of_range(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutOfRange, message)
}

/// Gives an error of the wire the kind that it has in the engine.
fn of_wire(error: WireError) -> Error {
    let kind = match error.sqlstate {
        "22003" => ErrorKind::OutOfRange,
        "22007" => ErrorKind::InvalidDatetime,
        "22021" => ErrorKind::BadEncoding,
        "22P03" => ErrorKind::BadBinary,
        "0A000" => ErrorKind::Unsupported,
        "42804" => ErrorKind::TypeMismatch,
        _ => ErrorKind::InvalidText,
    };
    let of_kind = Error::new(kind, error.message);
    match error.hint {
        Some(hint) => of_kind.with_hint(hint),
        None => of_kind,
    }
}

impl Column {
    /// # Errors
    /// 0A000 for types that have no text or binary form that is read.
    pub(super) fn new(field: &Field) -> Result<Self> {
        let wire = Wire::of(field);
        let to = field.data_type().clone();
        let values = match (&to, &wire.pg) {
            (DataType::FixedSizeBinary(16), pg) if *pg == Type::UUID => Values::Uuid(Vec::new()),
            (DataType::Boolean, _) => Values::Boolean(BooleanBuilder::new()),
            (DataType::Int8, _) => Values::Int8(PrimitiveBuilder::new()),
            (DataType::Int16, _) => Values::Int16(PrimitiveBuilder::new()),
            (DataType::Int32, _) => Values::Int32(PrimitiveBuilder::new()),
            (DataType::Int64, _) => Values::Int64(PrimitiveBuilder::new()),
            (DataType::UInt8, _) => Values::UInt8(PrimitiveBuilder::new()),
            (DataType::UInt16, _) => Values::UInt16(PrimitiveBuilder::new()),
            (DataType::UInt32, _) => Values::UInt32(PrimitiveBuilder::new()),
            (DataType::Float32, _) => Values::Float32(PrimitiveBuilder::new()),
            (DataType::Float64, _) => Values::Float64(PrimitiveBuilder::new()),
            (DataType::Utf8, _) => Values::Text(StringBuilder::new()),
            (DataType::LargeUtf8, _) => Values::LargeText(LargeStringBuilder::new()),
            (DataType::Utf8View, _) => Values::TextView(StringViewBuilder::new()),
            (DataType::Binary, _) => Values::Bytes(BinaryBuilder::new()),
            (DataType::Date32, _) => Values::Date(Date32Builder::new()),
            (DataType::Timestamp(TimeUnit::Microsecond, zone), _) => Values::Timestamp(
                TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()),
            ),
            (DataType::Decimal128(precision, scale), _) => {
                let builder = Decimal128Builder::new().with_data_type(to.clone());
                Values::Decimal(builder, *precision, *scale)
            }
            (to, pg) => {
                let read = parameter_type(pg);
                let is_text = read == Some(DataType::Utf8);
                if (is_text && to.is_nested())
                    || !read.is_some_and(|read| can_cast_types(&read, to))
                {
                    return Err(Error::unsupported(format!(
                        "COPY cannot read column \"{}\" of type {}",
                        field.name(),
                        sql_name(to)
                    ))
                    .with_hint("Name the other columns in COPY, or INSERT the rows."));
                }
                Values::Other(Vec::new())
            }
        };
        let (name, nullable) = (field.name().clone(), field.is_nullable());
        Ok(Self { name, nullable, pg: wire.pg, to, values })
    }

    pub(super) fn push_null(&mut self) -> Result<()> {
        match &mut self.values {
            Values::Uuid(values) => values.push(None),
            Values::Other(values) => values.push(ScalarValue::try_from(&self.to)?),
            values => each!(values, builder => builder.append_null()),
        }
        Ok(())
    }

    fn bad_text(&self, text: &str) -> Error {
        let name = match self.pg {
            Type::INT2 => "smallint",
            Type::INT4 => "integer",
            Type::INT8 => "bigint",
            Type::FLOAT4 => "real",
            Type::FLOAT8 => "double precision",
            Type::BOOL => "boolean",
            ref pg => pg.name(),
        };
        let message = format!("invalid input syntax for type {name}: \"{text}\"");
        Error::new(ErrorKind::InvalidText, message)
    }

    /// Appends a value as it is written.
    ///
    /// # Errors
    /// 22P02, 22007 and 22003, as PostgreSQL words them.
    pub(super) fn push_text(&mut self, text: &str, zone: &Zone) -> Result<()> {
        macro_rules! number {
            ($builder:expr, $read:ident) => {
                match $read(text.trim(), &self.to) {
                    Ok(value) => {
                        $builder.append_value(value);
                        return Ok(());
                    }
                    Err(None) => return Err(self.bad_text(text)),
                    Err(Some(error)) => return Err(error),
                }
            };
        }
        match &mut self.values {
            Values::Int8(builder) => number!(builder, integer),
            Values::Int16(builder) => number!(builder, integer),
            Values::Int32(builder) => number!(builder, integer),
            Values::Int64(builder) => number!(builder, integer),
            Values::UInt8(builder) => number!(builder, integer),
            Values::UInt16(builder) => number!(builder, integer),
            Values::UInt32(builder) => number!(builder, integer),
            Values::Float32(builder) => number!(builder, float),
            Values::Float64(builder) => number!(builder, float),
            Values::Text(builder) => builder.append_value(text),
            Values::LargeText(builder) => builder.append_value(text),
            Values::TextView(builder) => builder.append_value(text),
            Values::Boolean(builder) => match boolean(text.trim()) {
                Some(value) => builder.append_value(value),
                None => return Err(self.bad_text(text)),
            },
            Values::Bytes(builder) => match bytea(text) {
                Some(value) => builder.append_value(value),
                None => return Err(self.bad_text(text)),
            },
            Values::Date(builder) if let Some(days) = times::date(text) => {
                builder.append_value(days);
            }
            Values::Timestamp(builder)
                if let Some(micros) = times::timestamp(text, self.pg == Type::TIMESTAMPTZ) =>
            {
                builder.append_value(micros);
            }
            Values::Decimal(builder, precision, scale)
                if let Some((digits, from)) = plain_decimal(text.trim()) =>
            {
                builder.append_value(rescale(digits, from, *precision, *scale)?);
            }
            Values::Uuid(values) => match uuid::Uuid::parse_str(text.trim()) {
                Ok(value) => values.push(Some(*value.as_bytes())),
                Err(_) => return Err(self.bad_text(text)),
            },
            _ => {
                let value = from_text(&self.pg, text, zone).map_err(of_wire)?;
                self.push_value(value)?;
            }
        }
        Ok(())
    }

    /// Appends a value in binary.
    ///
    /// # Errors
    /// 22P03 for bytes that are no such value, 22003.
    pub(super) fn push_binary(&mut self, bytes: &[u8]) -> Result<()> {
        let pg = &self.pg;
        macro_rules! fixed {
            ($type:ty) => {
                <$type>::from_be_bytes(bytes.try_into().map_err(|_| bad_binary(pg))?)
            };
        }
        let narrow =
            || out_of_range(format!("value is out of range for type {}", sql_name(&self.to)));
        let text = || {
            let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            let message = "invalid byte sequence for encoding \"UTF8\"";
            text.ok_or_else(|| Error::new(ErrorKind::BadEncoding, message))
        };
        let is_text = parameter_type(pg) == Some(DataType::Utf8);
        match &mut self.values {
            Values::Int8(builder) => {
                builder.append_value(fixed!(i16).try_into().map_err(|_| narrow())?);
            }
            Values::UInt8(builder) => {
                builder.append_value(fixed!(i16).try_into().map_err(|_| narrow())?);
            }
            Values::UInt16(builder) => {
                builder.append_value(fixed!(i32).try_into().map_err(|_| narrow())?);
            }
            Values::UInt32(builder) => {
                builder.append_value(fixed!(i64).try_into().map_err(|_| narrow())?);
            }
            Values::Boolean(builder) => match bytes {
                [0] => builder.append_value(false),
                [_] => builder.append_value(true),
                _ => return Err(bad_binary(pg)),
            },
            Values::Int16(builder) => builder.append_value(fixed!(i16)),
            Values::Int32(builder) => builder.append_value(fixed!(i32)),
            Values::Int64(builder) => builder.append_value(fixed!(i64)),
            // The engine compares NaN by its bits.
            Values::Float32(builder) => {
                let value = fixed!(f32);
                builder.append_value(if value.is_nan() { f32::NAN } else { value });
            }
            Values::Float64(builder) => {
                let value = fixed!(f64);
                builder.append_value(if value.is_nan() { f64::NAN } else { value });
            }
            Values::Text(builder) if is_text => builder.append_value(text()?),
            Values::LargeText(builder) if is_text => builder.append_value(text()?),
            Values::TextView(builder) if is_text => builder.append_value(text()?),
            Values::Bytes(builder) => builder.append_value(bytes),
            Values::Date(builder) => {
                let days = i64::from(fixed!(i32)) + EPOCH_DAYS;
                let days = i32::try_from(days).map_err(|_| out_of_range("date out of range"))?;
                builder.append_value(days);
            }
            Values::Timestamp(builder) => {
                let micros = fixed!(i64).checked_add(EPOCH_MICROS);
                builder.append_value(micros.ok_or_else(|| out_of_range("timestamp out of range"))?);
            }
            Values::Decimal(builder, precision, scale)
                if let Some((digits, from)) = numeric_digits(bytes) =>
            {
                builder.append_value(rescale(digits, from, *precision, *scale)?);
            }
            Values::Uuid(values) => {
                values.push(Some(bytes.try_into().map_err(|_| bad_binary(pg))?));
            }
            _ => {
                let value = from_binary(pg, bytes).map_err(of_wire)?;
                self.push_value(value)?;
            }
        }
        Ok(())
    }

    /// Appends a value of another type.
    fn push_value(&mut self, value: ScalarValue) -> Result<()> {
        match (&mut self.values, value) {
            (
                Values::Decimal(builder, precision, scale),
                ScalarValue::Decimal128(Some(digits), _, from),
            ) => builder.append_value(rescale(digits, from, *precision, *scale)?),
            (Values::Date(builder), ScalarValue::Date32(Some(days))) => builder.append_value(days),
            (Values::Timestamp(builder), ScalarValue::TimestampMicrosecond(Some(micros), _)) => {
                builder.append_value(micros);
            }
            (Values::Decimal(builder, ..), value) => match value.cast_to(&self.to)? {
                ScalarValue::Decimal128(digits, ..) => builder.append_option(digits),
                _ => return Err(Error::internal("a number became something else")),
            },
            (Values::Other(values), value) => values.push(match value.data_type() == self.to {
                true => value,
                false => value.cast_to(&self.to)?,
            }),
            _ => return Err(Error::internal("a value is of another type than its column")),
        }
        Ok(())
    }

    /// Returns the values that have been appended, and begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let mut array = None;
        match &mut self.values {
            Values::Uuid(values) => {
                let values = std::mem::take(values);
                let values = values.iter().map(|value| value.as_ref().map(|v| v.as_slice()));
                let found =
                    arrow::array::FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16)?;
                array = Some(Arc::new(found) as ArrayRef);
            }
            Values::Other(values) => {
                array = Some(ScalarValue::iter_to_array(std::mem::take(values))?);
            }
            values => each!(values, builder => array = Some(ArrayBuilder::finish(builder))),
        }
        array.ok_or_else(|| Error::internal("a column has no values"))
    }
}

/// Reads a whole number. `Err(None)`: it is none.
fn integer<T: FromStr>(word: &str, to: &DataType) -> Result<T, Option<Error>> {
    word.parse().map_err(|_| {
        let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| {
            out_of_range(format!("value \"{word}\" is out of range for type {}", sql_name(to)))
        })
    })
}

trait Float: FromStr {
    fn is_infinite(&self) -> bool;
}

impl Float for f32 {
    fn is_infinite(&self) -> bool {
        Self::is_infinite(*self)
    }
}

impl Float for f64 {
    fn is_infinite(&self) -> bool {
        Self::is_infinite(*self)
    }
}

fn float<T: Float>(word: &str, to: &DataType) -> Result<T, Option<Error>> {
    let value: T = word.parse().map_err(|_| None)?;
    if value.is_infinite() && !word.contains(['n', 'N']) {
        let message = format!("\"{word}\" is out of range for type {}", sql_name(to));
        return Err(Some(out_of_range(message)));
    }
    Ok(value)
}

/// Reads a number without an exponent: its digits and how many of them stand behind the point.
fn plain_decimal(word: &str) -> Option<(i128, i8)> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + part.len() == 0 || whole.len() + part.len() > 38 {
        return None;
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(part.bytes()) {
        value = value * 10 + i128::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some((if negative { -value } else { value }, part.len() as i8))
}

/// Brings a number to another scale; halves are rounded away from zero.
fn rescale(digits: i128, from: i8, precision: u8, to: i8) -> Result<i128> {
    let overflow = || {
        out_of_range("numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {to} must round to an absolute value less than 10^{}.",
            i16::from(precision) - i16::from(to)
        ))
    };
    let power = |exponent: i8| 10_i128.checked_pow(u32::from(exponent.unsigned_abs()));
    let value = if to >= from {
        power(to - from).and_then(|factor| digits.checked_mul(factor)).ok_or_else(overflow)?
    } else {
        match power(from - to) {
            Some(divisor) => {
                let (whole, rest) = (digits / divisor, digits % divisor);
                let away = i128::from(rest.unsigned_abs() >= divisor.unsigned_abs() / 2);
                whole + away * digits.signum()
            }
            None => 0,
        }
    };
    let most = power(precision as i8).ok_or_else(overflow)?;
    if value.unsigned_abs() >= most.unsigned_abs() { Err(overflow()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_postgresql_rounds() {
        for (text, expected) in [
            ("1.005", 101),
            ("-1.005", -101),
            ("1.0049", 100),
            ("2", 200),
            (".5", 50),
            ("0.005", 1),
        ] {
            let (digits, scale) = plain_decimal(text).unwrap();
            assert_eq!(rescale(digits, scale, 5, 2).unwrap(), expected, "{text}");
        }
        assert_eq!(rescale(999_994, 3, 5, 2).unwrap(), 99_999);
        assert_eq!(rescale(999_995, 3, 5, 2).unwrap_err().sqlstate(), "22003");
        assert_eq!(plain_decimal("1e5"), None);
        assert_eq!(plain_decimal("."), None);
    }

    #[test]
    fn whole_numbers_out_of_range_are_numbers() {
        let read = |word: &str| integer::<i32>(word, &DataType::Int32);
        assert_eq!(read("-5").unwrap(), -5);
        assert!(read("5x").unwrap_err().is_none());
        assert!(read("").unwrap_err().is_none());
        let error = read("99999999999").unwrap_err().unwrap();
        assert_eq!(error.primary(), "value \"99999999999\" is out of range for type integer");
        let error = float::<f64>("1e400", &DataType::Float64).unwrap_err().unwrap();
        assert_eq!(error.sqlstate(), "22003");
        assert!(float::<f64>("-Infinity", &DataType::Float64).unwrap().is_infinite());
    }
}
