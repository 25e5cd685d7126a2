//! What the bounds of floating-point columns can decide.
//!
//! NaN is the greatest number here, as in PostgreSQL, but bounds in Parquet files do not count it: a row group whose maximum
//! is 3 may hold rows for which `x >= 100` is true. So bounds of floats are asked only about what no NaN fulfils: `x < 5`,
//! `x <= 5`, `x = 5`. About zero they are not asked at all, since some writers order -0 before 0 and some do not.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
};

/// Returns what of `filter` bounds may decide: a condition that is true wherever `filter` is; `None` if that is all there is to say.
pub(super) fn decided_by_bounds(
    filter: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Option<Arc<dyn PhysicalExpr>> {
    if !reads_float(filter, schema) {
        return Some(Arc::clone(filter));
    }
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        let (left, op, right) = (binary.left(), *binary.op(), binary.right());
        let both =
            |left, right| Some(Arc::new(BinaryExpr::new(left, op, right)) as Arc<dyn PhysicalExpr>);
        let sides = || (decided_by_bounds(left, schema), decided_by_bounds(right, schema));
        return match op {
            Operator::And => match sides() {
                (Some(left), Some(right)) => both(left, right),
                (one, other) => one.or(other),
            },
            Operator::Or => match sides() {
                (Some(left), Some(right)) => both(left, right),
                _ => None,
            },
            Operator::Lt | Operator::LtEq | Operator::Eq if is_column(left) => {
                is_plain(right).then(|| Arc::clone(filter))
            }
            Operator::Gt | Operator::GtEq | Operator::Eq if is_column(right) => {
                is_plain(left).then(|| Arc::clone(filter))
            }
            _ => None,
        };
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        let decided = !list.negated() && is_column(list.expr()) && list.list().iter().all(is_plain);
        return decided.then(|| Arc::clone(filter));
    }
    let null = filter.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
    let null = null.or(filter.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg));
    null.filter(|arg| is_column(arg)).map(|_| Arc::clone(filter))
}

fn reads_float(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let found = expr.exists(|part| {
        Ok(part.downcast_ref::<Column>().is_some_and(|column| {
            // What is not known may be one.
            schema.fields().get(column.index()).is_none_or(|field| holds_float(field.data_type()))
        }))
    });
    found.unwrap_or(true)
}

fn holds_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => holds_float(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_float(field.data_type())),
        DataType::Dictionary(_, value) => holds_float(value),
        other => other.is_floating(),
    }
}

/// Returns whether an expression is a column, in its own type or a wider one.
fn is_column(expr: &Arc<dyn PhysicalExpr>) -> bool {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => is_column(cast.expr()),
        None => expr.downcast_ref::<Column>().is_some(),
    }
}

/// Returns whether an expression is a number that every order of floats puts in the same place; not NaN, nor zero.
fn is_plain(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(literal) = expr.downcast_ref::<Literal>() else { return false };
    let number = match literal.value() {
        ScalarValue::Float32(Some(number)) => f64::from(*number),
        ScalarValue::Float64(Some(number)) => *number,
        ScalarValue::Float16(Some(number)) => number.to_f64(),
        _ => return false,
    };
    !number.is_nan() && number != 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{col, in_list, lit};

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("x", DataType::Float64, true),
            Field::new("n", DataType::Int32, true),
        ])
    }

    fn compared(
        left: Arc<dyn PhysicalExpr>,
        op: Operator,
        right: Arc<dyn PhysicalExpr>,
    ) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(left, op, right))
    }

    fn told(filter: &Arc<dyn PhysicalExpr>) -> Option<String> {
        decided_by_bounds(filter, &schema()).map(|told| told.to_string())
    }

    #[test]
    fn only_what_no_nan_fulfils_is_asked() {
        let (x, n) = (col("x", &schema()).unwrap(), col("n", &schema()).unwrap());
        let below = compared(Arc::clone(&x), Operator::Lt, lit(5.0));
        let above = compared(Arc::clone(&x), Operator::GtEq, lit(5.0));
        let swapped = compared(lit(5.0), Operator::LtEq, Arc::clone(&x));
        let other = compared(Arc::clone(&n), Operator::Gt, lit(7));
        assert_eq!(told(&below).as_deref(), Some("x@0 < 5"));
        assert_eq!(told(&above), None);
        assert_eq!(told(&swapped), None);
        assert_eq!(
            told(&compared(lit(5.0), Operator::Gt, Arc::clone(&x))).as_deref(),
            Some("5 > x@0")
        );
        assert_eq!(told(&other).as_deref(), Some("n@1 > 7"));
        let and = compared(Arc::clone(&above), Operator::And, Arc::clone(&other));
        assert_eq!(told(&and).as_deref(), Some("n@1 > 7"));
        assert_eq!(told(&compared(above, Operator::Or, Arc::clone(&other))), None);
        let or = compared(below, Operator::Or, other);
        assert_eq!(told(&or).as_deref(), Some("x@0 < 5 OR n@1 > 7"));
        for odd in [f64::NAN, 0.0, -0.0] {
            assert_eq!(told(&compared(Arc::clone(&x), Operator::Eq, lit(odd))), None, "{odd}");
            let list = in_list(Arc::clone(&x), vec![lit(1.0), lit(odd)], &false, &schema());
            assert_eq!(told(&list.unwrap()), None, "{odd}");
        }
        assert_eq!(told(&compared(x, Operator::NotEq, lit(5.0))), None);
    }
}
