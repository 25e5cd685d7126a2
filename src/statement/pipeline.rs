//! `CREATE PIPELINE`, `RUN PIPELINE` and what else is done with pipelines and their runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use maru_core::{Error, ErrorKind, Result, did_you_mean, quote_ident, quote_literal};
use maru_sql::{
    BackfillPipeline, CreatePipeline, Name, OptionList, PipelineChange, PipelineStatement,
    RangeEnd, RunPipeline,
};

use super::relation::{created, replaced};
use crate::access::{Object, Privilege};
use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::pipelines::{
    self, Active, Entry, NewRun, Origin, Unknown, arguments_of, asked_for, begin, check,
    error_shown, note_shown, resume, undefined,
};
use crate::session::Session;
use crate::system::VIRTUAL_SCHEMAS;

/// Runs of one backfill.
const BACKFILL_RUNS_MAX: usize = 10_000;

pub(super) async fn execute(
    session: &Arc<Session>,
    statement: &PipelineStatement,
    sql: &str,
) -> Result<Output> {
    match statement {
        PipelineStatement::Create(create) => self::create(session, create, sql).await,
        PipelineStatement::Drop { name, if_exists } => drop(session, name, *if_exists).await,
        PipelineStatement::Alter { name, change } => alter(session, name, change).await,
        PipelineStatement::Run(run) => self::run(session, run).await,
        PipelineStatement::Backfill(backfill) => self::backfill(session, backfill).await,
        PipelineStatement::CancelRun(run_id) => cancel(session, *run_id).await,
        PipelineStatement::ResumeRun { run, options } => go_on(session, *run, options).await,
        PipelineStatement::Explain(_) | PipelineStatement::ShowCreate(_) => {
            Err(Error::internal("a query was run as a command"))
        }
    }
}

/// A pipeline that shows to the session.
struct Found {
    schema: String,
    name: String,
    object: Object,
    entry: Entry,
}

/// Returns schema and name that a pipeline's name means.
fn place(session: &Session, name: &Name) -> Result<(String, String)> {
    let (schema, pipeline) = match name.0.as_slice() {
        [pipeline] => (None, pipeline),
        [schema, pipeline] => (Some(schema), pipeline),
        [catalog, schema, pipeline] if catalog == BUILTIN => (Some(schema), pipeline),
        [catalog, _, _] => {
            return Err(Error::unsupported(format!("catalog \"{catalog}\" holds no pipelines"))
                .with_hint(format!("Pipelines live in catalog \"{BUILTIN}\".")));
        }
        _ => return Err(super::too_many_parts(name)),
    };
    let pipelines = &session.engine().inner.pipelines;
    let schema = match schema {
        Some(schema) => schema.clone(),
        None => {
            let path = session.search_path();
            let found = path.iter().find(|schema| pipelines.get(schema, pipeline).is_some());
            found.or(path.first()).cloned().unwrap_or_else(|| "public".to_owned())
        }
    };
    Ok((schema, pipeline.clone()))
}

fn find(session: &Session, name: &Name) -> Result<Found> {
    let (schema, pipeline) = place(session, name)?;
    let object = Object::pipeline(BUILTIN, &schema, &pipeline);
    let rights = session.rights();
    let pipelines = &session.engine().inner.pipelines;
    let entry = pipelines.get(&schema, &pipeline).filter(|_| rights.sees(&object));
    let Some(entry) = entry else {
        let all = pipelines.names().into_iter();
        let seen = all.filter(|(s, n)| rights.sees(&Object::pipeline(BUILTIN, s, n)));
        return Err(undefined(&name.to_string(), seen.map(|(s, n)| format!("{s}.{n}"))));
    };
    Ok(Found { schema, name: pipeline, object, entry })
}

/// Returns the object that a pipeline's name means.
pub(super) fn object(session: &Session, name: &Name) -> Result<Object> {
    find(session, name).map(|found| found.object)
}

/// Returns the query that `EXPLAIN PIPELINE` is.
pub(crate) fn explain(session: &Session, name: &Name) -> Result<String> {
    let found = find(session, name)?;
    Ok(format!(
        "SELECT position, step, array_to_string(after, ', ') AS after, array_to_string(writes, ', ') AS writes, \
         array_to_string(reads, ', ') AS reads, again, sql FROM system.pipeline_steps \
         WHERE schema = {} AND pipeline = {} ORDER BY position",
        quote_literal(&found.schema),
        quote_literal(&found.name)
    ))
}

