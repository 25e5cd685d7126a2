//! Instants seen by the clocks of the session's zone, whatever zone their type names.
//!
//! Columns of sources are of `Timestamp(µs, "UTC")`, since their types are known before anybody has set a zone. The engine underneath takes the
//! hour, the day and the date of an instant from the zone of its type (DataFusion 55.2), PostgreSQL from the session's. The same goes for
//! dates and texts that become instants. Between two types of instants only the name changes.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// Functions that look at a clock.
const FUNCTIONS: &[&str] = &["date_part", "date_trunc"];

/// Changes one expression, whose types are settled.
pub(super) fn settle(expr: Expr, schema: &DFSchema, zone: &str) -> Transformed<Expr> {
    match expr {
        Expr::Cast(cast) => {
            let target = cast.field.data_type().clone();
            match through_session(&cast.expr, &target, schema, zone) {
                Some(inner) => Transformed::yes(Expr::Cast(Cast { expr: Box::new(inner), ..cast })),
                None => Transformed::no(Expr::Cast(cast)),
            }
        }
        Expr::TryCast(mut cast) => {
            let target = cast.field.data_type().clone();
            match through_session(&cast.expr, &target, schema, zone) {
                // A text that is none is NULL on the way as well.
                Some(Expr::Cast(inner)) => {
                    let inner = datafusion::logical_expr::TryCast::new(
                        inner.expr,
                        inner.field.data_type().clone(),
                    );
                    cast.expr = Box::new(Expr::TryCast(inner));
                    Transformed::yes(Expr::TryCast(cast))
                }
                _ => Transformed::no(Expr::TryCast(cast)),
            }
        }
        Expr::ScalarFunction(ref call) if FUNCTIONS.contains(&call.name()) => {
            let Ok(before) = expr.get_type(schema) else { return Transformed::no(expr) };
            let mut call = call.clone();
            let mut changed = false;
            for argument in &mut call.args {
                changed |= to_session(argument, schema, zone);
            }
            if !changed {
                return Transformed::no(expr);
            }
            Transformed::yes(back(Expr::ScalarFunction(call), &before))
        }
        Expr::BinaryExpr(ref binary) if binary.op.supports_propagation() => {
            match instants(&binary.left, &binary.right, schema, zone) {
                Some((left, right)) => {
                    let mut binary = binary.clone();
                    (*binary.left, *binary.right) = (left, right);
                    Transformed::yes(Expr::BinaryExpr(binary))
                }
                None => Transformed::no(expr),
            }
        }
        // A day of a zone may have 23 hours.
        Expr::BinaryExpr(ref binary) if matches!(binary.op, Operator::Plus | Operator::Minus) => {
            let Ok(before) = expr.get_type(schema) else { return Transformed::no(expr) };
            let is_interval =
                |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Interval(_)));
            let mut binary = binary.clone();
            let changed = is_interval(&binary.right) && to_session(&mut binary.left, schema, zone)
                || is_interval(&binary.left) && to_session(&mut binary.right, schema, zone);
            if !changed {
                return Transformed::no(expr);
            }
            Transformed::yes(back(Expr::BinaryExpr(binary), &before))
        }
        other => Transformed::no(other),
    }
}

/// Returns what a cast to `target` is given instead, if it would read the clock of another zone than the session's.
fn through_session(inner: &Expr, target: &DataType, schema: &DFSchema, zone: &str) -> Option<Expr> {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    let from = inner.get_type(schema).ok()?;
    let through = match (&from, target) {
        (Timestamp(unit, Some(of)), Date32 | Date64 | Time32(_) | Time64(_)) if **of != *zone => {
            Timestamp(*unit, Some(zone.into()))
        }
        (Timestamp(_, None) | Date32 | Date64, Timestamp(unit, Some(of))) if **of != *zone => {
            Timestamp(*unit, Some(zone.into()))
        }
        (text, Timestamp(unit, Some(of))) if text.is_string() && **of != *zone => {
            Timestamp(*unit, Some(zone.into()))
        }
        _ => return None,
    };
    Some(cast(inner.clone(), through))
}

/// Gives an instant the session's zone; returns whether it had another one.
fn to_session(expr: &mut Expr, schema: &DFSchema, zone: &str) -> bool {
    match expr.get_type(schema) {
        Ok(DataType::Timestamp(unit, Some(of))) if *of != *zone => {
            let inner = std::mem::take(expr);
            *expr = cast(inner, DataType::Timestamp(unit, Some(zone.into())));
            true
        }
        _ => false,
    }
}

/// Gives a result the type that the rest of the plan was made for.
fn back(expr: Expr, before: &DataType) -> Expr {
    match before {
        DataType::Timestamp(_, Some(_)) => cast(expr, before.clone()),
        _ => expr,
    }
}

/// Returns an instant and a date as the planner had them before it made both moments without a zone in order to compare them; the date is the
/// instant of its midnight. A source can answer that.
fn instants(left: &Expr, right: &Expr, schema: &DFSchema, zone: &str) -> Option<(Expr, Expr)> {
    let compared = |expr: &Expr| match expr {
        Expr::Cast(cast)
            if *cast.field.data_type() == DataType::Timestamp(TimeUnit::Nanosecond, None) =>
        {
            Some((cast.expr.get_type(schema).ok()?, cast.expr.as_ref().clone()))
        }
        _ => None,
    };
    let midnight = |date: Expr, unit: TimeUnit, instant: &DataType| {
        let midnight = cast(date, DataType::Timestamp(unit, Some(zone.into())));
        if midnight.get_type(schema).is_ok_and(|known| known == *instant) {
            midnight
        } else {
            cast(midnight, instant.clone())
        }
    };
    let ((of_left, left), (of_right, right)) = (compared(left)?, compared(right)?);
    match (&of_left, &of_right) {
        (DataType::Timestamp(unit, Some(_)), DataType::Date32) => {
            Some((left, midnight(right, *unit, &of_left)))
        }
        (DataType::Date32, DataType::Timestamp(unit, Some(_))) => {
            Some((midnight(left, *unit, &of_right), right))
        }
        _ => None,
    }
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}
