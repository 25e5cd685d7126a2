//! One attached catalog of files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use maru_connect::{
    HookedJob, Leftover, OpenedStore, Source, SourceTable, TableChange, TableCommit, TableEntry,
    TableVersion, WriteJob, WriteMode, WriteRequest, leftovers_in_place,
};
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::OnceCell;
use url::Url;

use crate::delta::{self, Existing};
use crate::gate::Gate;
use crate::layout::Layout;
use crate::location::{LOCATION_OPTIONS, LocationTable, open_location_table};
use crate::new_table::NewTable;
use crate::stores::hdfs::Hdfs;
use crate::stores::{hdfs, local, path_of, s3};

/// Where the files lie.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Local { path: String },
    S3 { bucket: String, options: Options },
    Hdfs { url: Url, cluster: Hdfs },
}

impl Place {
    /// Removes the directories that are left of a table whose files are gone.
    async fn remove_directory(&self, path: &Path) -> Result<()> {
        match self {
            Self::Hdfs { cluster, .. } => cluster.remove_directory(path).await,
            _ => self.remove_empty(path).await,
        }
    }

    /// Removes the directories of a table that was not made, as far as they hold no files.
    pub(crate) async fn remove_empty(&self, path: &Path) -> Result<()> {
        match self {
            Self::Local { path: root } => {
                let whole = std::path::Path::new(root).join(path.as_ref());
                let work = tokio::task::spawn_blocking(move || local::remove_empty(&whole));
                work.await.map_err(|error| Error::internal("removing broke off").with_cause(error))
            }
            Self::S3 { .. } => Ok(()),
            Self::Hdfs { cluster, .. } => cluster.remove_empty(format!("/{path}")).await,
        }
    }
}

#[derive(Debug)]
pub(crate) struct FilesSource {
    pub(crate) catalog: String,
    pub(crate) place: Place,
    pub(crate) layout: Layout,
    pub(crate) store_url: ObjectStoreUrl,
    /// The options of formats.
    pub(crate) formats: BTreeMap<String, String>,
    pub(crate) gate: Arc<Gate>,
    /// Whether the store has been seen to let one writer alone make a file.
    pub(crate) exclusive: OnceCell<()>,
}

impl FilesSource {
    fn opened(&self, path: Path) -> OpenedStore {
        OpenedStore {
            store: Arc::clone(&self.layout.store),
            url: self.store_url.clone(),
            path,
            directories: None,
        }
    }

    async fn open(
        &self,
        schema: &str,
        name: &str,
        version: Option<TableVersion>,
    ) -> Result<Option<SourceTable>> {
        let place = self.layout.table(schema, name).await;
        let Some(place) = place.map_err(|error| self.in_catalog(error))? else { return Ok(None) };
        let options = self.formats.clone();
        let spec = LocationTable { options, version, ..LocationTable::default() };
        let opened = self.opened(place.path);
        match open_location_table(&self.catalog, opened.clone(), spec).await {
            Ok(table) => Ok(Some(table)),
            // What is being made is not there yet, and what was not finished never.
            Err(error)
                if error.kind() == ErrorKind::RemoteTableNotFound
                    && delta::is_unmade(&opened).await? =>
            {
                Ok(None)
            }
            Err(error) => Err(self.in_catalog(error)),
        }
    }

    async fn begin(&self, request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
        self.exclusive.get_or_try_init(|| self.try_out()).await?;
        let (schema, table) = (request.schema.clone(), request.table.clone());
        let WriteMode::Create(new) = &request.mode else {
            let opened = self.delta_at(&schema, &table).await?;
            return delta::begin(&opened, &table, request, Existing::Table).await;
        };
        let mut there = self.layout.table(&schema, &table).await?;
        if let Some(place) = &there
            && delta::is_unmade(&self.opened(place.path.clone())).await?
        {
            there = None;
        }
        let (opened, existing) = match there {
            None => {
                let path = self.layout.new_table(&schema, &table).await?;
                (self.opened(path), Existing::Nothing)
            }
            Some(_) if !new.replace => {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("table \"{schema}.{table}\" already exists"),
                ));
            }
            Some(_) => (self.delta_at(&schema, &table).await?, Existing::Table),
        };
        let mark = delta::mark_of(&opened, &request.attempt.id);
        let inner = delta::begin(&opened, &table, request, existing).await?;
        Ok(match existing {
            Existing::Nothing => {
                HookedJob::wrap(inner, NewTable { opened, place: self.place.clone(), mark })
            }
            Existing::Table => inner,
        })
    }

    /// Looks whether the store keeps to it when a file must not be there: commits stand on that. Disks and HDFS do.
    async fn try_out(&self) -> Result<()> {
        let Place::S3 { options, .. } = &self.place else { return Ok(()) };
        let name = format!(".maru-{}", uuid::Uuid::new_v4().simple());
        let path = self.layout.root.clone().join(name);
        let create = || {
            let options = PutOptions::from(PutMode::Create);
            self.layout.store.put_opts(&path, PutPayload::from_static(b"probe\n"), options)
        };
        create().await?;
        let second = create().await;
        let removed = self.layout.store.delete(&path).await;
        match second {
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(removed?),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Error::unsupported(format!(
                "the store at {} cannot hold tables that are written",
                s3::address(options)
            ))
            .with_detail("It does not heed If-None-Match: of two writers both would believe that their commit counts.")
            .with_hint("Write to a store that does, such as Amazon S3 or MinIO, or to HDFS.")),
        }
    }

    /// Finds a table that can be written: one with a log.
    async fn delta_at(&self, schema: &str, table: &str) -> Result<OpenedStore> {
        let place = self.layout.table(schema, table).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::UndefinedTable,
                format!("table \"{schema}.{table}\" does not exist"),
            )
        })?;
        let opened = self.opened(place.path);
        if delta::is_unmade(&opened).await? {
            return Err(Error::new(
                ErrorKind::UndefinedTable,
                format!("table \"{schema}.{table}\" does not exist"),
            )
            .with_detail("It is being made, or was not finished."));
        }
        if delta::is_delta(&opened).await? {
            return Ok(opened);
        }
        Err(Error::unsupported(format!("table \"{table}\" is made of plain files and only read"))
            .with_detail("Without a log there is no way to change several files at once.")
            .with_hint(
                "CREATE TABLE … AS SELECT makes a Delta Lake table of it, which can be written.",
            ))
    }

    /// Finds a table with a log, be it one that was not finished; `None` for one of plain files, or none.
    async fn delta_or_unmade(&self, schema: &str, table: &str) -> Result<Option<OpenedStore>> {
        let Some(place) = self.layout.table(schema, table).await? else { return Ok(None) };
        let opened = self.opened(place.path);
        Ok(delta::is_delta(&opened).await?.then_some(opened))
    }

    fn in_catalog(&self, error: Error) -> Error {
        error.with_context("source", self.catalog.clone())
    }
}

