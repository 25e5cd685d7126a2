//! Comparisons of intervals.
//!
//! The engine underneath compares months, then days, then the rest, so that 36 hours are less than a day. In PostgreSQL a
//! month counts 30 days and a day 24 hours.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{
    Between, BinaryExpr, ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

const DAY_NS: i128 = 86_400_000_000_000;
const MONTH_NS: i128 = 30 * DAY_NS;
const LENGTH_TYPE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// Lets a comparison of intervals compare their lengths.
pub(super) fn compare(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_interval = |expr: &Expr| {
        matches!(expr.get_type(schema), Ok(DataType::Interval(IntervalUnit::MonthDayNano)))
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_interval(&left) && is_interval(&right) =>
        {
            let (left, right) = (length(*left), length(*right));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_interval(&expr) => {
            let (expr, low, high) = (length(*expr), length(*low), length(*high));
            Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
        }
        Expr::InList(InList { expr, list, negated }) if is_interval(&expr) => {
            let list = list.into_iter().map(|item| *length(item)).collect();
            Transformed::yes(Expr::InList(InList { expr: length(*expr), list, negated }))
        }
        other => Transformed::no(other),
    }
}

fn length(interval: Expr) -> Box<Expr> {
    let call = ScalarFunction::new_udf(Arc::clone(&LENGTH), vec![interval]);
    Box::new(Expr::ScalarFunction(call))
}

static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::from(Length { signature: Signature::any(1, Volatility::Immutable) }))
});

/// Nanoseconds of an interval, as wide as they get.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(LENGTH_TYPE)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let is_scalar = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let lengths = arrays
            .iter()
            .flat_map(|array| array.as_primitive::<IntervalMonthDayNanoType>().iter())
            .map(|interval| {
                interval.map(|i| {
                    i128::from(i.months) * MONTH_NS
                        + i128::from(i.days) * DAY_NS
                        + i128::from(i.nanoseconds)
                })
            })
            .collect::<Decimal128Array>()
            .with_data_type(LENGTH_TYPE);
        let lengths: ArrayRef = Arc::new(lengths);
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&lengths, 0)?)
        } else {
            ColumnarValue::Array(lengths)
        })
    }
}
