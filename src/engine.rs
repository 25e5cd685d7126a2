//! The door: one engine per process, one session per client.
//!
//! ```text
//! Session::prepare   text → statement → plan            session/plan.rs
//! Session::execute   admission → physical plan → rows   engine/{admission,executor,memory,query,run}.rs
//! Rows               dropped or read to the end → history, metrics   engine/{history,metrics}.rs
//! ```

pub mod admission;
pub(crate) mod channels;
pub(crate) mod executor;
pub mod history;
pub(crate) mod locks;
pub mod memory;
pub mod metrics;
pub(crate) mod planners;
pub mod query;
pub mod run;
mod spill_file;
pub(crate) mod spilling_join;
pub(crate) mod spilling_window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use maru_core::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};

use crate::access::audit::{Audit, Event, What};
use crate::access::{self, Authority, LOCAL_LOGIN, Login, Object, Protocol, SUPERUSER, Verifier};
use crate::catalog::Catalogs;
use crate::config::Config;
use crate::models::Models;
use crate::opaque::Opaque;
use crate::owner::Owner;
use crate::pipelines::Pipelines;
use crate::session::{Session, base_state};
use crate::store::Store;

use admission::Admission;
use channels::Channels;
use executor::Executor;
use history::History;
use locks::Locks;
use memory::Governor;
use metrics::Metrics;
use planners::Planners;
use query::Queries;

