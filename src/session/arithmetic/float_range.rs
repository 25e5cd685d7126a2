//! Results of floats that are beyond all floats: 22003, as in PostgreSQL. The processor makes an infinity of what is too large, and a
//! zero of what is too small.
//!
//! Infinite operands give what they give: `'Infinity'::float8 + 1` is infinite. Operands are looked at only in a batch that has an
//! infinity or, of a product and a quotient, a zero among its results.
//!
//! Source: PostgreSQL 16, `float8_pl`, `float8_mul`, `float8_div`.

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use maru_core::{Error, ErrorKind};

use super::Operation;

/// Looks at the results of an operation on floats.
///
/// # Errors
/// 22003 for the first that is infinite of finite operands, or zero of others.
pub(super) fn check(
    operation: Operation,
    left: &dyn Datum,
    right: &dyn Datum,
    results: &ArrayRef,
) -> Result<(), ArrowError> {
    match results.data_type() {
        DataType::Float64 => look::<Float64Type>(operation, left, right, results),
        DataType::Float32 => look::<Float32Type>(operation, left, right, results),
        _ => Ok(()),
    }
}

/// The error of a result that is too large, or too small.
pub(in crate::session) fn beyond(is_infinite: bool) -> Error {
    let which = if is_infinite { "overflow" } else { "underflow" };
    Error::new(ErrorKind::OutOfRange, format!("value out of range: {which}"))
}

fn look<T: ArrowPrimitiveType<Native: Into<f64>>>(
    operation: Operation,
    left: &dyn Datum,
    right: &dyn Datum,
    results: &ArrayRef,
) -> Result<(), ArrowError> {
    let shrinks = matches!(operation, Operation::FloatMultiply | Operation::Divide);
    let is_odd = |value: f64| value.is_infinite() || shrinks && value == 0.0;
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let sides = left.as_primitive_opt::<T>().zip(right.as_primitive_opt::<T>());
    let (Some((left, right)), Some(results)) = (sides, results.as_primitive_opt::<T>()) else {
        return Ok(());
    };
    // By parts, so that the processor can look at several at once.
    let mut parts = results.values().chunks(64);
    let has_odd = |part: &[T::Native]| {
        part.iter().fold(false, |found, value| found | is_odd((*value).into()))
    };
    if !parts.any(has_odd) {
        return Ok(());
    }
    let value = |array: &PrimitiveArray<T>, row: usize| -> f64 { array.value(row).into() };
    for row in 0..results.len() {
        let result = value(results, row);
        if results.is_null(row) || !is_odd(result) {
            continue;
        }
        let a = value(left, if one_left { 0 } else { row });
        let b = value(right, if one_right { 0 } else { row });
        if !is_meant(operation, a, b, result) {
            return Err(beyond(result.is_infinite()).into());
        }
    }
    Ok(())
}

/// Returns whether an infinity, or the zero of a product or a quotient, is the value itself.
fn is_meant(operation: Operation, a: f64, b: f64, result: f64) -> bool {
    let of_quotient = operation == Operation::Divide;
    match result.is_infinite() {
        true => a.is_infinite() || !of_quotient && b.is_infinite(),
        false if of_quotient => a == 0.0 || b.is_infinite(),
        false => a == 0.0 || b == 0.0,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use arrow::compute::kernels::numeric;

    use super::*;

    #[test]
    fn results_beyond_floats_are_told_and_others_are_not() {
        let infinite = f64::INFINITY;
        let product = |a: Option<f64>, b: f64| {
            let (a, b) = (Float64Array::from(vec![Some(1.0), a]), Float64Array::new_scalar(b));
            let results = numeric::mul(&a, &b).unwrap();
            check(Operation::FloatMultiply, &a, &b, &results).map_err(|error| error.to_string())
        };
        assert!(product(Some(1e308), 10.0).unwrap_err().contains("overflow"));
        assert!(product(Some(1e-308), 1e-308).unwrap_err().contains("underflow"));
        for (a, b) in [
            (Some(infinite), 10.0),
            (Some(0.0), 1e-308),
            (Some(1e-308), 0.0),
            (Some(-2.0), infinite),
            (None, 1e308),
        ] {
            assert!(product(a, b).is_ok(), "{a:?} * {b}");
        }
        assert!(is_meant(Operation::Divide, 1.0, infinite, 0.0));
        assert!(!is_meant(Operation::Divide, 1e-308, 1e100, 0.0));
        assert!(!is_meant(Operation::Divide, 1e308, 1e-10, infinite));
    }
}
