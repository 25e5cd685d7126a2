//! `CREATE TABLE`: a table of the metastore, at once with its rows.
//!
//! A table without partitions is made with its rows in place. One with partitions is made under a name of its own, gets its
//! partitions, and then its name: to others it is there with all rows, or not there.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::datatypes::{DataType, Field, Schema};
use hive_metastore::{FieldSchema, SerDeInfo, StorageDescriptor, Table};
use maru_connect::{
    Committed, FILE_BYTES, FileMaking, LENGTH_KEY, LazyText, NewTable, OpenContext, Packing,
    ROW_GROUP_ROWS, RowFormat, WriteJob, WriteRequest, parquet_compression,
};
use maru_core::{Error, ErrorKind, Result, fault, quote_ident};
use parking_lot::Mutex;
use pilota::{AHashMap, FastStr};

use super::commit::settle;
use super::figures::tell_new;
use super::files::mark;
use super::job::{Done, Effect, HiveJob};
use super::parts::new_partitions;
use super::place::{Place, folder_of, temporary_name};
use super::rows;
use super::target::{Columns, check_columns};
use crate::metastore::Metastore;

const PARQUET: &str = "org.apache.hadoop.hive.ql.io.parquet";

/// Begins a write that makes a table.
///
/// # Errors
/// 42P07, 3F000; 0A000 for types and wishes that such tables do not have.
pub(crate) async fn begin_create(
    metastore: Arc<Metastore>,
    context: OpenContext,
    request: WriteRequest,
    new: &NewTable,
) -> Result<Arc<dyn WriteJob>> {
    let (database, name) = (request.schema.clone(), request.table.clone());
    let home = metastore.database(&database).await?.ok_or_else(|| {
        let quoted = quote_ident(&database);
        Error::new(ErrorKind::UndefinedSchema, format!("schema \"{database}\" does not exist"))
            .with_hint(format!("Make it first: CREATE SCHEMA {quoted}."))
    })?;
    if metastore.table(&database, &name).await?.is_some() {
        if new.replace {
            return Err(Error::unsupported("a Hive table cannot be replaced by another one")
                .with_detail("The metastore has no way to exchange two tables in one step.")
                .with_hint(
                    "INSERT OVERWRITE replaces its rows; DROP TABLE makes place for another one.",
                ));
        }
        return Err(taken(&database, &name));
    }
    if !new.primary_key.is_empty() {
        return Err(
            Error::unsupported("a Hive table has no PRIMARY KEY").with_hint("Leave it out.")
        );
    }
    check_name("table", &name)?;
    let format = format_of(&request)?;
    let (files, keys) = declared(&request.columns, &new.partitioned_by)?;
    let columns = Columns::of(&files, &keys, &format)?;
    check_columns(&columns, &format)?;
    for key in &columns.keys {
        if key.data_type().is_nested()
            || matches!(key.data_type(), DataType::Binary | DataType::Float32 | DataType::Float64)
        {
            return Err(Error::unsupported(format!(
                "a table cannot be partitioned by column \"{}\" of its type",
                key.name()
            ))
            .with_hint("Partition by whole numbers, dates, timestamps, booleans or text."));
        }
    }
    let home = home.location_uri.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
    let place = Place::at(&context, &format!("{home}/{name}")).await?;
    let places = rows::places(&columns, &request.columns);
    let table = table_of(&database, &name, files, keys, &format, new);
    let making = FileMaking {
        store: Arc::clone(&place.opened.store),
        format,
        packing: Packing::None,
        schema: Arc::clone(&columns.in_files),
        file_bytes: FILE_BYTES,
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
        effect: Effect::Create,
        columns,
        places,
        making: Arc::new(making),
        base: None,
        n_streams: AtomicUsize::new(0),
        done: Mutex::new(Done::default()),
        pending: Mutex::default(),
    }))
}

fn taken(database: &str, name: &str) -> Error {
    Error::new(ErrorKind::DuplicateTable, format!("table \"{database}.{name}\" already exists"))
}

