//! Delimited text and JSON lines, and Avro: a file source of our own.
//!
//! DataFusion's reader for CSV takes a newline inside quotes for the end of a row when it splits a file, does not tell
//! an empty field from a quoted empty one, knows an escape only inside quotes, reads only the first part of
//! concatenated bzip2 or zstd, and does not know the line of an error. Here bytes are cut into records by
//! [`records`], which counts lines; columns are built by [`csv`] and [`json`]. [`avro`] cuts blocks instead of
//! records.

mod avro;
mod bytes;
mod csv;
mod foreign;
pub(crate) mod hive;
mod json;
mod json_text;
mod records;
mod sample;
mod trimmed;
mod typed;

use std::fmt;
use std::sync::Arc;

use ::bytes::Bytes;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_scan_config::FileScanConfig;
use datafusion_datasource::file_stream::{FileOpenFuture, FileOpener};
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion_datasource::{PartitionedFile, TableSchema};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use maru_core::{Error, Result};
use object_store::ObjectStore;
use object_store::path::Path;

pub(super) use self::bytes::{Contents, read};
use avro::AvroDecoder;
pub(super) use avro::AvroSample;
use csv::CsvDecoder;
pub(super) use csv::Dialect;
use hive::HiveDecoder;
use json::JsonDecoder;
pub(super) use json::JsonSample;
pub(super) use sample::CsvSample;
use trimmed::Trimmed;

use super::file_error::in_file;
use super::label::Label;
use super::lengths::{self, TextLengths};
use crate::{FileFormatSpec, FileTable, in_place, root_of};

/// Reads texts as values of a nested type: JSON as `COPY … TO` writes it, lists also as PostgreSQL does.
///
/// # Errors
/// 22P04 for what is no JSON, 22P02 and 22003 for values that are none of the type.
pub fn read_nested(texts: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    json::nested(texts.as_string(), data_type)
}

/// Turns the bytes of one file into batches.
pub(super) trait Decoder: Send {
    /// Takes more bytes; `last` says that none follow. Returns the batches that are full.
    ///
    /// # Errors
    /// 22P04 with the line for a line that does not fit, 54000 for one that is too long.
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>>;

    /// Says which line of the file the first bytes belong to, where lines before them were dropped.
    fn begins_at_line(&mut self, _line: u64) {}
}

/// Returns the source that reads the table's files.
pub(super) fn source(
    table: &FileTable,
    schema: TableSchema,
    label: Arc<Label>,
) -> Result<Arc<dyn FileSource>> {
    Ok(Arc::new(TextSource {
        format: Arc::new(table.format.clone()),
        projection: SplitProjection::unprojected(&schema),
        schema,
        lengths: table.files.text_lengths(),
        root: root_of(&table.store_url).into(),
        label,
        batch_rows: maru_core::limits::BATCH_ROWS,
        metrics: ExecutionPlanMetricsSet::new(),
    }))
}

#[derive(Clone)]
pub(super) struct TextSource {
    format: Arc<FileFormatSpec>,
    schema: TableSchema,
    lengths: Option<Arc<TextLengths>>,
    /// What users call the root of the store.
    root: Arc<str>,
    projection: SplitProjection,
    pub(super) label: Arc<Label>,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl FileSource for TextSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        let opener = TextOpener {
            format: Arc::clone(&self.format),
            schema: Arc::clone(self.schema.file_schema()),
            columns: self.projection.file_indices.clone(),
            lengths: self.lengths.clone(),
            root: Arc::clone(&self.root),
            store,
            batch_rows: self.batch_rows,
            bytes_scanned: MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition),
        };
        ProjectionOpener::try_new(
            self.projection.clone(),
            Arc::new(opener),
            self.schema.file_schema(),
        )
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, batch_rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows, ..self.clone() })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> DfResult<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        match *self.format {
            FileFormatSpec::Json | FileFormatSpec::HiveJson { .. } => "json",
            FileFormatSpec::Avro | FileFormatSpec::HiveAvro => "avro",
            FileFormatSpec::LazyText(_)
            | FileFormatSpec::Pattern { .. }
            | FileFormatSpec::Trimmed { .. } => "text",
            _ => "csv",
        }
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(kind, DisplayFormatType::TreeRender) {
            return Ok(());
        }
        write!(f, ", {}", self.label)
    }

    /// A file is read whole: a newline may lie inside quotes, compressed bytes have no middle, and the line of an
    /// error must be right.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(self.projection.source.iter(), f)
    }
}

