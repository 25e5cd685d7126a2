//! Schemas found in files, and held against declared ones.

mod widen;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use datafusion::physical_plan::metrics::Count;
use datafusion_datasource_parquet::metadata::DFParquetMetadata;
use datafusion_datasource_parquet::transform_schema_to_view;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use maru_core::limits::INFER_FILES_MAX;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::column_names::names_in_file;
use super::file_error::read_untrusted;
use super::fitting::way;
use super::orc;
use super::text::{self, Contents, Dialect};
use super::type_name;
use crate::FileFormatSpec;
use widen::{Text, in_utc, join, of_any_length, without_null};

/// Files that are opened at once.
const CONCURRENT_FILES: usize = 8;

/// Infers the columns of up to `INFER_FILES_MAX` of `files`: Parquet, ORC and Avro from their own schemas, CSV and JSON from
/// their first rows (`INFER_ROWS_MAX`, `INFER_BYTES_MAX`). A column is of the narrowest type that holds the values of
/// all; one that a file lacks is there all the same. Every column may be NULL.
///
/// # Errors
/// 22P04 if types of a column have nothing in common or a line does not fit, XX001 for a corrupt Parquet, ORC or Avro file,
/// 58P01 for one that is gone, 54000 for a record of text that is too long; each names the file.
///
/// # Cancel
/// Dropping the future stops the reading.
pub async fn infer_schema(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    format: &FileFormatSpec,
) -> Result<SchemaRef> {
    let found = schemas(store, files, format).await?;
    let text = match format {
        FileFormatSpec::Parquet | FileFormatSpec::Orc | FileFormatSpec::Avro => Text::Beside,
        _ => Text::Always,
    };
    let has_header = matches!(format, FileFormatSpec::Csv { has_header: true, .. });
    let headless = matches!(format, FileFormatSpec::Csv { has_header: false, .. });
    let mut joined: Option<Schema> = None;
    for (meta, schema) in found {
        check_twice(&meta, &schema, |_| true)?;
        let Some(known) = joined else {
            joined = Some(schema);
            continue;
        };
        if headless && known.fields().len() != schema.fields().len() {
            return Err(disagreement(
                &meta,
                &format!(
                    "has {} columns where others have {}",
                    schema.fields().len(),
                    known.fields().len()
                ),
            ));
        }
        let schema = if has_header { as_read(&known, schema, &meta)? } else { schema };
        joined = Some(join(&known, &schema, text).map_err(|(column, a, b)| {
            disagreement(
                &meta,
                &format!(
                    "has {} in column \"{column}\" where others have {}",
                    type_name(&b),
                    type_name(&a)
                ),
            )
        })?);
    }
    let Some(schema) = joined else { return Err(nothing_found(format)) };
    let fields = schema.fields().iter().map(|field| {
        let data_type = without_null(field.data_type());
        let data_type = match format {
            FileFormatSpec::Parquet => of_any_length(&data_type),
            _ => data_type,
        };
        Field::new(field.name(), data_type, true)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(Arc::new(match format {
        FileFormatSpec::Parquet => transform_schema_to_view(&schema),
        _ => schema,
    }))
}

/// Makes sure that no column of a file that is wanted has the name of another: there is no telling which of them is meant.
fn check_twice(meta: &ObjectMeta, schema: &Schema, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut seen = HashSet::new();
    let twice = |field: &&FieldRef| wanted(field.name()) && !seen.insert(field.name().clone());
    match schema.fields().iter().find(twice) {
        None => Ok(()),
        Some(field) => Err(Error::new(
            ErrorKind::BadFileFormat,
            format!("file \"{}\" has more than one column \"{}\"", meta.location, field.name()),
        )
        .with_hint("Write it with different names, or declare the other columns alone.")),
    }
}

/// Holds declared columns against up to `INFER_FILES_MAX` of `files`, and returns those that none of them has.
///
/// # Errors
/// 42804 for a column whose values in a file might not stay what they are in the declared type, and for a header that names a column
/// which is not declared (22P04); else those of [`infer_schema`].
///
/// # Cancel
/// Dropping the future stops the reading.
pub async fn check_schema(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    format: &FileFormatSpec,
    declared: &SchemaRef,
) -> Result<Vec<String>> {
    let mut missing =
        declared.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    // Without names columns go by their place.
    if matches!(format, FileFormatSpec::Csv { has_header: false, .. }) {
        return Ok(Vec::new());
    }
    let typed =
        matches!(format, FileFormatSpec::Parquet | FileFormatSpec::Orc | FileFormatSpec::Avro);
    let found = schemas(store, files, format).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    for (meta, schema) in found {
        check_twice(&meta, &schema, |name| declared.index_of(name).is_ok())?;
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let mut in_file = names_in_file(declared, &names);
        let n_known = in_file.iter().flatten().count();
        if matches!(format, FileFormatSpec::Csv { .. }) {
            if n_known == 0 && names.len() == declared.fields().len() {
                return Ok(Vec::new());
            }
            if n_known < names.len() {
                return Err(unknown_in_header(&meta, &names, &in_file, declared));
            }
        }
        if matches!(format, FileFormatSpec::Json) {
            for (field, name) in declared.fields().iter().zip(&mut in_file) {
                *name = name.filter(|name| *name == field.name());
            }
        }
        for (field, name) in declared.fields().iter().zip(in_file) {
            let Some(other) = name.and_then(|name| schema.field_with_name(name).ok()) else {
                continue;
            };
            missing.retain(|missing| missing != field.name());
            if typed && let Err(found) = way(other.data_type(), field.data_type()) {
                return Err(found.error(field.name(), &format!("file \"{}\"", meta.location)));
            }
        }
    }
    Ok(missing)
}

fn unknown_in_header(
    meta: &ObjectMeta,
    names: &[&str],
    known: &[Option<&str>],
    declared: &Schema,
) -> Error {
    let strange = names.iter().find(|name| !known.contains(&Some(**name)));
    let columns = declared.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    Error::new(
        ErrorKind::BadFileFormat,
        format!(
            "file \"{}\" line 1: the header names column \"{}\", which the table lacks",
            meta.location,
            strange.unwrap_or(&"")
        ),
    )
    .with_detail(format!("The table has columns {}.", columns.join(", ")))
    .with_hint("Declare the columns as the header names them.")
}

/// Reads the schemas of the files that have one, in their order.
async fn schemas(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    format: &FileFormatSpec,
) -> Result<Vec<(ObjectMeta, Schema)>> {
    let found = stream::iter(files.iter().take(INFER_FILES_MAX).cloned())
        .map(|meta| async move {
            let schema = schema_of(store, &meta, format).await?;
            Ok::<_, Error>(schema.map(|schema| (meta, with_utc(&schema))))
        })
        .boxed()
        .buffered(CONCURRENT_FILES)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

fn with_utc(schema: &Schema) -> Schema {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Field::clone(field).with_data_type(in_utc(field.data_type())));
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// Reads the schema of one file; `None` for one of text without a row.
async fn schema_of(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    format: &FileFormatSpec,
) -> Result<Option<Schema>> {
    match format {
        FileFormatSpec::Parquet => {
            let footer = DFParquetMetadata::new(store.as_ref(), meta)
                .with_coerce_int96(Some(TimeUnit::Microsecond));
            let schema = read_untrusted(&meta.location, footer.fetch_schema()).await?;
            // What a writer notes beside a column is not part of the table.
            let fields = schema
                .fields()
                .iter()
                .map(|field| Field::clone(field).with_metadata(Default::default()));
            Ok(Some(Schema::new(fields.collect::<Vec<_>>())))
        }
        FileFormatSpec::Csv { .. } => {
            let dialect = Dialect::of(format)
                .ok_or_else(|| Error::internal("a CSV format without a dialect"))?;
            infer_csv(store, meta, dialect).await
        }
        FileFormatSpec::Json => infer_json(store, meta).await,
        FileFormatSpec::Orc => Ok(Some(Schema::clone(orc::infer(store, meta).await?.as_ref()))),
        FileFormatSpec::Avro => infer_avro(store, meta).await.map(Some),
        _ => Err(Error::internal("columns of Hive's formats come from its metastore")),
    }
}

fn nothing_found(format: &FileFormatSpec) -> Error {
    let format = match format {
        FileFormatSpec::Json => "JSON",
        FileFormatSpec::Csv { .. } => "CSV",
        _ => "data",
    };
    Error::new(
        ErrorKind::BadFileFormat,
        format!("no row in any {format} file to infer columns from"),
    )
    .with_hint("Declare the columns.")
}

fn disagreement(meta: &ObjectMeta, how: &str) -> Error {
    Error::new(
        ErrorKind::BadFileFormat,
        format!("file \"{}\" does not have the columns of the others: it {how}", meta.location),
    )
    .with_hint("Declare the columns with types that hold the values of all files.")
}

/// Names the columns of a CSV file as a scan will: where its header has none of the known ones but as many, they are
/// taken in order.
fn as_read(known: &Schema, schema: Schema, meta: &ObjectMeta) -> Result<Schema> {
    let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    if names_in_file(known, &names).iter().any(Option::is_some) {
        return Ok(schema);
    }
    if known.fields().len() != schema.fields().len() {
        return Err(disagreement(meta, "has no column of theirs"));
    }
    let fields = known
        .fields()
        .iter()
        .zip(schema.fields())
        .map(|(known, field)| Field::clone(field).with_name(known.name()));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

async fn open_text(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    text::read(Arc::clone(store), path.clone(), 0, Count::new(), Contents::Text).await
}

async fn infer_csv(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    dialect: Dialect,
) -> Result<Option<Schema>> {
    let path = &file.location;
    let mut bytes = open_text(store, path).await?;
    let mut sample = text::CsvSample::new(dialect, path.clone());
    while let Some(piece) = bytes.try_next().await? {
        sample.push(&piece, false)?;
        if sample.is_full() {
            return Ok(sample.schema());
        }
    }
    sample.push(&[], true)?;
    Ok(sample.schema())
}

async fn infer_json(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<Option<Schema>> {
    let path = &file.location;
    let mut bytes = open_text(store, path).await?;
    let mut sample = text::JsonSample::new(path.clone());
    while let Some(piece) = bytes.try_next().await? {
        sample.push(&piece, false)?;
        if sample.is_full() {
            return Ok(sample.schema());
        }
    }
    sample.push(&[], true)?;
    Ok(sample.schema())
}

async fn infer_avro(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<Schema> {
    let path = &file.location;
    let mut bytes =
        text::read(Arc::clone(store), path.clone(), 0, Count::new(), Contents::Blocks).await?;
    let mut sample = text::AvroSample::new(path.clone());
    while let Some(piece) = bytes.try_next().await? {
        if let Some(schema) = sample.push(&piece, false)? {
            return Ok(schema);
        }
    }
    let schema = sample.push(&[], true)?;
    schema.ok_or_else(|| Error::internal("an Avro header without an end or an error"))
}
