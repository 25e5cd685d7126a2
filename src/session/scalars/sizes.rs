//! Functions whose answers may be far longer than what they are given: `repeat`, `lpad`, `rpad`, series and arrays of one value.
//!
//! Their answers are there before an operator counts them, so what they will need is reckoned first.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use maru_core::{Error, ErrorKind, Result};

/// Bytes of one value, as in PostgreSQL.
const VALUE_MAX: i64 = 0x3fff_ffff;

/// Bytes of all values that are computed at a time.
const BATCH_MAX: i64 = 256 << 20;

/// Bytes of a character in UTF-8, and of an element of an array.
const CHARACTER: i64 = 4;
const ELEMENT: i64 = 8;

const FUNCTIONS: &[&str] = &["repeat", "lpad", "rpad", "array_repeat", "generate_series", "range"];

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for name in FUNCTIONS {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(Reckoned { inner })))?;
    }
    Ok(())
}

/// A function that reckons first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reckoned {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Reckoned {
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

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let numbers = args.args.iter().map(numbers).collect::<DfResult<Vec<_>>>()?;
        let mut all = 0_i64;
        for row in 0..n_rows {
            let known = numbers.iter().map(|numbers| numbers.at(row)).collect::<Vec<_>>();
            let bytes = reckoned(self.name(), &known).unwrap_or(0);
            all = all.saturating_add(bytes);
            if bytes > VALUE_MAX {
                return Err(too_large().into());
            }
            if all > BATCH_MAX {
                let why = format!(
                    "The values that {} makes at a time may have {} MB together.",
                    self.name(),
                    BATCH_MAX >> 20
                );
                return Err(too_large().with_detail(why).into());
            }
        }
        self.inner.invoke_with_args(args)
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::LimitExceeded, "requested length too large")
}

/// Returns the bytes that the answer will have at most; `None` if an argument is NULL or of another type.
fn reckoned(name: &str, arguments: &[Option<i64>]) -> Option<i64> {
    Some(match (name, arguments) {
        ("repeat", [text, count]) => (*text)?.saturating_mul((*count)?.max(0)),
        ("lpad" | "rpad", [_, characters, ..]) => (*characters)?.max(0).saturating_mul(CHARACTER),
        ("array_repeat", [_, count]) => (*count)?.max(0).saturating_mul(ELEMENT),
        ("generate_series" | "range", [end]) => (*end)?.max(0).saturating_mul(ELEMENT),
        ("generate_series" | "range", [begin, end, step @ ..]) => {
            let step = match step {
                [step, ..] => (*step)?,
                [] => 1,
            };
            let steps = (*end)?.checked_sub((*begin)?).unwrap_or(i64::MAX).checked_div(step)?;
            steps.max(0).saturating_mul(ELEMENT)
        }
        _ => return None,
    })
}

/// Whole numbers, and of texts their bytes, row by row.
enum Numbers {
    One(Option<i64>),
    Each(Int64Array),
}

impl Numbers {
    fn at(&self, row: usize) -> Option<i64> {
        match self {
            Self::One(number) => *number,
            Self::Each(numbers) => numbers.is_valid(row).then(|| numbers.value(row)),
        }
    }
}

fn numbers(argument: &ColumnarValue) -> DfResult<Numbers> {
    let data_type = argument.data_type();
    let is_meant = data_type.is_integer() || data_type.is_string();
    Ok(match argument {
        _ if !is_meant => Numbers::One(None),
        ColumnarValue::Scalar(value) if data_type.is_string() => {
            let bytes = value.try_as_str().flatten().map(str::len);
            Numbers::One(bytes.and_then(|bytes| i64::try_from(bytes).ok()))
        }
        ColumnarValue::Scalar(value) => match value.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(number) => Numbers::One(number),
            _ => Numbers::One(None),
        },
        ColumnarValue::Array(array) => {
            let counted = match data_type.is_string() {
                true => cast(&length(array)?, &DataType::Int64)?,
                false => cast(array, &DataType::Int64)?,
            };
            Numbers::Each(counted.as_primitive::<Int64Type>().clone())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_be_needed_is_known_before() {
        let reckoned = |name, arguments: &[i64]| {
            reckoned(name, &arguments.iter().copied().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(reckoned("repeat", &[3, 10]), Some(30));
        assert_eq!(reckoned("repeat", &[3, -10]), Some(0));
        assert_eq!(reckoned("lpad", &[1, 10, 1]), Some(40));
        assert_eq!(reckoned("generate_series", &[1, 11]), Some(80));
        assert_eq!(reckoned("generate_series", &[11, 1, -2]), Some(40));
        assert_eq!(reckoned("generate_series", &[1, 10, 0]), None);
        assert_eq!(reckoned("range", &[i64::MIN, i64::MAX]), Some(i64::MAX));
        assert_eq!(super::reckoned("repeat", &[Some(1), None]), None);
    }
}
