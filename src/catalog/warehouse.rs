//! Tables of the catalog `maru` that hold rows of their own: Delta Lake tables in the directory `warehouse` of the data
//! directory. The engine's metadata says which directory is which table, so that a table is there from one moment to the next,
//! and gone likewise.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use maru_connect::{
    HookedJob, Leftover, OpenedStore, SourceTable, StoreOpener, TableChange, TableCommit,
    TableVersion, WriteHooks, WriteJob, WriteMode, WriteRequest,
};
use maru_core::{Error, ErrorKind, Options, Result};
use maru_files::{
    LocationTable, begin_delta_write, change_delta_table, delta_history, delta_leftovers,
    open_location_table, open_scattered_delta, vacuum_delta_table,
};
use tokio::sync::RwLock;
use url::Url;

use super::BUILTIN;
use super::copy::{copy_table, latest_version};
use super::definition::{Definition, TableDefinition};
use super::readers::{Readers, Reading};
use crate::store::{RelationKind, Store, StoredRelation};

/// Characters of a table's name that its directory is called by.
const NAME_CHARACTERS: usize = 40;

/// The directory with the tables.
#[derive(Debug, Clone)]
pub struct Warehouse {
    root: PathBuf,
    store: Store,
    /// Commits to single tables hold it for reading; while tables get other directories there is none.
    exchange: Arc<RwLock<()>>,
    readers: Readers,
}

/// Returns a directory as addresses of files have it: from the root, without `..`.
fn absolute(directory: &Path) -> PathBuf {
    let goes_up = directory.components().any(|part| part == Component::ParentDir);
    if directory.is_absolute() && !goes_up {
        return directory.to_path_buf();
    }
    let found = std::fs::canonicalize(directory).or_else(|_| std::path::absolute(directory));
    found.unwrap_or_else(|_| directory.to_path_buf())
}

/// A table that is to have the directory of a copy.
#[derive(Debug)]
pub struct Exchange {
    /// For messages.
    pub name: String,
    pub original: TableDefinition,
    /// Of the original, when it was copied.
    pub version: u64,
    pub copy: TableDefinition,
}

impl Warehouse {
    pub fn new(data_dir: &Path, store: Store) -> Self {
        Self {
            root: absolute(data_dir).join("warehouse"),
            store,
            exchange: Arc::default(),
            readers: Readers::default(),
        }
    }

