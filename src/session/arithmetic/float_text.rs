//! Floats that are written as text: what is beyond all of them is an error, and not infinite or zero.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options, nullif};
use arrow::datatypes::{DataType, Float64Type};
use maru_core::{Error, ErrorKind, Result};

use super::float::one_nan;
use crate::system::types::sql_name;

/// Reads texts as floats. With `try_cast` those that are none, or are out of range, are NULL.
///
/// # Errors
/// 22P02 for the first that is none, 22003 for one that is beyond the type.
pub(super) fn floats(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    let found = one_nan(&cast_with_options(texts, target, &options)?);
    let values = cast_with_options(&found, &DataType::Float64, &options)?;
    let values = values.as_primitive::<Float64Type>();
    if !values.iter().flatten().any(|value| value.is_infinite() || value == 0.0) {
        return Ok(found);
    }
    let texts = cast_with_options(texts, &DataType::Utf8, &options)?;
    let texts = texts.as_string::<i32>();
    let lost = texts.iter().zip(values.iter()).map(|(text, value)| match (text, value) {
        (Some(text), Some(value)) => is_lost(text, value),
        _ => false,
    });
    let lost = lost.collect::<Vec<_>>();
    let Some(row) = lost.iter().position(|lost| *lost) else { return Ok(found) };
    if try_cast {
        return Ok(nullif(&found, &BooleanArray::from(lost))?);
    }
    let (text, name) = (texts.value(row), sql_name(target));
    Err(Error::new(ErrorKind::OutOfRange, format!("\"{text}\" is out of range for type {name}")))
}

/// Returns whether a number that is neither infinite nor zero has become one of these.
fn is_lost(text: &str, value: f64) -> bool {
    if value.is_infinite() {
        return !text.contains(['i', 'I']);
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    value == 0.0 && mantissa.contains(|digit: char| matches!(digit, '1'..='9'))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringArray};

    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_refused() {
        for text in ["1e400", "-1e400", "1e-400", " 1E+999 "] {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, Some(text)]));
            let error = floats(&texts, &DataType::Float64, false);
            assert!(error.is_err(), "{text}");
        }
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1e39", "Infinity", "-inf", "0e9"]));
        assert!(floats(&texts, &DataType::Float32, false).is_err());
        let found = floats(&texts, &DataType::Float32, true).unwrap();
        assert_eq!(found.null_count(), 1);
        let found = floats(&texts, &DataType::Float64, false).unwrap();
        let found = found.as_primitive::<Float64Type>();
        assert_eq!(found.values().to_vec(), [1e39, f64::INFINITY, f64::NEG_INFINITY, 0.0]);
    }
}
