//! Running statements: their ids, states, figures, and how they are cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use datafusion::physical_plan::ExecutionPlan;
use maru_core::{Error, Result, limits};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::executor::Lane;
use super::memory::QueryPool;
use super::run::{deadline, timed_out};
use crate::access::Protocol;
use crate::catalog::readers::Reading;

/// Where a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Planning,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One statement from its start until its rows are read or dropped.
#[derive(Debug)]
pub struct Query {
    pub id: u64,
    pub session_id: i32,
    pub user: String,
    pub protocol: Protocol,
    pub sql: String,
    pub started: SystemTime,
    pub clock: Instant,
    /// From when its time counts: it may have been planned before.
    arrived: Instant,
    pub pool: Arc<QueryPool>,
    /// Cancelled by the user; the statement ends with 57014 at its next step.
    pub token: CancellationToken,
    pub n_rows: AtomicU64,
    /// Whether it belongs to a cursor, which lives on when a statement of its session is cancelled.
    pub cursor: bool,
    /// Whether its end has been recorded.
    pub(super) ended: AtomicBool,
    queued: Mutex<Duration>,
    /// Why it was cancelled, if it was not by the user.
    stopped: Mutex<Option<Error>>,
    /// The threads that it runs on, until it has ended.
    lane: Mutex<Option<Lane>>,
    state: Mutex<State>,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    /// Whether its rows are being published: then it is too late to stop it.
    committing: Mutex<bool>,
    /// Keeps what it reads, until it has ended.
    reading: Mutex<Option<Reading>>,
}

impl Query {
    /// Ends the time in which the statement can be stopped.
    ///
    /// # Errors
    /// 57014 if it has been stopped.
    pub fn begin_commit(&self) -> Result<()> {
        let mut committing = self.committing.lock();
        if self.token.is_cancelled() {
            return Err(self.why_cancelled());
        }
        *committing = true;
        Ok(())
    }

    /// Returns when the statement is to be stopped; never while it commits.
    pub async fn interrupted(&self) {
        self.token.cancelled().await;
        if *self.committing.lock() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the statement has run for too long; never while it commits. It is stopped then.
    pub async fn overdue(&self, timeout: Duration) {
        deadline(self.arrived.into(), timeout).await;
        let late = {
            let committing = self.committing.lock();
            if !*committing {
                self.stop(timed_out(timeout));
            }
            *committing
        };
        if late {
            std::future::pending::<()>().await;
        }
    }

    pub fn state(&self) -> State {
        *self.state.lock()
    }

    pub fn set_state(&self, state: State) {
        if state == State::Planning {
            *self.queued.lock() = self.clock.elapsed();
        }
        *self.state.lock() = state;
    }

    /// Keeps the threads that it runs on.
    pub(crate) fn set_lane(&self, lane: Lane) {
        *self.lane.lock() = Some(lane);
    }

    /// Starts work of the statement on its threads; `None` if it has ended.
    pub(crate) fn spawn<F>(&self, work: F) -> Option<AbortOnDropHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.lane.lock().as_ref().map(|lane| lane.spawn(work))
    }

    /// Gives its threads to others.
    pub(crate) fn leave_lane(&self) {
        self.lane.lock().take();
    }

    /// Cancels it with an error of its own.
    pub fn stop(&self, error: Error) {
        *self.stopped.lock() = Some(error);
        self.token.cancel();
    }

    /// Returns the error of a statement that has been cancelled.
    pub fn why_cancelled(&self) -> Error {
        self.stopped.lock().clone().unwrap_or_else(Error::cancelled)
    }

    pub fn queued(&self) -> Duration {
        *self.queued.lock()
    }

    pub fn set_plan(&self, plan: Arc<dyn ExecutionPlan>) {
        *self.plan.lock() = Some(plan);
    }

    pub fn plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.plan.lock().clone()
    }
}

/// What starts a statement.
#[derive(Debug)]
pub struct QueryStart<'a> {
    pub session_id: i32,
    pub user: &'a str,
    pub protocol: Protocol,
    pub sql: &'a str,
    pub cursor: bool,
    pub state: State,
    pub started: SystemTime,
    pub clock: Instant,
    pub arrived: Instant,
    pub pool: Arc<QueryPool>,
    pub reading: Reading,
}

/// All statements that have not ended.
#[derive(Debug)]
pub struct Queries {
    next: AtomicU64,
    running: RwLock<BTreeMap<u64, Arc<Query>>>,
    ended: Notify,
}

impl Queries {
    pub fn new(next_id: u64) -> Self {
        Self {
            next: AtomicU64::new(next_id),
            running: RwLock::new(BTreeMap::new()),
            ended: Notify::new(),
        }
    }

    pub fn start(&self, start: QueryStart<'_>) -> Arc<Query> {
        let query = Arc::new(Query {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            session_id: start.session_id,
            user: start.user.to_owned(),
            protocol: start.protocol,
            sql: start.sql.chars().take(limits::QUERY_TEXT_CHARS_MAX).collect(),
            started: start.started,
            clock: start.clock,
            arrived: start.arrived,
            pool: start.pool,
            cursor: start.cursor,
            token: CancellationToken::new(),
            n_rows: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            queued: Mutex::new(Duration::ZERO),
            stopped: Mutex::new(None),
            lane: Mutex::new(None),
            state: Mutex::new(start.state),
            plan: Mutex::new(None),
            committing: Mutex::new(false),
            reading: Mutex::new(Some(start.reading)),
        });
        self.running.write().insert(query.id, Arc::clone(&query));
        query
    }

    /// Takes a statement that has ended off the list.
    pub fn end(&self, id: u64) {
        if let Some(query) = self.running.write().remove(&id) {
            drop(query.reading.lock().take());
        }
        self.ended.notify_waiters();
    }

    pub fn running(&self) -> Vec<Arc<Query>> {
        self.running.read().values().cloned().collect()
    }

    pub fn get(&self, id: u64) -> Option<Arc<Query>> {
        self.running.read().get(&id).cloned()
    }

    /// Cancels the statements of one session, and those of its cursors if `all`.
    pub fn cancel_session(&self, session_id: i32, all: bool) {
        for query in self.running.read().values() {
            if query.session_id == session_id && (all || !query.cursor) {
                query.token.cancel();
            }
        }
    }

    pub fn cancel_all(&self) {
        self.running.read().values().for_each(|query| query.token.cancel());
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running.read().is_empty() {
                return;
            }
            ended.await;
        }
    }
}
