//! What the planner is helped with as it plans an expression: names of aggregates that differ in a cast alone, and truth that is
//! written as text.
//!
//! The planner finds the aggregates of a statement by their names, in which it leaves casts out: `sum(x), sum(x::numeric)` were
//! two columns of one name, and refused. Here an argument with a cast is called what it is, casts and all. `is_done = 't'` it would refuse,
//! since a truth is no text; in PostgreSQL the literal has the type of what it is compared with.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use maru_core::{Error, ErrorKind};

/// Names the arguments of aggregates as the statement is planned.
#[derive(Debug)]
pub(super) struct NamedCasts;

/// PostgreSQL's words, of which it takes every beginning that is nothing else's.
fn truth(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Makes a truth of a text literal that stands beside one.
fn as_truth(expr: &mut Expr, other: &Expr, schema: &DFSchema) -> DfResult<()> {
    let Expr::Literal(ScalarValue::Utf8(Some(word)), _) = expr else { return Ok(()) };
    if !matches!(other.get_type(schema), Ok(DataType::Boolean)) {
        return Ok(());
    }
    let truth = truth(word).ok_or_else(|| {
        let message = format!("invalid input syntax for type boolean: \"{word}\"");
        Error::new(ErrorKind::InvalidText, message)
    })?;
    *expr = lit(truth);
    Ok(())
}

impl ExprPlanner for NamedCasts {
    fn plan_binary_op(
        &self,
        mut sum: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        if matches!(sum.op, BinaryOperator::Eq | BinaryOperator::NotEq) {
            as_truth(&mut sum.right, &sum.left, schema)?;
            as_truth(&mut sum.left, &sum.right, schema)?;
        }
        Ok(PlannerResult::Original(sum))
    }

    fn plan_aggregate(
        &self,
        mut call: RawAggregateExpr,
    ) -> DfResult<PlannerResult<RawAggregateExpr>> {
        // Of those with an order of their own the argument is found by that order.
        if !call.func.supports_within_group_clause() {
            for argument in &mut call.args {
                if argument.exists(|part| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_))))? {
                    *argument = argument.clone().alias(argument.to_string());
                }
            }
        }
        Ok(PlannerResult::Original(call))
    }
}
