//! Numerics that are written with an exponent, `1e3`, or with spaces around: PostgreSQL reads them, the engine's casts do not.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use maru_core::Result;

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
    Ok(cast_with_options(&written, target, &options)?)
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

fn without_exponent(number: &str) -> Option<String> {
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
