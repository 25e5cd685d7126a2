//! One attached catalog and its short memory of what the source said.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::catalog::SchemaProvider;
use futures::future::BoxFuture;
use maru_connect::{
    ConnectorSpec, RemoteTable, Source, SourceTable, TableChange, TableEntry, TableKey,
    TableVersion, WriteJob, WriteRequest,
};
use maru_core::{Error, ErrorKind, OptionKind, Result, limits};
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;

use super::{BUILTIN, SECRET_OPTION};
use crate::store::StoredCatalog;

/// A role, `None` for superusers, and the user where that is another one.
type Reader = (Option<String>, Option<String>);

/// How old a definition is that a statement which misses a column does not believe.
const DOUBTED_AFTER: Duration = Duration::from_secs(1);

tokio::task_local! {
    static TRUST: Trust;
}

/// Whether remembered definitions are believed while a statement is planned.
#[derive(Clone)]
struct Trust {
    doubts: bool,
    /// Whether one was believed that would be doubted.
    was_needed: Arc<AtomicBool>,
}

/// Plans a statement; tells whether a definition was believed that would be doubted.
pub(crate) async fn believing<T>(plan: impl Future<Output = T>) -> (T, bool) {
    if TRUST.try_with(|trust| trust.doubts).unwrap_or_default() {
        return (plan.await, false);
    }
    let trust = Trust { doubts: false, was_needed: Arc::default() };
    let was_needed = Arc::clone(&trust.was_needed);
    (TRUST.scope(trust, plan).await, was_needed.load(Ordering::Relaxed))
}

/// Plans a statement once more, with the tables' definitions as they are now: it names a column that those which are remembered do
/// not have.
pub(crate) async fn doubting<T>(plan: impl Future<Output = T>) -> T {
    TRUST.scope(Trust { doubts: true, was_needed: Arc::default() }, plan).await
}

/// Returns whether the statement that is being planned doubts a definition of that age.
fn is_doubted(is_older: impl FnOnce(Duration) -> bool) -> bool {
    let Ok(trust) = TRUST.try_with(Clone::clone) else { return false };
    if !is_older(DOUBTED_AFTER) {
        return false;
    }
    trust.was_needed.store(true, Ordering::Relaxed);
    trust.doubts
}

type Open = dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Source>>> + Send + Sync;

