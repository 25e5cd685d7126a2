//! Which share of rows a condition leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{ColumnStatistics, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::{ColumnEstimate, CompareOp, Predicate};

// Shares of conditions of which nothing is known.
const EQUAL: f64 = 0.05;
const COMPARED: f64 = 0.33;
const LIKE: f64 = 0.1;
const NULL: f64 = 0.05;
const UNKNOWN: f64 = 0.25;

/// A day in seconds.
const DAY: f64 = 86_400.0;

/// What is known of a column, in numbers. Dates and times are seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) n_distinct: Option<f64>,
    null_fraction: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    /// What lies between two neighbours, where values have any.
    step: Option<f64>,
}

impl Facts {
    pub(crate) fn of_estimate(estimate: &ColumnEstimate) -> Self {
        let low = estimate.min.as_ref();
        Self {
            n_distinct: estimate.n_distinct.map(|n| n as f64),
            null_fraction: estimate.null_fraction,
            min: low.and_then(number),
            max: estimate.max.as_ref().and_then(number),
            step: low.and_then(step),
        }
    }

    pub(super) fn of_statistics(statistics: &ColumnStatistics, n_rows: f64) -> Self {
        let low = statistics.min_value.get_value();
        let n_nulls = statistics.null_count.get_value();
        Self {
            n_distinct: statistics.distinct_count.get_value().map(|n| *n as f64),
            null_fraction: n_nulls.map(|n| *n as f64 / n_rows.max(1.0)),
            min: low.and_then(number),
            max: statistics.max_value.get_value().and_then(number),
            step: low.and_then(step),
        }
    }

    pub(super) fn distinct(n_distinct: f64) -> Self {
        Self { n_distinct: Some(n_distinct), ..Self::default() }
    }

    /// Adds what is not known yet.
    pub(super) fn or(self, other: Self) -> Self {
        let bounds = if self.min.is_some() && self.max.is_some() { &self } else { &other };
        Self {
            min: bounds.min,
            max: bounds.max,
            step: bounds.step,
            n_distinct: self.n_distinct.or(other.n_distinct),
            null_fraction: self.null_fraction.or(other.null_fraction),
        }
    }

    /// Returns how many different values lie between the bounds.
    pub(super) fn most_distinct(&self) -> Option<f64> {
        Some(((self.max? - self.min?) / self.step?).max(0.0) + 1.0)
    }

    fn equal(&self) -> f64 {
        match self.n_distinct.or_else(|| self.most_distinct()) {
            Some(n_distinct) => 1.0 / n_distinct.max(1.0),
            None => EQUAL,
        }
    }

    /// Returns the share of values between two bounds.
    fn between(&self, low: Option<f64>, high: Option<f64>) -> Option<f64> {
        let (min, max) = (self.min?, self.max?);
        let span = max - min + self.step.unwrap_or(0.0);
        let (low, high) = (low.unwrap_or(min).max(min), high.unwrap_or(max).min(max));
        if span <= 0.0 {
            return Some(if low <= high { 1.0 } else { 0.0 });
        }
        Some(((high - low + self.step.unwrap_or(0.0)) / span).clamp(0.0, 1.0))
    }

    fn nulls(&self) -> f64 {
        self.null_fraction.unwrap_or(NULL).clamp(0.0, 1.0)
    }
}

/// Returns which share of rows satisfies all predicates. `facts` has one entry for each column of the table.
pub(crate) fn remaining(predicates: &[Predicate], facts: &[Facts]) -> f64 {
    Condition::And(predicates.iter().map(lowered).collect()).share(facts)
}

/// Returns which share of rows satisfies a condition of the engine's.
pub(super) fn share(expr: &Arc<dyn PhysicalExpr>, facts: &[Facts]) -> f64 {
    condition(expr).share(facts)
}

/// A condition as far as it can be estimated.
enum Condition {
    Compare(usize, CompareOp, Option<f64>),
    Columns(CompareOp, usize, usize),
    In(usize, usize),
    Null(usize),
    Like,
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Is(bool),
    Unknown,
}

