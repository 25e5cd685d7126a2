//! Runs under way: how one waits for its place, goes through its steps and ends. `start.rs` begins them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::definition::Definition;
use super::parameters::{
    INTERVAL_END, INTERVAL_START, from_interval, literal, moment as moment_sql, substitute,
};
use super::schedule::zone;
use super::start::{Arguments, evaluate, no_value};
use super::step::{Context, End};
use super::{Active, moment, now_us, together, webhook};
use crate::engine::Engine;
use crate::store::pipelines::{StoredRun, StoredStep};

/// Steps that come after them may run.
pub(super) const DONE: [&str; 2] = ["succeeded", "skipped"];

/// Begins the runs that have a place, the oldest first. Boxed: the end of a run calls it again.
pub(crate) fn dispatch(engine: &Engine) -> BoxFuture<'static, ()> {
    let engine = engine.clone();
    async move {
        let pipelines = &engine.inner.pipelines;
        let _one = pipelines.deciding.lock().await;
        let waiting = {
            let active = pipelines.active.lock();
            let waits = |(_, run): &(&i64, &Arc<Active>)| !run.begun.load(Ordering::SeqCst);
            active.iter().filter(waits).map(|(id, run)| (*id, Arc::clone(run))).collect::<Vec<_>>()
        };
        for (run_id, active) in waiting {
            if pipelines.is_closing() {
                return;
            }
            let entry = pipelines.by_id(active.pipeline_id);
            let places = entry.map_or(1, |(_, _, e)| e.definition.options.max_active_runs);
            // One that is cancelled needs no place to end.
            if pipelines.begun_of(active.pipeline_id) < places || active.token.is_cancelled() {
                active.begun.store(true, Ordering::SeqCst);
                tokio::spawn(drive(engine.clone(), run_id, active));
            }
        }
    }
    .boxed()
}

/// Takes a run to its end, and lets the next one begin.
async fn drive(engine: Engine, run_id: i64, active: Arc<Active>) {
    let work = AssertUnwindSafe(go_through(&engine, run_id, &active)).catch_unwind().await;
    let pipelines = &engine.inner.pipelines;
    match work {
        Ok(Ok(())) => {}
        _ if pipelines.is_closing() => {}
        Ok(Err(error)) => {
            tracing::error!(run_id, %error, "a run of a pipeline broke off");
            fail(&engine, run_id, &error).await;
        }
        Err(_) => fail(&engine, run_id, &Error::internal("a run of a pipeline broke off")).await,
    }
    pipelines.active.lock().remove(&run_id);
    active.over.send_replace(true);
    pipelines.wake.notify_waiters();
    dispatch(&engine).await;
}

/// Notes that a run could not even be run.
async fn fail(engine: &Engine, run_id: i64, error: &Error) {
    let store = &engine.inner.store;
    let noted = async {
        let mut run = store.run(run_id).await?;
        run.state = "failed".to_owned();
        run.ended_us = Some(now_us());
        run.sqlstate = Some(error.sqlstate().to_owned());
        run.error = Some(error.message());
        store.update_run(&run).await
    };
    if let Err(error) = noted.await {
        tracing::error!(run_id, %error, "could not keep the end of a run");
    }
}

async fn go_through(engine: &Engine, run_id: i64, active: &Arc<Active>) -> Result<()> {
    let store = &engine.inner.store;
    let mut run = store.run(run_id).await?;
    let definition = Definition::decode(&run.definition)?;
    if run.cancelled {
        active.token.cancel();
    }
    if !active.token.is_cancelled() {
        run.state = "running".to_owned();
        run.started_us.get_or_insert(now_us());
        store.update_run(&run).await?;
    }
    let mut context = Context {
        engine: engine.clone(),
        run,
        definition,
        values: BTreeMap::new(),
        token: active.token.clone(),
        active: Arc::clone(active),
        block: Mutex::default(),
    };
    let mut failure = None;
    if !active.token.is_cancelled()
        && let Err(error) = fill_in(&mut context).await
    {
        failure = Some((None, error));
    }
    let mut steps = store.steps(Some(run_id)).await?;
    let deadline = Deadline::start(&context);
    let context = Arc::new(context);
    if failure.is_none() {
        let going = if context.definition.options.publish_at_once {
            all_at_once(&context, &mut steps, &mut failure).await?
        } else {
            all_steps(&context, &mut steps, &mut failure).await?
        };
        match going {
            Going::Interrupted => return Ok(()),
            Going::Over => {}
        }
    }
    let mut run = context.run.clone();
    let late = deadline.is_over();
    drop(deadline);
    for step in steps.iter_mut().filter(|step| step.state == "waiting") {
        step.state = if active.token.is_cancelled() { "cancelled" } else { "blocked" }.to_owned();
        store.put_step(step).await?;
    }
    let done = steps.iter().all(|step| DONE.contains(&step.state.as_str()));
    let (state, error) = match failure {
        _ if done => ("succeeded", None),
        _ if late => ("failed", Some((None, timed_out(&context.definition)))),
        Some(failure) => ("failed", Some(failure)),
        None => ("cancelled", Some((None, Error::cancelled()))),
    };
    run.state = state.to_owned();
    run.ended_us = Some(now_us());
    run.sqlstate = error.as_ref().map(|(_, error)| error.sqlstate().to_owned());
    run.error = error.as_ref().map(|(step, error)| match step {
        Some(step) => format!("step \"{step}\": {error}"),
        None => error.to_string(),
    });
    store.update_run(&run).await?;
    let metrics = &engine.inner.metrics;
    metrics.pipeline_runs.with_label_values(&[state]).inc();
    for step in &steps {
        metrics.pipeline_steps.with_label_values(&[step.state.as_str()]).inc();
    }
    tracing::info!(run_id, pipeline = %run.pipeline, state, error = run.error.as_deref(), "a run of a pipeline is over");
    if state == "failed" {
        tell(engine, &run, &error);
    }
    Ok(())
}

