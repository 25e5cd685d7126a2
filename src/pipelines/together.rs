//! `publish = 'atomic'`: what the steps of a run have written is seen when all of them have succeeded, in one moment, or never.
//!
//! The steps run one after the other in one transaction block, which writes to copies of its tables (decision 31). A run that another
//! process has left begins again: nothing of it can be seen, or all of it, and then each step finds that it has been done.

use std::sync::Arc;
use std::time::Duration;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::PipelineStep;

use super::now_us;
use super::run::DONE;
use super::step::Context;
use super::tables::{Effects, sql_name};
use crate::catalog::BUILTIN;
use crate::session::Session;
use crate::store::pipelines::StoredStep;

/// Refuses steps whose tables would be seen before the others.
///
/// # Errors
/// 0A000 for statements that a block does not hold back and for tables of other catalogs, 42P01 for a table that the step would make.
pub(super) async fn check(
    session: &Arc<Session>,
    steps: &[PipelineStep],
    all: &[Effects],
    at: impl Fn(Error, usize) -> Error,
) -> Result<()> {
    for (step, seen) in steps.iter().zip(all) {
        let refused = |detail: String| {
            let message = format!("step \"{}\" cannot be published with the others", step.name);
            let error = Error::unsupported(message).with_detail(detail).with_hint(
                "With publish = 'atomic' steps are queries, EXPECT, INSERT, CREATE OR REPLACE TABLE … AS, UPDATE, DELETE, MERGE and TRUNCATE of tables of catalog maru.",
            );
            at(error, step.offset)
        };
        if !seen.held_back {
            return Err(refused("What it does is seen at once.".to_owned()));
        }
        let written = || seen.changes.iter().chain(&seen.makes).chain(&seen.removes);
        for table in written() {
            let [catalog, schema, name] = table.parts();
            if catalog != BUILTIN {
                let name = sql_name(&table.full);
                return Err(refused(format!("{name} is of a system that commits by itself.")));
            }
            let there = session.require_catalog(catalog)?.table(schema, name).await?.is_some();
            if !there && seen.makes.iter().any(|made| made.full == table.full) {
                let message = format!("table {} does not exist", sql_name(&table.full));
                let error = Error::new(ErrorKind::UndefinedTable, message)
                    .with_detail("A table that a run makes is seen at once.")
                    .with_hint("CREATE TABLE makes it once, empty, before the pipeline.");
                return Err(at(error, step.offset));
            }
        }
    }
    Ok(())
}

/// Opens the block of a run, whose steps all are still to be done.
///
/// # Errors
/// Those of the metadata.
pub(super) async fn begin(context: &Context, steps: &mut [StoredStep]) -> Result<Arc<Session>> {
    for step in steps.iter_mut().filter(|step| step.state != "waiting" && !step.is_left_out()) {
        step.state = "waiting".to_owned();
        step.ended_us = None;
        step.note = Some("done again: a run is published as a whole".to_owned());
        context.engine.inner.store.put_step(step).await?;
    }
    let session = context.session().await?;
    session.open_block();
    Ok(session)
}

/// Publishes what a run has written if all steps have succeeded, or undoes it.
///
/// # Errors
/// 40001 if somebody else has changed one of its tables meanwhile: then it is undone.
pub(super) async fn end(
    context: &Context,
    session: Arc<Session>,
    steps: &mut [StoredStep],
) -> Result<()> {
    let done = steps.iter().all(|step| DONE.contains(&step.state.as_str()));
    let ended = session.close_block(done, false).await;
    session.close();
    if done && ended.is_ok() {
        return Ok(());
    }
    let undone =
        |step: &&mut StoredStep| DONE.contains(&step.state.as_str()) && !step.is_left_out();
    for step in steps.iter_mut().filter(undone) {
        step.state = "cancelled".to_owned();
        step.ended_us = Some(now_us());
        step.note = Some("undone with the run, which is published as a whole".to_owned());
        context.engine.inner.store.put_step(step).await?;
    }
    ended.map(|_| ())
}

/// Waits before a run whose tables somebody else has changed is tried again; `false` if it is not.
pub(super) async fn again(context: &Context, error: &Error, left: &mut u32) -> bool {
    if error.kind() != ErrorKind::Serialization || *left == 0 {
        return false;
    }
    *left -= 1;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(context.definition.options.retry_wait_ms)) => {}
        () = context.token.cancelled() => {}
    }
    !context.token.is_cancelled() && !context.engine.inner.pipelines.is_closing()
}
