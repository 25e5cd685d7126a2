//! What a computation runs under: the flag that stops it, its threads, and how rows are dealt out to them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use maru_core::{Error, Result};
use parking_lot::Mutex;

use crate::model::Iteration;

/// Rows that a kernel works on at once: a few columns of them fit the nearest cache.
pub const BLOCK_ROWS: usize = 1024;

/// Asked for more memory before it is used; fails if there is none.
pub type Claim = Arc<dyn Fn(usize) -> Result<()> + Send + Sync>;

/// Told of each step of learning.
pub type Watch = Arc<dyn Fn(&Iteration) + Send + Sync>;

/// The flag and the threads of one training or prediction.
#[derive(Clone)]
pub struct Task {
    cancelled: Arc<AtomicBool>,
    n_threads: usize,
    claim: Option<Claim>,
    watch: Option<Watch>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("n_threads", &self.n_threads).finish_non_exhaustive()
    }
}

impl Task {
    pub fn new(cancelled: Arc<AtomicBool>, n_threads: usize) -> Self {
        Self { cancelled, n_threads: n_threads.max(1), claim: None, watch: None }
    }

    /// Returns a task on one thread that nothing stops.
    pub fn single() -> Self {
        Self::new(Arc::new(AtomicBool::new(false)), 1)
    }

    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Returns the same task with other threads.
    pub fn with_threads(&self, n_threads: usize) -> Self {
        Self { n_threads: n_threads.max(1), ..self.clone() }
    }

    /// Returns the same task, whose kernels ask for the memory of what they make larger than their input.
    #[must_use]
    pub fn with_claim(mut self, claim: Claim) -> Self {
        self.claim = Some(claim);
        self
    }

    /// Returns the same task, which tells of each step of learning.
    #[must_use]
    pub fn with_watch(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    pub fn unwatched(&self) -> Self {
        Self { watch: None, ..self.clone() }
    }

    pub(crate) fn watch(&self) -> Option<Watch> {
        self.watch.clone()
    }

    /// Asks for this many bytes more.
    ///
    /// # Errors
    /// What the one asked says, 53200 as a rule.
    pub fn claim(&self, n_bytes: usize) -> Result<()> {
        self.claim.as_ref().map_or(Ok(()), |claim| claim(n_bytes))
    }

    /// Kernels ask at least every few milliseconds.
    ///
    /// # Errors
    /// 57014 if the work was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        Ok(())
    }

