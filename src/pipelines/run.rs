//! Runs: how one begins, waits for its place, goes through its steps, ends, and is gone on with.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use maru_core::{Error, ErrorKind, Result, did_you_mean};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::check::unplaced;
use super::definition::Definition;
use super::parameters::{
    INTERVAL_END, INTERVAL_START, from_interval, literal, moment as moment_sql, substitute,
};
use super::schedule::zone;
use super::step::{Context, End, left_behind};
use super::{Active, Entry, moment, now_us, webhook};
use crate::engine::Engine;
use crate::output::Body;
use crate::session::Session;
use crate::store::pipelines::{StoredRun, StoredStep};

/// Steps that come after them may run.
const DONE: [&str; 2] = ["succeeded", "skipped"];

/// Who wants a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Manual,
    Schedule,
    Backfill,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Backfill => "backfill",
        }
    }
}

/// What becomes of steps of which nobody knows whether they have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Repeat,
    Done,
}

/// Values of parameters as text; `None` is NULL.
pub(crate) type Arguments = BTreeMap<String, Option<String>>;

/// Reads what `RUN PIPELINE` gives, as the session that asks.
///
/// # Errors
/// 42P02 for a parameter that there is none of or that has no value, whatever is wrong with a value.
pub(crate) async fn arguments_of(
    session: &Arc<Session>,
    definition: &Definition,
    given: &[(String, String)],
) -> Result<(Arguments, Option<(i64, i64)>)> {
    let mut arguments = Arguments::new();
    let mut interval = [None, None];
    for (name, expression) in given {
        let own = [INTERVAL_START, INTERVAL_END].iter().position(|own| own == name);
        let parameter = definition.parameters.iter().find(|p| p.name == *name);
        let data_type = match (own, parameter) {
            (Some(_), _) => "timestamptz",
            (None, Some(parameter)) => parameter.data_type.as_str(),
            (None, None) => {
                let known = definition.parameters.iter().map(|p| p.name.as_str());
                let error = Error::new(
                    ErrorKind::UndefinedParameter,
                    format!("the pipeline has no parameter \"{name}\""),
                );
                return Err(match did_you_mean(name, known.clone()) {
                    Some(near) => error.with_hint(format!("Did you mean {near}?")),
                    None => error.with_hint(match known.collect::<Vec<_>>().join(", ") {
                        names if names.is_empty() => "It has none.".to_owned(),
                        names => format!("It has {names}."),
                    }),
                });
            }
        };
        if arguments.contains_key(name) {
            return Err(Error::new(ErrorKind::Syntax, format!("parameter {name} is given twice")));
        }
        match own {
            Some(index) => {
                let sql = format!("SELECT CAST(({expression}) AS timestamptz)");
                interval[index] = instant(session, &sql).await?;
            }
            None => {
                arguments.insert(name.clone(), evaluate(session, expression, data_type).await?);
            }
        }
    }
    let interval = match interval {
        [Some(start), Some(end)] if start < end => Some((start, end)),
        [None, None] => match definition.schedule()? {
            Some(schedule) => {
                let slot = schedule.last_slot(moment(now_us()))?;
                Some((slot.start.timestamp_micros(), slot.end.timestamp_micros()))
            }
            None => None,
        },
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "interval_start and interval_end come together, the earlier one first",
            ));
        }
    };
    for parameter in &definition.parameters {
        // Asked now, so that who runs it is told at once.
        let from_default = parameter.default.is_some() || arguments.contains_key(&parameter.name);
        let from_time = interval.and_then(|(start, _)| {
            from_interval(&parameter.data_type, moment(start), chrono_tz::UTC)
        });
        if !from_default && from_time.is_none() {
            return Err(no_value(&parameter.name));
        }
    }
    Ok((arguments, interval))
}

fn no_value(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedParameter, format!("parameter \"{name}\" has no value"))
        .with_hint(format!("RUN PIPELINE … ({name} => value)"))
}

