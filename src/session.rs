//! One client's conversation with the engine: settings, the transaction block, the running statement.
//!
//! `plan.rs` turns text into a plan, `execute.rs` runs it, `settings.rs` is the list of settings, `functions.rs` the
//! functions that answer from the session.

mod acl_functions;
mod advisory;
mod always;
mod arithmetic;
mod average;
mod block;
mod case_conditions;
mod choices;
mod cooperative;
mod copies;
mod correlated;
mod counts;
mod cursors;
mod dependent;
mod epoch;
mod equal_nulls;
mod execute;
mod explain;
mod extremes;
mod float_sums;
mod foreign_view;
mod functions;
mod guarded;
mod interval_sums;
mod joined_texts;
mod json;
mod lateral;
mod like_pattern;
mod meaning;
mod membership;
mod missing_table;
mod models;
mod multisets;
mod named;
mod named_casts;
mod named_objects;
mod nested;
mod notifications;
mod now;
mod number_rows;
mod once;
mod open_texts;
mod operators;
mod order_columns;
mod ordered_set;
mod outer_aggregates;
mod outer_row;
mod owner_session;
mod parameters;
mod plan;
mod plan_again;
mod planning;
mod policies;
mod postgres_text;
mod prepared;
mod preview;
mod privilege_functions;
mod privileges;
mod profile;
mod quantified;
mod ranks;
mod read_only;
mod recursive;
mod rewrite;
mod scalar_subqueries;
mod scalars;
mod seconds;
mod settings;
mod sleep;
mod state;
mod stoppable;
mod subqueries;
mod sum;
mod temporary;
mod timezone;
mod type_names;
mod union_names;
mod work;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::prelude::{SessionConfig, SessionContext};
use maru_connect::{PushIntoSources, Verify};
use maru_core::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use crate::access::{Login, Rights};
use crate::catalog::resolve::{SEARCH_PATH, SessionCatalogs};
use crate::catalog::{Attached, BUILTIN, Catalogs};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::channels::Mailbox;
use crate::engine::spilling_join::SpillingJoins;
use crate::engine::spilling_window::SpillingWindows;
use crate::opaque::Opaque;
use crate::store::random;
use block::Block;

pub(crate) use arithmetic::{spelled, spelled_interval, time_in_full};
pub(crate) use block::{Image, InBlock, in_block};
pub use cursors::Cursor;
use json::ROW_COLUMN;
pub(crate) use models::asked_version;
pub use named::Named;
pub(crate) use named::undefined as undefined_prepared;
pub(crate) use named_objects::parts as name_parts;
pub(crate) use plan::{as_owner, as_owner_for, word_position};
pub(crate) use policies::{is_guard, is_under_policies, stand_in};
pub use prepared::Prepared;
use prepared::{Kind, Planned};
pub(crate) use scalars::{Style, TYPE_KEY, mark, put_json, style_of};
pub use settings::{SETTINGS, SettingSpec, Settings};
pub(crate) use settings::{bytes, setting_name};
pub(crate) use temporary::{drop_left, is_temporary_schema};
pub(crate) use work::Work;
pub use write::{IfExists, Incoming, Ingest};
pub(crate) use write::{
    Target, bytea, create_schema, create_table, declared_column, declared_type, find_target,
    length_of, name_for, place_of_new, read_check, read_default, require_of_all,
};

