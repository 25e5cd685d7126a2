//! `sum` and `avg` of intervals: months, days and time are summed up each by itself, and an average is that sum divided.
//!
//! The engine underneath has no average of intervals, and sums them modulo what their parts hold. The difference of two
//! timestamps is a duration there; in PostgreSQL it is an interval of days and time, and a sum of hours stays one of hours.
//!
//! Source: PostgreSQL 16, `timestamp_mi`, `interval_avg`, `interval_div`.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Accumulator, ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, WindowFunctionDefinition,
};
use maru_core::{Error, ErrorKind, Result};

use super::scalars::divided_interval;
use crate::value_text::interval_parts;

/// The type that is summed up here.
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

const TIME: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// Makes intervals of the durations that are summed up. The type of the sum changes, so this comes before anybody is told.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (name, arguments) = match &mut expr {
        Expr::AggregateFunction(call) => (call.func.name(), &mut call.params.args),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                (function.name(), &mut call.params.args)
            }
            WindowFunctionDefinition::WindowUDF(_) => return Transformed::no(expr),
        },
        _ => return Transformed::no(expr),
    };
    let [argument] = arguments.as_mut_slice() else { return Transformed::no(expr) };
    let is_duration = matches!(argument.get_type(schema), Ok(DataType::Duration(_)));
    if !is_duration || !matches!(name, "sum" | "avg") {
        return Transformed::no(expr);
    }
    let call = ScalarFunction::new_udf(Arc::clone(&IN_DAYS), vec![std::mem::take(argument)]);
    *argument = Expr::ScalarFunction(call);
    Transformed::yes(expr)
}

static IN_DAYS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::from(InDays { signature: Signature::any(1, Volatility::Immutable) }))
});

/// The days of a duration, and the time that is left.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InDays {
    signature: Signature,
}

impl ScalarUDFImpl for InDays {
    fn name(&self) -> &str {
        "interval_of_days"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let values = match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Arc::clone(values),
            [ColumnarValue::Scalar(value)] => value.to_array()?,
            other => return Err(Error::internal(format!("days of {} values", other.len())).into()),
        };
        let intervals = (0..values.len()).map(|row| {
            if values.is_null(row) {
                return Ok(None);
            }
            let (months, days, micros) = interval_parts(&values, row)?;
            Ok(Some(IntervalMonthDayNano { months, days, nanoseconds: micros * 1000 }))
        });
        let intervals: ArrayRef =
            Arc::new(intervals.collect::<Result<IntervalMonthDayNanoArray>>()?);
        Ok(match args.args.first() {
            Some(ColumnarValue::Scalar(_)) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&intervals, 0)?)
            }
            _ => ColumnarValue::Array(intervals),
        })
    }
}

/// What a sum of intervals keeps: how many there are, months, days and nanoseconds.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    let field =
        |part: &str, data_type| Arc::new(Field::new(format!("{name}[{part}]"), data_type, true));
    vec![
        field("count", DataType::Int64),
        field("months", DataType::Int64),
        field("days", DataType::Int64),
        field("time", TIME),
    ]
}

/// Sums intervals up.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    /// Whether the result is divided by the count.
    average: bool,
    n: i64,
    months: i64,
    days: i64,
    nanoseconds: i128,
}

impl Intervals {
    /// Averages them.
    pub(super) fn averaged() -> Self {
        Self { average: true, ..Self::default() }
    }

    fn add(&mut self, values: &[ArrayRef], sign: i64) {
        let values =
            values.iter().take(1).map(|values| values.as_primitive::<IntervalMonthDayNanoType>());
        for interval in values.flatten().flatten() {
            self.n += sign;
            self.months += sign * i64::from(interval.months);
            self.days += sign * i64::from(interval.days);
            self.nanoseconds += i128::from(sign) * i128::from(interval.nanoseconds);
        }
    }

    fn total(&self) -> Result<IntervalMonthDayNano> {
        let out_of_range = || Error::new(ErrorKind::OutOfRange, "interval out of range");
        let fits = |part: i64| i32::try_from(part).map_err(|_| out_of_range());
        let (months, days) = (fits(self.months)?, fits(self.days)?);
        let nanoseconds = i64::try_from(self.nanoseconds).map_err(|_| out_of_range())?;
        Ok(IntervalMonthDayNano { months, days, nanoseconds })
    }
}

impl Accumulator for Intervals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Int64(Some(self.n)),
            ScalarValue::Int64(Some(self.months)),
            ScalarValue::Int64(Some(self.days)),
            ScalarValue::Decimal128(Some(self.nanoseconds), DECIMAL128_MAX_PRECISION, 0),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let [counts, months, days, time] = states else {
            return Err(Error::internal("a sum of intervals has four parts").into());
        };
        let sum = |part: &ArrayRef| part.as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        self.n += sum(counts);
        self.months += sum(months);
        self.days += sum(days);
        self.nanoseconds += time.as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        if self.n == 0 {
            return ScalarValue::try_new_null(&INTERVAL);
        }
        let total = match self.average {
            // Of few the sum fits, and of many the average is what may be out of range.
            true => divided_interval(self.total()?, self.n as f64)?,
            false => self.total()?,
        };
        Ok(ScalarValue::IntervalMonthDayNano(Some(total)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(intervals: &[(i32, i32, i64)]) -> ArrayRef {
        let values = intervals.iter().map(|(months, days, hours)| IntervalMonthDayNano {
            months: *months,
            days: *days,
            nanoseconds: hours * 3_600_000_000_000,
        });
        Arc::new(values.map(Some).collect::<IntervalMonthDayNanoArray>())
    }

    fn result(average: bool, parts: &[&[(i32, i32, i64)]]) -> (i32, i32, i64) {
        let mut merged = Intervals { average, ..Intervals::default() };
        for part in parts {
            let mut one = Intervals::default();
            one.update_batch(&[of(part)]).unwrap();
            let state = one.state().unwrap();
            let state = state.iter().map(|value| value.to_array().unwrap()).collect::<Vec<_>>();
            merged.merge_batch(&state).unwrap();
        }
        match merged.evaluate().unwrap() {
            ScalarValue::IntervalMonthDayNano(Some(of)) => {
                (of.months, of.days, of.nanoseconds / 3_600_000_000_000)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_summed_by_themselves() {
        assert_eq!(result(false, &[&[(0, 0, 20), (0, 1, 20)], &[(1, 0, 0)]]), (1, 1, 40));
        // 1 day 40 hours by two: half a day is twelve hours.
        assert_eq!(result(true, &[&[(0, 1, 20)], &[(0, 0, 20)]]), (0, 0, 32));
        assert_eq!(result(true, &[&[(1, 0, 0), (0, 0, 0)]]), (0, 15, 0));
    }

    #[test]
    fn sums_out_of_range_are_errors() {
        let mut sum = Intervals::default();
        sum.update_batch(&[of(&[(0, i32::MAX, 0), (0, 1, 0)])]).unwrap();
        assert!(sum.evaluate().is_err());
        sum.retract_batch(&[of(&[(0, 1, 0)])]).unwrap();
        assert!(sum.evaluate().is_ok());
    }
}
