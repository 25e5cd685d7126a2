//! Quotients of floats, and floats beside other numbers: compared with them, and where one value may be either (`CASE`,
//! `coalesce`, `UNION`, `VALUES`).
//!
//! The engine underneath makes numerics of the floats: NaN and infinity are an error then, and 1e-300 is 0. PostgreSQL
//! makes double precision of the numerics where they are compared or computed with. It does so with whole numbers beside a `real`, too.
//! A value that may be either is a `real` if that is the only float.
//!
//! Source: PostgreSQL 16, section 10.2.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, DecimalType, Float32Type,
    Float64Type,
};
use arrow::error::ArrowError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlanBuilder, Operator, Subquery,
};

/// Lets a float and another number be compared as floats.
pub(super) fn compare(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let asked = match &mut expr {
        Expr::InSubquery(asked) => Some((asked.expr.as_mut(), &mut asked.subquery)),
        Expr::SetComparison(asked) => Some((asked.expr.as_mut(), &mut asked.subquery)),
        _ => None,
    };
    if let Some((value, subquery)) = asked {
        let changed = within(value, subquery, schema);
        return if changed { Transformed::yes(expr) } else { Transformed::no(expr) };
    }
    let mut sides = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            vec![expr.as_mut(), low.as_mut(), high.as_mut()]
        }
        Expr::InList(InList { expr, list, .. }) => {
            std::iter::once(expr.as_mut()).chain(list).collect()
        }
        _ => return Transformed::no(expr),
    };
    let Some(types) =
        sides.iter().map(|side| side.get_type(schema).ok()).collect::<Option<Vec<_>>>()
    else {
        return Transformed::no(expr);
    };
    let is_mixed = mixed(&types);
    if !is_mixed {
        return Transformed::no(expr);
    }
    // A `real` beside values that it holds exactly stays one: sources and files know its statistics.
    let as_reals = sides.iter().zip(&types).map(|(side, data_type)| match data_type {
        DataType::Float32 => Some(None),
        _ => real(side).map(Some),
    });
    if let Some(reals) = as_reals.collect::<Option<Vec<_>>>() {
        for (side, value) in sides.iter_mut().zip(reals) {
            if let Some(value) = value {
                **side = Expr::Literal(ScalarValue::Float32(Some(value)), None);
            }
        }
        return Transformed::yes(expr);
    }
    as_doubles(sides, &types);
    Transformed::yes(expr)
}

/// Functions whose arguments have one type, which is that of the result.
const ALIKE: &[&str] = &["coalesce", "greatest", "least", "make_array", "nullif", "nvl"];

/// Lets the branches of a `CASE`, or the arguments of a function that gives one of them, be floats if one is.
pub(super) fn unify(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    // What is compared is compared as double precision.
    let is_compared = matches!(&expr, Expr::ScalarFunction(call) if call.name() == "nullif");
    let sides: Vec<&mut Expr> = match &mut expr {
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            thens.chain(case.else_expr.as_deref_mut()).collect()
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.name()) => {
            call.args.iter_mut().collect()
        }
        _ => return Transformed::no(expr),
    };
    let types = sides.iter().map(|side| side.get_type(schema).ok()).collect::<Option<Vec<_>>>();
    let Some(types) = types.filter(|types| mixed(types)) else { return Transformed::no(expr) };
    match common(&types) {
        Some(DataType::Float32) if !is_compared => as_reals(sides, &types),
        _ => as_doubles(sides, &types),
    }
    Transformed::yes(expr)
}

/// Lets a `real` and an exact number be computed with as double precision.
pub(super) fn compute(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &mut expr else {
        return Transformed::no(expr);
    };
    let computes =
        matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide);
    let types = left.get_type(schema).ok().zip(right.get_type(schema).ok());
    let Some((a, b)) = types.filter(|_| computes) else { return Transformed::no(expr) };
    let is_exact = |data_type: &DataType| data_type.is_decimal() || data_type.is_integer();
    let of_real = |real: &DataType, other: &DataType| *real == DataType::Float32 && is_exact(other);
    if !of_real(&a, &b) && !of_real(&b, &a) {
        return Transformed::no(expr);
    }
    as_doubles(vec![left.as_mut(), right.as_mut()], &[a, b]);
    Transformed::yes(expr)
}

/// Returns the type of values that may be floats or other numbers; `None` if there are not both.
pub(super) fn common(types: &[DataType]) -> Option<DataType> {
    let has_double = types.contains(&DataType::Float64);
    mixed(types).then_some(if has_double { DataType::Float64 } else { DataType::Float32 })
}

/// Returns whether numbers of these types meet as double precision.
pub(super) fn mixed(types: &[DataType]) -> bool {
    let any = |wanted: fn(&DataType) -> bool| types.iter().any(wanted);
    any(DataType::is_floating) && any(DataType::is_decimal)
        || any(|t| *t == DataType::Float32) && any(DataType::is_integer)
}

fn as_doubles(sides: Vec<&mut Expr>, types: &[DataType]) {
    for (side, data_type) in sides.into_iter().zip(types) {
        if let Some(value) = double(side) {
            *side = Expr::Literal(ScalarValue::Float64(Some(value)), None);
        } else if data_type.is_numeric() && *data_type != DataType::Float64 {
            *side = Expr::Cast(Cast::new(Box::new(side.clone()), DataType::Float64));
        }
    }
}

