//! `pg_sleep(seconds)`, which holds no thread and ends when its statement does; and `pg_typeof(value)`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, Result};

use crate::system::types::regtype_name;

/// Registers the function.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let sleep =
        Sleep { signature: Signature::exact(vec![DataType::Float64], Volatility::Volatile) };
    state.register_udf(Arc::new(AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf()))?;
    let type_of = TypeOf { signature: Signature::any(1, Volatility::Stable) };
    state.register_udf(Arc::new(ScalarUDF::from(type_of)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let name = args.arg_fields.first().map(|field| regtype_name(field.data_type()));
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's is `void`, which clients are shown as empty text.
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(Error::unsupported("pg_sleep cannot be used here")
            .with_hint("SELECT pg_sleep(1) waits for a second.")
            .into())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    /// Sleeps once for each row; NULL where a number is NULL.
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [seconds] = args.args.as_slice() else {
            return Err(Error::internal("pg_sleep takes one number").into());
        };
        let seconds = seconds.to_array(args.number_rows)?;
        let mut texts = Vec::with_capacity(args.number_rows);
        for seconds in seconds.as_primitive::<Float64Type>().iter() {
            if let Some(time) = seconds.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok()) {
                tokio::time::sleep(time).await;
            }
            texts.push(ScalarValue::Utf8(seconds.map(|_| String::new())));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(texts)?))
    }
}
