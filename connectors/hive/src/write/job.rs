//! One write to a table that is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::compute::partition;
use futures::future::BoxFuture;
use hive_metastore::Table;
use maru_connect::{
    Ahead, BatchStream, Committed, FILE_BYTES, FileMaking, Files, OpenContext, OpenFile,
    Overwritten, Packing, RowFormat, WriteJob, WriteMode, WriteRequest, Written,
    partition_directory, partition_text,
};
use maru_core::{Error, ErrorKind, Result, limits};
use object_store::path::Path;
use parking_lot::Mutex;

use super::place::{Place, folder_of};
use super::target::Columns;
use super::{commit, create, journal, rows, target};
use crate::metastore::Metastore;

/// The values of a partition, as its name has them.
pub(super) type Values = Vec<Option<String>>;

/// What becomes of the rows that are there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    Create,
    Append,
    /// All rows are replaced.
    OverwriteTable,
    /// Those of the partitions that rows came for, and of all that have these values, by the numbers of their keys.
    OverwritePartitions(Vec<(usize, Option<String>)>),
}

#[derive(Debug)]
pub(super) struct HiveJob {
    pub(super) metastore: Arc<Metastore>,
    pub(super) context: OpenContext,
    pub(super) database: String,
    pub(super) name: String,
    /// As it was when the write began, or as it is to be made.
    pub(super) table: Table,
    pub(super) place: Place,
    pub(super) attempt: String,
    pub(super) effect: Effect,
    pub(super) columns: Columns,
    pub(super) places: Vec<Option<usize>>,
    pub(super) making: Arc<FileMaking>,
    /// The write that came last when this one began.
    pub(super) base: Option<String>,
    pub(super) n_streams: AtomicUsize,
    pub(super) done: Mutex<Done>,
    /// The one file of rows that are added to a table without partitions: complete, and without its name.
    pub(super) pending: Mutex<Option<OpenFile>>,
}

#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) partitions: BTreeMap<Values, Counts>,
    pub(super) n_rows: u64,
}

/// What was written for one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) n_rows: u64,
    pub(super) n_bytes: u64,
    pub(super) n_files: u64,
}

/// Begins a write.
///
/// # Errors
/// 0A000 for tables and statements that Maru does not write, 42P01.
pub(crate) async fn begin(
    metastore: Arc<Metastore>,
    context: OpenContext,
    request: WriteRequest,
) -> Result<Arc<dyn WriteJob>> {
    let (database, name) = (request.schema.clone(), request.table.clone());
    let table = metastore.table(&database, &name).await?.ok_or_else(|| {
        Error::new(ErrorKind::UndefinedTable, format!("table \"{database}.{name}\" does not exist"))
    })?;
    let found = target::of(&table, &database, &name)?;
    let effect = effect(&request, &found.columns, &name)?;
    if request.attempt.once.is_some() {
        return Err(Error::unsupported("a Hive table does not keep which work was done to it"));
    }
    let place = Place::of(&context, &table).await?;
    let base = journal::last(&place).await?;
    let places = rows::places(&found.columns, &request.columns);
    let single = effect == Effect::Append && found.columns.keys.is_empty();
    let making = FileMaking {
        store: Arc::clone(&place.opened.store),
        format: found.format,
        packing: Packing::None,
        schema: Arc::clone(&found.columns.in_files),
        file_bytes: if single { u64::MAX } else { FILE_BYTES },
        memory: request.memory.clone(),
        begun: Mutex::default(),
    };
    Ok(Arc::new(HiveJob {
        metastore,
        context,
        database,
        name,
        table,
        place,
        attempt: request.attempt.id,
        effect,
        columns: found.columns,
        places,
        making: Arc::new(making),
        base,
        n_streams: AtomicUsize::new(0),
        done: Mutex::default(),
        pending: Mutex::default(),
    }))
}