/// Computes an expression; the value as text.
async fn evaluate(
    session: &Arc<Session>,
    expression: &str,
    data_type: &str,
) -> Result<Option<String>> {
    let sql = format!("SELECT CAST(CAST(({expression}) AS {data_type}) AS text)");
    let output = session.run_inner(&sql).await.map_err(unplaced)?;
    let Body::Rows(rows) = output.body else { return Err(Error::internal("a value is none")) };
    for batch in rows.collect().await? {
        if batch.num_rows() > 0 {
            use arrow::array::Array;
            let values = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
            let values = arrow::array::AsArray::as_string::<i32>(&values);
            return Ok((!values.is_null(0)).then(|| values.value(0).to_owned()));
        }
    }
    Ok(None)
}

/// Computes a moment, in microseconds.
async fn instant(session: &Arc<Session>, sql: &str) -> Result<Option<i64>> {
    let output = session.run_inner(sql).await.map_err(unplaced)?;
    let Body::Rows(rows) = output.body else { return Err(Error::internal("a value is none")) };
    for batch in rows.collect().await? {
        if batch.num_rows() > 0 {
            use arrow::array::Array;
            use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
            let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let values = arrow::compute::cast(batch.column(0), &micros)?;
            let values = arrow::array::AsArray::as_primitive::<TimestampMicrosecondType>(&values);
            return Ok((!values.is_null(0)).then(|| values.value(0)));
        }
    }
    Ok(None)
}

/// A run to be made.
#[derive(Debug)]
pub(crate) struct NewRun<'a> {
    pub schema: &'a str,
    pub name: &'a str,
    pub entry: &'a Entry,
    pub user: &'a str,
    pub origin: Origin,
    pub interval: Option<(i64, i64)>,
    pub arguments: Arguments,
}

/// Keeps a run and lets it begin as soon as there is a place. `None`: the schedule has started this one already.
///
/// # Errors
/// Those of the metadata.
pub(crate) async fn begin(engine: &Engine, new: NewRun<'_>) -> Result<Option<(i64, Arc<Active>)>> {
    engine.refuse_when_closing()?;
    let arguments = serde_json::to_string(&new.arguments)
        .map_err(|error| Error::internal("could not encode arguments").with_cause(error))?;
    let definition = &new.entry.definition;
    let scheduled = new.origin == Origin::Schedule;
    let slot_us = new.interval.map(|(_, end)| end).filter(|_| scheduled);
    let run = StoredRun {
        run_id: 0,
        key: uuid::Uuid::now_v7().simple().to_string(),
        pipeline_id: new.entry.id,
        schema: new.schema.to_owned(),
        pipeline: new.name.to_owned(),
        user_name: new.user.to_owned(),
        origin: new.origin.word().to_owned(),
        definition: definition.encode()?,
        arguments,
        slot_us,
        interval_start_us: new.interval.map(|(start, _)| start),
        interval_end_us: new.interval.map(|(_, end)| end),
        state: "queued".to_owned(),
        cancelled: false,
        created_us: now_us(),
        started_us: None,
        ended_us: None,
        sqlstate: None,
        error: None,
    };
    let steps = definition.steps.iter().enumerate().map(|(position, step)| StoredStep {
        step: step.name.clone(),
        position: i64::try_from(position).unwrap_or(i64::MAX),
        state: "waiting".to_owned(),
        ..StoredStep::default()
    });
    let steps = steps.collect::<Vec<_>>();
    let inner = &engine.inner;
    let run_id = inner.store.insert_run(&run, &steps, slot_us).await?;
    if let Some(slot_us) = slot_us {
        inner.pipelines.moved(new.entry.id, slot_us);
    }
    let Some(run_id) = run_id else { return Ok(None) };
    let active = enqueue(engine, run_id, new.entry.id);
    dispatch(engine).await;
    Ok(Some((run_id, active)))
}

