//! One write to a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::partition;
use arrow::datatypes::Schema;
use futures::future::BoxFuture;
use maru_connect::{
    Ahead, BatchStream, Committed, OpenedStore, Overwritten, WriteJob, WriteMode, WriteRequest,
    Written, check_not_null,
};
use maru_core::{Error, ErrorKind, Result, limits};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::demands::{self, Effect};
use super::files::{Added, Files, Making, compression};
use super::now_ms;
use super::partition::{check_type, directory, text_of, value_at};
use super::publish::remove;
use super::rewrite::Seen;
use super::shape::{convert, declared, made, places};
use crate::delta::action::Protocol;
use crate::delta::constraints;
use crate::delta::features::{self, Mapping};
use crate::delta::log::Log;
use crate::delta::schema::{self, Columns};
use crate::delta::snapshot::Snapshot;

/// What lies at the place of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Nothing,
    Table,
}

/// What becomes of the rows that are there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effects {
    Append,
    /// The table is another one from now on, or a new one.
    Create,
    Overwrite(Overwritten),
    /// Rows that stay come again; what is done stands behind the columns, and before it the row's number if there is one.
    Rewrite {
        numbered: bool,
        moved: bool,
        what: &'static str,
    },
    /// The rows of some files come to be in fewer.
    Compact,
}

#[derive(Debug)]
pub(super) struct DeltaJob {
    pub(super) log: Arc<Log>,
    /// The name that errors call the table by.
    pub(super) relation: String,
    pub(super) effects: Effects,
    /// What the change is made to.
    pub(super) base: Option<Arc<Snapshot>>,
    pub(super) making: Arc<Making>,
    pub(super) columns: Columns,
    /// The table's columns as they are declared, with what may not be NULL.
    pub(super) declared: Schema,
    /// For each column in the files, and then for each partition column, where it stands in the rows that come.
    pub(super) places: Vec<Option<usize>>,
    pub(super) sorted_by: Vec<usize>,
    /// Lines of the commit besides those of files: protocol, columns, transaction.
    pub(super) lines: Vec<Value>,
    pub(super) keeps_times: bool,
    /// Commits between checkpoints, as the table has it.
    pub(super) interval: Option<String>,
    pub(super) once: Option<(String, i64)>,
    pub(super) already: bool,
    pub(super) n_streams: AtomicUsize,
    pub(super) done: Mutex<Done>,
    pub(super) seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) added: Vec<Added>,
    /// Values of the partitions that were written to.
    pub(super) partitions: BTreeSet<Vec<Option<String>>>,
    /// Those of them in which something was done to rows that are there.
    pub(super) changed: BTreeSet<Vec<Option<String>>>,
    pub(super) n_rows: u64,
    /// Rows of the table that came to be written anew.
    pub(super) n_came: u64,
}

