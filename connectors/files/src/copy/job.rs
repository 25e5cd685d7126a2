//! One `COPY … TO`, from its first row to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, partition};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use futures::future::{BoxFuture, FutureExt};
use maru_connect::{
    Ahead, BatchStream, Committed, FileMaking, Files, OpenFile, RowFormat, WriteJob, Written,
    check_text_type, partition_directory, partition_text, remove_files,
};
use maru_core::{Error, ErrorKind, Result, fault, limits};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use parking_lot::Mutex;

/// Tells that all files are there.
const MARK: &str = "_SUCCESS";

/// Columns of the rows, and which of them are where.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) in_files: SchemaRef,
    /// Indexes into the rows: those in files, those of partitions.
    files: Vec<usize>,
    keys: Vec<usize>,
    names: Vec<String>,
}

impl Columns {
    pub(super) fn of(
        given: &SchemaRef,
        partition_by: &[String],
        format: &RowFormat,
    ) -> Result<Self> {
        let mut seen = Vec::new();
        for field in given.fields() {
            if seen.contains(&field.name()) {
                return Err(Error::new(
                    ErrorKind::DuplicateColumn,
                    format!("column \"{}\" specified more than once", field.name()),
                )
                .with_hint("Give the columns different names with AS."));
            }
            seen.push(field.name());
        }
        let mut keys = Vec::new();
        for name in partition_by {
            keys.push(given.index_of(name).map_err(|_| {
                Error::new(
                    ErrorKind::UndefinedColumn,
                    format!("column \"{name}\" named in PARTITION_BY does not exist"),
                )
            })?);
        }
        let files = (0..given.fields().len()).filter(|at| !keys.contains(at)).collect::<Vec<_>>();
        if files.is_empty() {
            return Err(Error::unsupported("rows of partition columns alone are not copied")
                .with_hint("Leave one column out of PARTITION_BY."));
        }
        let text = !matches!(format, RowFormat::Parquet { .. });
        let fields = files.iter().map(|at| {
            let field = given.field(*at);
            let data_type = plain(field.data_type());
            let checked = match text {
                true => check_text_type(&data_type, true),
                false => check_parquet_type(&data_type),
            };
            checked.map_err(|error| error.with_context("column", field.name().clone()))?;
            Ok(Arc::new(Field::new(field.name(), data_type, true)))
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let names = partition_by.to_vec();
        Ok(Self { in_files: Arc::new(Schema::new(fields)), files, keys, names })
    }
}

/// # Errors
/// 0A000 for types that Parquet, as it is written here, has not.
fn check_parquet_type(data_type: &DataType) -> Result<()> {
    use DataType as D;
    match data_type {
        D::Interval(_) => {
            Err(Error::unsupported("values of type interval cannot be written as Parquet")
                .with_hint("Write them as text: CAST(… AS text)."))
        }
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) | D::Map(item, _) => {
            check_parquet_type(item.data_type())
        }
        D::Struct(fields) => {
            fields.iter().try_for_each(|field| check_parquet_type(field.data_type()))
        }
        _ => Ok(()),
    }
}

/// Returns the plain form of a type: without the engine's own encodings, times in microseconds.
fn plain(data_type: &DataType) -> DataType {
    use DataType as D;
    let item = |field: &Arc<Field>| {
        Arc::new(Field::new(field.name(), plain(field.data_type()), field.is_nullable()))
    };
    match data_type {
        D::Utf8View | D::LargeUtf8 | D::Null => D::Utf8,
        D::BinaryView | D::LargeBinary | D::FixedSizeBinary(_) => D::Binary,
        D::Dictionary(_, value) => plain(value),
        D::Timestamp(_, zone) => {
            D::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        D::Date64 => D::Date32,
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Microsecond),
        D::Float16 => D::Float32,
        D::List(field)
        | D::LargeList(field)
        | D::ListView(field)
        | D::LargeListView(field)
        | D::FixedSizeList(field, _) => D::List(item(field)),
        D::Struct(fields) => D::Struct(fields.iter().map(item).collect()),
        D::Map(entries, sorted) => D::Map(item(entries), *sorted),
        other => other.clone(),
    }
}

#[derive(Debug)]
pub(super) struct CopyJob {
    pub(super) place: Path,
    pub(super) attempt: String,
    pub(super) single: bool,
    pub(super) of_objects: bool,
    pub(super) old: Vec<Path>,
    pub(super) columns: Columns,
    pub(super) making: Arc<FileMaking>,
    pub(super) n_streams: AtomicUsize,
    pub(super) n_rows: Mutex<u64>,
    pub(super) pending: Mutex<Option<OpenFile>>,
    pub(super) partitions: Mutex<BTreeSet<Vec<Option<String>>>>,
}

impl CopyJob {
    fn name(&self, stream: usize, n: usize) -> String {
        let (format, packing) = (self.making.format.extension(), self.making.packing.extension());
        format!("part-{stream:05}-{}-c{n:03}{format}{packing}", self.attempt)
    }