/// Settings, prepared statements and the running statement of one client.
///
/// A session runs one statement at a time; protocols call it from one task, [`Session::cancel`] from anywhere.
pub struct Session {
    id: i32,
    cancel_secret: i32,
    login: Login,
    opened: SystemTime,
    engine: Engine,
    catalog: RwLock<String>,
    /// As which role statements run after `SET ROLE`.
    role: RwLock<Option<String>>,
    settings: RwLock<Settings>,
    block: Mutex<Block>,
    /// What has come by channels.
    mailbox: Arc<Mailbox>,
    named: Mutex<BTreeMap<String, Arc<Named>>>,
    cursors: Mutex<BTreeMap<String, Arc<Cursor>>>,
    oids: RwLock<Arc<privilege_functions::Oids>>,
    /// Cancelled when somebody ends the session from outside.
    terminated: CancellationToken,
    /// Cancelled by [`Session::cancel`]; each call of prepare and execute takes a new one.
    current: Mutex<CancellationToken>,
    /// What its statements are a part of.
    work: Mutex<Option<Arc<Work>>>,
    /// What each statement's state is made from.
    state: Opaque<SessionState>,
    kept: Mutex<Option<state::Kept>>,
    /// Names of the temporary relations that it has made.
    temporary: Mutex<BTreeSet<String>>,
    /// Commands that have run so far and changed nothing but the session.
    commands: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One statement of a text that may hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// Without the semicolon.
    pub text: String,
    /// Characters before it in the whole text; error positions count from the start of the whole text.
    pub offset: usize,
}

impl StatementText {
    /// Returns a text that is one statement.
    pub fn one(text: impl Into<String>) -> Self {
        Self { text: text.into(), offset: 0 }
    }
}

/// Whether a transaction block is open, as PostgreSQL tells its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TransactionStatus {
    #[default]
    Idle,
    Open,
    Failed,
}

impl Session {
    pub(crate) fn open(engine: Engine, id: i32, mut login: Login) -> Result<Arc<Self>> {
        let mut catalog = login.database.clone().unwrap_or_else(|| BUILTIN.to_owned());
        let rights = Rights::new(engine.inner.authority.rules(), &login.user);
        // The database that tools know to be there, where nobody has made one of that name.
        if catalog == "postgres" && engine.inner.catalogs.require(&catalog, &rights).is_err() {
            catalog = BUILTIN.to_owned();
            login.database = None;
        }
        engine.inner.catalogs.require(&catalog, &rights).map_err(|_| {
            Error::new(ErrorKind::UndefinedCatalog, format!("catalog \"{catalog}\" does not exist"))
                .with_hint(format!("The built-in catalog is \"{BUILTIN}\"."))
        })?;
        let secret = random(4)?.try_into().map_or(0, i32::from_be_bytes);
        let role = rights.rules().roles.get(&login.user);
        let settings = Settings::new(&engine.inner.config, &login).with_role(role);
        Ok(Arc::new_cyclic(|this| {
            let mut state = SessionState::clone(&engine.inner.base);
            state.register_catalog_list(Arc::new(SessionCatalogs(this.clone())));
            functions::register(&mut state, this);
            privilege_functions::register(&mut state, this);
            acl_functions::register(&mut state, this);
            advisory::register(&mut state, this);
            notifications::register(&mut state, this);
            named_objects::register(&mut state, this);
            models::register(&mut state, this);
            // Registering a planner cannot fail.
            let _ = state.register_relation_planner(Arc::new(models::ModelFunctions(this.clone())));
            let _ = state.register_relation_planner(Arc::new(profile::Profiles));
            Self {
                id,
                cancel_secret: secret,
                login,
                opened: SystemTime::now(),
                engine,
                catalog: RwLock::new(catalog),
                role: RwLock::new(None),
                settings: RwLock::new(settings),
                block: Mutex::new(Block::default()),
                mailbox: Arc::default(),
                named: Mutex::new(BTreeMap::new()),
                cursors: Mutex::new(BTreeMap::new()),
                oids: RwLock::default(),
                terminated: CancellationToken::new(),
                current: Mutex::new(CancellationToken::new()),
                work: Mutex::new(None),
                state: Opaque::new(state),
                kept: Mutex::new(None),
                temporary: Mutex::default(),
                commands: AtomicU64::new(0),
            }
        }))
    }

