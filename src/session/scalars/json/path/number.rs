//! Numbers of a path, which are PostgreSQL's numeric: exact, and with its digits.

use std::str::FromStr;

use bigdecimal::{BigDecimal, RoundingMode, Zero};
use maru_core::{Error, ErrorKind, Result};

use super::super::Json;
use super::super::value::numeric;
use super::parse::Arithmetic;

pub(super) fn decimal(number: &str) -> Result<BigDecimal> {
    BigDecimal::from_str(number)
        .map_err(|error| Error::internal("a number of jsonb is none").with_cause(error))
}

pub(super) fn number_of(number: BigDecimal) -> Result<Json> {
    let number = if number.is_zero() { number.abs() } else { number };
    Ok(Json::Number(numeric(&number.to_plain_string())?))
}

pub(super) fn calculate(
    operation: Arithmetic,
    left: &BigDecimal,
    right: &BigDecimal,
) -> Result<Json> {
    let divides = matches!(operation, Arithmetic::Divide | Arithmetic::Modulo);
    if divides && right.is_zero() {
        return Err(Error::new(ErrorKind::DivisionByZero, "division by zero"));
    }
    number_of(match operation {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Divide => {
            (left / right).with_scale_round(quotient_scale(left, right), RoundingMode::HalfUp)
        }
    })
}

/// Digits behind the point of a quotient: as many as PostgreSQL's `select_div_scale` gives it, which counts in ten thousands.
fn quotient_scale(left: &BigDecimal, right: &BigDecimal) -> i64 {
    let ((weight, first), (by, by_first)) = (leading(left), leading(right));
    let weight = weight - by - i64::from(first <= by_first);
    let scale = 16 - weight * 4;
    scale.max(left.fractional_digit_count()).max(right.fractional_digit_count()).clamp(0, 1000)
}

/// The place of the first digit that is not zero, and that digit; to the base of 10000.
fn leading(number: &BigDecimal) -> (i64, i64) {
    if number.is_zero() {
        return (0, 0);
    }
    let (units, scale) = number.abs().into_bigint_and_exponent();
    let digits = units.to_string();
    let exponent = digits.len() as i64 - 1 - scale;
    let wanted = (exponent.rem_euclid(4) + 1) as usize;
    let first = digits.chars().chain(std::iter::repeat('0')).take(wanted).collect::<String>();
    (exponent.div_euclid(4), first.parse().unwrap_or(0))
}