/// Time that sources have to close their connections at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) owner: Owner,
    pub(crate) store: Store,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) models: Models,
    pub(crate) pipelines: Pipelines,
    pub(crate) authority: Authority,
    pub(crate) audit: Audit,
    pub(crate) queries: Queries,
    pub(crate) history: History,
    pub(crate) admission: Arc<Admission>,
    pub(crate) governor: Arc<Governor>,
    pub(crate) metrics: Metrics,
    pub(crate) base: Opaque<SessionState>,
    pub(crate) executor: Executor,
    pub(crate) planners: Planners,
    /// Commands that have run so far. A plan from before one may be of another world.
    pub(crate) commands: AtomicU64,
    /// Tables that are being made.
    pub(crate) making: Mutex<BTreeSet<Object>>,
    /// That a view, an external table or a pipeline is there, and whose it is, change together: what is nobody's is the superuser's,
    /// and would read with all rights.
    pub(crate) owning: tokio::sync::Mutex<()>,
    /// Advisory locks.
    pub(crate) locks: Locks,
    pub(crate) channels: Channels,
    sessions: RwLock<BTreeMap<i32, Weak<Session>>>,
    next_session: AtomicI32,
    closing: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("data_dir", &self.config.data_dir).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the data directory, creating it at the first start, and attaches its catalogs.
    ///
    /// # Errors
    /// 55006 if another process owns the data directory, with its pid and address in the detail.
    pub async fn open(config: Config) -> Result<Self> {
        let owner = Owner::take(&config.data_dir)?;
        let store = Store::open(&config.data_dir).await?;
        let authority = Authority::open(&store, &config, &owner).await?;
        let audit = Audit::open(store.clone());
        let catalogs = Catalogs::open(store.clone(), &config.data_dir).await?;
        let models =
            Models::open(store.clone(), &config.data_dir, config.onnxruntime_library.clone())
                .await?;
        let pipelines = Pipelines::open(store.clone()).await?;
        let governor = Governor::new(config.memory_limit_bytes);
        let runtime = runtime(&config)?;
        let history = History::open(store.clone(), config.query_history_days).await?;
        let next_query = history.next_id().await?;
        let base = Opaque::new(base_state(&config, &runtime)?);
        let inner = Inner {
            admission: Admission::new(
                config.concurrent_queries_max,
                config.queued_queries_max,
                Arc::clone(&governor),
            ),
            queries: Queries::new(next_query),
            metrics: Metrics::new()?,
            executor: Executor::new(config.target_partitions)?,
            planners: Planners::new(config.target_partitions)?,
            commands: AtomicU64::new(0),
            making: Mutex::default(),
            owning: tokio::sync::Mutex::default(),
            locks: Locks::default(),
            channels: Channels::default(),
            sessions: RwLock::new(BTreeMap::new()),
            next_session: AtomicI32::new(1),
            closing: AtomicBool::new(false),
            config,
            owner,
            store,
            catalogs,
            models,
            pipelines,
            authority,
            audit,
            history,
            governor,
            base,
        };
        let engine = Self { inner: Arc::new(inner) };
        crate::session::drop_left(&engine).await?;
        Ok(engine)
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Returns where the superuser's first password is to be found, once, at the first start.
    pub fn initial_password_notice(&self) -> Option<String> {
        self.inner.authority.initial_password_notice()
    }

    /// Tells other processes on this machine under which address this one serves the Postgres wire.
    pub fn publish_endpoint(&self, pg: &str) -> Result<()> {
        self.inner.owner.publish(pg)
    }

    /// Returns what is needed to check the password of `user`; `None` if there is no such user or it may not log in.
    pub async fn verifier(&self, user: &str) -> Result<Option<Verifier>> {
        Ok(self.inner.authority.verifier(user))
    }

    /// Checks a password in constant time, for protocols that send it (Flight SQL basic authentication). Takes some
    /// ten milliseconds of CPU, off the async threads.
    ///
    /// # Errors
    /// 28P01, the same for an unknown user and a wrong password.
    pub async fn check_password(&self, user: &str, password: &str, address: &str) -> Result<()> {
        self.slow_login(user, address).await;
        let verifier = self.inner.authority.verifier(user);
        let (name, password) = (user.to_owned(), maru_core::Secret::new(password));
        let checked =
            tokio::task::spawn_blocking(move || access::check(&name, verifier, &password))
                .await
                .map_err(|_| Error::internal("password check was aborted"))?;
        match &checked {
            Ok(()) => self.inner.authority.login_ended(user, address, true),
            Err(error) => self.login_failed(user, address, Protocol::FlightSql, error),
        }
        checked
    }

    /// Waits where logins of a user from an address have failed again and again.
    pub async fn slow_login(&self, user: &str, address: &str) {
        let delay = self.inner.authority.login_delay(user, address);
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    /// Counts and records a login that was refused.
    pub fn login_failed(&self, user: &str, address: &str, protocol: Protocol, error: &Error) {
        self.inner.authority.login_ended(user, address, false);
        self.inner.audit.record(Event {
            what: What::LoginFailed,
            user: user.to_owned(),
            role: None,
            protocol,
            client_address: Some(address.to_owned()),
            session_id: None,
            sql: None,
            sqlstate: Some(error.sqlstate().to_owned()),
            message: Some(error.primary().to_owned()),
        });
    }

    /// Opens a session for a client that has proven who it is.
    ///
    /// # Errors
    /// 28000 if there is no such role or it may not log in; 53300 beyond its connection limit; 3D000 if the login names
    /// a catalog that does not exist or that it may not use; 57P01 while shutting down.
    pub async fn session(&self, mut login: Login) -> Result<Arc<Session>> {
        self.refuse_when_closing()?;
        if login.user == LOCAL_LOGIN {
            login.user = SUPERUSER.to_owned();
        }
        self.check_login(&login)?;
        let id = self.inner.next_session.fetch_add(1, Ordering::Relaxed);
        let session = Session::open(self.clone(), id, login)?;
        let mut sessions = self.inner.sessions.write();
        sessions.retain(|_, session| session.strong_count() > 0);
        sessions.insert(id, Arc::downgrade(&session));
        drop(sessions);
        let login = session.login();
        if login.protocol != Protocol::Embedded {
            let address = login.client_address.clone();
            self.inner.authority.login_ended(&login.user, address.as_deref().unwrap_or(""), true);
            self.inner.audit.record(Event {
                what: What::Login,
                user: login.user.clone(),
                role: None,
                protocol: login.protocol,
                client_address: address,
                session_id: Some(id),
                sql: None,
                sqlstate: None,
                message: None,
            });
        }
        Ok(session)
    }

    /// Records a statement with how it ended.
    pub(crate) fn audit_statement(&self, query: &query::Query, what: What, error: Option<&Error>) {
        let session = self.inner.sessions.read().get(&query.session_id).and_then(Weak::upgrade);
        self.inner.audit.record(Event {
            what,
            user: query.user.clone(),
            role: session.as_ref().map(|session| session.role()),
            protocol: query.protocol,
            client_address: session.and_then(|session| session.login().client_address.clone()),
            session_id: Some(query.session_id),
            sql: Some(query.sql.clone()),
            sqlstate: error.map(|error| error.sqlstate().to_owned()),
            message: error.map(|error| error.primary().to_owned()),
        });
    }

    /// Opens a session for work that the engine does for a role, which need not be one that logs in.
    ///
    /// # Errors
    /// 42704 if there is no such role, 57P01 while shutting down.
    pub(crate) fn session_as(&self, role: &str) -> Result<Arc<Session>> {
        self.refuse_when_closing()?;
        self.inner.authority.rules().role(role)?;
        let login = Login { user: role.to_owned(), ..Login::embedded() };
        let id = self.inner.next_session.fetch_add(1, Ordering::Relaxed);
        let session = Session::open(self.clone(), id, login)?;
        self.inner.sessions.write().insert(id, Arc::downgrade(&session));
        Ok(session)
    }

    /// Lets runs of pipelines begin no further step; the next process goes on with them.
    pub fn stop_runs(&self) {
        self.inner.pipelines.close();
    }

    /// Starts runs of pipelines when they are due, and goes on with those that a process before this one left.
    pub fn start_scheduler(&self) {
        crate::pipelines::start_scheduler(self.clone());
    }

    fn check_login(&self, login: &Login) -> Result<()> {
        let rules = self.inner.authority.rules();
        let user = &login.user;
        let role = rules.roles.get(user).filter(|role| role.login).ok_or_else(|| {
            Error::new(
                ErrorKind::NotAuthenticated,
                format!("role \"{user}\" is not permitted to log in"),
            )
        })?;
        let n_open = self.sessions().iter().filter(|session| session.user() == user).count();
        if usize::try_from(role.connection_limit).is_ok_and(|limit| n_open >= limit) {
            return Err(Error::new(
                ErrorKind::TooManyConnections,
                format!("too many connections for role \"{user}\""),
            )
            .with_detail(format!("Its connection limit is {}.", role.connection_limit)));
        }
        Ok(())
    }

    /// Returns the live sessions.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.inner.sessions.read().values().filter_map(Weak::upgrade).collect()
    }

    /// Returns the live session of this number.
    pub(crate) fn session_of(&self, id: i32) -> Option<Arc<Session>> {
        self.inner.sessions.read().get(&id).and_then(Weak::upgrade)
    }

    /// Returns how many commands have run, which is what a tool can tell the engine's metadata by.
    pub(crate) fn commands_so_far(&self) -> i64 {
        self.inner.commands.load(std::sync::atomic::Ordering::Relaxed) as i64
    }

    pub(crate) fn forget_session(&self, id: i32) {
        self.inner.sessions.write().remove(&id);
    }

    /// Cancels the running statement of the session with this key (PostgreSQL's CancelRequest). A wrong key does
    /// nothing.
    pub fn cancel(&self, session_id: i32, cancel_secret: i32) {
        let session = self.session_of(session_id);
        if let Some(session) = session.filter(|session| session.cancel_secret() == cancel_secret) {
            session.cancel();
        }
    }

    /// Returns whether statements are accepted: metadata readable, not shutting down.
    pub async fn is_ready(&self) -> Result<()> {
        self.refuse_when_closing()?;
        self.inner.store.ping().await
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn metrics_text(&self) -> String {
        self.inner.metrics.text(self)
    }

    /// Refuses new statements, waits up to `grace` for the running ones, cancels the rest, closes all sources, and
    /// gives the data directory free.
    pub async fn close(&self, grace: Duration) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.pipelines.close();
        if tokio::time::timeout(grace, self.inner.queries.idle()).await.is_err() {
            self.inner.queries.cancel_all();
            self.inner.models.jobs.cancel_all();
            // Cancelled statements end at their next batch; a second is many of those.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.queries.idle()).await;
        }
        // A source waits for its readers, and one that is stuck in an operator may never end: the process does anyway.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.inner.catalogs.close()).await;
        self.inner.history.close().await;
        self.inner.audit.close().await;
        self.inner.store.close().await;
        self.inner.owner.give_free();
    }

    pub(crate) fn refuse_when_closing(&self) -> Result<()> {
        if self.inner.closing.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::ShuttingDown, "the engine is shutting down"));
        }
        Ok(())
    }
}

/// Makes the environment all statements share: caches, stores, the spill directory. Memory is governed per statement.
fn runtime(config: &Config) -> Result<Arc<RuntimeEnv>> {
    let spill = config.data_dir.join("spill");
    std::fs::create_dir_all(&spill).map_err(|error| {
        Error::new(ErrorKind::Io, format!("could not create {}", spill.display())).with_cause(error)
    })?;
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill]))
        .with_max_temp_directory_size(config.spill_limit_bytes);
    let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc()?;
    Ok(runtime)
}