/// # Errors
/// 22023 for names that Hive folds to others, or cannot tell apart from its own marks.
fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = match what {
        "table" => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        _ => !name.contains([',', ':', ';', '`', '<', '>', '\n']),
    };
    if name.is_empty() || !plain || name.to_lowercase() != name {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("\"{name}\" cannot be the name of a {what} in Hive"),
        )
        .with_detail("Hive folds names to lower case, and takes letters, digits and _ for tables.")
        .with_hint("Give it another name."));
    }
    Ok(())
}

fn format_of(request: &WriteRequest) -> Result<RowFormat> {
    if request.options.text("format") == Some("text") {
        let layout = LazyText {
            separators: (1..=8).collect(),
            n_columns: None,
            escape: Some(b'\\'),
            null: "\\N".to_owned(),
        };
        return Ok(RowFormat::LazyText { layout, escapes_line_ends: true });
    }
    let name = request.options.text("compression").unwrap_or("snappy");
    let compression =
        parquet_compression(name).ok_or_else(|| Error::internal("a compression that is none"))?;
    Ok(RowFormat::Parquet { compression, row_group_rows: ROW_GROUP_ROWS })
}

/// Returns the columns as Hive declares them: those in files, and those of partitions.
fn declared(
    columns: &Schema,
    partitioned_by: &[String],
) -> Result<(Vec<FieldSchema>, Vec<FieldSchema>)> {
    let mut files = Vec::new();
    let mut keys = Vec::new();
    for field in columns.fields() {
        check_name("column", field.name())?;
        if !field.is_nullable() {
            return Err(Error::unsupported(format!(
                "column \"{}\" of a Hive table cannot be NOT NULL",
                field.name()
            ))
            .with_detail("Other writers of the table would not keep it.")
            .with_hint("Leave it out."));
        }
        let column = FieldSchema {
            name: Some(FastStr::new(field.name())),
            r#type: Some(FastStr::new(hive_type(field)?)),
            comment: None,
        };
        match partitioned_by.contains(field.name()) {
            false => files.push(column),
            true => keys.push(column),
        }
    }
    keys.sort_by_key(|key| {
        partitioned_by.iter().position(|name| Some(name.as_str()) == key.name.as_deref())
    });
    Ok((files, keys))
}

/// Returns what Hive calls the type of a column.
///
/// # Errors
/// 0A000 for a type that it does not have.
pub(super) fn hive_type(field: &Field) -> Result<String> {
    if let Some(length) = field.metadata().get(LENGTH_KEY) {
        return Ok(format!("{})", length.replacen(':', "(", 1)));
    }
    let extension = field.metadata().get("ARROW:extension:name").map(String::as_str);
    if extension == Some("arrow.uuid") {
        return Err(refused(field.name(), "uuid", "Write it as text: CAST(… AS text)."));
    }
    type_name(field.name(), field.data_type())
}

fn refused(column: &str, what: &str, hint: &str) -> Error {
    Error::unsupported(format!("column \"{column}\": a Hive table has no type {what}"))
        .with_hint(hint)
}

