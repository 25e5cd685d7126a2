//! Dates beside moments, and moments beside those of other units: compared, subtracted, and where one value may be either (`CASE`, `coalesce`,
//! `UNION`, `VALUES`, arrays).
//!
//! The planner goes by nanoseconds there, whatever the moment's own unit is: a year outside of 1677 to 2262 is then an error, and the source
//! that could have answered is not asked, since its column is cast. Here the date becomes a moment of the other's unit, and a text one of
//! microseconds. A moment that does not fit in nanoseconds is compared with a column of them in microseconds.
//!
//! Beside an instant a date is the instant of its midnight by the session's clock, for which `zone.rs` cares.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{
    BinaryExpr, Case, Expr, ExprSchemable, LogicalPlanBuilder, Operator, Subquery,
};

use crate::session::quantified;

/// Functions whose arguments have one type, which is that of the result.
const ALIKE: &[&str] = &["coalesce", "greatest", "least", "make_array", "nvl"];

/// Brings what stands side by side to a common type.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(comparison) if comparison.op.supports_propagation() => {
            sides(&mut comparison.left, &mut [comparison.right.as_mut()], schema)
                || sides(&mut comparison.right, &mut [comparison.left.as_mut()], schema)
        }
        Expr::BinaryExpr(sum) if matches!(sum.op, Operator::Plus | Operator::Minus) => {
            summed(sum, schema)
        }
        Expr::Between(between) => {
            let (low, high) = (between.low.as_mut(), between.high.as_mut());
            sides(&mut between.expr, &mut [low, high], schema) || {
                let (low, high) = (between.low.as_mut(), between.high.as_mut());
                alike(vec![between.expr.as_mut(), low, high], schema)
            }
        }
        Expr::InList(list) => {
            sides(&mut list.expr, &mut list.list.iter_mut().collect::<Vec<_>>(), schema)
                || alike(
                    std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect(),
                    schema,
                )
        }
        Expr::InSubquery(asked) => within(&mut asked.expr, &mut asked.subquery, schema),
        Expr::SetComparison(asked) => within(&mut asked.expr, &mut asked.subquery, schema),
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            alike(thens.chain(case.else_expr.as_deref_mut()).collect(), schema)
        }
        Expr::ScalarFunction(call) => match call.name() {
            name if ALIKE.contains(&name) => alike(call.args.iter_mut().collect(), schema),
            quantified::ANY | quantified::ALL => match call.args.as_mut_slice() {
                [_, value, array, ..] => item(value, array, schema),
                _ => false,
            },
            "date_trunc" => match call.args.as_mut_slice() {
                [_, date, ..] if is_date(date, schema) => {
                    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None));
                    true
                }
                _ => false,
            },
            "nullif" => match null_if(&call.args, schema) {
                Some(case) => {
                    expr = case;
                    true
                }
                None => match of_first(call, schema) {
                    Some(narrow) => {
                        expr = narrow;
                        true
                    }
                    None => false,
                },
            },
            _ => false,
        },
        _ => false,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Returns the type of moments for dates and moments that stand side by side; `None` if they are all of one kind.
pub(super) fn common(types: &[DataType]) -> Option<DataType> {
    let (mut has_date, mut unit, mut zone) = (false, None, None);
    for data_type in types {
        match data_type {
            DataType::Date32 | DataType::Date64 => has_date = true,
            DataType::Timestamp(of, in_zone) => {
                let is_fine = TimeUnit::Nanosecond == *of || unit == Some(TimeUnit::Nanosecond);
                unit = Some(if is_fine { TimeUnit::Nanosecond } else { TimeUnit::Microsecond });
                zone = zone.or_else(|| in_zone.clone());
            }
            other if other.is_null() || other.is_string() => {}
            _ => return None,
        }
    }
    unit.filter(|_| has_date).map(|unit| DataType::Timestamp(unit, zone))
}

/// Brings dates and moments to their common type.
fn alike(sides: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types = sides.iter().map(|side| side.get_type(schema).ok()).collect::<Option<Vec<_>>>();
    let Some(types) = types else { return false };
    let Some(common) = common(&types) else { return false };
    for (side, data_type) in sides.into_iter().zip(types) {
        if data_type.is_temporal() && data_type != common {
            cast(side, common.clone());
        }
    }
    true
}

