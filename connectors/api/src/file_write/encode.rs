//! Rows as the bytes of a file.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use maru_core::{Error, ErrorKind, Result};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::RowFormat;
use super::text::{Style, cells, json_string};
use crate::LazyText;

/// What files say wrote them.
const ENGINE: &str = concat!("Maru/", env!("CARGO_PKG_VERSION"));

pub(super) enum Encoder {
    Parquet { writer: Option<Box<ArrowWriter<Shared>>>, bytes: Shared },
    Text { rows: TextRows, bytes: Vec<u8> },
}

/// Bytes that one writes and the other takes.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|all| all.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(error: ParquetError) -> Error {
    DataFusionError::from(error).into()
}

impl Encoder {
    pub(super) fn new(format: &RowFormat, schema: &SchemaRef) -> Result<Self> {
        let RowFormat::Parquet { compression, row_group_rows } = format else {
            let mut bytes = Vec::new();
            let rows = TextRows::new(format, schema, &mut bytes);
            return Ok(Self::Text { rows, bytes });
        };
        let properties = WriterProperties::builder()
            .set_compression(*compression)
            .set_created_by(ENGINE.to_owned())
            .set_max_row_group_row_count(Some(*row_group_rows))
            .set_statistics_enabled(EnabledStatistics::Page)
            // The names that the format's specification gives to the parts of lists and maps; some readers go by them.
            .set_coerce_types(true)
            .build();
        // Other readers go by Parquet's own types.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let bytes = Shared::default();
        let writer = ArrowWriter::try_new_with_options(bytes.clone(), Arc::clone(schema), options)
            .map_err(failed)?;
        Ok(Self::Parquet { writer: Some(Box::new(writer)), bytes })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet { writer: Some(writer), .. } => writer.write(batch).map_err(failed),
            Self::Parquet { writer: None, .. } => Err(Error::internal("rows behind a file's end")),
            Self::Text { rows, bytes } => rows.write(batch, bytes),
        }
    }

    /// Returns the bytes that can be taken.
    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::Parquet { bytes, .. } => bytes.with(|bytes| bytes.len()),
            Self::Text { bytes, .. } => bytes.len(),
        }
    }

    /// Returns the bytes that are not taken yet, those of the row group that is being made too.
    pub(super) fn in_progress(&self) -> usize {
        let group = match self {
            Self::Parquet { writer: Some(writer), .. } => writer.in_progress_size(),
            _ => 0,
        };
        group + self.buffered()
    }

    pub(super) fn held(&self) -> usize {
        let group = match self {
            Self::Parquet { writer: Some(writer), .. } => writer.memory_size(),
            _ => 0,
        };
        group + self.buffered()
    }

    /// Ends a row group.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::Parquet { writer: Some(writer), .. } => writer.flush().map_err(failed),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        if let Self::Parquet { writer, .. } = self
            && let Some(writer) = writer.take()
        {
            writer.close().map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Parquet { bytes, .. } => bytes.with(std::mem::take),
            Self::Text { bytes, .. } => std::mem::take(bytes),
        }
    }
}

/// Rows as lines.
pub(super) enum TextRows {
    Csv { delimiter: u8, null: String },
    Json { keys: Vec<Vec<u8>> },
    Lazy { layout: LazyText, escapes_line_ends: bool },
}

impl TextRows {
    fn new(format: &RowFormat, schema: &SchemaRef, bytes: &mut Vec<u8>) -> Self {
        match format {
            RowFormat::Csv { header, delimiter, null } => {
                if *header {
                    for (index, field) in schema.fields().iter().enumerate() {
                        if index > 0 {
                            bytes.push(*delimiter);
                        }
                        quoted(field.name().as_bytes(), *delimiter, null, bytes);
                    }
                    bytes.push(b'\n');
                }
                Self::Csv { delimiter: *delimiter, null: null.clone() }
            }
            RowFormat::LazyText { layout, escapes_line_ends } => {
                Self::Lazy { layout: layout.clone(), escapes_line_ends: *escapes_line_ends }
            }
            RowFormat::Json | RowFormat::Parquet { .. } => {
                let keys = schema.fields().iter().enumerate().map(|(index, field)| {
                    let mut key = if index == 0 { vec![b'{'] } else { vec![b','] };
                    json_string(field.name(), &mut key);
                    key.push(b':');
                    key
                });
                Self::Json { keys: keys.collect() }
            }
        }
    }

