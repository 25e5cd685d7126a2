//! Stripes that cannot hold a wanted row, by the bounds that the file tells of each.
//!
//! Only bounds that mean what the engine's comparison means are used: whole numbers, dates, decimals and text by its
//! bytes. Those of floats leave NaN out, those of `char` its padding.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, UInt64Type};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use orc_rust::proto::ColumnStatistics;
use orc_rust::proto::r#type::Kind;

use super::stripe::names_of;
use super::tail::Tail;
use crate::file_table::lengths::TextLengths;

/// The first day that both calendars count alike.
const FIRST_GREGORIAN: i32 = -141_427;
/// Bounds of times are in milliseconds, and writers disagree about the zone they are in: two days to either side hold
/// every reading of them.
const SLACK_MICROS: i64 = 2 * 86_400_000_000;

/// Returns for each stripe whether a row in it may satisfy `filter`, which speaks of the columns of `table`; what follows the
/// file's columns there are those of the path. Of texts that have a length the file tells nothing.
pub(super) fn stripes(
    tail: &Tail,
    table: &SchemaRef,
    n_file_columns: usize,
    lengths: Option<&TextLengths>,
    filter: &Arc<dyn PhysicalExpr>,
) -> DfResult<Vec<bool>> {
    let n_stripes = tail.metadata.stripe_metadatas().len();
    let all = vec![true; n_stripes];
    if tail.statistics.len() != n_stripes {
        return Ok(all);
    }
    // What cannot be decided by bounds keeps every stripe.
    let Ok(predicate) = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(table))
        .try_build(Arc::clone(filter))
    else {
        return Ok(all);
    };
    let file_columns = (0..n_file_columns.min(table.fields().len())).collect::<Vec<_>>();
    let mut numbers = numbers_of(&table.project(&file_columns)?, tail);
    for (field, number) in table.fields().iter().zip(&mut numbers) {
        if lengths.is_some_and(|lengths| lengths.has(field.name())) {
            *number = None;
        }
    }
    predicate.prune(&Bounds { tail, table, numbers })
}

/// Returns for each column of a table its number in the file.
fn numbers_of(table: &Schema, tail: &Tail) -> Vec<Option<usize>> {
    let children = tail.metadata.root_data_type().children();
    let number = |name: &Option<String>| {
        let child = children.iter().find(|child| Some(child.name()) == name.as_deref());
        child.map(|child| child.data_type().column_index())
    };
    names_of(table, &tail.schema).iter().map(number).collect()
}

/// Returns what the whole file tells: how many rows it has, exactly, since its stripes are held to it, and bounds that help
/// to estimate. Bounds of text may be cut off and those of times are wide, so none of them is an answer.
pub(super) fn statistics(tail: &Tail, file_schema: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(file_schema);
    let n_rows = tail.metadata.number_of_rows();
    let Ok(n_rows) = usize::try_from(n_rows) else { return statistics };
    statistics.num_rows = Precision::Exact(n_rows);
    if tail.statistics.len() != tail.metadata.stripe_metadatas().len() {
        return statistics;
    }
    let bounds = Bounds { tail, table: file_schema, numbers: numbers_of(file_schema, tail) };
    for (field, told) in file_schema.fields().iter().zip(&mut statistics.column_statistics) {
        let column = Column::new_unqualified(field.name());
        told.min_value = extreme(bounds.min_values(&column), |value, least| value < least);
        told.max_value = extreme(bounds.max_values(&column), |value, most| value > most);
        let nulls = bounds.null_counts(&column);
        let nulls = nulls.as_deref().and_then(|nulls| nulls.as_primitive_opt::<UInt64Type>());
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() == 0) {
            let sum = nulls.values().iter().sum::<u64>();
            told.null_count = usize::try_from(sum).map_or(Precision::Absent, Precision::Inexact);
        }
    }
    statistics
}

/// Returns the extreme of what stripes tell, if each tells one.
fn extreme(
    values: Option<ArrayRef>,
    beats: fn(&ScalarValue, &ScalarValue) -> bool,
) -> Precision<ScalarValue> {
    let Some(values) = values.filter(|values| values.null_count() == 0) else {
        return Precision::Absent;
    };
    let values = (0..values.len()).map(|index| ScalarValue::try_from_array(&values, index));
    let Ok(values) = values.collect::<DfResult<Vec<_>>>() else { return Precision::Absent };
    let extreme = values.into_iter().reduce(|best, value| match beats(&value, &best) {
        true => value,
        false => best,
    });
    extreme.map_or(Precision::Absent, Precision::Inexact)
}

struct Bounds<'a> {
    tail: &'a Tail,
    table: &'a SchemaRef,
    /// For each of the table's columns that may be in files, its number in this one.
    numbers: Vec<Option<usize>>,
}