fn type_name(column: &str, data_type: &DataType) -> Result<String> {
    use DataType as D;
    Ok(match data_type {
        D::Boolean => "boolean".to_owned(),
        D::Int8 => "tinyint".to_owned(),
        D::Int16 | D::UInt8 => "smallint".to_owned(),
        D::Int32 | D::UInt16 => "int".to_owned(),
        D::Int64 | D::UInt32 => "bigint".to_owned(),
        D::UInt64 => "decimal(20,0)".to_owned(),
        D::Float16 | D::Float32 => "float".to_owned(),
        D::Float64 => "double".to_owned(),
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
            let scale = u8::try_from(*s).ok().filter(|scale| scale <= p && *p <= 38);
            let scale = scale.ok_or_else(|| {
                let hint = "It holds 38 digits: CAST to numeric(38, n) or to text.";
                refused(column, &format!("numeric({p},{s})"), hint)
            })?;
            format!("decimal({p},{scale})")
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "string".to_owned(),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "binary".to_owned(),
        D::Date32 | D::Date64 => "date".to_owned(),
        D::Timestamp(_, None) => "timestamp".to_owned(),
        D::Timestamp(_, Some(_)) => {
            let hint = "Write it as the time of day of a zone: … AT TIME ZONE 'UTC'.";
            return Err(refused(column, "timestamp with time zone that Spark could read", hint));
        }
        D::Dictionary(_, value) => type_name(column, value)?,
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => {
            format!("array<{}>", type_name(column, item.data_type())?)
        }
        D::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                check_name("column", field.name())?;
                Ok(format!("{}:{}", field.name(), type_name(column, field.data_type())?))
            });
            format!("struct<{}>", fields.collect::<Result<Vec<_>>>()?.join(","))
        }
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(parts) if parts.len() == 2 => format!(
                "map<{},{}>",
                type_name(column, parts[0].data_type())?,
                type_name(column, parts[1].data_type())?
            ),
            _ => return Err(refused(column, "map of this kind", "Write it as text.")),
        },
        other => {
            return Err(refused(column, &other.to_string(), "Write it as text: CAST(… AS text)."));
        }
    })
}

fn table_of(
    database: &str,
    name: &str,
    files: Vec<FieldSchema>,
    keys: Vec<FieldSchema>,
    format: &RowFormat,
    new: &NewTable,
) -> Table {
    let mut serde = AHashMap::default();
    let (input, output, library) = match format {
        RowFormat::LazyText { .. } => {
            serde.insert(FastStr::new("serialization.format"), FastStr::new("1"));
            serde.insert(FastStr::new("escape.delim"), FastStr::new("\\"));
            serde.insert(FastStr::new("serialization.escape.crlf"), FastStr::new("true"));
            (
                "org.apache.hadoop.mapred.TextInputFormat".to_owned(),
                "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat".to_owned(),
                "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe".to_owned(),
            )
        }
        _ => (
            format!("{PARQUET}.MapredParquetInputFormat"),
            format!("{PARQUET}.MapredParquetOutputFormat"),
            format!("{PARQUET}.serde.ParquetHiveSerDe"),
        ),
    };
    let mut parameters = AHashMap::default();
    // The files are the table's own, but a place of its own is only for tables that are called external.
    parameters.insert(FastStr::new("EXTERNAL"), FastStr::new("TRUE"));
    parameters.insert(FastStr::new("external.table.purge"), FastStr::new("true"));
    if let RowFormat::Parquet { compression, .. } = format {
        let name = compression.to_string();
        let name = name.split('(').next().unwrap_or_default().to_lowercase();
        let name = if name == "lz4_raw" { "lz4".to_owned() } else { name };
        parameters.insert(FastStr::new("parquet.compression"), FastStr::new(name));
    }
    if let Some(comment) = &new.comment {
        parameters.insert(FastStr::new("comment"), FastStr::new(comment));
    }
    Table {
        table_name: Some(FastStr::new(name)),
        db_name: Some(FastStr::new(database)),
        owner: Some("maru".into()),
        sd: Some(StorageDescriptor {
            cols: Some(files),
            input_format: Some(FastStr::new(input)),
            output_format: Some(FastStr::new(output)),
            compressed: Some(false),
            num_buckets: Some(-1),
            serde_info: Some(SerDeInfo {
                name: None,
                serialization_lib: Some(FastStr::new(library)),
                parameters: Some(serde),
            }),
            bucket_cols: Some(Vec::new()),
            sort_cols: Some(Vec::new()),
            parameters: Some(AHashMap::default()),
            ..StorageDescriptor::default()
        }),
        partition_keys: Some(keys),
        parameters: Some(parameters),
        table_type: Some("EXTERNAL_TABLE".into()),
        ..Table::default()
    }
}

