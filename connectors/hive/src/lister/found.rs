//! Which partitions a filter leaves, and where they lie.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use hive_metastore::{Partition, StorageDescriptor};
use maru_connect::{FileFormatSpec, FileLayout, OpenedStore, Predicate};
use maru_core::{Error, Result};
use object_store::path::Path;
use parking_lot::Mutex;

use super::HiveFiles;
use crate::{filter, format, location, partition, spark, statistics};

/// Partitions that one call to the metastore asks for. In tests few, so that they see several calls.
const PARTITIONS_PER_CALL: usize = if cfg!(test) { 50 } else { 500 };
/// Calls to the metastore at once.
const CALLS: usize = 4;
/// Partitions of a table that are remembered.
const REMEMBERED_MAX: usize = 20_000;

/// Names that are believed for this long, as long as the metastore has as many of them.
const LISTED_TTL: Duration = Duration::from_secs(5);
/// Names of a table that are remembered.
const LISTED_MAX: usize = 200_000;

/// All partitions of a table, by name.
#[derive(Debug)]
pub(super) struct Listed {
    at: Instant,
    /// With the texts of their values.
    names: Vec<(String, Vec<String>)>,
    /// The values, once somebody has asked for them.
    values: OnceLock<Result<RecordBatch>>,
}

/// A directory of files, and what is known of all of them.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Path,
    pub(super) location: String,
    pub(super) values: Vec<ScalarValue>,
    pub(super) layout: Option<Arc<FileLayout>>,
    pub(super) n_rows: Option<usize>,
}

/// Partitions by the texts of their values. Which there are is asked each time; where and how one lies is believed as long
/// as the table's handle is.
pub(super) type Remembered = Mutex<HashMap<Vec<String>, Arc<Found>>>;