    /// Splits a text at its top-level semicolons. Comments and empty statements are left out.
    ///
    /// # Errors
    /// 42601 for text that has no tokens' shape (an open quote), with its position.
    pub fn split(sql: &str) -> Result<Vec<StatementText>> {
        if sql.len() > maru_core::limits::STATEMENT_BYTES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "statement is too long").with_detail(
                format!(
                    "It has {} bytes, the limit is {} (statement_bytes_max).",
                    sql.len(),
                    maru_core::limits::STATEMENT_BYTES_MAX
                ),
            ));
        }
        let pieces = maru_sql::split(sql)?;
        Ok(pieces
            .into_iter()
            .map(|piece| StatementText { text: piece.text, offset: piece.offset })
            .collect())
    }

    /// Returns the number by which `system.sessions` and cancel requests know the session.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Returns the secret that a cancel request must bring.
    pub fn cancel_secret(&self) -> i32 {
        self.cancel_secret
    }

    pub fn user(&self) -> &str {
        &self.login.user
    }

    /// Returns the role as which statements run: that of `SET ROLE`, or else the user.
    pub fn role(&self) -> String {
        self.role.read().clone().unwrap_or_else(|| self.login.user.clone())
    }

    /// `None` goes back to the user.
    pub(crate) fn set_role(&self, role: Option<String>) {
        *self.role.write() = role;
    }

    /// Returns what may be done here and now: by the role, or, inside of a view, by the view's owner.
    pub(crate) fn rights(&self) -> Rights {
        let rules = self.engine.inner.authority.rules();
        match plan::view_owner() {
            Some((owner, user)) => Rights::new(rules, &owner).of_user(&user),
            None => Rights::new(rules, &self.role()).of_user(self.user()),
        }
    }

    /// Returns a catalog that shows to the session.
    ///
    /// # Errors
    /// 3D000 with the nearest name.
    pub(crate) fn require_catalog(&self, name: &str) -> Result<Arc<Attached>> {
        self.catalogs().require(name, &self.rights())
    }

    /// Returns what the user should know from the start: which catalogs made from templates cannot be had. Asks their
    /// sources meanwhile.
    pub fn login_notices(&self) -> Vec<String> {
        self.catalogs().look_at_own(&self.rights())
    }

    pub fn login(&self) -> &Login {
        &self.login
    }

    pub fn opened(&self) -> SystemTime {
        self.opened
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the current value of a setting, as `SHOW` prints it.
    pub fn setting(&self, name: &str) -> Option<String> {
        if settings::is_catalog(name) {
            return Some(self.catalog());
        }
        if settings::is_mode(name) {
            return Some(if self.is_read_only() { "on" } else { "off" }.to_owned());
        }
        self.settings.read().get(name)
    }

    /// Sets a setting from outside SQL (start-up parameters of a protocol).
    ///
    /// # Errors
    /// 42704 for an unknown name, 22023 for a value it cannot take, 3D000 for a catalog that does not exist.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        if settings::is_catalog(name) {
            self.require_catalog(value)?;
            *self.catalog.write() = value.to_owned();
            return Ok(());
        }
        if settings::is_mode(name) {
            return self.set_read_only(settings::mode(value)?);
        }
        if let Some(catalog) = settings::catalog_of(name) {
            self.require_catalog(&catalog)?;
        }
        self.settings.write().set(name, value)
    }

    /// Puts one setting, or all of them, back to its default.
    pub fn reset(&self, name: Option<&str>) -> Result<()> {
        let rules = self.engine.inner.authority.rules();
        let role = rules.roles.get(&self.login.user);
        let defaults = Settings::new(self.engine.config(), &self.login).with_role(role);
        match name {
            None => {
                *self.settings.write() = defaults;
                *self.catalog.write() =
                    self.login.database.clone().unwrap_or_else(|| BUILTIN.to_owned());
            }
            Some(name) if settings::is_catalog(name) => {
                *self.catalog.write() =
                    self.login.database.clone().unwrap_or_else(|| BUILTIN.to_owned());
            }
            Some(name) if settings::is_mode(name) => {
                let default = self.settings.read().is_read_only();
                self.set_read_only(default)?;
            }
            Some(name) => self.settings.write().reset(name, &defaults)?,
        }
        Ok(())
    }

    /// Returns the catalog that names of one or two parts are looked up in.
    pub fn catalog(&self) -> String {
        self.catalog.read().clone()
    }

    /// Returns the schemas that bare names are looked up in, in order. A catalog without schema `public` gets its
    /// only schema, so that `SET catalog = 'crm'` is all a user of MySQL or SQLite has to say.
    pub fn search_path(&self) -> Vec<String> {
        self.settings.read().search_path()
    }

    pub(crate) fn pushdown(&self, catalog: &str) -> bool {
        self.settings.read().pushdown(catalog)
    }

    pub(crate) fn verify_pushdown(&self, catalog: &str) -> Verify {
        self.settings.read().verify_pushdown(catalog)
    }

    pub(crate) fn statement_timeout(&self) -> Duration {
        self.settings.read().statement_timeout()
    }

    /// Returns a setting that is a time; zero means none.
    pub(crate) fn duration(&self, setting: &str) -> Duration {
        self.settings.read().duration(setting)
    }

    pub(crate) fn memory_limit(&self) -> usize {
        self.settings.read().query_memory_limit()
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated.is_cancelled()
    }

    pub(crate) fn catalogs(&self) -> &Arc<Catalogs> {
        &self.engine.inner.catalogs
    }

    /// Returns the columns of a prepared statement as they are now; those of `FETCH` depend on its cursor.
    pub fn columns(&self, prepared: &Prepared) -> Option<SchemaRef> {
        match &prepared.kind {
            Kind::Fetch(fetch) => cursors::schema_of(self, fetch),
            _ => prepared.schema.clone(),
        }
    }

    /// Returns whether a simple query gets the rows of a statement in binary: those of a `BINARY` cursor.
    pub fn is_binary(&self, prepared: &Prepared) -> bool {
        match &prepared.kind {
            Kind::Fetch(fetch) => self.cursor(&fetch.name).is_ok_and(|cursor| cursor.binary),
            _ => false,
        }
    }

    /// Returns whether a prepared statement is taken in a block that has failed.
    fn ends_failure(prepared: &Prepared) -> bool {
        matches!(&prepared.kind, Kind::Command(command) if block::ends_failure(command))
    }

    pub(crate) fn set_work(&self, work: Option<Arc<Work>>) {
        *self.work.lock() = work;
    }

    pub(crate) fn work(&self) -> Option<Arc<Work>> {
        self.work.lock().clone()
    }

    /// Prepares and runs one statement.
    pub async fn run(self: &Arc<Self>, statement: &StatementText) -> Result<crate::output::Output> {
        let arrived = Instant::now();
        let prepared = self.prepare(statement, &[]).await?;
        self.execute_since(&prepared, Vec::new(), arrived).await
    }

    /// Cancels the running statement, wherever it is; the next one runs as usual.
    pub fn cancel(&self) {
        self.current.lock().cancel();
        self.engine.inner.queries.cancel_session(self.id, false);
    }

    /// Lets the client's connection end, and everything that runs for it.
    pub fn terminate(&self) {
        self.terminated.cancel();
        self.current.lock().cancel();
        self.engine.inner.queries.cancel_session(self.id, true);
    }

    /// Returns when somebody has ended the session from outside.
    pub async fn terminated(&self) {
        self.terminated.cancelled().await;
    }

    /// Returns what is cancelled then.
    pub(crate) fn termination(&self) -> CancellationToken {
        self.terminated.clone()
    }

    /// Ends the session: cancels what runs and forgets it in `system.sessions`. Dropping does the same.
    pub fn close(self: Arc<Self>) {
        self.cancel();
        self.engine.inner.queries.cancel_session(self.id, true);
        self.engine.forget_session(self.id);
        self.engine.inner.locks.forget(self.id);
        self.engine.inner.channels.forget(self.id);
        self.leave_temporary();
        self.leave_copies();
    }

    fn new_token(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.current.lock() = token.clone();
        token
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.inner.queries.cancel_session(self.id, true);
        self.engine.forget_session(self.id);
        self.engine.inner.locks.forget(self.id);
        self.engine.inner.channels.forget(self.id);
    }
}

