//! Finds the files of a Hive table: partitions from the metastore, files from the store.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, TryStreamExt, stream};
use hive_metastore::{Partition, Table};
use maru_connect::{FileEntry, FileFormatSpec, FileLister, OpenContext, OpenedStore, Predicate};
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::metastore::Metastore;
use crate::{format, location, partition};

/// Partitions that one call to the metastore asks for. In tests few, so that they see several calls.
const PARTITIONS_PER_CALL: usize = if cfg!(test) { 50 } else { 500 };
/// Calls to the metastore at once.
const CALLS: usize = 4;
/// Directories listed at once.
const LISTINGS: usize = 16;

/// One Hive table's files.
#[derive(Debug)]
pub(crate) struct HiveFiles {
    pub(crate) metastore: Arc<Metastore>,
    pub(crate) context: OpenContext,
    pub(crate) table: Table,
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) format: FileFormatSpec,
    pub(crate) keys: Vec<Arc<Field>>,
    /// The table's own location, without a slash at the end, and what it was opened as.
    pub(crate) root: String,
    pub(crate) opened: OpenedStore,
}

impl FileLister for HiveFiles {
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        async move {
            if self.keys.is_empty() {
                return self.directory(self.opened.path.clone(), Vec::new(), &self.root).await;
            }
            let names = self.names(filters).await?;
            let chunks = names.chunks(PARTITIONS_PER_CALL).map(<[String]>::to_vec);
            let partitions = stream::iter(chunks)
                .map(|names| async move {
                    self.metastore.partitions(&self.database, &self.name, &names).await
                })
                .buffered(CALLS)
                .map_ok(|partitions| stream::iter(partitions.into_iter().map(Ok)))
                .try_flatten();
            let files = partitions
                .map_ok(|partition| self.partition(partition))
                .try_buffered(LISTINGS)
                .try_collect::<Vec<_>>()
                .await?;
            Ok(files.into_iter().flatten().collect())
        }
        .boxed()
    }
}

impl HiveFiles {
    /// Returns the names of the partitions that the filters leave.
    async fn names(&self, filters: &[Predicate]) -> Result<Vec<String>> {
        let names = self.metastore.partition_names(&self.database, &self.name).await?;
        if filters.is_empty() {
            return Ok(names);
        }
        let values = names
            .iter()
            .map(|name| partition::typed(&partition::values_of(name, &self.keys)?, &self.keys))
            .collect::<Result<Vec<_>>>()
            .map_err(|error| self.named(error))?;
        let keep = partition::keep(&values, &self.keys, filters)?;
        Ok(names.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(name, _)| name).collect())
    }

    async fn partition(&self, partition: Partition) -> Result<Vec<FileEntry>> {
        let texts = partition.values.as_deref().unwrap_or_default();
        let values = partition::typed(texts, &self.keys).map_err(|error| self.named(error))?;
        let shown = || texts.join("/");
        let storage = partition.sd.as_ref();
        let location = storage.and_then(|storage| storage.location.as_deref());
        let (Some(storage), Some(location)) = (storage, location) else {
            let error = Error::unsupported(format!("partition \"{}\" has no location", shown()));
            return Err(self.named(error));
        };
        // Each partition keeps the format it was written in when the table's is changed.
        let format = format::of(&self.table, storage).map_err(|error| self.named(error))?;
        if format != self.format {
            let error = Error::unsupported(format!(
                "partition \"{}\" is laid out otherwise than its table",
                shown()
            ));
            return Err(self.named(error.with_detail(format!(
                "The partition has {format:?}, the table {:?}.",
                self.format
            ))));
        }
        let path = self.path(location).await.map_err(|error| self.named(error))?;
        self.directory(path, values, location).await
    }

    /// Returns where a partition lies in the table's store.
    async fn path(&self, location: &str) -> Result<Path> {
        let below = location.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
        if let Some(below) = below {
            // The text is the directory's own name: nothing in it is an escape.
            return literal(&self.opened.path, below.trim_end_matches('/'));
        }
        let url = location::url(location)?;
        let options = &self.context.options;
        let opened = self.context.stores.open_store(&self.context.instance, &url, options).await?;
        if opened.url != self.opened.url {
            return Err(Error::unsupported("a table whose partitions lie in several stores")
                .with_detail(format!(
                    "The table lies in \"{}\", a partition in \"{location}\".",
                    self.root
                )));
        }
        Ok(opened.path)
    }

    /// Lists the files below a directory, those in subdirectories too.
    async fn directory(
        &self,
        base: Path,
        values: Vec<ScalarValue>,
        location: &str,
    ) -> Result<Vec<FileEntry>> {
        let store = &self.opened.store;
        let gone = || {
            let text = format!("location \"{location}\" is gone");
            self.named(Error::new(ErrorKind::FileNotFound, text)).with_hint(
                "Hive still lists it. Repair the table there (MSCK REPAIR TABLE), or drop it.",
            )
        };
        let mut files = Vec::new();
        let mut anything = false;
        let mut listing = store.list(Some(&base));
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                Err(object_store::Error::NotFound { .. }) => return Err(gone()),
                Err(error) => return Err(self.named(Error::from(error))),
            };
            anything = true;
            if meta.size == 0 || is_hidden(&base, &meta.location) {
                continue;
            }
            format::refuse_packed(&self.format, meta.location.as_ref())
                .map_err(|error| self.named(error))?;
            files.push(FileEntry { meta, partition_values: values.clone(), details: None });
        }
        if !anything && !exists(store.as_ref(), &base, location).await? {
            return Err(gone());
        }
        files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        Ok(files)
    }

    fn named(&self, error: Error) -> Error {
        error.with_context("table", format!("{}.{}", self.database, self.name))
    }
}

/// Returns whether a directory without files is there. Only a store that has directories can tell; elsewhere (S3) a
/// table without files and a table that is gone look the same, and both are empty.
async fn exists(store: &dyn ObjectStore, base: &Path, location: &str) -> Result<bool> {
    let has_directories =
        ["hdfs:", "viewfs:", "file:"].iter().any(|scheme| location.starts_with(scheme));
    let mut parent = base.parts().collect::<Vec<_>>();
    if !has_directories || parent.pop().is_none() {
        return Ok(true);
    }
    let parent = parent.into_iter().collect::<Path>();
    Ok(store.list_with_delimiter(Some(&parent)).await?.common_prefixes.contains(base))
}

/// Hive skips names that begin with a dot or an underscore, as files and as directories.
fn is_hidden(base: &Path, location: &Path) -> bool {
    let Some(mut parts) = location.prefix_match(base) else { return false };
    parts.any(|part| part.as_ref().starts_with(['_', '.']))
}

/// Appends a path as text to `base`, character by character.
fn literal(base: &Path, below: &str) -> Result<Path> {
    let base = base.as_ref();
    let path =
        if base.is_empty() { Path::parse(below) } else { Path::parse(format!("{base}/{below}")) };
    Ok(path.map_err(object_store::Error::from)?)
}

#[cfg(test)]
mod tests;
