//! `seconds_of_epoch(time)`, which `extract(epoch FROM …)` is: a numeric that keeps each microsecond, where the planner's own is a float and has no
//! room for those of the year 9999.
//!
//! Source: PostgreSQL 16, `timestamp_part_common`, `interval_part_common`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Date64Type, Time64MicrosecondType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;
use crate::value_text::{interval_parts, timestamp_micros};

/// The name under which the rewritten statement calls it.
pub(super) const FUNCTION: &str = "seconds_of_epoch";

const DAY_SECONDS: i128 = 86_400;
const MICROS: i128 = 1_000_000;
/// A year of an interval is a quarter of a day longer than 365 of them.
const YEAR_MICROS: i128 = 31_557_600 * MICROS;

/// Registers the function.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let function = SecondsOfEpoch { signature: Signature::user_defined(Volatility::Immutable) };
    state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SecondsOfEpoch {
    signature: Signature,
}

impl ScalarUDFImpl for SecondsOfEpoch {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match types {
            [_] => Ok(types.to_vec()),
            _ => Err(Error::new(
                ErrorKind::UndefinedFunction,
                "seconds of the epoch are taken of one value",
            )
            .into()),
        }
    }

    /// Refused here, where the planner keeps the SQLSTATE.
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        use DataType::{Date32, Date64, Duration, Interval, Null, Time32, Time64, Timestamp};
        match types {
            // Whole seconds.
            [Date32 | Date64] => Ok(DataType::Decimal128(27, 0)),
            [Timestamp(..) | Time32(_) | Time64(_) | Interval(_) | Duration(_) | Null] => {
                Ok(DataType::Decimal128(27, 6))
            }
            [other] => {
                let name = sql_name(other);
                Err(Error::unsupported(format!("epoch is not supported for type {name}")).into())
            }
            _ => Err(Error::internal("an epoch is taken of one value").into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let wanted = args.return_field.data_type();
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(seconds(values, wanted)?)),
            [ColumnarValue::Scalar(value)] => {
                let found = seconds(&value.to_array()?, wanted)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?))
            }
            other => Err(Error::internal(format!("an epoch of {} values", other.len())).into()),
        }
    }
}

fn seconds(values: &ArrayRef, wanted: &DataType) -> DfResult<ArrayRef> {
    let values = match values.data_type() {
        DataType::Time32(_) | DataType::Time64(_) => {
            cast(values, &DataType::Time64(TimeUnit::Microsecond))?
        }
        _ => Arc::clone(values),
    };
    let is_missing = values.data_type().is_null();
    let of_row = |row: usize| -> Result<Option<i128>> {
        if is_missing || values.is_null(row) {
            return Ok(None);
        }
        seconds_of(&values, row).map(Some)
    };
    let found = (0..values.len()).map(of_row).collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(found.with_data_type(wanted.clone())))
}

/// Returns the seconds of a date, and the microseconds of anything else.
fn seconds_of(values: &ArrayRef, row: usize) -> Result<i128> {
    Ok(match values.data_type() {
        DataType::Date32 => {
            i128::from(values.as_primitive::<Date32Type>().value(row)) * DAY_SECONDS
        }
        DataType::Date64 => {
            i128::from(values.as_primitive::<Date64Type>().value(row).div_euclid(1000))
        }
        DataType::Time64(_) => {
            i128::from(values.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(unit, _) => i128::from(timestamp_micros(values, row, *unit)?),
        _ => {
            let (months, days, micros) = interval_parts(values, row)?;
            let (years, months) = (i128::from(months / 12), i128::from(months % 12));
            years * YEAR_MICROS
                + (months * 30 + i128::from(days)) * DAY_SECONDS * MICROS
                + i128::from(micros)
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Decimal128Type, IntervalMonthDayNano};

    use super::*;

    #[test]
    fn no_microsecond_is_lost() {
        let moments: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![Some(253_402_300_799_999_999), None]));
        let found = seconds(&moments, &DataType::Decimal128(27, 6)).unwrap();
        let found = found.as_primitive::<Decimal128Type>();
        assert_eq!(found.value_as_string(0), "253402300799.999999");
        assert!(found.is_null(1));
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![-1]));
        let found = seconds(&dates, &DataType::Decimal128(27, 0)).unwrap();
        assert_eq!(found.as_primitive::<Decimal128Type>().value_as_string(0), "-86400");
        let interval = IntervalMonthDayNano::new(13, 1, 1_500_000_000);
        let intervals: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![interval]));
        let found = seconds(&intervals, &DataType::Decimal128(27, 6)).unwrap();
        let expected = "34236001.500000";
        assert_eq!(found.as_primitive::<Decimal128Type>().value_as_string(0), expected);
    }
}
