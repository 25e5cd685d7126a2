//! `date_bin` with strides that are none: of months and years, whose lengths differ, and of no time or backwards. DataFusion's own bins
//! by those.
//!
//! Source: PostgreSQL 16, `timestamp_bin`.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use maru_core::{Error, ErrorKind, Result};

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let inner = state.udf("date_bin")?;
    state.register_udf(Arc::new(ScalarUDF::from(DateBin { inner })))?;
    Ok(())
}

/// In nanoseconds.
const DAY: i128 = 86_400_000_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateBin {
    inner: Arc<ScalarUDF>,
}

/// Looks at one stride.
///
/// # Errors
/// 0A000 for months, 22008 for one that is not forwards.
fn check(stride: IntervalMonthDayNano) -> Result<()> {
    if stride.months != 0 {
        return Err(Error::unsupported(
            "timestamps cannot be binned into intervals containing months or years",
        )
        .with_hint("date_trunc cuts to months, quarters and years."));
    }
    let length = i128::from(stride.days) * DAY + i128::from(stride.nanoseconds);
    if length <= 0 {
        let what = "stride must be greater than zero";
        return Err(Error::new(ErrorKind::DatetimeField, what));
    }
    Ok(())
}

impl ScalarUDFImpl for DateBin {
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

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        // Strides of a column are refused by the function itself.
        if let Some(ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(stride)))) =
            args.args.first()
        {
            check(*stride)?;
        }
        self.inner.invoke_with_args(args)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.inner().output_ordering(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_times_forwards() {
        let state = |months, days, nanos| {
            let stride = IntervalMonthDayNano::new(months, days, nanos);
            check(stride).err().map(|error| error.sqlstate())
        };
        assert_eq!(state(0, 1, 0), None);
        assert_eq!(state(0, 0, 1), None);
        assert_eq!(state(1, 0, 0), Some("0A000"));
        assert_eq!(state(0, 0, 0), Some("22008"));
        assert_eq!(state(0, 1, -90_000_000_000_000), Some("22008"));
    }
}