impl Bounds<'_> {
    /// Returns a column of the table, and its number in the file.
    fn find(&self, column: &Column) -> Option<(&DataType, usize)> {
        let index = self.table.index_of(&column.name).ok()?;
        let number = self.numbers.get(index).copied().flatten()?;
        Some((self.table.field(index).data_type(), number))
    }

    fn values(
        &self,
        column: &Column,
        of: fn(&DataType, Kind, &ColumnStatistics, bool) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let (data_type, number) = self.find(column)?;
        let kind = *self.tail.kinds.get(number)?;
        let null = ScalarValue::try_new_null(data_type).ok()?;
        let values = self.tail.statistics.iter().map(|stripe| {
            let told = stripe.col_stats.get(number);
            let bound = told.and_then(|told| of(data_type, kind, told, self.tail.hybrid));
            bound.unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |data_type, kind, told, hybrid| {
            bound(data_type, kind, told, hybrid, false)
        })
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |data_type, kind, told, hybrid| {
            bound(data_type, kind, told, hybrid, true)
        })
    }

    fn num_containers(&self) -> usize {
        self.tail.statistics.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (_, number) = self.find(column)?;
        let stripes = self.tail.metadata.stripe_metadatas();
        let counts = self.tail.statistics.iter().zip(stripes).map(|(told, stripe)| {
            let n_values = told.col_stats.get(number)?.number_of_values?;
            stripe.number_of_rows().checked_sub(n_values)
        });
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let stripes = self.tail.metadata.stripe_metadatas().iter();
        Some(Arc::new(UInt64Array::from_iter_values(stripes.map(|stripe| stripe.number_of_rows()))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// Returns the least or the greatest value that a stripe may hold, in the type of the table's column.
fn bound(
    data_type: &DataType,
    kind: Kind,
    told: &ColumnStatistics,
    hybrid: bool,
    greatest: bool,
) -> Option<ScalarValue> {
    let either = |least: Option<i64>, most: Option<i64>| if greatest { most } else { least };
    match (kind, data_type) {
        (Kind::Byte | Kind::Short | Kind::Int | Kind::Long, _) if data_type.is_signed_integer() => {
            let told = told.int_statistics.as_ref()?;
            let value = ScalarValue::Int64(Some(either(told.minimum, told.maximum)?));
            // A bound that the table's type cannot hold is an error to read, not one to leave out.
            value.cast_to(data_type).ok().filter(|value| !value.is_null())
        }
        (Kind::Date, DataType::Date32) => {
            let told = told.date_statistics.as_ref()?;
            let (least, most) = (told.minimum?, told.maximum?);
            let counted_alike = !hybrid || least >= FIRST_GREGORIAN;
            counted_alike.then_some(ScalarValue::Date32(Some(if greatest { most } else { least })))
        }
        (Kind::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let told = told.timestamp_statistics.as_ref()?;
            let (least, most) = (told.minimum_utc?, told.maximum_utc?);
            let first = i64::from(FIRST_GREGORIAN).checked_mul(86_400_000)?;
            if hybrid && least < first {
                return None;
            }
            let slack = if greatest { SLACK_MICROS } else { -SLACK_MICROS };
            let micros = either(Some(least), Some(most))?.checked_mul(1000)?.checked_add(slack)?;
            Some(ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()))
        }
        (Kind::String | Kind::Varchar, DataType::Utf8 | DataType::Utf8View) => {
            let told = told.string_statistics.as_ref()?;
            let text = match greatest {
                true => told.maximum.as_ref().or(told.upper_bound.as_ref()),
                false => told.minimum.as_ref().or(told.lower_bound.as_ref()),
            };
            let text = Some(text?.clone());
            Some(match data_type {
                DataType::Utf8View => ScalarValue::Utf8View(text),
                _ => ScalarValue::Utf8(text),
            })
        }
        (Kind::Decimal, DataType::Decimal128(precision, scale)) => {
            let told = told.decimal_statistics.as_ref()?;
            let text = if greatest { told.maximum.as_ref() } else { told.minimum.as_ref() };
            let value = exact(text?, *scale)?;
            Some(ScalarValue::Decimal128(Some(value), *precision, *scale))
        }
        _ => None,
    }
}

/// Reads a decimal as it is written; `None` if it has more places than `scale`.
fn exact(text: &str, scale: i8) -> Option<i128> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let places = places.trim_end_matches('0');
    let missing = usize::try_from(scale).ok()?.checked_sub(places.len())?;
    let digits = format!("{whole}{places}{}", "0".repeat(missing));
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_decimals_exactly_or_not_at_all() {
        assert_eq!(exact("-12.50", 2), Some(-1250));
        assert_eq!(exact("-0.5", 2), Some(-50));
        assert_eq!(exact("7", 3), Some(7000));
        assert_eq!(exact("1.234", 2), None);
        assert_eq!(exact("1e3", 2), None);
    }
}