/// Lets the difference of a date and a moment, and the sum of a date and a time of day, count in the moment's unit.
fn summed(sum: &mut BinaryExpr, schema: &DFSchema) -> bool {
    use DataType::{Date32, Time32, Time64, Timestamp};
    // The right side of a long sum is short, and says that there is nothing to do.
    let Ok(right) = sum.right.get_type(schema) else { return false };
    if !matches!(right, Date32 | Time32(_) | Time64(_) | Timestamp(..)) {
        return false;
    }
    let Ok(left) = sum.left.get_type(schema) else { return false };
    let micros = Timestamp(TimeUnit::Microsecond, None);
    match (left, sum.op, right) {
        (moment @ Timestamp(..), Operator::Minus, Date32) => cast(&mut sum.right, moment),
        (Date32, Operator::Minus, moment @ Timestamp(..)) => cast(&mut sum.left, moment),
        // What has no zone is read by the session's clocks, as a date is.
        (moment @ Timestamp(_, Some(_)), Operator::Minus, Timestamp(_, None)) => {
            cast(&mut sum.right, moment);
        }
        (Timestamp(_, None), Operator::Minus, moment @ Timestamp(_, Some(_))) => {
            cast(&mut sum.left, moment);
        }
        (Date32, _, Time32(_) | Time64(_)) => {
            cast(&mut sum.left, micros);
            as_duration(&mut sum.right);
        }
        (Time32(_) | Time64(_), Operator::Plus, Date32) => {
            as_duration(&mut sum.left);
            cast(&mut sum.right, micros);
        }
        _ => return false,
    }
    true
}

fn as_duration(time: &mut Expr) {
    cast(time, DataType::Time64(TimeUnit::Microsecond));
    cast(time, DataType::Int64);
    cast(time, DataType::Duration(TimeUnit::Microsecond));
}

/// Lets the sides of `IN`, `ANY` and `ALL (SELECT …)` be moments if one is.
fn within(value: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> bool {
    let plan = &subquery.subquery;
    let columns = plan.schema().columns();
    let Some(column) = columns.first() else { return false };
    let Ok(left) = value.get_type(schema) else { return false };
    match (&left, plan.schema().field(0).data_type().clone()) {
        (DataType::Date32, moment @ DataType::Timestamp(..)) => {
            cast(value, moment);
            true
        }
        (DataType::Timestamp(..), DataType::Date32) => {
            let moment =
                Expr::Cast(Cast::new(Box::new(Expr::Column(column.clone())), left.clone()));
            let plan = LogicalPlanBuilder::from(Arc::clone(plan));
            let plan = plan.project([moment.alias(column.name())]);
            let Ok(plan) = plan.and_then(LogicalPlanBuilder::build) else { return false };
            *subquery = subquery.with_plan(Arc::new(plan));
            true
        }
        _ => false,
    }
}

/// Brings a value and what an array holds to one type.
fn item(value: &mut Expr, array: &mut Expr, schema: &DFSchema) -> bool {
    let (Ok(left), Ok(right)) = (value.get_type(schema), array.get_type(schema)) else {
        return false;
    };
    let DataType::List(field) = &right else { return false };
    match (&left, field.data_type()) {
        (DataType::Date32, moment @ DataType::Timestamp(..)) => cast(value, moment.clone()),
        (DataType::Timestamp(..), DataType::Date32) => {
            let field = field.as_ref().clone().with_data_type(left.clone());
            cast(array, DataType::List(Arc::new(field)));
        }
        _ => return false,
    }
    true
}

/// Returns `nullif(a, b)` of a date and a moment, or of a `real` and another number: it is of the type of `a`.
fn null_if(args: &[Expr], schema: &DFSchema) -> Option<Expr> {
    let [value, other] = args else { return None };
    let of = |expr: &Expr| expr.get_type(schema).ok();
    let (left, right) = (of(value)?, of(other)?);
    let is_wider = left == DataType::Float32 && right.is_numeric() && right != left;
    let wider = is_wider.then_some(DataType::Float64);
    let common = common(&[left.clone(), right]).or(wider)?;
    if value.is_volatile() {
        return None;
    }
    let equal = Expr::Cast(Cast::new(Box::new(value.clone()), common.clone()))
        .eq(Expr::Cast(Cast::new(Box::new(other.clone()), common)));
    let null = Expr::Literal(ScalarValue::try_from(&left).ok()?, None);
    let branch = (Box::new(equal), Box::new(null));
    Some(Expr::Case(Case::new(None, vec![branch], Some(Box::new(value.clone())))))
}

/// Returns `nullif(a, b)` of whole numbers of which `b` has more room: it is of the type of `a`.
fn of_first(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let [value, other] = call.args.as_slice() else { return None };
    let (left, right) = (value.get_type(schema).ok()?, other.get_type(schema).ok()?);
    let are_whole = left.is_signed_integer() && right.is_signed_integer();
    if !are_whole || left.primitive_width() >= right.primitive_width() {
        return None;
    }
    let call = |value: Expr, other: Expr| {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&call.func), vec![value, other]))
    };
    if let Expr::Literal(number, _) = other
        && let Ok(number) = number.cast_to(&left)
    {
        return Some(call(value.clone(), Expr::Literal(number, None)));
    }
    let wide = Expr::Cast(Cast::new(Box::new(value.clone()), right));
    Some(Expr::Cast(Cast::new(Box::new(call(wide, other.clone())), left)))
}

fn is_date(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Date32 | DataType::Date64))
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
        if is_date(other, schema) {
            cast(other, DataType::Timestamp(wide, zone.clone()));
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
pub(super) fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}
