//! Finds the files of a Hive table: partitions from the metastore, files from the store.

mod found;
mod listings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, SchemaRef};
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, TryStreamExt, stream};
use hive_metastore::Table;
use maru_connect::{
    ColumnEstimate, FileEntry, FileFormatSpec, FileLister, OpenContext, OpenedStore, Predicate,
    TextLengths,
};
use maru_core::limits::CHANGED_TTL_S;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::metastore::Metastore;
use crate::{format, spark, statistics};

use found::{Found, Listed, Remembered};
use listings::Listings;

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
    /// The columns and keys of type `char(n)`.
    pub(crate) padded: Option<Arc<TextLengths>>,
    /// The table's own location, without a slash at the end, and what it was opened as.
    pub(crate) root: String,
    pub(crate) opened: OpenedStore,
    pub(crate) learned: Learned,
}

/// What a table is found to be in the course of time. It is forgotten with the table's handle.
#[derive(Debug)]
pub(crate) struct Learned {
    listed: Mutex<Option<Arc<Listed>>>,
    partitions: Remembered,
    listings: Listings,
    estimates: OnceCell<Option<Arc<Vec<ColumnEstimate>>>>,
    /// When the metastore last said that the table is what it was.
    checked: Mutex<Instant>,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            listed: Mutex::default(),
            partitions: Remembered::default(),
            listings: Listings::default(),
            estimates: OnceCell::new(),
            checked: Mutex::new(Instant::now()),
        }
    }
}

impl FileLister for HiveFiles {
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        async move {
            if self.keys.is_empty() {
                let parameters = self.table.parameters.as_ref();
                let whole = Found {
                    path: self.opened.path.clone(),
                    location: self.root.clone(),
                    values: Vec::new(),
                    layout: None,
                    n_rows: statistics::n_rows(|key| {
                        parameters?.get(key).map(|text| text.as_str())
                    }),
                };
                return self.directory(&whole, None).await;
            }
            let found = self.partitions(filters).await?.try_collect::<Vec<_>>().await?;
            let marks = self.marks(&found).await;
            let listings = found.into_iter().map(|one| {
                let mark = marks.get(&one.path).copied();
                async move { self.directory(&one, mark).await }
            });
            let files = stream::iter(listings).buffered(LISTINGS).try_collect::<Vec<_>>().await?;
            Ok(files.into_iter().flatten().collect())
        }
        .boxed()
    }

    fn n_partitions(&self, _: u64) -> BoxFuture<'_, Option<usize>> {
        async move { self.metastore.n_partitions(&self.database, &self.name).await.ok() }.boxed()
    }

    fn column_estimates(&self) -> BoxFuture<'_, Option<Arc<Vec<ColumnEstimate>>>> {
        async move {
            let columns = self.file_schema.fields().iter().chain(&self.keys).cloned();
            let columns = columns.collect::<Vec<_>>();
            let told =
                || statistics::of_table(&self.metastore, &self.table, &columns, self.keys.len());
            self.learned.estimates.get_or_init(told).await.clone()
        }
        .boxed()
    }

    fn changed(&self) -> BoxFuture<'_, Result<bool>> {
        async move {
            if self.learned.checked.lock().elapsed() < Duration::from_secs(CHANGED_TTL_S) {
                return Ok(false);
            }
            let found = self.metastore.table(&self.database, &self.name).await?;
            *self.learned.checked.lock() = Instant::now();
            let meant = found.and_then(|found| spark::meant(found).ok());
            Ok(meant.is_none_or(|found| found != self.table))
        }
        .boxed()
    }

    fn declared_lengths(&self) -> Vec<(String, String)> {
        let columns = self.table.sd.as_ref().and_then(|storage| storage.cols.as_ref());
        let columns = columns.into_iter().chain(&self.table.partition_keys).flatten();
        let declared = columns.filter_map(|column| {
            let declared = column.r#type.as_deref()?.to_lowercase();
            // `varchar` as well, and both in what is nested.
            let has_length = declared.contains("char");
            has_length.then(|| (column.name.as_deref().unwrap_or_default().to_owned(), declared))
        });
        declared.collect()
    }

    fn text_lengths(&self) -> Option<Arc<TextLengths>> {
        self.padded.clone()
    }
}

impl HiveFiles {
    /// Lists the files below a directory, those in subdirectories too. With the mark that it has, what is remembered of it may do.
    async fn directory(&self, found: &Found, mark: Option<u64>) -> Result<Vec<FileEntry>> {
        let known = mark.and_then(|mark| self.learned.listings.get(&found.path, mark));
        let listed = match known {
            Some(known) => known,
            None => {
                let listed = Arc::new(self.listing(found).await?);
                if let Some(mark) = mark {
                    self.learned.listings.keep(&found.path, mark, &listed);
                }
                listed
            }
        };
        let format = found.layout.as_ref().map_or(&self.format, |layout| &layout.format);
        // The rows of the directory are spread over its files by their sizes.
        let n_bytes = listed.iter().map(|meta| meta.size as f64).sum::<f64>();
        let entry = |meta: &ObjectMeta| {
            format::refuse_packed(format, meta.location.as_ref())
                .map_err(|error| self.named(error))?;
            let rows = |n_rows| (n_rows as f64 * meta.size as f64 / n_bytes).ceil() as usize;
            Ok(FileEntry {
                layout: found.layout.clone(),
                n_rows: found.n_rows.map(rows),
                ..FileEntry::new(meta.clone(), found.values.clone())
            })
        };
        listed.iter().map(entry).collect()
    }

    async fn listing(&self, found: &Found) -> Result<Vec<ObjectMeta>> {
        let Found { path: base, location, layout, .. } = found;
        let store = layout.as_ref().map_or(&self.opened.store, |layout| &layout.store);
        let gone = || {
            let text = format!("location \"{location}\" is gone");
            self.named(Error::new(ErrorKind::FileNotFound, text)).with_hint(
                "Hive still lists it. Repair the table there (MSCK REPAIR TABLE), or drop it.",
            )
        };
        let mut files = Vec::new();
        let mut anything = false;
        let mut listing = store.list(Some(base));
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                Err(object_store::Error::NotFound { .. }) => return Err(gone()),
                Err(error) => return Err(self.named(Error::from(error))),
            };
            anything = true;
            if meta.size > 0 && !is_hidden(base, &meta.location) {
                files.push(meta);
            }
        }
        if !anything && !exists(store.as_ref(), base, location).await? {
            return Err(gone());
        }
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    pub(super) fn named(&self, error: Error) -> Error {
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
pub(crate) fn is_hidden(base: &Path, location: &Path) -> bool {
    let Some(mut parts) = location.prefix_match(base) else { return false };
    parts.any(|part| part.as_ref().starts_with(['_', '.']))
}

#[cfg(test)]
mod tests;
