//! What a table's own log tells of its files, so that no file has to be opened to plan.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use datafusion_datasource_parquet::ParquetRowSelection;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::FileEntry;

/// Facts of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileDetails {
    /// Rows in the file, those in [`FileDetails::deleted`] included.
    pub n_rows: Option<usize>,
    /// One per column of the files, in the order of the table.
    pub bounds: Vec<ColumnBounds>,
    /// Positions of rows that do not count, in order, as ranges that do not touch. Parquet only.
    pub deleted: Option<Arc<Vec<Range<u64>>>>,
}

/// What is known of a column's values in one file. The bounds need not occur, and NULL is within any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnBounds {
    pub min: Option<ScalarValue>,
    pub max: Option<ScalarValue>,
    pub n_nulls: Option<usize>,
}

impl FileDetails {
    /// Returns how many rows do not count.
    pub(super) fn n_deleted(&self) -> usize {
        let ranges = self.deleted.iter().flat_map(|ranges| ranges.iter());
        let n = ranges.map(|range| range.end - range.start).sum::<u64>();
        usize::try_from(n).unwrap_or(usize::MAX)
    }

    /// Returns the statistics of the file's columns; `None` if not even its rows are known.
    pub(super) fn statistics(&self, size: u64) -> Option<Statistics> {
        let n_rows = self.n_rows?.checked_sub(self.n_deleted())?;
        let inexact = |value: &Option<ScalarValue>| {
            value.clone().map_or(Precision::Absent, Precision::Inexact)
        };
        let columns = self.bounds.iter().map(|bounds| {
            let mut column = ColumnStatistics::new_unknown();
            column.min_value = inexact(&bounds.min);
            column.max_value = inexact(&bounds.max);
            column.null_count = bounds.n_nulls.map_or(Precision::Absent, Precision::Inexact);
            column
        });
        Some(Statistics {
            num_rows: Precision::Exact(n_rows),
            total_byte_size: usize::try_from(size).map_or(Precision::Absent, Precision::Inexact),
            column_statistics: columns.collect(),
        })
    }

    /// Takes the deleted rows out of what a footer tells.
    pub(super) fn adjust(&self, footer: &Statistics) -> Statistics {
        let mut statistics = footer.clone().to_inexact();
        if let Precision::Exact(n_rows) = footer.num_rows {
            statistics.num_rows =
                n_rows.checked_sub(self.n_deleted()).map_or(Precision::Absent, Precision::Exact);
        }
        for column in &mut statistics.column_statistics {
            column.null_count = Precision::Absent;
        }
        statistics
    }

    /// Returns which rows of a file of `n_rows` to read; `None` for all.
    ///
    /// # Errors
    /// XX001 if rows are deleted that the file does not have.
    pub(super) fn selection(
        &self,
        file: &Path,
        n_rows: usize,
    ) -> Result<Option<ParquetRowSelection>> {
        let Some(deleted) = &self.deleted else { return Ok(None) };
        let beyond = || {
            Error::new(
                ErrorKind::DataCorrupted,
                format!("file \"{file}\" has {n_rows} rows, but later ones are deleted"),
            )
        };
        let mut selectors = Vec::with_capacity(deleted.len() * 2 + 1);
        let mut at = 0;
        for range in deleted.iter() {
            let start = usize::try_from(range.start).map_err(|_| beyond())?;
            let end = usize::try_from(range.end).map_err(|_| beyond())?;
            if end > n_rows || start < at {
                return Err(beyond());
            }
            if start > at {
                selectors.push(RowSelector::select(start - at));
            }
            selectors.push(RowSelector::skip(end - start));
            at = end;
        }
        if n_rows > at {
            selectors.push(RowSelector::select(n_rows - at));
        }
        Ok(Some(ParquetRowSelection::new(RowSelection::from(selectors))))
    }
}

/// The bounds of many files as DataFusion's pruning asks for them.
pub(super) struct Bounds<'a> {
    pub(super) files: &'a [FileEntry],
    pub(super) schema: &'a SchemaRef,
}

impl Bounds<'_> {
    fn values(
        &self,
        column: &Column,
        of: impl Fn(&ColumnBounds) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let null = ScalarValue::try_new_null(self.schema.field(index).data_type()).ok()?;
        let values = self.files.iter().map(|file| {
            let details = file.details.as_ref();
            let bounds = details.and_then(|details| details.bounds.get(index));
            bounds.and_then(&of).unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let counts = self.files.iter().map(|file| {
            let details = file.details.as_ref()?;
            details.bounds.get(index)?.n_nulls.map(|n| n as u64)
        });
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.files.iter().map(|file| Some(file.details.as_ref()?.n_rows? as u64));
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn contained(
        &self,
        _: &Column,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(deleted: Vec<Range<u64>>) -> FileDetails {
        FileDetails { n_rows: Some(10), bounds: Vec::new(), deleted: Some(Arc::new(deleted)) }
    }

    #[test]
    fn leaves_out_deleted_rows() {
        let details = details(vec![0..2, 5..6, 9..10]);
        let selection = details.selection(&Path::from("f"), 10).unwrap().unwrap();
        let expected = RowSelection::from(vec![
            RowSelector::skip(2),
            RowSelector::select(3),
            RowSelector::skip(1),
            RowSelector::select(3),
            RowSelector::skip(1),
        ]);
        assert_eq!(selection.selection(), &expected);
        assert_eq!(details.statistics(1).unwrap().num_rows, Precision::Exact(6));
    }

    #[test]
    fn refuses_rows_that_are_not_there() {
        let error = details(vec![0..1, 9..11]).selection(&Path::from("f"), 10).unwrap_err();
        assert_eq!(error.sqlstate(), "XX001");
    }
}
