//! The task of a server that starts runs when they are due, and goes on with those that the process before it left.

use std::time::Duration;

use maru_core::Result;

use super::definition::CatchUp;
use super::start::{Arguments, NewRun, Origin, begin, recover};
use super::{Entry, moment, now_us};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::engine::Engine;

/// The clock is looked at this often at least: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the scheduler; it ends when the engine closes.
pub(crate) fn start(engine: Engine) {
    tokio::spawn(async move {
        if let Err(error) = recover(&engine).await {
            tracing::error!(%error, "could not go on with the runs that were left");
        }
        skip_missed(&engine).await;
        loop {
            let pipelines = &engine.inner.pipelines;
            let woken = pipelines.wake.notified();
            if pipelines.is_closing() {
                return;
            }
            look(&engine).await;
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

/// Pipelines that want nothing made up for begin with the times that come now.
async fn skip_missed(engine: &Engine) {
    for (_, _, entry) in engine.inner.pipelines.all() {
        if entry.definition.options.catch_up == CatchUp::None {
            let now = now_us();
            if engine.inner.store.set_pipeline_cursor(entry.id, now).await.is_ok() {
                engine.inner.pipelines.moved(entry.id, now);
            }
        }
    }
}

/// Starts what is due.
async fn look(engine: &Engine) {
    for (schema, name, entry) in engine.inner.pipelines.all() {
        if entry.definition.schedule.is_none() {
            continue;
        }
        if let Err(error) = look_at(engine, &schema, &name, &entry).await {
            tracing::error!(%error, pipeline = %format!("{schema}.{name}"), "could not start what is due");
        }
    }
}

async fn look_at(engine: &Engine, schema: &str, name: &str, entry: &Entry) -> Result<()> {
    let inner = &engine.inner;
    let Some(schedule) = entry.definition.schedule()? else { return Ok(()) };
    let (policy, now) = (entry.definition.options.catch_up, now_us());
    if entry.paused {
        // What goes by while it is paused is missed; it is made up for if the policy says so.
        if policy == CatchUp::None {
            inner.pipelines.moved(entry.id, now);
        }
        return Ok(());
    }
    let n_active = inner.pipelines.active_of(entry.id).len();
    let places = entry.definition.options.max_active_runs.saturating_sub(n_active);
    let due = schedule.due(moment(entry.cursor_us), moment(now), policy, places)?;
    if due.missed > 0 {
        tracing::warn!(pipeline = %format!("{schema}.{name}"), missed = due.missed, "times of the schedule were missed");
        inner.metrics.pipeline_missed.inc_by(due.missed as u64);
    }
    let object = Object::pipeline(BUILTIN, schema, name);
    let owner = inner.authority.rules().owner(&object).to_owned();
    let n_slots = due.slots.len();
    for slot in due.slots {
        let new = NewRun {
            schema,
            name,
            entry,
            user: &owner,
            origin: Origin::Schedule,
            interval: Some((slot.start.timestamp_micros(), slot.end.timestamp_micros())),
            arguments: Arguments::new(),
            steps: None,
        };
        begin(engine, new).await?;
    }
    let cursor = due.cursor.timestamp_micros();
    if cursor > entry.cursor_us {
        inner.pipelines.moved(entry.id, cursor);
        // Where nothing was due it is not worth a write: the same is found out again.
        if n_slots > 0 || due.missed > 0 {
            inner.store.set_pipeline_cursor(entry.id, cursor).await?;
        }
    }
    Ok(())
}