    /// Runs `work` for each of `0..n` on the task's threads and returns the results in that order.
    pub fn map<T: Send>(
        &self,
        n: usize,
        work: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let n_threads = self.n_threads.min(n);
        if n_threads <= 1 {
            return (0..n)
                .map(|index| {
                    self.check()?;
                    work(index)
                })
                .collect();
        }
        let next = AtomicUsize::new(0);
        let run = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= n {
                    return Ok(done);
                }
                self.check()?;
                done.push((index, work(index)?));
            }
        };
        let parts: Vec<Result<Vec<(usize, T)>>> = std::thread::scope(|scope| {
            let threads = (0..n_threads).map(|_| scope.spawn(run)).collect::<Vec<_>>();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).collect()
        });
        let mut results = Vec::with_capacity(n);
        for part in parts {
            results.extend(part?);
        }
        results.sort_by_key(|(index, _)| *index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// Cuts `n_rows` into ranges that depend on nothing but the numbers given, lets `work` make something of each, and
    /// returns the parts in order: sums over them are the same on any number of threads. `n_bytes` is the size of a part.
    pub fn map_rows<T: Send>(
        &self,
        n_rows: usize,
        n_bytes: usize,
        work: impl Fn(Range<usize>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let most = ((64 << 20) / n_bytes.max(1)).clamp(4, 64);
        let ranges = ranges(n_rows, most);
        self.map(ranges.len(), |part| work(ranges[part].clone()))
    }

    /// Makes `n_columns` columns of numbers: `work` is given a range of rows and its part of each column, all 0, to fill in.
    pub fn fill(
        &self,
        n_rows: usize,
        n_columns: usize,
        work: impl Fn(Range<usize>, &mut [&mut [f64]]) -> Result<()> + Sync,
    ) -> Result<Vec<Vec<f64>>> {
        let mut columns = (0..n_columns).map(|_| vec![0.0; n_rows]).collect::<Vec<_>>();
        self.fill_in(columns.iter_mut().map(Vec::as_mut_slice).collect(), work)?;
        Ok(columns)
    }

    /// The same in columns that are there, all of one length; what `work` makes of each range comes back in order.
    pub fn fill_in<T: Send>(
        &self,
        columns: Vec<&mut [f64]>,
        work: impl Fn(Range<usize>, &mut [&mut [f64]]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let ranges = ranges(columns.first().map_or(0, |column| column.len()), 64);
        let empty = || Vec::with_capacity(columns.len());
        let mut parts = ranges.iter().map(|_| empty()).collect::<Vec<_>>();
        for column in columns {
            let cut = cut(column, ranges.iter().map(Range::len));
            parts.iter_mut().zip(cut).for_each(|(part, column)| part.push(column));
        }
        let parts = parts.into_iter().map(Mutex::new).collect::<Vec<_>>();
        self.map(ranges.len(), |part| work(ranges[part].clone(), &mut parts[part].lock()))
    }
}

/// Cuts rows into ranges of whole blocks, as many as `most`.
fn ranges(n_rows: usize, most: usize) -> Vec<Range<usize>> {
    let n_parts = n_rows.div_ceil(4 * BLOCK_ROWS).clamp(1, most);
    let n_blocks = n_rows.div_ceil(BLOCK_ROWS);
    let range = |part: usize| {
        let start = part * n_blocks / n_parts * BLOCK_ROWS;
        let end = ((part + 1) * n_blocks / n_parts * BLOCK_ROWS).min(n_rows);
        start..end.max(start)
    };
    (0..n_parts).map(range).collect()
}

/// Cuts into parts of these sizes.
pub(crate) fn cut<T>(
    mut whole: &mut [T],
    sizes: impl Iterator<Item = usize>,
) -> impl Iterator<Item = &mut [T]> {
    sizes.map(move |size| {
        let (part, rest) = std::mem::take(&mut whole).split_at_mut(size);
        whole = rest;
        part
    })
}

/// Cuts a range into blocks.
pub fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK_ROWS).map(move |start| start..(start + BLOCK_ROWS).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_depend_on_threads() {
        for n_rows in [0, 1, 5000, 1_000_003] {
            let ranges = |n_threads| {
                let task = Task::single().with_threads(n_threads);
                task.map_rows(n_rows, 8, Ok).unwrap()
            };
            assert_eq!(ranges(1), ranges(3));
            assert_eq!(ranges(2).iter().map(Range::len).sum::<usize>(), n_rows);
        }
    }

    #[test]
    fn columns_are_filled_by_ranges() {
        for n_rows in [0, 5, 70_000] {
            let task = Task::single().with_threads(3);
            let number = |range: Range<usize>, columns: &mut [&mut [f64]]| {
                for (at, row) in range.enumerate() {
                    (columns[0][at], columns[1][at]) = (row as f64, -(row as f64));
                }
                Ok(())
            };
            let columns = task.fill(n_rows, 2, number).unwrap();
            assert!((0..n_rows).all(|row| columns[0][row] == row as f64));
            assert!((0..n_rows).all(|row| columns[1][row] == -(row as f64)));
        }
    }

    #[test]
    fn a_cancelled_task_stops() {
        let flag = Arc::new(AtomicBool::new(true));
        let error = Task::new(flag, 2).map(3, Ok).unwrap_err();
        assert_eq!(error.sqlstate(), "57014");
    }
}
