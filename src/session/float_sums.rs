//! Sums and averages of floats that are beyond all floats: 22003, as in PostgreSQL, and no infinity. Of infinite values the sum
//! is what it is.
//!
//! A sum never comes back from an infinity, so that it is enough to look at what a group gives in the end, or hands on.
//!
//! Source: PostgreSQL 16, `float8_pl`, `float8_accum`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::Float64Type;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::arithmetic::beyond;

/// Returns whether floats have an infinity among them. By parts, so that the processor can look at several at once.
fn has_infinite(array: &ArrayRef) -> bool {
    array.as_primitive_opt::<Float64Type>().is_some_and(|floats| {
        let mut parts = floats.values().chunks(64);
        parts.any(|part| part.iter().fold(false, |found, value| found | value.is_infinite()))
    })
}

/// The accumulator of one group, whose results are looked at. Its state has floats, if any, in columns of their own.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: Box<dyn Accumulator>,
    /// Whether one of the values was infinite.
    infinite: bool,
}

impl Bounded {
    pub(super) fn new(inner: Box<dyn Accumulator>) -> Self {
        Self { inner, infinite: false }
    }

    fn look(&self, value: &ScalarValue) -> DfResult<()> {
        match value {
            ScalarValue::Float64(Some(value)) if value.is_infinite() && !self.infinite => {
                Err(beyond(true).into())
            }
            _ => Ok(()),
        }
    }
}

impl Accumulator for Bounded {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.infinite |= values.iter().any(has_infinite);
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let value = self.inner.evaluate()?;
        self.look(&value)?;
        Ok(value)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let state = self.inner.state()?;
        state.iter().try_for_each(|value| self.look(value))?;
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.infinite |= states.iter().any(has_infinite);
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// That of a frame that moves on. What is not finite is counted, since it cannot be taken out of a sum again.
#[derive(Debug)]
pub(super) struct Sliding {
    inner: Box<dyn Accumulator>,
    n_finite: usize,
    n_nan: usize,
    n_infinite: usize,
    n_negative: usize,
}

impl Sliding {
    pub(super) fn new(inner: Box<dyn Accumulator>) -> Self {
        Self { inner, n_finite: 0, n_nan: 0, n_infinite: 0, n_negative: 0 }
    }

    /// Returns the values with NULL for those that are not finite, which are counted.
    fn finite(&mut self, values: &[ArrayRef], comes: bool) -> Vec<ArrayRef> {
        let mut count = |value: f64| {
            let known = match value {
                value if value.is_nan() => &mut self.n_nan,
                value if value > 0.0 => &mut self.n_infinite,
                _ => &mut self.n_negative,
            };
            *known = if comes { known.saturating_add(1) } else { known.saturating_sub(1) };
        };
        let column = |column: &ArrayRef| -> ArrayRef {
            match column.as_primitive_opt::<Float64Type>() {
                Some(floats) if floats.iter().flatten().any(|value| !value.is_finite()) => {
                    floats.iter().flatten().filter(|value| !value.is_finite()).for_each(&mut count);
                    let finite = |value: f64| value.is_finite().then_some(value);
                    Arc::new(floats.unary_opt::<_, Float64Type>(finite))
                }
                _ => Arc::clone(column),
            }
        };
        values.iter().map(column).collect()
    }
}

fn n_known(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |column| column.len() - column.null_count())
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let finite = self.finite(values, true);
        self.n_finite = self.n_finite.saturating_add(n_known(&finite));
        self.inner.update_batch(&finite)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let finite = self.finite(values, false);
        self.n_finite = self.n_finite.saturating_sub(n_known(&finite));
        self.inner.retract_batch(&finite)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let value = match (self.n_nan, self.n_infinite, self.n_negative) {
            (0, 0, 0) if self.n_finite == 0 => return Ok(ScalarValue::Float64(None)),
            (0, 0, 0) => match self.inner.evaluate()? {
                ScalarValue::Float64(Some(sum)) if sum.is_infinite() => {
                    return Err(beyond(true).into());
                }
                value => return Ok(value),
            },
            (0, _, 0) => f64::INFINITY,
            (0, 0, _) => f64::NEG_INFINITY,
            _ => f64::NAN,
        };
        Ok(ScalarValue::Float64(Some(value)))
    }

    /// A frame is never handed on in parts.
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The accumulator of many groups.
pub(super) struct BoundedGroups {
    inner: Box<dyn GroupsAccumulator>,
    /// Which groups have infinite values; those behind its end have none.
    infinite: Vec<bool>,
}

impl BoundedGroups {
    pub(super) fn new(inner: Box<dyn GroupsAccumulator>) -> Self {
        Self { inner, infinite: Vec::new() }
    }

    fn note(&mut self, columns: &[ArrayRef], groups: &[usize], n_groups: usize) {
        for column in columns.iter().filter(|column| has_infinite(column)) {
            if self.infinite.len() < n_groups {
                self.infinite.resize(n_groups, false);
            }
            let Some(floats) = column.as_primitive_opt::<Float64Type>() else { continue };
            for (value, group) in floats.values().iter().zip(groups) {
                if let Some(known) = self.infinite.get_mut(*group) {
                    *known |= value.is_infinite();
                }
            }
        }
    }

    /// Takes what is known of the groups that have been emitted.
    fn take(&mut self, emitted: EmitTo) -> Vec<bool> {
        match emitted {
            EmitTo::All => std::mem::take(&mut self.infinite),
            EmitTo::First(n) => self.infinite.drain(..n.min(self.infinite.len())).collect(),
        }
    }
}

fn look(column: &ArrayRef, infinite: &[bool]) -> DfResult<()> {
    if !has_infinite(column) {
        return Ok(());
    }
    let floats = column.as_primitive::<Float64Type>();
    let is_beyond = |group: usize| {
        let is_known = infinite.get(group).copied().unwrap_or(false);
        floats.is_valid(group) && floats.value(group).is_infinite() && !is_known
    };
    if (0..floats.len()).any(is_beyond) { Err(beyond(true).into()) } else { Ok(()) }
}

impl GroupsAccumulator for BoundedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> DfResult<()> {
        self.note(values, groups, n_groups);
        self.inner.update_batch(values, groups, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let found = self.inner.evaluate(emit_to)?;
        look(&found, &self.take(emit_to))?;
        Ok(found)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let state = self.inner.state(emit_to)?;
        let infinite = self.take(emit_to);
        state.iter().try_for_each(|column| look(column, &infinite))?;
        Ok(state)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        n_groups: usize,
    ) -> DfResult<()> {
        self.note(values, groups, n_groups);
        self.inner.merge_batch(values, groups, n_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.infinite.capacity() + self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn infinities_are_found_behind_the_first_part() {
        let mut values = vec![f64::NAN; 100];
        values.push(f64::MAX);
        let array = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        assert!(!has_infinite(&array(values.clone())));
        values.push(f64::NEG_INFINITY);
        assert!(has_infinite(&array(values)));
        assert!(!has_infinite(&array(Vec::new())));
    }

    #[test]
    fn groups_without_infinite_values_have_no_infinite_sum() {
        let sums: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::INFINITY), None]));
        assert!(look(&sums, &[]).is_err());
        assert!(look(&sums, &[true]).is_err());
        assert!(look(&sums, &[false, true]).is_ok());
    }
}
