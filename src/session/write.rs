//! Statements that write rows: from their words to a plan that ends in a [`node::WriteNode`].
//!
//! `target.rs` finds the table and asks for the rights on it, `literals.rs` and `assign.rs` bring what the query gives to the
//! table's types as PostgreSQL assigns values, `insert.rs`, `create.rs` and `update.rs` are the statements, `incoming.rs` and `batched.rs` are
//! rows that the client sends along, `node.rs` is the plan,
//! `kept.rs`, `declared.rs`, `moments.rs` and `row_check.rs` are `CHECK` and `DEFAULT`, `computed.rs` is what `ON CONFLICT` computes, `copied.rs` reads texts
//! out of files, `policed.rs` is what policies have to say, `returning.rs` and `returned.rs` are what rows tell of.

mod assign;
mod batched;
mod computed;
mod condition;
mod copied;
mod copy;
mod create;
mod declared;
mod incoming;
mod insert;
mod kept;
mod literals;
mod moments;
mod node;
mod optimize;
mod policed;
mod returned;
mod returning;
mod row_check;
mod target;
mod update;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::logical_expr::{LogicalPlan, PlanType, ToStringifiedPlan};
use datafusion::sql::parser::{ExplainStatement, Statement as DfStatement};
use futures::StreamExt;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{Write, WriteAction};

use super::meaning::as_meant;
use super::membership::refuse_lost_nulls;
use super::parameters::{parameter_types, settle};
use super::rewrite::rewrite;
use super::temporary::is_written_as_temporary;
use super::{Kind, Planned, Prepared, Session, StatementText, TransactionStatus, explain};
use crate::access::audit::What;
use crate::catalog::BUILTIN;
use crate::engine::query::Query;
use crate::opaque::Opaque;
use crate::output::{Output, Rows};

pub(crate) use copied::bytea;
pub(crate) use create::{create_schema, create_table, declared_column, declared_type, length_of};
pub(crate) use declared::{name_for, read_check, read_default, require_of_all};
pub use incoming::{IfExists, Incoming, Ingest};
pub(super) use node::{Writes, writes};
pub(crate) use target::{Target, find as find_target, place as place_of_new};

/// The error for rows that could not be taken back.
pub(crate) fn written_in_block() -> Error {
    Error::new(ErrorKind::InTransaction, "rows cannot be written inside a transaction block")
        .with_detail("They could not be taken back, except those of tables of catalog maru.")
        .with_hint("COMMIT first, or connect with autocommit.")
}

