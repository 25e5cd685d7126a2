//! Avro object container files, cut into blocks here and decoded by arrow-avro.
//!
//! The library wants a file from its header to its end, or loses blocks when it is given a part (59.3). So whole blocks
//! are collected and given to it behind the file's own header, as a small file of their own. Source: Apache Avro 1.12,
//! "Object Container Files". Columns are brought into the shape of the table's by `file_table/shape.rs`.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_avro::reader::{HeaderInfo, Reader, ReaderBuilder, read_header_info};
use maru_core::{Error, ErrorKind, Result};
use memchr::memmem;
use object_store::path::Path;

use super::Decoder;
use crate::file_table::one_nan::one_nan;
use crate::file_table::shape::Shape;

/// Bytes of blocks that are decoded at once.
const CHUNK_BYTES: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// Bytes that a header, or one block, may have.
const PART_BYTES_MAX: usize = 256 << 20;

/// Reads the wanted columns, found by name as those of Parquet are.
pub(super) struct AvroDecoder {
    wanted: SchemaRef,
    batch_rows: usize,
    path: Path,
    /// Whether dates and times are Hive's.
    hive: bool,
    header: Option<Header>,
    /// What is read and not decoded; begins with a block once the header is there.
    buffer: Vec<u8>,
    /// The end of the last whole block in `buffer`.
    whole: usize,
}

/// The head of a file, kept to be put before blocks.
struct Header {
    bytes: Vec<u8>,
    mark: [u8; 16],
    shape: Shape,
}

impl AvroDecoder {
    pub(super) fn new(
        table: &SchemaRef,
        columns: &[usize],
        batch_rows: usize,
        path: Path,
        hive: bool,
    ) -> Result<Self> {
        let wanted = Arc::new(table.project(columns)?);
        Ok(Self { wanted, batch_rows, path, hive, header: None, buffer: Vec::new(), whole: 0 })
    }

    /// Decodes the whole blocks in the buffer.
    fn decode(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(header) = &self.header else { return Ok(Vec::new()) };
        let mut blocks = &self.buffer[..self.whole];
        let mut batches = Vec::new();
        while let Some(length) = block(blocks, &header.mark, &self.path)? {
            batches.extend(self.decode_block(header, &blocks[..length])?);
            blocks = &blocks[length..];
        }
        self.buffer.drain(..self.whole);
        self.whole = 0;
        let all = concat_batches(&self.wanted, &batches)?;
        let starts = (0..all.num_rows()).step_by(self.batch_rows.max(1));
        Ok(starts
            .map(|start| all.slice(start, self.batch_rows.max(1).min(all.num_rows() - start)))
            .collect())
    }
}

impl AvroDecoder {
    /// Decodes one block into one batch. The library is never asked for more rows than the block says: where bytes are
    /// left behind the last one it would turn in a circle for ever (59.3).
    fn decode_block(&self, header: &Header, block: &[u8]) -> Result<Option<RecordBatch>> {
        let corrupt = |why: &str| no_avro(&self.path, why);
        let count = long(block).map_err(corrupt)?.map_or(0, |(count, _)| count);
        let Some(n_rows) = usize::try_from(count).ok().filter(|n_rows| *n_rows > 0) else {
            return Ok(None);
        };
        let file = Cursor::new(&header.bytes).chain(Cursor::new(block));
        match open(file, n_rows, &self.path)?.next() {
            Some(Ok(batch)) if batch.num_rows() == n_rows => {
                header.shape.adapt(&batch, &self.wanted).and_then(one_nan).map(Some)
            }
            Some(Err(error)) => Err(corrupt(&error.to_string())),
            _ => Err(corrupt(&format!("a block holds fewer rows than the {count} it counts"))),
        }
    }
}

impl Decoder for AvroDecoder {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        self.buffer.extend_from_slice(bytes);
        if self.header.is_none() {
            let Some(found) = header(&self.buffer, last, &self.path)? else {
                return Ok(Vec::new());
            };
            let length = found.header_len() as usize;
            let bytes = self.buffer.drain(..length).collect::<Vec<_>>();
            let shape = if self.hive { shape_of_hive(&bytes)? } else { Shape::default() };
            self.header = Some(Header { bytes, mark: found.sync(), shape });
        }
        let mark = self.header.as_ref().map(|header| header.mark).unwrap_or_default();
        while let Some(length) = block(&self.buffer[self.whole..], &mark, &self.path)? {
            self.whole += length;
        }
        if last && self.whole < self.buffer.len() {
            return Err(no_avro(&self.path, "it ends in the middle of a block"));
        }
        if !last && self.whole < CHUNK_BYTES {
            return Ok(Vec::new());
        }
        // Nobody vouches for the bytes: where the decoder panics, they are corrupt.
        catch_unwind(AssertUnwindSafe(|| self.decode()))
            .unwrap_or_else(|_| Err(no_avro(&self.path, "a block makes no sense")))
    }
}

/// Finds the columns of a file in its header. Enumerations are text; every column may be NULL.
pub(in crate::file_table) struct AvroSample {
    path: Path,
    buffer: Vec<u8>,
}

impl AvroSample {
    pub(in crate::file_table) fn new(path: Path) -> Self {
        Self { path, buffer: Vec::new() }
    }

