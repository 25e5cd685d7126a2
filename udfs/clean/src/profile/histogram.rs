//! How the values of a column lie: bins of equal width, counted exactly in one pass.
//!
//! The width is a power of two, and each bin begins at a multiple of it. When a value lies outside of what 64 bins cover, the
//! width doubles and each two bins become one: nothing has to be counted again, and the bins of two partitions fit.

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, TimeUnit};
use chrono::{DateTime, NaiveDate, TimeDelta};
use datafusion::common::ScalarValue;
use maru_core::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::Sketch;

const BINS_MAX: i64 = 64;
/// Bins of the result, at most.
const SHOWN_MAX: i64 = 16;
/// Bins begin at most so many bits finer than the first value, so that their numbers stay whole numbers.
const BITS: i32 = 40;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Counts of the bins `first`, `first + 1`, …, of which number `n` begins at `n * 2^exponent`. NaN and infinities are left out.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Histogram {
    exponent: i32,
    first: i64,
    counts: Vec<u64>,
    /// Whether all values are whole, so that no bin need be narrower than 1.
    whole: bool,
}

impl Histogram {
    fn add_value(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let bits = match value {
            0.0 => i32::MIN,
            value => value.abs().log2().ceil() as i32,
        };
        let least = bits.saturating_sub(BITS).max(if self.whole { 0 } else { -1000 });
        if self.counts.is_empty() {
            self.exponent = least;
        } else if self.exponent < least {
            self.widen(least - self.exponent);
        }
        let bin = (value / 2f64.powi(self.exponent)).floor() as i64;
        self.count(bin, 1);
    }

    /// Counts in a bin of today's width.
    fn count(&mut self, bin: i64, n: u64) {
        if self.counts.is_empty() {
            (self.first, self.counts) = (bin, vec![n]);
            return;
        }
        let mut bin = bin;
        while self.last().max(bin) - self.first.min(bin) >= BINS_MAX {
            self.widen(1);
            bin >>= 1;
        }
        if bin < self.first {
            let before = (self.first - bin) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.first = bin;
        }
        let at = (bin - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += n;
        }
    }

    fn last(&self) -> i64 {
        self.first + self.counts.len() as i64 - 1
    }

    /// Doubles the width of the bins `times` times.
    fn widen(&mut self, times: i32) {
        let shift = times.clamp(0, 63);
        let (old, first) = (std::mem::take(&mut self.counts), self.first);
        self.exponent += times;
        self.first = first >> shift;
        for (bin, n) in (first..).zip(old) {
            let at = ((bin >> shift) - self.first) as usize;
            if at >= self.counts.len() {
                self.counts.resize(at + 1, 0);
            }
            if let Some(count) = self.counts.get_mut(at) {
                *count += n;
            }
        }
    }

    /// The bins as a picture of as many signs.
    fn shape(&self) -> String {
        let most = self.counts.iter().copied().max().unwrap_or(0).max(1);
        let sign = |n: &u64| match n {
            0 => ' ',
            n => LEVELS[((n * 7).div_ceil(most) as usize).min(7)],
        };
        self.counts.iter().map(sign).collect()
    }
}

fn bins() -> Fields {
    Fields::from(vec![
        Field::new("low", DataType::Utf8, false),
        Field::new("high", DataType::Utf8, false),
        Field::new("n", DataType::Int64, false),
    ])
}

fn fields() -> Fields {
    let bin = Arc::new(Field::new_list_field(DataType::Struct(bins()), false));
    Fields::from(vec![
        Field::new("shape", DataType::Utf8, true),
        Field::new("bins", DataType::List(bin), true),
    ])
}

impl Sketch for Histogram {
    const NAME: &'static str = "histogram";
    const SYNTAX: &'static str = "histogram(number, date or timestamp)";
    const DOC: &'static str = "Counts the values of a column in up to 16 bins of equal width (low <= value < high), as {shape, bins: [{low, high, n}]}; shape is a picture of it, NaN and infinities are left out.";

    fn takes(argument: &DataType) -> Option<DataType> {
        match argument {
            DataType::Timestamp(_, _) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
            DataType::Date32 | DataType::Int64 | DataType::Float64 => Some(argument.clone()),
            DataType::Date64 => Some(DataType::Date32),
            DataType::Null => Some(DataType::Float64),
            other if other.is_integer() && *other != DataType::UInt64 => Some(DataType::Int64),
            other if other.is_numeric() => Some(DataType::Float64),
            _ => None,
        }
    }

    fn gives() -> DataType {
        DataType::Struct(fields())
    }