    /// Removes directories that no table has: what was written when a process died, what was dropped.
    pub async fn collect(&self) -> Result<()> {
        let relations = self.store.relations().await?;
        let mut known = BTreeSet::new();
        for relation in relations.iter().filter(|relation| relation.kind == RelationKind::Table) {
            if let Ok(Definition::Table(table)) = Definition::decode(&relation.definition) {
                known.insert(table.directory);
            }
        }
        let root = self.root.clone();
        let work = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if known.contains(&name) {
                    continue;
                }
                match std::fs::remove_dir_all(entry.path()) {
                    Ok(()) => tracing::info!(directory = %name, "removed what no table holds"),
                    Err(error) => {
                        tracing::warn!(directory = %name, %error, "could not remove what no table holds");
                    }
                }
            }
        });
        work.await.map_err(|error| Error::internal("collecting broke off").with_cause(error))
    }

    async fn opened(&self, table: &TableDefinition) -> Result<OpenedStore> {
        let path = self.root.join(&table.directory);
        let url = Url::from_file_path(&path)
            .map_err(|()| Error::internal("the data directory has no absolute path"))?;
        maru_files::Stores.open_store(BUILTIN, &url, &Options::default()).await
    }

    pub async fn open(
        &self,
        table: &TableDefinition,
        version: Option<TableVersion>,
    ) -> Result<SourceTable> {
        let opened = self.opened(table).await?;
        let format = "delta".to_owned();
        let spec = LocationTable { format, version, ..LocationTable::default() };
        open_location_table(BUILTIN, opened, spec).await
    }

    /// Finds a table that can be written.
    async fn table(&self, schema: &str, name: &str) -> Result<Option<TableDefinition>> {
        let relations = self.store.relations().await?;
        let found = relations.iter().find(|r| r.schema == schema && r.name == name);
        let Some(found) = found else { return Ok(None) };
        match Definition::decode(&found.definition)? {
            Definition::Table(table) => Ok(Some(table)),
            Definition::ExternalTable(_) => {
                Err(Error::unsupported(format!("external table \"{name}\" is only read"))
                    .with_hint("Write to the catalog that its files lie in."))
            }
            Definition::View(_) => {
                Err(Error::new(ErrorKind::WrongObjectType, format!("\"{name}\" is not a table")))
            }
        }
    }

    async fn require(&self, schema: &str, name: &str) -> Result<TableDefinition> {
        self.table(schema, name).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::UndefinedTable,
                format!("table \"{schema}.{name}\" does not exist"),
            )
        })
    }

    pub async fn begin(&self, request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
        let (schema, name) = (request.schema.clone(), request.table.clone());
        let WriteMode::Create(new) = &request.mode else {
            let table = self.require(&schema, &name).await?;
            return self.begin_at(table, request).await;
        };
        if !self.store.schemas().await?.iter().any(|(known, _)| *known == schema) {
            let error = Error::new(
                ErrorKind::UndefinedSchema,
                format!("schema \"{schema}\" does not exist"),
            );
            let quoted = maru_core::quote_ident(&schema);
            return Err(error.with_hint(format!("Make it first: CREATE SCHEMA {quoted}.")));
        }
        match self.table(&schema, &name).await? {
            Some(_) if !new.replace => Err(taken(&schema, &name)),
            // One commit more to the same log.
            Some(table) => self.begin_at(table, request).await,
            None => {
                let letters = name.chars().filter(char::is_ascii_alphanumeric);
                let letters = letters.take(NAME_CHARACTERS).collect::<String>();
                let directory = format!("{letters}-{}", request.attempt.id);
                let table = TableDefinition { directory };
                let opened = self.opened(&table).await?;
                let inner = begin_delta_write(&opened, &name, request, false).await?;
                let relation = StoredRelation {
                    schema,
                    name,
                    kind: RelationKind::Table,
                    definition: Definition::Table(table.clone()).encode()?,
                    comment: None,
                };
                Ok(HookedJob::wrap(inner, NewTable { warehouse: self.clone(), relation, table }))
            }
        }
    }

    /// Begins a write to a table that is there.
    async fn begin_at(
        &self,
        table: TableDefinition,
        request: WriteRequest,
    ) -> Result<Arc<dyn WriteJob>> {
        let (schema, name) = (request.schema.clone(), request.table.clone());
        let inner = begin_delta_write(&self.opened(&table).await?, &name, request, true).await?;
        Ok(HookedJob::wrap(inner, SameTable { warehouse: self.clone(), schema, name, table }))
    }

    pub async fn change(&self, schema: &str, name: &str, change: TableChange) -> Result<()> {
        let _no_exchange = self.exchange.read().await;
        let table = self.require(schema, name).await?;
        if change == TableChange::Drop {
            self.store.delete_relation(schema, name).await?;
            self.remove_unread(vec![table]);
            return Ok(());
        }
        if matches!(change, TableChange::RenameTable(_)) {
            return Err(Error::unsupported("RENAME TO beside other changes")
                .with_hint("Give it an ALTER TABLE of its own."));
        }
        change_delta_table(&self.opened(&table).await?, change).await
    }

    pub async fn scattered(&self, schema: &str, name: &str) -> Result<SourceTable> {
        let table = self.require(schema, name).await?;
        open_scattered_delta(BUILTIN, self.opened(&table).await?).await
    }

    pub async fn history(&self, schema: &str, name: &str) -> Result<Vec<TableCommit>> {
        let table = self.require(schema, name).await?;
        delta_history(&self.opened(&table).await?).await
    }

    pub async fn leftovers(&self, schema: &str, name: &str) -> Result<Vec<Leftover>> {
        match self.table(schema, name).await {
            Ok(Some(table)) => delta_leftovers(&self.opened(&table).await?).await,
            _ => Ok(Vec::new()),
        }
    }

    pub async fn vacuum(
        &self,
        schema: &str,
        name: &str,
        retain: Duration,
        dry_run: bool,
    ) -> Result<Vec<Leftover>> {
        let table = self.require(schema, name).await?;
        vacuum_delta_table(&self.opened(&table).await?, retain, dry_run).await
    }

    /// Returns the number of the last commit to a table.
    pub async fn version(&self, table: &TableDefinition) -> Result<u64> {
        let path = self.root.join(&table.directory);
        blocking(move || latest_version(&path)).await
    }

    /// Makes a table of the same rows, as of `version` or the last one; returns it with the version.
    pub async fn copy(
        &self,
        table: &TableDefinition,
        version: Option<u64>,
    ) -> Result<(TableDefinition, u64)> {
        let letters = table.directory.rsplit_once('-').map_or("", |(letters, _)| letters);
        let id = crate::store::vault::random(16)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let copy = TableDefinition { directory: format!("{letters}-{id}") };
        let (from, to) = (self.root.join(&table.directory), self.root.join(&copy.directory));
        let made = blocking(move || copy_table(&from, &to, version)).await;
        match made {
            Ok(version) => Ok((copy, version)),
            Err(error) => {
                self.remove(&copy).await;
                Err(error)
            }
        }
    }

    /// Gives tables the directories of their copies, all at once, and takes the schemas of the copies away.
    ///
    /// # Errors
    /// 40001 if one of the tables is not what it was when it was copied; then nothing has changed.
    pub async fn exchange(
        &self,
        exchanges: Vec<Exchange>,
        places: &BTreeSet<String>,
    ) -> Result<()> {
        let _alone = self.exchange.write().await;
        let mut changed = Vec::new();
        for relation in self.store.relations().await? {
            let Ok(Definition::Table(table)) = Definition::decode(&relation.definition) else {
                continue;
            };
            let found = exchanges.iter().find(|one| one.original == table);
            if let Some(one) = found.filter(|_| !places.contains(&relation.schema)) {
                let definition = Definition::Table(one.copy.clone()).encode()?;
                changed.push(StoredRelation { definition, ..relation });
            }
        }
        for one in &exchanges {
            let is_there = changed.len() == exchanges.len();
            if !is_there || self.version(&one.original).await? != one.version {
                return Err(written_meanwhile(&one.name));
            }
        }
        self.store.exchange(&changed, places).await
    }

    /// Says that a statement looks up tables from now on and reads them until what is returned is dropped.
    pub fn begin_reading(&self) -> Reading {
        self.readers.begin()
    }

    /// Removes directories that no table has any more, when the statements that may read them are over. What a process leaves
    /// that ends before is collected at the next start.
    pub fn remove_unread(&self, tables: Vec<TableDefinition>) {
        if tables.is_empty() {
            return;
        }
        let (warehouse, gone) = (self.clone(), self.readers.gone());
        tokio::spawn(async move {
            gone.await;
            for table in &tables {
                warehouse.remove(table).await;
            }
        });
    }

    /// Removes the directory of a table that is gone. What stays is collected at the next start.
    pub async fn remove(&self, table: &TableDefinition) {
        let path = self.root.join(&table.directory);
        match tokio::fs::remove_dir_all(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "could not remove a table's directory");
            }
        }
    }
}