    /// Returns where a file comes to lie; one that is alone gets its place at the commit.
    fn path(&self, values: &[Option<String>], stream: usize, n: usize) -> Result<Path> {
        let name = self.name(stream, n);
        // A store of objects shows a file when it is complete.
        if self.single && self.of_objects {
            return Ok(self.place.clone());
        }
        if self.single {
            let mut parts = self.place.parts().collect::<Vec<_>>();
            parts.pop();
            let folder = parts.into_iter().collect::<Path>();
            return Ok(folder.join(format!(".{name}.tmp")));
        }
        let folder = partition_directory(&self.columns.names, values);
        let slash = if folder.is_empty() { "" } else { "/" };
        Path::parse(format!("{}/{folder}{slash}{name}", self.place))
            .map_err(|error| Error::internal("a file's name is none").with_cause(error))
    }

    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let columns =
            self.columns.files.iter().zip(self.columns.in_files.fields()).map(|(at, field)| {
                cast_with_options(batch.column(*at), field.data_type(), &options)
                    .map_err(|error| Error::from(error).or_context("column", field.name().clone()))
            });
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns.in_files), columns, &rows)?)
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
        let mut n_rows = 0;
        let mut ahead = Ahead::new(!self.columns.keys.is_empty());
        while let Some((in_files, parts)) = ahead
            .next(rows, |batch| {
                if batch.num_rows() == 0 {
                    return Ok(None);
                }
                n_rows += batch.num_rows() as u64;
                let in_files = self.convert(&batch)?;
                if self.columns.keys.is_empty() {
                    return Ok(Some((in_files, Vec::new())));
                }
                let keys = self.columns.keys.iter().map(|at| Arc::clone(batch.column(*at)));
                let keys = keys.collect::<Vec<_>>();
                let parts = partition(&keys)?.ranges().into_iter().map(|range| {
                    let named = self.columns.names.iter().zip(&keys);
                    let values = named.map(|(name, values)| {
                        let value = ScalarValue::try_from_array(values, range.start)?;
                        partition_text(name, &value.cast_to(&plain(values.data_type()))?)
                    });
                    let values = values.collect::<Result<Vec<_>>>()?;
                    self.note(&values)?;
                    Ok((values, range))
                });
                let parts = parts.collect::<Result<Vec<_>>>()?;
                Ok(Some((in_files, parts)))
            })
            .await?
        {
            if parts.is_empty() {
                files.write(&[], |n| self.path(&[], stream, n), &in_files).await?;
            }
            for (values, range) in parts {
                let part = in_files.slice(range.start, range.end - range.start);
                files.write(&values, |n| self.path(&values, stream, n), &part).await?;
            }
        }
        let n_bytes = match self.single {
            true => {
                let sealed = files.seal().await?;
                let n_bytes = sealed.as_ref().map_or(0, OpenFile::n_bytes);
                *self.pending.lock() = sealed;
                n_bytes
            }
            false => {
                files.end().await?;
                files.written.iter().map(|file| file.n_bytes).sum()
            }
        };
        *self.n_rows.lock() += n_rows;
        Ok(Written { n_rows, n_bytes })
    }

    fn note(&self, values: &[Option<String>]) -> Result<()> {
        let mut partitions = self.partitions.lock();
        partitions.insert(values.to_vec());
        if partitions.len() <= limits::WRITE_PARTITIONS_MAX {
            return Ok(());
        }
        let max = limits::WRITE_PARTITIONS_MAX;
        let message = format!("rows of more than {max} partitions in one statement");
        Err(Error::new(ErrorKind::LimitExceeded, message)
            .with_detail("The limit is write_partitions_max."))
    }

    async fn publish(&self) -> Result<Committed> {
        fault::point("copy.before_commit");
        let n_rows = *self.n_rows.lock();
        let store = &self.making.store;
        if self.single {
            let pending = self.pending.lock().take();
            let file = match pending {
                Some(file) => file,
                // A file without rows is one, too: with its header, or its columns.
                None => self.making.begin(self.path(&[], 0, 0)?)?,
            };
            let staged = file.path.clone();
            file.publish().await?;
            if staged != self.place {
                store.rename(&staged, &self.place).await?;
            }
            return Ok(Committed { n_rows, ..Committed::default() });
        }
        if n_rows == 0 && self.columns.keys.is_empty() {
            self.making.begin(self.path(&[], 0, 0)?)?.publish().await?;
        }
        // The mark of the old files goes first: without one a folder is not complete.
        let mark = self.place.clone().join(MARK);
        let (marks, files): (Vec<_>, Vec<_>) =
            self.old.iter().cloned().partition(|path| *path == mark);
        remove_files(store, marks).await?;
        remove_files(store, files).await?;
        fault::point("copy.before_mark");
        store.put(&mark, PutPayload::new()).await?;
        Ok(Committed { n_rows, ..Committed::default() })
    }

    async fn undo(&self) {
        let pending = self.pending.lock().take();
        if let Some(file) = pending {
            file.abort().await;
        }
        // What stands at the place itself is the old file as long as the new one is not complete.
        if !(self.single && self.of_objects) {
            self.making.remove().await;
        }
    }
}

impl WriteJob for CopyJob {
    fn describe(&self) -> String {
        let format = match &self.making.format {
            RowFormat::Parquet { .. } => "Parquet",
            RowFormat::Csv { .. } => "CSV",
            RowFormat::Json => "JSON lines",
            RowFormat::LazyText { .. } => "text",
        };
        let what = match self.single {
            true => format!("one {format} file"),
            false => format!("{format} files, {MARK} last"),
        };
        match self.columns.names.as_slice() {
            [] => what,
            names => format!("{what}, partitioned by {}", names.join(", ")),
        }
    }

    fn max_streams(&self) -> usize {
        if self.single { 1 } else { usize::MAX }
    }

    fn sorted_by(&self) -> Vec<usize> {
        self.columns.keys.clone()
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        self.write_stream(rows).boxed()
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        async move {
            let outcome = self.publish().await;
            if outcome.is_err() {
                self.undo().await;
            }
            outcome
        }
        .boxed()
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move { self.undo().await }.boxed()
    }
}