/// Begins a write to the table at `opened.path`.
///
/// # Errors
/// 0A000 for what the table demands and is not met, 23502 for a column that must have a value and gets none.
pub(crate) async fn begin(
    opened: &OpenedStore,
    relation: &str,
    request: WriteRequest,
    existing: Existing,
) -> Result<Arc<dyn WriteJob>> {
    let log = Log::of(opened);
    let base = match existing {
        Existing::Nothing => None,
        Existing::Table => Some(log.in_statement(request.statement).await?),
    };
    let effects = match &request.mode {
        WriteMode::Create(_) => Effects::Create,
        WriteMode::Append => Effects::Append,
        WriteMode::Overwrite(what) => Effects::Overwrite(what.clone()),
        WriteMode::Upsert { .. } => {
            return Err(Error::unsupported(
                "a Delta Lake table has no keys: ON CONFLICT is not supported",
            )
            .with_hint("Use MERGE INTO."));
        }
        WriteMode::Rewrite { numbered, moved, what } => {
            Effects::Rewrite { numbered: *numbered, moved: *moved, what }
        }
        WriteMode::Compact => Effects::Compact,
        WriteMode::Change => {
            return Err(Error::unsupported(
                "rows of a Delta Lake table are not changed in their places",
            ));
        }
    };
    let (protocol, metadata, mut lines) = match (&request.mode, &base) {
        (WriteMode::Create(new), base) => {
            let (metadata, protocol) = made(new, &request, base.as_deref())?;
            let lines = vec![json!({ "protocol": protocol }), json!({ "metaData": metadata })];
            let parse = |value: Value| {
                serde_json::from_value(value)
                    .map_err(|error| Error::internal("a log of one's own").with_cause(error))
            };
            let protocol = serde_json::from_value::<Protocol>(protocol)
                .map_err(|error| Error::internal("a log of one's own").with_cause(error))?;
            (protocol, parse(metadata)?, lines)
        }
        (_, Some(base)) => {
            let (protocol, metadata) = base.shape()?;
            (protocol.clone(), metadata.clone(), Vec::new())
        }
        (_, None) => return Err(Error::internal("a write to a table that is not there")),
    };
    let mapping = features::check(&opened.path, &protocol, &metadata)?;
    // Files that are put together hold the same rows as before.
    let adds = matches!(effects, Effects::Append | Effects::Compact);
    let effect = if adds { Effect::Adds } else { Effect::Removes };
    let (old_protocol, old_metadata) = match &base {
        Some(base) => base.shape()?,
        None => (&protocol, &metadata),
    };
    demands::check(&opened.path, old_protocol, old_metadata, mapping, effect)?;
    if !matches!(effects, Effects::Create | Effects::Compact) {
        constraints::require_kept(relation, old_metadata, &request.checks)?;
    }
    let columns = schema::columns(&opened.path, &metadata, Mapping::None)?;
    let declared = declared(&metadata, &columns);
    let places = places(relation, &columns, &declared, &request.columns)?;
    let partition_columns =
        columns.partitions.iter().map(|column| column.field.name().clone()).collect::<Vec<_>>();
    for column in &columns.partitions {
        check_type(column.field.name(), column.field.data_type())?;
    }
    if let Effects::Overwrite(Overwritten::Partitions { fixed, .. }) = &effects {
        for (name, _) in fixed {
            if !partition_columns.contains(name) {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "column \"{name}\" is not one that table \"{relation}\" is partitioned by"
                    ),
                ));
            }
        }
        if partition_columns.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("table \"{relation}\" has no partitions"),
            )
            .with_hint("INSERT OVERWRITE without PARTITION replaces all rows."));
        }
    }
    let sorted_by = places[columns.in_files.len()..].iter().flatten().copied().collect();
    let fields = columns.in_files.iter().map(|column| Arc::clone(&column.field));
    let making = Making {
        store: Arc::clone(&opened.store),
        table: opened.path.clone(),
        attempt: request.attempt.id.clone(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        partition_columns,
        compression: compression(request.options.text("compression").unwrap_or("snappy"))?,
        memory: request.memory.clone(),
        begun: Mutex::default(),
    };
    if making.schema.fields().is_empty() {
        return Err(Error::unsupported("a table of partition columns alone cannot be written")
            .with_hint("Add a column that is none."));
    }
    let once = request.attempt.once.clone();
    let already = match (&once, &base) {
        (Some((name, number)), Some(base)) => {
            base.transaction(name).is_some_and(|last| last >= *number)
        }
        _ => false,
    };
    if let Some((name, number)) = &once {
        lines.push(json!({"txn": {"appId": name, "version": number, "lastUpdated": now_ms()}}));
    }
    Ok(Arc::new(DeltaJob {
        keeps_times: old_metadata.property("delta.enableInCommitTimestamps") == Some("true"),
        interval: old_metadata.property("delta.checkpointInterval").map(str::to_owned),
        log,
        relation: relation.to_owned(),
        effects,
        base,
        making: Arc::new(making),
        columns,
        declared,
        places,
        sorted_by,
        lines,
        once,
        already,
        n_streams: AtomicUsize::new(0),
        done: Mutex::default(),
        seen: Mutex::default(),
    }))
}

