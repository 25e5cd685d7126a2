//! Floats as PostgreSQL writes them, for every door and for casts to text.

use std::fmt::{LowerExp, Write};

/// Digits before the point from which an exponent is written: for `float8`, and for `float4`.
pub const DOUBLE_DIGITS: i32 = 15;
pub const REAL_DIGITS: i32 = 6;

/// Writes the shortest text that reads back as the same number, with an exponent below 1e-4 and from 1e`digits`.
/// `number` is `value` in its own width, since the shortest text of 0.1 depends on it.
pub fn write_float(out: &mut impl Write, value: f64, number: impl LowerExp, digits: i32) {
    // Writing into a buffer cannot fail.
    let _ = try_write(out, value, number, digits);
}

fn try_write(
    out: &mut impl Write,
    value: f64,
    number: impl LowerExp,
    digits: i32,
) -> std::fmt::Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_infinite() {
        return out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let mut written = Written::default();
    write!(written, "{number:e}")?;
    let text = written.text();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    out.write_str(sign)?;
    if exponent < 0 {
        out.write_str("0.")?;
        out.write_str(&ZEROS[..(-exponent - 1) as usize])?;
        out.write_str(first)?;
        return out.write_str(rest);
    }
    let after = exponent as usize;
    out.write_str(first)?;
    if rest.len() <= after {
        out.write_str(rest)?;
        return out.write_str(&ZEROS[..after - rest.len()]);
    }
    out.write_str(&rest[..after])?;
    out.write_str(".")?;
    out.write_str(&rest[after..])
}

/// As many as are ever before or behind the digits.
const ZEROS: &str = "0000000000000000";

/// A number's text while it is taken apart: at most 17 digits, a sign, a point and an exponent.
#[derive(Default)]
struct Written {
    bytes: [u8; 32],
    length: usize,
}

impl Written {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Written {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
