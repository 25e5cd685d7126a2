//! The branches of a `CASE` that are of several types. The planner tells the type of the first one, and makes another one of them
//! later on.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion::logical_expr::{Expr, ExprSchemable};

/// Brings all branches to the type that the planner will have for them.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::Case(case) = &mut expr else { return Transformed::no(expr) };
    let type_of = |branch: &Expr| branch.get_type(schema).ok();
    let thens = case.when_then_expr.iter().map(|(_, then)| type_of(then));
    let Some(thens) = thens.collect::<Option<Vec<DataType>>>() else {
        return Transformed::no(expr);
    };
    let otherwise = case.else_expr.as_deref().map(type_of);
    if otherwise == Some(None) {
        return Transformed::no(expr);
    }
    let otherwise = otherwise.flatten();
    let mut all = thens.iter().chain(&otherwise);
    let first = thens.first();
    if all.all(|data_type| Some(data_type) == first) {
        return Transformed::no(expr);
    }
    let Some(common) = get_coerce_type_for_case_expression(&thens, otherwise.as_ref()) else {
        return Transformed::no(expr);
    };
    let branches = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
    let mut changed = false;
    for branch in branches.chain(case.else_expr.as_deref_mut()) {
        if branch.get_type(schema).is_ok_and(|data_type| data_type != common) {
            let value = std::mem::take(branch);
            *branch = Expr::Cast(Cast::new(Box::new(value), common.clone()));
            changed = true;
        }
    }
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}
