//! Rows that come again, with what was done to them.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, BooleanArray, Int8Array, RecordBatch};
use arrow::compute::{filter, filter_record_batch, is_not_null, partition};
use arrow::datatypes::{Int8Type, UInt64Type};
use maru_connect::RowOp;
use maru_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::job::DeltaJob;
use super::shape::convert;
use crate::delta::action::Add;

/// Which rows of the table have come, and which of them were changed: two bits for each.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    /// Returns whether the row has not come before.
    fn note(&mut self, number: u64, changed: bool) -> Result<bool> {
        let at = usize::try_from(number / 32).unwrap_or(usize::MAX);
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let shift = (number % 32) * 2;
        let before = (self.0[at] >> shift) & 3;
        if before != 0 && (changed || before & 2 != 0) {
            return Err(Error::new(
                ErrorKind::Cardinality,
                "MERGE command cannot affect row a second time",
            )
            .with_detail("More than one row of the source matches one row of the target.")
            .with_hint("Ensure that not more than one source row matches any one target row."));
        }
        self.0[at] |= (1 | u64::from(changed) << 1) << shift;
        Ok(before == 0)
    }
}

impl DeltaJob {
    /// Looks at what was done to rows, and leaves out those that are deleted. Returns the others, and how many changed.
    pub(super) fn rewritten(
        &self,
        batch: RecordBatch,
        numbered: bool,
    ) -> Result<(RecordBatch, u64)> {
        let wrong = || Error::internal("rows came without what was done to them");
        let last = batch.num_columns().checked_sub(1).ok_or_else(wrong)?;
        let ops = batch.column(last).as_primitive_opt::<Int8Type>().ok_or_else(wrong)?.clone();
        let n_changed = ops.len() - ops.null_count();
        let mut stays = vec![true; batch.num_rows()];
        let mut n_came = batch.num_rows();
        if numbered {
            n_came = 0;
            let numbers = last.checked_sub(1).map(|at| batch.column(at));
            let numbers = numbers.and_then(|n| n.as_primitive_opt::<UInt64Type>());
            let numbers = numbers.ok_or_else(wrong)?;
            let mut seen = self.seen.lock();
            for (row, number) in numbers.iter().enumerate() {
                if let Some(number) = number {
                    stays[row] = seen.note(number, ops.is_valid(row))?;
                    n_came += usize::from(stays[row]);
                }
            }
        }
        self.done.lock().n_came += n_came as u64;
        self.note_changes(&batch, &ops)?;
        let deleted = RowOp::Delete as i8;
        for (row, stays) in stays.iter_mut().enumerate() {
            *stays = *stays && (ops.is_null(row) || ops.value(row) != deleted);
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(stays))?;
        Ok((kept, n_changed as u64))
    }

    /// Notes in which partitions rows were changed.
    fn note_changes(&self, batch: &RecordBatch, ops: &Int8Array) -> Result<()> {
        if ops.null_count() == ops.len() {
            return Ok(());
        }
        let places = &self.places[self.columns.in_files.len()..];
        let mut changed = BTreeSet::new();
        if places.is_empty() {
            changed.insert(Vec::new());
        } else {
            let is_changed = is_not_null(ops)?;
            let keys = places.iter().zip(&self.columns.partitions).map(|(place, column)| {
                let place =
                    place.ok_or_else(|| Error::internal("a partition column is missing"))?;
                let values = filter(batch.column(place), &is_changed)?;
                convert(&values, column.field.data_type())
            });
            let keys = keys.collect::<Result<Vec<_>>>()?;
            for range in partition(&keys)?.ranges() {
                changed.insert(self.partition_at(&keys, range.start)?);
            }
        }
        self.done.lock().changed.extend(changed);
        Ok(())
    }

    /// Makes sure that every row of the table has come, once, as far as the log tells how many there are: one that did not
    /// come would be gone.
    pub(super) fn check_whole(&self, n_came: u64) -> Result<()> {
        let files = self.base.iter().flat_map(|base| base.files());
        let n_there = files.map(|file| known_rows(&file.add)).sum::<Option<u64>>();
        match n_there {
            Some(n_there) if n_there != n_came => {
                Err(Error::internal(format!("{n_came} of {n_there} rows came to be written anew")))
            }
            _ => Ok(()),
        }
    }
}

/// Returns how many rows of a file count, if the log tells.
pub(super) fn known_rows(add: &Add) -> Option<u64> {
    let deleted = add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
    n_rows(add)?.checked_sub(deleted)
}

/// Returns how many rows a file has, if the log tells.
fn n_rows(add: &Add) -> Option<u64> {
    let statistics = serde_json::from_str::<Value>(add.stats.as_ref()?).ok()?;
    statistics.get("numRecords")?.as_u64()
}
