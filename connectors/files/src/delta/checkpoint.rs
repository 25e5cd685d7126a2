//! Checkpoints: the log up to a version, put together in Parquet.
//!
//! A row is turned into the line it stands for, so that one reader ([`Line`]) serves commits and checkpoints.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use maru_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::action::Line;
use super::corrupt;

/// The columns that matter, by the beginnings of their paths. Files that were removed do not.
const COLUMNS: &[&str] = &[
    "add.path",
    "add.partitionValues",
    "add.size",
    "add.modificationTime",
    "add.stats",
    "add.deletionVector",
    "metaData",
    "protocol",
    "sidecar.path",
    "txn",
];

/// Rows turned into lines at once.
const BATCH: usize = 1024;

/// Reads the lines of a checkpoint's file, or of a sidecar.
///
/// # Errors
/// XX001 if it is not valid, 58P01 if it is gone.
pub(super) async fn read_parquet(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Vec<Line>> {
    let size = store.head(path).await?.size;
    let file = File { store: Arc::clone(store), path: path.clone(), size };
    // Bytes that are no Parquet may make the reader panic (parquet 59.3 cuts ranges without looking).
    match AssertUnwindSafe(read_lines(file)).catch_unwind().await {
        Ok(lines) => lines,
        Err(_) => Err(corrupt(path, "its footer makes no sense")),
    }
}

/// Reads all that a checkpoint's file holds.
///
/// # Errors
/// As [`read_parquet`].
pub(super) async fn read_parquet_values(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Vec<Value>> {
    let size = store.head(path).await?.size;
    let file = File { store: Arc::clone(store), path: path.clone(), size };
    match AssertUnwindSafe(read_batches(file, |_| ProjectionMask::all(), values))
        .catch_unwind()
        .await
    {
        Ok(lines) => lines,
        Err(_) => Err(corrupt(path, "its footer makes no sense")),
    }
}

async fn read_lines(file: File) -> Result<Vec<Line>> {
    read_batches(file, columns, lines).await
}

async fn read_batches<T: Send>(
    file: File,
    columns: fn(&SchemaDescriptor) -> ProjectionMask,
    lines: fn(&RecordBatch, &Path) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let path = file.path.clone();
    let wrong = |error: ParquetError| match error {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(error) => Error::from(*error),
            Err(cause) => corrupt(&path, cause),
        },
        error => corrupt(&path, error),
    };
    let builder = ParquetRecordBatchStreamBuilder::new(file).await.map_err(wrong)?;
    let mask = columns(builder.parquet_schema());
    let batches = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(wrong)?;
    let lines = batches.map_err(wrong).and_then(|batch| {
        let lines = lines(&batch, &path);
        async move { lines }
    });
    lines.try_concat().await
}

/// A file of the store, as the reader of Parquet wants it.
struct File {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        Box::pin(async move {
            let bytes = self.store.get_range(&self.path, range).await;
            bytes.map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        Box::pin(async move {
            let bytes = self.store.get_ranges(&self.path, &ranges).await;
            bytes.map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        Box::pin(async move {
            let size = self.size;
            ParquetMetaDataReader::new().load_and_finish(self, size).await.map(Arc::new)
        })
    }
}

fn columns(schema: &SchemaDescriptor) -> ProjectionMask {
    let leaves = schema.columns().iter().enumerate().filter_map(|(index, column)| {
        let path = column.path().string();
        let wanted = COLUMNS.iter().any(|wanted| {
            path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        wanted.then_some(index)
    });
    ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>())
}

fn lines(batch: &RecordBatch, path: &Path) -> Result<Vec<Line>> {
    let mut text = Vec::new();
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(batch).map_err(|error| corrupt(path, error))?;
    writer.finish().map_err(|error| corrupt(path, error))?;
    drop(writer);
    read_json(&text, path)
}

fn values(batch: &RecordBatch, path: &Path) -> Result<Vec<Value>> {
    let mut text = Vec::new();
    // Of a map, values that are NULL would get lost.
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(batch).map_err(|error| corrupt(path, error))?;
    writer.finish().map_err(|error| corrupt(path, error))?;
    drop(writer);
    read_values(&text, path)
}

/// Reads lines of JSON as they are.
///
/// # Errors
/// As [`read_json`].
pub(super) fn read_values(text: &[u8], path: &Path) -> Result<Vec<Value>> {
    read_as(text, path)
}

/// Reads lines of JSON: a commit, or a checkpoint in JSON.
///
/// # Errors
/// XX001 with the line that is not valid.
pub(super) fn read_json(text: &[u8], path: &Path) -> Result<Vec<Line>> {
    read_as(text, path)
}

fn read_as<T: DeserializeOwned>(text: &[u8], path: &Path) -> Result<Vec<T>> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_slice(line).map_err(|error: serde_json::Error| {
                corrupt(path, format!("line {}: {error}", n + 1))
            })
        })
        .collect::<Result<Vec<_>, Error>>()
}
