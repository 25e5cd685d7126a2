//! Filters that a scan learns while the statement runs: the keys of the small side of a join, the value of a scalar
//! subquery.
//!
//! [`RuntimeFilters`] is the rule that places them. The small side of a hash join is read first in any case;
//! `collect.rs` notes its keys on the way, up to a bound, in a [`JoinKeys`] that is told once the side is read to its
//! end. The scan below the other side asks for them before it starts to read: a [`RemoteScanExec`](crate::RemoteScanExec)
//! adds predicates to its request, a scan of files leaves out files and row groups. The join itself stays as it was,
//! so a filter that is missing, late or too wide costs time and never a row.
//!
//! Nothing waits in a circle: a scan waits only for joins on whose *other* side it lies, and that side comes before it
//! when a plan is walked build side first. The wait has an end besides.

mod collect;
mod files;
mod keys;
mod place;
mod rule;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::PhysicalExpr;

use crate::{CompareOp, Predicate};
use keys::{JoinKeys, KeySet};

pub use files::FilteredFilesExec;
pub use rule::{RuntimeFilterOptions, RuntimeFilters};

/// A filter on one column of a scan whose values are known only at run time.
#[derive(Debug, Clone)]
pub struct RuntimeFilter {
    /// Index into the columns that the scan gives.
    column: usize,
    /// The column's type: values are brought to it, exactly or not at all.
    data_type: DataType,
    origin: Origin,
}

/// Where the values come from.
#[derive(Debug, Clone)]
enum Origin {
    /// The key `index` of a join's other side.
    Keys { keys: Arc<JoinKeys>, index: usize },
    /// An expression without columns that holds a scalar subquery.
    Value { op: CompareOp, value: Arc<dyn PhysicalExpr> },
}

/// What a column must be for a row to count.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// Nothing is known.
    Anything,
    /// No row counts.
    Nothing,
    /// Sorted, without NULL, at least one.
    OneOf(Vec<ScalarValue>),
    Between(ScalarValue, ScalarValue),
    Compared(CompareOp, ScalarValue),
}

impl RuntimeFilter {
    /// Returns the index of the column in what the scan gives.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Waits for the values.
    async fn known(&self) -> Known {
        match &self.origin {
            Origin::Keys { keys, index } => {
                let told = keys.wait().await;
                match told.as_ref().and_then(|sets| sets.get(*index)) {
                    Some(set) => self.known_of(set),
                    None => Known::Anything,
                }
            }
            Origin::Value { op, value } => match evaluated(value) {
                Ok(value) if value.is_null() => Known::Nothing,
                Ok(value) => match exactly(&value, &self.data_type) {
                    Some(value) => Known::Compared(*op, value),
                    None => Known::Anything,
                },
                // The filter above the scan says what is wrong, if there is a row to say it of.
                Err(_) => Known::Anything,
            },
        }
    }

    fn known_of(&self, set: &KeySet) -> Known {
        match set {
            KeySet::Unknown => Known::Anything,
            KeySet::OneOf(values) => {
                // A key that the column's type cannot hold matches no row.
                let mut values = values
                    .iter()
                    .filter_map(|value| exactly(value, &self.data_type))
                    .collect::<Vec<_>>();
                values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
                if values.is_empty() { Known::Nothing } else { Known::OneOf(values) }
            }
            KeySet::Between(low, high) => {
                match (exactly(low, &self.data_type), exactly(high, &self.data_type)) {
                    (Some(low), Some(high)) => Known::Between(low, high),
                    _ => Known::Anything,
                }
            }
        }
    }
}

impl fmt::Display for RuntimeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Keys { .. } => write!(f, "keys of a join"),
            Origin::Value { op, .. } => write!(f, "{} a subquery's value", op.sql()),
        }
    }
}

impl Known {
    /// Returns the predicates that say the same of a column, the best first.
    fn predicates(&self, column: usize) -> Vec<Predicate> {
        let compare =
            |op, value: &ScalarValue| Predicate::Compare { column, op, value: value.clone() };
        let between = |low, high| {
            Predicate::And(vec![compare(CompareOp::GtEq, low), compare(CompareOp::LtEq, high)])
        };
        match self {
            Self::Anything | Self::Nothing => Vec::new(),
            Self::OneOf(values) => {
                let list = Predicate::In { column, values: values.clone(), negated: false };
                match (values.first(), values.last()) {
                    (Some(low), Some(high)) => vec![list, between(low, high)],
                    _ => vec![list],
                }
            }
            Self::Between(low, high) => vec![between(low, high)],
            Self::Compared(op, value) => vec![compare(*op, value)],
        }
    }

