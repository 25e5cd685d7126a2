//! Runs a prepared statement: admission, physical plan, rows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Result};

use super::advisory::OwnTransaction;
use super::plan::{broken_off, panicked};
use super::planning::{is_large_plan, is_large_text};
use super::state::task_context;
use super::write::writes;
use super::{
    Image, InBlock, Kind, Named, Planned, Prepared, Session, TransactionStatus, explain, in_block,
};
use crate::engine::admission::Permit;
use crate::engine::memory::{Governor, QueryPool};
use crate::engine::query::{Query, QueryStart, State};
use crate::engine::run::{Delivery, Ending, start, timed_out};
use crate::output::{Body, Output, Rows};
use crate::statement;

impl Session {
    /// Runs a prepared statement. Waits in the queue if too many run already.
    ///
    /// # Cancel
    /// By [`Session::cancel`], by dropping the future, by dropping the output's stream.
    pub async fn execute(
        self: &Arc<Self>,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Output> {
        self.execute_since(prepared, parameters, Instant::now()).await
    }

    /// The same for a statement whose time counts from when its text came: planning it was a part of it.
    pub(crate) async fn execute_since(
        self: &Arc<Self>,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        arrived: Instant,
    ) -> Result<Output> {
        self.refuse_in_failed_block(Self::ends_failure(prepared))?;
        self.execute_for(prepared, parameters, false, arrived).await
    }

    /// The same, of a type that does not depend on what it runs: statements run others.
    pub(super) fn execute_boxed(
        self: &Arc<Self>,
        prepared: Prepared,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'static, Result<Output>> {
        let session = Arc::clone(self);
        let arrived = Instant::now();
        async move { session.execute_for(&prepared, parameters, false, arrived).await }.boxed()
    }

    /// Runs the query of a cursor, whose time is that of its fetches.
    pub(super) fn execute_kept(
        self: &Arc<Self>,
        prepared: Prepared,
        parameters: Vec<ScalarValue>,
    ) -> BoxFuture<'static, Result<Output>> {
        let session = Arc::clone(self);
        let arrived = Instant::now();
        async move { session.execute_for(&prepared, parameters, true, arrived).await }.boxed()
    }

