//! Types that DataFusion changes its mind about: a client is told the types of columns before its rules have run.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

/// Gives the sides of a `UNION` one type now. Of `numeric(12,2)` and `numeric(38,10)`, the first would be told.
pub(super) fn unions(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Union(union) => {
            let types = |plan: &LogicalPlan| {
                plan.schema().fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>()
            };
            let mut sides = union.inputs.iter().map(|input| types(input));
            let first = sides.next();
            if sides.all(|side| Some(side) == first) {
                return Ok(Transformed::no(LogicalPlan::Union(union)));
            }
            Ok(Transformed::yes(TypeCoercionRewriter::coerce_union(union)?))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Gives `round(numeric, 1)` its number of digits in the type that the function wants. Under a cast it is no literal for a
/// while, and the result has another type until it is one again.
pub(super) fn digits(expr: Expr, _: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(mut call)
            if matches!(call.name(), "round" | "trunc") && call.args.len() == 2 =>
        {
            let digits = match call.args.get(1) {
                Some(Expr::Literal(ScalarValue::Int64(Some(digits)), _)) => {
                    i32::try_from(*digits).ok()
                }
                _ => None,
            };
            if let (Some(digits), Some(arg)) = (digits, call.args.get_mut(1)) {
                *arg = Expr::Literal(ScalarValue::Int32(Some(digits)), None);
                return Transformed::yes(Expr::ScalarFunction(call));
            }
            Transformed::no(Expr::ScalarFunction(call))
        }
        other => Transformed::no(other),
    }
}
