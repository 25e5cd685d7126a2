//! One step of a run: its condition, its statement, its tries.
//!
//! What is tried is in the metadata before it is tried. A statement that writes carries the name of the work, so that the target knows
//! a second try again; where the target cannot, a try of which nobody knows how it ended is not followed by another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::FieldRef;
use futures::StreamExt;
use maru_core::{Blame, Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::definition::{Again, Body as StepBody, Definition, Step};
use super::lineage;
use super::parameters::substitute;
use super::{Active, now_us};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::engine::Engine;
use crate::output::{Body, Output};
use crate::session::{Session, StatementText, Work};
use crate::shell::text;
use crate::statement::redact;
use crate::store::pipelines::{StoredRun, StoredStep};

/// How often a statement is told again to stop: it may be between planning and running.
const TOLD_AGAIN: Duration = Duration::from_millis(100);

/// What an expectation tells besides whether it holds: so many columns, of so many characters each.
const TOLD_COLUMNS: usize = 20;
const TOLD_CHARS: usize = 200;

/// What a try of a step goes back to, in a block.
const SAVEPOINT: &str = "before the step";

/// What the steps of one run have in common.
#[derive(Debug)]
pub(super) struct Context {
    pub engine: Engine,
    pub run: StoredRun,
    pub definition: Definition,
    /// SQL by name of parameter.
    pub values: BTreeMap<String, String>,
    pub token: CancellationToken,
    pub active: Arc<Active>,
    /// The session of all steps, in a block, if they are published at once.
    pub block: Mutex<Option<Arc<Session>>>,
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum End {
    Succeeded,
    /// Its condition did not hold: there was nothing to do.
    Skipped,
    Failed(Error),
    Cancelled,
    /// Nobody knows whether it has written.
    Unknown(Error),
    /// The process ends; the next one goes on.
    Interrupted,
}

/// What one try gave.
struct Done {
    skipped: bool,
    lineage: Option<String>,
    note: Option<String>,
}

impl Context {
    /// Opens a session as the pipeline's owner, where the pipeline was made.
    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        // Without its pipeline a run has no owner, and no rights.
        let Some((_, _, entry)) = self.engine.inner.pipelines.by_id(self.run.pipeline_id) else {
            let message = format!("pipeline \"{}\" does not exist any more", self.run.pipeline);
            return Err(Error::new(ErrorKind::UndefinedObject, message));
        };
        let object = Object::pipeline(BUILTIN, &self.run.schema, &self.run.pipeline);
        let rules = self.engine.inner.authority.rules();
        if entry.definition.owned && !rules.owners.contains_key(&object) {
            let message = format!("pipeline \"{}\" has no owner any more", self.run.pipeline);
            return Err(Error::new(ErrorKind::NotAllowed, message)
                .with_detail("A pipeline runs with the rights of its owner.")
                .with_hint("A superuser gives it one: ALTER PIPELINE … OWNER TO role."));
        }
        let owner = rules.owner(&object).to_owned();
        let session = self.engine.session_as(&owner)?;
        let definition = &self.definition;
        session.set("catalog", &definition.catalog)?;
        session.set("search_path", &definition.search_path)?;
        session.set("timezone", &definition.time_zone)?;
        session.set("statement_timeout", &definition.options.step_timeout_ms.to_string())?;
        session.set("application_name", "maru pipeline")?;
        Ok(session)
    }

    /// Takes a step through its tries.
    pub(super) async fn run_step(
        self: Arc<Self>,
        step: Step,
        mut stored: StoredStep,
    ) -> (String, End) {
        let end = match self.tries(&step, &mut stored).await {
            Ok(end) => end,
            // The metadata could not be written.
            Err(_) if self.engine.inner.pipelines.is_closing() => End::Interrupted,
            Err(error) => End::Failed(error),
        };
        self.active.works.lock().remove(&step.name);
        (step.name, end)
    }

    async fn tries(&self, step: &Step, stored: &mut StoredStep) -> Result<End> {
        let store = &self.engine.inner.store;
        let options = &self.definition.options;
        let mut left = options.retries;
        stored.started_us.get_or_insert(now_us());
        loop {
            if self.engine.inner.pipelines.is_closing() {
                return Ok(End::Interrupted);
            }
            stored.state = "running".to_owned();
            stored.attempt += 1;
            (stored.sqlstate, stored.error, stored.note) = (None, None, None);
            let sql = substitute(step.body.sql(), &step.values(&self.values));
            stored.sql =
                Some(redact(sql.as_ref().map_or(step.body.sql(), |sql| sql.text.as_str())));
            store.put_step(stored).await?;
            let work = Arc::new(Work::new(format!("maru/{}/{}", self.run.key, step.name)));
            self.active.works.lock().insert(step.name.clone(), Arc::clone(&work));
            let result = match sql {
                Ok(sql) => self.try_once(step, &sql.text, &work).await,
                Err(error) => Err(error),
            };
            stored.query_id = work.query_id().and_then(|id| i64::try_from(id).ok());
            if let Some((past, written)) = work.take_ended() {
                let known = !work.is_already_done();
                stored.n_rows = known.then_some(past.n_rows);
                stored.n_bytes = known.then(|| i64::try_from(written).unwrap_or(i64::MAX));
                stored.source_bytes = Some(past.source_bytes);
                stored.spilled_bytes = Some(past.spilled_bytes);
                stored.memory_peak_bytes = Some(past.memory_peak_bytes);
            }
            let error = match result {
                Ok(done) => {
                    stored.state = if done.skipped { "skipped" } else { "succeeded" }.to_owned();
                    stored.note = done.note;
                    stored.lineage = done.lineage;
                    if work.is_already_done() {
                        stored.note = Some(
                            "an earlier try had committed: nothing was written again".to_owned(),
                        );
                    }
                    stored.ended_us = Some(now_us());
                    store.put_step(stored).await?;
                    return Ok(if done.skipped { End::Skipped } else { End::Succeeded });
                }
                Err(error) => error,
            };
            if self.engine.inner.pipelines.is_closing() {
                // It stays as it is: running. Whoever opens the metadata next decides.
                return Ok(End::Interrupted);
            }
            stored.sqlstate = Some(error.sqlstate().to_owned());
            stored.error = Some(error.message());
            let is_unknown = error.kind() == ErrorKind::CommitUnknown;
            if is_unknown && !step.again.may_repeat() {
                stored.state = "unknown".to_owned();
                stored.ended_us = Some(now_us());
                store.put_step(stored).await?;
                return Ok(End::Unknown(error));
            }
            if self.token.is_cancelled() {
                stored.state = "cancelled".to_owned();
                stored.ended_us = Some(now_us());
                store.put_step(stored).await?;
                return Ok(End::Cancelled);
            }
            let waits = matches!(step.body, StepBody::Expect { retries: true, .. })
                && error.kind() == ErrorKind::CheckViolation;
            if left == 0 || !(is_unknown || waits || may_help(&error)) {
                stored.state = "failed".to_owned();
                stored.ended_us = Some(now_us());
                store.put_step(stored).await?;
                return Ok(End::Failed(error));
            }
            left -= 1;
            stored.state = "retrying".to_owned();
            store.put_step(stored).await?;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(options.retry_wait_ms)) => {}
                () = self.token.cancelled() => {}
            }
            if self.token.is_cancelled() {
                stored.state = "cancelled".to_owned();
                stored.ended_us = Some(now_us());
                store.put_step(stored).await?;
                return Ok(End::Cancelled);
            }
        }
    }

    async fn try_once(&self, step: &Step, sql: &str, work: &Arc<Work>) -> Result<Done> {
        let block = self.block.lock().clone();
        let session = match &block {
            Some(block) => {
                block.set_savepoint(SAVEPOINT).await?;
                Arc::clone(block)
            }
            None => self.session().await?,
        };
        let done = {
            let work = self.work(&session, step, sql, work);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => break done,
                    // A commit that has begun goes on to its end.
                    () = self.token.cancelled() => session.cancel(),
                }
                tokio::select! {
                    done = &mut work => break done,
                    () = tokio::time::sleep(TOLD_AGAIN) => {}
                }
            }
        };
        if block.is_some() {
            session.set_work(None);
            if done.is_err() {
                session.rollback_to(SAVEPOINT).await?;
            }
            session.release_savepoint(SAVEPOINT)?;
        } else {
            session.close();
        }
        done
    }

    async fn work(
        &self,
        session: &Arc<Session>,
        step: &Step,
        sql: &str,
        work: &Arc<Work>,
    ) -> Result<Done> {
        if self.token.is_cancelled() {
            return Err(Error::cancelled());
        }
        if let Some(when) = &step.when {
            let when = substitute(when, &step.values(&self.values))?;
            if condition(session, &when.text).await? != Some(true) {
                let note = Some("WHEN did not hold".to_owned());
                return Ok(Done { skipped: true, lineage: None, note });
            }
        }
        session.set_work(Some(Arc::clone(work)));
        let mut made = None;
        let note = match &step.body {
            StepBody::Statement(_) => {
                let prepared = session.prepare(&StatementText::one(sql), &[]).await?;
                if let Some(plan) = prepared.plan().filter(|_| !step.writes.is_empty()) {
                    made = serde_json::to_string(&lineage::columns(plan)).ok();
                }
                drain(session.execute(&prepared, Vec::new()).await?).await?;
                None
            }
            StepBody::Expect { name, fails, .. } => {
                let (found, beside) = asked(session, sql, true).await?;
                match found {
                    // On a line of its own: it quotes values, see `note_shown`.
                    Some(true) => (!beside.is_empty()).then(|| format!("\n{beside}")),
                    found => {
                        let found = found.map_or("NULL or no row", |_| "false");
                        let message = format!("expectation \"{name}\" does not hold");
                        let detail = format!("Its query gives {found}.");
                        if *fails {
                            let message = match beside.as_str() {
                                "" => message,
                                beside => format!("{message}: {beside}"),
                            };
                            let error = Error::new(ErrorKind::CheckViolation, message);
                            return Err(error.with_detail(detail));
                        }
                        let note = format!("WARNING: {message}. {detail}\n{beside}");
                        Some(note.trim_end().to_owned())
                    }
                }
            }
        };
        session.set_work(None);
        Ok(Done { skipped: false, lineage: made, note })
    }
}