fn timed_out(definition: &Definition) -> Error {
    Error::new(ErrorKind::TimedOut, "the run took too long")
        .with_detail(format!("timeout is {} ms.", definition.options.timeout_ms))
}

enum Going {
    Over,
    Interrupted,
}

/// Runs all steps in one block, and all of them again if somebody else has changed one of its tables meanwhile.
async fn all_at_once(
    context: &Arc<Context>,
    steps: &mut [StoredStep],
    failure: &mut Option<(Option<String>, Error)>,
) -> Result<Going> {
    let mut left = context.definition.options.retries;
    loop {
        let session = together::begin(context, steps).await?;
        *context.block.lock() = Some(Arc::clone(&session));
        let going = all_steps(context, steps, failure).await;
        *context.block.lock() = None;
        match (going, together::end(context, session, steps).await) {
            (Ok(Going::Interrupted), _) => return Ok(Going::Interrupted),
            (Ok(Going::Over), Ok(())) => return Ok(Going::Over),
            (Ok(Going::Over), Err(error)) => {
                if !together::again(context, &error, &mut left).await {
                    failure.get_or_insert((None, error));
                    return Ok(Going::Over);
                }
            }
            (Err(error), _) => return Err(error),
        }
    }
}

/// Runs the steps that have not run, side by side as far as their order lets them.
async fn all_steps(
    context: &Arc<Context>,
    steps: &mut [StoredStep],
    failure: &mut Option<(Option<String>, Error)>,
) -> Result<Going> {
    let pipelines = &context.engine.inner.pipelines;
    let mut running: JoinSet<(String, End)> = JoinSet::new();
    let mut interrupted = false;
    let parallel = context.definition.options.parallel;
    for step in steps.iter().filter(|step| step.state == "unknown") {
        let error = Error::new(ErrorKind::CommitUnknown, step.error.clone().unwrap_or_default());
        failure.get_or_insert((Some(step.step.clone()), error));
    }
    loop {
        let may_start = !context.token.is_cancelled() && !pipelines.is_closing() && !interrupted;
        let at_once = if context.definition.options.publish_at_once { 1 } else { parallel };
        let n_free = at_once.saturating_sub(running.len());
        let ready = steps.iter().enumerate().filter(|(_, stored)| {
            stored.state == "waiting"
                && context.definition.step(&stored.step).is_some_and(|step| {
                    step.after.iter().all(|before| {
                        steps
                            .iter()
                            .any(|one| one.step == *before && DONE.contains(&one.state.as_str()))
                    })
                })
        });
        let ready = ready.map(|(at, _)| at).take(if may_start { n_free } else { 0 });
        for at in ready.collect::<Vec<_>>() {
            let stored = &mut steps[at];
            let Some(step) = context.definition.step(&stored.step).cloned() else { continue };
            stored.state = "running".to_owned();
            running.spawn(Arc::clone(context).run_step(step, stored.clone()));
        }
        let Some(ended) = running.join_next().await else { break };
        let (name, end) =
            ended.map_err(|error| Error::internal("a step broke off").with_cause(error))?;
        let Some(stored) = steps.iter_mut().find(|step| step.step == name) else { continue };
        let (state, error) = match end {
            End::Succeeded => ("succeeded", None),
            End::Skipped => ("skipped", None),
            End::Cancelled => ("cancelled", None),
            End::Failed(error) => ("failed", Some(error)),
            End::Unknown(error) => ("unknown", Some(error)),
            End::Interrupted => {
                interrupted = true;
                continue;
            }
        };
        stored.state = state.to_owned();
        if let Some(error) = error {
            failure.get_or_insert((Some(name), error));
        }
    }
    let left = steps.iter().any(|step| ["waiting", "running"].contains(&step.state.as_str()));
    if interrupted || (pipelines.is_closing() && left) {
        return Ok(Going::Interrupted);
    }
    // The tasks have written more of their steps than is known here.
    let mut known = context.engine.inner.store.steps(Some(context.run.run_id)).await?;
    for step in steps.iter_mut() {
        if let Some(at) = known.iter().position(|known| known.step == step.step) {
            *step = known.swap_remove(at);
        }
    }
    Ok(Going::Over)
}

