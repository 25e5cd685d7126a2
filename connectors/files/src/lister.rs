//! The files of a directory table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use maru_connect::{FileEntry, FileLister, Predicate, TextLengths, evaluate, in_place};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::formats::{Format, is_hidden, refuse_packed};
use crate::glob::Glob;
use crate::partitions;
use crate::seen::Seen;

/// Directories that are listed at most to count the partitions of a table.
const COUNTED_DIRECTORIES: usize = 64;

/// Directories listed at once.
const CONCURRENT_LISTINGS: usize = 16;

/// Lists a directory, level by level along the partition columns so that directories which cannot match are not
/// opened, and whole below that.
#[derive(Debug)]
pub(crate) struct DirectoryFiles {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Path,
    /// What users call the root of the store.
    pub(crate) place: String,
    pub(crate) partition_columns: Vec<Arc<Field>>,
    /// What every file is said to be, whatever its name.
    pub(crate) declared: Option<Format>,
    /// Only files whose name says this format; `None` takes every file.
    pub(crate) only: Option<Format>,
    /// Only files whose path matches.
    pub(crate) pattern: Option<Glob>,
    /// The columns that are declared with a length.
    pub(crate) lengths: Option<Arc<TextLengths>>,
    /// What the columns were found in.
    pub(crate) seen: Option<Seen>,
}

/// A directory on the way down, with the values of the columns passed so far.
#[derive(Debug, Clone)]
struct Step {
    directory: Path,
    values: Vec<ScalarValue>,
}

impl FileLister for DirectoryFiles {
    fn list<'a>(&'a self, filters: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        Box::pin(async move {
            let prunable = filters.iter().any(|filter| !filter.columns().is_empty());
            let entries = if prunable {
                self.list_matching(filters).await
            } else {
                self.list_below(Step { directory: self.root.clone(), values: Vec::new() }).await
            };
            let mut entries = entries.map_err(|error| in_place(error, &self.place, &self.root))?;
            entries.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
            Ok(entries)
        })
    }

    fn n_partitions(&self, _: u64) -> BoxFuture<'_, Option<usize>> {
        Box::pin(async move {
            let mut steps = vec![Step { directory: self.root.clone(), values: Vec::new() }];
            let mut n_listed = 0;
            for _ in &self.partition_columns {
                n_listed += steps.len();
                if n_listed > COUNTED_DIRECTORIES {
                    return None;
                }
                steps = self.below(steps).await.ok()?;
            }
            Some(steps.len())
        })
    }

    fn changed(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            Ok(match &self.seen {
                Some(seen) => seen.is_outdated(self).await,
                None => false,
            })
        })
    }

    fn text_lengths(&self) -> Option<Arc<TextLengths>> {
        self.lengths.clone()
    }
}

