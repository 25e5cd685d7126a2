//! Single values as Hive reads them from text.
//!
//! What is no value of its type is NULL, as in Hive. Dates are those of the proleptic Gregorian calendar.

use std::borrow::Cow;

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};

use crate::file_table::calendar;

/// One value that is not nested.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Leaf<'a> {
    Boolean(bool),
    /// Of any width.
    Integer(i64),
    Float32(f32),
    Float64(f64),
    /// In units of the type's scale.
    Decimal(i128),
    Text(Cow<'a, str>),
    Binary(Vec<u8>),
    Date(i32),
    /// Microseconds.
    Timestamp(i64),
}

impl Leaf<'_> {
    /// Returns bytes that are the same for equal values of one type, to find double keys of a map.
    pub(super) fn identity(&self) -> Vec<u8> {
        match self {
            Self::Boolean(value) => vec![u8::from(*value)],
            Self::Integer(value) | Self::Timestamp(value) => value.to_le_bytes().to_vec(),
            Self::Float32(value) => value.to_bits().to_le_bytes().to_vec(),
            Self::Float64(value) => value.to_bits().to_le_bytes().to_vec(),
            Self::Decimal(value) => value.to_le_bytes().to_vec(),
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Binary(bytes) => bytes.clone(),
            Self::Date(value) => value.to_le_bytes().to_vec(),
        }
    }
}

/// Reads a value of `data_type`, `None` if the bytes are none.
///
/// # Errors
/// 22003 for a time that Maru's type cannot hold.
pub(super) fn parse<'a>(data_type: &DataType, bytes: &'a [u8]) -> Result<Option<Leaf<'a>>> {
    Ok(match data_type {
        DataType::Boolean => boolean(bytes).map(Leaf::Boolean),
        DataType::Int8 => integer(bytes, i8::MIN.into(), i8::MAX.into()).map(Leaf::Integer),
        DataType::Int16 => integer(bytes, i16::MIN.into(), i16::MAX.into()).map(Leaf::Integer),
        DataType::Int32 => integer(bytes, i32::MIN.into(), i32::MAX.into()).map(Leaf::Integer),
        DataType::Int64 => integer(bytes, i64::MIN, i64::MAX).map(Leaf::Integer),
        DataType::Float32 => float(bytes).map(Leaf::Float32),
        DataType::Float64 => float(bytes).map(Leaf::Float64),
        DataType::Decimal128(precision, scale) => {
            decimal(bytes, *precision, *scale).map(Leaf::Decimal)
        }
        DataType::Utf8 => Some(Leaf::Text(String::from_utf8_lossy(bytes))),
        DataType::Binary => Some(Leaf::Binary(binary(bytes))),
        DataType::Date32 => date(bytes)?.map(Leaf::Date),
        DataType::Timestamp(..) => timestamp(bytes)?.map(Leaf::Timestamp),
        other => return Err(Error::internal(format!("{other} is not read from text"))),
    })
}

fn boolean(bytes: &[u8]) -> Option<bool> {
    if bytes.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if bytes.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// Reads an integer. Hive takes `12.7` for 12: what follows the point must be digits, and is dropped.
fn integer(bytes: &[u8], min: i64, max: i64) -> Option<i64> {
    let (sign, digits) = match bytes {
        [sign @ (b'-' | b'+'), digits @ ..] => (Some(*sign), digits),
        digits => (None, digits),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    let all_digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // Downwards, since the smallest number has no positive counterpart.
    let mut value = 0_i64;
    for digit in whole {
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    let value = if sign == Some(b'-') { value } else { value.checked_neg()? };
    (min..=max).contains(&value).then_some(value)
}

/// Reads a number as Java does: `NaN` and `Infinity` are words, `1.5f` has a suffix.
fn float<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_matches(|c: char| c <= ' ');
    match text.trim_start_matches(['+', '-']) {
        "NaN" | "Infinity" if text.len() <= "-Infinity".len() => {}
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {}
        _ => return None,
    }
    let plain = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    plain.parse().ok()
}

/// Reads a decimal, rounds it half up to `scale`; `None` if it does not fit `precision` then.
pub(super) fn decimal(bytes: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(' ');
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    if (whole.is_empty() && fraction.is_empty()) || !digits.clone().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The value is `digits` shifted so that this many of them stand before the unit of the scale.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let limit = 10_i128.pow(u32::from(precision));
    let mut value = 0_i128;
    let mut place = 0_i64;
    let mut half = false;
    for digit in digits {
        if place < kept {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
            if value >= limit {
                return None;
            }
        } else if place == kept {
            half = digit >= b'5';
        }
        place += 1;
    }
    while place < kept && value != 0 {
        value = value.checked_mul(10).filter(|value| *value < limit)?;
        place += 1;
    }
    value += i128::from(half);
    (value < limit).then_some(if negative { -value } else { value })
}

/// Reads base64 if all bytes are of its alphabet, else the bytes are the value themselves.
fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len() / 4 * 3);
    let (mut group, mut n_bits, mut ended) = (0_u32, 0, false);
    for byte in bytes {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                ended = true;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return bytes.to_vec(),
        };
        if ended {
            continue;
        }
        group = (group << 6) | u32::from(six);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            decoded.push((group >> n_bits) as u8);
            group &= (1 << n_bits) - 1;
        }
    }
    decoded
}