fn effect(request: &WriteRequest, columns: &Columns, name: &str) -> Result<Effect> {
    match &request.mode {
        WriteMode::Append => Ok(Effect::Append),
        WriteMode::Overwrite(Overwritten::Table) => Ok(Effect::OverwriteTable),
        WriteMode::Overwrite(Overwritten::Partitions { fixed, dynamic }) => {
            let keys = columns.key_names();
            if keys.is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("table \"{name}\" has no partitions"),
                )
                .with_hint("INSERT OVERWRITE without PARTITION replaces all rows."));
            }
            if let Some((other, _)) = fixed.iter().find(|(column, _)| !keys.contains(column)) {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("column \"{other}\" is not one that table \"{name}\" is partitioned by"),
                ));
            }
            if *dynamic && fixed.len() < keys.len() {
                return Ok(Effect::OverwritePartitions(Vec::new()));
            }
            let mut given = Vec::new();
            for (at, key) in keys.iter().enumerate() {
                if let Some((_, value)) = fixed.iter().find(|(column, _)| column == key) {
                    let value = columns.key_value(at, value.clone());
                    given.push((at, partition_text(key, &value)?));
                }
            }
            Ok(Effect::OverwritePartitions(given))
        }
        WriteMode::Upsert { .. } => Err(Error::unsupported(
            "a Hive table has no keys: ON CONFLICT is not supported",
        )
        .with_hint("Join with what is there, and INSERT OVERWRITE the partitions.")),
        WriteMode::Compact => Err(Error::internal("files of a Hive table are put together")),
        WriteMode::Change | WriteMode::Rewrite { .. } => Err(Error::unsupported(format!(
            "rows of Hive table \"{name}\" cannot be changed by UPDATE, DELETE or MERGE"
        ))
        .with_hint("Write the partitions anew: INSERT OVERWRITE … PARTITION (…) SELECT …, or keep the rows in a Delta Lake table.")),
        WriteMode::Create(_) => Ok(Effect::Create),
    }
}

impl HiveJob {
    pub(super) fn is_single(&self) -> bool {
        self.effect == Effect::Append && self.columns.keys.is_empty()
    }

    /// Returns whether a partition is replaced for the values that the statement gives, whatever rows came.
    pub(super) fn is_given(&self, values: &Values) -> bool {
        match &self.effect {
            Effect::OverwritePartitions(given) => {
                !given.is_empty() && given.iter().all(|(at, text)| values.get(*at) == Some(text))
            }
            _ => false,
        }
    }

    /// Returns the folder of a partition's new files, relative to the table's directory.
    pub(super) fn folder(&self, values: &Values) -> String {
        let folder = folder_of(&self.attempt);
        match values.as_slice() {
            [] => folder,
            values => {
                format!("{folder}/{}", partition_directory(&self.columns.key_names(), values))
            }
        }
    }

    fn file_name(&self, stream: usize, n: usize) -> String {
        let extension = self.making.format.extension();
        format!("part-{stream:05}-{}-c{n:03}{extension}", self.attempt)
    }

    /// Returns where a file of the stream comes to lie.
    fn path(&self, values: &Values, stream: usize, n: usize) -> Result<Path> {
        let name = self.file_name(stream, n);
        // Stores of objects show a file when it is complete, and rename none; others do it the other way round.
        if self.is_single() && self.place.is_of_objects() {
            return Ok(self.location_path()?.join(name.as_str()));
        }
        self.place.path(&format!("{}/{name}", self.folder(values)))
    }

    /// Returns where the table's files lie.
    pub(super) fn location_path(&self) -> Result<Path> {
        let storage = self.table.sd.as_ref();
        let location = storage.and_then(|sd| sd.location.as_deref()).unwrap_or_default();
        let rest = location.trim_end_matches('/').strip_prefix(self.place.root.as_str());
        match rest.unwrap_or_default().trim_matches('/') {
            "" => Ok(self.place.opened.path.clone()),
            rest => self.place.path(rest),
        }
    }

    async fn write_stream(self: Arc<Self>, mut rows: BatchStream) -> Result<Written> {
        let stream = self.n_streams.fetch_add(1, Ordering::Relaxed);
        let mut files = Files::new(Arc::clone(&self.making), stream);
        let written = self.write_rows(&mut rows, &mut files, stream).await;
        if written.is_err() {
            files.abort().await;
        }
        written
    }