/// Returns the options of formats among those of a catalog.
pub(crate) fn format_options(options: &Options) -> BTreeMap<String, String> {
    LOCATION_OPTIONS
        .iter()
        .filter_map(|spec| Some((spec.name.to_owned(), options.text(spec.name)?.to_owned())))
        .collect()
}

impl Source for FilesSource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async move {
            match &self.place {
                Place::Local { path } => {
                    let wanted = path.clone();
                    tokio::task::spawn_blocking(move || local::check(&wanted))
                        .await
                        .map_err(|error| Error::internal(format!("check ended: {error}")))??;
                    Ok(format!("directory {path}"))
                }
                Place::S3 { bucket, options } => {
                    s3::check(bucket, &self.layout.root, options).await?;
                    Ok(format!("bucket {bucket} at {}", s3::address(options)))
                }
                Place::Hdfs { url, cluster } => {
                    hdfs::check(cluster, url, &self.layout.root).await?;
                    Ok(format!("HDFS directory {url}"))
                }
            }
        })
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move { self.layout.schemas().await.map_err(|e| self.in_catalog(e)) })
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        Box::pin(async move {
            let places =
                self.layout.tables(schema).await.map_err(|error| self.in_catalog(error))?;
            Ok(places.into_iter().map(|place| TableEntry::table(place.name)).collect())
        })
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(self.open(schema, name, None))
    }

    fn table_at<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
        version: TableVersion,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        Box::pin(self.open(schema, name, Some(version)))
    }

    fn store_for(&self, url: &Url) -> Option<OpenedStore> {
        let path = path_of(url).ok()?;
        match &self.place {
            Place::Local { path: root } => {
                let local = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()?;
                let inside = local.strip_prefix(root).ok()?;
                Some(self.opened(Path::parse(inside.to_str()?).ok()?))
            }
            Place::S3 { bucket, .. } => {
                let same = matches!(url.scheme(), "s3" | "s3a" | "s3n")
                    && url.host_str() == Some(bucket.as_str())
                    && path.prefix_matches(&self.layout.root);
                same.then(|| self.opened(path))
            }
            Place::Hdfs { url: own, .. } => {
                let same = url.scheme() == "hdfs"
                    && url.host_str() == own.host_str()
                    && url.port() == own.port()
                    && path.prefix_matches(&self.layout.root);
                same.then(|| self.opened(path))
            }
        }
    }

    fn keeps_work(&self) -> bool {
        true
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        Box::pin(async move {
            let begun = self.begin(request).await;
            begun.map_err(|error| self.in_catalog(error))
        })
    }

    fn change_table<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        change: TableChange,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let work = async {
                let opened = self.delta_at(schema, table).await?;
                match change {
                    TableChange::Drop => {
                        delta::drop_table(&opened).await?;
                        self.place.remove_directory(&opened.path).await
                    }
                    change => delta::change(&opened, change).await,
                }
            };
            work.await.map_err(|error| self.in_catalog(error))
        })
    }

    fn leftovers<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        Box::pin(async move {
            let Some(opened) = self.delta_or_unmade(schema, table).await? else {
                return Ok(Vec::new());
            };
            let left = delta::leftovers(&opened).await.map_err(|error| self.in_catalog(error))?;
            Ok(leftovers_in_place(left, &opened.url))
        })
    }

    fn vacuum<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
        retain: Duration,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Vec<Leftover>>> {
        Box::pin(async move {
            let opened = match self.delta_or_unmade(schema, table).await? {
                Some(opened) => opened,
                None => self.delta_at(schema, table).await?,
            };
            let unmade = delta::is_unmade(&opened).await?;
            let done = delta::vacuum(&opened, retain, dry_run).await;
            let done = done.map_err(|error| self.in_catalog(error))?;
            if unmade && !dry_run {
                self.place.remove_empty(&opened.path).await?;
            }
            Ok(done)
        })
    }

    fn scattered<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<SourceTable>> {
        Box::pin(async move {
            let work = async {
                let opened = self.delta_at(schema, table).await?;
                delta::open_scattered(&self.catalog, opened).await
            };
            work.await.map_err(|error| self.in_catalog(error))
        })
    }

    fn history<'a>(
        &'a self,
        schema: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<TableCommit>>> {
        Box::pin(async move {
            let work = async { delta::history(&self.delta_at(schema, table).await?).await };
            work.await.map_err(|error| self.in_catalog(error))
        })
    }

    fn create_schema<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let made = self.layout.create_schema(schema).await;
            made.map_err(|error| self.in_catalog(error))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.gate.close() })
    }
}
