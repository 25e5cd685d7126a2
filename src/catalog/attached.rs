//! One attached catalog and its short memory of what the source said.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::catalog::SchemaProvider;
use maru_connect::{
    ConnectorSpec, Source, SourceTable, TableChange, TableEntry, TableVersion, WriteJob,
    WriteRequest,
};
use maru_core::{Error, OptionKind, Result, limits};
use parking_lot::{Mutex, RwLock};

use super::{BUILTIN, SECRET_OPTION};
use crate::store::StoredCatalog;

/// A catalog as the engine holds it.
///
/// Lists are believed for `NAMES_TTL_S` seconds, tables for `CATALOG_TTL_S`; what is not there is asked again every time, so a
/// new table is seen at once, and lists that do not fit it are forgotten.
#[derive(Debug)]
pub struct Attached {
    pub name: String,
    pub connector: &'static str,
    /// Options as they may be shown: secret ones are stars.
    pub options: BTreeMap<String, String>,
    pub comment: RwLock<Option<String>>,
    /// The prefix of its private store URLs, by which scans are attributed to it.
    pub instance: String,
    /// By role; `None` for superusers.
    pub(super) pg_catalog: Mutex<HashMap<Option<String>, Arc<dyn SchemaProvider>>>,
    source: Result<Arc<dyn Source>>,
    schemas: Memory<(), Vec<String>>,
    tables: Memory<String, Vec<TableEntry>>,
    handles: Memory<(String, String), SourceTable>,
}

impl Attached {
    pub(super) fn builtin(source: Arc<dyn Source>) -> Self {
        Self {
            name: BUILTIN.to_owned(),
            connector: BUILTIN,
            options: BTreeMap::new(),
            comment: RwLock::new(Some("views and tables made by SQL".to_owned())),
            instance: BUILTIN.to_owned(),
            pg_catalog: Mutex::new(HashMap::new()),
            source: Ok(source),
            schemas: Memory::new(Duration::ZERO),
            tables: Memory::new(Duration::ZERO),
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
            source,
            schemas: Memory::new(names_ttl),
            tables: Memory::new(names_ttl),
            handles: Memory::new(Duration::from_secs(limits::CATALOG_TTL_S)),
        }
    }

    /// Returns the source, or why it could not be opened.
    pub fn source(&self) -> Result<&Arc<dyn Source>> {
        self.source.as_ref().map_err(|error: &Error| error.clone())
    }

    /// Returns `attached`, or the error that keeps it from work.
    pub fn state(&self) -> String {
        match &self.source {
            Ok(_) => "attached".to_owned(),
            Err(error) => format!("failed: {error}"),
        }
    }

    pub async fn schemas(&self) -> Result<Vec<String>> {
        let source = self.source()?;
        self.schemas
            .get_or(&(), async || self.blame(source.schemas().await).map(Some))
            .await
            .map(Option::unwrap_or_default)
    }

    pub async fn tables(&self, schema: &str) -> Result<Vec<TableEntry>> {
        let source = self.source()?;
        self.tables
            .get_or(&schema.to_owned(), async || self.blame(source.tables(schema).await).map(Some))
            .await
            .map(Option::unwrap_or_default)
    }

    pub async fn table(&self, schema: &str, name: &str) -> Result<Option<SourceTable>> {
        let source = self.source()?;
        let key = (schema.to_owned(), name.to_owned());
        let ask = async || self.blame(source.table(schema, name).await);
        let mut handle = self.handles.get_or(&key, ask).await?;
        let is_old = match &handle {
            // A table that tells when it has other columns is believed for no longer than that.
            Some(SourceTable::Files(table)) => self.blame(table.files.changed().await)?,
            Some(SourceTable::ForeignView(_)) => {
                self.handles.is_older(&key, Duration::from_secs(limits::NAMES_TTL_S))
            }
            _ => false,
        };
        if is_old {
            self.handles.forget(&key);
            handle = self.handles.get_or(&key, ask).await?;
        }
        self.check_lists(schema, name, handle.is_some());
        Ok(handle)
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
        self.blame(self.source()?.table_at(schema, name, version).await)
    }

    /// Asks the source in its own language.
    pub async fn native_query(&self, query: &str) -> Result<SourceTable> {
        self.blame(self.source()?.native_query(query).await)
    }

    /// Starts a write.
    pub async fn begin_write(&self, request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
        self.blame(self.source()?.begin_write(request).await)
    }

    pub async fn change_table(&self, schema: &str, table: &str, change: TableChange) -> Result<()> {
        self.blame(self.source()?.change_table(schema, table, change).await)
    }

    pub async fn create_schema(&self, schema: &str) -> Result<()> {
        let outcome = self.blame(self.source()?.create_schema(schema).await);
        self.schemas.forget(&());
        outcome
    }

    /// Forgets what was said of a table, which is another one now.
    pub fn forget(&self, schema: &str, table: &str) {
        self.handles.forget(&(schema.to_owned(), table.to_owned()));
        self.tables.forget(&schema.to_owned());
        self.schemas.forget(&());
    }

    pub async fn close(&self) {
        if let Ok(source) = &self.source {
            source.close().await;
        }
    }

    fn blame<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.or_context("source", self.name.clone()))
    }
}

/// Answers kept for a while.
#[derive(Debug)]
struct Memory<K, V> {
    ttl: Duration,
    kept: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    fn new(ttl: Duration) -> Self {
        Self { ttl, kept: Mutex::new(HashMap::new()) }
    }

    fn forget(&self, key: &K) {
        self.kept.lock().remove(key);
    }

    /// Looks at an answer, if one is kept.
    fn peek<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        self.kept.lock().get(key).map(|(_, value)| look(value))
    }

    fn is_older(&self, key: &K, age: Duration) -> bool {
        self.kept.lock().get(key).is_some_and(|(at, _)| at.elapsed() > age)
    }

    /// Returns a fresh answer, or asks; `None` and errors are not kept.
    async fn get_or(
        &self,
        key: &K,
        ask: impl AsyncFnOnce() -> Result<Option<V>>,
    ) -> Result<Option<V>> {
        if let Some((at, value)) = self.kept.lock().get(key)
            && at.elapsed() < self.ttl
        {
            return Ok(Some(value.clone()));
        }
        let answer = ask().await?;
        if self.ttl > Duration::ZERO {
            let mut kept = self.kept.lock();
            kept.retain(|_, (at, _)| at.elapsed() < self.ttl);
            if let Some(value) = &answer {
                kept.insert(key.clone(), (Instant::now(), value.clone()));
            }
        }
        Ok(answer)
    }
}