impl DeltaJob {
    /// Brings a batch to the columns of the table: those in the files, then those of partitions.
    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_rows = batch.num_rows();
        let columns = self.declared.fields().iter().zip(&self.places).map(|(field, place)| {
            let Some(place) = place else { return Ok(new_null_array(field.data_type(), n_rows)) };
            let values = batch.column(*place);
            convert(values, field.data_type())
                .map_err(|error| error.or_context("column", field.name().clone()))
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let fields =
            self.declared.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        check_not_null(&self.relation, &self.declared, &batch)?;
        Ok(batch)
    }

    async fn write_stream(self: Arc<Self>, mut rows: BatchStream) -> Result<Written> {
        let stream = self.n_streams.fetch_add(1, Ordering::Relaxed);
        let mut files = Files::new(Arc::clone(&self.making), stream);
        let mut seen = BTreeSet::new();
        let mut n_rows = 0_u64;
        let n_in_files = self.columns.in_files.len();
        let mut ahead = Ahead::new(!self.making.partition_columns.is_empty());
        while let Some((in_files, parts)) = ahead
            .next(&mut rows, |batch| {
                if batch.num_rows() == 0 || self.already {
                    return Ok(None);
                }
                let batch = match self.effects {
                    Effects::Rewrite { numbered, .. } => {
                        let (kept, n_changed) = self.rewritten(batch, numbered)?;
                        n_rows += n_changed;
                        kept
                    }
                    _ => {
                        n_rows += batch.num_rows() as u64;
                        batch
                    }
                };
                if batch.num_rows() == 0 {
                    return Ok(None);
                }
                let batch = self.convert(&batch)?;
                let in_files = batch.project(&(0..n_in_files).collect::<Vec<_>>())?;
                let keys = &batch.columns()[n_in_files..];
                if keys.is_empty() {
                    return Ok(Some((in_files, Vec::new())));
                }
                let ranges = partition(keys)?.ranges().into_iter().map(|range| {
                    let values = self.partition_at(keys, range.start)?;
                    if seen.insert(values.clone()) {
                        self.note_partition(&values)?;
                    }
                    Ok((values, range))
                });
                let parts = ranges.collect::<Result<Vec<_>>>()?;
                Ok(Some((in_files, parts)))
            })
            .await?
        {
            if parts.is_empty() {
                files.write(&[], String::new, &in_files).await?;
            }
            for (values, range) in parts {
                let part = in_files.slice(range.start, range.end - range.start);
                let names = &self.making.partition_columns;
                files.write(&values, || directory(names, &values), &part).await?;
            }
        }
        files.end().await?;
        let mut done = self.done.lock();
        done.added.append(&mut files.added);
        done.n_rows += n_rows;
        Ok(Written { n_rows, n_bytes: files.n_bytes })
    }

    pub(super) fn partition_at(
        &self,
        keys: &[ArrayRef],
        row: usize,
    ) -> Result<Vec<Option<String>>> {
        let names = self.making.partition_columns.iter();
        names.zip(keys).map(|(name, values)| text_of(name, &value_at(values, row)?)).collect()
    }

    fn note_partition(&self, values: &[Option<String>]) -> Result<()> {
        let mut done = self.done.lock();
        done.partitions.insert(values.to_vec());
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
}

impl WriteJob for DeltaJob {
    fn describe(&self) -> String {
        let what = match &self.effects {
            Effects::Append => "adds Parquet files",
            Effects::Create if self.base.is_some() => "Parquet files replace those there are",
            Effects::Create => "makes a Delta Lake table of Parquet files",
            Effects::Overwrite(Overwritten::Table) => "Parquet files replace those there are",
            Effects::Overwrite(Overwritten::Partitions { .. }) => {
                "Parquet files replace those of the same partitions"
            }
            Effects::Rewrite { .. } => {
                "Parquet files replace those of partitions with changed rows"
            }
            Effects::Compact => "fewer Parquet files with the same rows",
        };
        let by = match self.making.partition_columns.as_slice() {
            [] => String::new(),
            columns => format!(", partitioned by {}", columns.join(", ")),
        };
        let version = self.base.as_ref().map_or(0, |base| base.version + 1);
        format!("{what}{by}, one commit to the log (version {version} or later)")
    }

    fn max_streams(&self) -> usize {
        match self.effects {
            // Two streams would leave two files of each partition.
            Effects::Compact => 1,
            _ => usize::MAX,
        }
    }

    fn sorted_by(&self) -> Vec<usize> {
        self.sorted_by.clone()
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        Box::pin(self.write_stream(rows))
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        Box::pin(async move {
            let outcome = self.publish().await;
            if let Err(error) = &outcome
                && error.kind() == ErrorKind::Serialization
            {
                remove(&self.making.store, &self.making.begun).await;
            }
            outcome
        })
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { remove(&self.making.store, &self.making.begun).await })
    }
}