impl Condition {
    fn share(&self, facts: &[Facts]) -> f64 {
        let unknown = Facts::default();
        let of = |column: &usize| facts.get(*column).unwrap_or(&unknown);
        let share = match self {
            Self::Compare(column, CompareOp::Eq, value) => {
                let facts = of(column);
                let outside = value
                    .zip(facts.min.zip(facts.max))
                    .is_some_and(|(value, (min, max))| value < min || value > max);
                if outside { facts.equal() / 2.0 } else { facts.equal() }
            }
            Self::Compare(column, CompareOp::NotEq, _) => 1.0 - of(column).equal(),
            Self::Compare(..) => conjunction(std::slice::from_ref(self), facts),
            Self::Columns(CompareOp::Eq, one, other) => of(one).equal().min(of(other).equal()),
            Self::Columns(CompareOp::NotEq, ..) => 1.0 - EQUAL,
            Self::Columns(..) => COMPARED,
            Self::In(column, n_values) => (of(column).equal() * *n_values as f64).min(0.9),
            Self::Null(column) => of(column).nulls(),
            Self::Like => LIKE,
            Self::And(all) => conjunction(all, facts),
            Self::Or(any) => 1.0 - any.iter().map(|one| 1.0 - one.share(facts)).product::<f64>(),
            Self::Not(one) => 1.0 - one.share(facts),
            Self::Is(true) => 1.0,
            Self::Is(false) => 0.0,
            Self::Unknown => UNKNOWN,
        };
        share.clamp(0.0, 1.0)
    }
}

/// Takes conditions for independent of one another, except the two ends of a range.
fn conjunction(all: &[Condition], facts: &[Facts]) -> f64 {
    #[derive(Default)]
    struct Range {
        low: Option<f64>,
        high: Option<f64>,
        ends: i32,
    }
    let mut ranges: BTreeMap<usize, Range> = BTreeMap::new();
    let mut share = 1.0;
    for condition in all {
        match condition {
            Condition::Compare(column, op, value)
                if !matches!(op, CompareOp::Eq | CompareOp::NotEq) =>
            {
                let range = ranges.entry(*column).or_default();
                range.ends += 1;
                let Some(value) = *value else { continue };
                if matches!(op, CompareOp::Gt | CompareOp::GtEq) {
                    range.low = Some(range.low.map_or(value, |low| low.max(value)));
                } else {
                    range.high = Some(range.high.map_or(value, |high| high.min(value)));
                }
            }
            Condition::And(inner) => share *= conjunction(inner, facts),
            other => share *= other.share(facts),
        }
    }
    for (column, range) in ranges {
        let known = range.low.is_some() || range.high.is_some();
        let within = facts
            .get(column)
            .filter(|_| known)
            .and_then(|facts| facts.between(range.low, range.high));
        // A range beyond the bounds is more likely new than empty.
        share *= within.map_or_else(|| COMPARED.powi(range.ends.min(2)), |share| share.max(1e-4));
    }
    share
}

fn lowered(predicate: &Predicate) -> Condition {
    let not = |negated: bool, condition| match negated {
        true => Condition::Not(Box::new(condition)),
        false => condition,
    };
    match predicate {
        Predicate::Compare { column, op, value } => Condition::Compare(*column, *op, number(value)),
        Predicate::In { column, values, negated } => {
            not(*negated, Condition::In(*column, values.len()))
        }
        Predicate::IsNull { column, negated } => not(*negated, Condition::Null(*column)),
        Predicate::Like { negated, .. } => not(*negated, Condition::Like),
        Predicate::And(all) => Condition::And(all.iter().map(lowered).collect()),
        Predicate::Or(any) => Condition::Or(any.iter().map(lowered).collect()),
        Predicate::Not(one) => Condition::Not(Box::new(lowered(one))),
    }
}

fn condition(expr: &Arc<dyn PhysicalExpr>) -> Condition {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => {
                Condition::And(vec![condition(binary.left()), condition(binary.right())])
            }
            Operator::Or => {
                Condition::Or(vec![condition(binary.left()), condition(binary.right())])
            }
            op => compared(op, binary.left(), binary.right()),
        };
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let within = match column(list.expr()) {
            Some(column) => Condition::In(column, list.len()),
            None => Condition::Unknown,
        };
        return if list.negated() { Condition::Not(Box::new(within)) } else { within };
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        return match like.negated() {
            true => Condition::Not(Box::new(Condition::Like)),
            false => Condition::Like,
        };
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Condition::Not(Box::new(condition(not.arg())));
    }
    let null =
        |arg: &Arc<dyn PhysicalExpr>| column(arg).map_or(Condition::Unknown, Condition::Null);
    if let Some(is) = expr.downcast_ref::<IsNullExpr>() {
        return null(is.arg());
    }
    if let Some(is) = expr.downcast_ref::<IsNotNullExpr>() {
        return Condition::Not(Box::new(null(is.arg())));
    }
    match expr.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Boolean(value)) => Condition::Is(value.unwrap_or_default()),
        _ => Condition::Unknown,
    }
}

