//! The values that a column holds most often.
//!
//! Source: Misra and Gries, "Finding repeated elements", 1982: when there are more values than counters, all counts are lowered
//! by as much as it takes to free some. A count is then at least the true one less all that was lowered.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::Sketch;

const COUNTERS_MAX: usize = 4096;
const BYTES_MAX: usize = 4 << 20;
const SHOWN_MAX: usize = 10;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TopValues {
    counts: HashMap<String, u64>,
    /// Bytes of the values.
    bytes: usize,
    /// By how much a count may be too low.
    lowered: u64,
}

impl TopValues {
    fn count(&mut self, value: &str, n: u64) {
        if let Some(count) = self.counts.get_mut(value) {
            *count += n;
            return;
        }
        self.counts.insert(value.to_owned(), n);
        self.bytes += value.len();
        while self.counts.len() > COUNTERS_MAX || self.bytes > BYTES_MAX {
            self.lower();
        }
    }

    /// Frees half of the counters, or more.
    fn lower(&mut self) {
        let mut counts = self.counts.values().copied().collect::<Vec<_>>();
        let middle = counts.len() / 2;
        let (_, by, _) = counts.select_nth_unstable(middle);
        let by = *by;
        self.lowered += by;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(by);
            *count > 0
        });
        self.bytes = self.counts.keys().map(String::len).sum();
    }

    /// The most frequent first; of values that are as frequent, the least. Those that chance may have put there are left out.
    fn top(&self) -> Vec<(&str, u64)> {
        let sure = self.counts.iter().filter(|(_, count)| **count > self.lowered);
        let mut top = sure.map(|(value, count)| (value.as_str(), *count)).collect::<Vec<_>>();
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(SHOWN_MAX);
        top
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("value", DataType::Utf8, false),
        Field::new("n", DataType::Int64, false),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), false))
}

impl Sketch for TopValues {
    const NAME: &'static str = "top_values";
    const SYNTAX: &'static str = "top_values(value)";
    const DOC: &'static str = "Lists the ten most frequent values of a column as text, with their counts: [{value, n}]. Counts are exact for up to 4,096 different values; of more, only those that are frequent for certain are listed, with the least that their count can be.";

    fn takes(argument: &DataType) -> Option<DataType> {
        (!argument.is_nested()).then_some(DataType::Utf8View)
    }

    fn gives() -> DataType {
        DataType::List(item())
    }

    fn add(&mut self, values: &ArrayRef) {
        for value in values.as_string_view().iter().flatten() {
            self.count(value, 1);
        }
    }

    fn merge(&mut self, other: Self) {
        self.lowered += other.lowered;
        for (value, n) in other.counts {
            self.count(&value, n);
        }
    }

    fn value(&self, _: &DataType) -> Result<ScalarValue> {
        let top = self.top();
        if top.is_empty() {
            return Ok(ScalarValue::try_from(&Self::gives())?);
        }
        let rows = StructArray::try_new(
            fields(),
            vec![
                Arc::new(top.iter().map(|(value, _)| Some(*value)).collect::<StringArray>()),
                Arc::new(top.iter().map(|(_, n)| *n as i64).collect::<Int64Array>()),
            ],
            None,
        )?;
        let whole = OffsetBuffer::from_lengths([top.len()]);
        let list = ListArray::try_new(item(), whole, Arc::new(rows), None)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn size_bytes(&self) -> usize {
        self.bytes + self.counts.capacity() * size_of::<(String, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_counted_exactly() {
        let mut sketch = TopValues::default();
        for n in 0..1000u64 {
            sketch.count(&format!("{}", n % 7), 1);
        }
        assert_eq!(sketch.top()[..2], [("0", 143), ("1", 143)]);
        assert_eq!((sketch.top().len(), sketch.lowered), (7, 0));
    }

    #[test]
    fn what_is_frequent_is_found_among_many() {
        let mut parts = (0..4).map(|part| {
            let mut sketch = TopValues::default();
            for n in 0..20_000u64 {
                sketch.count(&format!("rare {part} {n}"), 1);
                if n % 4 == 0 {
                    sketch.count("often", 1);
                }
            }
            sketch
        });
        let mut whole = parts.next().unwrap();
        parts.for_each(|part| whole.merge(part));
        let top = whole.top();
        assert_eq!((top.len(), top[0].0), (1, "often"));
        assert!(
            top[0].1 <= 20_000 && top[0].1 + whole.lowered >= 20_000,
            "{top:?} {}",
            whole.lowered
        );
        assert!(whole.counts.len() <= COUNTERS_MAX);
    }
}
