//! Parameters without a type as a side of an operator, where it is not simply that of the other side: `interval '1 day' * $1`
//! takes a number, and `$1 || $2` two texts.
//!
//! Source: PostgreSQL 16, section 10.2 "Operators".

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use maru_core::{Error, ErrorKind};
use maru_sql::ast::BinaryOperator;

use super::places::open;

/// Gives them their types.
#[derive(Debug)]
pub(in crate::session) struct Operands;

impl ExprPlanner for Operands {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        match (open(&expr.left).is_some(), open(&expr.right).is_some()) {
            (false, false) => {}
            (true, true) => {
                if is_of_texts(&expr.op) {
                    expr.left = cast(expr.left, DataType::Utf8);
                    expr.right = cast(expr.right, DataType::Utf8);
                } else if is_of_numbers(&expr.op) {
                    return Err(ambiguous(&expr.op).into());
                }
            }
            (true, false) => {
                if let Some(data_type) = beside(&expr.right, &expr.op, schema, true) {
                    expr.left = cast(expr.left, data_type);
                }
            }
            (false, true) => {
                if let Some(data_type) = beside(&expr.left, &expr.op, schema, false) {
                    expr.right = cast(expr.right, data_type);
                }
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// Returns the type of a parameter beside something else, if it is not to be the same. `first`: the parameter is the left side.
fn beside(other: &Expr, op: &BinaryOperator, schema: &DFSchema, first: bool) -> Option<DataType> {
    let known = other.get_type(schema).ok()?;
    match (op, &known) {
        (BinaryOperator::Multiply, DataType::Interval(_)) => Some(DataType::Float64),
        (BinaryOperator::Divide, DataType::Interval(_)) if !first => Some(DataType::Float64),
        (BinaryOperator::Plus, DataType::Timestamp(..)) => {
            Some(DataType::Interval(IntervalUnit::MonthDayNano))
        }
        // Those that look into arrays are found by the types of both sides.
        (
            BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::PGOverlap
            | BinaryOperator::StringConcat,
            DataType::List(_) | DataType::LargeList(_),
        ) => Some(known.clone()),
        _ => None,
    }
}

fn is_of_texts(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::StringConcat
    )
}

fn is_of_numbers(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
    )
}

fn ambiguous(op: &BinaryOperator) -> Error {
    let what = format!("operator is not unique: unknown {op} unknown");
    Error::new(ErrorKind::AmbiguousFunction, what)
        .with_hint("CAST one of the parameters: $1::int, or declare its type.")
}
