//! Columns: numbers or text, and the matrix that models learn from.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::compute::take;
use maru_core::{Error, ErrorKind, Result};

use crate::random::{hash_text, hash_with};
use crate::task::Task;

/// A column. In numbers, NaN stands for NULL: SQL has both, a model can use neither.
#[derive(Debug, Clone)]
pub enum Column {
    Number(Arc<Vec<f64>>),
    Text(StringArray),
}

impl Column {
    pub fn number(values: Vec<f64>) -> Self {
        Self::Number(Arc::new(values))
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the text of a value, as encoders see it: whole numbers without a fraction. `None` for NULL.
    pub fn text(&self, row: usize) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Number(values) => {
                let value = values[row];
                (!value.is_nan()).then(|| number_text(value).into())
            }
            Self::Text(values) => values.is_valid(row).then(|| values.value(row).into()),
        }
    }

    pub(crate) fn select(&self, rows: &[u32]) -> Result<Self> {
        Ok(match self {
            Self::Number(values) => {
                Self::number(rows.iter().map(|row| values[*row as usize]).collect())
            }
            Self::Text(values) => {
                let taken = take(values, &arrow::array::UInt32Array::from(rows.to_vec()), None)
                    .map_err(|e| Error::internal("could not pick rows").with_cause(e))?;
                let taken = taken.as_any().downcast_ref::<StringArray>().cloned();
                Self::Text(taken.ok_or_else(|| Error::internal("text became something else"))?)
            }
        })
    }
}

/// Writes a number as encoders and classes name it.
pub fn number_text(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        format!("{}", value as i64)
    } else {
        format!("{value}")
    }
}

/// Named columns of one length.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub n_rows: usize,
    pub columns: Vec<(String, Column)>,
}

impl Frame {
    pub fn new(columns: Vec<(String, Column)>) -> Self {
        Self { n_rows: columns.first().map_or(0, |(_, column)| column.len()), columns }
    }

    /// Returns the rows of these numbers, in that order.
    pub fn select(&self, rows: &[u32], task: &Task) -> Result<Self> {
        let columns = task.map(self.columns.len(), |index| self.columns[index].1.select(rows))?;
        let names = self.columns.iter().map(|(name, _)| name.clone());
        Ok(Self { n_rows: rows.len(), columns: names.zip(columns).collect() })
    }

    /// Returns a hash of each row's values, the same for the same values.
    pub fn hashes(&self, task: &Task) -> Result<Vec<u64>> {
        let columns = || self.columns.iter().map(|(_, column)| column);
        let parts = task.map_rows(self.n_rows, 8, |range| Ok(hash_rows(columns(), range)))?;
        Ok(parts.concat())
    }
}

/// Returns a hash of each row's values, the same for the same values.
pub(crate) fn hash_rows<'a>(
    columns: impl Iterator<Item = &'a Column>,
    range: std::ops::Range<usize>,
) -> Vec<u64> {
    let mut hashes = vec![0x1319_8a2e_0370_7344_u64; range.len()];
    for column in columns {
        match column {
            Column::Number(values) => {
                for (hash, value) in hashes.iter_mut().zip(&values[range.clone()]) {
                    // One zero and one NaN.
                    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
                    *hash = hash_with(*hash, value.to_bits());
                }
            }
            Column::Text(values) => {
                for (hash, row) in hashes.iter_mut().zip(range.clone()) {
                    let text = values.is_valid(row).then(|| hash_text(values.value(row)));
                    *hash = hash_with(*hash, text.unwrap_or(1));
                }
            }
        }
    }
    hashes
}

/// Numbers by column, without NULLs.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    pub n_rows: usize,
    pub names: Vec<String>,
    pub columns: Vec<Arc<Vec<f64>>>,
}

impl Matrix {
    pub fn new(names: Vec<String>, columns: Vec<Arc<Vec<f64>>>) -> Self {
        Self { n_rows: columns.first().map_or(0, |column| column.len()), names, columns }
    }

    pub fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// Copies the values of one row.
    pub fn row(&self, row: usize, into: &mut Vec<f64>) {
        into.clear();
        into.extend(self.columns.iter().map(|column| column[row]));
    }

    pub fn select(&self, rows: &[u32], task: &Task) -> Result<Self> {
        let columns = task.map(self.n_columns(), |index| {
            let column = &self.columns[index];
            Ok(Arc::new(rows.iter().map(|row| column[*row as usize]).collect::<Vec<_>>()))
        })?;
        Ok(Self { n_rows: rows.len(), names: self.names.clone(), columns })
    }

    /// Returns which rows have a value that is infinite or missing; `None` if none has.
    pub fn rows_not_finite(&self) -> Option<Vec<bool>> {
        let mut rows: Option<Vec<bool>> = None;
        for column in self.columns.iter().filter(|c| !c.iter().all(|value| value.is_finite())) {
            let rows = rows.get_or_insert_with(|| vec![false; self.n_rows]);
            for (row, value) in rows.iter_mut().zip(column.iter()) {
                *row |= !value.is_finite();
            }
        }
        rows
    }

    /// # Errors
    /// 22003 if a value is infinite or missing, with the name of its column.
    pub fn require_finite(&self, task: &Task) -> Result<()> {
        task.map(self.n_columns(), |index| {
            if self.columns[index].iter().all(|value| value.is_finite()) {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "feature \"{}\" has values that are infinite or missing",
                    self.names[index]
                ),
            )
            .with_hint("Leave such rows out in the query, or limit the values there."))
        })?;
        Ok(())
    }
}
