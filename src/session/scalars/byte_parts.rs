//! `substring`, `length` and `octet_length` of bytes, which the engine underneath has of texts alone, or takes bytes for texts.
//!
//! Source: PostgreSQL 16, table 9.11.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions::unicode;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

const SUBSTRING: &str = "substr";

static SUBSTR: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| of_bytes_too(unicode::substr()));

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udf(Arc::clone(&SUBSTR))?;
    for name in ["character_length", "octet_length"] {
        let function = of_bytes_too(state.udf(name)?);
        state.register_udf(function)?;
    }
    Ok(())
}

fn of_bytes_too(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(OfBytesToo { inner, signature }))
}

/// Plans `substring(b FROM 2 FOR 3)`.
#[derive(Debug)]
pub(in crate::session) struct Substrings;

impl ExprPlanner for Substrings {
    fn plan_substring(&self, args: Vec<Expr>) -> DfResult<PlannerResult<Vec<Expr>>> {
        let call = ScalarFunction::new_udf(Arc::clone(&SUBSTR), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfBytesToo {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl OfBytesToo {
    fn is_substring(&self) -> bool {
        self.inner.name() == SUBSTRING
    }
}

impl ScalarUDFImpl for OfBytesToo {
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

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if let [first, rest @ ..] = types
            && first.is_binary()
        {
            let wanted = if self.is_substring() { 1..=2 } else { 0..=0 };
            let are_numbers = rest.iter().all(|other| other.is_integer() || other.is_null());
            if !wanted.contains(&rest.len()) || !are_numbers {
                let what = format!("{} of bytes takes other arguments", self.name());
                return Err(Error::new(ErrorKind::UndefinedFunction, what)
                    .with_hint("length(b), octet_length(b), substr(b, start [, length]).")
                    .into());
            }
            let mut coerced = vec![DataType::Binary];
            coerced.resize(types.len(), DataType::Int64);
            return Ok(coerced);
        }
        let fields =
            types.iter().map(|data_type| Arc::new(Field::new("", data_type.clone(), true)));
        let fields = fields.collect::<Vec<_>>();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types.first() {
            Some(first) if first.is_binary() => Ok(match self.is_substring() {
                true => DataType::Binary,
                false => DataType::Int32,
            }),
            _ => self.inner.return_type(types),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        if args.arg_fields.first().is_some_and(|first| first.data_type().is_binary()) {
            let types = args.arg_fields.iter().map(|field| field.data_type().clone());
            let data_type = self.return_type(&types.collect::<Vec<_>>())?;
            return Ok(Arc::new(Field::new(self.name(), data_type, true)));
        }
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let of_bytes = args.args.first().is_some_and(|first| first.data_type().is_binary());
        if !of_bytes {
            return self.inner.invoke_with_args(args);
        }
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let arrays =
            args.args.iter().map(|arg| arg.to_array(n_rows)).collect::<DfResult<Vec<_>>>()?;
        let found = match arrays.as_slice() {
            [bytes] => lengths(bytes)?,
            [bytes, start, rest @ ..] => parts(bytes, start, rest.first())?,
            [] => return Err(Error::internal("a function of no bytes").into()),
        };
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            false => ColumnarValue::Array(found),
        })
    }
}

fn lengths(bytes: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(bytes, &DataType::Binary)?;
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    let lengths = bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(length));
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

fn parts(bytes: &ArrayRef, start: &ArrayRef, length: Option<&ArrayRef>) -> Result<ArrayRef> {
    let bytes = cast(bytes, &DataType::Binary)?;
    let (bytes, start) = (bytes.as_binary::<i32>(), start.as_primitive::<Int64Type>());
    let length = length.map(|length| length.as_primitive::<Int64Type>());
    let mut found = Vec::with_capacity(bytes.len());
    for (row, (bytes, start)) in bytes.iter().zip(start.iter()).enumerate() {
        let length = match length {
            Some(length) if length.is_null(row) => {
                found.push(None);
                continue;
            }
            Some(length) => Some(length.value(row)),
            None => None,
        };
        found.push(match (bytes, start) {
            (Some(bytes), Some(start)) => Some(part(bytes, start, length)?),
            _ => None,
        });
    }
    Ok(Arc::new(found.into_iter().collect::<BinaryArray>()))
}

/// Returns some of the bytes, which are counted from 1.
///
/// # Errors
/// 22023 for a length below zero.
fn part(bytes: &[u8], start: i64, length: Option<i64>) -> Result<&[u8]> {
    if length.is_some_and(|length| length < 0) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "negative substring length not allowed",
        ));
    }
    let at = |place: i64| usize::try_from(place.max(1) - 1).unwrap_or(usize::MAX).min(bytes.len());
    let end = length.map_or(bytes.len(), |length| at(start.saturating_add(length)));
    Ok(bytes.get(at(start)..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_from_one() {
        for (start, length, expected) in [
            (1, Some(1), "a"),
            (2, None, "bc"),
            (0, Some(2), "a"),
            (-5, Some(3), ""),
            (3, Some(9), "c"),
            (4, Some(1), ""),
            (2, Some(i64::MAX), "bc"),
        ] {
            assert_eq!(part(b"abc", start, length).unwrap(), expected.as_bytes(), "{start}");
        }
        assert!(part(b"abc", 1, Some(-1)).is_err());
    }
}
