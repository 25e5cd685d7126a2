//! The files of a table, by its log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::DateTime;
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use maru_connect::{FileEntry, FileLister, Predicate, evaluate};
use maru_core::{Error, Result};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::action::Add;
use super::log::Log;
use super::schema::{Column, Columns};
use super::snapshot::{File, Snapshot};
use super::upkeep::to_compact;
use super::{bounds, constraints, corrupt, refused, schema};

/// Deletion vectors read at once.
const CONCURRENT_READS: usize = 16;

/// Names the files of one snapshot: of the one that a statement asked for, else of the newest one when it runs.
#[derive(Debug)]
pub(super) struct DeltaFiles {
    pub(super) log: Arc<Log>,
    /// The snapshot that the columns were taken from.
    pub(super) opened: Arc<Snapshot>,
    /// Whether it is the only one to read.
    pub(super) fixed: bool,
    /// Whether only the files are meant that had better be fewer.
    pub(super) compacts: bool,
    pub(super) columns: Columns,
    /// What the files call the columns, where that is not their names.
    pub(super) names: Option<Arc<HashMap<String, String>>>,
}

impl FileLister for DeltaFiles {
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        self.list_in(0, filters)
    }

    fn list_in<'a>(
        &'a self,
        statement: u64,
        filters: &'a [Predicate],
    ) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        Box::pin(async move {
            if self.fixed {
                return self.entries(&self.opened, filters).await;
            }
            let snapshot = self.log.in_statement(statement).await?;
            if !snapshot.is_like(&self.opened) {
                return Err(Error::unsupported(format!(
                    "Delta Lake table \"{}\" has other columns than when the statement was planned",
                    self.log.table
                ))
                .with_hint("Run the statement again."));
            }
            self.entries(&snapshot, filters).await
        })
    }

    fn version_in(&self, statement: u64) -> BoxFuture<'_, Option<u64>> {
        Box::pin(async move {
            if self.fixed {
                return Some(self.opened.version);
            }
            self.log.in_statement(statement).await.ok().map(|snapshot| snapshot.version)
        })
    }

    fn n_partitions(&self, statement: u64) -> BoxFuture<'_, Option<usize>> {
        Box::pin(async move {
            let snapshot = match self.fixed {
                true => Arc::clone(&self.opened),
                false => self.log.in_statement(statement).await.ok()?,
            };
            let values = snapshot.files().map(|file| self.partition_values(&file.add).ok());
            Some(values.collect::<Option<HashSet<_>>>()?.len())
        })
    }

    fn changed(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move { Ok(!self.fixed && !self.log.newest().await?.is_like(&self.opened)) })
    }

    fn column_order(&self) -> Option<Vec<usize>> {
        let order = &self.columns.order;
        let same = order.iter().enumerate().all(|(at, index)| at == *index);
        (!same).then(|| order.clone())
    }

    fn not_null(&self) -> HashSet<String> {
        self.opened.shape().map(|(_, metadata)| schema::not_null(metadata)).unwrap_or_default()
    }

    fn checks(&self) -> Vec<(String, String)> {
        let shape = self.opened.shape();
        shape.map(|(_, metadata)| constraints::checks(metadata)).unwrap_or_default()
    }

    fn defaults(&self) -> Vec<(String, String)> {
        let shape = self.opened.shape();
        shape.map(|(_, metadata)| constraints::defaults(metadata)).unwrap_or_default()
    }

    fn names_in_files(&self) -> Option<Arc<HashMap<String, String>>> {
        self.names.clone()
    }
}

impl DeltaFiles {
    async fn entries(&self, snapshot: &Snapshot, filters: &[Predicate]) -> Result<Vec<FileEntry>> {
        let fields = self.columns.partitions.iter().map(|column| Arc::clone(&column.field));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut kept = Vec::with_capacity(snapshot.n_files());
        let chosen = match self.compacts {
            true => to_compact(snapshot),
            false => snapshot.files().cloned().collect(),
        };
        for file in &chosen {
            let values = self.partition_values(&file.add)?;
            // The engine leaves out what does not match; here, vectors that nobody needs are not read.
            let mut keep = true;
            if file.add.deletion_vector.is_some() {
                for filter in filters {
                    keep = keep && evaluate::holds(filter, &schema, &values)?;
                }
            }
            if keep {
                kept.push((Arc::clone(file), values));
            }
        }
        kept.sort_by(|(a, _), (b, _)| a.add.path.cmp(&b.add.path));
        stream::iter(kept)
            .map(|(file, values)| self.entry(file, values))
            .boxed()
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
    }

    async fn entry(
        &self,
        file: Arc<File>,
        partition_values: Vec<ScalarValue>,
    ) -> Result<FileEntry> {
        let table = &self.log.table;
        let deleted = file.deleted(self.log.store.as_ref(), table).await?;
        let details = bounds::details(file.add.stats.as_deref(), &self.columns.in_files, deleted);
        let meta = ObjectMeta {
            location: place(table, &file.add.path)?,
            last_modified: DateTime::from_timestamp_millis(file.add.modification_time)
                .unwrap_or_default(),
            size: file.add.size,
            e_tag: None,
            version: None,
        };
        let details = Some(Arc::new(details));
        Ok(FileEntry { details, ..FileEntry::new(meta, partition_values) })
    }

    fn partition_values(&self, add: &Add) -> Result<Vec<ScalarValue>> {
        self.columns.partitions.iter().map(|column| self.partition_value(add, column)).collect()
    }

    /// An empty text stands for NULL, as no text does.
    fn partition_value(&self, add: &Add, column: &Column) -> Result<ScalarValue> {
        let data_type = column.field.data_type();
        let text = add.partition_values.get(&column.physical).and_then(Option::as_deref);
        match text.filter(|text| !text.is_empty()) {
            None => Ok(ScalarValue::try_new_null(data_type)?),
            Some(text) => ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| {
                let what = format!(
                    "\"{text}\" as value of column \"{}\" of type {data_type}",
                    column.field.name()
                );
                corrupt(&self.log.table, what)
            }),
        }
    }
}

/// Returns where a file of the log lies in the store.
pub(super) fn place(table: &Path, path: &str) -> Result<Path> {
    if path.contains("://") || path.starts_with('/') || path.starts_with("file:") {
        return Err(refused(table, "files outside of its directory (a shallow clone)"));
    }
    let inside = Path::from_url_path(path).map_err(|error| corrupt(table, error))?;
    let whole = table.parts().chain(inside.parts()).collect::<Path>();
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_once() {
        let table = Path::parse("w/t").unwrap();
        let of = |path| place(&table, path).map(|path| path.to_string());
        assert_eq!(of("a.parquet").unwrap(), "w/t/a.parquet");
        assert_eq!(of("p=a%2520b/%ED%95%9C.parquet").unwrap(), "w/t/p=a%20b/한.parquet");
        assert_eq!(of("s3://other/a.parquet").unwrap_err().sqlstate(), "0A000");
        assert_eq!(of("/other/a.parquet").unwrap_err().sqlstate(), "0A000");
        assert_eq!(of("../a.parquet").unwrap_err().sqlstate(), "XX001");
    }
}
