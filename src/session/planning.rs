//! A statement while it is planned: on which threads, and what others see of it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use maru_core::{Error, Result};
use parking_lot::Mutex;

use super::plan::broken_off;
use super::{Session, StatementText};
use crate::engine::memory::QueryPool;
use crate::engine::planners;
use crate::engine::query::{Query, QueryStart, State};
use crate::engine::run::Ending;

/// How long planning takes before `system.queries` shows it: most statements are planned long before anybody could look.
const SHOWN_AFTER: Duration = Duration::from_millis(10);

/// Bytes of text from which on a statement is planned on a thread of its own. The change of threads would cost small ones some
/// time.
const LARGE_TEXT_BYTES: usize = 512;

/// Nodes and expressions from which on a plan is optimized on a thread of its own.
const LARGE_PLAN_PARTS: usize = 256;

/// A statement that is being planned. Dropped without an end, it was cancelled.
pub(super) struct Planning<'a> {
    session: &'a Session,
    statement: &'a StatementText,
    started: SystemTime,
    clock: Instant,
    shown: Mutex<Option<Ending>>,
}

impl<'a> Planning<'a> {
    pub(super) fn new(session: &'a Session, statement: &'a StatementText) -> Self {
        let (started, clock) = (SystemTime::now(), Instant::now());
        Self { session, statement, started, clock, shown: Mutex::new(None) }
    }

    /// Shows the statement if it takes its time, and returns the error of one that somebody has stopped.
    pub(super) async fn stopped(&self) -> Error {
        tokio::time::sleep(SHOWN_AFTER).await;
        let (query, ending) = self.begin();
        *self.shown.lock() = Some(ending);
        query.interrupted().await;
        query.why_cancelled()
    }

    /// Takes it off the list: what runs then is listed itself.
    pub(super) fn succeed(self) {
        if let Some(ending) = self.shown.into_inner() {
            ending.forget();
        }
    }

    /// Keeps a statement that was refused before it ran in the history.
    pub(super) fn fail(self, error: &Error) {
        let shown = self.shown.lock().take();
        shown.unwrap_or_else(|| self.begin().1).fail(error);
    }

    fn begin(&self) -> (Arc<Query>, Ending) {
        let (session, inner) = (self.session, &self.session.engine.inner);
        let query = inner.queries.start(QueryStart {
            session_id: session.id,
            user: session.user(),
            protocol: session.login.protocol,
            sql: &crate::statement::redact(&self.statement.text),
            cursor: false,
            state: State::Planning,
            started: self.started,
            clock: self.clock,
            arrived: self.clock,
            pool: QueryPool::new(Arc::clone(&inner.governor), 0),
            reading: inner.catalogs.warehouse().begin_reading(),
        });
        let ending = Ending::new(session.engine.clone(), Arc::clone(&query));
        (query, ending)
    }
}

impl Session {
    /// Does some planning, on a thread of its own if it is large. What is done on such a thread already stays there: those who
    /// hold one and wait for another one could keep each other waiting.
    ///
    /// # Errors
    /// Those of the work; XX000 if it panics.
    pub(super) async fn planned<T>(
        &self,
        is_large: bool,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
    {
        if !is_large || planners::is_here() {
            return work.await;
        }
        let planned = self.engine.inner.planners.run(self.user(), work).await;
        planned.unwrap_or_else(|end| Err(broken_off(end)))
    }
}

/// Returns whether a text may take long to plan.
pub(super) fn is_large_text(statement: &StatementText) -> bool {
    statement.text.len() >= LARGE_TEXT_BYTES
}

/// Returns whether a plan may take long to optimize.
pub(super) fn is_large_plan(plan: &LogicalPlan) -> bool {
    let mut n_parts = 0_usize;
    let counted = plan.apply_with_subqueries(|node| {
        n_parts += 1;
        node.apply_expressions(|expr| {
            expr.apply(|_| {
                n_parts += 1;
                Ok(match n_parts >= LARGE_PLAN_PARTS {
                    true => TreeNodeRecursion::Stop,
                    false => TreeNodeRecursion::Continue,
                })
            })
        })
    });
    // What cannot be counted is refused where it is planned.
    counted.is_ok() && n_parts >= LARGE_PLAN_PARTS
}
