//! `system.pipelines`, `pipeline_steps`, `runs`, `run_steps`, `lineage`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use futures::FutureExt;
use maru_core::Result;

use super::ColumnKind::{Boolean, Integer, Text, TextList, Timestamp};
use super::{Row, TableSpec, boolean, integer, text, text_or_null, timestamp};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::engine::run::figures;
use crate::pipelines::definition::Body;
use crate::pipelines::lineage::Made;
use crate::pipelines::{Entry, error_shown, moment, note_shown, now_us, object_of, webhook_shown};
use crate::session::Session;
use crate::store::pipelines::{StoredRun, StoredStep};

pub(super) static PIPELINES: TableSpec = TableSpec {
    name: "pipelines",
    doc: "Pipelines with their schedules; RUN PIPELINE takes their names.",
    columns: &[
        ("schema", Text),
        ("name", Text),
        ("owner", Text),
        ("parameters", TextList),
        ("n_steps", Integer),
        ("schedule", Text),
        ("time_zone", Text),
        ("paused", Boolean),
        ("next_run", Timestamp),
        ("catch_up", Text),
        ("options", Text),
        ("on_failure", Text),
        ("last_run_id", Integer),
        ("last_state", Text),
        ("created", Timestamp),
    ],
    rows: |session, _| pipelines(session).boxed(),
};

pub(super) static PIPELINE_STEPS: TableSpec = TableSpec {
    name: "pipeline_steps",
    doc: "Steps of pipelines in their order, with what they read and write and what a second try does.",
    columns: &[
        ("schema", Text),
        ("pipeline", Text),
        ("position", Integer),
        ("step", Text),
        ("kind", Text),
        ("after", TextList),
        ("condition", Text),
        ("reads", TextList),
        ("writes", TextList),
        ("again", Text),
        ("sql", Text),
    ],
    rows: |session, _| async { Ok(steps(session)) }.boxed(),
};

pub(super) static RUNS: TableSpec = TableSpec {
    name: "runs",
    doc: "Runs of pipelines; CANCEL RUN and RESUME RUN take a run_id.",
    columns: &[
        ("run_id", Integer),
        ("schema", Text),
        ("pipeline", Text),
        ("user_name", Text),
        ("trigger", Text),
        ("arguments", Text),
        ("interval_start", Timestamp),
        ("interval_end", Timestamp),
        ("state", Text),
        ("n_steps", Integer),
        ("n_steps_done", Integer),
        ("created", Timestamp),
        ("started", Timestamp),
        ("ended", Timestamp),
        ("elapsed_ms", Integer),
        ("sqlstate", Text),
        ("error", Text),
    ],
    rows: |session, _| runs(session).boxed(),
};

pub(super) static RUN_STEPS: TableSpec = TableSpec {
    name: "run_steps",
    doc: "Steps of runs: where they are, how often they were tried, what they did.",
    columns: &[
        ("run_id", Integer),
        ("schema", Text),
        ("pipeline", Text),
        ("position", Integer),
        ("step", Text),
        ("state", Text),
        ("attempt", Integer),
        ("query_id", Integer),
        ("n_rows", Integer),
        ("n_bytes", Integer),
        ("source_rows", Integer),
        ("source_bytes", Integer),
        ("spilled_bytes", Integer),
        ("memory_peak_bytes", Integer),
        ("started", Timestamp),
        ("ended", Timestamp),
        ("elapsed_ms", Integer),
        ("note", Text),
        ("sqlstate", Text),
        ("error", Text),
        ("sql", Text),
    ],
    rows: |session, _| run_steps(session).boxed(),
};

pub(super) static LINEAGE: TableSpec = TableSpec {
    name: "lineage",
    doc: "What the tables that pipelines write are made of, and which tables models have learnt from.",
    columns: &[
        ("schema", Text),
        ("pipeline", Text),
        ("step", Text),
        ("source", Text),
        ("source_column", Text),
        ("target", Text),
        ("target_column", Text),
    ],
    rows: |session, _| lineage(session).boxed(),
};

