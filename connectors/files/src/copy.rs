//! `COPY … TO 'place'`: rows as plain files, which no log speaks of. They have names of the attempt's own; `_SUCCESS` comes last.

mod job;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt, ready};
use maru_connect::{
    FILE_BYTES, FileMaking, OpenedStore, Packing, ROW_GROUP_ROWS, RowFormat, Source, SourceTable,
    TableEntry, WriteJob, WriteRequest, parquet_compression,
};
use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Options, Result};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;

use crate::delta;
use crate::formats::Format;
use job::{Columns, CopyJob};

/// Options of `COPY … TO 'place'`, besides `PARTITION_BY`.
pub static COPY_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "format",
        OptionKind::OneOf(&["parquet", "csv", "json"]),
        "How rows are laid out; by default as the end of the name says, else Parquet.",
    ),
    OptionSpec::new(
        "compression",
        OptionKind::OneOf(&["none", "snappy", "zstd", "lz4", "gzip"]),
        "How Parquet's pages (snappy by default), or files of text (none; gzip, zstd), are packed.",
    ),
    OptionSpec::new(
        "single_file",
        OptionKind::Boolean,
        "Whether the place is the file itself; by default if the end of its name says a format.",
    ),
    OptionSpec::new("row_group_size", OptionKind::Integer, "Rows of a row group of Parquet."),
    OptionSpec::new(
        "max_file_size",
        OptionKind::Text,
        "Bytes after which a file is ended, e.g. 64MB; 256MB by default.",
    ),
    OptionSpec::new(
        "header",
        OptionKind::Boolean,
        "Whether a CSV file begins with the names of its columns; by default true.",
    ),
    OptionSpec::new("delimiter", OptionKind::Text, "What stands between fields of CSV."),
    OptionSpec::new("null", OptionKind::Text, "What stands for NULL in CSV; by default nothing."),
    OptionSpec::new(
        "overwrite",
        OptionKind::Boolean,
        "Whether files that are there are removed; without it they are an error.",
    ),
];

/// A place that rows are copied to.
#[derive(Debug)]
pub struct CopyTarget {
    pub opened: OpenedStore,
    /// As it was written.
    pub shown: String,
    /// Checked against [`COPY_OPTIONS`].
    pub options: Options,
    pub partition_by: Vec<String>,
}