    /// Runs a prepared statement as the query that another one has begun.
    fn execute_as(
        self: &Arc<Self>,
        prepared: Prepared,
        parameters: Vec<ScalarValue>,
        query: Arc<Query>,
        ending: Ending,
    ) -> BoxFuture<'static, Result<Output>> {
        let session = Arc::clone(self);
        async move { session.execute_query(&prepared, parameters, query, ending).await }.boxed()
    }

    async fn execute_for(
        self: &Arc<Self>,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        cursor: bool,
        arrived: Instant,
    ) -> Result<Output> {
        self.engine.refuse_when_closing()?;
        let inner = &self.engine.inner;
        let limit = self.settings.read().query_memory_limit();
        let query = inner.queries.start(QueryStart {
            session_id: self.id,
            user: self.user(),
            protocol: self.login.protocol,
            sql: &statement::redact(&prepared.text.text),
            cursor,
            state: State::Queued,
            started: SystemTime::now(),
            clock: Instant::now(),
            arrived,
            pool: QueryPool::new(self.budget(), limit),
            reading: inner.catalogs.warehouse().begin_reading(),
        });
        if let Some(work) = self.work() {
            work.runs_as(query.id);
        }
        let ending = Ending::new(self.engine.clone(), Arc::clone(&query));
        let timeout = self.statement_timeout();
        let work = async {
            let plans =
                matches!(prepared.kind, Kind::Query { .. } | Kind::Copy { .. } | Kind::Incoming(_));
            if !plans && is_large_text(&prepared.text) {
                // What a command reads in it, it plans itself.
                let (session, prepared) = (Arc::clone(self), prepared.clone());
                let query = Arc::clone(&query);
                let work = async move {
                    session.execute_query(&prepared, parameters, query, ending).await
                };
                return self.planned(true, work.boxed()).await;
            }
            if !plans {
                // Boxed, as the commands below: a statement that runs others has all their futures on its stack.
                return self
                    .execute_query(prepared, parameters, Arc::clone(&query), ending)
                    .boxed()
                    .await;
            }
            query.set_lane(inner.executor.lane(self.user()));
            let work = query.spawn({
                let (session, prepared) = (Arc::clone(self), prepared.clone());
                let query = Arc::clone(&query);
                async move { session.execute_query(&prepared, parameters, query, ending).await }
            });
            let work = work.ok_or_else(Error::cancelled)?;
            work.await.unwrap_or_else(|end| Err(broken_off(end)))
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = tokio::select! {
            biased;
            () = query.interrupted() => Err(query.why_cancelled()),
            () = query.overdue(timeout) => Err(timed_out(timeout)),
            result = work => result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
        };
        result.map_err(|error| {
            // The work itself may notice much later that nobody waits for it any more.
            Ending::new(self.engine.clone(), query).fail(&error);
            error.locate(&prepared.text.text, prepared.text.offset)
        })
    }

    async fn execute_query(
        self: &Arc<Self>,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        query: Arc<Query>,
        ending: Ending,
    ) -> Result<Output> {
        let again = match prepared.kind {
            Kind::Query { .. } if !prepared.arguments.is_empty() => {
                query.set_state(State::Planning);
                match self.plan_with(prepared, &parameters).await {
                    Ok(again) => Some(again),
                    Err(error) => {
                        ending.fail(&error);
                        return Err(error);
                    }
                }
            }
            Kind::Query { .. } | Kind::Done { .. } | Kind::Copy { .. }
                if !prepared.planned.take(self) =>
            {
                query.set_state(State::Planning);
                match self.plan_again(prepared).await {
                    Ok(again) => Some(again),
                    Err(error) => {
                        ending.fail(&error);
                        return Err(error);
                    }
                }
            }
            _ => None,
        };
        let prepared = again.as_ref().unwrap_or(prepared);
        let result = match &prepared.kind {
            Kind::Command(command) => {
                query.set_state(State::Running);
                let running = async {
                    let bound = crate::pipelines::with_values(command, &parameters)?;
                    let command: &maru_sql::Statement = bound.as_ref().unwrap_or(command);
                    self.run_command(command, &prepared.text.text).await
                };
                let result: Result<Output> = running.boxed().await;
                match statement::is_of_session(command) {
                    true => &self.commands,
                    false => &self.engine.inner.commands,
                }
                .fetch_add(1, Ordering::Relaxed);
                // A refusal is recorded where every statement ends.
                let denied =
                    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotAllowed);
                if let Some(what) = statement::audited(command).filter(|_| !denied) {
                    self.engine.audit_statement(&query, what, result.as_ref().err());
                    // What a client has been told is on record, whatever happens to the process next.
                    self.engine.inner.audit.settle().await;
                }
                result
            }
            Kind::Done { tag } => self.refuse_when_read_only(tag).map(|()| {
                let mut output = Output::command(*tag);
                output.notices.clone_from(&prepared.notices);
                output
            }),
            Kind::Prepare { name, inner, declared } => {
                let statement = Named {
                    prepared: Some(Prepared::clone(inner)),
                    declared: vec![0; declared.len()],
                    types: declared.clone(),
                    text: prepared.text.text.clone(),
                    prepared_at: SystemTime::now(),
                    from_sql: true,
                };
                self.keep_named(name, statement).map(|()| Output::command("PREPARE"))
            }
            Kind::Declare { declare, inner } => {
                query.set_state(State::Running);
                self.declare(declare, inner, &prepared.text.text, parameters).await
            }
            Kind::Fetch(fetch) => return self.fetch(fetch, query, ending).await,
            Kind::Copy { options, inner } => {
                // Its plan is as old as that of the COPY, whose text alone could be planned again.
                let (text, planned) = (prepared.text.clone(), Planned::now(self));
                let inner = Prepared { text, planned, ..Prepared::clone(inner) };
                let options = Arc::clone(options);
                // One statement, under the same number: the rows carry its ending.
                let work = self.execute_as(inner, parameters, Arc::clone(&query), ending);
                let output = work.await?;
                let notices = output.notices;
                return match output.body {
                    Body::Rows(rows) => Ok(Output { notices, body: Body::Copy { rows, options } }),
                    _ => Err(Error::internal("a query gave no rows")),
                };
            }
            Kind::Query { plan, tag, monitors } if explain::explained(plan).is_some() => {
                self.explain(plan, tag, parameters, &query, *monitors).await.map(Output::rows)
            }
            Kind::Query { plan, tag, monitors } => {
                let how = (*tag, *monitors);
                return self.run_plan(prepared, plan, how, parameters, &query, ending).await;
            }
            Kind::Incoming(incoming) => {
                let (plan, how) = (&incoming.plan, (incoming.tag, false));
                return self.run_plan(prepared, plan, how, parameters, &query, ending).await;
            }
        };
        match &result {
            Ok(_) => ending.succeed(),
            Err(error) => ending.fail(error),
        }
        result
    }

    /// Runs a plan: rows of a query come as they are read, a write runs to its end.
    async fn run_plan(
        self: &Arc<Self>,
        prepared: &Prepared,
        plan: &LogicalPlan,
        (tag, monitors): (&'static str, bool),
        parameters: Vec<ScalarValue>,
        query: &Arc<Query>,
        ending: Ending,
    ) -> Result<Output> {
        let refused = match writes(plan) {
            true => self.refuse_write(plan, tag).await,
            false => Ok(()),
        };
        if tag != "SHOW" {
            self.note_query();
        }
        let planned = match refused {
            Ok(()) => self.plan_physical(plan, parameters, query, monitors).await,
            Err(error) => Err(error),
        };
        let (physical, context, permit) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                ending.fail(&error);
                return Err(error);
            }
        };
        let schema = prepared.schema.clone().unwrap_or_else(|| physical.schema());
        let timeout = if query.cursor { Duration::ZERO } else { self.statement_timeout() };
        let writes = writes(plan);
        // A cursor's rows are for later.
        let ahead = !writes && !query.cursor;
        let delivery = Delivery { schema, tag, timeout, ahead };
        let own = OwnTransaction::of(self);
        let rows = start(ending, physical, context, permit, delivery).await?;
        let rows = Self::located(rows, prepared, own);
        if writes {
            let how = (tag, prepared.schema.is_some());
            return self.finish_write(rows, how, query).await;
        }
        let mut output = Output::rows(rows);
        output.notices.clone_from(&prepared.notices);
        Ok(output)
    }

    /// Runs a command, and keeps what it changes if a transaction may undo it.
    async fn run_command(
        self: &Arc<Self>,
        command: &maru_sql::Statement,
        sql: &str,
    ) -> Result<Output> {
        if let Some(name) = statement::written_as(command) {
            self.refuse_when_read_only(&name)?;
        }
        if !self.in_transaction() {
            return statement::execute(self, command, sql).boxed().await;
        }
        let kind = match in_block(command) {
            InBlock::Undoable | InBlock::Free if statement::is_final(self, command) => {
                InBlock::Refused
            }
            kind => kind,
        };
        match kind {
            InBlock::Free => statement::execute(self, command, sql).await,
            InBlock::Refused if self.transaction_status() != TransactionStatus::Idle => {
                Err(Error::new(
                    ErrorKind::InTransaction,
                    "this statement cannot run inside a transaction block",
                )
                .with_detail("What it does cannot be undone.")
                .with_hint("COMMIT first, or connect with autocommit."))
            }
            InBlock::Refused => statement::execute(self, command, sql).await,
            InBlock::Undoable => {
                let before = Image::take(&self.engine).await?;
                let result = statement::execute(self, command, sql).await;
                // Of several objects some may have been made before the error.
                self.remember(&before).await?;
                result
            }
        }
    }

    /// Lets errors of the running statement point into the text.
    fn located(rows: Rows, prepared: &Prepared, own: OwnTransaction) -> Rows {
        use futures::StreamExt;
        let text = prepared.text.clone();
        let stream = rows.stream.map(move |batch| {
            // Until the last row has been read.
            let _ = &own;
            batch.map_err(|error| error.locate(&text.text, text.offset))
        });
        Rows { stream: Box::pin(stream), ..rows }
    }

    /// Answers `EXPLAIN`, after running the plan for `ANALYZE`.
    async fn explain(
        self: &Arc<Self>,
        plan: &LogicalPlan,
        tag: &'static str,
        parameters: Vec<ScalarValue>,
        query: &Arc<Query>,
        monitors: bool,
    ) -> Result<Rows> {
        let _permit = self.admit(monitors).await?;
        query.set_state(State::Planning);
        let start = Instant::now();
        let plan = bind(plan.clone(), parameters)?;
        let (plan, analyze, shape) =
            explain::explained(&plan).ok_or_else(|| Error::internal("nothing to explain"))?;
        if analyze && writes(plan) {
            self.refuse_write(plan, tag).await?;
        }
        let state = self.explaining_state(query);
        let planning = {
            let (state, plan) = (state.clone(), plan.clone());
            async move {
                let logical = state.optimize(&plan)?;
                let planner = state.query_planner();
                let physical = planner.create_physical_plan(&logical, &*state).await?;
                Ok::<_, Error>((logical, physical))
            }
        };
        let (logical, physical) = self.planned(is_large_plan(plan), planning).await?;
        let planned_in = start.elapsed();
        query.set_state(State::Running);
        query.set_plan(Arc::clone(&physical));
        let ran = match analyze {
            true => Some(explain::run(&physical, task_context(&state)).await?),
            false => None,
        };
        let engine = &self.engine;
        let (logical, physical) = (&logical, &physical);
        let report = explain::Report { engine, query, logical, physical, planned_in, ran, shape };
        let batch = report.batch()?;
        query.n_rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let stream = Box::pin(futures::stream::once(async { Ok(batch) }));
        Ok(Rows { query_id: query.id, tag, schema: explain::schema(shape), stream })
    }

    /// Waits for a place. A statement that reads only what the engine knows of itself needs none.
    async fn admit(&self, monitors: bool) -> Result<Option<Permit>> {
        if monitors {
            return Ok(None);
        }
        let inner = &self.engine.inner;
        let rules = inner.authority.rules();
        let group = rules.group_for(self.user(), &self.application());
        inner.admission.enter(&rules, group, self.user()).await.map(Some)
    }

    /// Returns the memory budget of the resource group that the session's statements run in.
    fn budget(&self) -> Arc<Governor> {
        let inner = &self.engine.inner;
        let rules = inner.authority.rules();
        let group = rules.group_for(self.user(), &self.application());
        inner.admission.governor(&rules, group)
    }

    fn application(&self) -> String {
        self.setting("application_name").unwrap_or_default()
    }

    async fn plan_physical(
        self: &Arc<Self>,
        plan: &LogicalPlan,
        parameters: Vec<ScalarValue>,
        query: &Arc<Query>,
        monitors: bool,
    ) -> Result<(Arc<dyn datafusion::physical_plan::ExecutionPlan>, Arc<TaskContext>, Option<Permit>)>
    {
        let permit = self.admit(monitors).await?;
        query.set_state(State::Planning);
        let plan = bind(plan.clone(), parameters)?;
        let state = self.query_state(query);
        let is_large = is_large_plan(&plan);
        let planning = {
            let state = state.clone();
            async move { Ok::<_, Error>(state.create_physical_plan(&plan).await?) }
        };
        let physical = self.planned(is_large, planning).await?;
        Ok((physical, task_context(&state), permit))
    }
}

pub(super) fn bind(plan: LogicalPlan, parameters: Vec<ScalarValue>) -> Result<LogicalPlan> {
    let wanted = plan.get_parameter_names()?.len();
    if parameters.len() < wanted {
        return Err(Error::new(
            ErrorKind::ProtocolViolation,
            format!("statement needs {wanted} parameters, {} are given", parameters.len()),
        ));
    }
    if wanted == 0 {
        return Ok(plan);
    }
    Ok(plan.with_param_values(ParamValues::from(parameters))?)
}
