//! Pipelines: statements that run together, by hand or by a schedule, and that finish or can be gone on with.
//!
//! `check.rs` looks at a pipeline when it is created (`tables.rs` what its steps read and write, `order.rs` which comes first,
//! `parameters.rs` what `:name` means, `bound.rs` `$1`); `definition.rs` is what is kept of it, `change.rs` what is altered in it, `written.rs` its text.
//! `start.rs` begins runs, `run.rs` takes one through its steps,
//! `step.rs` one step through its tries; `schedule.rs` knows the times, `scheduler.rs` waits for them. Rows of the metadata say what is about to be
//! done before it is done, so that another process can go on.

mod bound;
mod change;
mod check;
pub(crate) mod definition;
pub(crate) mod lineage;
mod order;
mod parameters;
mod run;
mod schedule;
mod scheduler;
mod start;
mod step;
mod tables;
mod together;
mod webhook;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use maru_core::{Error, ErrorKind, Result, Secret, did_you_mean};
use maru_sql::PipelineChange;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::access::{Object, Rights};
use crate::catalog::BUILTIN;
use crate::engine::history::micros;
use crate::session::Work;
use crate::store::Store;
use crate::store::pipelines::{StoredPipeline, StoredRun};

pub(crate) use bound::{n_values, with_values};
pub(crate) use check::check;
pub(crate) use definition::Definition;
pub(crate) use parameters::{Substituted, substitute};
pub(crate) use run::dispatch as look_again;
pub(crate) use scheduler::start as start_scheduler;
pub(crate) use start::{NewRun, Origin, Unknown, arguments_of, asked_for, begin, resume};
pub(crate) use tables::full_names;
pub(crate) use webhook::shown as webhook_shown;
pub(crate) use written::create_text;

/// A pipeline as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub id: i64,
    pub definition: Arc<Definition>,
    pub webhook: Option<Secret>,
    pub paused: bool,
    /// Until when its schedule has been looked at.
    pub cursor_us: i64,
    pub created_us: i64,
}

/// Returns the pipeline that a run is one of.
pub(crate) fn object_of(run: &StoredRun) -> Object {
    Object::pipeline(BUILTIN, &run.schema, &run.pipeline)
}

/// What of an error of a run shows: errors quote values of tables that only the pipeline's owner may read.
pub(crate) fn error_shown(
    rights: &Rights,
    run: &StoredRun,
    sqlstate: Option<&str>,
    error: Option<String>,
) -> Option<String> {
    // That it was cancelled quotes nothing; a step of such a run may have failed for another reason before.
    let is_cancel = run.state == "cancelled" && sqlstate == Some(ErrorKind::Cancelled.sqlstate());
    let is_told = is_cancel || rights.looks_into(&object_of(run));
    match error {
        Some(_) if !is_told => Some("only the owner of the pipeline sees the error".to_owned()),
        error => error,
    }
}

/// What of the note of a step shows: what is behind its first line quotes values, too.
pub(crate) fn note_shown(rights: &Rights, run: &StoredRun, note: Option<String>) -> Option<String> {
    let note = note?;
    let shown = match note.split_once('\n') {
        Some((first, _)) if !rights.looks_into(&object_of(run)) => first.to_owned(),
        _ => note.replace('\n', " "),
    };
    Some(shown.trim().to_owned()).filter(|shown| !shown.is_empty())
}

/// A run that is under way in this process.
#[derive(Debug)]
pub(crate) struct Active {
    pub pipeline_id: i64,
    pub token: CancellationToken,
    /// Whether it has begun; those that have not wait for a place.
    pub begun: AtomicBool,
    /// Turns true when it is over.
    pub over: watch::Sender<bool>,
    /// What its steps do now.
    pub works: Mutex<BTreeMap<String, Arc<Work>>>,
}

/// All pipelines and the runs under way.
#[derive(Debug)]
pub(crate) struct Pipelines {
    store: Store,
    entries: RwLock<BTreeMap<(String, String), Entry>>,
    active: Mutex<BTreeMap<i64, Arc<Active>>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// One decision about what runs next at a time.
    deciding: tokio::sync::Mutex<()>,
    /// Something has changed that the scheduler waits for.
    wake: Notify,
    closing: AtomicBool,
}

pub(crate) fn now_us() -> i64 {
    micros(SystemTime::now())
}

pub(crate) fn moment(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

/// Returns the error for a pipeline that is not there, or does not show.
pub(crate) fn undefined(name: &str, known: impl Iterator<Item = String>) -> Error {
    let known = known.collect::<Vec<_>>();
    let message = format!("pipeline \"{name}\" does not exist");
    let error = Error::new(ErrorKind::UndefinedObject, message);
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint("SHOW PIPELINES lists them."),
    }
}

