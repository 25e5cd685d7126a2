//! Logarithms, powers, roots and functions of angles where they are not defined, and where their values are beyond all floats:
//! errors, as in PostgreSQL, and neither NaN nor an infinity.
//!
//! Functions of one float take double precision, also of a `real`.
//!
//! Source: PostgreSQL 16, `float.c`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::session::arithmetic::beyond;

const FUNCTIONS: &[&str] = &["ln", "log", "log10", "log2", "power", "sqrt"];

/// Those of one float.
const OF_FLOATS: &[&str] =
    &["acos", "acosh", "asin", "asinh", "atanh", "cos", "cot", "degrees", "exp", "sin", "tan"];

/// Those whose values may be beyond all floats.
const UNBOUNDED: &[&str] = &["asinh", "degrees", "exp", "power"];

/// Those whose values are never zero, but for a base that is.
const NEVER_ZERO: &[&str] = &["exp", "power"];

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for name in FUNCTIONS {
        let inner = state.udf(name)?;
        let signature = inner.signature().clone();
        state.register_udf(Arc::new(ScalarUDF::from(Defined { inner, signature })))?;
    }
    for name in OF_FLOATS {
        let inner = state.udf(name)?;
        let signature = Signature::uniform(1, vec![DataType::Float64], Volatility::Immutable);
        state.register_udf(Arc::new(ScalarUDF::from(Defined { inner, signature })))?;
    }
    Ok(())
}

/// A function that looks at its arguments first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Defined {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Defined {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        // Of a decimal that ten does not fit into, `log` makes a ten all the same.
        match self.inner.simplify(args.clone(), info) {
            Ok(simple) => Ok(simple),
            Err(_) => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.inner().output_ordering(input)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let columns = args.args.iter().map(|argument| {
            let array = argument.to_array(args.number_rows)?;
            let floats = cast(&array, &DataType::Float64)?;
            Ok(floats.as_primitive::<Float64Type>().clone())
        });
        let columns = columns.collect::<DfResult<Vec<Float64Array>>>()?;
        let is_suspect = columns.iter().any(|column| may_be_undefined(self.name(), column));
        let n_rows = if is_suspect { columns.first().map_or(0, |column| column.len()) } else { 0 };
        let mut row = Vec::with_capacity(columns.len());
        for at in 0..n_rows {
            if columns.iter().any(|column| column.is_null(at)) {
                continue;
            }
            row.clear();
            row.extend(columns.iter().map(|column| column.value(at)));
            if let Some((kind, why)) = undefined(self.name(), &row) {
                return Err(Error::new(kind, why).into());
            }
        }
        let found = self.inner.invoke_with_args(args)?;
        within_floats(self.inner.name(), &columns, &found)?;
        Ok(found)
    }
}

/// Looks at the values of a function.
///
/// # Errors
/// 22003 for one of finite arguments that is infinite, or zero where it cannot be.
fn within_floats(name: &str, arguments: &[Float64Array], found: &ColumnarValue) -> Result<()> {
    if !UNBOUNDED.contains(&name) {
        return Ok(());
    }
    let is_odd = |value: f64| value.is_infinite() || value == 0.0 && NEVER_ZERO.contains(&name);
    let look = |at: usize, value: f64| {
        let is_zero = |base: &Float64Array| name == "power" && base.value(at) == 0.0;
        let is_finite =
            |argument: &Float64Array| at < argument.len() && argument.value(at).is_finite();
        let is_meant = !is_odd(value)
            || !arguments.iter().all(is_finite)
            || value == 0.0 && arguments.first().is_some_and(is_zero);
        if is_meant { Ok(()) } else { Err(beyond(value.is_infinite())) }
    };
    match found {
        ColumnarValue::Scalar(ScalarValue::Float64(Some(value))) => look(0, *value),
        ColumnarValue::Scalar(_) => Ok(()),
        ColumnarValue::Array(array) => match array.as_primitive_opt::<Float64Type>() {
            Some(values) if values.values().iter().any(|value| is_odd(*value)) => values
                .iter()
                .enumerate()
                .try_for_each(|(at, value)| value.map_or(Ok(()), |value| look(at, value))),
            _ => Ok(()),
        },
    }
}

