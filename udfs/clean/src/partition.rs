//! What is computed over the rows of one partition, in its order.
//!
//! NULL and, of numbers, NaN are missing. Statistics are those of pandas and scikit-learn (`fixtures/make.py`); those of scores and
//! quantiles are the kernels' of `ML.OUTLIER_SCORE`.

// A row's number indexes several columns at once.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    PrimitiveArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, nullif, partition, sort_to_indices, take};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::PartitionEvaluator;
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::transform::{
    deviations, mean_and_deviation, median_and_deviation, quantiles, quartiles, ranges_beyond,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fill {
    Mean,
    Median,
    Mode,
    Previous,
    Next,
    /// Between the rows before and after, each row one step; behind the last one its value, as pandas' `interpolate`.
    Linear,
    /// The argument of that number.
    Constant(usize),
}

impl Fill {
    pub(crate) fn needs_order(self) -> bool {
        matches!(self, Self::Previous | Self::Next | Self::Linear)
    }

    /// Makes values that are in no row.
    pub(crate) fn computes(self) -> bool {
        matches!(self, Self::Mean | Self::Median | Self::Linear)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Score {
    Deviations,
    Mad,
    Iqr,
}

/// Where a value is there: neither NULL nor NaN.
fn present(value: &ArrayRef) -> BooleanArray {
    let known = |row: usize| value.is_valid(row);
    let n = value.len();
    let bits: Vec<bool> = match value.data_type() {
        DataType::Float64 => {
            let numbers = value.as_primitive::<Float64Type>();
            (0..n).map(|row| known(row) && !numbers.value(row).is_nan()).collect()
        }
        DataType::Float32 => {
            let numbers = value.as_primitive::<Float32Type>();
            (0..n).map(|row| known(row) && !numbers.value(row).is_nan()).collect()
        }
        DataType::Float16 => {
            let numbers = value.as_primitive::<Float16Type>();
            (0..n).map(|row| known(row) && !numbers.value(row).is_nan()).collect()
        }
        DataType::Null => vec![false; n],
        _ => (0..n).map(known).collect(),
    };
    BooleanArray::from(bits)
}

pub(crate) fn fill(fill: Fill, value: &ArrayRef, arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let present = present(value);
    if present.true_count() == value.len() {
        return Ok(Arc::clone(value));
    }
    match fill {
        Fill::Constant(at) => {
            let constant =
                arguments.get(at).ok_or_else(|| Error::internal("fill_missing has no constant"))?;
            Ok(zip(&present, value, constant)?)
        }
        // Where nothing is there nothing is known.
        _ if present.true_count() == 0 => Ok(Arc::clone(value)),
        Fill::Mode => {
            let most = mode(value, &present)?;
            let rows =
                (0..value.len()).map(|row| if present.value(row) { row as u64 } else { most });
            Ok(take(value, &UInt64Array::from_iter_values(rows), None)?)
        }
        Fill::Previous | Fill::Next => {
            let n = value.len();
            let mut rows = vec![None; n];
            let mut last = None;
            let mut visit = |row: usize| {
                if present.value(row) {
                    last = Some(row as u64);
                }
                rows[row] = last.or(Some(row as u64));
            };
            if fill == Fill::Previous {
                (0..n).for_each(&mut visit)
            } else {
                (0..n).rev().for_each(&mut visit)
            }
            Ok(take(value, &UInt64Array::from(rows), None)?)
        }
        Fill::Mean | Fill::Median | Fill::Linear => match value.data_type() {
            DataType::Float64 => Ok(Arc::new(numbers(fill, value.as_primitive(), &present))),
            _ => exact(fill, value, &present),
        },
    }
}

/// Returns the row of the least of the most frequent values.
fn mode(value: &ArrayRef, present: &BooleanArray) -> Result<u64> {
    let missing = arrow::compute::not(present)?;
    let known = nullif(value, &missing)?;
    let order = sort_to_indices(&known, None, None)?;
    let sorted = take(&known, &order, None)?;
    let runs = partition(&[Arc::clone(&sorted)])?.ranges();
    let mut best: Option<&Range<usize>> = None;
    for run in &runs {
        if sorted.is_valid(run.start) && best.is_none_or(|best| run.len() > best.len()) {
            best = Some(run);
        }
    }
    let best = best.ok_or_else(|| Error::internal("no value is the most frequent"))?;
    Ok(u64::from(order.value(best.start)))
}

fn numbers(fill: Fill, value: &Float64Array, present: &BooleanArray) -> Float64Array {
    let rows = || (0..value.len()).filter(|row| present.value(*row));
    let known = || rows().map(|row| value.value(row));
    match fill {
        Fill::Linear => {
            let mut out = value.values().to_vec();
            let mut valid = vec![true; out.len()];
            let mut last: Option<usize> = None;
            for row in rows() {
                if let Some(before) = last {
                    let (from, to) = (value.value(before), value.value(row));
                    let steps = (row - before) as f64;
                    for between in before + 1..row {
                        let at = (between - before) as f64;
                        out[between] = from + (to - from) / steps * at;
                    }
                }
                last = Some(row);
            }
            // Before the first value nothing is known; behind the last one it stays.
            let first = rows().next().unwrap_or(out.len());
            for row in 0..first {
                valid[row] = value.is_valid(row);
            }
            if let Some(last) = last {
                out[last + 1..].fill(value.value(last));
            }
            Float64Array::new(out.into(), Some(NullBuffer::from(valid)))
        }
        _ => {
            let filling = match fill {
                Fill::Mean => known().sum::<f64>() / known().count() as f64,
                _ => quantiles(known().collect(), &[0.5])[0],
            };
            let each = (0..value.len())
                .map(|row| if present.value(row) { value.value(row) } else { filling });
            Float64Array::from_iter_values(each)
        }
    }
}

/// Computes with whole numbers: decimals are rounded to their scale, days and instants down.
fn exact(fill: Fill, value: &ArrayRef, present: &BooleanArray) -> Result<ArrayRef> {
    let data_type = value.data_type();
    let decimal = matches!(data_type, DataType::Decimal128(..));
    let integers: Vec<i128> = match data_type {
        DataType::Decimal128(..) => value.as_primitive::<Decimal128Type>().values().to_vec(),
        DataType::Date32 => {
            let days = value.as_primitive::<Date32Type>();
            days.values().iter().map(|day| i128::from(*day)).collect()
        }
        DataType::Timestamp(..) => {
            let instants = cast(value, &DataType::Int64)?;
            instants.as_primitive::<Int64Type>().values().iter().map(|at| i128::from(*at)).collect()
        }
        other => {
            return Err(Error::unsupported(format!(
                "fill_missing does not compute with values of type {other}"
            ))
            .with_hint("Cast the column to double precision first."));
        }
    };
    let overflow = || Error::new(ErrorKind::OutOfRange, "numeric field overflow in fill_missing");
    let divide = |sum: i128, n: i128| {
        if decimal {
            // Half away from zero, as numeric rounds.
            let (whole, rest) = (sum / n, sum % n);
            whole + if rest.abs() * 2 >= n { rest.signum() } else { 0 }
        } else {
            sum.div_euclid(n)
        }
    };
    let rows = || (0..value.len()).filter(|row| present.value(*row));
    let mut out =
        (0..value.len()).map(|row| present.value(row).then(|| integers[row])).collect::<Vec<_>>();
    match fill {
        Fill::Linear => {
            let mut last: Option<usize> = None;
            for row in rows() {
                if let Some(before) = last {
                    let (from, to) = (integers[before], integers[row]);
                    let step = to.checked_sub(from).ok_or_else(overflow)?;
                    for between in before + 1..row {
                        let at = (between - before) as i128;
                        let moved = step.checked_mul(at).ok_or_else(overflow)?;
                        out[between] = Some(from + divide(moved, (row - before) as i128));
                    }
                }
                last = Some(row);
            }
            if let Some(last) = last {
                out[last + 1..].fill(Some(integers[last]));
            }
        }
        _ => {
            let mut known = rows().map(|row| integers[row]).collect::<Vec<_>>();
            let filling = if fill == Fill::Mean {
                let sum = known.iter().try_fold(0_i128, |sum, value| sum.checked_add(*value));
                divide(sum.ok_or_else(overflow)?, known.len() as i128)
            } else {
                known.sort_unstable();
                let middle = known.len() / 2;
                match known.len() % 2 {
                    1 => known[middle],
                    _ => divide(
                        known[middle - 1].checked_add(known[middle]).ok_or_else(overflow)?,
                        2,
                    ),
                }
            };
            out.iter_mut().for_each(|value| *value = value.or(Some(filling)));
        }
    }
    Ok(match data_type {
        DataType::Decimal128(precision, scale) => {
            let array =
                Decimal128Array::from_iter(out).with_precision_and_scale(*precision, *scale)?;
            Arc::new(array)
        }
        DataType::Date32 => {
            let days = out.into_iter().map(|day| day.and_then(|day| i32::try_from(day).ok()));
            Arc::new(days.collect::<PrimitiveArray<Date32Type>>())
        }
        other => {
            let instants = out.into_iter().map(|at| at.and_then(|at| i64::try_from(at).ok()));
            cast(&instants.collect::<Int64Array>(), other)?
        }
    })
}

/// NULL stays NULL and NaN stays NaN; neither is looked at.
pub(crate) fn score(score: Score, value: &ArrayRef) -> Result<ArrayRef> {
    let value = cast(value, &DataType::Float64)?;
    let value = value.as_primitive::<Float64Type>();
    let known = value.iter().flatten().filter(|value| !value.is_nan()).collect::<Vec<_>>();
    if known.is_empty() {
        return Ok(Arc::new(value.clone()));
    }
    let (first, second) = match score {
        Score::Deviations => mean_and_deviation(&known),
        Score::Mad => median_and_deviation(&known),
        Score::Iqr => quartiles(&known),
    };
    let each = |value: f64| match score {
        Score::Deviations | Score::Mad => deviations(value, first, second),
        Score::Iqr => ranges_beyond(value, first, second),
    };
    Ok(Arc::new(value.unary::<_, Float64Type>(each)))
}

/// Changes a share of the least and greatest values, counted as SciPy does: `int(share * n)`.
pub(crate) fn winsorize(value: &ArrayRef, low: f64, high: f64) -> Result<ArrayRef> {
    let present = present(value);
    let n = present.true_count();
    if n == 0 {
        return Ok(Arc::clone(value));
    }
    let missing = arrow::compute::not(&present)?;
    let order = sort_to_indices(&nullif(value, &missing)?, None, None)?;
    // What is missing is sorted to one end.
    let sorted = order
        .values()
        .iter()
        .copied()
        .filter(|row| present.value(*row as usize))
        .collect::<Vec<_>>();
    let from = (low * n as f64) as usize;
    let to = n - (high * n as f64) as usize;
    if from >= to {
        return Ok(Arc::clone(value));
    }
    let mut rows = (0..value.len() as u64).collect::<Vec<_>>();
    sorted[..from].iter().for_each(|row| rows[*row as usize] = u64::from(sorted[from]));
    sorted[to..].iter().for_each(|row| rows[*row as usize] = u64::from(sorted[to - 1]));
    Ok(take(value, &UInt64Array::from(rows), None)?)
}

pub(crate) fn quantile_clip(value: &ArrayRef, low: f64, high: f64) -> Result<ArrayRef> {
    if let DataType::Decimal128(precision, scale) = value.data_type() {
        let values = value.as_primitive::<Decimal128Type>();
        let mut sorted = values.iter().flatten().collect::<Vec<_>>();
        if sorted.is_empty() {
            return Ok(Arc::clone(value));
        }
        sorted.sort_unstable();
        let low = whole_quantile(&sorted, low);
        let high = whole_quantile(&sorted, high).max(low);
        let clipped = values.unary::<_, Decimal128Type>(|x| x.clamp(low, high));
        return Ok(Arc::new(clipped.with_precision_and_scale(*precision, *scale)?));
    }
    let numbers = cast(value, &DataType::Float64)?;
    let known =
        numbers.as_primitive::<Float64Type>().iter().flatten().filter(|value| !value.is_nan());
    let known = known.collect::<Vec<_>>();
    if known.is_empty() {
        return Ok(Arc::clone(value));
    }
    let bounds = quantiles(known, &[low, high]);
    // Between infinities there is no quantile, and no bound then, as in pandas.
    let bound = |quantile: f64, none: f64| if quantile.is_nan() { none } else { quantile };
    let low = bound(bounds[0], f64::NEG_INFINITY);
    let high = bound(bounds[1], f64::INFINITY).max(low);
    let each = |x: f64| if x.is_nan() { x } else { x.clamp(low, high) };
    Ok(Arc::new(numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(each)))
}

/// A quantile of whole numbers, which a double need not hold: between two of them in proportion, half away from zero.
fn whole_quantile(sorted: &[i128], quantile: f64) -> i128 {
    let last = sorted.len().saturating_sub(1);
    let place = quantile.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let share = place - below as f64;
    let low = sorted[below];
    let step = sorted.get(below + 1).and_then(|next| next.checked_sub(low)).unwrap_or(0);
    let moved = step as f64 * share;
    let (at, rest) = (low + moved.floor() as i128, moved - moved.floor());
    if rest > 0.5 || (rest == 0.5 && at >= 0) { at + 1 } else { at }
}

/// Numbers sessions row by row, so that no partition is held.
#[derive(Debug)]
pub(crate) struct Sessions {
    gap: i64,
    last: Option<i64>,
    number: i64,
}

impl Sessions {
    pub(crate) fn new(gap: i64) -> Self {
        Self { gap, last: None, number: 0 }
    }

    fn next(&mut self, at: i64) -> i64 {
        let further = self
            .last
            .is_some_and(|last| u64::try_from(self.gap).is_ok_and(|gap| last.abs_diff(at) <= gap));
        self.last = Some(at);
        if !further {
            self.number += 1;
        }
        self.number
    }

    fn instants(value: &ArrayRef) -> Result<ArrayRef> {
        Ok(match value.data_type() {
            DataType::Int64 => Arc::clone(value),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let instants = value.as_primitive::<TimestampMicrosecondType>();
                Arc::new(instants.reinterpret_cast::<Int64Type>())
            }
            other => return Err(Error::internal(format!("sessions of type {other}"))),
        })
    }
}

impl PartitionEvaluator for Sessions {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> DfResult<ArrayRef> {
        let instants = Self::instants(&values[0])?;
        let instants = instants.as_primitive::<Int64Type>();
        let numbers = instants.iter().map(|at| at.map(|at| self.next(at)));
        Ok(Arc::new(numbers.collect::<Int64Array>()))
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> DfResult<ScalarValue> {
        let instant = Self::instants(&values[0].slice(range.start, 1))?;
        let instant = instant.as_primitive::<Int64Type>();
        let number = instant.is_valid(0).then(|| self.next(instant.value(0)));
        Ok(ScalarValue::Int64(number))
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}

/// Carries values on row by row, so that no partition is held.
#[derive(Debug, Default)]
pub(crate) struct Previous {
    last: Option<ScalarValue>,
}

impl PartitionEvaluator for Previous {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> DfResult<ArrayRef> {
        Ok(fill(Fill::Previous, &values[0], values)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> DfResult<ScalarValue> {
        let value = values[0].slice(range.start, 1);
        if present(&value).value(0) {
            let value = ScalarValue::try_from_array(&value, 0)?;
            self.last = Some(value.clone());
            return Ok(value);
        }
        match &self.last {
            Some(last) => Ok(last.clone()),
            None => ScalarValue::try_from_array(&value, 0),
        }
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}
