//! One write to a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions,
    new_null_array,
};
use arrow::compute::{
    CastOptions, cast_with_options, filter, filter_record_batch, is_not_null, partition,
};
use arrow::datatypes::{DataType, Int8Type, Schema, TimeUnit, TimestampNanosecondType, UInt64Type};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use futures::future::BoxFuture;
use maru_connect::{
    BatchStream, Committed, NewTable, OpenedStore, Overwritten, RowOp, WriteJob, WriteMode,
    WriteRequest, Written, check_not_null,
};
use maru_core::{Error, ErrorKind, Result, limits};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{Change, Meeting, commit};
use super::demands::{self, Effect};
use super::files::{Added, Files, Making, compression};
use super::partition::{check_type, directory, text_of, value_at};
use super::{checkpoint, now_ms, types};
use crate::delta::action::{Add, Line, Metadata, Protocol};
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
enum Effects {
    Append,
    /// The table is another one from now on, or a new one.
    Create,
    Overwrite(Overwritten),
    /// Rows that stay come again; what is done stands behind the columns, and before it the row's number if there is one.
    Rewrite {
        numbered: bool,
        moved: bool,
    },
}

#[derive(Debug)]
struct DeltaJob {
    log: Arc<Log>,
    /// The name that errors call the table by.
    relation: String,
    effects: Effects,
    /// What the change is made to.
    base: Option<Arc<Snapshot>>,
    making: Arc<Making>,
    columns: Columns,
    /// The table's columns as they are declared, with what may not be NULL.
    declared: Schema,
    /// For each column in the files, and then for each partition column, where it stands in the rows that come.
    places: Vec<Option<usize>>,
    sorted_by: Vec<usize>,
    /// Lines of the commit besides those of files: protocol, columns, transaction.
    lines: Vec<Value>,
    keeps_times: bool,
    /// Commits between checkpoints, as the table has it.
    interval: Option<String>,
    once: Option<(String, i64)>,
    already: bool,
    n_streams: AtomicUsize,
    done: Mutex<Done>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Done {
    added: Vec<Added>,
    /// Values of the partitions that were written to.
    partitions: BTreeSet<Vec<Option<String>>>,
    /// Those of them in which something was done to rows that are there.
    changed: BTreeSet<Vec<Option<String>>>,
    n_rows: u64,
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
        WriteMode::Rewrite { numbered, moved } => {
            Effects::Rewrite { numbered: *numbered, moved: *moved }
        }
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
    let effect = if effects == Effects::Append { Effect::Adds } else { Effect::Removes };
    let (old_protocol, old_metadata) = match &base {
        Some(base) => base.shape()?,
        None => (&protocol, &metadata),
    };
    demands::check(&opened.path, old_protocol, old_metadata, mapping, effect)?;
    let columns = schema::columns(&opened.path, &metadata, Mapping::None)?;
    let declared = declared(&metadata, &columns);
    let places = places(relation, &columns, &declared, &request.columns)?;
    let partition_columns =
        columns.partitions.iter().map(|column| column.field.name().clone()).collect::<Vec<_>>();
    for column in &columns.partitions {
        check_type(column.field.name(), column.field.data_type())?;
    }
    if let Effects::Overwrite(Overwritten::Partitions { fixed }) = &effects {
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

/// Returns columns and protocol of a new table, as the log has them.
fn made(new: &NewTable, request: &WriteRequest, base: Option<&Snapshot>) -> Result<(Value, Value)> {
    if !new.primary_key.is_empty() {
        return Err(Error::unsupported("a Delta Lake table has no PRIMARY KEY")
            .with_hint("Leave it out; MERGE INTO goes by any columns."));
    }
    let schema = types::schema_of(&request.columns)?;
    let mut id = Uuid::new_v4().to_string();
    let mut protocol = demands::of_new(&request.columns);
    if let Some(base) = base {
        // It stays the same table for those who follow its log.
        let (old, metadata) = base.shape()?;
        if !metadata.id.is_empty() {
            id.clone_from(&metadata.id);
        }
        protocol = demands::extended(old, &request.columns).unwrap_or_else(|| old.json());
    }
    let metadata = json!({
        "id": id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(),
        "partitionColumns": new.partitioned_by,
        "configuration": {},
        "createdTime": now_ms(),
        "description": new.comment,
    });
    Ok((metadata, protocol))
}

/// Returns files' columns and then partition columns, with what may not be NULL.
fn declared(metadata: &Metadata, columns: &Columns) -> Schema {
    let schema = serde_json::from_str::<Value>(&metadata.schema_string).unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_nullable = |name: &str| {
        fields
            .iter()
            .find(|field| field.get("name").and_then(Value::as_str) == Some(name))
            .and_then(|field| field.get("nullable")?.as_bool())
            .unwrap_or(true)
    };
    let all = columns.in_files.iter().chain(&columns.partitions).map(|column| {
        let field = column.field.as_ref().clone();
        let nullable = is_nullable(field.name());
        field.with_nullable(nullable)
    });
    Schema::new(all.collect::<Vec<_>>())
}

/// Finds each of the table's columns among those that come.
fn places(
    relation: &str,
    columns: &Columns,
    declared: &Schema,
    given: &Schema,
) -> Result<Vec<Option<usize>>> {
    let all = columns.in_files.iter().chain(&columns.partitions);
    let places = all.map(|column| given.index_of(column.field.name()).ok()).collect::<Vec<_>>();
    for (field, place) in declared.fields().iter().zip(&places) {
        if place.is_none() && !field.is_nullable() {
            return Err(Error::new(
                ErrorKind::NotNullViolation,
                format!(
                    "null value in column \"{}\" of relation \"{relation}\" violates not-null constraint",
                    field.name()
                ),
            )
            .with_detail("The statement gives no value for it."));
        }
    }
    Ok(places)
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
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 || self.already {
                continue;
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
                continue;
            }
            let batch = self.convert(&batch)?;
            let in_files = batch.project(&(0..n_in_files).collect::<Vec<_>>())?;
            let keys = &batch.columns()[n_in_files..];
            if keys.is_empty() {
                files.write(&[], String::new, &in_files).await?;
                continue;
            }
            for range in partition(keys)?.ranges() {
                let values = self.partition_at(keys, range.start)?;
                if seen.insert(values.clone()) {
                    self.note_partition(&values)?;
                }
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

    fn partition_at(&self, keys: &[ArrayRef], row: usize) -> Result<Vec<Option<String>>> {
        let names = self.making.partition_columns.iter();
        names.zip(keys).map(|(name, values)| text_of(name, &value_at(values, row)?)).collect()
    }

    /// Looks at what was done to rows, and leaves out those that are deleted. Returns the others, and how many changed.
    fn rewritten(&self, batch: RecordBatch, numbered: bool) -> Result<(RecordBatch, u64)> {
        let wrong = || Error::internal("rows came without what was done to them");
        let last = batch.num_columns().checked_sub(1).ok_or_else(wrong)?;
        let ops = batch.column(last).as_primitive_opt::<Int8Type>().ok_or_else(wrong)?.clone();
        let n_changed = ops.len() - ops.null_count();
        let mut stays = vec![true; batch.num_rows()];
        if numbered {
            let numbers = last.checked_sub(1).map(|at| batch.column(at));
            let numbers = numbers.and_then(|n| n.as_primitive_opt::<UInt64Type>());
            let numbers = numbers.ok_or_else(wrong)?;
            let mut seen = self.seen.lock();
            for (row, number) in numbers.iter().enumerate() {
                if let Some(number) = number {
                    stays[row] = seen.note(number, ops.is_valid(row))?;
                }
            }
        }
        self.note_changes(&batch, &ops)?;
        let deleted = RowOp::Delete as i8;
        for (row, stays) in stays.iter_mut().enumerate() {
            *stays = *stays && (ops.is_null(row) || ops.value(row) != deleted);
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(stays))?;
        Ok((kept, n_changed as u64))
    }

    /// Notes in which partitions rows were changed.
    fn note_changes(&self, batch: &RecordBatch, ops: &Int8Array) -> Result<()> {
        if ops.null_count() == ops.len() {
            return Ok(());
        }
        let places = &self.places[self.columns.in_files.len()..];
        let mut changed = BTreeSet::new();
        if places.is_empty() {
            changed.insert(Vec::new());
        } else {
            let is_changed = is_not_null(ops)?;
            let keys = places.iter().zip(&self.columns.partitions).map(|(place, column)| {
                let place =
                    place.ok_or_else(|| Error::internal("a partition column is missing"))?;
                let values = filter(batch.column(place), &is_changed)?;
                convert(&values, column.field.data_type())
            });
            let keys = keys.collect::<Result<Vec<_>>>()?;
            for range in partition(&keys)?.ranges() {
                changed.insert(self.partition_at(&keys, range.start)?);
            }
        }
        self.done.lock().changed.extend(changed);
        Ok(())
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

    /// Returns whether the write takes a file away. What is not known of a file's partition may be in one.
    fn replaces(
        &self,
        values: impl Fn(&str) -> Option<Option<String>>,
        done: &Done,
    ) -> Result<bool> {
        let names = &self.making.partition_columns;
        let fixed = match &self.effects {
            Effects::Append => return Ok(false),
            Effects::Create | Effects::Overwrite(Overwritten::Table) => return Ok(true),
            Effects::Rewrite { moved: true, .. } => return Ok(!done.changed.is_empty()),
            Effects::Rewrite { moved: false, .. } => {
                let found = names.iter().map(|name| values(name)).collect::<Option<Vec<_>>>();
                return Ok(found.is_none_or(|found| done.changed.contains(&found)));
            }
            Effects::Overwrite(Overwritten::Partitions { fixed }) => fixed,
        };
        for (name, value) in fixed {
            let wanted = self.fixed_text(name, value)?;
            if values(name).is_some_and(|found| found != wanted) {
                return Ok(false);
            }
        }
        if fixed.len() == names.len() {
            return Ok(true);
        }
        let Some(found) = names.iter().map(|name| values(name)).collect::<Option<Vec<_>>>() else {
            return Ok(true);
        };
        Ok(done.partitions.contains(&found))
    }

    fn fixed_text(&self, name: &str, value: &ScalarValue) -> Result<Option<String>> {
        let field = self.declared.field_with_name(name)?;
        text_of(name, &value.cast_to(field.data_type())?)
    }

    async fn publish(&self) -> Result<Committed> {
        if self.already {
            let version = self.base.as_ref().map(|base| base.version);
            return Ok(Committed { n_rows: 0, version, already: true });
        }
        let mut done = std::mem::take(&mut *self.done.lock());
        if let Effects::Rewrite { moved, .. } = self.effects {
            // Partitions in which nothing was done stay what they are.
            let (added, unneeded) = std::mem::take(&mut done.added)
                .into_iter()
                .partition::<Vec<_>, _>(|added| match moved {
                    true => !done.changed.is_empty(),
                    false => done.changed.contains(&added.partition),
                });
            done.added = added;
            let unneeded = unneeded.into_iter().map(|added| added.place).collect();
            remove(&self.making.store, &Mutex::new(unneeded)).await;
            if done.changed.is_empty() {
                let version = self.base.as_ref().map(|base| base.version);
                return Ok(Committed { n_rows: 0, version, already: false });
            }
        }
        let mut lines = self.lines.clone();
        for file in self.base.iter().flat_map(|base| base.files()) {
            let values = |name: &str| Some(normal(file.add.partition_values.get(name)?.clone()));
            if self.replaces(values, &done)? {
                lines.push(removal(&file.add));
            }
        }
        let parameters = match &self.effects {
            Effects::Append => json!({"mode": "Append"}),
            Effects::Create => json!({
                "partitionBy": json!(self.making.partition_columns).to_string(), "isManaged": "false",
            }),
            Effects::Overwrite(_) => json!({"mode": "Overwrite"}),
            Effects::Rewrite { .. } => json!({}),
        };
        let operation = match (&self.effects, &self.base) {
            (Effects::Create, Some(_)) => "CREATE OR REPLACE TABLE AS SELECT",
            (Effects::Create, None) => "CREATE TABLE AS SELECT",
            (Effects::Rewrite { .. }, _) => "MERGE",
            _ => "WRITE",
        };
        // A version that changes nothing is none.
        if self.effects == Effects::Append && done.added.is_empty() && self.once.is_none() {
            let version = self.base.as_ref().map(|base| base.version);
            return Ok(Committed { n_rows: done.n_rows, version, already: false });
        }
        lines.extend(done.added.iter().map(|added| added.line.clone()));
        let change = Change {
            attempt: self.making.attempt.clone(),
            operation,
            parameters,
            base: self.base.as_ref().map(|base| base.version),
            keeps_times: self.keeps_times,
            lines,
            n_rows: done.n_rows,
        };
        let version = commit(&self.log, &change, |theirs| self.meets(theirs, &done)).await?;
        checkpoint::maybe(&self.log, version, self.interval.as_deref()).await;
        Ok(Committed { n_rows: done.n_rows, version: Some(version), already: false })
    }

    fn meets(&self, theirs: &[Line], done: &Done) -> Meeting {
        for line in theirs {
            if line.meta_data.is_some() || line.protocol.is_some() {
                return Meeting::Clashes("it changed the table's columns or properties");
            }
            if let (Some(txn), Some((name, number))) = (&line.txn, &self.once)
                && txn.app_id == *name
            {
                return match txn.version >= *number {
                    true => Meeting::Same,
                    false => Meeting::Clashes("it is of the same work"),
                };
            }
            if self.effects == Effects::Append {
                continue;
            }
            let touches = |known: Option<&std::collections::HashMap<String, Option<String>>>| {
                let values = |name: &str| Some(normal(known?.get(name)?.clone()));
                self.replaces(values, done).unwrap_or(true)
            };
            let added = line.add.as_ref().map(|add| touches(Some(&add.partition_values)));
            let removed =
                line.remove.as_ref().map(|remove| touches(remove.partition_values.as_ref()));
            if added == Some(true) || removed == Some(true) {
                return Meeting::Clashes("it changed rows that this statement replaces");
            }
        }
        Meeting::Passes
    }
}

/// Which rows of the table have come, and which of them were changed: two bits for each.
#[derive(Debug, Default)]
struct Seen(Vec<u64>);

impl Seen {
    /// Returns whether the row has not come before.
    fn note(&mut self, number: u64, changed: bool) -> Result<bool> {
        let at = usize::try_from(number / 32).unwrap_or(usize::MAX);
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let shift = (number % 32) * 2;
        let before = (self.0[at] >> shift) & 3;
        if before != 0 && (changed || before & 2 != 0) {
            return Err(Error::new(
                ErrorKind::Cardinality,
                "MERGE command cannot affect row a second time",
            )
            .with_detail("More than one row of the source matches one row of the target.")
            .with_hint("Ensure that not more than one source row matches any one target row."));
        }
        self.0[at] |= (1 | u64::from(changed) << 1) << shift;
        Ok(before == 0)
    }
}

/// An empty text stands for NULL in the log.
fn normal(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

/// Returns the line that takes a file away.
pub(super) fn removal(add: &Add) -> Value {
    let mut remove = json!({
        "path": add.path,
        "deletionTimestamp": now_ms(),
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": add.partition_values,
        "size": add.size,
    });
    if let Some(vector) = &add.deletion_vector {
        remove["deletionVector"] = vector.json();
    }
    json!({ "remove": remove })
}

/// Brings values to the type that the files have.
fn convert(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    if let (
        DataType::Timestamp(TimeUnit::Nanosecond, _),
        DataType::Timestamp(TimeUnit::Microsecond, _),
    ) = (values.data_type(), to)
    {
        let nanos = values.as_primitive::<TimestampNanosecondType>();
        if nanos.iter().flatten().any(|value| value % 1000 != 0) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "a timestamp has digits below the microsecond, which a Delta Lake table does not keep",
            )
            .with_hint("Cut them off: date_trunc('microsecond', …)."));
        }
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(values, to, &options)?)
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
        };
        let by = match self.making.partition_columns.as_slice() {
            [] => String::new(),
            columns => format!(", partitioned by {}", columns.join(", ")),
        };
        let version = self.base.as_ref().map_or(0, |base| base.version + 1);
        format!("{what}{by}, one commit to the log (version {version} or later)")
    }

    fn max_streams(&self) -> usize {
        usize::MAX
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

/// Removes files that no commit names.
async fn remove(store: &Arc<dyn ObjectStore>, begun: &Mutex<Vec<Path>>) {
    let paths = std::mem::take(&mut *begun.lock());
    for path in paths {
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(%path, %error, "could not remove a file that was not committed")
            }
        }
    }
}
