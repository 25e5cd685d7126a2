//! Quotients of decimals.

use arrow::datatypes::i256;

/// Returns `a / b`, rounded half away from zero as PostgreSQL rounds numerics; `None` for a division by zero or out of range.
pub fn rounded_quotient(a: i256, b: i256) -> Option<i256> {
    let (whole, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    let up = rest.wrapping_abs() >= b.wrapping_abs().wrapping_sub(rest.wrapping_abs());
    let away = if a.is_negative() == b.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    if up { whole.checked_add(away) } else { Some(whole) }
}
