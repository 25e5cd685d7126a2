//! One attached catalog of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use maru_connect::{OpenedStore, Source, SourceTable, TableEntry, TableVersion};
use maru_core::{Error, Options, Result};
use object_store::path::Path;
use url::Url;

use crate::gate::Gate;
use crate::layout::Layout;
use crate::location::{LOCATION_OPTIONS, LocationTable, open_location_table};
use crate::stores::hdfs::Hdfs;
use crate::stores::{hdfs, local, path_of, s3};

/// Where the files lie.
#[derive(Debug)]
pub(crate) enum Place {
    Local { path: String },
    S3 { bucket: String, options: Options },
    Hdfs { url: Url, cluster: Hdfs },
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
        open_location_table(&self.catalog, self.opened(place.path), spec)
            .await
            .map(Some)
            .map_err(|error| self.in_catalog(error))
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

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.gate.close() })
    }
}