/// Returns whether another try may end otherwise: the cause is not what somebody has written.
fn may_help(error: &Error) -> bool {
    error.kind().is_retryable() || matches!(error.kind().blame(), Blame::Remote | Blame::Operator)
}

/// Reads the rows of a step that is a query to their end.
async fn drain(output: Output) -> Result<()> {
    if let Body::Rows(mut rows) | Body::Copy { mut rows, .. } = output.body {
        while let Some(batch) = rows.stream.next().await {
            batch?;
        }
    }
    Ok(())
}

/// Asks a query for its one boolean; `None` for NULL and for no row.
///
/// # Errors
/// 42804 for another type, 21000 for several rows.
pub(super) async fn condition(session: &Arc<Session>, sql: &str) -> Result<Option<bool>> {
    Ok(asked(session, sql, false).await?.0)
}

/// Asks a query for a boolean; with `tells` also for what stands beside it in its row, as `name = value, …`.
async fn asked(session: &Arc<Session>, sql: &str, tells: bool) -> Result<(Option<bool>, String)> {
    let wrong = |kind, what: &str| Error::new(kind, format!("a condition gives {what}"));
    let output = session.run(&StatementText::one(sql)).await?;
    let Body::Rows(rows) = output.body else {
        return Err(wrong(ErrorKind::TypeMismatch, "no rows"));
    };
    let (mut found, mut beside) = (Vec::new(), String::new());
    for batch in rows.collect().await? {
        if batch.num_columns() == 0 || (batch.num_columns() > 1 && !tells) {
            return Err(wrong(ErrorKind::TypeMismatch, "several columns"));
        }
        let column = batch.column(0);
        match column.as_boolean_opt() {
            Some(values) => found.extend(values.iter()),
            None if column.data_type().is_null() => found.resize(found.len() + column.len(), None),
            None => {
                return Err(wrong(ErrorKind::TypeMismatch, "no boolean")
                    .with_hint("Write a comparison, such as SELECT count(*) > 0 FROM …"));
            }
        }
        if found.len() > 1 {
            return Err(wrong(ErrorKind::Cardinality, "several rows"));
        }
        if batch.num_rows() == 1 {
            beside = told(&batch)?;
        }
    }
    Ok((found.pop().flatten(), beside))
}

