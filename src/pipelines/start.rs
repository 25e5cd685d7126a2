//! How runs begin and are gone on with: what they are given, and who takes up what another process has left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maru_core::{Error, ErrorKind, Result, did_you_mean};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::check::unplaced;
use super::definition::{Definition, Step};
use super::parameters::{INTERVAL_END, INTERVAL_START, from_interval};
use super::run::{DONE, dispatch};
use super::step::left_behind;
use super::{Active, Entry, moment, now_us};
use crate::engine::Engine;
use crate::output::Body;
use crate::session::Session;
use crate::store::pipelines::{LEFT_OUT, StoredRun, StoredStep};

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

pub(super) fn no_value(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedParameter, format!("parameter \"{name}\" has no value"))
        .with_hint(format!("RUN PIPELINE … ({name} => value)"))
}

/// Computes an expression; the value as text.
pub(super) async fn evaluate(
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
    /// Those of its steps that are wanted; `None`: all.
    pub steps: Option<BTreeSet<String>>,
}

/// Returns the steps that a run is asked for: those of a list of names, or with `and_later` all that come after them, too.
///
/// # Errors
/// 42704 for a step that there is none of, 22023 for a list without a name.
pub(crate) fn asked_for(
    definition: &Definition,
    names: &str,
    and_later: bool,
) -> Result<BTreeSet<String>> {
    let mut chosen = BTreeSet::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let is_named = |step: &&Step| step.name == name || is_of_loop(step, name);
        let found = definition.steps.iter().filter(is_named).map(|step| step.name.clone());
        let found = found.collect::<Vec<_>>();
        if found.is_empty() {
            let message = format!("step \"{name}\" does not exist");
            let error = Error::new(ErrorKind::UndefinedObject, message);
            let known = definition.steps.iter().map(|step| step.name.as_str());
            return Err(match did_you_mean(name, known) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("EXPLAIN PIPELINE lists the steps."),
            });
        }
        chosen.extend(found);
    }
    if chosen.is_empty() {
        return Err(Error::new(ErrorKind::InvalidParameter, "no step is named")
            .with_hint("WITH (steps = 'load, check') names them."));
    }
    if and_later {
        // They stand in an order in which each comes after those that it needs.
        for step in &definition.steps {
            if step.after.iter().any(|before| chosen.contains(before)) {
                chosen.insert(step.name.clone());
            }
        }
    }
    Ok(chosen)
}

/// Returns whether a step is one of those that a loop of a name was made into.
fn is_of_loop(step: &Step, name: &str) -> bool {
    let number = step.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('_'));
    step.value.is_some()
        && number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
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
        definition: definition.encode_for_run()?,
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
    let steps = definition.steps.iter().enumerate().map(|(position, step)| {
        let wanted = new.steps.as_ref().is_none_or(|steps| steps.contains(&step.name));
        StoredStep {
            step: step.name.clone(),
            position: i64::try_from(position).unwrap_or(i64::MAX),
            state: if wanted { "waiting" } else { "skipped" }.to_owned(),
            note: (!wanted).then(|| LEFT_OUT.to_owned()),
            ..StoredStep::default()
        }
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
