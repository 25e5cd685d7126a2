//! How a table's files are laid out: Hive's input format and SerDe, as a [`FileFormatSpec`] or a refusal.
//!
//! Only what is known to be read exactly as Hive reads it is accepted. A parameter that changes the meaning of bytes
//! and that Maru does not follow is a reason to refuse, never to ignore.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use hive_metastore::{FieldSchema, StorageDescriptor, Table};
use maru_connect::{FileFormatSpec, LazyText};
use maru_core::{Error, Result};

/// Formats that are known by name, and their input formats.
const NAMED: &[(&str, &str)] = &[
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
const ORC_INPUTS: &[&str] = &["org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"];
const ORC_SERDES: &[&str] = &["org.apache.hadoop.hive.ql.io.orc.OrcSerde"];
const TEXT_INPUT: &str = "org.apache.hadoop.mapred.TextInputFormat";
const LAZY_SIMPLE_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"];
const AVRO_INPUT: &str = "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat";
const AVRO_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.avro.AvroSerDe"];
/// The first of them gives numbers in a column of text as they are written; the others write them anew.
const JSON_SERDES: &[&str] = &[
    "org.apache.hive.hcatalog.data.JsonSerDe",
    "org.apache.hadoop.hive.serde2.JsonSerDe",
    "org.openx.data.jsonserde.JsonSerDe",
];
const REGEX_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.RegexSerDe"];
const OPEN_CSV_SERDES: &[&str] = &["org.apache.hadoop.hive.serde2.OpenCSVSerde"];

/// Table and SerDe parameters of text that change how lines or values are read and that Maru does not follow, each
/// with the one value that changes nothing.
const UNFOLLOWED: &[(&str, &str)] = &[
    ("textinputformat.record.delimiter", "\n"),
    ("line.delim", "\n"),
    ("serialization.last.column.takes.rest", "false"),
    ("hive.lazysimple.extended_boolean_literal", "false"),
    ("hive.serialization.extend.additional.nesting.levels", "false"),
    ("timestamp.formats", ""),
    ("dots.in.keys", "false"),
    ("ignore.malformed.json", "false"),
    ("case.insensitive", "true"),
    ("stringify.complex.fields", "false"),
    ("binary.column.encoding", "base64"),
];

/// Levels of nesting that Hive's text has delimiters for; `\x03` and further inwards cannot be chosen.
const LEVELS: usize = 8;

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
    if ORC_INPUTS.contains(&input) && ORC_SERDES.contains(&serde) {
        if parameters.is_true("orc.force.positional.evolution") {
            return Err(unfollowed("orc.force.positional.evolution", "true"));
        }
        return Ok(FileFormatSpec::Orc);
    }
    if input == AVRO_INPUT && AVRO_SERDES.contains(&serde) {
        return avro(&parameters);
    }
    if input == TEXT_INPUT {
        let rows = match serde {
            lazy if LAZY_SIMPLE_SERDES.contains(&lazy) => Some(lazy_simple(&parameters)?),
            csv if OPEN_CSV_SERDES.contains(&csv) => Some(open_csv(&parameters)?),
            json if JSON_SERDES.contains(&json) => Some(hive_json(&parameters, json)?),
            regex if REGEX_SERDES.contains(&regex) => Some(pattern(&parameters)?),
            _ => None,
        };
        if let Some(rows) = rows {
            refuse_unfollowed(&parameters)?;
            return trimmed(&parameters, rows);
        }
    }
    let named = NAMED.iter().find(|(suffix, _)| input.rsplit('.').next() == Some(suffix));
    let what = match named {
        Some((_, name)) => format!("{name} files"),
        None => format!("files of SerDe {}", class(serde)),
    };
    Err(Error::unsupported(format!("{what} cannot be read yet"))
        .with_detail(format!("Input format {}, SerDe {}.", class(input), class(serde)))
        .with_hint("Maru reads Hive tables in Parquet, ORC, Avro, and in text: delimited, CSV, JSON and by a pattern."))
}

/// Hive's default text: fields between delimiters, nothing quoted.
fn lazy_simple(parameters: &Parameters) -> Result<FileFormatSpec> {
    let columns = parameters.get("field.delim").or_else(|| parameters.get("serialization.format"));
    // Hive before 3.0, and Spark to this day, misspell the name.
    let items = parameters.get("collection.delim").or_else(|| parameters.get("colelction.delim"));
    let mut separators = vec![
        delimiter_byte("field.delim", columns, 1)?,
        delimiter_byte("collection.delim", items, 2)?,
        delimiter_byte("mapkey.delim", parameters.get("mapkey.delim"), 3)?,
    ];
    separators.extend((4..=8).take(LEVELS - separators.len()));
    Ok(FileFormatSpec::LazyText(LazyText {
        separators,
        n_columns: None,
        escape: match parameters.get("escape.delim") {
            None => None,
            escape => Some(delimiter_byte("escape.delim", escape, b'\\')?),
        },
        null: parameters.get("serialization.null.format").unwrap_or("\\N").to_owned(),
    }))
}