struct TextOpener {
    format: Arc<FileFormatSpec>,
    schema: SchemaRef,
    /// Columns to read, by index into `schema`.
    columns: Vec<usize>,
    lengths: Option<Arc<TextLengths>>,
    root: Arc<str>,
    store: Arc<dyn ObjectStore>,
    batch_rows: usize,
    bytes_scanned: Count,
}

impl TextOpener {
    fn decoder(&self, format: &FileFormatSpec, path: &Path) -> Result<Box<dyn Decoder>> {
        let schema = Arc::clone(&self.schema);
        if let FileFormatSpec::Trimmed { header, footer, rows } = format {
            let rows = self.decoder(rows, path)?;
            return Ok(Box::new(Trimmed::new(rows, *header, *footer, path)));
        }
        let hive = HiveDecoder::of(format, &schema, &self.columns, self.batch_rows, path)?;
        if let Some(hive) = hive {
            return Ok(Box::new(hive));
        }
        if matches!(format, FileFormatSpec::Avro | FileFormatSpec::HiveAvro) {
            let hive = matches!(format, FileFormatSpec::HiveAvro);
            let path = path.clone();
            let avro = AvroDecoder::new(&schema, &self.columns, self.batch_rows, path, hive)?;
            return Ok(Box::new(avro));
        }
        Ok(match Dialect::of(format) {
            Some(dialect) => Box::new(CsvDecoder::new(
                dialect,
                schema,
                &self.columns,
                self.batch_rows,
                path.clone(),
            )?),
            None => {
                Box::new(JsonDecoder::new(&schema, &self.columns, self.batch_rows, path.clone())?)
            }
        })
    }
}

impl FileOpener for TextOpener {
    fn open(&self, file: PartitionedFile) -> DfResult<FileOpenFuture> {
        let path = file.object_meta.location.clone();
        let listed = file.object_meta.size;
        let root = Arc::clone(&self.root);
        let decoder = self.decoder(&self.format, &path);
        let decoder = decoder.map_err(|error| in_place(error, &root, &path))?;
        let store = Arc::clone(&self.store);
        let scanned = self.bytes_scanned.clone();
        let contents = match *self.format {
            FileFormatSpec::Avro | FileFormatSpec::HiveAvro => Contents::Blocks,
            _ => Contents::Text,
        };
        let lengths = self.lengths.clone();
        Ok(Box::pin(async move {
            let bytes = read(store, path.clone(), listed, scanned, contents).await;
            let bytes = bytes.map_err(|error| in_place(error, &root, &path))?;
            let batches = batches(decoder, bytes, path.clone());
            let fitted = batches.map(move |batch| -> DfResult<RecordBatch> {
                let fitted = batch.and_then(|batch| {
                    let fitted = lengths::fit(lengths.as_deref(), batch);
                    fitted.map_err(|error| in_file(&path, error))
                });
                fitted.map_err(|error| in_place(error, &root, &path).into())
            });
            Ok(fitted.boxed())
        }))
    }
}

/// Runs the decoder over the bytes. Dropping the stream stops the read.
fn batches(
    decoder: Box<dyn Decoder>,
    bytes: BoxStream<'static, Result<Bytes>>,
    path: Path,
) -> BoxStream<'static, Result<RecordBatch>> {
    let state = Some((decoder, bytes));
    stream::unfold(state, move |state| {
        let path = path.clone();
        async move {
            let (mut decoder, mut bytes) = state?;
            loop {
                let next = bytes.next().await;
                let last = next.is_none();
                let pushed = match next {
                    Some(Ok(chunk)) => decoder.push(&chunk, false),
                    Some(Err(error)) => Err(error),
                    None => decoder.push(&[], true),
                };
                match pushed {
                    Err(error) => {
                        let error: Error = in_file(&path, error);
                        return Some((stream::iter(vec![Err(error)]), None));
                    }
                    Ok(full) if last => {
                        let full = full.into_iter().map(Ok).collect::<Vec<_>>();
                        return Some((stream::iter(full), None));
                    }
                    Ok(full) if full.is_empty() => {}
                    Ok(full) => {
                        let full = full.into_iter().map(Ok).collect::<Vec<_>>();
                        return Some((stream::iter(full), Some((decoder, bytes))));
                    }
                }
            }
        }
    })
    .flatten()
    .boxed()
}

#[cfg(test)]
mod tests;
