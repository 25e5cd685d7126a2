//! Logarithms, powers and roots where they are not defined: errors, as in PostgreSQL, and neither NaN nor an infinity.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use maru_core::{Error, ErrorKind, Result};

const FUNCTIONS: &[&str] = &["ln", "log", "log10", "log2", "power", "sqrt"];

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for name in FUNCTIONS {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(Defined { inner })))?;
    }
    Ok(())
}

/// A function that looks at its arguments first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Defined {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Defined {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
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
        let n_rows = columns.first().map_or(0, |column| column.len());
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
        self.inner.invoke_with_args(args)
    }
}

/// Says why a function has no value for its arguments; of NaN it is NaN.
fn undefined(name: &str, row: &[f64]) -> Option<(ErrorKind, &'static str)> {
    let power = |why| Some((ErrorKind::InvalidPower, why));
    let logarithm = |why| Some((ErrorKind::InvalidLogarithm, why));
    match (name, row) {
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
        ] {
            assert_eq!(kind(name, &row), expected, "{name} of {row:?}");
        }
    }
}
