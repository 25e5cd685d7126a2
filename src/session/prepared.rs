//! A prepared statement: what kind it is, and how long its plan may be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use maru_sql::{CopyOptions, DeclareCursor, Fetch, Statement};

use super::write::Incoming;
use super::{Session, StatementText, TransactionStatus};
use crate::opaque::Opaque;

/// A statement that has been parsed and planned, to be executed any number of times.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Columns of the result; `None` for a command without rows.
    pub schema: Option<SchemaRef>,
    /// Types of `$1`, `$2`, …; `None` where the statement does not tell.
    pub parameters: Vec<Option<DataType>>,
    /// Parameters, from zero, that the plan needs the values of: arguments of table functions.
    pub(in crate::session) arguments: Vec<usize>,
    pub text: StatementText,
    /// What was found out on the way and belongs before the rows.
    pub(in crate::session) notices: Vec<String>,
    pub(in crate::session) kind: Kind,
    pub(in crate::session) planned: Arc<Planned>,
}

/// How old a plan is. Tables may be dropped, made anew or replaced meanwhile, here or in a source, settings may change; so a plan
/// is good for one run soon after it was made, and each further run plans again. A plan that reads no table is good until a
/// command has run or a setting has changed.
#[derive(Debug)]
pub(in crate::session) struct Planned {
    at: Instant,
    /// Commands that had run by then.
    commands: u64,
    used: AtomicBool,
    /// The number of the session's state, if no table is read.
    state: Option<u64>,
    /// Whether a transaction block was open, in which other tables may be meant.
    in_block: bool,
}

impl Planned {
    /// Clients that prepare a statement in order to run it do so at once.
    pub(in crate::session) const GOOD_FOR: Duration = Duration::from_millis(500);

    pub(in crate::session) fn now(session: &Session) -> Arc<Self> {
        let commands = session.engine.inner.commands.load(Ordering::Relaxed);
        let in_block = session.transaction_status() != TransactionStatus::Idle;
        let (at, used) = (Instant::now(), AtomicBool::new(false));
        Arc::new(Self { at, commands, used, state: None, in_block })
    }

    /// Returns the age of a plan that was begun then and turned out to read no table.
    pub(in crate::session) fn of_no_table(&self, session: &Session) -> Arc<Self> {
        let (at, commands, in_block) = (self.at, self.commands, self.in_block);
        let (used, state) = (AtomicBool::new(false), session.state_number());
        Arc::new(Self { at, commands, used, state, in_block })
    }

    /// Takes the plan for one run; returns whether it can be had.
    pub(in crate::session) fn take(&self, session: &Session) -> bool {
        let first = !self.used.swap(true, Ordering::Relaxed);
        let commands = session.engine.inner.commands.load(Ordering::Relaxed);
        let good = match self.state {
            Some(number) => session.state_number() == Some(number),
            None => {
                let in_block = session.transaction_status() != TransactionStatus::Idle;
                first && self.at.elapsed() < Self::GOOD_FOR && self.in_block == in_block
            }
        };
        good && self.commands == commands
    }
}

#[derive(Debug, Clone)]
pub(in crate::session) enum Kind {
    Query {
        plan: Opaque<LogicalPlan>,
        tag: &'static str,
        monitors: bool,
    },
    Command(Opaque<Statement>),
    /// There was nothing to do; the notices say why.
    Done {
        tag: &'static str,
    },
    Prepare {
        name: String,
        inner: Box<Prepared>,
        declared: Vec<Option<DataType>>,
    },
    Declare {
        declare: Arc<DeclareCursor>,
        inner: Box<Prepared>,
    },
    Fetch(Fetch),
    Copy {
        options: Arc<CopyOptions>,
        inner: Box<Prepared>,
    },
    /// Rows that the client sends are written.
    Incoming(Incoming),
}

impl Prepared {
    /// Returns the plan of a statement that has one.
    pub(crate) fn plan(&self) -> Option<&LogicalPlan> {
        match &self.kind {
            Kind::Query { plan, .. } => Some(plan),
            _ => None,
        }
    }

    /// Returns whether the rows are those of tables and in no order, so that they may be read by several at once.
    pub(crate) fn is_large_and_unordered(&self) -> bool {
        let Kind::Query { plan, monitors: false, .. } = &self.kind else { return false };
        let mut plan: &LogicalPlan = plan;
        loop {
            plan = match plan {
                LogicalPlan::Sort(_)
                | LogicalPlan::Limit(_)
                | LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_) => return false,
                LogicalPlan::Projection(inner) => &inner.input,
                LogicalPlan::SubqueryAlias(inner) => &inner.input,
                LogicalPlan::Filter(inner) => &inner.input,
                _ => return self.planned.state.is_none(),
            }
        }
    }
}
