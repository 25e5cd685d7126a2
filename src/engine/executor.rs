//! The threads that statements are planned and run on.
//!
//! An operator may compute for seconds between two points where it gives way. On threads of their own statements keep
//! only each other waiting: logins, cancel requests, health checks and signals are served by others.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use maru_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of stack for each thread that plans and runs statements: deeply nested expressions recurse.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// With one thread alone a statement that computes without pause would keep all others from even starting. More threads than
/// partitions made TPC-H 5 to 7 % slower, one more as well as twice as many.
const THREADS_MIN: usize = 2;

/// A runtime that ends with the engine.
#[derive(Debug)]
pub(crate) struct Executor {
    handle: Handle,
    /// Always there until the executor is dropped.
    runtime: Option<Runtime>,
}

impl Executor {
    /// # Errors
    /// 58030 if the system gives no threads.
    pub(crate) fn new(partitions: usize) -> Result<Self> {
        let number = AtomicUsize::new(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(partitions.max(THREADS_MIN))
            .thread_stack_size(STACK_BYTES)
            .thread_name_fn(move || {
                format!("maru-query-{}", number.fetch_add(1, Ordering::Relaxed))
            })
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "could not start the threads of statements")
                    .with_cause(error)
            })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

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

impl Drop for Executor {
    fn drop(&mut self) {
        // The last session may end on one of these threads, which cannot wait for itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