    /// Returns whether a row with this value may count.
    fn allows(&self, value: &ScalarValue) -> bool {
        if matches!(self, Self::Anything) {
            return true;
        }
        if value.is_null() || matches!(self, Self::Nothing) {
            return false;
        }
        let holds = |op: CompareOp, other: &ScalarValue| match (value.partial_cmp(other), op) {
            (None, _) => true,
            (Some(order), CompareOp::Eq) => order.is_eq(),
            (Some(order), CompareOp::NotEq) => order.is_ne(),
            (Some(order), CompareOp::Lt) => order.is_lt(),
            (Some(order), CompareOp::LtEq) => order.is_le(),
            (Some(order), CompareOp::Gt) => order.is_gt(),
            (Some(order), CompareOp::GtEq) => order.is_ge(),
        };
        match self {
            Self::Anything => true,
            Self::Nothing => false,
            Self::OneOf(values) => values.iter().any(|one| holds(CompareOp::Eq, one)),
            Self::Between(low, high) => holds(CompareOp::GtEq, low) && holds(CompareOp::LtEq, high),
            Self::Compared(op, other) => holds(*op, other),
        }
    }
}

/// What a remote scan adds to its request.
#[derive(Debug)]
pub(crate) enum Learned {
    /// No row counts, so nothing needs to be read.
    Nothing,
    Predicates(Vec<Predicate>),
}

/// Waits for the filters of a remote scan. `place` gives a column's index in the table, `supports` says what the source
/// answers as the engine does; what it does not is left out.
pub(crate) async fn learn(
    filters: &[RuntimeFilter],
    place: impl Fn(usize) -> Option<usize>,
    supports: impl Fn(&Predicate) -> bool,
) -> Learned {
    let mut predicates = Vec::new();
    for filter in filters {
        let known = filter.known().await;
        if known == Known::Nothing {
            return Learned::Nothing;
        }
        let Some(column) = place(filter.column) else { continue };
        predicates.extend(known.predicates(column).into_iter().find(&supports));
    }
    Learned::Predicates(predicates)
}

/// Values of a long list that are still shown.
const SHOWN_MAX: usize = 5;

/// Returns predicates to show instead of those that were sent, with long lists cut, and how many values the longest had.
pub(crate) fn shortened(predicates: &[Predicate]) -> (Vec<Predicate>, Option<usize>) {
    let mut longest: Option<usize> = None;
    let short = predicates.iter().map(|predicate| match predicate {
        Predicate::In { column, values, negated } if values.len() > SHOWN_MAX => {
            longest = longest.max(Some(values.len()));
            let values = values[..SHOWN_MAX].to_vec();
            Predicate::In { column: *column, values, negated: *negated }
        }
        other => other.clone(),
    });
    let short = short.collect();
    (short, longest)
}

fn evaluated(value: &Arc<dyn PhysicalExpr>) -> DfResult<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let values = value.evaluate(&row)?.into_array(1)?;
    ScalarValue::try_from_array(&values, 0)
}

/// Returns the value in another type if it is the same there and back.
fn exactly(value: &ScalarValue, wanted: &DataType) -> Option<ScalarValue> {
    if value.data_type() == *wanted {
        return Some(value.clone());
    }
    let cast = value.cast_to(wanted).ok().filter(|cast| !cast.is_null())?;
    let back = cast.cast_to(&value.data_type()).ok()?;
    (back == *value).then_some(cast)
}

/// Returns whether the engine compares values of this type as their order says, without exceptions such as NaN.
fn ordinary(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        )
}

/// Returns whether a cast gives every value another one and keeps their order: whole numbers and decimals that become
/// wider, and the kinds of text.
fn widens(from: &DataType, to: &DataType) -> bool {
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bits = |t: &DataType| {
        t.is_integer()
            .then(|| t.primitive_width().unwrap_or(0) * 8 - usize::from(t.is_signed_integer()))
    };
    if from == to || (text(from) && text(to)) {
        return true;
    }
    if let (DataType::Decimal128(from, scale), DataType::Decimal128(to, same)) = (from, to) {
        return scale == same && from <= to;
    }
    match (bits(from), bits(to)) {
        (Some(a), Some(b)) => a <= b && (to.is_signed_integer() || from.is_unsigned_integer()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_brought_to_the_columns_type_exactly_or_not_at_all() {
        let wide = ScalarValue::Int64(Some(5_000_000_000));
        assert_eq!(exactly(&wide, &DataType::Int32), None);
        let small = ScalarValue::Int64(Some(-7));
        assert_eq!(exactly(&small, &DataType::Int32), Some(ScalarValue::Int32(Some(-7))));
        let text = ScalarValue::Utf8View(Some("가 ".into()));
        assert_eq!(exactly(&text, &DataType::Utf8), Some(ScalarValue::Utf8(Some("가 ".into()))));
    }

    #[test]
    fn only_casts_that_keep_values_apart_and_in_order_are_looked_through() {
        assert!(widens(&DataType::Int32, &DataType::Int64));
        assert!(widens(&DataType::UInt32, &DataType::Int64));
        assert!(widens(&DataType::Utf8, &DataType::Utf8View));
        for (from, to) in [
            (DataType::Int64, DataType::Int32),
            (DataType::UInt64, DataType::Int64),
            (DataType::Int32, DataType::UInt64),
            (DataType::Int64, DataType::Float64),
            (DataType::Utf8, DataType::Int64),
            (DataType::Date32, DataType::Utf8),
        ] {
            assert!(!widens(&from, &to), "{from} to {to}");
        }
    }
}
