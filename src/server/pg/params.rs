//! Parameters of a statement: from the bytes of a Bind message to the engine's values.

mod array;

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalMonthDayNano, i256};
use arrow::util::display::FormatOptions;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind};
use pgwire::api::Type;

use super::errors::WireError;
use super::numeric::numeric_text;
use super::types::{element_of, parameter_type};
use crate::session::{bytea, spelled, spelled_interval, time_in_full};
use crate::value_text::{EPOCH_DAYS, EPOCH_MICROS, Zone};

/// What is wrong with the bytes of a binary parameter.
const BAD_BINARY: &str = "22P03";

/// Where a parameter's value goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// What the client sends.
    pub pg: Type,
    /// What the statement takes; `None` where it does not tell.
    pub arrow: Option<DataType>,
}

/// Reads one parameter. `bytes` is `None` for NULL.
///
/// # Errors
/// 22P02 for text that is no such value, 22P03 for bytes that are none, 22003 if it is out of range, 0A000 for types
/// without a counterpart.
pub(super) fn decode(
    number: usize,
    target: &Target,
    binary: bool,
    bytes: Option<&[u8]>,
    zone: &Zone,
) -> Result<ScalarValue, WireError> {
    let Some(bytes) = bytes else {
        return null(target).map_err(WireError::from);
    };
    let value = if binary {
        from_binary(&target.pg, bytes)
    } else {
        text_of(bytes).and_then(|text| from_text(&target.pg, text, zone))
    };
    value.and_then(|value| fit(value, target)).map_err(|mut error| {
        error.detail.get_or_insert_with(|| format!("It is parameter ${number}."));
        error
    })
}

fn null(target: &Target) -> Result<ScalarValue, Error> {
    let data_type = target.arrow.clone().or_else(|| parameter_type(&target.pg));
    match data_type {
        Some(data_type) => ScalarValue::try_from(&data_type).map_err(Error::from),
        None => Ok(ScalarValue::Null),
    }
}

/// Brings a value to the type the statement takes.
fn fit(value: ScalarValue, target: &Target) -> Result<ScalarValue, WireError> {
    let Some(to) = target.arrow.as_ref().filter(|to| **to != value.data_type()) else {
        return Ok(value);
    };
    if let (Some(from), Some(into)) = (decimal_scale(&value.data_type()), decimal_scale(to)) {
        // The scale of a number belongs to the value: it is widened, never rounded to what was guessed at Parse.
        return Ok(match (from <= into, value.cast_to(to)) {
            (true, Ok(wider)) => wider,
            _ => value,
        });
    }
    value.cast_to(to).map_err(|error| WireError::from(Error::from(error)))
}

fn decimal_scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

fn unsupported(pg: &Type) -> WireError {
    WireError::from(
        Error::unsupported(format!("cannot take a parameter of type {}", pg.name()))
            .with_hint("Send the value as text and CAST it in the statement."),
    )
}

fn bad_text(pg: &Type, text: &str) -> WireError {
    let name = match *pg {
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::BOOL => "boolean",
        _ => pg.name(),
    };
    WireError::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
}

/// Reads the text form of a value.
pub(super) fn from_text(pg: &Type, text: &str, zone: &Zone) -> Result<ScalarValue, WireError> {
    if let Some(element) = element_of(pg) {
        return array::from_text(element, text, zone);
    }
    let bad = || bad_text(pg, text);
    let word = text.trim();
    Ok(match *pg {
        Type::BOOL => ScalarValue::Boolean(Some(boolean(word).ok_or_else(bad)?)),
        Type::INT2 => ScalarValue::Int16(Some(integer(pg, word)?)),
        Type::INT4 => ScalarValue::Int32(Some(integer(pg, word)?)),
        Type::INT8 | Type::OID => ScalarValue::Int64(Some(integer(pg, word)?)),
        Type::FLOAT4 => ScalarValue::Float32(Some(word.parse().map_err(|_| bad())?)),
        Type::FLOAT8 => ScalarValue::Float64(Some(word.parse().map_err(|_| bad())?)),
        Type::NUMERIC => numeric(word)?.ok_or_else(bad)?,
        Type::BYTEA => ScalarValue::Binary(Some(bytea(text).ok_or_else(bad)?)),
        Type::DATE | Type::TIME | Type::TIMESTAMP | Type::INTERVAL => {
            let to = parameter_type(pg).ok_or_else(|| unsupported(pg))?;
            let spelled = match *pg {
                Type::INTERVAL => {
                    spelled_interval(word).unwrap_or_else(|| clock_in_words(word)).into()
                }
                Type::DATE | Type::TIMESTAMP => spelled(word, &to),
                _ => match time_in_full(word) {
                    Some(time) => time.into(),
                    // A number alone would be one of nanoseconds.
                    None if word.contains(':') => word.into(),
                    None => return Err(WireError { sqlstate: "22007", ..bad() }),
                },
            };
            parsed(&spelled, &to).ok_or_else(|| WireError { sqlstate: "22007", ..bad() })?
        }
        Type::TIMESTAMPTZ => {
            let micros =
                instant(word, zone).ok_or_else(|| WireError { sqlstate: "22007", ..bad() })?;
            ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
        }
        Type::UUID => {
            // Some drivers leave the hyphens out.
            let uuid = uuid::Uuid::parse_str(word).map_err(|_| bad())?;
            ScalarValue::Utf8(Some(uuid.to_string()))
        }
        _ if parameter_type(pg) == Some(DataType::Utf8) => ScalarValue::Utf8(Some(text.to_owned())),
        _ => return Err(unsupported(pg)),
    })
}

