//! Finds the files of a Hive table: partitions from the metastore, files from the store.

mod found;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, SchemaRef};
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, TryStreamExt};
use hive_metastore::Table;
use maru_connect::{
    ColumnEstimate, FileEntry, FileFormatSpec, FileLister, OpenContext, OpenedStore, Predicate,
};
use maru_core::limits::CHANGED_TTL_S;
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::metastore::Metastore;
use crate::{format, statistics};

use found::{Found, Remembered};

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
    pub(crate) learned: Learned,
}

/// What a table is found to be in the course of time. It is forgotten with the table's handle.
#[derive(Debug)]
pub(crate) struct Learned {
    partitions: Remembered,
    estimates: OnceCell<Option<Arc<Vec<ColumnEstimate>>>>,
    /// When the metastore last said that the table is what it was.
    checked: Mutex<Instant>,
}

impl Default for Learned {
    fn default() -> Self {
        let (partitions, estimates) = (Remembered::default(), OnceCell::new());
        Self { partitions, estimates, checked: Mutex::new(Instant::now()) }
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
                return self.directory(&whole).await;
            }
            let files = self
                .partitions(filters)
                .await?
                .map_ok(|partition| async move { self.directory(&partition).await })
                .try_buffered(LISTINGS)
                .try_collect::<Vec<_>>()
                .await?;
            Ok(files.into_iter().flatten().collect())
        }
        .boxed()
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
            Ok(found.is_none_or(|found| found != self.table))
        }
        .boxed()
    }
}

impl HiveFiles {
    /// Lists the files below a directory, those in subdirectories too.
    async fn directory(&self, found: &Found) -> Result<Vec<FileEntry>> {
        let Found { path: base, location, values, layout, n_rows } = found;
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
        let mut listing = store.list(Some(base));
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                Err(object_store::Error::NotFound { .. }) => return Err(gone()),
                Err(error) => return Err(self.named(Error::from(error))),
            };
            anything = true;
            if meta.size == 0 || is_hidden(base, &meta.location) {
                continue;
            }
            format::refuse_packed(format, meta.location.as_ref())
                .map_err(|error| self.named(error))?;
            files
                .push(FileEntry { layout: layout.clone(), ..FileEntry::new(meta, values.clone()) });
        }
        if !anything && !exists(store.as_ref(), base, location).await? {
            return Err(gone());
        }
        files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        // The rows of the directory are spread over its files by their sizes.
        if let Some(n_rows) = *n_rows {
            let all = files.iter().map(|file| file.meta.size as f64).sum::<f64>();
            for file in &mut files {
                file.n_rows = Some((n_rows as f64 * file.meta.size as f64 / all).ceil() as usize);
            }
        }
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
fn is_hidden(base: &Path, location: &Path) -> bool {
    let Some(mut parts) = location.prefix_match(base) else { return false };
    parts.any(|part| part.as_ref().starts_with(['_', '.']))
}

#[cfg(test)]
mod tests;
