//! Moments that are compared with dates, and with moments of other units.
//!
//! The planner compares a timestamp with a date in nanoseconds, whatever the timestamp's own unit is: a year outside of 1677 to 2262
//! is then an error, and the source that could have answered is not asked, since its column is cast. Here the date becomes a
//! timestamp of the column's unit, and a text one of microseconds. A moment that does not fit in nanoseconds is compared with a column of them in microseconds.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};

/// Brings the sides of one comparison to a common type.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(comparison) if comparison.op.supports_propagation() => {
            sides(&mut comparison.left, &mut [comparison.right.as_mut()], schema)
                || sides(&mut comparison.right, &mut [comparison.left.as_mut()], schema)
        }
        Expr::Between(between) => {
            sides(&mut between.expr, &mut [between.low.as_mut(), between.high.as_mut()], schema)
        }
        Expr::InList(list) => {
            sides(&mut list.expr, &mut list.list.iter_mut().collect::<Vec<_>>(), schema)
        }
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Changes what a moment is compared with, and the moment itself if that has to be.
fn sides(value: &mut Expr, others: &mut [&mut Expr], schema: &DFSchema) -> bool {
    let Ok(DataType::Timestamp(unit, zone)) = value.get_type(schema) else { return false };
    let mut changed = false;
    let mut wide = unit;
    if unit == TimeUnit::Nanosecond && others.iter().any(|other| is_beyond(other)) {
        wide = TimeUnit::Microsecond;
        cast(value, DataType::Timestamp(wide, zone.clone()));
        changed = true;
    }
    for other in others {
        // A literal that is written as a text would become one of nanoseconds.
        if wide != TimeUnit::Nanosecond && is_text(other) {
            cast(other, DataType::Timestamp(TimeUnit::Microsecond, zone.clone()));
            changed = true;
        }
        let is_date = matches!(other.get_type(schema), Ok(DataType::Date32 | DataType::Date64));
        if is_date && zone.is_none() {
            cast(other, DataType::Timestamp(wide, None));
            changed = true;
        }
    }
    changed
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type().is_string())
}

fn cast(expr: &mut Expr, to: DataType) {
    let inner = std::mem::take(expr);
    *expr = Expr::Cast(Cast::new(Box::new(inner), to));
}

/// Returns whether a constant is a moment outside of those that nanoseconds count.
fn is_beyond(expr: &Expr) -> bool {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) =
        constant(expr).and_then(|value| value.cast_to(&micros).ok())
    else {
        return false;
    };
    micros.checked_mul(1000).is_none()
}

/// The value of a literal, and of a cast of one.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}
