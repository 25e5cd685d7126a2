//! Texts that are written as they stand beside numerics, where values are compared or one of them is taken: `x > '1.505'`, `x IN ('1.5', 2)`,
//! `greatest(x, '1.505')`, `x = ANY ('{1.505}')`. They keep all their places, as in PostgreSQL.
//!
//! The engine underneath casts them to the type of the column: beside a `numeric(12,2)` 1.505 would be 1.51, and equal to it.
//!
//! A parameter without a type keeps the places of a `numeric` where it is a branch: `CASE WHEN b THEN x ELSE $1 END`. The branches are cast to
//! one type before its value is known, and it would be rounded.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::open_numeric::COLUMN_PLACES;
use crate::session::open_texts::numeric;
use crate::session::quantified;

/// Functions whose arguments have one type.
const ALIKE: &[&str] = &["coalesce", "greatest", "least", "nullif", "nvl"];

/// Makes numerics of such texts and parameters.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let has_typed = type_parameters(&mut expr, schema);
    let settled = settle_texts(expr, schema);
    if has_typed { Transformed::yes(settled.data) } else { settled }
}

/// Gives parameters that are branches the type of a numeric that has all the places of the numerics beside them.
fn type_parameters(expr: &mut Expr, schema: &DFSchema) -> bool {
    let Expr::Case(case) = expr else { return false };
    let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
    let values = thens.chain(case.else_expr.as_deref_mut()).collect::<Vec<_>>();
    let is_open = |value: &Expr| matches!(value, Expr::Placeholder(it) if it.field.is_none());
    if !values.iter().any(|value| is_open(value)) {
        return false;
    }
    let typed = values.iter().filter(|value| !is_text(value));
    let known = typed.filter_map(|value| value.get_type(schema).ok());
    let known = known.filter(|found| !found.is_null()).collect::<Vec<_>>();
    let mut places: Option<i8> = None;
    for data_type in &known {
        match data_type {
            DataType::Decimal128(_, scale) => places = places.max(Some(*scale)),
            other if other.is_integer() => {}
            _ => return false,
        }
    }
    let Some(places) = places else { return false };
    let numeric = DataType::Decimal128(DECIMAL128_MAX_PRECISION, places.max(COLUMN_PLACES));
    for value in values {
        if is_open(value) {
            let parameter = std::mem::take(value);
            *value = Expr::Cast(Cast::new(Box::new(parameter), numeric.clone()));
        }
    }
    true
}

fn settle_texts(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let sides: Vec<&mut Expr> = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::Between(between) => {
            vec![between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()]
        }
        Expr::InList(list) => {
            std::iter::once(list.expr.as_mut()).chain(list.list.iter_mut()).collect()
        }
        Expr::Case(case) => match case.expr.as_deref_mut() {
            Some(base) => {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                std::iter::once(base).chain(whens).collect()
            }
            None => return Transformed::no(expr),
        },
        Expr::ScalarFunction(call) if [quantified::ANY, quantified::ALL].contains(&call.name()) => {
            let Some(array) = with_all_places(&call.args, schema) else {
                return Transformed::no(expr);
            };
            call.args.truncate(2);
            call.args.push(array);
            return Transformed::yes(expr);
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.name()) => {
            call.args.iter_mut().collect()
        }
        _ => return Transformed::no(expr),
    };
    if !sides.iter().any(|side| is_text(side)) {
        return Transformed::no(expr);
    }
    // Beside a float, all are floats.
    let types = sides.iter().filter_map(|side| side.get_type(schema).ok()).collect::<Vec<_>>();
    if !types.iter().any(|found| found.is_decimal())
        || types.iter().any(|found| found.is_floating())
    {
        return Transformed::no(expr);
    }
    let mut changed = false;
    for side in sides {
        let number = match &*side {
            Expr::Literal(value, _) => value.try_as_str().flatten().and_then(numeric),
            _ => None,
        };
        if let Some(number) = number {
            *side = Expr::Literal(number, None);
            changed = true;
        }
    }
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Returns the array of `x = ANY ('{1.505}')`, if it has items with more places than `x`.
fn with_all_places(args: &[Expr], schema: &DFSchema) -> Option<Expr> {
    // A fourth argument says that the third is the text of an array.
    let [_, value, Expr::Literal(array, _), _] = args else { return None };
    let DataType::Decimal128(_, known) = value.get_type(schema).ok()? else { return None };
    let text = array.try_as_str().flatten()?;
    let items = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let items = items.split(',').map(|item| match item.trim() {
        null if null.eq_ignore_ascii_case("null") => Some(ScalarValue::Null),
        number => numeric(number.trim_matches('"')),
    });
    let items = items.collect::<Option<Vec<_>>>()?;
    let (mut whole, mut places) = (0_i16, known);
    for item in &items {
        if let ScalarValue::Decimal128(_, precision, scale) = item {
            whole = whole.max(i16::from(*precision) - i16::from(*scale));
            places = places.max(*scale);
        }
    }
    let precision = u8::try_from(whole + i16::from(places)).ok()?;
    if places == known || precision > DECIMAL128_MAX_PRECISION {
        return None;
    }
    let common = DataType::Decimal128(precision, places);
    let items = items.iter().map(|item| item.cast_to(&common).ok());
    let items = items.collect::<Option<Vec<_>>>()?;
    let list = ScalarValue::List(ScalarValue::new_list(&items, &common, true));
    Some(Expr::Literal(list, None))
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type().is_string())
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