/// Makes the table.
pub(super) async fn publish(job: &HiveJob) -> Result<Committed> {
    let done = std::mem::take(&mut *job.done.lock());
    let committed = Committed { n_rows: done.n_rows, ..Committed::default() };
    let mut table = job.table.clone();
    let storage = table.sd.get_or_insert_default();
    if job.columns.keys.is_empty() {
        let (location, folder) = job.place.below(&folder_of(&job.attempt))?;
        if done.partitions.is_empty() {
            mark(&job.place.opened.store, &folder).await?;
        }
        storage.location = Some(FastStr::new(location));
        tell_new(&mut table, &done);
        make(job, &table).await?;
        return Ok(committed);
    }
    // The metastore would make a directory that is not there, as a user who may not.
    mark(&job.place.opened.store, &job.place.path(super::place::FOLDER)?).await?;
    storage.location = Some(FastStr::new(&job.place.root));
    if done.partitions.is_empty() {
        make(job, &table).await?;
        return Ok(committed);
    }
    let partitions = new_partitions(job, &table, &done)?;
    let hidden = temporary_name(&job.attempt);
    let mut temporary = table.clone();
    temporary.table_name = Some(FastStr::new(&hidden));
    let made = fill(job, &temporary, &partitions, &hidden).await;
    let named = match made {
        Ok(()) => name(job, &hidden, &table).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &named
        && error.kind() != ErrorKind::CommitUnknown
        && let Err(error) = job.metastore.drop_table(&job.database, &hidden).await
        && error.kind() != ErrorKind::UndefinedTable
    {
        tracing::warn!(table = %hidden, %error, "could not drop a table that was not made");
    }
    named.map(|()| committed)
}

async fn fill(
    job: &HiveJob,
    temporary: &Table,
    partitions: &[hive_metastore::Partition],
    hidden: &str,
) -> Result<()> {
    job.metastore.create_table(temporary).await?;
    fault::point("hive.made");
    let mut partitions = partitions.to_vec();
    for partition in &mut partitions {
        partition.table_name = Some(FastStr::new(hidden));
    }
    job.metastore.add_partitions(&partitions).await
}

/// Gives a table that is complete its name.
async fn name(job: &HiveJob, hidden: &str, table: &Table) -> Result<()> {
    fault::point("hive.before_change");
    if job.metastore.table(&job.database, &job.name).await?.is_some() {
        return Err(taken(&job.database, &job.name));
    }
    // What the metastore has added to it stays.
    let found = job.metastore.table(&job.database, hidden).await?;
    let mut renamed = found.ok_or_else(|| {
        Error::new(ErrorKind::Serialization, "the table was dropped while it was made")
    })?;
    renamed.table_name.clone_from(&table.table_name);
    let changed = job.metastore.alter_table(&job.database, hidden, &renamed).await;
    let settled = settle(changed, || async {
        Ok(job.metastore.table(&job.database, hidden).await?.is_none())
    })
    .await;
    fault::point("hive.after_change");
    let Err(error) = settled else { return Ok(()) };
    match job.metastore.table(&job.database, &job.name).await {
        Ok(Some(_)) => Err(taken(&job.database, &job.name)),
        _ => Err(error),
    }
}

async fn make(job: &HiveJob, table: &Table) -> Result<()> {
    fault::point("hive.before_change");
    let made = job.metastore.create_table(table).await;
    let wanted = table.sd.as_ref().and_then(|sd| sd.location.clone());
    let is_ours = || async {
        let found = job.metastore.table(&job.database, &job.name).await?;
        let location = found.and_then(|found| found.sd).and_then(|sd| sd.location);
        Ok(location == wanted && location.is_some())
    };
    let settled = settle(made, is_ours).await;
    fault::point("hive.after_change");
    let Err(error) = settled else { return Ok(()) };
    match job.metastore.table(&job.database, &job.name).await {
        Ok(Some(_)) => Err(taken(&job.database, &job.name)),
        _ => Err(error),
    }
}
