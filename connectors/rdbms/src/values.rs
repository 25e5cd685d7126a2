//! Values on their way from a database into Arrow: what does not fit, and exact decimals.

use maru_core::{Error, ErrorKind, Options, Result};

/// Bytes of values in one batch at most, roughly: bounds memory for wide rows and keeps text offsets in 32 bits.
pub(crate) const BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Reads the option `numeric_scale` of the connectors that have it.
///
/// # Errors
/// HV024 for a number that no decimal has places for.
pub(crate) fn numeric_scale(options: &Options) -> Result<i8> {
    options
        .integer("numeric_scale")
        .and_then(|scale| i8::try_from(scale).ok())
        .filter(|scale| (0..=38).contains(scale))
        .ok_or_else(|| {
            Error::new(ErrorKind::InvalidOption, "option \"numeric_scale\" is out of range")
                .with_hint("Give a number from 0 to 38.")
        })
}

/// Why a value has no place in its column's Arrow type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub kind: ErrorKind,
    /// A clause such as `is infinite`.
    pub reason: String,
    pub hint: Option<&'static str>,
}

impl Misfit {
    pub fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), hint: None }
    }

    pub fn out_of_range(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfRange, reason)
    }

    pub fn datetime(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidDatetime, reason)
    }

    /// Bytes that are not what the column's type promises.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidText, reason)
    }

    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Names the place.
    pub fn of(self, table: &str, column: &str) -> Error {
        self.at(&format!("a value of column \"{column}\" of {table}"))
    }

    /// Names the value.
    pub fn at(self, value: &str) -> Error {
        let message = format!("{value} {}", self.reason);
        Error::new(self.kind, message).or_hint(|| self.hint.map(str::to_owned))
    }
}

/// Returns `digits · 10^exponent` as a number of `scale` decimal places, exactly.
pub(crate) fn scaled(
    digits: i128,
    exponent: i32,
    precision: u8,
    scale: i8,
) -> Result<i128, Misfit> {
    let fits = || {
        let shift = exponent.checked_add(i32::from(scale))?;
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        let value = if digits == 0 {
            0
        } else if shift >= 0 {
            digits.checked_mul(power?)?
        } else {
            let power = power?;
            if digits % power != 0 {
                return None;
            }
            digits / power
        };
        (value.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(value)
    };
    fits().ok_or_else(|| Misfit::out_of_range(format!("does not fit decimal({precision},{scale})")))
}

/// Returns `digits · 10^exponent` as [`scaled`] does, for a number of which the digits fit 64 bits; `None` if that is not
/// certain, or if it does not fit. Most numbers are such, and arithmetic of 128 bits costs ten times as much.
pub(crate) fn scaled_short(digits: u64, exponent: i32, precision: u8, scale: i8) -> Option<i128> {
    let shift = exponent.checked_add(i32::from(scale))?;
    let power = |n: u32| POWERS.get(usize::try_from(n).ok()?).copied();
    let value = if shift >= 0 {
        u128::from(digits) * u128::from(power(shift.unsigned_abs())?)
    } else {
        let power = power(shift.unsigned_abs())?;
        if !digits.is_multiple_of(power) {
            return None;
        }
        u128::from(digits / power)
    };
    // One that is longer may still fit, which is seen elsewhere.
    let limit = u128::from(power(u32::from(precision.min(19)))?);
    if value < limit { i128::try_from(value).ok() } else { None }
}

/// Powers of ten that fit 64 bits.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// Reads digits with a point among them or none, and a sign or none, if they are few; `None` for anything else.
fn parse_short(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let bytes = text.as_bytes();
    let (negative, bytes) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, bytes),
    };
    // Nineteen digits fit.
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    let mut digits = 0_u64;
    let mut point = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && bytes.len() > 1 => point = Some(at),
            _ => return None,
        }
    }
    let places = point.map_or(0, |at| bytes.len() - at - 1);
    let value = scaled_short(digits, -i32::try_from(places).ok()?, precision, scale)?;
    Some(if negative { -value } else { value })
}