/// Makes the state that all sessions start from: DataFusion's functions, PostgreSQL's, and the options that keep
/// answers right.
pub(crate) fn base_state(config: &Config, runtime: &Arc<RuntimeEnv>) -> Result<SessionState> {
    let mut options = SessionConfig::new()
        .with_target_partitions(config.target_partitions.max(1))
        .with_batch_size(maru_core::limits::BATCH_ROWS)
        .with_default_catalog_and_schema(BUILTIN, SEARCH_PATH)
        .with_create_default_catalog_and_schema(true)
        .with_information_schema(false);
    let inner = options.options_mut();
    inner.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    inner.sql_parser.collect_spans = true;
    inner.sql_parser.parse_float_as_decimal = true;
    // Drops rows when a projection has duplicate names (apache/datafusion#25263, still there in 55.2);
    // `maru_connect::RuntimeFilters` follows columns by index and does the same for every source.
    inner.optimizer.enable_join_dynamic_filter_pushdown = false;
    // The check takes `x IS TRUE` for NULL at times, since it becomes a comparison, and refuses a right plan (55.2).
    inner.execution.skip_physical_aggregate_schema_check = true;
    inner.explain.show_statistics = false;
    let context = SessionContext::new_with_config_rt(options, Arc::clone(runtime));
    datafusion_pg_catalog::setup_pg_catalog(
        &context,
        BUILTIN,
        datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider,
    )
    .map_err(|error| Error::from(*error))?;
    let mut state = context.state();
    state.register_expr_planner(Arc::new(named_casts::NamedCasts))?;
    state.register_expr_planner(Arc::new(operators::TypedOperators))?;
    json::register(&mut state)?;
    average::register(&mut state)?;
    scalars::register(&mut state)?;
    sum::register(&mut state)?;
    counts::register(&mut state)?;
    joined_texts::register(&mut state)?;
    extremes::register(&mut state)?;
    ordered_set::register(&mut state)?;
    ranks::register(&mut state)?;
    now::register(&mut state)?;
    timezone::register(&mut state)?;
    seconds::register(&mut state)?;
    epoch::register(&mut state)?;
    arithmetic::register_numeric(&mut state)?;
    sleep::register(&mut state)?;
    like_pattern::register(&mut state)?;
    quantified::register(&mut state)?;
    always::register(&mut state)?;
    maru_clean::register(&mut state)?;
    state.add_analyzer_rule(Arc::new(arithmetic::PostgresArithmetic));
    state.add_analyzer_rule(Arc::new(once::ComputeOnce));
    let mut builder = guarded::register(state);
    // Before the engine's own, which takes every subscript for one of an array or a row.
    if let Some(planners) = builder.expr_planners() {
        planners.insert(0, Arc::new(json::JsonOperators));
        planners.insert(0, Arc::new(parameters::Operands));
        planners.insert(0, Arc::new(open_texts::OpenTexts));
        planners.insert(0, Arc::new(scalars::Substrings));
    }
    if let Some(analyzer) = builder.analyzer() {
        analyzer.rules.insert(0, Arc::new(sum::SettleSums));
    }
    let rules = &mut builder.optimizer().get_or_insert_default().rules;
    rules.push(Arc::new(policies::SafeThroughPolicies));
    rules.push(Arc::new(arithmetic::BothZeros));
    rules.push(Arc::new(PushIntoSources));
    let rules = &mut builder.physical_optimizers().get_or_insert_default().rules;
    rules.push(Arc::new(number_rows::NumberRows));
    rules.push(Arc::new(maru_connect::RuntimeFilters));
    rules.push(Arc::new(SpillingJoins));
    rules.push(Arc::new(SpillingWindows));
    // The others look through plans for nodes that they know, and its are none of these.
    rules.push(Arc::new(cooperative::YieldInJoins));
    stoppable::register(&mut builder);
    Ok(builder
        .with_type_planner(Arc::new(type_names::TypeNames))
        .with_query_planner(Arc::new(policies::WithPolicies))
        .build())
}

#[cfg(test)]
mod tests;
