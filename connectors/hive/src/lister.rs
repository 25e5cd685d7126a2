//! Finds the files of a Hive table: partitions from the metastore, files from the store.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::ScalarValue;
use futures::future::{BoxFuture, FutureExt};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use hive_metastore::{Partition, StorageDescriptor, Table};
use maru_connect::{
    FileEntry, FileFormatSpec, FileLayout, FileLister, OpenContext, OpenedStore, Predicate,
};
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use pilota::{AHashMap, FastStr};

use crate::metastore::Metastore;
use crate::{filter, format, location, partition};

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
    pub(crate) file_schema: SchemaRef,
    pub(crate) keys: Vec<Arc<Field>>,
    /// The table's own location, without a slash at the end, and what it was opened as.
    pub(crate) root: String,
    pub(crate) opened: OpenedStore,
}

impl FileLister for HiveFiles {
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        async move {
            if self.keys.is_empty() {
                let whole = Place {
                    path: self.opened.path.clone(),
                    location: &self.root,
                    values: Vec::new(),
                    layout: None,
                    n_rows: n_rows(self.table.parameters.as_ref()),
                };
                return self.directory(whole).await;
            }
            if let Some(partitions) = self.filtered(filters).await? {
                return self.files(stream::iter(partitions.into_iter().map(Ok))).await;
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
            self.files(partitions).await
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

    /// Returns the partitions that satisfy what the metastore can be asked; `None` if that is nothing, or it will not.
    async fn filtered(&self, filters: &[Predicate]) -> Result<Option<Vec<Partition>>> {
        let Some(filter) = filter::text(filters, &self.keys) else { return Ok(None) };
        let found = self.metastore.filtered(&self.database, &self.name, &filter).await?;
        let Some(found) = found else { return Ok(None) };
        // What came back is only known not to be too little.
        let values = found
            .iter()
            .map(|partition| {
                partition::typed(partition.values.as_deref().unwrap_or_default(), &self.keys)
            })
            .collect::<Result<Vec<_>>>()
            .map_err(|error| self.named(error))?;
        let keep = partition::keep(&values, &self.keys, filters)?;
        Ok(Some(
            found.into_iter().zip(keep).filter_map(|(one, keep)| keep.then_some(one)).collect(),
        ))
    }

    async fn files(
        &self,
        partitions: impl Stream<Item = Result<Partition>> + Send,
    ) -> Result<Vec<FileEntry>> {
        let files = partitions
            .map_ok(|partition| self.partition(partition))
            .try_buffered(LISTINGS)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(files.into_iter().flatten().collect())
    }

    async fn partition(&self, partition: Partition) -> Result<Vec<FileEntry>> {
        let texts = partition.values.as_deref().unwrap_or_default();
        let values = partition::typed(texts, &self.keys).map_err(|error| self.named(error))?;
        let of_partition =
            |error: Error| self.named(error.with_context("partition", texts.join("/")));
        let storage = partition.sd.as_ref();
        let location = storage.and_then(|storage| storage.location.as_deref());
        let (Some(storage), Some(location)) = (storage, location) else {
            return Err(of_partition(Error::unsupported("the partition has no location")));
        };
        let format = self.format_of(storage).map_err(of_partition)?;
        let (path, elsewhere) = self.path(location).await.map_err(of_partition)?;
        let layout = if elsewhere.is_none() && format == self.format {
            None
        } else {
            let opened = elsewhere.as_ref().unwrap_or(&self.opened);
            let (store, store_url) = (Arc::clone(&opened.store), opened.url.clone());
            Some(Arc::new(FileLayout { store, store_url, format }))
        };
        let n_rows = n_rows(partition.parameters.as_ref());
        self.directory(Place { path, location, values, layout, n_rows }).await
    }

    /// Returns the format of a partition, which keeps the one it was written in, and the columns, when the table's are
    /// changed.
    fn format_of(&self, storage: &StorageDescriptor) -> Result<FileFormatSpec> {
        let format = format::of(&self.table, storage)?;
        let of_table = self.table.sd.as_ref().and_then(|storage| storage.cols.as_deref());
        let of_table = of_table.unwrap_or_default();
        let columns = storage.cols.as_deref().filter(|columns| !columns.is_empty());
        format::for_partition(format, columns.unwrap_or(of_table), of_table, &self.file_schema)
    }

    /// Returns where a partition lies, and the store if it is another than the table's.
    async fn path(&self, location: &str) -> Result<(Path, Option<OpenedStore>)> {
        let below = location.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
        if let Some(below) = below {
            // The text is the directory's own name: nothing in it is an escape.
            return Ok((literal(&self.opened.path, below.trim_end_matches('/'))?, None));
        }
        let url = location::url(location)?;
        let options = &self.context.options;
        let opened = self.context.stores.open_store(&self.context.instance, &url, options).await?;
        let path = opened.path.clone();
        Ok((path, Some(opened).filter(|opened| opened.url != self.opened.url)))
    }

    /// Lists the files below a directory, those in subdirectories too.
    async fn directory(&self, place: Place<'_>) -> Result<Vec<FileEntry>> {
        let Place { path: base, location, values, layout, n_rows } = place;
        let store = layout.as_ref().map_or(&self.opened.store, |layout| &layout.store);
        let format = layout.as_ref().map_or(&self.format, |layout| &layout.format);
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
            format::refuse_packed(format, meta.location.as_ref())
                .map_err(|error| self.named(error))?;
            files
                .push(FileEntry { layout: layout.clone(), ..FileEntry::new(meta, values.clone()) });
        }
        if !anything && !exists(store.as_ref(), &base, location).await? {
            return Err(gone());
        }
        files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        // The rows of the directory are spread over its files by their sizes.
        if let Some(n_rows) = n_rows {
            let all = files.iter().map(|file| file.meta.size as f64).sum::<f64>();
            for file in &mut files {
                file.n_rows = Some((n_rows as f64 * file.meta.size as f64 / all).ceil() as usize);
            }
        }
        Ok(files)
    }

    fn named(&self, error: Error) -> Error {
        error.with_context("table", format!("{}.{}", self.database, self.name))
    }
}

/// A directory of files, and what is known of all of them.
struct Place<'a> {
    path: Path,
    location: &'a str,
    values: Vec<ScalarValue>,
    layout: Option<Arc<FileLayout>>,
    n_rows: Option<usize>,
}

/// Returns how many rows the metastore believes to be there; 0 and -1 mean that nobody has counted.
fn n_rows(parameters: Option<&AHashMap<FastStr, FastStr>>) -> Option<usize> {
    let text = parameters?.get("numRows")?;
    text.parse::<usize>().ok().filter(|n_rows| *n_rows > 0)
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
