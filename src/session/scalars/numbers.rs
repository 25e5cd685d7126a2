//! Numbers: `width_bucket`, `div`, `scale`, sines of degrees, sizes of bytes.
//!
//! Source: PostgreSQL 16, 9.3 and `width_bucket_numeric`, `width_bucket_float8`, `pg_size_pretty`.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::{Kind, Row, RowFunction};

/// A function of an angle in degrees, exact at multiples of 30 and 45.
macro_rules! degrees {
    ($name:literal, $function:path, $what:literal) => {
        RowFunction {
            name: $name,
            forms: &[&[Kind::Float]],
            returns: |_| DataType::Float64,
            compute: |row| {
                let value = $function(row.float(0).rem_euclid(360.0).to_radians());
                let rounded = (value * 1e15).round() / 1e15;
                let exact = (rounded * 2.0).fract() == 0.0;
                Ok(ScalarValue::Float64(Some(if exact { rounded } else { value })))
            },
            syntax: concat!($name, "(degrees)"),
            description: concat!("Returns the ", $what, " of an angle in degrees."),
            ..RowFunction::BASE
        }
    };
}

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "width_bucket",
        forms: &[&[Kind::Float, Kind::Float, Kind::Float, Kind::Whole], &[Kind::Any, Kind::Array]],
        returns: |_| DataType::Int32,
        compute: |row| match row.values.len() {
            4 => bucket(row),
            _ => bucket_of_bounds(row),
        },
        syntax: "width_bucket(operand, low, high, count), width_bucket(operand, thresholds)",
        description: "Returns the number of the bucket that a value falls into: 0 below the first, count + 1 at or above the last bound.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "div",
        forms: &[&[Kind::Number, Kind::Number]],
        returns: |types| match types {
            [DataType::Int64, DataType::Int64] => DataType::Int64,
            _ => DataType::Decimal128(38, 0),
        },
        compute: div,
        syntax: "div(y, x)",
        description: "Returns the whole part of a quotient, cut towards zero.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "scale",
        forms: &[&[Kind::Number]],
        returns: |_| DataType::Int32,
        compute: |row| Ok(ScalarValue::Int32(Some(places(row)?.0))),
        syntax: "scale(numeric)",
        description: "Returns how many digits stand behind the point.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "min_scale",
        forms: &[&[Kind::Number]],
        returns: |_| DataType::Int32,
        compute: |row| Ok(ScalarValue::Int32(Some(places(row)?.1))),
        syntax: "min_scale(numeric)",
        description: "Returns how many digits behind the point a number needs.",
        ..RowFunction::BASE
    },
    degrees!("sind", f64::sin, "sine"),
    degrees!("cosd", f64::cos, "cosine"),
    degrees!("tand", f64::tan, "tangent"),
    RowFunction {
        name: "pg_size_pretty",
        forms: &[&[Kind::Number]],
        compute: size_pretty,
        syntax: "pg_size_pretty(bytes)",
        description: "Returns a number of bytes with a unit that people read.",
        ..RowFunction::BASE
    },
];

fn refused(what: &str) -> Error {
    // PostgreSQL's 2201G.
    Error::new(ErrorKind::InvalidParameter, what)
}

