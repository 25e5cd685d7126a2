//! What the planner is helped with as it plans an expression: names of aggregates that differ in a cast alone, and truths, numbers and dates
//! that are written as text.
//!
//! The planner finds the aggregates of a statement by their names, in which it leaves casts out: `sum(x), sum(x::numeric)` were
//! two columns of one name, and refused. Here an argument with a cast is called what it is, casts and all. `is_done = 't'` it would refuse,
//! since a truth is no text; in PostgreSQL the literal has the type of what it is compared with. So it is in `n + '1'` and `day - '2026-01-01'`.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr,
};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, lit};
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

/// Gives a text literal the type of what it is computed with; a numeric has as many digits as are written.
fn as_operand(expr: &mut Expr, other: &Expr, op: &BinaryOperator, schema: &DFSchema) {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &*expr else { return };
    let Ok(other) = other.get_type(schema) else { return };
    let target = match other {
        DataType::Decimal128(_, places) => {
            let text = text.trim();
            let plain = text.chars().all(|c| c.is_ascii_digit() || "+-.".contains(c));
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let places = i64::from(places).max(fraction.len() as i64);
            let digits = (places + whole.len() as i64).max(1);
            match (u8::try_from(digits), i8::try_from(places)) {
                (Ok(digits), Ok(places)) if plain && digits <= 38 => {
                    DataType::Decimal128(digits, places)
                }
                _ => DataType::Float64,
            }
        }
        number if number.is_integer() || number.is_floating() => number,
        moment @ (DataType::Date32 | DataType::Timestamp(..)) if *op == BinaryOperator::Minus => {
            moment
        }
        _ => return,
    };
    let text = std::mem::replace(expr, Expr::Literal(ScalarValue::Null, None));
    *expr = Expr::Cast(Cast::new(Box::new(text), target));
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
        if matches!(
            sum.op,
            BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo
        ) {
            as_operand(&mut sum.right, &sum.left, &sum.op, schema);
            as_operand(&mut sum.left, &sum.right, &sum.op, schema);
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
