//! Who may be reading what lies where a table was.
//!
//! A table gets another directory, or is dropped, in one change of the engine's metadata. Statements that looked it up before
//! read on in the old directory, which is removed when the last of them has ended.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Held from before a statement looks up names until it reads no more.
#[derive(Debug, Clone)]
pub struct Reading(#[expect(dead_code, reason = "it is counted")] Arc<()>);

/// Statements that read, told apart by whether they began before or after a change.
#[derive(Debug, Clone, Default)]
pub struct Readers(Arc<Mutex<Arc<()>>>);

impl Readers {
    pub fn begin(&self) -> Reading {
        Reading(Arc::clone(&self.0.lock()))
    }

    /// Waits until all have ended that had begun when it was called, which is at once and not when it is awaited first.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let before = std::mem::take(&mut *self.0.lock());
        async move {
            while Arc::strong_count(&before) > 1 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_that_begin_later_are_not_waited_for() {
        let readers = Readers::default();
        let before = readers.begin();
        let first = readers.gone();
        let _between = readers.begin();
        let mut first = Box::pin(first);
        assert!(first.as_mut().now_or_never().is_none());
        drop(before);
        first.await;
        let mut second = Box::pin(readers.gone());
        assert!(second.as_mut().now_or_never().is_none());
    }
}