/// Returns the query that `SHOW CREATE PIPELINE` is.
pub(crate) fn show_create(session: &Session, name: &Name) -> Result<String> {
    let found = find(session, name)?;
    let rights = session.rights();
    if !rights.looks_into(&found.object) {
        rights.require_owner(&found.object)?;
    }
    let text = pipelines::create_text(&found.schema, &found.name, &found.entry)?;
    Ok(format!("SELECT {} AS \"Create Pipeline\"", quote_literal(&text)))
}

async fn alter(session: &Arc<Session>, name: &Name, change: &PipelineChange) -> Result<Output> {
    let found = find(session, name)?;
    session.rights().require_owner(&found.object)?;
    let tag = "ALTER PIPELINE";
    if matches!(change, PipelineChange::NoSchedule) && found.entry.definition.schedule.is_none() {
        return Ok(Output::command(tag)
            .with_notice(format!("pipeline \"{name}\" has no schedule, skipping")));
    }
    let pipelines = &session.engine().inner.pipelines;
    pipelines.alter(&found.schema, &found.name, found.entry.id, change).await?;
    // Runs that wait for a place may have one now.
    if matches!(change, PipelineChange::Set(_) | PipelineChange::Reset(_)) {
        pipelines::look_again(session.engine()).await;
    }
    Ok(Output::command(tag))
}

async fn create(session: &Arc<Session>, create: &CreatePipeline, sql: &str) -> Result<Output> {
    let tag = "CREATE PIPELINE";
    let (schema, name) = place(session, &create.name)?;
    let inner = &session.engine().inner;
    let object = Object::pipeline(BUILTIN, &schema, &name);
    let rights = session.rights();
    if VIRTUAL_SCHEMAS.contains(&schema.as_str()) {
        let message = format!("schema \"{schema}\" belongs to the engine");
        return Err(Error::new(ErrorKind::NotAllowed, message));
    }
    require_schema(session, &schema).await?;
    let before = inner.pipelines.get(&schema, &name).map(|entry| entry.id);
    let exists = before.is_some();
    // Who may make nothing here does not learn which names are taken.
    if !(exists && rights.owns(&object)) {
        rights.require(Privilege::Create, &Object::schema(BUILTIN, &schema))?;
    }
    match exists {
        true if create.if_not_exists => {
            return Ok(Output::command(tag)
                .with_notice(format!("pipeline \"{name}\" already exists, skipping")));
        }
        true if !create.or_replace => {
            let message = format!("pipeline \"{name}\" already exists");
            return Err(Error::new(ErrorKind::DuplicateObject, message)
                .with_hint("CREATE OR REPLACE PIPELINE puts another one in its place."));
        }
        true => rights.require_owner(&object)?,
        false => {}
    }
    let checked = check(session, create, sql).await?;
    // The check takes its time: what was there, and whose it was, must still be so.
    let _held = inner.owning.lock().await;
    require_schema(session, &schema).await?;
    if inner.pipelines.get(&schema, &name).map(|entry| entry.id) != before {
        let message = format!("pipeline \"{name}\" was made or dropped by somebody else meanwhile");
        return Err(Error::new(ErrorKind::Serialization, message).with_hint("Try it again."));
    }
    match exists {
        true => replaced(session, &object).await?,
        false => created(session, object).await?,
    }
    inner.pipelines.put(&schema, &name, checked.definition, checked.webhook).await?;
    let output = Output::command(tag);
    Ok(checked.notices.into_iter().fold(output, Output::with_notice))
}

/// # Errors
/// 3F000 for a schema that is not there, or does not show.
async fn require_schema(session: &Session, schema: &str) -> Result<()> {
    let there = session.engine().inner.store.schemas().await?;
    let there = there.iter().any(|(known, _)| known == schema);
    if there && session.rights().sees(&Object::schema(BUILTIN, schema)) {
        return Ok(());
    }
    let message = format!("schema \"{schema}\" does not exist");
    Err(Error::new(ErrorKind::UndefinedSchema, message)
        .with_hint(format!("CREATE SCHEMA {} makes it.", quote_ident(schema))))
}

