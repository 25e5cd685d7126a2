//! Which tables can be written, and what their columns hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use hive_metastore::{FieldSchema, StorageDescriptor, Table};
use maru_connect::{FileFormatSpec, RowFormat, check_text_type, parquet_compression};
use maru_core::{Error, ErrorKind, Result};

use crate::{format, partition, spark, table};

/// What of a table a write has to know.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) columns: Columns,
    pub(super) format: RowFormat,
}

/// Columns as they are declared, those in the files and then those of partitions.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// As rows come.
    pub(super) all: SchemaRef,
    /// As they are in the files.
    pub(super) in_files: SchemaRef,
    pub(super) keys: Vec<Arc<Field>>,
    /// For each of `all` the greatest length of its texts, with what it is called.
    pub(super) lengths: Vec<Option<(usize, String)>>,
}

impl Columns {
    pub(super) fn key_names(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.name().clone()).collect()
    }

    /// Returns the value of a key, by its number, without blanks that do not count: those at the end of a `char`.
    pub(super) fn key_value(&self, key: usize, value: ScalarValue) -> ScalarValue {
        let length = self.lengths.get(self.in_files.fields().len() + key);
        let length = length.and_then(Option::as_ref);
        let is_padded = length.is_some_and(|(_, declared)| declared.starts_with("char"));
        match value.try_as_str() {
            Some(Some(text)) if is_padded => {
                ScalarValue::Utf8(Some(text.trim_end_matches(' ').to_owned()))
            }
            _ => value,
        }
    }

    /// Gives the texts of a partition the types of its keys, so that the same value is the same however it is written.
    ///
    /// # Errors
    /// Those of [`partition::typed`].
    pub(super) fn typed(&self, texts: &[String]) -> Result<Vec<ScalarValue>> {
        let values = partition::typed(texts, &self.keys)?.into_iter().enumerate();
        Ok(values.map(|(key, value)| self.key_value(key, value)).collect())
    }

    /// Reads the columns of a table.
    pub(super) fn of(
        files: &[FieldSchema],
        keys: &[FieldSchema],
        format: &RowFormat,
    ) -> Result<Self> {
        let schema = table::schema(files)?;
        let key_schema = table::schema(keys)?;
        let in_files = schema.fields().iter().map(|field| {
            let data_type = in_file(field.data_type(), format);
            Arc::new(Field::new(field.name(), data_type, true))
        });
        let all = schema.fields().iter().chain(key_schema.fields()).cloned().collect::<Vec<_>>();
        let lengths = files.iter().chain(keys).map(|column| length_of(column.r#type.as_deref()));
        Ok(Self {
            in_files: Arc::new(Schema::new(in_files.collect::<Vec<_>>())),
            all: Arc::new(Schema::new(all)),
            keys: key_schema.fields().iter().cloned().collect(),
            lengths: lengths.collect(),
        })
    }
}

/// Returns the type that a column has in files. Spark and Hive keep moments of UTC in Parquet where the table says `timestamp`.
fn in_file(data_type: &DataType, format: &RowFormat) -> DataType {
    let moment = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let item = |field: &Arc<Field>| {
        Arc::new(field.as_ref().clone().with_data_type(in_file(field.data_type(), format)))
    };
    match data_type {
        DataType::Timestamp(_, None) if matches!(format, RowFormat::Parquet { .. }) => moment(),
        DataType::List(field) => DataType::List(item(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        DataType::Map(entries, sorted) => DataType::Map(item(entries), *sorted),
        other => other.clone(),
    }
}

fn length_of(hive_type: Option<&str>) -> Option<(usize, String)> {
    let text = hive_type?.trim().to_ascii_lowercase();
    let rest = text.strip_prefix("varchar").or_else(|| text.strip_prefix("char"))?;
    let length = rest.trim().strip_prefix('(')?.strip_suffix(')')?.trim().parse().ok()?;
    Some((length, text))
}

/// Looks whether a table can be written.
///
/// # Errors
/// 0A000 with what it is that Maru does not write, and what can be done.
pub(super) fn of(found: &Table, database: &str, name: &str) -> Result<Target> {
    let storage = table::readable(found, database, name)?;
    let refused = |what: &str| {
        Error::unsupported(format!("\"{database}\".\"{name}\" is {what} and only read"))
    };
    let parameter = |key: &str| {
        let parameters = found.parameters.as_ref();
        parameters.and_then(|all| all.get(key)).map(|value| value.as_str())
    };
    if found.table_type.as_deref() == Some("MATERIALIZED_VIEW") {
        return Err(refused("a materialized view")
            .with_hint("Rebuild it in Hive: ALTER MATERIALIZED VIEW … REBUILD."));
    }
    if spark::is_stand_in(found, storage) {
        return Err(refused("a table that Spark alone describes")
            .with_hint("Write it in Spark, or to a table made with STORED AS PARQUET."));
    }
    let buckets = storage.num_buckets.is_some_and(|n| n > 0)
        || storage.bucket_cols.as_ref().is_some_and(|columns| !columns.is_empty())
        || parameter("spark.sql.sources.schema.numBuckets").is_some();
    if buckets {
        return Err(refused("bucketed")
            .with_detail("Readers trust that each file holds the rows of one bucket, by a hash of Hive's or Spark's own.")
            .with_hint("Write it in Hive or Spark, or to a table without CLUSTERED BY."));
    }
    let skewed = storage.skewed_info.as_ref().is_some_and(|skewed| {
        skewed.skewed_col_names.as_ref().is_some_and(|names| !names.is_empty())
    });
    if skewed || storage.stored_as_sub_directories == Some(true) {
        return Err(refused("skewed").with_hint("Write to a table without SKEWED BY."));
    }
    let partitioned = found.partition_keys.as_ref().is_some_and(|keys| !keys.is_empty());
    let by_spark = parameter("spark.sql.sources.provider").is_some_and(|name| name != "hive");
    if partitioned && by_spark && parameter("spark.sql.partitionProvider") != Some("catalog") {
        return Err(refused("a table whose partitions Spark finds by itself")
            .with_hint("Let the metastore know them (MSCK REPAIR TABLE in Spark)."));
    }
    let format = writable(found, storage)
        .map_err(|error| error.or_context("table", format!("{database}.{name}")))?;
    let files = storage.cols.as_deref().unwrap_or_default();
    let keys = found.partition_keys.as_deref().unwrap_or_default();
    let columns = Columns::of(files, keys, &format)?;
    check_columns(&columns, &format)?;
    Ok(Target { columns, format })
}

/// Looks whether the columns can be written in the format.
pub(super) fn check_columns(columns: &Columns, format: &RowFormat) -> Result<()> {
    if let RowFormat::LazyText { .. } = format {
        for field in columns.in_files.fields() {
            check_text_type(field.data_type(), false).map_err(|error| {
                error
                    .with_context("column", field.name().clone())
                    .with_hint("Lists, structs and maps are written to tables in Parquet.")
            })?;
        }
    }
    if columns.in_files.fields().is_empty() {
        return Err(Error::unsupported("a table of partition columns alone cannot be written")
            .with_hint("Add a column that is none."));
    }
    Ok(())
}

/// Returns the format that rows are written in.
fn writable(found: &Table, storage: &StorageDescriptor) -> Result<RowFormat> {
    let parameter = |key: &str| {
        let serde = storage.serde_info.as_ref().and_then(|serde| serde.parameters.as_ref());
        let all = [serde, storage.parameters.as_ref(), found.parameters.as_ref()];
        all.into_iter().flatten().find_map(|all| all.get(key)).map(|value| value.as_str())
    };
    let what = match format::of(found, storage)? {
        FileFormatSpec::Parquet => {
            let name = parameter("parquet.compression").unwrap_or("snappy").to_ascii_lowercase();
            let compression = parquet_compression(&name).ok_or_else(|| {
                Error::unsupported(format!(
                    "Parquet with parquet.compression = \"{name}\" cannot be written"
                ))
                .with_hint("Set it to snappy, zstd, gzip, lz4 or uncompressed.")
            })?;
            return Ok(RowFormat::Parquet {
                compression,
                row_group_rows: maru_connect::ROW_GROUP_ROWS,
            });
        }
        FileFormatSpec::LazyText(layout) => {
            let escapes_line_ends = parameter("serialization.escape.crlf")
                .is_some_and(|value| value.eq_ignore_ascii_case("true"));
            return Ok(RowFormat::LazyText { layout, escapes_line_ends });
        }
        FileFormatSpec::Trimmed { .. } => {
            "text whose files begin or end with lines that do not count"
        }
        FileFormatSpec::Orc => "in ORC",
        FileFormatSpec::HiveAvro | FileFormatSpec::Avro => "in Avro",
        FileFormatSpec::HiveJson { .. } => "text in JSON",
        FileFormatSpec::Csv { .. } => "text in CSV",
        _ => "of a format that Maru does not write",
    };
    Err(Error::unsupported(format!("a table {what} is only read"))
        .with_detail("Maru writes Hive tables in Parquet and in delimited text (LazySimpleSerDe).")
        .with_hint(
            "CREATE TABLE … AS SELECT makes a table in Parquet of it, which can be written.",
        ))
}

/// Returns the SQLSTATE 22001 of a text that is too long.
pub(super) fn too_long(what: &str) -> Error {
    Error::new(ErrorKind::TextTooLong, format!("value too long for type {what}"))
}
