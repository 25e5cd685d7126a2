//! A prepared statement: what kind it is, and how long its plan may be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use maru_connect::RemoteTable;
use maru_sql::{CopyOptions, DeclareCursor, Fetch, Statement};

use super::write::Incoming;
use super::{Session, StatementText, TransactionStatus};
use crate::catalog::Attached;
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
/// is good for one run soon after it was made, and each further run plans again. A plan that reads no table, or only such of
/// sources that are remembered for a while, is good until a command has run, a setting has changed, or a table is no longer
/// believed to be what it was.
#[derive(Debug)]
pub(in crate::session) struct Planned {
    at: Instant,
    /// Commands that had run by then, in the engine and in the session.
    commands: (u64, u64),
    used: AtomicBool,
    /// The number of the session's state, and what is read, if it may be used again.
    lasting: Option<(u64, Vec<Believed>)>,
    /// Whether a transaction block was open, in which other tables may be meant.
    in_block: bool,
    /// Whether it belonged to a transaction of several statements, which writes to other places than a statement alone.
    in_transaction: bool,
}

/// A table of a source, as it is remembered there.
#[derive(Debug, Clone)]
pub(in crate::session) struct Believed {
    attached: Arc<Attached>,
    schema: String,
    name: String,
    table: Arc<dyn RemoteTable>,
}

impl Believed {
    /// Returns what a name means, if it is such a table.
    pub(in crate::session) fn of(session: &Session, reference: &TableReference) -> Option<Self> {
        let (catalog, places, name) = match reference {
            TableReference::Bare { table } => {
                let places = session.bare_places().into_iter().map(|(_, schema)| schema);
                (session.catalog(), places.collect::<Vec<_>>(), table)
            }
            TableReference::Partial { schema, table } => {
                (session.catalog(), vec![schema.to_string()], table)
            }
            TableReference::Full { catalog, schema, table } => {
                (catalog.to_string(), vec![schema.to_string()], table)
            }
        };
        // In a second place it is found only while there is none in the first, which would have to be asked.
        let [schema] = <[String; 1]>::try_from(places).ok()?;
        let attached = session.require_catalog(&catalog).ok()?;
        let table = attached.believed(&schema, name)?;
        Some(Self { attached, schema, name: name.to_string(), table })
    }

    fn holds(&self) -> bool {
        let now = self.attached.believed(&self.schema, &self.name);
        now.is_some_and(|now| std::ptr::addr_eq(Arc::as_ptr(&now), Arc::as_ptr(&self.table)))
    }
}

impl Session {
    /// Returns how many commands have run in the engine, and how many in the session that changed nothing else.
    fn commands_so_far(&self) -> (u64, u64) {
        let engine = self.engine.inner.commands.load(Ordering::Relaxed);
        (engine, self.commands.load(Ordering::Relaxed))
    }
}

impl Planned {
    /// Clients that prepare a statement in order to run it do so at once.
    pub(in crate::session) const GOOD_FOR: Duration = Duration::from_millis(500);

    pub(in crate::session) fn now(session: &Session) -> Arc<Self> {
        let commands = session.commands_so_far();
        let in_block = session.transaction_status() != TransactionStatus::Idle;
        let in_transaction = session.in_transaction();
        let (at, used) = (Instant::now(), AtomicBool::new(false));
        Arc::new(Self { at, commands, used, lasting: None, in_block, in_transaction })
    }

    /// Returns the age of a plan that was begun then and turned out to read nothing but these tables.
    pub(in crate::session) fn lasting(
        &self,
        session: &Session,
        tables: Vec<Believed>,
    ) -> Arc<Self> {
        let Self { at, commands, in_block, in_transaction, .. } = *self;
        let lasting = session.state_number().map(|number| (number, tables));
        let used = AtomicBool::new(false);
        Arc::new(Self { at, commands, used, lasting, in_block, in_transaction })
    }

    fn reads_tables(&self) -> bool {
        self.lasting.as_ref().is_none_or(|(_, tables)| !tables.is_empty())
    }

    /// Takes the plan for one run; returns whether it can be had.
    pub(in crate::session) fn take(&self, session: &Session) -> bool {
        let first = !self.used.swap(true, Ordering::Relaxed);
        let in_block = session.transaction_status() != TransactionStatus::Idle;
        let good = match &self.lasting {
            Some((number, tables)) => {
                session.state_number() == Some(*number)
                    && (tables.is_empty() || self.in_block == in_block)
                    && tables.iter().all(Believed::holds)
            }
            None => {
                first
                    && self.at.elapsed() < Self::GOOD_FOR
                    && self.in_block == in_block
                    && self.in_transaction == session.in_transaction()
            }
        };
        good && self.commands == session.commands_so_far()
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

    /// Returns whether it writes to a table; rows that it gives are those that it wrote.
    pub(crate) fn writes(&self) -> bool {
        matches!(&self.kind, Kind::Query { plan, .. } if super::write::writes(plan))
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
                _ => return self.planned.reads_tables(),
            }
        }
    }
}