/// Keeps the directories of one level whose values satisfy all of `filters`; unknown counts as no.
fn keep(steps: Vec<Step>, schema: &Arc<Schema>, filters: &[&Predicate]) -> Result<Vec<Step>> {
    if steps.is_empty() || filters.is_empty() {
        return Ok(steps);
    }
    let columns = (0..schema.fields().len())
        .map(|at| ScalarValue::iter_to_array(steps.iter().map(|step| step.values[at].clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
    let mut kept = vec![true; steps.len()];
    for filter in filters {
        let holds = evaluate::rows(filter, &batch)?;
        for (kept, holds) in kept.iter_mut().zip(&holds) {
            *kept &= holds == Some(true);
        }
    }
    Ok(steps.into_iter().zip(kept).filter_map(|(step, kept)| kept.then_some(step)).collect())
}

impl DirectoryFiles {
    async fn list_matching(&self, filters: &[Predicate]) -> Result<Vec<FileEntry>> {
        let mut steps = vec![Step { directory: self.root.clone(), values: Vec::new() }];
        for depth in 1..=self.partition_columns.len() {
            let schema = Arc::new(Schema::new(self.partition_columns[..depth].to_vec()));
            // Filters that can be decided now and could not be one level up.
            let decidable = filters
                .iter()
                .filter(|filter| filter.columns().iter().max() == Some(&(depth - 1)))
                .collect::<Vec<_>>();
            steps = keep(self.below(steps).await?, &schema, &decidable)?;
        }
        stream::iter(steps)
            .map(|step| self.list_below(step))
            .buffer_unordered(CONCURRENT_LISTINGS)
            .try_concat()
            .await
    }

    /// Returns the partition directories directly below some.
    async fn below(&self, steps: Vec<Step>) -> Result<Vec<Step>> {
        stream::iter(steps)
            .map(|step| self.directories(step))
            .buffer_unordered(CONCURRENT_LISTINGS)
            .try_concat()
            .await
    }

    /// Returns the partition directories directly below one.
    async fn directories(&self, step: Step) -> Result<Vec<Step>> {
        let listed = self.store.list_with_delimiter(Some(&step.directory)).await?;
        for meta in &listed.objects {
            self.refuse_packed(meta)?;
            if self.wants(meta) {
                return Err(self.stray(&meta.location));
            }
        }
        let mut steps = Vec::with_capacity(listed.common_prefixes.len());
        for directory in listed.common_prefixes {
            let name = directory.filename().unwrap_or_default();
            if is_hidden(name) {
                continue;
            }
            let value = self.value(step.values.len(), name, &directory)?;
            let mut values = step.values.clone();
            values.push(value);
            steps.push(Step { directory, values });
        }
        Ok(steps)
    }

    /// Returns all files below a directory, reading the values of the columns that are left from their paths.
    async fn list_below(&self, step: Step) -> Result<Vec<FileEntry>> {
        let mut listed = self.store.list(Some(&step.directory));
        let mut entries = Vec::new();
        while let Some(meta) = listed.try_next().await? {
            if self.hidden_below(&step.directory, &meta.location) {
                continue;
            }
            self.refuse_packed(&meta)?;
            self.refuse_other_format(&meta)?;
            if !self.wants(&meta) {
                continue;
            }
            let partition_values = self.values(&step, &meta.location)?;
            entries.push(FileEntry::new(meta, partition_values));
        }
        Ok(entries)
    }

    fn wants(&self, meta: &ObjectMeta) -> bool {
        let name = meta.location.filename().unwrap_or_default();
        let is_of = |only| Format::of_name(name).is_some_and(|named| named.format == only);
        self.counts(meta) && self.only.is_none_or(is_of)
    }

    /// Returns whether a file is one that is looked at, whatever it holds.
    fn counts(&self, meta: &ObjectMeta) -> bool {
        meta.size > 0
            && !is_hidden(meta.location.filename().unwrap_or_default())
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&meta.location))
    }

    fn refuse_packed(&self, meta: &ObjectMeta) -> Result<()> {
        if self.counts(meta) { refuse_packed(&meta.location, self.declared) } else { Ok(()) }
    }

    /// A file of another format has rows, too, which would be missing.
    fn refuse_other_format(&self, meta: &ObjectMeta) -> Result<()> {
        let Some(only) = self.only.filter(|_| self.counts(meta)) else { return Ok(()) };
        let name = meta.location.filename().unwrap_or_default();
        let Some(named) = Format::of_name(name).filter(|named| named.format != only) else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::BadFileFormat,
            format!(
                "\"{}\" holds files of more than one format: {} and \"{}\", which is {}",
                self.root,
                only.name(),
                meta.location,
                named.format.name()
            ),
        )
        .with_hint("Keep the files of a table in a directory of their own."))
    }

    fn hidden_below(&self, directory: &Path, file: &Path) -> bool {
        let Some(parts) = file.prefix_match(directory) else { return true };
        parts.into_iter().any(|part| is_hidden(part.as_ref()))
    }

    fn values(&self, step: &Step, file: &Path) -> Result<Vec<ScalarValue>> {
        let mut values = step.values.clone();
        if values.len() == self.partition_columns.len() {
            return Ok(values);
        }
        let parts = file.prefix_match(&step.directory).into_iter().flatten().collect::<Vec<_>>();
        let n_directories = parts.len().saturating_sub(1);
        for part in parts.iter().take(n_directories) {
            if values.len() == self.partition_columns.len() {
                break;
            }
            values.push(self.value(values.len(), part.as_ref(), file)?);
        }
        if values.len() < self.partition_columns.len() {
            return Err(self.stray(file));
        }
        Ok(values)
    }

    fn value(&self, column: usize, name: &str, path: &Path) -> Result<ScalarValue> {
        let field = &self.partition_columns[column];
        match partitions::split(name) {
            Some((key, value)) if key.eq_ignore_ascii_case(field.name()) => {
                let value = partitions::value(value.as_deref(), field.data_type(), path.as_ref())?;
                let Some(lengths) = &self.lengths else { return Ok(value) };
                let fitted = lengths.value(field.name(), value);
                fitted.map_err(|error| error.with_context("file", path.to_string()))
            }
            _ => Err(self.stray(path)),
        }
    }

    fn stray(&self, path: &Path) -> Error {
        let expected = self
            .partition_columns
            .iter()
            .map(|field| format!("{}=…", field.name()))
            .collect::<Vec<_>>()
            .join("/");
        Error::new(
            ErrorKind::BadFileFormat,
            format!("\"{path}\" does not lie in partition directories {expected}"),
        )
        .with_hint("Files of a partitioned table lie in directories of the same keys in the same order. Move it.")
    }
}

/// A table of exactly one file.
#[derive(Debug)]
pub(crate) struct OneFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    /// What users call the root of the store.
    pub(crate) place: String,
    /// The columns that are declared with a length.
    pub(crate) lengths: Option<Arc<TextLengths>>,
    /// What the columns were found in.
    pub(crate) seen: Option<Seen>,
}

impl FileLister for OneFile {
    fn list<'a>(&'a self, _: &'a [Predicate]) -> BoxFuture<'a, Result<Vec<FileEntry>>> {
        Box::pin(async move {
            use object_store::ObjectStoreExt;
            let meta = self.store.head(&self.path).await.map_err(Error::from);
            let meta = meta.map_err(|error| in_place(error, &self.place, &self.path))?;
            Ok(vec![FileEntry::new(meta, Vec::new())])
        })
    }

    fn changed(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            Ok(match &self.seen {
                Some(seen) => seen.is_outdated(self).await,
                None => false,
            })
        })
    }

    fn text_lengths(&self) -> Option<Arc<TextLengths>> {
        self.lengths.clone()
    }
}
