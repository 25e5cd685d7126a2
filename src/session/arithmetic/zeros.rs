//! Floats in orders and partitions, where -0 is 0 as it is in comparisons.
//!
//! The engine underneath sorts -0 before 0 and makes two peers of them, but compares them as equal: rows came in an order that is none of
//! SQL's, and the first rows of a file were not those of a table, since a bound that a sort hands down (`x < 0 OR x = 0 AND …`) is a
//! comparison. Here each such key loses the sign of its zeros. NaN stays the greatest, whatever its own sign is.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Distinct, DistinctOn, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use maru_core::Error;

use super::{change_expressions, type_of};

/// Changes the keys of a plan.
pub(in crate::session) fn same_zeros(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = change_expressions(plan, keys)?;
    plan.transform_up_with_subqueries(|node| {
        let mut sort = match node {
            LogicalPlan::Sort(sort) => sort,
            LogicalPlan::Distinct(Distinct::On(distinct)) => return Ok(first_rows(distinct)),
            other => return Ok(Transformed::no(other)),
        };
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

/// Changes the keys of `DISTINCT ON`, and the order by which the first row of each is found, which begins with them.
fn first_rows(mut distinct: DistinctOn) -> Transformed<LogicalPlan> {
    let schema = Arc::clone(distinct.input.schema());
    let mut changed = false;
    for key in &mut distinct.on_expr {
        changed |= without_sign(key, &schema);
    }
    for one in distinct.sort_expr.iter_mut().flatten() {
        changed |= without_sign(&mut one.expr, &schema);
    }
    let plan = LogicalPlan::Distinct(Distinct::On(distinct));
    if changed { Transformed::yes(plan) } else { Transformed::no(plan) }
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

/// Lets a float, or an array of them, be the same whenever its value is. Returns whether that changed anything.
pub(super) fn without_sign(key: &mut Expr, schema: &DFSchema) -> bool {
    let is_float = type_of(key, schema).is_ok_and(|data_type| holds_float(&data_type));
    let is_done = matches!(key, Expr::ScalarFunction(call) if call.func.name() == NAME);
    if !is_float || is_done {
        return false;
    }
    if let Expr::Literal(value, _) = key {
        let plain = value.to_array().and_then(|values| {
            let plain = unsigned(&values);
            ScalarValue::try_from_array(&plain, 0)
        });
        return match plain {
            Ok(plain) if plain != *value => {
                *value = plain;
                true
            }
            _ => false,
        };
    }
    *key = UNSIGNED.call(vec![std::mem::take(key)]);
    true
}

/// Returns whether values of a type are floats, or arrays of them.
pub(super) fn holds_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => holds_float(item.data_type()),
        data_type => data_type.is_floating(),
    }
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

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// Makes 0 of -0, and one NaN of all of them.
pub(super) fn unsigned(values: &ArrayRef) -> ArrayRef {
    // By IEEE 754 the sum of -0 and 0 is 0, and whatever else keeps its value.
    match values.data_type() {
        DataType::Float64 => {
            let plain = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(plain))
        }
        DataType::Float32 => {
            let plain = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(plain))
        }
        DataType::Float16 => {
            let plain = |x: Half| if x.is_nan() { Half::NAN } else { x + Half::ZERO };
            Arc::new(values.as_primitive::<Float16Type>().unary::<_, Float16Type>(plain))
        }
        DataType::List(_) => items(values.as_list::<i32>()),
        DataType::LargeList(_) => items(values.as_list::<i64>()),
        _ => Arc::clone(values),
    }
}

fn items<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> ArrayRef {
    let (field, offsets, values, nulls) = list.clone().into_parts();
    Arc::new(GenericListArray::new(field, offsets, unsigned(&values), nulls))
}