/// The pipelines that show.
fn seen(session: &Session) -> Vec<(Object, String, String, Entry)> {
    let rights = session.rights();
    let all = session.engine().inner.pipelines.all().into_iter();
    let with_object = all.map(|(s, n, entry)| (Object::pipeline(BUILTIN, &s, &n), s, n, entry));
    with_object.filter(|(object, ..)| rights.sees(object)).collect()
}

fn time_or_null(us: Option<i64>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(us, Some("UTC".into()))
}

fn list(values: &[String]) -> ScalarValue {
    let values =
        values.iter().map(|value| ScalarValue::Utf8(Some(value.clone()))).collect::<Vec<_>>();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8))
}

fn count(n: usize) -> ScalarValue {
    integer(i64::try_from(n).unwrap_or(i64::MAX))
}

async fn pipelines(session: &Arc<Session>) -> Result<Vec<Row>> {
    let inner = &session.engine().inner;
    let mut last = BTreeMap::new();
    for run in inner.store.runs(false).await? {
        let state = state_of(session, &run);
        last.insert(run.pipeline_id, (run.run_id, state));
    }
    let rights = session.rights();
    let mut rows = Vec::new();
    for (object, schema, name, entry) in seen(session) {
        let definition = &entry.definition;
        let schedule = definition.schedule()?.filter(|_| !entry.paused);
        let next = match schedule {
            Some(schedule) => Some(schedule.next(moment(entry.cursor_us.max(now_us())))?),
            None => None,
        };
        let parameters = definition.parameters.iter().map(|p| match &p.default {
            Some(default) => format!("{} {} DEFAULT {default}", p.name, p.data_type),
            None => format!("{} {}", p.name, p.data_type),
        });
        let options = &definition.options;
        let shown = format!(
            "retries = {}, retry_wait = '{}ms', timeout = '{}ms', step_timeout = '{}ms', max_active_runs = {}, parallel = {}, publish = '{}'",
            options.retries,
            options.retry_wait_ms,
            options.timeout_ms,
            options.step_timeout_ms,
            options.max_active_runs,
            options.parallel,
            if options.publish_at_once { "atomic" } else { "steps" }
        );
        let text_of = definition.schedule.as_ref();
        let last = last.get(&entry.id);
        rows.push(vec![
            text(schema),
            text(name),
            text(rights.rules().owner(&object)),
            list(&parameters.collect::<Vec<_>>()),
            count(definition.steps.len()),
            text_or_null(text_of.map(|schedule| schedule.cron.clone())),
            text_or_null(text_of.map(|schedule| schedule.time_zone.clone())),
            boolean(entry.paused),
            time_or_null(next.map(|next| next.timestamp_micros())),
            text(options.catch_up.word()),
            text(shown),
            text_or_null(entry.webhook.as_ref().map(webhook_shown)),
            ScalarValue::Int64(last.map(|(run_id, _)| *run_id)),
            text_or_null(last.map(|(_, state)| state.clone())),
            timestamp(entry.created_us),
        ]);
    }
    Ok(rows)
}

fn steps(session: &Session) -> Vec<Row> {
    let rights = session.rights();
    let mut rows = Vec::new();
    for (object, schema, name, entry) in seen(session) {
        let inside = rights.looks_into(&object);
        let shown = |tables: &[String]| {
            let tables = tables.iter().filter(|table| inside || rights.sees_named(table, None));
            list(&tables.cloned().collect::<Vec<_>>())
        };
        for (position, step) in entry.definition.steps.iter().enumerate() {
            let (kind, sql) = match &step.body {
                Body::Statement(sql) => ("statement".to_owned(), sql),
                Body::Expect { name, query, fails, retries } => {
                    let then = match (fails, retries) {
                        (_, true) => "RETRY",
                        (true, false) => "FAIL",
                        (false, false) => "WARN",
                    };
                    (format!("EXPECT '{name}' ON VIOLATION {then}"), query)
                }
            };
            rows.push(vec![
                text(schema.as_str()),
                text(name.as_str()),
                count(position + 1),
                text(step.name.as_str()),
                text(kind),
                list(&step.after),
                text_or_null(step.when.clone().filter(|_| inside)),
                shown(&step.reads),
                shown(&step.writes),
                text(step.again.doc()),
                text_or_null(inside.then(|| crate::statement::redact(sql))),
            ]);
        }
    }
    rows
}