/// Around a write to a table that is there: it must not go to a directory that the table has no more.
#[derive(Debug)]
struct SameTable {
    warehouse: Warehouse,
    schema: String,
    name: String,
    table: TableDefinition,
}

impl WriteHooks for SameTable {
    fn committing(&self) -> BoxFuture<'_, Result<Box<dyn Send + Sync>>> {
        Box::pin(async move {
            let no_exchange = Arc::clone(&self.warehouse.exchange).read_owned().await;
            let now = self.warehouse.table(&self.schema, &self.name).await?;
            match now.is_some_and(|now| now == self.table) {
                true => Ok(Box::new(no_exchange) as Box<dyn Send + Sync>),
                false => Err(written_meanwhile(&format!("{}.{}", self.schema, self.name))),
            }
        })
    }

    fn undone(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn taken(schema: &str, name: &str) -> Error {
    Error::new(ErrorKind::DuplicateTable, format!("table \"{schema}.{name}\" already exists"))
}

/// The error for a table that somebody else has changed.
fn written_meanwhile(table: &str) -> Error {
    Error::new(
        ErrorKind::Serialization,
        format!("could not serialize access to table \"{table}\" due to concurrent update"),
    )
    .with_detail("Somebody else has changed it meanwhile, in a transaction of several statements.")
    .with_hint("Run the transaction again.")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let work = tokio::task::spawn_blocking(work).await;
    work.map_err(|error| Error::internal("work on files broke off").with_cause(error))?
}

/// Around a write that makes a table: its directory is complete before its name is there.
#[derive(Debug)]
struct NewTable {
    warehouse: Warehouse,
    relation: StoredRelation,
    table: TableDefinition,
}

impl WriteHooks for NewTable {
    fn committed(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match self.warehouse.store.insert_relation(&self.relation).await? {
                true => Ok(()),
                false => Err(taken(&self.relation.schema, &self.relation.name)),
            }
        })
    }

    fn undone(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.warehouse.remove(&self.table))
    }
}
