//! Floats as PostgreSQL writes them, for every door and for casts to text.

use std::fmt::{LowerExp, Write};

/// Digits before the point from which an exponent is written: for `float8`, and for `float4`.
pub(crate) const DOUBLE_DIGITS: i32 = 15;
pub(crate) const REAL_DIGITS: i32 = 6;

/// Writes the shortest text that reads back as the same number, with an exponent below 1e-4 and from 1e`digits`.
/// `number` is `value` in its own width, since the shortest text of 0.1 depends on it.
pub(crate) fn write_float(out: &mut impl Write, value: f64, number: impl LowerExp, digits: i32) {
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
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let figures: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.write_str(sign)?;
    if exponent < 0 {
        return write!(
            out,
            "0.{:0>width$}",
            figures,
            width = figures.len() + (-exponent - 1) as usize
        );
    }
    let whole = exponent as usize + 1;
    if figures.len() <= whole {
        return write!(out, "{figures:0<whole$}");
    }
    write!(out, "{}.{}", &figures[..whole], &figures[whole..])
}
