//! Texts that are written as they stand beside an operator: `ts + '1 day'`, `n + '1'`, `a @> '{1}'`. They are read as what the
//! operator takes there.
//!
//! Source: PostgreSQL 16, section 10.2: of what could be meant, it is the type of the other side, if the operator takes that.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use maru_sql::ast::BinaryOperator;

/// Digits that the engine's narrow numerics have.
const DIGITS_MAX: usize = 38;

tokio::task_local! {
    /// While a text of another system is planned, whose operators may take such texts for something else.
    static FOREIGN: ();
}

/// Plans a text of another system: what stands there as a text stays one.
pub(super) async fn left_alone<T>(planning: impl Future<Output = T>) -> T {
    FOREIGN.scope((), planning).await
}

/// Returns whether a text of another system is being planned.
pub(super) fn are_left_alone() -> bool {
    FOREIGN.try_with(|()| ()).is_ok()
}

/// Gives them their types, where the planner would not.
#[derive(Debug)]
pub(super) struct OpenTexts;

impl ExprPlanner for OpenTexts {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        if are_left_alone() {
            return Ok(PlannerResult::Original(expr));
        }
        match (written(&expr.left), written(&expr.right)) {
            (Some(text), None) => {
                if let Some(read) = beside(text, &expr.right, &expr.op, true, schema) {
                    expr.left = read.of(expr.left);
                }
            }
            (None, Some(text)) => {
                if let Some(read) = beside(text, &expr.left, &expr.op, false, schema) {
                    expr.right = read.of(expr.right);
                }
            }
            _ => {}
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// What a text is read as.
enum Read {
    As(DataType),
    Value(ScalarValue),
}

impl Read {
    fn of(self, text: Expr) -> Expr {
        match self {
            Self::As(data_type) => cast(text, data_type),
            Self::Value(value) => Expr::Literal(value, None),
        }
    }
}

fn written(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// Returns what a text is beside something else. `first`: it is the left side.
fn beside(
    text: &str,
    other: &Expr,
    op: &BinaryOperator,
    first: bool,
    schema: &DFSchema,
) -> Option<Read> {
    use BinaryOperator as O;
    use DataType as D;
    let computes = matches!(op, O::Plus | O::Minus | O::Multiply | O::Divide | O::Modulo);
    let compares = matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq);
    let of_arrays = matches!(op, O::AtArrow | O::ArrowAt | O::PGOverlap | O::StringConcat);
    let decides = matches!(op, O::And | O::Or);
    if !(computes || compares || of_arrays || decides) {
        return None;
    }
    let known = other.get_type(schema).ok()?;
    let data_type = match (op, &known) {
        // With all the digits that it has.
        (_, known) if computes && known.is_decimal() => return numeric(text).map(Read::Value),
        (_, known) if computes && (known.is_integer() || known.is_floating()) => known.clone(),
        (O::Plus | O::Minus, D::Interval(_)) => known.clone(),
        (O::Multiply, D::Interval(_)) => D::Float64,
        (O::Divide, D::Interval(_)) if !first => D::Float64,
        (O::Plus, D::Timestamp(..) | D::Time32(_) | D::Time64(_)) => {
            D::Interval(IntervalUnit::MonthDayNano)
        }
        (O::Minus, D::Timestamp(..) | D::Date32) => known.clone(),
        (_, D::Interval(_)) if compares => known.clone(),
        (_, D::List(_) | D::LargeList(_)) if compares || of_arrays => known.clone(),
        (_, D::Boolean) if decides => known.clone(),
        _ => return None,
    };
    Some(Read::As(data_type))
}

/// Reads a number with the places that are written; `None` for what is none, or has more digits than a numeric.
pub(super) fn numeric(text: &str) -> Option<ScalarValue> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, places) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{places}");
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let value = digits.parse::<i128>().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    let precision = u8::try_from(digits.len()).ok()?;
    Some(ScalarValue::Decimal128(Some(value), precision, i8::try_from(places.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_places() {
        for (text, expected) in [
            ("1.50", Some((150, 3, 2))),
            (" -12 ", Some((-12, 2, 0))),
            ("+.5", Some((5, 1, 1))),
            ("", None),
            (".", None),
            ("1e3", None),
            ("a", None),
        ] {
            let expected = expected.map(|(value, precision, places)| {
                ScalarValue::Decimal128(Some(value), precision, places)
            });
            assert_eq!(numeric(text), expected, "{text}");
        }
    }
}