fn as_reals(sides: Vec<&mut Expr>, types: &[DataType]) {
    for (side, data_type) in sides.into_iter().zip(types) {
        let value = digits(side).and_then(|text| text.parse::<f32>().ok());
        // What is too large or too small for a `real` is left to the cast to refuse.
        if let Some(value) = value.filter(|value| value.is_normal()) {
            *side = Expr::Literal(ScalarValue::Float32(Some(value)), None);
        } else if data_type.is_numeric() && *data_type != DataType::Float32 {
            *side = Expr::Cast(Cast::new(Box::new(side.clone()), DataType::Float32));
        }
    }
}

/// Divides floats. By zero only what is no number can be divided, and stays it.
///
/// # Errors
/// 22012.
pub(super) fn quotient(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let by_zero = match right.get().0.data_type() {
        DataType::Float64 => is_by_zero::<Float64Type>(left, right),
        DataType::Float32 => is_by_zero::<Float32Type>(left, right),
        _ => false,
    };
    if by_zero { Err(ArrowError::DivideByZero) } else { numeric::div(left, right) }
}

/// Makes one NaN of those of either sign: order and equality underneath go by their bits.
pub(super) fn one_nan(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>();
            if floats.values().iter().any(|x| x.is_nan()) {
                let plain = |x: f64| if x.is_nan() { f64::NAN } else { x };
                return Arc::new(floats.unary::<_, Float64Type>(plain));
            }
        }
        DataType::Float32 => {
            let floats = values.as_primitive::<Float32Type>();
            if floats.values().iter().any(|x| x.is_nan()) {
                let plain = |x: f32| if x.is_nan() { f32::NAN } else { x };
                return Arc::new(floats.unary::<_, Float32Type>(plain));
            }
        }
        _ => {}
    }
    Arc::clone(values)
}

fn is_by_zero<T: ArrowPrimitiveType<Native: Into<f64>>>(
    left: &dyn Datum,
    right: &dyn Datum,
) -> bool {
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let (Some(left), Some(right)) = (left.as_primitive_opt::<T>(), right.as_primitive_opt::<T>())
    else {
        return false;
    };
    let value = |array: &PrimitiveArray<T>, row: usize| -> f64 { array.value(row).into() };
    if !(0..right.len()).any(|row| value(right, row) == 0.0) {
        return false;
    }
    let n_rows = if one_left { right.len() } else { left.len() };
    (0..n_rows).any(|row| {
        let a = if one_left { 0 } else { row };
        let b = if one_right { 0 } else { row };
        let known = left.is_valid(a) && right.is_valid(b);
        known && value(right, b) == 0.0 && !value(left, a).is_nan()
    })
}

/// Lets both sides of `IN`, `ANY` and `ALL (SELECT …)` be floats, and tells whether it did.
fn within(value: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> bool {
    let plan = &subquery.subquery;
    let columns = plan.schema().columns();
    let Some(column) = columns.first() else { return false };
    let Ok(left) = value.get_type(schema) else { return false };
    let right = plan.schema().field(0).data_type();
    let is_mixed = left.is_floating() && right.is_decimal()
        || left.is_decimal() && right.is_floating()
        || left == DataType::Float32 && right.is_integer()
        || left.is_integer() && *right == DataType::Float32;
    if !is_mixed {
        return false;
    }
    let double = |expr| Expr::Cast(Cast::new(Box::new(expr), DataType::Float64));
    let column = double(Expr::Column(column.clone())).alias(column.name());
    let plan = LogicalPlanBuilder::from(Arc::clone(plan)).project([column]);
    let Ok(plan) = plan.and_then(LogicalPlanBuilder::build) else { return false };
    *subquery = subquery.with_plan(Arc::new(plan));
    *value = double(value.clone());
    true
}

/// Returns the value of a literal number that a `real` holds exactly.
fn real(expr: &Expr) -> Option<f32> {
    let text = digits(expr)?;
    let (real, double) = (text.parse::<f32>().ok()?, text.parse::<f64>().ok()?);
    (f64::from(real) == double && double.is_finite()).then_some(real)
}

/// Returns the value of a literal numeric or whole number: the float next to it.
fn double(expr: &Expr) -> Option<f64> {
    digits(expr)?.parse().ok()
}

/// Makes the float next to it of a numeric that is written in the statement: the engine underneath divides its digits, and rounds
/// twice.
pub(super) fn written(expr: Expr) -> Transformed<Expr> {
    let value = match &expr {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => double(&cast.expr),
        _ => None,
    };
    match value {
        Some(value) => Transformed::yes(Expr::Literal(ScalarValue::Float64(Some(value)), None)),
        None => Transformed::no(expr),
    }
}

fn digits(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Decimal128(Some(n), precision, scale) => {
            Some(Decimal128Type::format_decimal(*n, *precision, *scale))
        }
        ScalarValue::Decimal256(Some(n), precision, scale) => {
            Some(Decimal256Type::format_decimal(*n, *precision, *scale))
        }
        ScalarValue::Int64(Some(n)) => Some(n.to_string()),
        _ => None,
    }
}