    fn write(&self, batch: &RecordBatch, bytes: &mut Vec<u8>) -> Result<()> {
        let style = match self {
            Self::Csv { .. } => Style::Csv,
            Self::Json { .. } => Style::Json,
            Self::Lazy { .. } => Style::Hive,
        };
        let schema = batch.schema();
        let named = schema.fields().iter().zip(batch.columns());
        let columns = named
            .map(|(field, array)| {
                let cells = cells(array.as_ref(), style)
                    .map_err(|error| error.or_context("column", field.name().clone()))?;
                Ok((field.name(), array, cells))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut cell = Vec::new();
        for row in 0..batch.num_rows() {
            for (index, (name, array, cells)) in columns.iter().enumerate() {
                let is_null = array.is_null(row);
                cell.clear();
                if !is_null {
                    cells(row, &mut cell)
                        .map_err(|error| error.or_context("column", (*name).clone()))?;
                }
                match self {
                    Self::Csv { delimiter, null } => {
                        if index > 0 {
                            bytes.push(*delimiter);
                        }
                        match is_null {
                            true => bytes.extend_from_slice(null.as_bytes()),
                            false => quoted(&cell, *delimiter, null, bytes),
                        }
                    }
                    Self::Json { keys } => {
                        bytes.extend_from_slice(&keys[index]);
                        bytes.extend_from_slice(if is_null { b"null" } else { &cell });
                    }
                    Self::Lazy { layout, escapes_line_ends } => {
                        if index > 0 {
                            bytes.push(layout.separators.first().copied().unwrap_or(1));
                        }
                        match is_null {
                            true => bytes.extend_from_slice(layout.null.as_bytes()),
                            false => delimited(
                                &cell,
                                array.data_type(),
                                layout,
                                *escapes_line_ends,
                                bytes,
                            )
                            .map_err(|error| error.or_context("column", (*name).clone()))?,
                        }
                    }
                }
            }
            if let Self::Json { .. } = self {
                bytes.push(b'}');
            }
            bytes.push(b'\n');
        }
        Ok(())
    }
}

/// Writes a field of CSV, in quotes where it could be read as something else.
fn quoted(cell: &[u8], delimiter: u8, null: &str, bytes: &mut Vec<u8>) {
    let special = |byte: &u8| *byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    if cell != null.as_bytes() && !cell.is_empty() && !cell.iter().any(special) {
        bytes.extend_from_slice(cell);
        return;
    }
    bytes.push(b'"');
    for byte in cell {
        if *byte == b'"' {
            bytes.push(b'"');
        }
        bytes.push(*byte);
    }
    bytes.push(b'"');
}

/// Writes a value of Hive's text, escaped where the table has an escape.
///
/// # Errors
/// 22023 for a value that would be read as something else.
fn delimited(
    cell: &[u8],
    data_type: &DataType,
    layout: &LazyText,
    escapes_line_ends: bool,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let refused = |what: &str| {
        let text = String::from_utf8_lossy(cell);
        let shown = text.chars().take(40).collect::<String>();
        Error::new(
            ErrorKind::InvalidParameter,
            format!("text \"{}\" cannot be written: {what}", shown.escape_debug()),
        )
        .with_hint("Write to a table in Parquet, or to one whose text has ESCAPED BY.")
    };
    // The mark for NULL is looked for before escapes are.
    if cell == layout.null.as_bytes() {
        return Err(refused("it is what stands for NULL in this table"));
    }
    let separator = layout.separators.first().copied().unwrap_or(1);
    let special = |byte: u8| byte == separator || matches!(byte, b'\n' | b'\r');
    let is_text = matches!(data_type, DataType::Utf8);
    match layout.escape {
        Some(escape) if is_text => {
            for byte in cell {
                match *byte {
                    b'\n' | b'\r' if !escapes_line_ends => {
                        return Err(refused(
                            "it holds a line end, which the table does not escape",
                        ));
                    }
                    b'\n' => bytes.extend_from_slice(&[escape, b'n']),
                    b'\r' => bytes.extend_from_slice(&[escape, b'r']),
                    byte if byte == separator || byte == escape => {
                        bytes.extend_from_slice(&[escape, byte]);
                    }
                    byte => bytes.push(byte),
                }
            }
            Ok(())
        }
        _ if cell.iter().any(|byte| special(*byte)) => Err(refused(
            "it holds the table's delimiter or a line end, and the table has no escape",
        )),
        // Only texts are freed from escapes.
        Some(escape) if cell.contains(&escape) => Err(refused("it holds the table's escape")),
        _ => {
            bytes.extend_from_slice(cell);
            Ok(())
        }
    }
}
