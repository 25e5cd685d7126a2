//! How a table's files are laid out: Hive's input format and SerDe, as a [`FileFormatSpec`] or a refusal.
//!
//! Only what is known to be read exactly as Hive reads it is accepted. A parameter that changes the meaning of bytes
//! and that Maru does not follow is a reason to refuse, never to ignore.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use hive_metastore::{StorageDescriptor, Table};
use maru_connect::FileFormatSpec;
use maru_core::{Error, Result};

/// Formats that are known by name, and their input formats.
const NAMED: &[(&str, &str)] = &[
    ("OrcInputFormat", "ORC"),
    ("AvroContainerInputFormat", "Avro"),
    ("RCFileInputFormat", "RCFile"),
    ("SequenceFileInputFormat", "SequenceFile"),
    ("SymlinkTextInputFormat", "symlinks"),
    ("HoodieParquetInputFormat", "Hudi"),
    ("HoodieParquetRealtimeInputFormat", "Hudi"),
    ("HiveIcebergInputFormat", "Iceberg"),
];

const PARQUET_INPUTS: &[&str] = &[
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "parquet.hive.DeprecatedParquetInputFormat",
];
const PARQUET_SERDES: &[&str] = &[
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    "parquet.hive.serde.ParquetHiveSerDe",
];
const TEXT_INPUT: &str = "org.apache.hadoop.mapred.TextInputFormat";
const LAZY_SIMPLE_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"];
const OPEN_CSV_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.OpenCSVSerde"];

/// Table and SerDe parameters of text that change how lines or values are read and that Maru does not follow, each
/// with the one value that changes nothing.
const UNFOLLOWED: &[(&str, &str)] = &[
    ("textinputformat.record.delimiter", "\n"),
    ("line.delim", "\n"),
    ("skip.footer.line.count", "0"),
    ("serialization.last.column.takes.rest", "false"),
    ("hive.lazysimple.extended_boolean_literal", "false"),
    ("hive.serialization.extend.additional.nesting.levels", "false"),
    ("timestamp.formats", ""),
];

