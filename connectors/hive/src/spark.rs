//! Tables of Spark's own sources (`USING parquet`), where Spark says more of them than Hive can.
//!
//! Of a table that Hive has no words for (a column of `TIMESTAMP_NTZ`, buckets by Spark's own hash, CSV with options) Spark
//! gives the metastore a stand-in: one column `col array<string>` in SequenceFiles that do not exist. What the table is stands
//! among its parameters: the source, the columns as JSON, and the path among those of the SerDe.

use hive_metastore::{FieldSchema, SerDeInfo, StorageDescriptor, Table};
use maru_core::{Error, ErrorKind, Result, limits};
use pilota::FastStr;
use serde_json::Value;

use crate::location;

/// Sources that are read: input format and SerDe of Hive for the same files.
const READ: &[(&str, &str, &str)] = &[
    (
        "parquet",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    ),
    (
        "orc",
        "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
    ),
];

const COPY: &str = "Make a table of it in Spark: CREATE TABLE … STORED AS PARQUET AS SELECT ….";

/// Options that choose other files or other values; they are no table's but for a reason.
const UNFOLLOWED: &[&str] = &[
    "datetimerebasemode",
    "int96rebasemode",
    "modifiedafter",
    "modifiedbefore",
    "pathglobfilter",
    "recursivefilelookup",
];

/// Returns whether a description is the stand-in that Spark gives the metastore.
pub(crate) fn is_stand_in(table: &Table, storage: &StorageDescriptor) -> bool {
    let columns = storage.cols.as_deref().unwrap_or_default();
    let is_array = |column: &FieldSchema| {
        column.name.as_deref() == Some("col") && column.r#type.as_deref() == Some("array<string>")
    };
    let input = storage.input_format.as_deref().unwrap_or_default();
    provider(table).is_some()
        && input.ends_with(".SequenceFileInputFormat")
        && matches!(columns, [column] if is_array(column))
}

/// Returns a table as Hive would describe it, if only Spark's own words say what it is.
///
/// # Errors
/// 0A000 for sources, options and columns that Maru does not read.
pub(crate) fn meant(mut table: Table) -> Result<Table> {
    let Some(storage) = table.sd.as_ref().filter(|storage| is_stand_in(&table, storage)) else {
        return Ok(table);
    };
    let source = provider(&table).unwrap_or_default().to_owned();
    let of_serde = |key: &str| {
        let serde = storage.serde_info.as_ref().and_then(|serde| serde.parameters.as_ref());
        serde.and_then(|all| all.get(key)).map(|value| value.as_str())
    };
    let path = of_serde("path").or(storage.location.as_deref()).unwrap_or_default().to_owned();
    let found = READ.iter().copied().find(|(name, ..)| source.eq_ignore_ascii_case(name));
    let Some((source, input, serde)) = found else {
        let url = location::url(&path).map_or_else(|_| "s3://…".to_owned(), |url| url.to_string());
        let hint = match source.to_ascii_lowercase().as_str() {
            kind @ ("csv" | "json") => {
                format!("Maru reads its files by their path: SELECT … FROM '{url}/*.{kind}'.")
            }
            _ => COPY.to_owned(),
        };
        return Err(Error::unsupported(format!(
            "a table of Spark's source \"{source}\" cannot be read"
        ))
        .with_detail("What its files mean is told by options of that source.")
        .with_hint(hint));
    };
    let options = storage.serde_info.as_ref().and_then(|serde| serde.parameters.as_ref());
    for (name, value) in options.into_iter().flatten() {
        if UNFOLLOWED.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Error::unsupported(format!(
                "a table of Spark with {name} = \"{}\" cannot be read",
                value.escape_debug()
            )));
        }
    }
    let columns = columns(&table, source)?;
    if let Some(storage) = table.sd.as_mut() {
        storage.cols = Some(columns);
        storage.location = Some(FastStr::from(path));
        storage.input_format = Some(FastStr::from_static_str(input));
        let known = storage.serde_info.take().unwrap_or_default();
        let serialization_lib = Some(FastStr::from_static_str(serde));
        storage.serde_info = Some(SerDeInfo { serialization_lib, ..known });
    }
    Ok(table)
}

fn parameter<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.parameters.as_ref().and_then(|all| all.get(key)).map(|value| value.as_str())
}

/// Returns the source that a table of Spark's was made with.
fn provider(table: &Table) -> Option<&str> {
    parameter(table, "spark.sql.sources.provider").filter(|name| *name != "hive")
}

