//! Operators whose meaning depends on the types of their sides, settled while the statement is planned: intervals times
//! numbers, arrays that have an element in common.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::expr_fn::array_has_any;
use datafusion::logical_expr::ExprSchemable;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use maru_sql::ast::BinaryOperator;

use super::scalars;

/// Plans them.
#[derive(Debug)]
pub(super) struct TypedOperators;

impl ExprPlanner for TypedOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let typed = matches!(
            expr.op,
            BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::PGOverlap
        );
        if !typed {
            return Ok(PlannerResult::Original(expr));
        }
        let (Ok((_, left)), Ok((_, right))) =
            (expr.left.to_field(schema), expr.right.to_field(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        let is_interval = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
        let planned = match expr.op {
            BinaryOperator::Multiply
                if is_interval(left.data_type()) && right.data_type().is_numeric() =>
            {
                scalars::call("interval_multiply", vec![expr.left.clone(), expr.right.clone()])
            }
            BinaryOperator::Multiply
                if left.data_type().is_numeric() && is_interval(right.data_type()) =>
            {
                scalars::call("interval_multiply", vec![expr.right.clone(), expr.left.clone()])
            }
            BinaryOperator::Divide
                if is_interval(left.data_type()) && right.data_type().is_numeric() =>
            {
                scalars::call("interval_divide", vec![expr.left.clone(), expr.right.clone()])
            }
            BinaryOperator::PGOverlap
                if is_list(left.data_type()) && is_list(right.data_type()) =>
            {
                Some(array_has_any(expr.left.clone(), expr.right.clone()))
            }
            _ => None,
        };
        Ok(match planned {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}