/// The parameters of a table and of its SerDe; the SerDe's win.
#[derive(Debug)]
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn of(table: &Table, storage: &StorageDescriptor) -> Self {
        let serde = storage.serde_info.as_ref().and_then(|serde| serde.parameters.as_ref());
        let all = [table.parameters.as_ref(), storage.parameters.as_ref(), serde];
        let pairs = all.into_iter().flatten().flatten();
        Self(pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Returns the layout of the files under `storage`, which is the table's or one of its partitions'.
///
/// # Errors
/// 0A000 naming the format, or the parameter, that Maru does not read.
pub(crate) fn of(table: &Table, storage: &StorageDescriptor) -> Result<FileFormatSpec> {
    let input = storage.input_format.as_deref().unwrap_or_default();
    let serde = storage.serde_info.as_ref().and_then(|serde| serde.serialization_lib.as_deref());
    let serde = serde.unwrap_or_default();
    let parameters = Parameters::of(table, storage);
    if PARQUET_INPUTS.contains(&input) && PARQUET_SERDES.contains(&serde) {
        if parameters.is_true("parquet.column.index.access") {
            return Err(unfollowed("parquet.column.index.access", "true"));
        }
        return Ok(FileFormatSpec::Parquet);
    }
    if input == TEXT_INPUT && LAZY_SIMPLE_SERDES.contains(&serde) {
        return lazy_simple(&parameters);
    }
    if input == TEXT_INPUT && OPEN_CSV_SERDES.contains(&serde) {
        return open_csv(&parameters);
    }
    let named = NAMED.iter().find(|(suffix, _)| input.rsplit('.').next() == Some(suffix));
    let what = match named {
        Some((_, name)) => format!("{name} files"),
        None => format!("files of SerDe {}", class(serde)),
    };
    Err(Error::unsupported(format!("{what} cannot be read yet"))
        .with_detail(format!("Input format {}, SerDe {}.", class(input), class(serde)))
        .with_hint("Maru reads Hive tables in Parquet and in delimited text."))
}

/// Hive's default text: fields between delimiters, nothing quoted.
fn lazy_simple(parameters: &Parameters) -> Result<FileFormatSpec> {
    refuse_unfollowed(parameters)?;
    let delimiter =
        parameters.get("field.delim").or_else(|| parameters.get("serialization.format"));
    Ok(FileFormatSpec::Csv {
        has_header: has_header(parameters)?,
        delimiter: delimiter_byte("field.delim", delimiter, 0x01)?,
        quote: None,
        escape: match parameters.get("escape.delim") {
            None => None,
            escape => Some(delimiter_byte("escape.delim", escape, b'\\')?),
        },
        null: Some(parameters.get("serialization.null.format").unwrap_or("\\N").to_owned()),
        lenient: true,
    })
}

/// Quoted text, in which everything is a string and nothing is NULL.
fn open_csv(parameters: &Parameters) -> Result<FileFormatSpec> {
    refuse_unfollowed(parameters)?;
    let mark = |name: &str, default: u8| match parameters.get(name).map(str::as_bytes) {
        None | Some([]) => Ok(default),
        Some([byte]) if byte.is_ascii() => Ok(*byte),
        Some(_) => Err(unfollowed(name, parameters.get(name).unwrap_or_default())),
    };
    Ok(FileFormatSpec::Csv {
        has_header: has_header(parameters)?,
        delimiter: mark("separatorChar", b',')?,
        quote: Some(mark("quoteChar", b'"')?),
        escape: Some(mark("escapeChar", b'\\')?).filter(|escape| *escape != b'"'),
        null: None,
        lenient: true,
    })
}

fn has_header(parameters: &Parameters) -> Result<bool> {
    match parameters.get("skip.header.line.count").map(str::trim) {
        None | Some("" | "0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(unfollowed("skip.header.line.count", other)),
    }
}

fn refuse_unfollowed(parameters: &Parameters) -> Result<()> {
    for (name, harmless) in UNFOLLOWED {
        match parameters.get(name) {
            Some(value) if !value.eq_ignore_ascii_case(harmless) => {
                return Err(unfollowed(name, value));
            }
            _ => {}
        }
    }
    match parameters.get("serialization.encoding") {
        Some(name) if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("utf8") => {
            Err(unfollowed("serialization.encoding", name))
        }
        _ => Ok(()),
    }
}

/// Reads a delimiter as Hive does: the number of a byte if it is one, else the first character.
fn delimiter_byte(name: &str, text: Option<&str>, default: u8) -> Result<u8> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(default) };
    let byte = match text.parse::<i8>() {
        Ok(number) => u8::try_from(number).ok(),
        Err(_) => text.chars().next().and_then(|c| u8::try_from(c).ok()),
    };
    // A byte above 127 would cut characters of UTF-8 in two.
    byte.filter(|byte| byte.is_ascii()).ok_or_else(|| unfollowed(name, text))
}

fn unfollowed(name: &str, value: &str) -> Error {
    Error::unsupported(format!(
        "text with {name} = \"{}\" cannot be read yet",
        value.escape_debug()
    ))
}

/// Returns the last part of a Java class name.
fn class(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.is_empty() { "(none)".to_owned() } else { last.to_owned() }
}

/// Returns the columns as the format has them: the CSV SerDe reads every column as a string, whatever is declared.
///
/// # Errors
/// 0A000 for a column whose type text cannot hold in a way Maru reads.
pub(crate) fn columns(
    storage: &StorageDescriptor,
    format: &FileFormatSpec,
    schema: Schema,
) -> Result<Schema> {
    let serde = storage.serde_info.as_ref().and_then(|serde| serde.serialization_lib.as_deref());
    let FileFormatSpec::Csv { .. } = format else { return Ok(schema) };
    if serde.is_some_and(|serde| OPEN_CSV_SERDES.contains(&serde)) {
        let fields = schema.fields().iter();
        let texts = fields.map(|field| field.as_ref().clone().with_data_type(DataType::Utf8));
        return Ok(Schema::new(texts.collect::<Vec<_>>()));
    }
    for field in schema.fields() {
        let hard = field.data_type().is_nested() || field.data_type() == &DataType::Binary;
        if hard {
            return Err(Error::unsupported(format!(
                "column \"{}\" cannot be read from text: arrays, maps, structs and binary are not supported there yet",
                field.name()
            )));
        }
    }
    Ok(schema)
}

/// Endings of files that Hive unpacks while it reads text.
const PACKED: &[&str] =
    &[".gz", ".bz2", ".deflate", ".snappy", ".lz4", ".lzo", ".lzo_deflate", ".zst"];

/// Returns an error if the file is packed text, which would be read as rubbish.
pub(crate) fn refuse_packed(format: &FileFormatSpec, path: &str) -> Result<()> {
    let packed = PACKED.iter().any(|ending| path.ends_with(ending));
    if packed && !matches!(format, FileFormatSpec::Parquet) {
        return Err(
            Error::unsupported("compressed text cannot be read yet").with_context("path", path)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