fn compared(
    op: &Operator,
    left: &Arc<dyn PhysicalExpr>,
    right: &Arc<dyn PhysicalExpr>,
) -> Condition {
    let op = match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::LtEq,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::GtEq,
        _ => return Condition::Unknown,
    };
    let value = |expr: &Arc<dyn PhysicalExpr>| {
        expr.downcast_ref::<Literal>().and_then(|literal| number(literal.value()))
    };
    match (column(left), column(right)) {
        (Some(left), Some(right)) => Condition::Columns(op, left, right),
        (Some(column), None) => Condition::Compare(column, op, value(right)),
        (None, Some(column)) => Condition::Compare(column, op.swapped(), value(left)),
        (None, None) => Condition::Unknown,
    }
}

/// Returns the column that an expression is, whatever type it is compared in.
fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => column(cast.expr()),
        None => expr.downcast_ref::<Column>().map(Column::index),
    }
}

/// Returns a value as a number, in which order is kept about as it is.
fn number(value: &ScalarValue) -> Option<f64> {
    let decimal = |digits: f64, scale: i8| digits / 10_f64.powi(i32::from(scale));
    Some(match value {
        ScalarValue::Int8(value) => f64::from((*value)?),
        ScalarValue::Int16(value) => f64::from((*value)?),
        ScalarValue::Int32(value) => f64::from((*value)?),
        ScalarValue::Int64(value) => (*value)? as f64,
        ScalarValue::UInt8(value) => f64::from((*value)?),
        ScalarValue::UInt16(value) => f64::from((*value)?),
        ScalarValue::UInt32(value) => f64::from((*value)?),
        ScalarValue::UInt64(value) => (*value)? as f64,
        ScalarValue::Float32(value) => f64::from((*value)?),
        ScalarValue::Float64(value) => (*value)?,
        ScalarValue::Decimal32(value, _, scale) => decimal(f64::from((*value)?), *scale),
        ScalarValue::Decimal64(value, _, scale) => decimal((*value)? as f64, *scale),
        ScalarValue::Decimal128(value, _, scale) => decimal((*value)? as f64, *scale),
        ScalarValue::Date32(value) => f64::from((*value)?) * DAY,
        ScalarValue::Date64(value) => (*value)? as f64 / 1e3,
        ScalarValue::TimestampSecond(value, _) => (*value)? as f64,
        ScalarValue::TimestampMillisecond(value, _) => (*value)? as f64 / 1e3,
        ScalarValue::TimestampMicrosecond(value, _) => (*value)? as f64 / 1e6,
        ScalarValue::TimestampNanosecond(value, _) => (*value)? as f64 / 1e9,
        _ => return None,
    })
    .filter(|number| number.is_finite())
}

fn step(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Decimal32(_, _, scale)
        | ScalarValue::Decimal64(_, _, scale)
        | ScalarValue::Decimal128(_, _, scale) => Some(10_f64.powi(-i32::from(*scale))),
        ScalarValue::Date32(_) | ScalarValue::Date64(_) => Some(DAY),
        ScalarValue::TimestampSecond(..) => Some(1.0),
        ScalarValue::TimestampMillisecond(..)
        | ScalarValue::TimestampMicrosecond(..)
        | ScalarValue::TimestampNanosecond(..) => None,
        value if value.data_type().is_integer() => Some(1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(low: i32, high: i32) -> Facts {
        Facts::of_estimate(&ColumnEstimate {
            min: Some(ScalarValue::Date32(Some(low))),
            max: Some(ScalarValue::Date32(Some(high))),
            ..ColumnEstimate::default()
        })
    }

    fn compare(column: usize, op: CompareOp, day: i32) -> Predicate {
        Predicate::Compare { column, op, value: ScalarValue::Date32(Some(day)) }
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn a_range_is_one_condition() {
        let facts = [days(0, 999)];
        let range = [compare(0, CompareOp::GtEq, 100), compare(0, CompareOp::LtEq, 199)];
        assert!(close(remaining(&range, &facts), 0.1));
        assert!(close(remaining(&range[..1], &facts), 0.9));
        assert!(close(remaining(&[compare(0, CompareOp::Eq, 7)], &facts), 0.001));
    }

    #[test]
    fn what_is_not_known_is_guessed() {
        let equal = Predicate::Compare {
            column: 0,
            op: CompareOp::Eq,
            value: ScalarValue::Utf8(Some("x".to_owned())),
        };
        assert!(close(remaining(std::slice::from_ref(&equal), &[]), EQUAL));
        assert!(close(remaining(&[equal], &[Facts::distinct(4.0)]), 0.25));
        let range = [compare(0, CompareOp::Gt, 1), compare(0, CompareOp::Lt, 5)];
        assert!(close(remaining(&range, &[]), COMPARED * COMPARED));
    }

    #[test]
    fn bounds_that_are_old_leave_some_rows() {
        let beyond = [compare(0, CompareOp::Gt, 5000)];
        assert!(remaining(&beyond, &[days(0, 999)]) > 0.0);
    }
}