/// Tables as the steps name them; columns as the plans of the last run that succeeded had them.
async fn lineage(session: &Arc<Session>) -> Result<Vec<Row>> {
    let store = &session.engine().inner.store;
    let runs = store.runs(false).await?;
    let runs =
        runs.into_iter().map(|run| (run.run_id, run.pipeline_id)).collect::<BTreeMap<_, _>>();
    let mut known = BTreeMap::new();
    for step in store.steps(None).await? {
        if let (Some(pipeline), Some(made)) = (runs.get(&step.run_id), step.lineage) {
            known.insert((*pipeline, step.step), made);
        }
    }
    let rights = session.rights();
    let mut rows = Vec::new();
    for (object, schema, name, entry) in seen(session) {
        let inside = rights.looks_into(&object);
        for step in &entry.definition.steps {
            let made = known.get(&(entry.id, step.name.clone()));
            let made = made.and_then(|made| serde_json::from_str::<Vec<Made>>(made).ok());
            let made = made.unwrap_or_default();
            let shows =
                |table: &str, column: Option<&str>| inside || rights.sees_named(table, column);
            let mut add = |source: &str, column: Option<&str>, target: &str, of: Option<&str>| {
                if !shows(source, column) || !shows(target, of) {
                    return;
                }
                rows.push(vec![
                    text(schema.as_str()),
                    text(name.as_str()),
                    text(step.name.as_str()),
                    text(source),
                    text_or_null(column),
                    text(target),
                    text_or_null(of),
                ]);
            };
            for target in &step.writes {
                for source in step.reads.iter().filter(|source| *source != target) {
                    add(source, None, target, None);
                }
                for Made { column, of } in &made {
                    for (table, source_column) in of {
                        let column_of = Some(source_column.as_str()).filter(|c| !c.is_empty());
                        let source = full_name(table, &step.reads, &step.writes);
                        add(source, column_of, target, Some(column));
                    }
                }
            }
        }
    }
    // A model is made of the tables that its versions were trained on.
    for model in session.engine().inner.models.all() {
        let object = Object::model(BUILTIN, &model.schema, &model.name);
        if !rights.sees(&object) {
            continue;
        }
        let inside = rights.looks_into(&object);
        for version in &model.versions {
            let sources = &version.manifest.sources;
            for source in sources.iter().filter(|name| inside || rights.sees_named(name, None)) {
                rows.push(vec![
                    text(model.schema.as_str()),
                    ScalarValue::Utf8(None),
                    ScalarValue::Utf8(None),
                    text(source.as_str()),
                    ScalarValue::Utf8(None),
                    text(format!("{BUILTIN}.{}.{}@{}", model.schema, model.name, version.version)),
                    ScalarValue::Utf8(None),
                ]);
            }
        }
    }
    Ok(rows)
}

/// Returns the full name of a table that a plan names shorter, or with a mark of the search path. A step may read what it writes.
fn full_name<'a>(table: &'a str, reads: &'a [String], writes: &'a [String]) -> &'a str {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let known = || reads.iter().chain(writes);
    let mut ends =
        known().filter(|full| full.as_str() == table || full.ends_with(&format!(".{table}")));
    let mut same = known().filter(|full| last(full) == last(table));
    ends.next().or_else(|| same.next()).map_or(table, String::as_str)
}

/// What a run is: one that nobody goes on with was interrupted.
fn state_of(session: &Session, run: &StoredRun) -> String {
    let here = session.engine().inner.pipelines.active(run.run_id).is_some();
    match run.ended_us {
        None if !here => "interrupted".to_owned(),
        _ => run.state.clone(),
    }
}

/// The runs that show: those of pipelines that do, and those that the user began.
async fn runs_seen(session: &Arc<Session>) -> Result<Vec<StoredRun>> {
    let rights = session.rights();
    let mut runs = session.engine().inner.store.runs(false).await?;
    runs.retain(|run| {
        rights.sees(&Object::pipeline(BUILTIN, &run.schema, &run.pipeline))
            || super::engine_tables::watches(&rights, &run.user_name)
    });
    Ok(runs)
}

