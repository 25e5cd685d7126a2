//! Numerics that are written with an exponent, `1e3`, or with spaces around: PostgreSQL reads them, the engine's casts do not.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};

/// Places of what is cast to a numeric that says nothing of its digits.
pub(in crate::session) const PLACES: i8 = 16;

/// Exponents beyond this are left to the cast to refuse.
const EXPONENT_MAX: usize = 400;

/// Reads texts as numerics. With `try_cast` those that are none are NULL.
///
/// # Errors
/// 22P02 for the first that is none, 22003 for one that has no room.
pub(super) fn numerics(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let tolerant = CastOptions { safe: true, ..CastOptions::default() };
    let found = cast_with_options(texts, target, &tolerant)?;
    let texts = cast_with_options(texts, &DataType::Utf8, &tolerant)?;
    let texts = texts.as_string::<i32>();
    if (0..texts.len()).all(|row| texts.is_null(row) || found.is_valid(row)) {
        return Ok(found);
    }
    let written = texts.iter().enumerate().map(|(row, text)| {
        text.map(|text| if found.is_valid(row) { Cow::Borrowed(text) } else { spelled(text) })
    });
    let written: ArrayRef = Arc::new(written.collect::<StringArray>());
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    cast_with_options(&written, target, &options).map_err(|error| {
        match is_too_great(&written, target) {
            true => Error::new(ErrorKind::OutOfRange, "numeric field overflow")
                .with_hint("CAST to a numeric with fewer places, or to double precision."),
            false => error.into(),
        }
    })
}

/// Returns whether the first text that is not read is a number with more digits before the point than there is room for.
fn is_too_great(texts: &ArrayRef, target: &DataType) -> bool {
    let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = target
    else {
        return false;
    };
    let room = usize::from(*precision).saturating_sub(scale.unsigned_abs().into());
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    for text in texts.as_string::<i32>().iter().flatten() {
        let number = text.trim().trim_start_matches(['-', '+']);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return false;
        }
        if whole.trim_start_matches('0').len() > room {
            return true;
        }
    }
    false
}

/// Looks for texts with more places than a cast keeps that was told of none: they are not rounded in silence.
///
/// # Errors
/// 0A000 for the first of them.
pub(super) fn keeps_all(texts: &ArrayRef, target: &DataType) -> Result<()> {
    if !matches!(target, DataType::Decimal128(38, PLACES)) {
        return Ok(());
    }
    let texts = cast_with_options(texts, &DataType::Utf8, &CastOptions::default())?;
    let is_long = |text: &&str| n_places(text) > usize::from(PLACES.unsigned_abs());
    match texts.as_string::<i32>().iter().flatten().find(is_long) {
        Some(text) => {
            let what = format!("a numeric keeps {PLACES} digits after the point");
            Err(Error::unsupported(what)
                .with_detail(format!("There are more in \"{text}\"."))
                .with_hint("CAST to numeric(38, n), which rounds, or to double precision."))
        }
        None => Ok(()),
    }
}

/// Counts the digits after the point, without zeros at the end.
fn n_places(text: &str) -> usize {
    let number = spelled(text);
    let fraction = number.trim_end().split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.trim_end_matches('0').len()
}

/// Returns a number without an exponent and without spaces. A text that is none stays as it is.
fn spelled(text: &str) -> Cow<'_, str> {
    let number = text.trim();
    match without_exponent(number) {
        Some(number) => Cow::Owned(number),
        // The error is to show what was written.
        None if number.parse::<f64>().is_ok() => Cow::Borrowed(number),
        None => Cow::Borrowed(text),
    }
}

/// Returns a number that is written with an exponent, without it; `None` for another text.
pub(in crate::session) fn without_exponent(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E'])?;
    let exponent = exponent.parse::<isize>().ok()?;
    if exponent.unsigned_abs() > EXPONENT_MAX {
        return None;
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // How many digits stand before the point.
    let point = whole.len() as isize + exponent;
    Some(match usize::try_from(point) {
        Err(_) | Ok(0) => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs())),
        Ok(point) if point >= digits.len() => {
            format!("{sign}{digits}{}", "0".repeat(point - digits.len()))
        }
        Ok(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fractions_are_not_rounded_in_silence() {
        let texts =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![Some(text), None])) };
        let open = DataType::Decimal128(38, PLACES);
        assert!(keeps_all(&texts("0.1234567890123456"), &open).is_ok());
        assert!(keeps_all(&texts(" 1.50000000000000000000 "), &open).is_ok());
        let error = keeps_all(&texts("1e-17"), &open).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(keeps_all(&texts("1e-17"), &DataType::Decimal128(38, 10)).is_ok());
    }

    #[test]
    fn exponents_move_the_point() {
        for (text, expected) in [
            ("1e3", "1000"),
            (" 1E-2 ", "0.01"),
            ("-1.25e1", "-12.5"),
            ("+1.25E+2", "125"),
            ("0.5e-1", "0.05"),
            ("12e-2", "0.12"),
            (".5e1", "5"),
            (" 7.5 ", "7.5"),
            ("1e", "1e"),
            ("e3", "e3"),
            (" abc ", " abc "),
            ("1e99999", "1e99999"),
        ] {
            assert_eq!(spelled(text), expected, "{text}");
        }
    }
}
