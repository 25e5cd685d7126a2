//! Elements and slices of arrays at places before the first: there are none, as in PostgreSQL. The engine underneath counts them from
//! the end.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator};

/// Keeps the subscripts of an array from counting from its end.
pub(super) fn from_first(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::ScalarFunction(call) = &mut expr else { return Transformed::no(expr) };
    // The element before the first is NULL; a slice begins with the first.
    let leasts: &[i64] = match (call.name(), call.args.len()) {
        ("array_element", 2) => &[0],
        ("array_slice", 3 | 4) => &[1, 0],
        _ => return Transformed::no(expr),
    };
    let Some((array, subscripts)) = call.args.split_first_mut() else {
        return Transformed::no(expr);
    };
    let is_array = matches!(
        array.get_type(schema),
        Ok(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
    );
    let mut changed = false;
    if is_array {
        for (subscript, least) in subscripts.iter_mut().zip(leasts) {
            changed |= keep_from(subscript, *least, schema);
        }
    }
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Puts the least place in the place of those below it, and tells whether it did.
fn keep_from(subscript: &mut Expr, least: i64, schema: &DFSchema) -> bool {
    let bound = || Expr::Literal(ScalarValue::Int64(Some(least)), None);
    match subscript {
        Expr::Literal(ScalarValue::Int64(Some(place)), _) if *place < least => {
            *subscript = bound();
            true
        }
        Expr::Literal(..) => false,
        other => {
            let is_whole = matches!(other.get_type(schema), Ok(DataType::Int64));
            // One that is volatile would be another one the second time.
            if !is_whole || other.is_volatile() || is_kept(other) {
                return false;
            }
            let place = || Box::new(other.clone());
            let below = BinaryExpr::new(place(), Operator::Lt, Box::new(bound()));
            let branch = (Box::new(Expr::BinaryExpr(below)), Box::new(bound()));
            let kept = Expr::Case(Case::new(None, vec![branch], Some(place())));
            *other = kept;
            true
        }
    }
}

/// Returns whether a subscript has been kept so before: the rule may see a plan twice.
fn is_kept(subscript: &Expr) -> bool {
    let Expr::Case(case) = subscript else { return false };
    let [(condition, least)] = case.when_then_expr.as_slice() else { return false };
    match condition.as_ref() {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Lt, right }) => {
            case.else_expr.as_ref() == Some(left) && right == least
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_before_the_first_are_kept_from_counting_backwards() {
        let schema = DFSchema::empty();
        let place = |place: i64| Expr::Literal(ScalarValue::Int64(Some(place)), None);
        let mut literal = place(-1);
        assert!(keep_from(&mut literal, 0, &schema));
        assert_eq!(literal, place(0));
        assert!(!keep_from(&mut place(2), 1, &schema));
        let sum = BinaryExpr::new(Box::new(place(1)), Operator::Minus, Box::new(place(3)));
        let mut computed = Expr::BinaryExpr(sum);
        assert!(keep_from(&mut computed, 1, &schema));
        assert!(!keep_from(&mut computed, 1, &schema));
    }
}
