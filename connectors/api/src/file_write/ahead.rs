//! Rows that are looked at before they are written.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use futures::StreamExt;
use maru_core::Result;

use crate::BatchStream;

/// Bytes of rows that wait for those behind them.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// A stream whose rows are prepared some way ahead of the writer: who splits rows into far too many partitions is told before
/// thousands of files are made, which takes minutes.
#[derive(Debug)]
pub struct Ahead<T> {
    waiting: VecDeque<(T, usize)>,
    n_bytes: usize,
    most: usize,
    ended: bool,
}

impl<T> Ahead<T> {
    /// Without partitions there is nothing to look for, and a batch is prepared when it is its turn.
    pub fn new(has_partitions: bool) -> Self {
        let most = if has_partitions { AHEAD_BYTES } else { 0 };
        Self { waiting: VecDeque::new(), n_bytes: 0, most, ended: false }
    }

    /// Returns what is next; `prepare` gives `None` for a batch of which nothing is written.
    ///
    /// # Errors
    /// Those of the stream and of `prepare`, even if rows before them wait.
    pub async fn next(
        &mut self,
        rows: &mut BatchStream,
        mut prepare: impl FnMut(RecordBatch) -> Result<Option<T>> + Send,
    ) -> Result<Option<T>> {
        while !self.ended && (self.waiting.is_empty() || self.n_bytes < self.most) {
            let Some(batch) = rows.next().await else {
                self.ended = true;
                break;
            };
            let batch = batch?;
            let n_bytes = batch.get_array_memory_size();
            if let Some(prepared) = prepare(batch)? {
                self.waiting.push_back((prepared, n_bytes));
                self.n_bytes += n_bytes;
            }
        }
        Ok(self.waiting.pop_front().map(|(prepared, n_bytes)| {
            self.n_bytes -= n_bytes;
            prepared
        }))
    }
}
