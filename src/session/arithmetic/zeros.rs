//! Floats in orders and partitions, where -0 is 0 as it is in comparisons.
//!
//! The engine underneath sorts -0 before 0 and makes two peers of them, but compares them as equal: rows came in an order that is none of
//! SQL's, and the first rows of a file were not those of a table, since a bound that a sort hands down (`x < 0 OR x = 0 AND …`) is a
//! comparison. Here each such key loses the sign of its zeros. NaN stays the greatest.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use maru_core::Error;

use super::change_expressions;

/// Changes the keys of a plan.
pub(in crate::session) fn same_zeros(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = change_expressions(plan, keys)?;
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Sort(mut sort) = node else { return Ok(Transformed::no(node)) };
        let schema = Arc::clone(sort.input.schema());
        let mut changed = false;
        for one in &mut sort.expr {
            changed |= without_sign(&mut one.expr, &schema);
        }
        let sort = LogicalPlan::Sort(sort);
        Ok(if changed { Transformed::yes(sort) } else { Transformed::no(sort) })
    })
    .data()
}

fn keys(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let mut changed = false;
    match &mut expr {
        Expr::WindowFunction(call) => {
            for key in &mut call.params.partition_by {
                changed |= without_sign(key, schema);
            }
            for one in &mut call.params.order_by {
                changed |= without_sign(&mut one.expr, schema);
            }
        }
        // The values of an ordered set are its keys: they are to be given back as they are.
        Expr::AggregateFunction(call) if !call.func.supports_within_group_clause() => {
            for one in &mut call.params.order_by {
                changed |= without_sign(&mut one.expr, schema);
            }
        }
        _ => {}
    }
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn without_sign(key: &mut Expr, schema: &DFSchema) -> bool {
    let is_float = matches!(key.get_type(schema), Ok(data_type) if data_type.is_floating());
    let is_done = matches!(key, Expr::ScalarFunction(call) if call.func.name() == NAME);
    if !is_float || is_done {
        return false;
    }
    *key = UNSIGNED.call(vec![std::mem::take(key)]);
    true
}

const NAME: &str = "unsigned_zero";

static UNSIGNED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(UnsignedZero { signature }))
});

/// A float as it is, but -0 as 0.
#[derive(Debug, PartialEq, Eq, Hash)]
struct UnsignedZero {
    signature: Signature,
}

impl ScalarUDFImpl for UnsignedZero {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(unsigned(values))),
            [ColumnarValue::Scalar(value)] => {
                let value = unsigned(&value.to_array()?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            other => Err(Error::internal(format!("a key of {} values", other.len())).into()),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> DfResult<SortProperties> {
        Ok(input.first().map_or(SortProperties::Unordered, |one| one.sort_properties))
    }
}

fn unsigned(values: &ArrayRef) -> ArrayRef {
    // By IEEE 754 the sum of -0 and 0 is 0, and whatever else keeps its value.
    match values.data_type() {
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x + 0.0))
        }
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| x + 0.0))
        }
        _ => Arc::clone(values),
    }
}
