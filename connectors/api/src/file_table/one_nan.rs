//! One NaN in what files hold.
//!
//! There are many patterns of bits for NaN, and processors make those with a sign too (infinity minus infinity). SQL knows one, above all
//! numbers. The engine compares, groups and orders by the bits, so that those of a file become the one pattern before anything is computed with them:
//! a batch of a file is changed as a whole, and what computes with floats is not moved below that.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StructArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Schema,
};
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use maru_core::Result;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// Makes one NaN of all in a batch.
///
/// # Errors
/// None but Arrow's own, of a batch that fitted before.
pub fn one_nan(batch: RecordBatch) -> Result<RecordBatch> {
    let changed = batch.columns().iter().map(plain).collect::<Vec<_>>();
    if changed.iter().all(Option::is_none) {
        return Ok(batch);
    }
    let columns = changed.into_iter().zip(batch.columns());
    let columns = columns.map(|(changed, column)| changed.unwrap_or_else(|| Arc::clone(column)));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?)
}

/// Returns values with one NaN; `None` if they have no other.
fn plain(values: &ArrayRef) -> Option<ArrayRef> {
    match values.data_type() {
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>();
            let is_other = |x: &f64| x.is_nan() && x.to_bits() != f64::NAN.to_bits();
            let plain = |x: f64| if x.is_nan() { f64::NAN } else { x };
            floats.values().iter().any(is_other).then(|| {
                let floats = floats.unary::<_, Float64Type>(plain);
                Arc::new(floats) as ArrayRef
            })
        }
        DataType::Float32 => {
            let floats = values.as_primitive::<Float32Type>();
            let is_other = |x: &f32| x.is_nan() && x.to_bits() != f32::NAN.to_bits();
            let plain = |x: f32| if x.is_nan() { f32::NAN } else { x };
            floats.values().iter().any(is_other).then(|| {
                let floats = floats.unary::<_, Float32Type>(plain);
                Arc::new(floats) as ArrayRef
            })
        }
        DataType::Float16 => {
            let floats = values.as_primitive::<Float16Type>();
            let is_other = |x: &Half| x.is_nan() && x.to_bits() != Half::NAN.to_bits();
            let plain = |x: Half| if x.is_nan() { Half::NAN } else { x };
            floats.values().iter().any(is_other).then(|| {
                let floats = floats.unary::<_, Float16Type>(plain);
                Arc::new(floats) as ArrayRef
            })
        }
        DataType::List(_) => items(values.as_list::<i32>()),
        DataType::LargeList(_) => items(values.as_list::<i64>()),
        DataType::FixedSizeList(_, _) => as_many_items(values.as_fixed_size_list()),
        DataType::Dictionary(_, _) => {
            let dictionary = values.as_any_dictionary();
            plain(dictionary.values()).map(|changed| dictionary.with_values(changed))
        }
        DataType::Struct(_) => members(values.as_struct()),
        _ => None,
    }
}

fn items<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Option<ArrayRef> {
    let changed = plain(list.values())?;
    let (field, offsets, _, nulls) = list.clone().into_parts();
    Some(Arc::new(GenericListArray::new(field, offsets, changed, nulls)))
}

fn as_many_items(list: &FixedSizeListArray) -> Option<ArrayRef> {
    let changed = plain(list.values())?;
    let (field, size, _, nulls) = list.clone().into_parts();
    Some(Arc::new(FixedSizeListArray::new(field, size, changed, nulls)))
}

fn members(values: &StructArray) -> Option<ArrayRef> {
    let changed = values.columns().iter().map(plain).collect::<Vec<_>>();
    if changed.iter().all(Option::is_none) {
        return None;
    }
    let (fields, columns, nulls) = values.clone().into_parts();
    let columns = changed.into_iter().zip(columns);
    let columns = columns.map(|(changed, column)| changed.unwrap_or(column)).collect();
    Some(Arc::new(StructArray::new(fields, columns, nulls)))
}

/// Returns whether columns that a scan may be asked for are computed from floats of its files, which have their own NaN there.
///
/// # Errors
/// Those of a type that cannot be told.
pub(super) fn computes_with_floats(
    wanted: &ProjectionExprs,
    before: Option<&ProjectionExprs>,
    table: &Schema,
) -> DfResult<bool> {
    let projected = before.map(|before| before.project_schema(table)).transpose()?;
    let schema = projected.as_ref().unwrap_or(table);
    for column in wanted.iter() {
        if !is_read(&column.expr) && reads_float(&column.expr, schema)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether an expression is a column, or a member of one.
fn is_read(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let is_member = |call: &ScalarFunctionExpr| {
        call.name() == "get_field" && call.args().first().is_some_and(is_read)
    };
    expr.downcast_ref::<Column>().is_some()
        || expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(is_member)
}

fn reads_float(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> DfResult<bool> {
    expr.exists(|part| {
        let column = part.downcast_ref::<Column>();
        let field = column.and_then(|column| schema.fields().get(column.index()));
        Ok(field.is_some_and(|field| holds_float(field.data_type())))
    })
}

fn holds_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_float(item.data_type())
        }
        DataType::Dictionary(_, item) => holds_float(item),
        DataType::Struct(fields) => fields.iter().any(|field| holds_float(field.data_type())),
        data_type => data_type.is_floating(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Float32Array, Float64Array, ListArray};
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn nan_of_each_kind_becomes_one() {
        let other = -f64::NAN;
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(other)]));
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
            Some(vec![Some(other)]),
            None,
            Some(vec![Some(-0.0), None]),
        ]);
        let reals: ArrayRef = Arc::new(Float32Array::from(vec![1.5, -f32::NAN, 2.5]));
        let row: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Float32, true)),
            reals,
        )]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("d", doubles, true),
            ("l", Arc::new(list) as ArrayRef, true),
            ("r", row, true),
        ])
        .unwrap();
        let plain = one_nan(batch).unwrap();
        let d = plain.column(0).as_primitive::<Float64Type>();
        assert_eq!(d.value(2).to_bits(), f64::NAN.to_bits());
        assert!(d.is_null(1) && d.value(0) == 1.0);
        let l = plain.column(1).as_list::<i32>();
        assert_eq!(l.value(0).as_primitive::<Float64Type>().value(0).to_bits(), f64::NAN.to_bits());
        let zero = l.value(2).as_primitive::<Float64Type>().value(0);
        assert_eq!(zero.to_bits(), (-0.0_f64).to_bits());
        let r = plain.column(2).as_struct().column(0).as_primitive::<Float32Type>();
        assert_eq!(r.value(1).to_bits(), f32::NAN.to_bits());
        assert_eq!(r.value(0), 1.5);
    }
}