impl HiveFiles {
    /// Finds the partitions that the filters leave, in the order of their names or of the metastore.
    pub(super) async fn partitions<'a>(
        &'a self,
        filters: &'a [Predicate],
    ) -> Result<BoxStream<'a, Result<Arc<Found>>>> {
        let by_name = self.named_by(filters).is_some();
        if !by_name && let Some(partitions) = self.filtered(filters).await? {
            let found = move |partition| async move { self.found(partition).await.map(Arc::new) };
            return Ok(stream::iter(partitions).then(found).boxed());
        }
        let names = self.names(filters).await?;
        let mut chunks = Vec::with_capacity(names.len().div_ceil(PARTITIONS_PER_CALL));
        let mut names = names.into_iter().peekable();
        while names.peek().is_some() {
            chunks.push(names.by_ref().take(PARTITIONS_PER_CALL).collect::<Vec<_>>());
        }
        let found = stream::iter(chunks)
            .map(move |chunk| self.looked_up(chunk, !by_name))
            .buffered(CALLS)
            .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
            .try_flatten();
        Ok(found.boxed())
    }

    /// Returns whether a key has blanks at its end in names and in the metastore that its values do not have.
    fn has_padded_keys(&self) -> bool {
        let padded = self.padded.as_ref();
        padded.is_some_and(|padded| self.keys.iter().any(|key| padded.has(key.name())))
    }

    /// Returns the names of the only partitions that may satisfy the filters, if these tell them.
    fn named_by(&self, filters: &[Predicate]) -> Option<Vec<(String, Vec<String>)>> {
        if self.has_padded_keys() { None } else { filter::names(filters, &self.keys) }
    }

    /// Gives the texts of a partition the types of its keys.
    fn typed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<ScalarValue>> {
        let values = partition::typed(texts, &self.keys)?;
        let Some(padded) = &self.padded else { return Ok(values) };
        let values = values.into_iter().zip(&self.keys);
        values.map(|(value, key)| padded.value(key.name(), value)).collect()
    }

    /// Returns the names of the partitions that the filters leave, with the texts of their values.
    async fn names(&self, filters: &[Predicate]) -> Result<Vec<(String, Vec<String>)>> {
        if let Some(names) = self.named_by(filters) {
            return Ok(names);
        }
        let listed = self.listed().await?;
        if filters.is_empty() {
            return Ok(listed.names.clone());
        }
        let values = listed.values.get_or_init(|| {
            let typed = |(_, texts): &(_, Vec<_>)| self.typed(texts);
            let values = listed.names.iter().map(typed).collect::<Result<Vec<_>>>()?;
            partition::batch(&values, &self.keys)
        });
        let values = values.as_ref().map_err(|error| self.named(error.clone()))?;
        let keep = partition::keep(values, filters)?;
        let kept = listed.names.iter().zip(keep).filter(|(_, keep)| *keep);
        Ok(kept.map(|(one, _)| one.clone()).collect())
    }

    /// Returns all partitions. Whether those are still the ones that were listed a moment ago is told by their number.
    async fn listed(&self) -> Result<Arc<Listed>> {
        let known = self.learned.listed.lock().clone();
        if let Some(known) = known.filter(|known| known.at.elapsed() < LISTED_TTL)
            && self.metastore.n_partitions(&self.database, &self.name).await.ok()
                == Some(known.names.len())
        {
            return Ok(known);
        }
        let at = Instant::now();
        let names = self.metastore.partition_names(&self.database, &self.name).await?;
        let texts = names.iter().map(|name| partition::values_of(name, &self.keys));
        let texts = texts.collect::<Result<Vec<_>>>().map_err(|error| self.named(error))?;
        let names = names.into_iter().zip(texts).collect();
        let listed = Arc::new(Listed { at, names, values: OnceLock::new() });
        if listed.names.len() <= LISTED_MAX {
            *self.learned.listed.lock() = Some(Arc::clone(&listed));
        }
        Ok(listed)
    }

    /// Returns how many partitions there were when all were listed; 0 if they were not.
    pub(super) fn n_listed(&self) -> usize {
        self.learned.listed.lock().as_ref().map_or(0, |listed| listed.names.len())
    }

    /// Returns the partitions that satisfy what the metastore can be asked; `None` if that is nothing, or it will not.
    async fn filtered(&self, filters: &[Predicate]) -> Result<Option<Vec<Partition>>> {
        if self.has_padded_keys() {
            return Ok(None);
        }
        let Some(filter) = filter::text(filters, &self.keys) else { return Ok(None) };
        let found = self.metastore.filtered(&self.database, &self.name, &filter).await?;
        let Some(found) = found else { return Ok(None) };
        // What came back is only known not to be too little.
        let values = found
            .iter()
            .map(|partition| self.typed(partition.values.as_deref().unwrap_or_default()))
            .collect::<Result<Vec<_>>>()
            .map_err(|error| self.named(error))?;
        let keep = partition::keep(&partition::batch(&values, &self.keys)?, filters)?;
        Ok(Some(
            found.into_iter().zip(keep).filter_map(|(one, keep)| keep.then_some(one)).collect(),
        ))
    }

    /// Returns those of the named partitions that (still) exist, in their order. If they are `listed`, what is remembered of them
    /// is believed.
    async fn looked_up(
        &self,
        names: Vec<(String, Vec<String>)>,
        listed: bool,
    ) -> Result<Vec<Arc<Found>>> {
        let mut known = vec![None; names.len()];
        if listed {
            let remembered = self.learned.partitions.lock();
            known = names.iter().map(|(_, texts)| remembered.get(texts).cloned()).collect();
        }
        let unknown = names.iter().zip(&known).filter(|(_, found)| found.is_none());
        let unknown = unknown.map(|((name, _), _)| name.clone()).collect::<Vec<_>>();
        if unknown.is_empty() {
            return Ok(known.into_iter().flatten().collect());
        }
        let answer = self.metastore.partitions(&self.database, &self.name, &unknown).await?;
        let mut fresh = HashMap::with_capacity(answer.len());
        for partition in answer {
            let texts = partition.values.iter().flatten().map(ToString::to_string);
            let texts = texts.collect::<Vec<_>>();
            fresh.insert(texts, Arc::new(self.found(partition).await?));
        }
        for ((_, texts), found) in names.iter().zip(&mut known) {
            if found.is_none() {
                *found = fresh.get(texts).cloned();
            }
        }
        let mut remembered = self.learned.partitions.lock();
        let room = REMEMBERED_MAX.saturating_sub(remembered.len());
        remembered.extend(fresh.into_iter().take(room));
        Ok(known.into_iter().flatten().collect())
    }

    async fn found(&self, partition: Partition) -> Result<Found> {
        let texts = partition.values.as_deref().unwrap_or_default();
        let values = self.typed(texts).map_err(|error| self.named(error))?;
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
        let parameters = partition.parameters.as_ref();
        let n_rows = statistics::n_rows(|key| parameters?.get(key).map(|text| text.as_str()));
        Ok(Found { path, location: location.to_owned(), values, layout, n_rows })
    }

    /// Returns the format of a partition, which keeps the one it was written in, and the columns, when the table's are
    /// changed.
    fn format_of(&self, storage: &StorageDescriptor) -> Result<FileFormatSpec> {
        // Where Spark gave the metastore a stand-in, it did so for each partition.
        if spark::is_stand_in(&self.table, storage) {
            return Ok(self.format.clone());
        }
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
}

/// Appends a path as text to `base`, character by character.
pub(super) fn literal(base: &Path, below: &str) -> Result<Path> {
    let base = base.as_ref();
    let path =
        if base.is_empty() { Path::parse(below) } else { Path::parse(format!("{base}/{below}")) };
    Ok(path.map_err(object_store::Error::from)?)
}