impl CopyTarget {
    fn format(&self) -> Result<(RowFormat, Packing, bool)> {
        let name = self.opened.path.filename().unwrap_or_default();
        let named = Format::of_name(name);
        let word = match (self.options.text("format"), named.as_ref().map(|named| named.format)) {
            (Some(word), _) => word,
            (None, Some(Format::Csv)) => "csv",
            (None, Some(Format::Json)) => "json",
            (None, Some(Format::Parquet) | None) => "parquet",
            (None, Some(other)) => {
                return Err(Error::unsupported(format!(
                    "files in {} are not written",
                    other.name()
                ))
                .with_hint("Say FORMAT parquet, csv or json."));
            }
        };
        let single = self.options.boolean("single_file").unwrap_or(named.is_some());
        let given = self.options.text("compression");
        if word == "parquet" {
            let compression = parquet_compression(given.unwrap_or("snappy"))
                .ok_or_else(|| Error::internal("a compression that is none"))?;
            let rows = self.options.integer("row_group_size");
            let row_group_rows = match rows {
                None => ROW_GROUP_ROWS,
                Some(rows) => usize::try_from(rows)
                    .ok()
                    .filter(|rows| *rows > 0)
                    .ok_or_else(|| invalid("row_group_size", "it is a number of rows"))?,
            };
            return Ok((RowFormat::Parquet { compression, row_group_rows }, Packing::None, single));
        }
        if self.options.integer("row_group_size").is_some() {
            return Err(invalid("row_group_size", "only Parquet has row groups"));
        }
        let end = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let packing = match (given, end.as_str()) {
            (Some("gzip"), _) | (None, "gz") => Packing::Gzip,
            (Some("zstd"), _) | (None, "zst") => Packing::Zstd,
            (Some("none") | None, _) => Packing::None,
            (Some(other), _) => {
                return Err(Error::unsupported(format!("text is not packed with {other}"))
                    .with_hint("Use gzip or zstd."));
            }
        };
        if word == "json" {
            return Ok((RowFormat::Json, packing, single));
        }
        let delimiter = match self.options.text("delimiter") {
            None if named.is_some_and(|named| named.delimiter == Some(b'\t')) => b'\t',
            None => b',',
            Some("\\t") => b'\t',
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => *byte,
                _ => return Err(invalid("delimiter", "it is one character, but no quote")),
            },
        };
        let null = self.options.text("null").unwrap_or_default().to_owned();
        if null.contains([char::from(delimiter), '"', '\n', '\r']) {
            return Err(invalid("null", "it holds the delimiter, a quote or a line end"));
        }
        let header = self.options.boolean("header").unwrap_or(true);
        Ok((RowFormat::Csv { header, delimiter, null }, packing, single))
    }

    fn file_bytes(&self) -> Result<u64> {
        let Some(text) = self.options.text("max_file_size") else { return Ok(FILE_BYTES) };
        let plain = text.trim().to_ascii_lowercase();
        let digits = plain.find(|c: char| !c.is_ascii_digit()).unwrap_or(plain.len());
        let (number, unit) = plain.split_at(digits);
        let unit = match unit.trim() {
            "" | "b" => 1,
            "kb" => 1024,
            "mb" => 1024 * 1024,
            "gb" => 1024 * 1024 * 1024,
            _ => return Err(invalid("max_file_size", "it is a number with B, kB, MB or GB")),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| invalid("max_file_size", "it is a number with B, kB, MB or GB"))
    }

    async fn begin(&self, request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
        let (format, packing, single) = self.format()?;
        if single && !self.partition_by.is_empty() {
            return Err(invalid("partition_by", "one file has no partitions"));
        }
        if single && self.options.text("max_file_size").is_some() {
            return Err(invalid("max_file_size", "one file is as large as it gets"));
        }
        if self.opened.path.as_ref().is_empty() {
            return Err(Error::unsupported("rows are not copied to the root of a store")
                .with_hint("Name a folder below it."));
        }
        let overwrite = self.options.boolean("overwrite").unwrap_or(false);
        let old = self.old(single, overwrite).await?;
        let columns = Columns::of(&request.columns, &self.partition_by, &format)?;
        let making = FileMaking {
            store: Arc::clone(&self.opened.store),
            format,
            packing,
            schema: Arc::clone(&columns.in_files),
            file_bytes: if single { u64::MAX } else { self.file_bytes()? },
            memory: request.memory.clone(),
            begun: Mutex::default(),
        };
        Ok(Arc::new(CopyJob {
            place: self.opened.path.clone(),
            attempt: request.attempt.id,
            single,
            of_objects: self.opened.url.as_str().contains("+s3://"),
            old,
            columns,
            making: Arc::new(making),
            n_streams: AtomicUsize::new(0),
            n_rows: Mutex::new(0),
            pending: Mutex::default(),
            partitions: Mutex::default(),
        }))
    }

    /// Looks at what lies at the place; returns what is to be removed.
    async fn old(&self, single: bool, overwrite: bool) -> Result<Vec<Path>> {
        let (store, place) = (&self.opened.store, &self.opened.path);
        // Files in the folder of a table with a log would be rubbish there, or pass for its rows.
        let mut folder = place.clone();
        loop {
            let opened = OpenedStore { path: folder.clone(), ..self.opened.clone() };
            if delta::is_delta(&opened).await.unwrap_or(false) {
                return Err(Error::unsupported(format!(
                    "\"{}\" lies in a Delta Lake table",
                    self.shown
                ))
                .with_hint("INSERT INTO the table, or name another place."));
            }
            let mut parts = folder.parts().collect::<Vec<_>>();
            if parts.pop().is_none() || parts.is_empty() {
                break;
            }
            folder = parts.into_iter().collect();
        }
        let there = match store.head(place).await {
            Ok(meta) => vec![meta.location],
            Err(_) => {
                let files = store.list(Some(place)).map_ok(|meta| meta.location);
                match files.try_collect::<Vec<_>>().await {
                    Ok(files) => files,
                    Err(object_store::Error::NotFound { .. }) => Vec::new(),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if there.is_empty() {
            return Ok(there);
        }
        let is_file = there.iter().any(|path| path == place);
        if single != is_file {
            let (what, kind) = if is_file { ("file", "false") } else { ("folder", "true") };
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!(
                    "\"{}\" is a {what} that is there, which does not go with SINGLE_FILE {kind}",
                    self.shown
                ),
            )
            .with_hint("Name another place."));
        }
        if overwrite {
            return Ok(there);
        }
        Err(Error::new(ErrorKind::DuplicateObject, format!("\"{}\" is not empty", self.shown))
            .with_detail(format!("It holds {} files.", there.len()))
            .with_hint("Say OVERWRITE to have them removed, or name another place."))
    }
}

fn invalid(option: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("invalid value for option \"{option}\": {why}"))
}

impl Source for CopyTarget {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        ready(Ok(self.shown.clone())).boxed()
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn tables<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn table<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        ready(Ok(None)).boxed()
    }

    fn begin_write(&self, request: WriteRequest) -> BoxFuture<'_, Result<Arc<dyn WriteJob>>> {
        self.begin(request).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}