fn enqueue(engine: &Engine, run_id: i64, pipeline_id: i64) -> Arc<Active> {
    let active = Arc::new(Active {
        pipeline_id,
        token: CancellationToken::new(),
        begun: AtomicBool::new(false),
        over: watch::Sender::new(false),
        works: Mutex::default(),
    });
    engine.inner.pipelines.active.lock().insert(run_id, Arc::clone(&active));
    active
}

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
        match all_steps(&context, &mut steps, &mut failure).await? {
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

/// Runs the steps that have not run, side by side as far as their order lets them.
async fn all_steps(
    context: &Arc<Context>,
    steps: &mut [StoredStep],
    failure: &mut Option<(Option<String>, Error)>,
) -> Result<Going> {
    let pipelines = &context.engine.inner.pipelines;
    let mut running: JoinSet<(String, End)> = JoinSet::new();
    let mut interrupted = false;
    for step in steps.iter().filter(|step| step.state == "unknown") {
        let error = Error::new(ErrorKind::CommitUnknown, step.error.clone().unwrap_or_default());
        failure.get_or_insert((Some(step.step.clone()), error));
    }
    loop {
        let may_start = !context.token.is_cancelled() && !pipelines.is_closing() && !interrupted;
        let n_free = context.definition.options.parallel.saturating_sub(running.len());
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
    let news = serde_json::json!({
        "pipeline": format!("{}.{}", run.schema, run.pipeline),
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

/// Goes on with a run that is over or that another process left, at the steps that have not succeeded.
///
/// # Errors
/// 55000 if it runs or has succeeded, or if it is not known whether a step has written and nothing is said about it.
pub(crate) async fn resume(
    engine: &Engine,
    run_id: i64,
    unknown: Option<Unknown>,
) -> Result<Arc<Active>> {
    engine.refuse_when_closing()?;
    let inner = &engine.inner;
    let wrong = |what: String| Error::new(ErrorKind::WrongState, what);
    let mut run = inner.store.run(run_id).await?;
    let deciding = inner.pipelines.deciding.lock().await;
    if inner.pipelines.active(run_id).is_some() {
        return Err(wrong(format!("run {run_id} is under way")));
    }
    if run.state == "succeeded" {
        return Err(wrong(format!("run {run_id} has succeeded"))
            .with_hint("RUN PIPELINE begins another one."));
    }
    let definition = Definition::decode(&run.definition)?;
    let mut steps = inner.store.steps(Some(run_id)).await?;
    for stored in &mut steps {
        let Some(step) = definition.step(&stored.step) else { continue };
        if ["running", "retrying"].contains(&stored.state.as_str()) {
            left_behind(step, stored);
        }
    }
    let open = steps.iter().filter(|step| step.state == "unknown").map(|step| step.step.as_str());
    let open = open.collect::<Vec<_>>().join(", ");
    if !open.is_empty() && unknown.is_none() {
        return Err(wrong(format!("it is not known whether step {open} has written"))
            .with_hint(format!(
                "Look at its table, then RESUME RUN {run_id} WITH (unknown = 'done') or WITH (unknown = 'repeat')."
            )));
    }
    for stored in &mut steps {
        match (stored.state.as_str(), unknown) {
            (state, _) if DONE.contains(&state) => continue,
            ("unknown", Some(Unknown::Done)) => {
                stored.state = "succeeded".to_owned();
                stored.note = Some("said to be done".to_owned());
            }
            _ => {
                stored.state = "waiting".to_owned();
                stored.ended_us = None;
            }
        }
        inner.store.put_step(stored).await?;
    }
    run.state = "queued".to_owned();
    inner.store.cancel_run(run_id, false).await?;
    (run.started_us, run.ended_us, run.sqlstate, run.error) = (None, None, None, None);
    inner.store.update_run(&run).await?;
    let active = enqueue(engine, run_id, run.pipeline_id);
    drop(deciding);
    dispatch(engine).await;
    Ok(active)
}

/// Takes up what the process before this one left: runs that wait, and runs that were under way.
///
/// # Errors
/// Those of the metadata.
pub(super) async fn recover(engine: &Engine) -> Result<()> {
    let inner = &engine.inner;
    for run in inner.store.runs(true).await? {
        if inner.pipelines.active(run.run_id).is_some() {
            continue;
        }
        let definition = Definition::decode(&run.definition)?;
        for mut stored in inner.store.steps(Some(run.run_id)).await? {
            let Some(step) = definition.step(&stored.step) else { continue };
            if ["running", "retrying"].contains(&stored.state.as_str()) {
                left_behind(step, &mut stored);
                inner.store.put_step(&stored).await?;
            }
        }
        tracing::info!(run_id = run.run_id, pipeline = %run.pipeline, "going on with a run");
        enqueue(engine, run.run_id, run.pipeline_id);
    }
    dispatch(engine).await;
    Ok(())
}
