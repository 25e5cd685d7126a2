//! Numbers as they are written, exactly: a value that its type cannot hold is an error, never another value.

/// Why a number cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is no number.
    NoNumber,
    /// It has digits behind the last one that counts.
    NotExact,
    /// It is too large, or too small.
    OutOfRange,
}

/// Reads a number as a multiple of ten to the power of `-scale`. `1.50` and `15e-1` are the same number.
pub(super) fn scaled(text: &str, scale: i32) -> Result<i128, Misfit> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // Most numbers are short and whole.
    if scale == 0 && (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        let value = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Ok(i128::from(if negative { -value } else { value }));
    }
    let mut value = 0_i128;
    // How many digits stand behind the point, those left out counted.
    let mut behind = 0_i64;
    let mut point = false;
    let mut any = false;
    let mut zeros = 0_u32;
    let mut exponent = 0_i64;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                any = true;
                behind += i64::from(point);
                // Zeros count once another digit follows them, so that none at the end takes part.
                if *byte == b'0' {
                    zeros += u32::from(value != 0);
                    continue;
                }
                let shift = 10_i128.checked_pow(zeros + 1).ok_or(Misfit::OutOfRange)?;
                value = value
                    .checked_mul(shift)
                    .and_then(|value| value.checked_add(i128::from(byte - b'0')))
                    .ok_or(Misfit::OutOfRange)?;
                zeros = 0;
            }
            b'.' if !point => point = true,
            b'e' | b'E' if any => {
                exponent = power(&digits[at + 1..]).ok_or(Misfit::NoNumber)?;
                break;
            }
            _ => return Err(Misfit::NoNumber),
        }
    }
    if !any {
        return Err(Misfit::NoNumber);
    }
    if value == 0 {
        return Ok(0);
    }
    // The number is `value` times ten to the power of `shift`, and of the scale.
    let shift = exponent
        .saturating_sub(behind)
        .saturating_add(i64::from(zeros))
        .saturating_add(i64::from(scale));
    if shift < 0 {
        return Err(Misfit::NotExact);
    }
    let factor = u32::try_from(shift).ok().and_then(|shift| 10_i128.checked_pow(shift));
    let value = factor.and_then(|factor| value.checked_mul(factor)).ok_or(Misfit::OutOfRange)?;
    Ok(if negative { -value } else { value })
}

/// Reads an exponent; one that is too long for the type is the largest or smallest there is.
fn power(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    // Half of the range, so that sums with it do not overflow.
    let value = value.min(i64::MAX / 4);
    Some(if negative { -value } else { value })
}

/// Reads a whole number between `min` and `max`.
pub(super) fn integer(text: &str, min: i64, max: i64) -> Result<i64, Misfit> {
    let value = i64::try_from(scaled(text, 0)?).map_err(|_| Misfit::OutOfRange)?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(Misfit::OutOfRange) }
}

/// Reads a number of at most `precision` digits, `scale` of them behind the point.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Misfit> {
    let value = scaled(text, i32::from(scale))?;
    let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if value.abs() < limit { Ok(value) } else { Err(Misfit::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::Misfit::{NoNumber, NotExact, OutOfRange};
    use super::*;

    #[test]
    fn integers_are_whole_or_refused() {
        let table = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("-0.0", Ok(0)),
            ("7", Ok(7)),
            ("15197.5", Err(NotExact)),
            ("15197.0", Ok(15197)),
            ("15197.000", Ok(15197)),
            ("1e3", Ok(1000)),
            ("1.5e1", Ok(15)),
            ("1.5E0", Err(NotExact)),
            ("1500e-2", Ok(15)),
            ("1500e-3", Err(NotExact)),
            ("0e99999999999999999999", Ok(0)),
            ("1e99999999999999999999", Err(OutOfRange)),
            ("1e-99999999999999999999", Err(NotExact)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err(OutOfRange)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("-9223372036854775809", Err(OutOfRange)),
            ("9223372036854775807.0000000000000000000000000000000000000000000000", Ok(i64::MAX)),
            ("9007199254740993", Ok(9_007_199_254_740_993)),
            ("99999999999999999999999999999999999999999999999999", Err(OutOfRange)),
            ("", Err(NoNumber)),
            (".", Err(NoNumber)),
            ("x", Err(NoNumber)),
            ("1e", Err(NoNumber)),
            ("1.2.3", Err(NoNumber)),
        ];
        for (text, wanted) in table {
            assert_eq!(integer(text, i64::MIN, i64::MAX), wanted, "{text}");
        }
        assert_eq!(integer("128", -128, 127), Err(OutOfRange));
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        let table = [
            ("1.23", Ok(123)),
            ("1.230", Ok(123)),
            ("-1.2", Ok(-120)),
            ("1.239", Err(NotExact)),
            ("12e-1", Ok(120)),
            ("1e-3", Err(NotExact)),
            ("999.99", Ok(99_999)),
            ("1000", Err(OutOfRange)),
            ("1e2", Ok(10_000)),
            ("0.000000", Ok(0)),
        ];
        for (text, wanted) in table {
            assert_eq!(decimal(text, 5, 2), wanted, "{text}");
        }
        let widest = "99999999999999999999999999999999999999";
        assert_eq!(decimal(widest, 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal("1200", 3, -2), Ok(12));
        assert_eq!(decimal("1250", 3, -2), Err(NotExact));
    }
}
