//! Admission: how many statements run at once, and how many may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use maru_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A gate with a queue, first come, first served.
#[derive(Debug)]
pub struct Admission {
    gate: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Admission {
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(running_max.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    /// Waits for a place; it is given back when the permit is dropped.
    ///
    /// # Errors
    /// 53000 at once if too many wait already.
    /// # Cancel
    /// Dropping the future leaves the queue.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.gate).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place::take(&self.waiting);
        if place.number > self.waiting_max {
            return Err(Error::new(ErrorKind::QueueFull, "too many statements are waiting")
                .with_detail(format!(
                    "{} statements wait already (queued_queries_max).",
                    self.waiting_max
                ))
                .with_hint("Try again later, or cancel some: system.queries lists them."));
        }
        Arc::clone(&self.gate)
            .acquire_owned()
            .await
            .map_err(|_| Error::new(ErrorKind::ShuttingDown, "the engine is shutting down"))
    }

    pub fn n_waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in the queue, left on drop.
struct Place<'a> {
    waiting: &'a AtomicUsize,
    number: usize,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        let number = waiting.fetch_add(1, Ordering::Relaxed) + 1;
        Self { waiting, number }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn queues_and_refuses_beyond_the_queue() {
        let admission = Arc::new(Admission::new(1, 1));
        let first = admission.enter().await.unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(|_| ()) }
        });
        while admission.n_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.enter().await.unwrap_err().sqlstate(), "53000");
        drop(first);
        waiting.await.unwrap().unwrap();
        assert_eq!(admission.n_waiting(), 0);
    }
}