/// Returns whether a function has to be looked at row by row.
fn may_be_undefined(name: &str, column: &Float64Array) -> bool {
    let any = |is_outside: fn(f64) -> bool| column.values().iter().any(|x| is_outside(*x));
    match name {
        "asinh" | "degrees" | "exp" => false,
        "cos" | "cot" | "sin" | "tan" => any(f64::is_infinite),
        "acos" | "asin" | "atanh" => any(|x| x.abs() > 1.0),
        _ => true,
    }
}

/// Says why a function has no value for its arguments; of NaN it is NaN.
fn undefined(name: &str, row: &[f64]) -> Option<(ErrorKind, &'static str)> {
    let power = |why| Some((ErrorKind::InvalidPower, why));
    let logarithm = |why| Some((ErrorKind::InvalidLogarithm, why));
    let outside =
        |is_outside: bool| is_outside.then_some((ErrorKind::OutOfRange, "input is out of range"));
    match (name, row) {
        ("cos" | "cot" | "sin" | "tan", [x]) => outside(x.is_infinite()),
        ("acos" | "asin" | "atanh", [x]) => outside(x.abs() > 1.0),
        ("acosh", [x]) => outside(*x < 1.0),
        ("asinh" | "degrees" | "exp", _) => None,
        ("sqrt", [x]) if *x < 0.0 => power("cannot take square root of a negative number"),
        ("power", [base, exponent]) if *base == 0.0 && *exponent < 0.0 => {
            power("zero raised to a negative power is undefined")
        }
        ("power", [base, exponent])
            if *base < 0.0 && !exponent.is_nan() && exponent.floor() != *exponent =>
        {
            power("a negative number raised to a non-integer power yields a complex result")
        }
        ("sqrt" | "power", _) => None,
        (_, row) if row.contains(&0.0) => logarithm("cannot take logarithm of zero"),
        (_, row) if row.iter().any(|x| *x < 0.0) => {
            logarithm("cannot take logarithm of a negative number")
        }
        // The logarithm of the base is what is divided by.
        (_, [base, _]) if *base == 1.0 => Some((ErrorKind::DivisionByZero, "division by zero")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_told() {
        let kind = |name, row: &[f64]| undefined(name, row).map(|(kind, _)| kind.sqlstate());
        for (name, row, expected) in [
            ("sqrt", vec![-1.0], Some("2201F")),
            ("sqrt", vec![0.0], None),
            ("power", vec![-8.0, 0.5], Some("2201F")),
            ("power", vec![0.0, -1.0], Some("2201F")),
            ("power", vec![-8.0, 3.0], None),
            ("power", vec![-8.0, f64::NAN], None),
            ("ln", vec![-0.0], Some("2201E")),
            ("log", vec![10.0, -1.0], Some("2201E")),
            ("log", vec![1.0, 5.0], Some("22012")),
            ("log10", vec![f64::NAN], None),
            ("sin", vec![f64::INFINITY], Some("22003")),
            ("asin", vec![-1.5], Some("22003")),
            ("acosh", vec![0.5], Some("22003")),
            ("acosh", vec![f64::NAN], None),
            ("exp", vec![0.0], None),
        ] {
            assert_eq!(kind(name, &row), expected, "{name} of {row:?}");
        }
    }

    #[test]
    fn values_beyond_floats_are_told() {
        let look = |name: &str, arguments: &[f64], value: f64| {
            let columns = arguments.iter().map(|x| Float64Array::from(vec![*x]));
            let found = ColumnarValue::Scalar(ScalarValue::Float64(Some(value)));
            within_floats(name, &columns.collect::<Vec<_>>(), &found).is_ok()
        };
        assert!(!look("exp", &[1000.0], f64::INFINITY));
        assert!(!look("exp", &[-1000.0], 0.0));
        assert!(!look("power", &[10.0, -400.0], 0.0));
        assert!(look("exp", &[f64::NEG_INFINITY], 0.0));
        assert!(look("power", &[0.0, 2.0], 0.0));
        assert!(look("degrees", &[0.0], 0.0));
    }
}