/// Returns what the one row says besides its first column, in one line.
fn told(batch: &RecordBatch) -> Result<String> {
    let row = text::rows(batch)?.into_iter().next().unwrap_or_default();
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(row).skip(1).take(TOLD_COLUMNS);
    let part = |(field, value): (&FieldRef, Option<String>)| {
        let value = value.unwrap_or_else(|| "NULL".to_owned());
        let value = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        format!("{} = {}", field.name(), value.take(TOLD_CHARS).collect::<String>())
    };
    Ok(columns.map(part).collect::<Vec<_>>().join(", "))
}

/// Returns what becomes of a step that another process was at when it ended.
pub(super) fn left_behind(step: &Step, stored: &mut StoredStep) {
    if step.again.may_repeat() {
        stored.state = "waiting".to_owned();
        let why = match step.again {
            Again::Kept => "the target is asked whether it has committed",
            _ => "it is done once more",
        };
        stored.note = Some(format!("the process ended meanwhile; {why}"));
    } else {
        stored.state = "unknown".to_owned();
        stored.ended_us = Some(now_us());
        stored.sqlstate = Some(ErrorKind::CommitUnknown.sqlstate().to_owned());
        stored.error = Some(
            "the process ended while the step ran, and it is not known whether it has written"
                .to_owned(),
        );
    }
}
