//! What the statement of a session is a part of: a step of a pipeline's run, which may be tried again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::engine::history::PastQuery;

/// One try of a step.
#[derive(Debug)]
pub(crate) struct Work {
    /// The same for all tries of a step in one run, and of no other work anywhere: targets keep it with what is committed.
    name: String,
    already: AtomicBool,
    query_id: AtomicU64,
    ended: Mutex<Option<(PastQuery, u64)>>,
}

impl Work {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            already: AtomicBool::new(false),
            query_id: AtomicU64::new(0),
            ended: Mutex::new(None),
        }
    }

    /// Returns what targets know the work by. The number never changes: the name has the run in it.
    pub(super) fn once(&self) -> (String, i64) {
        (self.name.clone(), 1)
    }

    /// Notes that an earlier try had committed.
    pub(super) fn was_done(&self) {
        self.already.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_already_done(&self) -> bool {
        self.already.load(Ordering::Relaxed)
    }

    pub(super) fn runs_as(&self, query_id: u64) {
        self.query_id.store(query_id, Ordering::Relaxed);
    }

    /// Returns the number of the statement, if it has begun.
    pub(crate) fn query_id(&self) -> Option<u64> {
        Some(self.query_id.load(Ordering::Relaxed)).filter(|id| *id > 0)
    }

    /// Keeps what came of a statement, and how many bytes it wrote.
    pub(crate) fn ended(&self, past: &PastQuery, written_bytes: u64) {
        *self.ended.lock() = Some((past.clone(), written_bytes));
    }

    pub(crate) fn take_ended(&self) -> Option<(PastQuery, u64)> {
        self.ended.lock().take()
    }
}
