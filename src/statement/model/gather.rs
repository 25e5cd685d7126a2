//! Gathers the rows of training: they come faster than one thread deals them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use futures::StreamExt;
use maru_core::{Error, Result};
use maru_ml::Collector;
use maru_ml_kernels::pipeline::Kind;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::output::Rows;

/// More would wait for the rows.
const GATHERERS_MAX: usize = 4;
/// Batches that wait for a gatherer.
const BATCHES_AHEAD: usize = 4;

/// Reads all rows. `reserve` is asked for the memory that training needs of those that are there, from time to time.
///
/// # Errors
/// Those of the rows, of [`Collector::push`], and of `reserve`.
///
/// # Cancel
/// By dropping the future; the gatherers end with the batch that they have.
pub(super) async fn gather(
    mut rows: Rows,
    columns: Vec<(String, Kind)>,
    n_threads: usize,
    reserve: impl Fn(usize) -> Result<()>,
) -> Result<Collector> {
    let (sender, receiver) = mpsc::channel::<RecordBatch>(BATCHES_AHEAD);
    let receiver = Arc::new(Mutex::new(receiver));
    let needed = Arc::new(AtomicUsize::new(0));
    let mut gatherers = JoinSet::new();
    for _ in 0..n_threads.clamp(1, GATHERERS_MAX) {
        let (receiver, needed) = (Arc::clone(&receiver), Arc::clone(&needed));
        let mut collector = Collector::new(columns.clone());
        gatherers.spawn_blocking(move || {
            // The lock is held while one of them waits: the others would wait as well.
            let next = || receiver.lock().blocking_recv();
            while let Some(batch) = next() {
                let before = collector.bytes_needed();
                if let Err(error) = collector.push(&batch) {
                    // Nothing more is to be read for it.
                    receiver.lock().close();
                    return Err(error);
                }
                needed.fetch_add(collector.bytes_needed() - before, Ordering::Relaxed);
            }
            Ok(collector)
        });
    }
    drop(receiver);
    while let Some(batch) = rows.stream.next().await {
        // A gatherer has failed: what it says comes below.
        if sender.send(batch?).await.is_err() {
            break;
        }
        reserve(needed.load(Ordering::Relaxed))?;
    }
    drop((rows, sender));
    let mut all = Collector::new(columns);
    while let Some(one) = gatherers.join_next().await {
        let one = one.map_err(|e| Error::internal("gathering rows broke off").with_cause(e))?;
        all.append(one?)?;
    }
    reserve(all.bytes_needed())?;
    Ok(all)
}
