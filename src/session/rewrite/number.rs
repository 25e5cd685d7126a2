//! Numbers with an exponent, and casts to `numeric` that say nothing of its digits.
//!
//! The parser underneath makes of `1e3` a numeric of places below zero, whose quotients and roundings are others: `1e3 / 7.0` would be
//! 142.8. Here it is `1000.`.
//!
//! PostgreSQL's `numeric` keeps whatever is written. Here one has a number of places that is the same for all rows: as many as a
//! literal has, but at least ten, which is what columns of type `numeric` have; those of other expressions are told by their type, once
//! it is known.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{CastKind, DataType, ExactNumberInfo, Expr, UnaryOperator, Value};

use super::literal;
use super::literals::call;
use crate::session::arithmetic::{COLUMN_PLACES, NUMERIC_OF, NUMERIC_PLACES, without_exponent};

/// Places that columns of type `numeric` have.
const PLACES_MIN: usize = COLUMN_PLACES.unsigned_abs() as usize;

/// Digits of a numeric.
const DIGITS: usize = 38;

/// Changes one number, or one cast to `numeric`.
///
/// # Errors
/// 22003 for a literal with more digits than a numeric has room for.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Value(value) => {
            if let Value::Number(text, _) = &mut value.value
                && let Some(mut plain) = without_exponent(&text.replace('_', ""))
            {
                if !plain.contains('.') {
                    plain.push('.');
                }
                *text = plain;
            }
        }
        Expr::TypedString(typed) if is_open(&typed.data_type) => {
            if let Value::SingleQuotedString(text) = &typed.value.value {
                let places = places(text)?;
                settle(&mut typed.data_type, places);
            }
        }
        Expr::Cast { kind, expr: inner, data_type, .. } if is_open(data_type) => {
            let is_tried = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
            match written(inner) {
                Some(text) => {
                    let places = places(text)?;
                    settle(data_type, places);
                }
                None if has_no_value(inner) => {}
                None if is_tried => settle(data_type, NUMERIC_PLACES.unsigned_abs().into()),
                None => *expr = call(NUMERIC_OF, vec![(**inner).clone()]),
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether a type is a numeric that says nothing of its digits.
fn is_open(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Numeric(ExactNumberInfo::None)
            | DataType::Decimal(ExactNumberInfo::None)
            | DataType::Dec(ExactNumberInfo::None)
    )
}

fn settle(data_type: &mut DataType, places: usize) {
    if is_open(data_type) && places > PLACES_MIN {
        let info = ExactNumberInfo::PrecisionAndScale(DIGITS as u64, places as i64);
        *data_type = DataType::Numeric(info);
    }
}

/// Returns the digits of a literal, without its sign.
fn written(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => written(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => written(expr),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text),
            _ => literal(expr),
        },
        _ => None,
    }
}

/// Returns whether an expression is a parameter or NULL: the type is told to clients, and taken over from columns.
fn has_no_value(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => has_no_value(inner),
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_) | Value::Null),
        _ => false,
    }
}

/// Returns the places that a literal needs, at least those that a column has. What is no number is left to the cast to refuse.
///
/// # Errors
/// 22003 if there is no room for them all.
fn places(text: &str) -> Result<usize> {
    let text = text.trim();
    let plain = without_exponent(text);
    let number = plain.as_deref().unwrap_or(text).trim_start_matches(['-', '+']);
    let Some((whole, fraction)) = number.split_once('.') else { return Ok(PLACES_MIN) };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() <= PLACES_MIN || !is_number(whole) || !is_number(fraction) {
        return Ok(PLACES_MIN);
    }
    let room = DIGITS.saturating_sub(whole.trim_start_matches('0').len());
    // Zeros at the end say nothing of the value.
    let needed = fraction.trim_end_matches('0').len().max(PLACES_MIN);
    if needed > room {
        return Err(Error::new(ErrorKind::OutOfRange, "numeric out of range")
            .with_detail(format!("A numeric has {DIGITS} digits, the literal has more."))
            .with_hint("CAST it to double precision."));
    }
    Ok(fraction.len().min(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_keep_their_places() {
        for (text, expected) in [
            ("1.5", 10),
            ("0.123456789012345", 15),
            ("-0.12345678901", 11),
            (" 1e-15 ", 15),
            ("1.25e3", 10),
            ("1.00000000000000000000000000000000000000000", 37),
            ("12.3.4", 10),
            ("abc", 10),
        ] {
            assert_eq!(places(text).unwrap(), expected, "{text}");
        }
        let long = format!("0.{}1", "0".repeat(40));
        assert_eq!(places(&long).unwrap_err().sqlstate(), "22003");
    }
}
