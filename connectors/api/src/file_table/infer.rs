//! Schemas found in files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::physical_plan::metrics::Count;
use datafusion_datasource_parquet::metadata::DFParquetMetadata;
use datafusion_datasource_parquet::transform_schema_to_view;
use futures::{StreamExt, TryStreamExt, stream};
use maru_core::limits::{INFER_FILES_MAX, INFER_ROWS_MAX};
use maru_core::{Error, ErrorKind, Result};
use object_store::{ObjectMeta, ObjectStore};

use super::file_error::read_untrusted;
use super::orc;
use super::text::{self, Dialect};
use crate::FileFormatSpec;

/// Infers the columns of `files`: Parquet, ORC and Avro from the schemas of up to `INFER_FILES_MAX` files, merged; CSV and JSON from the first
/// `INFER_ROWS_MAX` rows of the first file that has any. Every column may be NULL.
///
/// # Errors
/// 22P04 if files disagree about a type or a line does not fit, XX001 for a corrupt Parquet, ORC or Avro file, 58P01 for one that is
/// gone; each names the file.
///
/// # Cancel
/// Dropping the future stops the reading.
pub async fn infer_schema(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    format: &FileFormatSpec,
) -> Result<SchemaRef> {
    match format {
        FileFormatSpec::Parquet => infer_parquet(store, files).await,
        FileFormatSpec::Csv { .. } => {
            let dialect = Dialect::of(format)
                .ok_or_else(|| Error::internal("a CSV format without a dialect"))?;
            for file in files {
                if let Some(schema) = infer_csv(store, file, &dialect).await? {
                    return Ok(schema);
                }
            }
            Err(nothing_found("CSV"))
        }
        FileFormatSpec::Json => {
            for file in files {
                if let Some(schema) = infer_json(store, file).await? {
                    return Ok(schema);
                }
            }
            Err(nothing_found("JSON"))
        }
        FileFormatSpec::Orc => {
            let schemas = stream::iter(files.iter().take(INFER_FILES_MAX).cloned())
                .map(|meta| async move {
                    let schema = orc::infer(store, &meta).await?;
                    Ok::<_, Error>((meta, Schema::clone(&schema)))
                })
                .boxed()
                .buffered(8)
                .try_collect::<Vec<_>>()
                .await?;
            Ok(Arc::new(merge(schemas)?))
        }
        FileFormatSpec::Avro => {
            let schemas = stream::iter(files.iter().take(INFER_FILES_MAX).cloned())
                .map(|meta| async move {
                    let schema = infer_avro(store, &meta).await?;
                    Ok::<_, Error>((meta, schema))
                })
                .boxed()
                .buffered(8)
                .try_collect::<Vec<_>>()
                .await?;
            Ok(Arc::new(merge(schemas)?))
        }
        _ => Err(Error::internal("columns of Hive's formats come from its metastore")),
    }
}

fn nothing_found(format: &str) -> Error {
    Error::new(
        ErrorKind::BadFileFormat,
        format!("no row in any {format} file to infer columns from"),
    )
    .with_hint("Declare the columns.")
}

async fn infer_parquet(store: &Arc<dyn ObjectStore>, files: &[ObjectMeta]) -> Result<SchemaRef> {
    let schemas = stream::iter(files.iter().take(INFER_FILES_MAX).cloned())
        .map(|meta| async move {
            let footer = DFParquetMetadata::new(store.as_ref(), &meta)
                .with_coerce_int96(Some(TimeUnit::Microsecond));
            let schema = read_untrusted(&meta.location, footer.fetch_schema()).await?;
            Ok::<_, Error>((meta, schema))
        })
        .boxed()
        .buffered(8)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(Arc::new(transform_schema_to_view(&merge(schemas)?)))
}

/// Brings the columns of several files together.
fn merge(schemas: Vec<(ObjectMeta, Schema)>) -> Result<Schema> {
    let mut merged = Schema::empty();
    for (meta, schema) in schemas {
        let fields = schema
            .fields()
            .iter()
            .map(|field| Field::clone(field).with_nullable(true).with_metadata(Default::default()));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        merged = Schema::try_merge([merged, schema]).map_err(|error| {
            Error::new(
                ErrorKind::BadFileFormat,
                format!(
                    "file \"{}\" does not have the columns of the others: {error}",
                    meta.location
                ),
            )
            .with_hint("Declare the columns with the types that all files can be cast to.")
        })?;
    }
    Ok(merged)
}

async fn infer_csv(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    dialect: &Dialect,
) -> Result<Option<SchemaRef>> {
    let path = &file.location;
    let mut bytes = text::read(Arc::clone(store), path.clone(), 0, Count::new()).await?;
    let mut sample = text::CsvSample::new(dialect.clone(), path.clone());
    while let Some(piece) = bytes.try_next().await? {
        sample.push(&piece, false)?;
        if sample.n_rows() >= INFER_ROWS_MAX {
            return Ok(sample.schema());
        }
    }
    sample.push(&[], true)?;
    Ok(sample.schema())
}

async fn infer_avro(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<Schema> {
    let path = &file.location;
    let mut bytes = text::read(Arc::clone(store), path.clone(), 0, Count::new()).await?;
    let mut sample = text::AvroSample::new(path.clone());
    while let Some(piece) = bytes.try_next().await? {
        if let Some(schema) = sample.push(&piece, false)? {
            return Ok(schema);
        }
    }
    let schema = sample.push(&[], true)?;
    schema.ok_or_else(|| Error::internal("an Avro header without an end or an error"))
}

async fn infer_json(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<Option<SchemaRef>> {
    let path = &file.location;
    let mut bytes = text::read(Arc::clone(store), path.clone(), 0, Count::new()).await?;
    let mut rows: Vec<serde_json::Value> = Vec::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut line = 0_u64;
    let mut ended = false;
    while rows.len() < INFER_ROWS_MAX && !ended {
        match bytes.try_next().await? {
            Some(piece) => rest.extend_from_slice(&piece),
            None => ended = true,
        }
        let mut at = 0;
        while rows.len() < INFER_ROWS_MAX {
            let end = match memchr::memchr(b'\n', &rest[at..]) {
                Some(end) => at + end,
                None if ended && at < rest.len() => rest.len(),
                None => break,
            };
            line += 1;
            let text = rest[at..end].trim_ascii();
            if !text.is_empty() {
                let row = serde_json::from_slice(text).map_err(|error| {
                    Error::new(
                        ErrorKind::BadFileFormat,
                        format!("file \"{path}\" line {line}: invalid JSON: {error}"),
                    )
                    .with_hint("A JSON file holds one object per line.")
                })?;
                rows.push(row);
            }
            at = (end + 1).min(rest.len());
        }
        rest.drain(..at);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let schema = arrow::json::reader::infer_json_schema_from_iterator(rows.iter().map(Ok))
        .map_err(|error| {
            Error::new(ErrorKind::BadFileFormat, format!("file \"{path}\": {error}"))
                .with_hint("Declare the columns.")
        })?;
    // A column that was NULL in every row is text, so that a later value can be read.
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Null => Field::new(field.name(), DataType::Utf8, true),
        _ => Field::clone(field).with_nullable(true),
    });
    Ok(Some(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
}