/// Returns the columns in the files, in Hive's words; those of the partitions the metastore has.
fn columns(table: &Table, source: &str) -> Result<Vec<FieldSchema>> {
    let keys = table.partition_keys.as_deref().unwrap_or_default();
    let n_keys = parameter(table, "spark.sql.sources.schema.numPartCols");
    let n_keys = n_keys.map_or(Some(0), |n| n.parse::<usize>().ok());
    let known =
        keys.is_empty() || parameter(table, "spark.sql.partitionProvider") == Some("catalog");
    if n_keys != Some(keys.len()) || !known {
        return Err(Error::unsupported(
            "a table whose partitions Spark finds by itself cannot be read",
        )
        .with_hint("Let the metastore know them (MSCK REPAIR TABLE in Spark)."));
    }
    let text = schema(table).ok_or_else(|| unclear("it has no spark.sql.sources.schema"))?;
    let schema =
        serde_json::from_str::<Value>(&text).map_err(|error| unclear(error.to_string()))?;
    let fields = schema.get("fields").and_then(Value::as_array);
    let fields = fields.ok_or_else(|| unclear("they are no struct"))?;
    let mut columns = Vec::<FieldSchema>::with_capacity(fields.len());
    for field in fields {
        let written = field.get("name").and_then(Value::as_str).unwrap_or_default();
        // As all names in a metastore are.
        let name = written.to_lowercase();
        let is = |other: &FieldSchema| other.name.as_deref() == Some(name.as_str());
        if keys.iter().any(is) {
            continue;
        }
        if name.is_empty() || columns.iter().any(is) {
            return Err(unclear(format!(
                "column \"{written}\" differs from another in case alone"
            )));
        }
        let of_type = hive_type(field, 0)?;
        if source == "orc" && of_type.contains("timestamp_ntz") {
            return Err(Error::unsupported(format!(
                "column \"{name}\" cannot be read: Spark keeps TIMESTAMP_NTZ in ORC as a number"
            ))
            .with_hint(
                "Make a table of it in Spark: CREATE TABLE … STORED AS PARQUET AS SELECT ….",
            ));
        }
        // What a column holds in files that are older than it is.
        let default = field.get("metadata").and_then(|all| all.get("EXISTS_DEFAULT"));
        if default.and_then(Value::as_str).is_some_and(|text| !text.eq_ignore_ascii_case("null")) {
            return Err(Error::unsupported(format!(
                "column \"{name}\" has a default of Spark's, which cannot be followed yet"
            )));
        }
        columns.push(FieldSchema {
            name: Some(FastStr::from(name)),
            r#type: Some(FastStr::from(of_type)),
            ..FieldSchema::default()
        });
    }
    Ok(columns)
}

/// Puts the text of the columns together: a long one is kept in parts.
fn schema(table: &Table) -> Option<String> {
    const KEY: &str = "spark.sql.sources.schema";
    if let Some(whole) = parameter(table, KEY) {
        return Some(whole.to_owned());
    }
    let n_parts = parameter(table, &format!("{KEY}.numParts"))?.parse::<usize>().ok()?;
    (0..n_parts).map(|part| parameter(table, &format!("{KEY}.part.{part}"))).collect()
}

/// Returns the type of a field, as Hive writes types.
fn hive_type(field: &Value, depth: usize) -> Result<String> {
    // A text of some length is a string to Spark's sources.
    let metadata = field.get("metadata").and_then(|all| all.get("__CHAR_VARCHAR_TYPE_STRING"));
    match metadata.and_then(Value::as_str) {
        Some(declared) => Ok(declared.to_owned()),
        None => words(field.get("type").unwrap_or(&Value::Null), depth),
    }
}

fn words(of_type: &Value, depth: usize) -> Result<String> {
    if depth > limits::NESTING_MAX {
        return Err(unclear("they are nested too deep"));
    }
    let part = |name: &str| words(of_type.get(name).unwrap_or(&Value::Null), depth + 1);
    let kind = of_type.as_str().or_else(|| of_type.get("type").and_then(Value::as_str));
    Ok(match (kind, of_type.is_object()) {
        (Some("byte"), false) => "tinyint".to_owned(),
        (Some("short"), false) => "smallint".to_owned(),
        (Some("integer"), false) => "int".to_owned(),
        (Some("long"), false) => "bigint".to_owned(),
        // The others have the same name, or none in Hive.
        (Some(name), false) => name.to_owned(),
        (Some("array"), true) => format!("array<{}>", part("elementType")?),
        (Some("map"), true) => format!("map<{},{}>", part("keyType")?, part("valueType")?),
        (Some("struct"), true) => {
            let fields = of_type.get("fields").and_then(Value::as_array);
            let fields = fields.into_iter().flatten().map(|field| {
                let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
                if name.is_empty() || name.contains([':', '`']) {
                    return Err(unclear(format!("a field is called \"{name}\"")));
                }
                Ok(format!("{name}:{}", hive_type(field, depth + 1)?))
            });
            format!("struct<{}>", fields.collect::<Result<Vec<_>>>()?.join(","))
        }
        _ => {
            let text = format!("Spark's type {of_type} has no counterpart in Maru");
            return Err(Error::new(ErrorKind::RemoteTypeUnsupported, text));
        }
    })
}

fn unclear(why: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("the columns that Spark keeps of it are not understood: {why}"))
}

#[cfg(test)]
mod tests;
