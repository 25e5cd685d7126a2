//! `microseconds_of_minute(time)`, which the seconds of `extract` and `date_part` are made of: the planner's own know no
//! fractions, and forget those of an interval.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::{DatePart, date_part};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;

/// The name under which the rewritten statement calls it.
pub(super) const FUNCTION: &str = "microseconds_of_minute";

/// Registers the function.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let function =
        MicrosecondsOfMinute { signature: Signature::user_defined(Volatility::Immutable) };
    state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MicrosecondsOfMinute {
    signature: Signature,
}

impl ScalarUDFImpl for MicrosecondsOfMinute {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match types {
            [_] => Ok(types.to_vec()),
            _ => {
                Err(Error::new(ErrorKind::UndefinedFunction, "seconds are taken of one value")
                    .into())
            }
        }
    }

    /// Refused here, where the planner keeps the SQLSTATE.
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        use DataType::{Duration, Interval, Null, Time32, Time64, Timestamp};
        match types {
            [Timestamp(..) | Time32(_) | Time64(_) | Interval(_) | Duration(_) | Null] => {
                Ok(DataType::Int64)
            }
            [other] => {
                let name = sql_name(other);
                Err(Error::unsupported(format!("seconds are not supported for type {name}")).into())
            }
            _ => Err(Error::internal("seconds are taken of one value").into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(microseconds(values)?)),
            [ColumnarValue::Scalar(value)] => {
                let found = microseconds(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?))
            }
            other => Err(Error::internal(format!("seconds of {} values", other.len())).into()),
        }
    }
}

fn microseconds(values: &ArrayRef) -> DfResult<ArrayRef> {
    if values.data_type().is_null() {
        return Ok(Arc::new(Int64Array::new_null(values.len())));
    }
    // Of an interval the microseconds count from the minute, of anything else from the second.
    let is_interval = matches!(values.data_type(), DataType::Interval(_));
    let micros = date_part(values, DatePart::Microsecond)?;
    let micros = micros.as_primitive::<Int32Type>();
    let seconds = date_part(values, DatePart::Second)?;
    let seconds = seconds.as_primitive::<Int32Type>();
    let sum = seconds.iter().zip(micros.iter()).map(|(seconds, micros)| {
        let whole = if is_interval { 0 } else { i64::from(seconds?) * 1_000_000 };
        Some(whole + i64::from(micros?))
    });
    Ok(Arc::new(sum.collect::<Int64Array>()))
}