/// Reads PostgreSQL's words for true and false.
pub(super) fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn integer<T: TryFrom<i128>>(pg: &Type, word: &str) -> Result<T, WireError> {
    let wide: i128 = word.parse().map_err(|_| bad_text(pg, word))?;
    T::try_from(wide).map_err(|_| {
        WireError::new(
            ErrorKind::OutOfRange.sqlstate(),
            format!("value \"{word}\" is out of range for type {}", pg.name()),
        )
    })
}

/// Reads a decimal number with the scale it is written with. `None` if it is no number.
fn numeric(word: &str) -> Result<Option<ScalarValue>, WireError> {
    if ["nan", "infinity", "-infinity"].contains(&word.to_ascii_lowercase().as_str()) {
        return Err(WireError::from(Error::unsupported(format!("cannot take numeric {word}"))));
    }
    let Ok(number) = word.parse::<bigdecimal::BigDecimal>() else { return Ok(None) };
    let number = if number.fractional_digit_count() < 0 { number.with_scale(0) } else { number };
    let (digits, scale) = number.as_bigint_and_exponent();
    let digits = digits.to_string();
    let figures = digits.trim_start_matches('-').len();
    let too_big = || {
        WireError::new(ErrorKind::OutOfRange.sqlstate(), "value overflows numeric format")
            .with_detail("Maru's numeric has at most 76 digits.")
    };
    let scale = usize::try_from(scale).map_err(|_| too_big())?;
    let precision = figures.max(scale);
    Ok(Some(if precision <= 38 {
        let value: i128 = digits.parse().map_err(|_| too_big())?;
        ScalarValue::Decimal128(Some(value), precision.max(1) as u8, scale as i8)
    } else if precision <= 76 {
        let value = i256::from_string(&digits).ok_or_else(too_big)?;
        ScalarValue::Decimal256(Some(value), precision as u8, scale as i8)
    } else {
        return Err(too_big());
    }))
}

