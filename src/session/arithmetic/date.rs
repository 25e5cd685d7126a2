//! Dates plus intervals.
//!
//! In PostgreSQL the sum is a timestamp. DataFusion makes a date of it and forgets the hours. Maru keeps the date where an
//! interval of whole days and months is written out, since conditions on dates are pushed further than those on timestamps.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

/// What changes an expression; the first that does is the only one.
const RULES: &[fn(Expr, &DFSchema) -> Transformed<Expr>] = &[
    super::promised::digits,
    super::cast::bytes_to_text,
    super::cast::text_to_bytes,
    super::moments::settle,
    super::float::compare,
    super::float::unify,
    super::float::compute,
    super::branches::settle,
    super::unsigned::settle,
    super::quotient::settle,
    crate::session::interval_sums::settle,
];

/// Makes timestamps of dates that a time may be added to, and floats of the numerics beside them; settles what is
/// promised, and what bytes meet. The types of columns change, so this comes before anybody is told.
pub(in crate::session) fn keep_times(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = super::bytes::settled(plan)?;
    let plan = super::promised::values(super::promised::unions(plan)?)?;
    let plan = super::change_types(plan, super::decimal_texts::settle)?;
    let plan = super::change_types(plan, |expr, schema| {
        RULES.iter().fold(Transformed::no(expr), |so_far, rule| {
            if so_far.transformed { so_far } else { rule(so_far.data, schema) }
        })
    })?;
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found |= matches!(part, Expr::BinaryExpr(sum) if is_sum(sum));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if found { super::change_types(plan, widen) } else { Ok(plan) }
}

fn is_sum(sum: &BinaryExpr) -> bool {
    let in_days = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if is_of_days(value));
    matches!(sum.op, Operator::Plus | Operator::Minus)
        && !in_days(&sum.left)
        && !in_days(&sum.right)
}

fn is_of_days(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => interval.nanoseconds == 0,
        ScalarValue::IntervalDayTime(Some(interval)) => interval.milliseconds == 0,
        ScalarValue::IntervalYearMonth(_) => true,
        _ => false,
    }
}

fn widen(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(sum) = expr else { return Transformed::no(expr) };
    if !is_sum(&sum) {
        return Transformed::no(Expr::BinaryExpr(sum));
    }
    let is_date =
        |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Date32 | DataType::Date64));
    let is_interval = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Interval(_)));
    let BinaryExpr { left, op, right } = sum;
    let timestamp = |expr| {
        Box::new(Expr::Cast(Cast::new(expr, DataType::Timestamp(TimeUnit::Microsecond, None))))
    };
    let (left, right, changed) = match (is_date(&left), is_date(&right)) {
        (true, false) if is_interval(&right) => (timestamp(left), right, true),
        (false, true) if is_interval(&left) => (left, timestamp(right), true),
        _ => (left, right, false),
    };
    let sum = Expr::BinaryExpr(BinaryExpr { left, op, right });
    if changed { Transformed::yes(sum) } else { Transformed::no(sum) }
}