    fn add(&mut self, values: &ArrayRef) {
        self.whole = !values.data_type().is_floating();
        let numbers = match values.data_type() {
            DataType::Date32 => arrow::compute::cast(values, &DataType::Int32)
                .and_then(|days| arrow::compute::cast(&days, &DataType::Float64)),
            DataType::Timestamp(_, _) => arrow::compute::cast(values, &DataType::Int64)
                .and_then(|micros| arrow::compute::cast(&micros, &DataType::Float64)),
            _ => arrow::compute::cast(values, &DataType::Float64),
        };
        for value in
            numbers.iter().flat_map(|numbers| numbers.as_primitive::<Float64Type>()).flatten()
        {
            self.add_value(value);
        }
    }

    fn merge(&mut self, mut other: Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            *self = other;
            return;
        }
        let width = self.exponent.max(other.exponent);
        self.widen(width - self.exponent);
        other.widen(width - other.exponent);
        for (bin, n) in (other.first..).zip(other.counts) {
            // The width may have grown since.
            self.count(bin >> (self.exponent - width).clamp(0, 63), n);
        }
    }

    fn value(&self, argument: &DataType) -> Result<ScalarValue> {
        if self.counts.is_empty() {
            return Ok(ScalarValue::try_from(&Self::gives())?);
        }
        let mut shown = self.clone();
        while shown.counts.len() as i64 > SHOWN_MAX {
            shown.widen(1);
        }
        let edge = |bin: i64| written(bin as f64 * 2f64.powi(shown.exponent), argument);
        let full = (shown.first..).zip(&shown.counts).filter(|(_, n)| **n > 0);
        let full = full.collect::<Vec<_>>();
        let rows = StructArray::try_new(
            bins(),
            vec![
                Arc::new(full.iter().map(|(bin, _)| Some(edge(*bin))).collect::<StringArray>()),
                Arc::new(full.iter().map(|(bin, _)| Some(edge(bin + 1))).collect::<StringArray>()),
                Arc::new(full.iter().map(|(_, n)| **n as i64).collect::<Int64Array>()),
            ],
            None,
        )?;
        let whole = OffsetBuffer::from_lengths([full.len()]);
        let item = Arc::new(Field::new_list_field(DataType::Struct(bins()), false));
        let list = ListArray::try_new(item, whole, Arc::new(rows), None)?;
        let shape = StringArray::from(vec![shown.shape()]);
        let row = StructArray::try_new(fields(), vec![Arc::new(shape), Arc::new(list)], None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn size_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }
}

/// Writes the edge of a bin as a value of the column.
fn written(edge: f64, argument: &DataType) -> String {
    let moment = match argument {
        DataType::Date32 => TimeDelta::try_days(edge as i64)
            .and_then(|days| NaiveDate::default().checked_add_signed(days))
            .map(|date| date.to_string()),
        DataType::Timestamp(_, _) => DateTime::from_timestamp_micros(edge as i64)
            .map(|moment| moment.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
        _ => None,
    };
    moment.unwrap_or_else(|| edge.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: impl IntoIterator<Item = f64>, whole: bool) -> Histogram {
        let mut histogram = Histogram { whole, ..Histogram::default() };
        values.into_iter().for_each(|value| histogram.add_value(value));
        histogram
    }

    /// Edges and counts of the bins that are not empty.
    fn full(histogram: &Histogram) -> Vec<(f64, u64)> {
        let bins = (histogram.first..).zip(&histogram.counts).filter(|(_, n)| **n > 0);
        bins.map(|(bin, n)| (bin as f64 * 2f64.powi(histogram.exponent), *n)).collect()
    }

    #[test]
    fn every_value_is_in_its_bin_however_they_come() {
        let values =
            (0..5000).map(|n| f64::from(n * 7919 % 5000) * 0.37 - 700.0).collect::<Vec<_>>();
        let whole = counted(values.clone(), false);
        let mut parts = Histogram::default();
        for part in values.chunks(613).rev() {
            parts.merge(counted(part.to_vec(), false));
        }
        assert_eq!(full(&whole), full(&parts));
        let width = 2f64.powi(whole.exponent);
        for (low, n) in full(&whole) {
            let inside = values.iter().filter(|value| (low..low + width).contains(*value)).count();
            assert_eq!(inside as u64, n, "from {low}");
        }
        assert!(whole.counts.len() as i64 <= BINS_MAX);
    }

    #[test]
    fn strange_values() {
        let strange = [f64::NAN, f64::INFINITY, 0.0, -0.0, 1e300, -1e300, 5e-324];
        assert_eq!(full(&counted(strange, false)).iter().map(|(_, n)| n).sum::<u64>(), 5);
        assert_eq!(full(&counted([7.0, 7.0], true)), [(7.0, 2)]);
        assert_eq!(counted([1.0, 2.0, 2.0, 4.0], true).shape(), "▅█ ▅");
        assert_eq!(full(&Histogram::default()), []);
    }
}