/// Spells the clock of an interval (`1 day -0:00:03.5`) in units, which is what the parser reads.
fn clock_in_words(interval: &str) -> String {
    let words = interval.split_whitespace().map(|word| {
        let (sign, clock) = match word.strip_prefix('-') {
            Some(clock) => ("-", clock),
            None => ("", word.strip_prefix('+').unwrap_or(word)),
        };
        let mut parts = clock.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(hours), Some(minutes), seconds) => {
                let seconds = seconds.unwrap_or("0");
                format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
            }
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn parsed(word: &str, to: &DataType) -> Option<ScalarValue> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    let array: Arc<dyn Array> = Arc::new(StringArray::from(vec![word]));
    let array = cast_with_options(&array, to, &options).ok()?;
    ScalarValue::try_from_array(&array, 0).ok().filter(|value| !value.is_null())
}

/// Reads an instant; without an offset it is a time in the session's zone.
fn instant(word: &str, zone: &Zone) -> Option<i64> {
    let clock = word.split_once([' ', 'T']).map_or("", |(_, clock)| clock);
    let has_offset = clock.contains(['+', '-', 'Z', 'z']) || clock.contains(' ');
    let to = DataType::Timestamp(
        arrow::datatypes::TimeUnit::Microsecond,
        has_offset.then(|| "UTC".into()),
    );
    match parsed(&spelled(word, &to), &to)? {
        ScalarValue::TimestampMicrosecond(Some(micros), Some(_)) => Some(micros),
        ScalarValue::TimestampMicrosecond(Some(micros), None) => {
            zone.instant(chrono::DateTime::from_timestamp_micros(micros)?.naive_utc())
        }
        _ => None,
    }
}

/// Reads the binary form of a value.
pub(super) fn from_binary(pg: &Type, bytes: &[u8]) -> Result<ScalarValue, WireError> {
    if let Some(element) = element_of(pg) {
        return array::from_binary(element, bytes);
    }
    let bad = || {
        WireError::new(BAD_BINARY, format!("incorrect binary data format for type {}", pg.name()))
    };
    macro_rules! fixed {
        ($type:ty) => {
            <$type>::from_be_bytes(bytes.try_into().map_err(|_| bad())?)
        };
    }
    let out_of_range =
        || WireError::new(ErrorKind::OutOfRange.sqlstate(), format!("{} out of range", pg.name()));
    Ok(match *pg {
        Type::BOOL => ScalarValue::Boolean(Some(match bytes {
            [0] => false,
            [_] => true,
            _ => return Err(bad()),
        })),
        Type::INT2 => ScalarValue::Int16(Some(fixed!(i16))),
        Type::INT4 => ScalarValue::Int32(Some(fixed!(i32))),
        Type::INT8 => ScalarValue::Int64(Some(fixed!(i64))),
        Type::OID => ScalarValue::Int64(Some(i64::from(fixed!(u32)))),
        // There are many patterns of bits for NaN, and the engine compares by the bits.
        Type::FLOAT4 => {
            let value = fixed!(f32);
            ScalarValue::Float32(Some(if value.is_nan() { f32::NAN } else { value }))
        }
        Type::FLOAT8 => {
            let value = fixed!(f64);
            ScalarValue::Float64(Some(if value.is_nan() { f64::NAN } else { value }))
        }
        Type::NUMERIC => {
            let text = numeric_text(bytes).ok_or_else(bad)?;
            numeric(&text)?.ok_or_else(bad)?
        }
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => {
            let days = i64::from(fixed!(i32)) + EPOCH_DAYS;
            ScalarValue::Date32(Some(i32::try_from(days).map_err(|_| out_of_range())?))
        }
        Type::TIME => ScalarValue::Time64Microsecond(Some(fixed!(i64))),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = fixed!(i64).checked_add(EPOCH_MICROS).ok_or_else(out_of_range)?;
            let zone = (*pg == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Type::INTERVAL => {
            if bytes.len() != 16 {
                return Err(bad());
            }
            let (micros, rest) = bytes.split_at(8);
            let (days, months) = rest.split_at(4);
            let micros = i64::from_be_bytes(micros.try_into().map_err(|_| bad())?);
            let days = i32::from_be_bytes(days.try_into().map_err(|_| bad())?);
            let months = i32::from_be_bytes(months.try_into().map_err(|_| bad())?);
            let nanos = micros.checked_mul(1000).ok_or_else(out_of_range)?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        Type::UUID => {
            let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| bad())?;
            ScalarValue::Utf8(Some(uuid.to_string()))
        }
        Type::JSONB => match bytes {
            [1, json @ ..] => ScalarValue::Utf8(Some(utf8(json)?)),
            _ => return Err(bad()),
        },
        Type::INET | Type::CIDR | Type::MACADDR => return Err(unsupported(pg)),
        _ if parameter_type(pg) == Some(DataType::Utf8) => ScalarValue::Utf8(Some(utf8(bytes)?)),
        _ => return Err(unsupported(pg)),
    })
}

fn utf8(bytes: &[u8]) -> Result<String, WireError> {
    text_of(bytes).map(str::to_owned)
}

/// Reads text, in which PostgreSQL has no zero byte: clients could not be sent it as text.
fn text_of(bytes: &[u8]) -> Result<&str, WireError> {
    let refused = |bytes: &[u8]| {
        let bytes = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect::<Vec<_>>();
        let message = format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" "));
        WireError::new("22021", message)
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let bad = bytes.get(error.valid_up_to()..).unwrap_or_default();
        let length = match bad.first() {
            Some(0xc0..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf7) => 4,
            _ => 1,
        };
        refused(bad.get(..length).unwrap_or(bad))
    })?;
    match text.contains('\0') {
        true => Err(refused(&[0])),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