async fn drop(session: &Arc<Session>, name: &Name, if_exists: bool) -> Result<Output> {
    let inner = &session.engine().inner;
    let _held = inner.owning.lock().await;
    let found = match find(session, name) {
        Err(error) if if_exists && error.kind() == ErrorKind::UndefinedObject => {
            return Ok(Output::command("DROP PIPELINE")
                .with_notice(format!("pipeline \"{name}\" does not exist, skipping")));
        }
        found => found?,
    };
    session.rights().require_owner(&found.object)?;
    inner.pipelines.drop_pipeline(&found.schema, &found.name).await?;
    super::drop::forget(session, &found.object).await?;
    Ok(Output::command("DROP PIPELINE"))
}

/// Reads the options of a statement; each is a boolean but for `unknown`.
fn options<'a>(
    what: &str,
    known: &[&str],
    given: &'a OptionList,
) -> Result<Vec<(&'a str, &'a str)>> {
    let mut read = Vec::new();
    for (name, value) in &given.0 {
        if !known.contains(&name.as_str()) {
            let message = format!("{what} has no option \"{name}\"");
            let error = Error::new(ErrorKind::InvalidParameter, message);
            return Err(match did_you_mean(name, known.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean {near}?")),
                None => error.with_hint(format!("It has {}.", known.join(", "))),
            });
        }
        read.push((name.as_str(), value.as_str()));
    }
    Ok(read)
}

fn flag(what: &str, name: &str, given: &OptionList) -> Result<bool> {
    match options(what, &[name], given)?.last() {
        None => Ok(false),
        Some((_, value)) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some((_, value)) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => {
            Err(Error::new(ErrorKind::InvalidParameter, format!("option {name} is true or false")))
        }
    }
}

async fn run(session: &Arc<Session>, run: &RunPipeline) -> Result<Output> {
    let found = find(session, &run.name)?;
    session.rights().require(Privilege::Execute, &found.object)?;
    let (mut in_background, mut steps) = (false, None);
    for (name, value) in options("RUN PIPELINE", &["async", "steps", "from_step"], &run.options)? {
        let wrong = |what: &str| Error::new(ErrorKind::InvalidParameter, what.to_owned());
        match (name, value.to_lowercase().as_str()) {
            ("async", "true") => in_background = true,
            ("async", "false") => in_background = false,
            ("async", _) => return Err(wrong("option async is true or false")),
            _ if steps.is_some() => return Err(wrong("steps and from_step do not go together")),
            _ => {
                steps = Some(asked_for(&found.entry.definition, value, name == "from_step")?);
            }
        }
    }
    let (arguments, interval) =
        arguments_of(session, &found.entry.definition, &run.arguments).await?;
    let user = session.role();
    let new = NewRun {
        schema: &found.schema,
        name: &found.name,
        entry: &found.entry,
        user: &user,
        origin: Origin::Manual,
        interval,
        arguments,
        steps,
    };
    let begun = begin(session.engine(), new).await?;
    let (run_id, active) = begun.ok_or_else(|| Error::internal("a run was not made"))?;
    if in_background {
        return Ok(Output::command("RUN PIPELINE").with_notice(format!(
            "run {run_id} has begun; SELECT state FROM system.runs WHERE run_id = {run_id} tells how it is"
        )));
    }
    wait(session, run_id, active, "RUN PIPELINE").await
}

/// Cancels the run that nobody waits for any more.
struct CancelOnDrop(Option<Arc<Active>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(active) = self.0.take() {
            active.token.cancel();
        }
    }
}