/// Quoted text, in which everything is a string and nothing is NULL.
fn open_csv(parameters: &Parameters) -> Result<FileFormatSpec> {
    let mark = |name: &str, default: u8| match parameters.get(name).map(str::as_bytes) {
        None | Some([]) => Ok(default),
        Some([byte]) if byte.is_ascii() => Ok(*byte),
        Some(_) => Err(unfollowed(name, parameters.get(name).unwrap_or_default())),
    };
    Ok(FileFormatSpec::Csv {
        has_header: false,
        delimiter: mark("separatorChar", b',')?,
        quote: Some(mark("quoteChar", b'"')?),
        escape: Some(mark("escapeChar", b'\\')?).filter(|escape| *escape != b'"'),
        null: None,
        lenient: true,
    })
}

fn hive_json(parameters: &Parameters, serde: &str) -> Result<FileFormatSpec> {
    // `mapping.x = y` reads column x from name y.
    let mapping = parameters.0.iter().find(|(name, _)| name.starts_with("mapping."));
    if let Some((name, value)) = mapping {
        return Err(unfollowed(name, value));
    }
    Ok(FileFormatSpec::HiveJson { raw_fractions: JSON_SERDES.first() == Some(&serde) })
}

fn pattern(parameters: &Parameters) -> Result<FileFormatSpec> {
    let pattern = parameters
        .get("input.regex")
        .ok_or_else(|| Error::unsupported("text read by a pattern has no pattern (input.regex)"))?;
    let ignore_case = parameters.is_true("input.regex.case.insensitive");
    maru_connect::check_pattern(pattern, ignore_case)?;
    Ok(FileFormatSpec::Pattern { pattern: pattern.to_owned(), ignore_case })
}

/// Avro files bring their own schema; the table's may say what stands for a column that a file lacks.
fn avro(parameters: &Parameters) -> Result<FileFormatSpec> {
    let literal = parameters.get("avro.schema.literal").filter(|text| *text != "none");
    let Some(literal) = literal else {
        return match parameters.get("avro.schema.url").filter(|text| *text != "none") {
            Some(url) => Err(unfollowed("avro.schema.url", url)),
            None => Ok(FileFormatSpec::HiveAvro),
        };
    };
    let schema = serde_json::from_str::<serde_json::Value>(literal).map_err(|error| {
        Error::unsupported("avro.schema.literal of the table is not valid JSON")
            .with_detail(format!("{error}."))
    })?;
    match unfollowed_in_avro(&schema) {
        None => Ok(FileFormatSpec::HiveAvro),
        Some(field) => Err(Error::unsupported(format!(
            "field \"{field}\" of avro.schema.literal has a default or an alias, which cannot be followed yet"
        ))),
    }
}

/// Returns a field that has another name or another value in files that were written without it.
fn unfollowed_in_avro(schema: &serde_json::Value) -> Option<String> {
    match schema {
        serde_json::Value::Array(items) => items.iter().find_map(unfollowed_in_avro),
        serde_json::Value::Object(members) => {
            let default = members.get("default").is_some_and(|value| !value.is_null());
            let of_field = default && members.contains_key("type");
            if of_field || members.contains_key("aliases") {
                let name = members.get("name").and_then(serde_json::Value::as_str);
                return Some(name.unwrap_or("?").to_owned());
            }
            let nested = members.iter().filter(|(name, _)| *name != "default");
            nested.map(|(_, value)| value).find_map(unfollowed_in_avro)
        }
        _ => None,
    }
}