/// Reads a date: `2026-1-2` and `2026-01-02`; a time behind it is dropped.
pub(super) fn date(bytes: &[u8]) -> Result<Option<i32>> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c <= ' ');
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    days(day).map(|days| i32::try_from(days).map_err(|_| out_of_range(text))).transpose()
}

/// Reads a time of a day, to the microsecond: `2026-01-02 03:04:05.678`, with a `T` or a blank between.
pub(super) fn timestamp(bytes: &[u8]) -> Result<Option<i64>> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c <= ' ');
    let (day, time) = match text.split_once([' ', 'T']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let micros = match time {
        Some(time) => time_of_day(time, text.contains('T')),
        None => Some(0),
    };
    let (Some(days), Some(micros)) = (days(day), micros) else { return Ok(None) };
    let whole = days.checked_mul(86_400_000_000).and_then(|day| day.checked_add(micros));
    whole.map(Some).ok_or_else(|| out_of_range(text))
}

fn out_of_range(text: &str) -> Error {
    Error::new(ErrorKind::OutOfRange, format!("\"{text}\" is out of range"))
}

fn number(text: &str, longest: usize) -> Option<i64> {
    let fits = (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn time_of_day(text: &str, iso: bool) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = match parts.next() {
        Some(second) => second,
        // ISO 8601 may leave the seconds out.
        None if iso => "0",
        None => return None,
    };
    let (second, fraction) = match second.split_once('.') {
        Some((second, fraction)) => (second, Some(fraction)),
        None => (second, None),
    };
    let second = number(second, 2).filter(|second| *second < 60)?;
    let micros = match fraction {
        None => 0,
        Some(digits) => {
            let nanos = number(digits, 9)?;
            nanos * 10_i64.pow(9 - digits.len() as u32) / 1000
        }
    };
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Returns the days since 1970 of a date of the proleptic Gregorian calendar.
fn days(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(3, '-');
    let year = number(parts.next()?, 10)?;
    let year = if negative { -year } else { year };
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    Some(calendar::days(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_hive_does() {
        let table = [
            ("12", Some(12)),
            ("+12", Some(12)),
            ("-128", Some(-128)),
            ("128", None),
            ("12.7", Some(12)),
            (".5", Some(0)),
            ("12.", Some(12)),
            (".", None),
            ("-", None),
            ("", None),
            (" 1", None),
            ("1.x", None),
            ("\\N", None),
        ];
        for (text, wanted) in table {
            assert_eq!(integer(text.as_bytes(), -128, 127), wanted, "{text}");
        }
        assert_eq!(integer(b"-9223372036854775808", i64::MIN, i64::MAX), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808", i64::MIN, i64::MAX), None);
        let floats = [
            ("1.5", Some(1.5)),
            (" 1e3 ", Some(1000.0)),
            ("2f", Some(2.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("inf", None),
            ("nan", None),
            ("0x1p3", None),
            ("", None),
        ];
        for (text, wanted) in floats {
            assert_eq!(float::<f64>(text.as_bytes()), wanted, "{text}");
        }
        assert!(float::<f32>(b"NaN").is_some_and(f32::is_nan));
    }

    #[test]
    fn rounds_decimals_half_up_and_drops_what_does_not_fit() {
        let table = [
            ("1.005", Some(101)),
            ("-1.005", Some(-101)),
            ("1.004", Some(100)),
            ("999.994", Some(99_999)),
            ("999.995", None),
            ("1000", None),
            ("1e2", Some(10_000)),
            ("1e-3", Some(0)),
            ("5e-3", Some(1)),
            (" 7 ", Some(700)),
            ("0e99", Some(0)),
            ("", None),
            (".", None),
            ("1,5", None),
        ];
        for (text, wanted) in table {
            assert_eq!(decimal(text.as_bytes(), 5, 2), wanted, "{text}");
        }
    }

    #[test]
    fn reads_dates_of_any_year() {
        let table = [
            ("1970-01-01", Some(0)),
            ("2026-1-2", Some(20_455)),
            ("1582-10-04", Some(-141_438)),
            ("0001-01-01", Some(-719_162)),
            ("9999-12-31", Some(2_932_896)),
            ("2026-01-02 03:04:05", Some(20_455)),
            ("2026-02-29", None),
            ("2024-02-29", Some(19_782)),
            ("2026-13-01", None),
            ("26-1-1", None),
        ];
        for (text, wanted) in table {
            assert_eq!(date(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        let times = [
            ("1970-01-01 00:00:00", Some(0)),
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-01", Some(0)),
            ("1969-12-31 23:59:59.999999999", Some(-1)),
            ("1970-01-01 0:0:1.5", Some(1_500_000)),
            ("1970-01-01 24:00:00", None),
            ("1970-01-01 00:00", None),
        ];
        for (text, wanted) in times {
            assert_eq!(timestamp(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        assert_eq!(timestamp(b"999999-01-01 00:00:00").unwrap_err().sqlstate(), "22003");
    }

    #[test]
    fn reads_base64_or_the_bytes() {
        assert_eq!(binary(b"AAEC/w=="), vec![0, 1, 2, 255]);
        assert_eq!(binary(b"not base64!"), b"not base64!");
        assert_eq!(binary(b""), b"");
    }
}
