//! `clip(x, low, high)`: values kept within bounds, as pandas does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use maru_core::{Error, ErrorKind, Result};

const SYNTAX: &str = "clip(x, low, high)";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clip {
    signature: Signature,
    documentation: Documentation,
}

impl Clip {
    pub fn new() -> Self {
        let doc = "Keeps a number, date or timestamp within bounds; a bound that is NULL is none, NULL and NaN stay.";
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: Documentation::builder(DocSection::default(), doc, SYNTAX).build(),
        }
    }
}

/// The type in which a value and others beside it are taken together; the value's own where they are text.
pub(crate) fn common_type(value: &DataType, others: &[DataType]) -> DataType {
    let mut all = vec![value.clone()];
    all.extend(others.iter().filter(|other| other.is_numeric() || !value.is_numeric()).cloned());
    if value.is_numeric() {
        return type_union_resolution(&all).unwrap_or_else(|| value.clone());
    }
    value.clone()
}

impl ScalarUDFImpl for Clip {
    fn name(&self) -> &str {
        "clip"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    /// What does not fit is refused by [`Self::return_type`], whose SQLSTATE the planner keeps.
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let Some((value, bounds)) = types.split_first() else { return Ok(Vec::new()) };
        let common = match common_type(value, bounds) {
            DataType::Float16 | DataType::Float32 => DataType::Float64,
            other => other,
        };
        Ok(vec![common; types.len()])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [value, _, _] if value.is_numeric() || value.is_temporal() => Ok(value.clone()),
            [DataType::Null, _, _] => Ok(DataType::Null),
            _ => Err(Error::new(
                ErrorKind::UndefinedFunction,
                "function clip takes a number, date or timestamp and two bounds",
            )
            .with_hint(format!("Write {SYNTAX}; NULL is no bound."))
            .into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let n_rows = if constant { 1 } else { args.number_rows };
        let arrays =
            args.args.iter().map(|value| value.to_array(n_rows)).collect::<DfResult<Vec<_>>>()?;
        let [value, low, high] = arrays.as_slice() else {
            return Err(Error::internal("clip takes three arguments").into());
        };
        let clipped = clip(value, low, high)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&clipped, 0)?)),
            false => Ok(ColumnarValue::Array(clipped)),
        }
    }
}

fn clip(value: &ArrayRef, low: &ArrayRef, high: &ArrayRef) -> Result<ArrayRef> {
    if value.data_type().is_null() {
        return Ok(Arc::clone(value));
    }
    let crossed = || {
        Error::new(ErrorKind::InvalidParameter, "the lower bound of clip is above the upper one")
    };
    if *value.data_type() == DataType::Float64 {
        let of = |array: &ArrayRef| array.as_primitive::<Float64Type>().clone();
        let (value, low, high) = (of(value), of(low), of(high));
        let bound = |array: &Float64Array, row: usize, none: f64| {
            if array.is_null(row) || array.value(row).is_nan() { none } else { array.value(row) }
        };
        let each = (0..value.len()).map(|row| {
            let (low, high) =
                (bound(&low, row, f64::NEG_INFINITY), bound(&high, row, f64::INFINITY));
            if low > high {
                return Err(crossed());
            }
            // NaN stays.
            Ok(value
                .is_valid(row)
                .then(|| value.value(row))
                .map(|x| if x.is_nan() { x } else { x.clamp(low, high) }))
        });
        return Ok(Arc::new(each.collect::<Result<Float64Array>>()?));
    }
    let (low, high) = (cast(low, value.data_type())?, cast(high, value.data_type())?);
    if gt(&low, &high)?.true_count() > 0 {
        return Err(crossed());
    }
    // Comparing with NULL is NULL: no bound.
    let holds = |mask: BooleanArray| {
        if mask.null_count() > 0 { prep_null_mask_filter(&mask) } else { mask }
    };
    let raised = zip(&holds(lt(value, &low)?), &low, value)?;
    Ok(zip(&holds(gt(&raised, &high)?), &high, &raised)?)
}