/// Leaves lines at the start and at the end of files out, if the table says so.
fn trimmed(parameters: &Parameters, rows: FileFormatSpec) -> Result<FileFormatSpec> {
    let count = |name: &str| match parameters.get(name).map(str::trim) {
        None | Some("") => Ok(0),
        Some(text) => text.parse::<usize>().map_err(|_| unfollowed(name, text)),
    };
    let (header, footer) = (count("skip.header.line.count")?, count("skip.footer.line.count")?);
    if header == 0 && footer == 0 {
        return Ok(rows);
    }
    Ok(FileFormatSpec::Trimmed { header, footer, rows: Box::new(rows) })
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
/// 0A000 for a column whose type the format cannot hold in a way Maru reads.
pub(crate) fn columns(format: &FileFormatSpec, schema: Schema) -> Result<Schema> {
    if let FileFormatSpec::Csv { .. } = rows(format) {
        let fields = schema.fields().iter();
        let texts = fields.map(|field| field.as_ref().clone().with_data_type(DataType::Utf8));
        return Ok(Schema::new(texts.collect::<Vec<_>>()));
    }
    for field in schema.fields() {
        let what = match rows(format) {
            FileFormatSpec::LazyText(_) => refused_type(field.data_type(), &|data_type| {
                matches!(data_type, DataType::Timestamp(_, Some(_)))
            }),
            FileFormatSpec::HiveJson { .. } => refused_type(field.data_type(), &|data_type| {
                matches!(data_type, DataType::Timestamp(_, Some(_)) | DataType::Binary)
            }),
            FileFormatSpec::Pattern { .. } => refused_type(field.data_type(), &|data_type| {
                let zoned = matches!(data_type, DataType::Timestamp(_, Some(_)));
                zoned || data_type.is_nested() || data_type == &DataType::Binary
            }),
            _ => None,
        };
        if let Some(what) = what {
            return Err(Error::unsupported(format!(
                "column \"{}\" cannot be read from text of this SerDe: {what} is not supported there",
                field.name()
            )));
        }
    }
    Ok(schema)
}

/// Fits the format of a partition to the columns it was written with. By name (Parquet, Avro, JSON) columns are found whatever
/// else was declared; by place they must be the first of the table's, and those behind them are NULL.
///
/// # Errors
/// 0A000 for a partition whose columns cannot be told by their place, or have other types than the table's.
pub(crate) fn for_partition(
    mut format: FileFormatSpec,
    columns: &[FieldSchema],
    of_table: &[FieldSchema],
    file_schema: &Schema,
) -> Result<FileFormatSpec> {
    let schema = self::columns(&format, crate::table::schema(of_table)?)?;
    if schema.fields() != file_schema.fields() {
        return Err(Error::unsupported(
            "its format gives columns other types than the format of its table does",
        ));
    }
    let by_name = matches!(
        rows(&format),
        FileFormatSpec::Parquet
            | FileFormatSpec::Orc
            | FileFormatSpec::HiveAvro
            | FileFormatSpec::HiveJson { .. }
    );
    let same = |(one, other): (&FieldSchema, &FieldSchema)| {
        one.name == other.name && one.r#type == other.r#type
    };
    let n_columns = columns.len();
    if by_name || (n_columns == of_table.len() && columns.iter().zip(of_table).all(same)) {
        return Ok(format);
    }
    let first = n_columns < of_table.len() && columns.iter().zip(of_table).all(same);
    let layout = match &mut format {
        FileFormatSpec::LazyText(layout) => Some(layout),
        FileFormatSpec::Trimmed { rows, .. } => match rows.as_mut() {
            FileFormatSpec::LazyText(layout) => Some(layout),
            _ => None,
        },
        _ => None,
    };
    match layout.filter(|_| first) {
        Some(layout) => layout.n_columns = Some(n_columns),
        None => {
            return Err(Error::unsupported("it was written with other columns than its table has"));
        }
    }
    Ok(format)
}

/// Returns whether columns are of the types that are declared: the CSV SerDe reads strings alone.
pub(crate) fn knows_types(format: &FileFormatSpec) -> bool {
    !matches!(rows(format), FileFormatSpec::Csv { .. })
}

/// Returns how rows are laid out between the lines that are left out.
fn rows(format: &FileFormatSpec) -> &FileFormatSpec {
    match format {
        FileFormatSpec::Trimmed { rows, .. } => rows,
        other => other,
    }
}

/// Returns the first part of a type that is refused, or that no text holds.
fn refused_type(data_type: &DataType, refused: &dyn Fn(&DataType) -> bool) -> Option<String> {
    if refused(data_type) {
        return Some(format!("type {data_type}"));
    }
    match data_type {
        DataType::List(item) => refused_type(item.data_type(), refused),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields)
                if fields.first().is_some_and(|key| key.data_type().is_nested()) =>
            {
                Some("a map with nested keys".to_owned())
            }
            inner => refused_type(inner, refused),
        },
        DataType::Struct(fields) => {
            fields.iter().find_map(|field| refused_type(field.data_type(), refused))
        }
        _ => None,
    }
}

/// Endings of files that Hive unpacks while it reads text, and Maru does not.
const PACKED: &[&str] = &[".snappy", ".lz4", ".lzo", ".lzo_deflate"];

/// Returns an error if the file is text packed in a way that cannot be unpacked, which would be read as rubbish.
pub(crate) fn refuse_packed(format: &FileFormatSpec, path: &str) -> Result<()> {
    let packed = PACKED.iter().find(|ending| path.ends_with(**ending));
    match (packed, format) {
        (None, _)
        | (_, FileFormatSpec::Parquet | FileFormatSpec::Orc | FileFormatSpec::HiveAvro) => Ok(()),
        (Some(ending), _) => {
            Err(Error::unsupported(format!("text compressed as {ending} cannot be read yet"))
                .with_context("path", path)
                .with_hint("Maru unpacks .gz, .bz2, .zst, .xz and .deflate."))
        }
    }
}

#[cfg(test)]
mod tests;