fn bucket(row: &Row) -> Result<ScalarValue> {
    let (operand, low, high, count) = (row.float(0), row.float(1), row.float(2), row.whole(3));
    if count <= 0 {
        return Err(refused("count must be greater than zero"));
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(refused("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(refused("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(refused("lower bound cannot equal upper bound"));
    }
    // Downwards the buckets are counted from the top.
    let (at, span) =
        if low < high { (operand - low, high - low) } else { (low - operand, low - high) };
    let number = if at < 0.0 {
        0
    } else if at >= span {
        count + 1
    } else {
        ((count as f64 * (at / span)) as i64).min(count - 1) + 1
    };
    let number = i32::try_from(number);
    let number = number.map_err(|_| Error::new(ErrorKind::OutOfRange, "integer out of range"))?;
    Ok(ScalarValue::Int32(Some(number)))
}

fn bucket_of_bounds(row: &Row) -> Result<ScalarValue> {
    let (operand, ScalarValue::List(bounds)) = (&row.values[0], &row.values[1]) else {
        return Err(Error::internal("thresholds are an array"));
    };
    let bounds = bounds.value(0);
    if bounds.null_count() > 0 {
        return Err(refused("thresholds array must not contain NULLs"));
    }
    let operand = operand.cast_to(bounds.data_type())?;
    let mut number = 0;
    for at in 0..bounds.len() {
        let bound = ScalarValue::try_from_array(&bounds, at)?;
        if operand.partial_cmp(&bound) == Some(Ordering::Less) {
            break;
        }
        number += 1;
    }
    Ok(ScalarValue::Int32(Some(number)))
}

fn div(row: &Row) -> Result<ScalarValue> {
    let zero = || Error::new(ErrorKind::DivisionByZero, "division by zero");
    let out_of_range = || Error::new(ErrorKind::OutOfRange, "numeric out of range");
    if let [ScalarValue::Int64(Some(a)), ScalarValue::Int64(Some(b))] = row.values {
        if *b == 0 {
            return Err(zero());
        }
        return Ok(ScalarValue::Int64(Some(a.checked_div(*b).ok_or_else(out_of_range)?)));
    }
    if row.values.iter().any(|value| matches!(value, ScalarValue::Float64(_))) {
        return Err(Error::new(
            ErrorKind::UndefinedFunction,
            "function div(double precision, double precision) does not exist",
        )
        .with_hint("Write trunc(y / x), or CAST both to numeric."));
    }
    let exact = |value: &ScalarValue| match value {
        ScalarValue::Int64(Some(number)) => Some((i128::from(*number), 0)),
        ScalarValue::Decimal128(Some(number), _, places) => Some((*number, *places)),
        _ => None,
    };
    let (Some((a, a_places)), Some((b, b_places))) = (exact(&row.values[0]), exact(&row.values[1]))
    else {
        return Err(Error::internal("div takes two numbers"));
    };
    if b == 0 {
        return Err(zero());
    }
    let places = a_places.max(b_places);
    let widened = |value: i128, from: i8| {
        u32::try_from(places - from)
            .ok()
            .and_then(|by| 10_i128.checked_pow(by))
            .and_then(|power| value.checked_mul(power))
    };
    let (a, b) = widened(a, a_places).zip(widened(b, b_places)).ok_or_else(out_of_range)?;
    Ok(ScalarValue::Decimal128(Some(a / b), 38, 0))
}

/// Returns the places of a number, and those that are no zeros at its end.
fn places(row: &Row) -> Result<(i32, i32)> {
    match &row.values[0] {
        ScalarValue::Int64(_) => Ok((0, 0)),
        ScalarValue::Decimal128(Some(number), _, places) => {
            let (mut number, mut needed) = (*number, i32::from(*places));
            while needed > 0 && number % 10 == 0 {
                number /= 10;
                needed -= 1;
            }
            Ok((i32::from(*places), needed))
        }
        _ => Err(Error::new(
            ErrorKind::UndefinedFunction,
            "function scale(double precision) does not exist",
        )
        .with_hint("CAST the argument to numeric.")),
    }
}

fn size_pretty(row: &Row) -> Result<ScalarValue> {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let bytes = match &row.values[0] {
        ScalarValue::Int64(Some(bytes)) => i128::from(*bytes),
        ScalarValue::Decimal128(Some(value), _, places) => {
            value / 10_i128.pow(u32::try_from(*places).unwrap_or(0))
        }
        other => {
            match other.cast_to(&DataType::Float64)?.to_array()?.as_primitive_opt::<Float64Type>() {
                Some(value) => value.value(0) as i128,
                None => return Err(Error::internal("a size is a number")),
            }
        }
    };
    let (mut size, mut unit) = (bytes, 0);
    // A unit is left once ten thousand of it are there; the last step rounds.
    while size.abs() >= 10 * 1024 && unit + 1 < UNITS.len() {
        let next = size as f64 / 1024.0;
        unit += 1;
        size = if next.abs() >= 10.0 * 1024.0 && unit + 1 < UNITS.len() {
            size / 1024
        } else {
            next.round() as i128
        };
    }
    Ok(ScalarValue::Utf8(Some(format!("{size} {}", UNITS[unit]))))
}
