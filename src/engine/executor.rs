//! The threads that statements are planned and run on.
//!
//! An operator may compute for milliseconds between two points where it gives way. On threads of their own statements keep
//! only each other waiting: logins, cancel requests, health checks and signals are served by others.
//!
//! There are two sets of threads. One statement of each user runs on the first, all more of the same user on the second: so
//! a user who runs one thing after the other shares threads with one statement of each other user, not with all they run.
//! What is large is planned elsewhere (`planners.rs`).

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of stack for each thread that plans and runs statements: deeply nested expressions recurse.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// With one thread alone a statement that computes without pause would keep all others from even starting. More threads than
/// partitions made TPC-H 5 to 7 % slower, one more as well as twice as many.
const THREADS_MIN: usize = 2;

/// Tasks that a thread runs before it looks for new ones. Each may take milliseconds.
const TASKS_BEFORE_NEW: u32 = 1;

/// Threads that end with the engine.
#[derive(Debug)]
pub(crate) struct Executor {
    first: Threads,
    more: Threads,
    /// Users who have a statement on the first threads.
    seated: Arc<Mutex<HashSet<String>>>,
}

#[derive(Debug)]
pub(super) struct Threads {
    pub(super) handle: Handle,
    /// Always there until the executor is dropped.
    runtime: Option<Runtime>,
}

/// Where a statement runs. The first of a user keeps the first threads for itself until this is dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    handle: Handle,
    seat: Option<(Arc<Mutex<HashSet<String>>>, String)>,
}

impl Executor {
    /// # Errors
    /// 58030 if the system gives no threads.
    pub(crate) fn new(partitions: usize) -> Result<Self> {
        let first = Threads::new("maru-query", partitions)?;
        let more = Threads::new("maru-more", partitions)?;
        Ok(Self { first, more, seated: Arc::default() })
    }

    /// Chooses threads for a statement of a user.
    pub(crate) fn lane(&self, user: &str) -> Lane {
        let is_first = self.seated.lock().insert(user.to_owned());
        match is_first {
            true => Lane {
                handle: self.first.handle.clone(),
                seat: Some((Arc::clone(&self.seated), user.to_owned())),
            },
            false => Lane { handle: self.more.handle.clone(), seat: None },
        }
    }

    /// Starts work that is short on the first threads.
    ///
    /// # Cancel
    /// By dropping the handle; the work ends where it next gives way.
    pub(crate) fn spawn<F>(&self, work: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        AbortOnDropHandle::new(self.first.handle.spawn(work))
    }
}

impl Lane {
    /// Starts work on these threads.
    ///
    /// # Cancel
    /// By dropping the handle; the work ends where it next gives way.
    pub(crate) fn spawn<F>(&self, work: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        AbortOnDropHandle::new(self.handle.spawn(work))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some((seated, user)) = self.seat.take() {
            seated.lock().remove(&user);
        }
    }
}

impl Threads {
    pub(super) fn new(name: &'static str, partitions: usize) -> Result<Self> {
        let number = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(partitions.max(THREADS_MIN))
            .thread_stack_size(STACK_BYTES)
            .thread_name_fn(move || format!("{name}-{}", number.fetch_add(1, Ordering::Relaxed)))
            .global_queue_interval(TASKS_BEFORE_NEW)
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "could not start the threads of statements")
                    .with_cause(error)
            })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last session may end on one of these threads, which cannot wait for itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