/// Reads `-12.340`, also `1.5e-7`, as an exact number of `scale` decimal places.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Misfit> {
    if let Some(value) = parse_short(text, precision, scale) {
        return Ok(value);
    }
    let malformed = || Misfit::malformed(format!("is not a number: \"{}\"", shortened(text)));
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| malformed())?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.as_bytes().first() {
        Some(b'-') => (true, &mantissa[1..]),
        Some(b'+') => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() && !unsigned.contains('0') {
        return Err(malformed());
    }
    let mut digits = 0_i128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(malformed());
        }
        digits = digits
            .checked_mul(10)
            .and_then(|digits| digits.checked_add(i128::from(byte - b'0')))
            .ok_or_else(|| {
                Misfit::out_of_range(format!("does not fit decimal({precision},{scale})"))
            })?;
    }
    let places = i32::try_from(fraction.len()).map_err(|_| malformed())?;
    scaled(
        if negative { -digits } else { digits },
        exponent.saturating_sub(places),
        precision,
        scale,
    )
}

/// Returns the beginning of a value for a message.
pub(crate) fn shortened(text: &str) -> String {
    const CHARS_SHOWN: usize = 40;
    let mut shown = text.chars().take(CHARS_SHOWN).collect::<String>().escape_debug().to_string();
    if text.chars().nth(CHARS_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit_exactly_or_not_at_all() {
        assert_eq!(parse_decimal("-12.340", 5, 2), Ok(-1234));
        assert_eq!(parse_decimal("1.5e-3", 5, 4), Ok(15));
        assert_eq!(parse_decimal("0", 5, 2), Ok(0));
        assert_eq!(parse_decimal(".5", 5, 2), Ok(50));
        assert_eq!(parse_decimal("5.", 5, 2), Ok(500));
        assert_eq!(parse_decimal("0.001", 5, 2).unwrap_err().kind, ErrorKind::OutOfRange);
        assert_eq!(parse_decimal("1000", 5, 2).unwrap_err().kind, ErrorKind::OutOfRange);
        assert_eq!(parse_decimal(&"9".repeat(38), 38, 0), Ok(10_i128.pow(38) - 1));
        assert!(parse_decimal(&"9".repeat(39), 38, 0).is_err());
        for text in ["", "-", ".", "abc", "1,5", "NaN", "1e", "--1"] {
            assert_eq!(
                parse_decimal(text, 5, 2).unwrap_err().kind,
                ErrorKind::InvalidText,
                "{text}"
            );
        }
        assert_eq!(scaled(0, 1000, 5, 2), Ok(0));
        assert_eq!(scaled(1, -1000, 5, 2).unwrap_err().kind, ErrorKind::OutOfRange);
    }

    #[test]
    fn short_numbers_are_what_long_ones_are() {
        for (digits, exponent, precision, scale) in [
            (0, 0, 5, 2),
            (12_345, -2, 5, 2),
            (12_345, -3, 5, 2),
            (12_340, -3, 5, 2),
            (12_345, -1, 5, 2),
            (12_345, 4, 12, 2),
            (u64::MAX, 0, 20, 0),
            (u64::MAX, 0, 38, 18),
            (9_999_999_999_999_999_999, 0, 19, 0),
            (1, 19, 38, 0),
            (1, -19, 38, 19),
            (1, i32::MIN, 38, 38),
        ] {
            let long = scaled(digits.into(), exponent, precision, scale);
            if let Some(short) = scaled_short(digits, exponent, precision, scale) {
                assert_eq!(long, Ok(short), "{digits} {exponent} {precision} {scale}");
            }
        }
        assert_eq!(scaled_short(12_345, -2, 12, 2), Some(12_345));
        assert_eq!(scaled_short(12_345, 0, 12, 2), Some(1_234_500));
        assert_eq!(parse_short("-98765432.10", 12, 2), Some(-9_876_543_210));
        assert_eq!(parse_short("98765432109876543.2", 38, 10), None);
        for text in ["", "-", ".", "1.2.3", "+1", "1e3", " 1", "98765432109876543210"] {
            assert_eq!(parse_short(text, 38, 2), None, "{text}");
        }
    }

    #[test]
    fn messages_name_column_and_table() {
        let error = Misfit::datetime("is infinite").of("public.t", "d");
        assert_eq!(error.primary(), "a value of column \"d\" of public.t is infinite");
        assert_eq!(error.sqlstate(), "22007");
    }
}