async fn runs(session: &Arc<Session>) -> Result<Vec<Row>> {
    let mut steps = BTreeMap::<i64, (usize, usize)>::new();
    for step in session.engine().inner.store.steps(None).await? {
        let counts = steps.entry(step.run_id).or_default();
        counts.0 += 1;
        counts.1 += usize::from(["succeeded", "skipped"].contains(&step.state.as_str()));
    }
    let rights = session.rights();
    let row = |run: StoredRun| {
        let error = error_shown(&rights, &run, run.sqlstate.as_deref(), run.error.clone());
        let (n_steps, n_done) = steps.get(&run.run_id).copied().unwrap_or_default();
        let state = state_of(session, &run);
        let elapsed =
            run.started_us.map(|start| (run.ended_us.unwrap_or_else(now_us) - start) / 1000);
        vec![
            integer(run.run_id),
            text(run.schema),
            text(run.pipeline),
            text(run.user_name),
            text(run.origin),
            text(run.arguments),
            time_or_null(run.interval_start_us),
            time_or_null(run.interval_end_us),
            text(state),
            count(n_steps),
            count(n_done),
            timestamp(run.created_us),
            time_or_null(run.started_us),
            time_or_null(run.ended_us),
            ScalarValue::Int64(elapsed),
            text_or_null(run.sqlstate),
            text_or_null(error),
        ]
    };
    Ok(runs_seen(session).await?.into_iter().map(row).collect())
}

async fn run_steps(session: &Arc<Session>) -> Result<Vec<Row>> {
    let runs = runs_seen(session).await?;
    let runs = runs.into_iter().map(|run| (run.run_id, run)).collect::<BTreeMap<_, _>>();
    let mut rows = Vec::new();
    for step in session.engine().inner.store.steps(None).await? {
        if let Some(run) = runs.get(&step.run_id) {
            rows.push(run_step(session, run, step));
        }
    }
    Ok(rows)
}

fn run_step(session: &Arc<Session>, run: &StoredRun, mut step: StoredStep) -> Row {
    let engine = session.engine();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut source_rows = None;
    // What it has done so far.
    let active = engine.inner.pipelines.active(run.run_id);
    let work = active.as_ref().and_then(|active| active.works.lock().get(&step.step).cloned());
    let query = work.and_then(|work| engine.inner.queries.get(work.query_id()?));
    if let Some(query) = query {
        let now = query.plan().map(|plan| figures(engine, &plan)).unwrap_or_default();
        step.query_id = Some(signed(query.id));
        step.n_rows = Some(signed(now.written_rows.max(query.n_rows.load(Ordering::Relaxed))));
        step.n_bytes = Some(signed(now.written_bytes));
        source_rows = Some(signed(now.sources.values().map(|(rows, _)| rows).sum()));
        step.source_bytes = Some(signed(now.sources.values().map(|(_, bytes)| bytes).sum()));
        step.spilled_bytes = Some(signed(now.spilled_bytes));
        step.memory_peak_bytes = Some(signed(query.pool.peak_bytes() as u64));
    }
    if step.ended_us.is_none() && active.is_none() && step.state == "running" {
        step.state = "interrupted".to_owned();
    }
    let elapsed =
        step.started_us.map(|start| (step.ended_us.unwrap_or_else(now_us) - start) / 1000);
    let rights = session.rights();
    let inside = rights.looks_into(&object_of(run));
    let error = error_shown(&rights, run, step.sqlstate.as_deref(), step.error.take());
    vec![
        integer(step.run_id),
        text(run.schema.as_str()),
        text(run.pipeline.as_str()),
        integer(step.position + 1),
        text(step.step),
        text(step.state),
        integer(step.attempt),
        ScalarValue::Int64(step.query_id),
        ScalarValue::Int64(step.n_rows),
        ScalarValue::Int64(step.n_bytes),
        ScalarValue::Int64(source_rows),
        ScalarValue::Int64(step.source_bytes),
        ScalarValue::Int64(step.spilled_bytes),
        ScalarValue::Int64(step.memory_peak_bytes),
        time_or_null(step.started_us),
        time_or_null(step.ended_us),
        ScalarValue::Int64(elapsed),
        text_or_null(note_shown(&rights, run, step.note)),
        text_or_null(step.sqlstate),
        text_or_null(error),
        text_or_null(step.sql.filter(|_| inside)),
    ]
}
