//! Jobs of training: what runs, what ran, and how one is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::model::Iteration;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::history::micros;
use crate::store::Store;
use crate::store::models::StoredJob;

/// Trainings at once; more of them wait.
const TRAININGS_MAX: usize = 6;
/// Jobs that are remembered.
const JOBS_KEPT: usize = 1000;

/// Steps of a training that are remembered while it goes on.
const STEPS_KEPT: usize = 10_000;

/// One training.
#[derive(Debug)]
pub(crate) struct Job {
    facts: Mutex<StoredJob>,
    /// The steps of learning so far.
    steps: Mutex<Vec<Iteration>>,
    pub(crate) token: CancellationToken,
}

impl Job {
    pub(crate) fn facts(&self) -> StoredJob {
        self.facts.lock().clone()
    }

    pub(crate) fn id(&self) -> i64 {
        self.facts.lock().job_id
    }

    /// Notes a step; of tens of thousands the first ones are shown.
    pub(crate) fn note(&self, step: &Iteration) {
        let mut steps = self.steps.lock();
        if steps.len() < STEPS_KEPT {
            steps.push(step.clone());
        }
    }

    /// Returns how many steps there are, and the loss of the last one.
    pub(crate) fn progress(&self) -> (usize, Option<f64>) {
        let steps = self.steps.lock();
        (steps.len(), steps.last().map(|step| step.loss))
    }

    pub(crate) fn set_state(&self, state: &str) {
        self.facts.lock().state = state.to_owned();
    }

    pub(crate) fn trial_done(&self, done: usize) {
        let mut facts = self.facts.lock();
        facts.trials_done = facts.trials_done.max(i64::try_from(done).unwrap_or(i64::MAX));
    }
}

/// All jobs, in order.
#[derive(Debug)]
pub(crate) struct Jobs {
    store: Store,
    all: Mutex<BTreeMap<i64, Arc<Job>>>,
    next: AtomicI64,
    places: Arc<Semaphore>,
}

impl Jobs {
    /// Reads what ran before; what the last process left running has failed.
    pub(super) async fn open(store: Store) -> Result<Self> {
        let mut all = BTreeMap::new();
        for mut job in store.training_jobs().await? {
            if job.ended_us.is_none() {
                job.state = "failed".to_owned();
                job.ended_us = Some(micros(SystemTime::now()));
                job.sqlstate = Some(ErrorKind::ShuttingDown.sqlstate().to_owned());
                job.error = Some("the process ended while it trained".to_owned());
                store.put_training_job(&job).await?;
            }
            let id = job.job_id;
            all.insert(
                id,
                Arc::new(Job {
                    facts: Mutex::new(job),
                    steps: Mutex::default(),
                    token: CancellationToken::new(),
                }),
            );
        }
        let next = all.keys().next_back().map_or(1, |last| last + 1);
        let places = Arc::new(Semaphore::new(TRAININGS_MAX));
        Ok(Self { store, all: Mutex::new(all), next: AtomicI64::new(next), places })
    }

    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        self.all.lock().values().cloned().collect()
    }

    /// Returns the steps of the last training of a model that goes on and that `sees` shows.
    pub(crate) fn steps_of(
        &self,
        schema: &str,
        model: &str,
        sees: impl Fn(&StoredJob) -> bool,
    ) -> Option<Vec<Iteration>> {
        let of = |job: &&Arc<Job>| {
            let facts = job.facts();
            facts.schema == schema
                && facts.model == model
                && facts.ended_us.is_none()
                && sees(&facts)
        };
        let all = self.all.lock();
        let job = all.values().rev().find(of)?;
        Some(job.steps.lock().clone())
    }

    pub(crate) async fn start(
        &self,
        schema: &str,
        model: &str,
        user: &str,
        trials: usize,
    ) -> Result<Arc<Job>> {
        let facts = StoredJob {
            job_id: self.next.fetch_add(1, Ordering::Relaxed),
            schema: schema.to_owned(),
            model: model.to_owned(),
            user_name: user.to_owned(),
            state: "queued".to_owned(),
            started_us: micros(SystemTime::now()),
            ended_us: None,
            trials: i64::try_from(trials).unwrap_or(i64::MAX),
            trials_done: 0,
            version: None,
            sqlstate: None,
            error: None,
        };
        self.store.put_training_job(&facts).await?;
        let id = facts.job_id;
        let job = Arc::new(Job {
            facts: Mutex::new(facts),
            steps: Mutex::default(),
            token: CancellationToken::new(),
        });
        let mut all = self.all.lock();
        all.insert(id, Arc::clone(&job));
        while all.len() > JOBS_KEPT {
            all.pop_first();
        }
        Ok(job)
    }

    /// Waits for a place among the trainings that run.
    pub(crate) async fn enter(&self) -> Result<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| Error::new(ErrorKind::ShuttingDown, "the engine is shutting down"))
    }

    pub(crate) async fn end(&self, job: &Job, result: &Result<i64>) -> Result<()> {
        let facts = {
            let mut facts = job.facts.lock();
            facts.ended_us = Some(micros(SystemTime::now()));
            match result {
                Ok(version) => {
                    facts.state = "succeeded".to_owned();
                    facts.version = Some(*version);
                    facts.trials_done = facts.trials;
                }
                Err(error) => {
                    let cancelled = error.kind() == ErrorKind::Cancelled;
                    facts.state = if cancelled { "cancelled" } else { "failed" }.to_owned();
                    facts.sqlstate = Some(error.sqlstate().to_owned());
                    facts.error = Some(error.message());
                }
            }
            facts.clone()
        };
        self.store.put_training_job(&facts).await
    }

    /// # Errors
    /// 42704 if there is no such job that `sees` shows, 55000 if it is over.
    pub(crate) fn cancel(&self, id: i64, sees: impl Fn(&StoredJob) -> bool) -> Result<()> {
        let job = self.all.lock().get(&id).cloned().filter(|job| sees(&job.facts()));
        let job = job.ok_or_else(|| {
            Error::new(ErrorKind::UndefinedObject, format!("training job {id} does not exist"))
                .with_hint("SHOW TRAINING JOBS lists them.")
        })?;
        if job.facts().ended_us.is_some() {
            return Err(Error::new(ErrorKind::WrongState, format!("training job {id} is over")));
        }
        job.token.cancel();
        Ok(())
    }

    pub(crate) fn cancel_all(&self) {
        self.all.lock().values().for_each(|job| job.token.cancel());
    }
}