/// Opens a source, at its first use.
#[derive(Clone)]
pub(super) struct Opener(pub(super) Arc<Open>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

/// A catalog as the engine holds it.
///
/// Lists are believed for `NAMES_TTL_S` seconds, tables for `CATALOG_TTL_S`; what is not there is asked again every time, so a
/// new table is seen at once, and lists that do not fit it are forgotten. So are tables whose source has refused a read, and those
/// that lack a column which a statement names ([`doubting`]).
#[derive(Debug)]
pub struct Attached {
    pub name: String,
    pub connector: &'static str,
    /// Options as they may be shown: secret ones are stars.
    pub options: BTreeMap<String, String>,
    pub comment: RwLock<Option<String>>,
    /// The prefix of its private store URLs, by which scans are attributed to it.
    pub instance: String,
    pub(super) pg_catalog: Mutex<HashMap<Reader, Arc<dyn SchemaProvider>>>,
    source: Opening,
    schemas: Memory<(), Vec<String>>,
    tables: Memory<String, Vec<TableEntry>>,
    keys: Memory<String, Arc<Vec<TableKey>>>,
    handles: Memory<(String, String), SourceTable>,
}

/// Whether the source is open.
#[derive(Debug)]
enum Opening {
    Done(Result<Arc<dyn Source>>),
    /// It is opened at its first use; what went wrong is tried again at the next one.
    Later {
        open: Opener,
        source: OnceCell<Arc<dyn Source>>,
        trouble: Mutex<Option<Error>>,
    },
}

impl Attached {
    /// Makes a place that one statement alone knows, and that nothing is remembered of.
    pub(crate) fn passing(source: Arc<dyn Source>) -> Self {
        Self::builtin(source)
    }

    pub(super) fn builtin(source: Arc<dyn Source>) -> Self {
        Self {
            name: BUILTIN.to_owned(),
            connector: BUILTIN,
            options: BTreeMap::new(),
            comment: RwLock::new(Some("views and tables made by SQL".to_owned())),
            instance: BUILTIN.to_owned(),
            pg_catalog: Mutex::new(HashMap::new()),
            source: Opening::Done(Ok(source)),
            schemas: Memory::new(Duration::ZERO),
            tables: Memory::new(Duration::ZERO),
            keys: Memory::new(Duration::ZERO),
            handles: Memory::new(Duration::ZERO),
        }
    }

    pub(super) fn new(
        stored: &StoredCatalog,
        spec: &'static ConnectorSpec,
        instance: String,
        source: Result<Arc<dyn Source>>,
    ) -> Self {
        let shown = stored.options.iter().map(|(key, value)| {
            let open = key == SECRET_OPTION
                || spec.options.iter().any(|option| {
                    option.name.eq_ignore_ascii_case(key) && option.kind != OptionKind::Secret
                });
            (key.clone(), if open { value.reveal().to_owned() } else { "********".to_owned() })
        });
        let names_ttl = Duration::from_secs(limits::NAMES_TTL_S);
        Self {
            name: stored.name.clone(),
            connector: spec.name,
            options: shown.collect(),
            comment: RwLock::new(stored.comment.clone()),
            instance,
            pg_catalog: Mutex::new(HashMap::new()),
            source: Opening::Done(source),
            schemas: Memory::new(names_ttl),
            tables: Memory::new(names_ttl),
            keys: Memory::new(names_ttl),
            handles: Memory::new(Duration::from_secs(limits::CATALOG_TTL_S)),
        }
    }

    /// Makes a catalog whose source is opened when it is used.
    pub(super) fn later(
        stored: &StoredCatalog,
        spec: &'static ConnectorSpec,
        instance: String,
        open: Opener,
    ) -> Self {
        let unused = Err(Error::internal("the source is opened later"));
        let source = Opening::Later { open, source: OnceCell::new(), trouble: Mutex::new(None) };
        Self { source, ..Self::new(stored, spec, instance, unused) }
    }

    /// Returns the source if it is open, or why it is not.
    pub fn source(&self) -> Result<&Arc<dyn Source>> {
        match &self.source {
            Opening::Done(source) => source.as_ref().map_err(|error: &Error| error.clone()),
            Opening::Later { source, .. } => source.get().ok_or_else(|| {
                let message = format!("catalog \"{}\" has not been used yet", self.name);
                Error::new(ErrorKind::WrongState, message)
            }),
        }
    }

    /// Returns the source, which is opened now if it has not been.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn opened(&self) -> Result<&Arc<dyn Source>> {
        match &self.source {
            Opening::Done(_) => self.source(),
            Opening::Later { open, source, trouble } => {
                let opened = source.get_or_try_init(|| (open.0)()).await;
                if let Err(error) = &opened {
                    *trouble.lock() = Some(error.clone());
                }
                opened
            }
        }
    }

    /// Asks the source whether it is there, and keeps what is wrong for [`Attached::state`].
    pub(super) async fn look(&self) {
        let checked = match self.opened().await {
            Ok(source) => self.blame(source.check().await.map(|_| ())),
            Err(error) => Err(error),
        };
        if let Opening::Later { trouble, .. } = &self.source {
            *trouble.lock() = checked.err();
        }
    }

    /// Returns `attached`, or the error that keeps it from work.
    pub fn state(&self) -> String {
        let failed = |error: &Error| format!("failed: {error}");
        match &self.source {
            Opening::Done(Ok(_)) => "attached".to_owned(),
            Opening::Done(Err(error)) => failed(error),
            Opening::Later { source, trouble, .. } => match &*trouble.lock() {
                Some(error) => failed(error),
                None if source.initialized() => "attached".to_owned(),
                None => "not used yet".to_owned(),
            },
        }
    }

    pub async fn schemas(&self) -> Result<Vec<String>> {
        let source = self.opened().await?;
        self.schemas
            .get_or(&(), async || self.blame(source.schemas().await).map(Some))
            .await
            .map(Option::unwrap_or_default)
    }

    pub async fn tables(&self, schema: &str) -> Result<Vec<TableEntry>> {
        let source = self.opened().await?;
        self.tables
            .get_or(&schema.to_owned(), async || self.blame(source.tables(schema).await).map(Some))
            .await
            .map(Option::unwrap_or_default)
    }

    /// Returns the keys of the tables of a schema.
    pub async fn keys(&self, schema: &str) -> Result<Arc<Vec<TableKey>>> {
        let source = self.opened().await?;
        let ask = async || self.blame(source.keys(schema).await).map(|keys| Some(Arc::new(keys)));
        self.keys.get_or(&schema.to_owned(), ask).await.map(Option::unwrap_or_default)
    }

    pub async fn table(&self, schema: &str, name: &str) -> Result<Option<SourceTable>> {
        let source = self.opened().await?;
        let key = (schema.to_owned(), name.to_owned());
        let ask = async || self.blame(source.table(schema, name).await);
        let (mut handle, mut is_new) = self.handles.get_or_ask(&key, ask).await?;
        let is_old = match &handle {
            // A table that tells when it has other columns is believed for no longer than that.
            Some(SourceTable::Files(table)) => self.blame(table.files.changed().await)?,
            Some(SourceTable::ForeignView(_)) => {
                self.handles.is_older(&key, Duration::from_secs(limits::NAMES_TTL_S))
            }
            Some(SourceTable::Remote(table)) if !is_new => {
                table.is_outdated() || is_doubted(|age| self.handles.is_older(&key, age))
            }
            _ => false,
        };
        if is_old {
            self.handles.forget(&key);
            (handle, is_new) = self.handles.get_or_ask(&key, ask).await?;
        }
        if is_new {
            self.check_lists(schema, name, handle.is_some());
        }
        Ok(handle)
    }

    /// Returns a table of the source's own that is remembered and still believed: it is what [`Attached::table`] would give.
    pub fn believed(&self, schema: &str, name: &str) -> Option<Arc<dyn RemoteTable>> {
        let key = (schema.to_owned(), name.to_owned());
        match self.handles.believed(&key)? {
            SourceTable::Remote(table) => Some(table).filter(|table| !table.is_outdated()),
            _ => None,
        }
    }

    /// Forgets lists that say otherwise of a table than the source does now.
    fn check_lists(&self, schema: &str, name: &str, is_there: bool) {
        let listed =
            self.tables.peek(&schema.to_owned(), |all| all.iter().any(|one| one.name == name));
        if listed.is_some_and(|listed| listed != is_there) {
            self.tables.forget(&schema.to_owned());
        }
        let listed = self.schemas.peek(&(), |all| all.iter().any(|one| one == schema));
        if is_there && listed == Some(false) {
            self.schemas.forget(&());
        }
    }

    /// Opens a table as it was.
    pub async fn table_at(
        &self,
        schema: &str,
        name: &str,
        version: TableVersion,
    ) -> Result<Option<SourceTable>> {
        self.blame(self.opened().await?.table_at(schema, name, version).await)
    }

    /// Asks the source in its own language.
    pub async fn native_query(&self, query: &str) -> Result<SourceTable> {
        self.blame(self.opened().await?.native_query(query).await)
    }

    /// Starts a write.
    pub async fn begin_write(&self, mut request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
        let source = self.opened().await?;
        // Who cannot keep it is not asked to; a pipeline knows which of its steps are repeated (`pipelines/tables.rs`).
        if !source.keeps_work() {
            request.attempt.once = None;
        }
        self.blame(source.begin_write(request).await)
    }

    /// Returns whether what it commits is known again by the work that it was for.
    pub async fn keeps_work(&self) -> Result<bool> {
        Ok(self.opened().await?.keeps_work())
    }

    pub async fn change_table(&self, schema: &str, table: &str, change: TableChange) -> Result<()> {
        self.blame(self.opened().await?.change_table(schema, table, change).await)
    }

    pub async fn create_schema(&self, schema: &str) -> Result<()> {
        let outcome = self.blame(self.opened().await?.create_schema(schema).await);
        self.schemas.forget(&());
        outcome
    }

    /// Forgets what was said of a table, which is another one now.
    pub fn forget(&self, schema: &str, table: &str) {
        self.handles.forget(&(schema.to_owned(), table.to_owned()));
        self.tables.forget(&schema.to_owned());
        self.keys.forget(&schema.to_owned());
        self.schemas.forget(&());
    }

    pub async fn close(&self) {
        if let Ok(source) = self.source() {
            source.close().await;
        }
    }

    fn blame<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.or_context("source", self.name.clone()))
    }
}

