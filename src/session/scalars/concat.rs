//! `concat` and `concat_ws` of values of any type, as text that the wire would have: a boolean is `t`.
//!
//! Texts and whole numbers are DataFusion's own work.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use maru_core::Result;

use crate::value_text::{Zone, has_text, put_value, texts};

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for name in ["concat", "concat_ws"] {
        let inner = state.udf(name)?;
        let signature = Signature::user_defined(Volatility::Immutable);
        state.register_udf(Arc::new(ScalarUDF::from(Concat { inner, signature })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Concat {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let kept = |data_type: &DataType| match data_type {
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            DataType::Null => DataType::Utf8,
            other if other.is_integer() => DataType::Utf8,
            other => other.clone(),
        };
        Ok(types.iter().map(kept).collect())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
        let zone = Zone::parse(zone);
        for argument in &mut args.args {
            let data_type = argument.data_type();
            if is_text(&data_type) || !has_text(&data_type) {
                continue;
            }
            *argument = match argument {
                ColumnarValue::Scalar(value) => {
                    ColumnarValue::Scalar(ScalarValue::Utf8(match value.is_null() {
                        true => None,
                        false => Some(shown(&value.to_array()?, 0, &zone)?),
                    }))
                }
                ColumnarValue::Array(array) if *array.data_type() == DataType::Boolean => {
                    let shown = (0..array.len())
                        .map(|row| {
                            (!array.is_null(row)).then(|| shown(array, row, &zone)).transpose()
                        })
                        .collect::<Result<arrow::array::StringArray>>()?;
                    ColumnarValue::Array(Arc::new(shown))
                }
                ColumnarValue::Array(array) => {
                    ColumnarValue::Array(Arc::new(texts(array, &zone, false)?))
                }
            };
        }
        let result = self.inner.invoke_with_args(args)?;
        result.cast_to(&DataType::Utf8, None)
    }
}

fn shown(array: &ArrayRef, row: usize, zone: &Zone) -> Result<String> {
    let mut out = BytesMut::new();
    if *array.data_type() == DataType::Boolean {
        put_value(array, row, zone, &mut out)?;
        return Ok(String::from_utf8_lossy(&out).into_owned());
    }
    Ok(texts(&array.slice(row, 1), zone, false)?.value(0).to_owned())
}