/// What became of planning a statement that writes.
enum Outcome {
    /// A plan, and what its command tag begins with.
    Plan(LogicalPlan, &'static str),
    /// There is nothing to do.
    Done { tag: &'static str, notice: String },
}

impl Session {
    pub(super) async fn prepare_write(
        self: &Arc<Self>,
        write: Write,
        text: &StatementText,
        declared: &[Option<DataType>],
    ) -> Result<Prepared> {
        let planned = Planned::now(self);
        let mut action = write.action;
        super::rewrite::declared::write(&mut action, declared);
        let outcome = match action {
            WriteAction::Insert(insert) => self.plan_insert(insert, false).await?,
            WriteAction::CreateTableAs(create) => self.plan_create_as(create).await?,
            WriteAction::Delete(delete) => self.plan_delete(*delete).await?,
            WriteAction::Update(update) => self.plan_update(*update).await?,
            WriteAction::Merge(merge) => self.plan_merge(*merge).await?,
            WriteAction::CopyTo(copy) => self.plan_copy_to(*copy).await?,
            WriteAction::CopyFrom(insert) => self.plan_copy_from(insert).await?,
            WriteAction::Optimize(name) => self.plan_optimize(name).await?,
        };
        let (plan, tag) = match outcome {
            Outcome::Plan(plan, tag) => (plan, tag),
            Outcome::Done { tag, notice } => {
                return Ok(Prepared {
                    schema: None,
                    parameters: Vec::new(),
                    arguments: Vec::new(),
                    text: text.clone(),
                    notices: vec![notice],
                    kind: Kind::Done { tag },
                    planned,
                });
            }
        };
        let plan = as_meant(plan)?;
        // A condition that is NULL would choose rows to be changed or copied.
        refuse_lost_nulls(&plan)?;
        self.check_functions(&plan)?;
        let parameters = parameter_types(&plan, declared)?;
        let (told, parameters) = settle(&plan, parameters)?;
        let (plan, schema, tag) = match write.explain {
            None => {
                let returns = node::returns(&plan);
                let plan = if returns { node::promising(plan, &told) } else { plan };
                (plan, returns.then_some(told), tag)
            }
            Some(options) => {
                let plan = self.plan_explained(*options, plan).await?;
                let schema = match explain::explained(&plan) {
                    Some((_, _, shape)) => explain::schema(shape),
                    None => Arc::new(plan.schema().as_arrow().clone()),
                };
                (plan, Some(schema), "EXPLAIN")
            }
        };
        Ok(Prepared {
            schema,
            parameters,
            arguments: Vec::new(),
            text: text.clone(),
            notices: Vec::new(),
            kind: Kind::Query { plan: Opaque::new(plan), tag, monitors: false },
            planned,
        })
    }

    /// Puts a plan under `EXPLAIN`, by planning that of a query and exchanging the two.
    pub(super) async fn plan_explained(
        self: &Arc<Self>,
        options: datafusion::common::format::ExplainStatementOptions,
        plan: LogicalPlan,
    ) -> Result<LogicalPlan> {
        let maru_sql::Statement::Query { statement, .. } = maru_sql::parse("SELECT 1")? else {
            return Err(Error::internal("a query is none"));
        };
        let explain = DfStatement::Explain(ExplainStatement { options, statement });
        Ok(match self.statement_state().statement_to_plan(explain).await? {
            LogicalPlan::Explain(mut explain) => {
                explain.stringified_plans = vec![plan.to_stringified(PlanType::InitialLogicalPlan)];
                explain.plan = Arc::new(plan);
                LogicalPlan::Explain(explain)
            }
            LogicalPlan::Analyze(mut analyze) => {
                analyze.input = Arc::new(plan);
                LogicalPlan::Analyze(analyze)
            }
            _ => return Err(Error::internal("EXPLAIN is planned as something else")),
        })
    }

    /// Plans the query whose rows are written.
    async fn plan_source(
        self: &Arc<Self>,
        query: Box<maru_sql::ast::Query>,
    ) -> Result<LogicalPlan> {
        let query = Box::new(maru_sql::ast::Statement::Query(query));
        let mut statement = DfStatement::Statement(query);
        rewrite(&mut statement)?;
        let state = self.statement_state();
        self.check_names(&state, &statement).await?;
        let plan = state.statement_to_plan(statement).await.map_err(Error::from)?;
        super::plan::refuse_writes(&plan)?;
        // Types are settled here: a new table has those of its rows.
        Ok(as_meant(plan)?)
    }

    /// Refuses a write in a transaction that only reads, and where it would have to be undone and cannot be. A table of the built-in
    /// catalog that is made in a block goes with it, and so do its rows.
    ///
    /// # Errors
    /// 25006; 25001 in a transaction block.
    pub(super) async fn refuse_write(&self, plan: &LogicalPlan, tag: &str) -> Result<()> {
        let temporary = node::written(plan).is_some_and(|writing| {
            let is_new = writing.owner.is_some();
            !is_new && writing.attached.name == BUILTIN && is_written_as_temporary(&writing.schema)
        });
        if !temporary {
            self.refuse_when_read_only(node::statement(plan, tag))?;
        }
        if self.transaction_status() == TransactionStatus::Idle {
            return Ok(());
        }
        match node::written(plan) {
            Some(writing) if writing.attached.name == BUILTIN => {
                let is_new = writing.owner.is_some();
                let copied = writing.schema.starts_with(super::copies::PREFIX);
                if is_new || copied || self.has_made(&writing.schema, &writing.table).await? {
                    return Ok(());
                }
            }
            _ => {}
        }
        Err(written_in_block())
    }

    /// Runs a write to its end, and tells how many rows it was, or what they tell of.
    pub(super) async fn finish_write(
        &self,
        mut rows: Rows,
        (tag, returns): (&'static str, bool),
        query: &Query,
    ) -> Result<Output> {
        if returns {
            let mut told = Vec::new();
            let mut end = Ok(());
            while let Some(batch) = rows.stream.next().await {
                match batch {
                    Ok(batch) => told.push(batch),
                    Err(error) => {
                        end = Err(error);
                        break;
                    }
                }
            }
            // The statement ends here, and its place with it: whoever reads slowly holds up nobody, and nothing stops them.
            rows.stream = futures::stream::empty().boxed();
            self.audit_write(query, What::Write, end.as_ref().err()).await;
            end?;
            let pool = Arc::clone(&query.pool) as Arc<dyn MemoryPool>;
            let memory = MemoryConsumer::new("RETURNING").register(&pool);
            memory.grow(told.iter().map(RecordBatch::get_array_memory_size).sum());
            let told = told.into_iter().map(move |batch| {
                let _until_all_are_sent = &memory;
                Ok(batch)
            });
            rows.stream = futures::stream::iter(told).boxed();
            return Ok(Output::rows(rows));
        }
        let mut n_rows = 0;
        let mut end = Ok(());
        while let Some(batch) = rows.stream.next().await {
            match batch {
                Ok(batch) => {
                    let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
                    n_rows += counts.map_or(0, |counts| counts.values().iter().sum::<u64>());
                    query.n_rows.store(n_rows, std::sync::atomic::Ordering::Relaxed);
                }
                Err(error) => end = Err(error),
            }
        }
        let what = if tag == "SELECT" { What::Ddl } else { What::Write };
        self.audit_write(query, what, end.as_ref().err()).await;
        end?;
        Ok(Output::command(format!("{tag} {n_rows}")))
    }

    async fn audit_write(&self, query: &Query, what: What, error: Option<&Error>) {
        // What is denied is told of by the ending of the statement.
        if error.is_none_or(|error| error.kind() != ErrorKind::NotAllowed) {
            self.engine.audit_statement(query, what, error);
            self.engine.inner.audit.settle().await;
        }
    }
}