    async fn write_rows(
        &self,
        rows: &mut BatchStream,
        files: &mut Files,
        stream: usize,
    ) -> Result<Written> {
        let mut n_rows = 0_u64;
        let mut ahead = Ahead::new(!self.columns.keys.is_empty());
        while let Some((in_files, parts)) = ahead
            .next(rows, |batch| {
                if batch.num_rows() == 0 {
                    return Ok(None);
                }
                n_rows += batch.num_rows() as u64;
                let (in_files, keys) = rows::convert(&self.columns, &self.places, &batch)?;
                if keys.is_empty() {
                    return Ok(Some((in_files, Vec::new())));
                }
                let parts = partition(&keys)?.ranges().into_iter().map(|range| {
                    let values = rows::partition_at(&self.columns, &keys, range.start)?;
                    self.note(&values)?;
                    Ok((values, range))
                });
                let parts = parts.collect::<Result<Vec<_>>>()?;
                Ok(Some((in_files, parts)))
            })
            .await?
        {
            if parts.is_empty() {
                let values = Vec::new();
                files.write(&values, |n| self.path(&values, stream, n), &in_files).await?;
            }
            for (values, range) in parts {
                let part = in_files.slice(range.start, range.end - range.start);
                files.write(&values, |n| self.path(&values, stream, n), &part).await?;
            }
        }
        let mut n_bytes = 0;
        if self.is_single() {
            let sealed = files.seal().await?;
            n_bytes = sealed.as_ref().map_or(0, OpenFile::n_bytes);
            *self.pending.lock() = sealed;
        } else {
            files.end().await?;
        }
        let mut done = self.done.lock();
        done.n_rows += n_rows;
        for file in files.written.drain(..) {
            n_bytes += file.n_bytes;
            let counts = done.partitions.entry(file.partition).or_default();
            counts.n_rows += file.n_rows;
            counts.n_bytes += file.n_bytes;
            counts.n_files += 1;
        }
        Ok(Written { n_rows, n_bytes })
    }

    fn note(&self, values: &Values) -> Result<()> {
        let mut done = self.done.lock();
        if done.partitions.contains_key(values) {
            return Ok(());
        }
        done.partitions.insert(values.clone(), Counts::default());
        if done.partitions.len() <= limits::WRITE_PARTITIONS_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "rows of more than {} partitions in one statement",
                limits::WRITE_PARTITIONS_MAX
            ),
        )
        .with_detail("The limit is write_partitions_max.")
        .with_hint("Partition by fewer columns or coarser values, or write in several statements."))
    }

    /// Removes all that the attempt has put down.
    pub(super) async fn remove(&self) {
        let pending = self.pending.lock().take();
        if let Some(file) = pending {
            file.abort().await;
        }
        self.making.remove().await;
        let Ok(folder) = self.place.path(&folder_of(&self.attempt)) else { return };
        super::upkeep::remove_folder(&self.place, &folder).await;
    }

    pub(super) fn named(&self, error: Error) -> Error {
        error.or_context("table", format!("{}.{}", self.database, self.name))
    }
}

impl WriteJob for HiveJob {
    fn describe(&self) -> String {
        let format = match &self.making.format {
            RowFormat::LazyText { .. } => "text",
            _ => "Parquet",
        };
        let what = match &self.effect {
            Effect::Create => {
                format!("makes a Hive table of {format} files, one change of the metastore")
            }
            Effect::Append if self.is_single() => {
                format!("adds one {format} file to the table's directory")
            }
            Effect::Append => format!(
                "adds {format} files, copies those of partitions that are there, one change of the metastore"
            ),
            Effect::OverwriteTable => {
                format!("{format} files in a new directory, one change of the metastore")
            }
            Effect::OverwritePartitions(_) => {
                format!(
                    "{format} files in new directories of the same partitions, one change of the metastore"
                )
            }
        };
        match self.columns.keys.is_empty() {
            true => what,
            false => format!("{what}, partitioned by {}", self.columns.key_names().join(", ")),
        }
    }

    fn max_streams(&self) -> usize {
        if self.is_single() { 1 } else { usize::MAX }
    }

    fn sorted_by(&self) -> Vec<usize> {
        let n_in_files = self.columns.in_files.fields().len();
        self.places[n_in_files..].iter().flatten().copied().collect()
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        Box::pin(self.write_stream(rows))
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        Box::pin(async move {
            let outcome = match self.effect {
                Effect::Create => create::publish(&self).await,
                _ => commit::publish(&self).await,
            };
            let outcome = outcome.map_err(|error| self.named(error));
            if let Err(error) = &outcome
                && error.kind() != ErrorKind::CommitUnknown
            {
                self.remove().await;
            }
            outcome
        })
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.remove().await })
    }
}