/// Waits for the end of a run.
///
/// # Errors
/// That of the run.
///
/// # Cancel
/// Dropping the future cancels the run.
async fn wait(
    session: &Arc<Session>,
    run_id: i64,
    active: Arc<Active>,
    tag: &'static str,
) -> Result<Output> {
    let mut over = active.over.subscribe();
    let mut guard = CancelOnDrop(Some(active));
    let ended = over.wait_for(|over| *over).await.is_ok();
    guard.0 = None;
    let inner = &session.engine().inner;
    let run = inner.store.run(run_id).await?;
    if !ended || run.ended_us.is_none() {
        return Err(Error::new(ErrorKind::ShuttingDown, "the engine is shutting down")
            .with_detail(format!("The next server goes on with run {run_id}.")));
    }
    let steps = inner.store.steps(Some(run_id)).await?;
    if run.state == "succeeded" {
        let mut output = Output::command(tag).with_notice(format!("run {run_id} has succeeded"));
        for step in steps {
            let note = note_shown(&session.rights(), &run, step.note);
            if let Some(note) = note.filter(|note| note.starts_with("WARNING")) {
                output = output.with_notice(format!("step \"{}\": {note}", step.step));
            }
        }
        return Ok(output);
    }
    let kind = match run.state.as_str() {
        "cancelled" => ErrorKind::Cancelled,
        _ => ErrorKind::ALL
            .iter()
            .copied()
            .find(|kind| Some(kind.sqlstate()) == run.sqlstate.as_deref())
            .unwrap_or(ErrorKind::WrongState),
    };
    let state = run.sqlstate.as_deref();
    let error = error_shown(&session.rights(), &run, state, run.error.clone()).unwrap_or_default();
    let message = format!("run {run_id} has {}: {error}", run.state);
    let message = message.replace("has cancelled", "was cancelled");
    let states = steps.iter().map(|step| format!("{} {}", step.step, step.state));
    Err(Error::new(kind, message)
        .with_detail(format!("Steps: {}.", states.collect::<Vec<_>>().join(", ")))
        .with_hint(format!(
            "SELECT * FROM system.run_steps WHERE run_id = {run_id} tells more; RESUME RUN {run_id} goes on."
        )))
}

async fn backfill(session: &Arc<Session>, backfill: &BackfillPipeline) -> Result<Output> {
    let found = find(session, &backfill.name)?;
    session.rights().require(Privilege::Execute, &found.object)?;
    let again = flag("BACKFILL PIPELINE", "again", &backfill.options)?;
    let definition = &found.entry.definition;
    let Some(schedule) = definition.schedule()? else {
        let message = format!("pipeline \"{}\" has no schedule", found.name);
        return Err(Error::new(ErrorKind::WrongState, message)
            .with_detail("The intervals to fill are those of the schedule.")
            .with_hint("RUN PIPELINE … (parameter => value) runs it once."));
    };
    let (from, to) = (
        bound(&backfill.from, schedule.zone(), false)?,
        bound(&backfill.to, schedule.zone(), true)?,
    );
    if to < from {
        let message = "the range of the backfill ends before it begins";
        return Err(Error::new(ErrorKind::InvalidParameter, message)
            .with_hint("BACKFILL PIPELINE name FROM 'first day' TO 'last day'."));
    }
    let inner = &session.engine().inner;
    let now = pipelines::now_us();
    let slots = schedule.slots_from(from, to, BACKFILL_RUNS_MAX)?;
    let n_slots = slots.len();
    let done = match again {
        true => Vec::new(),
        false => inner.store.intervals_done(found.entry.id).await?,
    };
    let user = session.role();
    let (mut runs, mut n_ahead) = (Vec::new(), 0);
    for slot in slots {
        let interval = (slot.start.timestamp_micros(), slot.end.timestamp_micros());
        if interval.1 > now {
            n_ahead += 1;
            continue;
        }
        if done.contains(&interval.0) {
            continue;
        }
        let new = NewRun {
            schema: &found.schema,
            name: &found.name,
            entry: &found.entry,
            user: &user,
            origin: Origin::Backfill,
            interval: Some(interval),
            arguments: Default::default(),
            steps: None,
        };
        if let Some((run_id, _)) = begin(session.engine(), new).await? {
            runs.push(run_id);
        }
    }
    let mut output = Output::command(format!("BACKFILL PIPELINE {}", runs.len()));
    if let (Some(first), Some(last)) = (runs.first(), runs.last()) {
        output = output.with_notice(format!(
            "runs {first} to {last} wait or run; SHOW RUNS tells how they are"
        ));
    }
    if n_slots == 0 {
        output = output.with_notice("no interval of the schedule begins in that range");
    }
    let n_left = n_slots - runs.len() - n_ahead;
    if n_left > 0 {
        output = output.with_notice(format!(
            "{n_left} intervals have a run that succeeded or is under way; WITH (again = true) runs them once more"
        ));
    }
    if n_ahead > 0 {
        output = output.with_notice(format!("{n_ahead} intervals are not over yet"));
    }
    Ok(output)
}

