//! Threads that move bytes between stores and statements.
//!
//! The threads of statements decode for as long as there is something to decode. A connection that they also drove would
//! stand still meanwhile, and with it the line it uses.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

const THREADS: usize = 2;

static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("maru-io")
        .enable_all()
        .build()
        .inspect_err(|error| tracing::warn!("no threads for reading ahead: {error}"))
        .ok()
});

/// Returns the threads for requests to stores; `None` if the system gives none, and the caller's own have to do.
pub fn io_threads() -> Option<Handle> {
    RUNTIME.as_ref().map(|runtime| runtime.handle().clone())
}

/// Starts work on these threads. Dropping the handle ends it.
pub(crate) fn on_io_threads<F>(work: F) -> AbortOnDropHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(match io_threads() {
        Some(threads) => threads.spawn(work),
        None => tokio::spawn(work),
    })
}