/// Cancels a run whose time is over.
struct Deadline {
    over: Arc<AtomicBool>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

impl Deadline {
    fn start(context: &Context) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let timeout = i64::try_from(context.definition.options.timeout_ms).unwrap_or(i64::MAX);
        if timeout == 0 {
            return Self { over, timer: None };
        }
        let ran = (now_us() - context.run.started_us.unwrap_or_else(now_us)) / 1000;
        let left = Duration::from_millis(u64::try_from(timeout - ran).unwrap_or(0));
        let (flag, token) = (Arc::clone(&over), context.token.clone());
        let timer = tokio::spawn(async move {
            tokio::time::sleep(left).await;
            flag.store(true, Ordering::SeqCst);
            token.cancel();
        });
        Self { over, timer: Some(timer) }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

/// Gives every parameter its value, and keeps them: a run that is gone on with has the same.
async fn fill_in(context: &mut Context) -> Result<()> {
    let mut arguments: Arguments =
        serde_json::from_str(&context.run.arguments).map_err(|error| {
            Error::new(ErrorKind::DataCorrupted, "a stored run is damaged").with_cause(error)
        })?;
    let mut values = BTreeMap::new();
    let (start, end) = (context.run.interval_start_us, context.run.interval_end_us);
    for (name, time) in [(INTERVAL_START, start), (INTERVAL_END, end)] {
        if let Some(time) = time {
            values.insert(name.to_owned(), moment_sql(moment(time)));
        }
    }
    let zone = zone(&context.definition.time_zone).unwrap_or(chrono_tz::UTC);
    for parameter in &context.definition.parameters {
        let data_type = &parameter.data_type;
        let value = match (arguments.get(&parameter.name), &parameter.default, start) {
            (Some(value), _, _) => value.clone(),
            (None, Some(default), _) => {
                let session = context.session().await?;
                let default = substitute(default, &values)?;
                let value = evaluate(&session, &default.text, data_type).await;
                session.close();
                value?
            }
            (None, None, Some(start)) => from_interval(data_type, moment(start), zone)
                .map(Some)
                .ok_or_else(|| no_value(&parameter.name))?,
            (None, None, None) => return Err(no_value(&parameter.name)),
        };
        values.insert(parameter.name.clone(), literal(data_type, value.as_deref()));
        arguments.insert(parameter.name.clone(), value);
    }
    context.values = values;
    context.run.arguments = serde_json::to_string(&arguments)
        .map_err(|error| Error::internal("could not encode arguments").with_cause(error))?;
    context.engine.inner.store.update_run(&context.run).await
}

/// Tells of a failure, in the background.
fn tell(engine: &Engine, run: &StoredRun, error: &Option<(Option<String>, Error)>) {
    let Some((_, _, entry)) = engine.inner.pipelines.by_id(run.pipeline_id) else { return };
    let Some(url) = entry.webhook else { return };
    let time = |us: Option<i64>| us.map(|us| moment(us).to_rfc3339());
    let name = format!("{}.{}", run.schema, run.pipeline);
    let why = run.error.as_deref().unwrap_or_default();
    let news = serde_json::json!({
        // What the hooks of chats show.
        "text": format!("Pipeline {name}: run {} has {}: {why}", run.run_id, run.state),
        "pipeline": name,
        "run_id": run.run_id,
        "state": run.state,
        "step": error.as_ref().and_then(|(step, _)| step.clone()),
        "sqlstate": run.sqlstate,
        "error": run.error,
        "interval_start": time(run.interval_start_us),
        "interval_end": time(run.interval_end_us),
        "started": time(run.started_us),
        "ended": time(run.ended_us),
    });
    let run_id = run.run_id;
    tokio::spawn(async move {
        if let Err(error) = webhook::send(&url, &news).await {
            tracing::warn!(run_id, %error, "could not tell of a run that failed");
        }
    });
}