/// Reads one end of a range: a day or a time by the clocks of the zone, or a time with an offset.
fn bound(
    end: &RangeEnd,
    zone: chrono_tz::Tz,
    is_end: bool,
) -> Result<chrono::DateTime<chrono::Utc>> {
    use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
    let text = match end {
        RangeEnd::Text(text) => text.trim(),
        RangeEnd::Value(written) => {
            let message = format!("there is no parameter {written}");
            return Err(Error::new(ErrorKind::UndefinedParameter, message));
        }
    };
    let with_offset = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    if let Ok(time) = with_offset {
        return Ok(time.with_timezone(&Utc));
    }
    let local = |time: NaiveDateTime| {
        // Left out by the clocks: what comes next.
        let found = (0..=24 * 60).find_map(|minutes| {
            zone.from_local_datetime(&(time + Duration::minutes(minutes))).earliest()
        });
        found.map(|time| time.with_timezone(&Utc))
    };
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let time = match day {
        // The whole of the last day.
        Some(day) if is_end => (day + Duration::days(1)).and_time(NaiveTime::MIN),
        Some(day) => day.and_time(NaiveTime::MIN),
        None => ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidDatetime, format!("'{text}' is no time"))
                    .with_hint("Write '2026-11-01' or '2026-11-01 02:00'.")
            })?,
    };
    let found = local(time).ok_or_else(|| {
        Error::new(ErrorKind::InvalidDatetime, format!("'{text}' is no time in {zone}"))
    })?;
    Ok(if is_end && day.is_some() { found - Duration::microseconds(1) } else { found })
}

/// Finds a run that shows, for who may stop it or go on with it: whoever may run the pipeline, or signal who began it.
async fn run_of(session: &Arc<Session>, run_id: i64) -> Result<()> {
    let run = session.engine().inner.store.run(run_id).await?;
    let object = Object::pipeline(BUILTIN, &run.schema, &run.pipeline);
    let rights = session.rights();
    if !rights.sees(&object) && !rights.may_signal(&run.user_name) {
        let message = format!("run {run_id} does not exist");
        return Err(
            Error::new(ErrorKind::UndefinedObject, message).with_hint("SHOW RUNS lists them.")
        );
    }
    if rights.may_signal(&run.user_name) {
        return Ok(());
    }
    rights.require(Privilege::Execute, &object)
}

async fn cancel(session: &Arc<Session>, run_id: i64) -> Result<Output> {
    run_of(session, run_id).await?;
    let inner = &session.engine().inner;
    let run = inner.store.run(run_id).await?;
    if run.ended_us.is_some() {
        let message = format!("run {run_id} is over: it has {}", run.state);
        return Err(Error::new(
            ErrorKind::WrongState,
            message.replace("has cancelled", "was cancelled"),
        ));
    }
    inner.store.cancel_run(run_id, true).await?;
    match inner.pipelines.active(run_id) {
        Some(active) => {
            active.token.cancel();
            if !active.begun.load(Ordering::SeqCst) {
                pipelines::look_again(session.engine()).await;
            }
        }
        // Left by another process: nobody goes on with it.
        None => {
            let mut run = run;
            run.state = "cancelled".to_owned();
            run.ended_us = Some(pipelines::now_us());
            inner.store.update_run(&run).await?;
        }
    }
    Ok(Output::command("CANCEL RUN"))
}

async fn go_on(session: &Arc<Session>, run_id: i64, given: &OptionList) -> Result<Output> {
    run_of(session, run_id).await?;
    let (mut unknown, mut in_background) = (None, false);
    for (name, value) in options("RESUME RUN", &["unknown", "async"], given)? {
        match (name, value.to_lowercase().as_str()) {
            ("unknown", "repeat") => unknown = Some(Unknown::Repeat),
            ("unknown", "done") => unknown = Some(Unknown::Done),
            ("async", "true") => in_background = true,
            ("async", "false") => in_background = false,
            _ => {
                let message = format!("invalid value for option {name}");
                return Err(Error::new(ErrorKind::InvalidParameter, message)
                    .with_hint("unknown is 'repeat' or 'done', async true or false."));
            }
        }
    }
    let active = resume(session.engine(), run_id, unknown).await?;
    if in_background {
        return Ok(Output::command("RESUME RUN"));
    }
    wait(session, run_id, active, "RESUME RUN").await
}