impl Pipelines {
    pub(crate) async fn open(store: Store) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for stored in store.pipelines().await? {
            let entry = Entry {
                id: stored.id,
                definition: Arc::new(Definition::decode(&stored.definition)?),
                webhook: stored.webhook,
                paused: stored.paused,
                cursor_us: stored.cursor_us,
                created_us: stored.created_us,
            };
            entries.insert((stored.schema, stored.name), entry);
        }
        Ok(Self {
            store,
            entries: RwLock::new(entries),
            active: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
            deciding: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn all(&self) -> Vec<(String, String, Entry)> {
        let entries = self.entries.read();
        entries.iter().map(|((s, n), entry)| (s.clone(), n.clone(), entry.clone())).collect()
    }

    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.entries.read().keys().cloned().collect()
    }

    pub(crate) fn get(&self, schema: &str, name: &str) -> Option<Entry> {
        self.entries.read().get(&(schema.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn by_id(&self, id: i64) -> Option<(String, String, Entry)> {
        self.all().into_iter().find(|(_, _, entry)| entry.id == id)
    }

    /// Keeps a pipeline. One that replaces another keeps its number and its place in time.
    pub(crate) async fn put(
        &self,
        schema: &str,
        name: &str,
        definition: Definition,
        webhook: Option<Secret>,
    ) -> Result<()> {
        let _one = self.changing.lock().await;
        let before = self.get(schema, name);
        let now = now_us();
        // Times that went by before it had this schedule are not its own.
        let keeps = before.as_ref().filter(|old| old.definition.schedule == definition.schedule);
        let entry = Entry {
            id: before.as_ref().map_or(0, |old| old.id),
            webhook,
            paused: before.as_ref().is_some_and(|old| old.paused),
            cursor_us: keeps.map_or(now, |old| old.cursor_us),
            created_us: before.as_ref().map_or(now, |old| old.created_us),
            definition: Arc::new(definition),
        };
        self.write(schema, name, entry).await
    }

    async fn write(&self, schema: &str, name: &str, mut entry: Entry) -> Result<()> {
        let stored = StoredPipeline {
            id: entry.id,
            schema: schema.to_owned(),
            name: name.to_owned(),
            definition: entry.definition.encode()?,
            webhook: entry.webhook.clone(),
            paused: entry.paused,
            cursor_us: entry.cursor_us,
            created_us: entry.created_us,
        };
        entry.id = self.store.put_pipeline(&stored).await?;
        self.entries.write().insert((schema.to_owned(), name.to_owned()), entry);
        self.wake.notify_waiters();
        Ok(())
    }

    /// Changes the pipeline of a number. Runs that are there keep the definition that they began with.
    ///
    /// # Errors
    /// 42704 if another one has its name by now, those of [`change::apply`]; nothing is changed then.
    pub(crate) async fn alter(
        &self,
        schema: &str,
        name: &str,
        id: i64,
        change: &PipelineChange,
    ) -> Result<()> {
        let _one = self.changing.lock().await;
        let Some(before) = self.get(schema, name).filter(|entry| entry.id == id) else {
            return Err(undefined(name, std::iter::empty()));
        };
        let mut entry = before.clone();
        change::apply(&mut entry, change)?;
        let old = &before.definition;
        if entry.paused == before.paused
            && entry.definition == *old
            && !matches!(change, PipelineChange::Set(_) | PipelineChange::Reset(_))
        {
            return Ok(());
        }
        // Times that went by before it had this schedule are not its own.
        if entry.definition.schedule != old.schedule {
            entry.cursor_us = now_us();
        }
        self.write(schema, name, entry).await
    }

    /// Keeps until when a schedule has been looked at.
    pub(crate) fn moved(&self, id: i64, cursor_us: i64) {
        let mut entries = self.entries.write();
        if let Some(entry) = entries.values_mut().find(|entry| entry.id == id) {
            entry.cursor_us = entry.cursor_us.max(cursor_us);
        }
    }

    /// Removes a pipeline with what is known of its runs.
    ///
    /// # Errors
    /// 55006 while one runs.
    pub(crate) async fn drop_pipeline(&self, schema: &str, name: &str) -> Result<()> {
        let _one = self.changing.lock().await;
        let _none_begins = self.deciding.lock().await;
        let Some(entry) = self.get(schema, name) else { return Ok(()) };
        let runs = self.active_of(entry.id);
        if !runs.is_empty() {
            let runs = runs.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::new(ErrorKind::LockedObject, format!("pipeline \"{name}\" runs"))
                .with_detail(format!("Its runs are {runs}."))
                .with_hint("CANCEL RUN ends one."));
        }
        self.store.delete_pipeline(entry.id).await?;
        self.entries.write().remove(&(schema.to_owned(), name.to_owned()));
        Ok(())
    }

    /// Returns the runs of a pipeline that are under way or wait.
    pub(crate) fn active_of(&self, id: i64) -> Vec<i64> {
        let active = self.active.lock();
        active.iter().filter(|(_, run)| run.pipeline_id == id).map(|(id, _)| *id).collect()
    }

    fn begun_of(&self, id: i64) -> usize {
        let active = self.active.lock();
        let begun = |run: &&Arc<Active>| run.pipeline_id == id && run.begun.load(Ordering::SeqCst);
        active.values().filter(begun).count()
    }

    pub(crate) fn active(&self, run_id: i64) -> Option<Arc<Active>> {
        self.active.lock().get(&run_id).cloned()
    }

    pub(crate) fn n_active(&self) -> usize {
        self.active.lock().len()
    }

    /// Refuses further steps: what runs is gone on with by the next process.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}