/// Answers from which on old ones are looked for.
const SWEEP_MIN: usize = 64;

/// Answers kept for a while.
#[derive(Debug)]
struct Memory<K, V> {
    ttl: Duration,
    kept: Mutex<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    answers: HashMap<K, (Instant, V)>,
    /// When there are so many, old ones are looked for.
    sweep_at: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    fn new(ttl: Duration) -> Self {
        Self { ttl, kept: Mutex::new(Kept { answers: HashMap::new(), sweep_at: SWEEP_MIN }) }
    }

    fn forget(&self, key: &K) {
        self.kept.lock().answers.remove(key);
    }

    /// Looks at an answer, if one is kept.
    fn peek<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.kept.lock().answers.get(key).map(|(_, value)| look(value))
    }

    /// Returns an answer that is fresh enough not to be asked for again.
    fn believed(&self, key: &K) -> Option<V> {
        let kept = self.kept.lock();
        let (at, value) = kept.answers.get(key)?;
        (at.elapsed() < self.ttl).then(|| value.clone())
    }

    fn is_older(&self, key: &K, age: Duration) -> bool {
        self.kept.lock().answers.get(key).is_some_and(|(at, _)| at.elapsed() > age)
    }

    /// Returns a fresh answer, or asks; `None` and errors are not kept.
    async fn get_or(
        &self,
        key: &K,
        ask: impl AsyncFnOnce() -> Result<Option<V>>,
    ) -> Result<Option<V>> {
        self.get_or_ask(key, ask).await.map(|(answer, _)| answer)
    }

    /// The same, with whether it was asked for now.
    async fn get_or_ask(
        &self,
        key: &K,
        ask: impl AsyncFnOnce() -> Result<Option<V>>,
    ) -> Result<(Option<V>, bool)> {
        if let Some(value) = self.believed(key) {
            return Ok((Some(value), false));
        }
        let answer = ask().await?;
        if self.ttl > Duration::ZERO {
            let mut kept = self.kept.lock();
            if kept.answers.len() >= kept.sweep_at {
                kept.answers.retain(|_, (at, _)| at.elapsed() < self.ttl);
                kept.sweep_at = (kept.answers.len() * 2).max(SWEEP_MIN);
            }
            match &answer {
                Some(value) => {
                    kept.answers.insert(key.clone(), (Instant::now(), value.clone()));
                }
                None => {
                    kept.answers.remove(key);
                }
            }
        }
        Ok((answer, true))
    }
}