    /// Takes more bytes; returns the columns once the header is there.
    ///
    /// # Errors
    /// XX001 for a file that is not Avro, 0A000 for a union of several types; both name the file.
    pub(in crate::file_table) fn push(
        &mut self,
        bytes: &[u8],
        last: bool,
    ) -> Result<Option<Schema>> {
        self.buffer.extend_from_slice(bytes);
        let Some(found) = header(&self.buffer, last, &self.path)? else { return Ok(None) };
        let length = found.header_len() as usize;
        let schema = catch_unwind(AssertUnwindSafe(|| {
            Ok::<_, Error>(open(Cursor::new(&self.buffer[..length]), 1, &self.path)?.schema())
        }))
        .unwrap_or_else(|_| Err(no_avro(&self.path, "its schema makes no sense")))?;
        let fields = schema.fields().iter().map(|field| {
            if matches!(field.data_type(), DataType::Union(..)) {
                let name = field.name();
                return Err(Error::unsupported(format!(
                    "column \"{name}\" is a union of several types"
                ))
                .with_context("file", self.path.to_string()));
            }
            Ok(Field::new(field.name(), plain(field.data_type()), true))
        });
        Ok(Some(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }
}

fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    }
}

fn open<R: std::io::BufRead>(file: R, batch_rows: usize, path: &Path) -> Result<Reader<R>> {
    let reader = ReaderBuilder::new().with_batch_size(batch_rows).build(file);
    reader.map_err(|error| no_avro(path, &error.to_string()))
}

/// Reads the header at the start of `bytes`; `None` if it is not whole yet.
fn header(bytes: &[u8], last: bool, path: &Path) -> Result<Option<HeaderInfo>> {
    if !b"Obj\x01".starts_with(&bytes[..bytes.len().min(4)]) {
        return Err(no_avro(path, "it does not begin as one"));
    }
    let read = catch_unwind(AssertUnwindSafe(|| read_header_info(Cursor::new(bytes))));
    match read {
        // A metadata map that is cut off may look whole without the mark behind it.
        Ok(Ok(found)) if found.header_len() as usize <= bytes.len() => Ok(Some(found)),
        Ok(_) if !last && bytes.len() < PART_BYTES_MAX => Ok(None),
        Ok(Err(error)) => Err(no_avro(path, &error.to_string())),
        _ => Err(no_avro(path, "its header makes no sense")),
    }
}

/// Returns the length of the block that `bytes` begins with; `None` if it is not whole yet.
fn block(bytes: &[u8], mark: &[u8; 16], path: &Path) -> Result<Option<usize>> {
    let corrupt = |why: &str| no_avro(path, why);
    let Some((count, n_count)) = long(bytes).map_err(corrupt)? else { return Ok(None) };
    let Some((size, n_size)) = long(&bytes[n_count..]).map_err(corrupt)? else { return Ok(None) };
    let data = usize::try_from(size).ok().filter(|size| *size <= PART_BYTES_MAX);
    let (Some(data), 0..) = (data, count) else {
        return Err(no_avro(path, &format!("a block of {count} rows and {size} bytes")));
    };
    let end = n_count + n_size + data;
    let Some(found) = bytes.get(end..end + mark.len()) else { return Ok(None) };
    if found != mark {
        return Err(no_avro(path, "a block does not end with the mark of the file"));
    }
    Ok(Some(end + mark.len()))
}

/// Reads a number of variable length; returns how many bytes it takes, or `None` if it is not whole yet.
fn long(bytes: &[u8]) -> std::result::Result<Option<(i64, usize)>, &'static str> {
    let mut value = 0_u64;
    for (position, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * position).min(63);
        if byte & 0x80 == 0 {
            let number = (value >> 1) as i64 ^ -((value & 1) as i64);
            return Ok(Some((number, position + 1)));
        }
    }
    if bytes.len() < 10 { Ok(None) } else { Err("a number has no end") }
}

/// Returns what Hive takes from the head of a file: it writes there by which calendar and in which zone it counted,
/// and without a word the calendar is the old one.
///
/// # Errors
/// 0A000 for a file whose times were counted in another zone than UTC.
fn shape_of_hive(header: &[u8]) -> Result<Shape> {
    let says = |entry: &[u8]| memmem::find(header, entry).is_some();
    const ZONE: &[u8] = b"writer.time.zone";
    if let Some(at) = memmem::find(header, ZONE) {
        let rest = &header[at + ZONE.len()..];
        // A length, doubled, and then the name.
        let name = rest.get(1..1 + usize::from(rest.first().copied().unwrap_or(0) / 2));
        let name = String::from_utf8_lossy(name.unwrap_or_default());
        if !matches!(name.as_ref(), "UTC" | "Etc/UTC" | "GMT" | "Z") {
            return Err(Error::unsupported(format!(
                "an Avro file that Hive wrote in time zone \"{name}\" cannot be read yet"
            )));
        }
    }
    let proleptic = says(b"writer.proleptic\x08true")
        || (says(b"org.apache.spark.version") && !says(b"org.apache.spark.legacyDateTime"));
    Ok(Shape { hybrid: !proleptic, ..Shape::default() })
}

fn no_avro(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::DataCorrupted, format!("file \"{path}\" is not valid Avro: {why}"))
        .with_hint("The file may be cut off or of another format. Write it again or remove it.")
}

#[cfg(test)]
mod tests;
