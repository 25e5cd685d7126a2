//! JSON lines, decoded by arrow in pieces that end with a line.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder as ArrowDecoder;
use maru_core::{Error, ErrorKind, Result};
use memchr::{memchr_iter, memrchr};
use object_store::path::Path;

use super::Decoder;

/// Bytes that one line may have.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes decoded at once, so that stores which send small pieces do not make small batches.
const BLOCK_BYTES: usize = if cfg!(test) { 1 } else { 256 * 1024 };

pub(super) struct JsonDecoder {
    schema: SchemaRef,
    decoder: ArrowDecoder,
    batch_rows: usize,
    /// The start of a line whose end is not here yet.
    buffer: Vec<u8>,
    /// The line that `buffer` begins with.
    line: u64,
    path: Path,
}

impl JsonDecoder {
    pub(super) fn new(
        table: &SchemaRef,
        wanted: &[usize],
        batch_rows: usize,
        path: Path,
    ) -> Result<Self> {
        let schema = Arc::new(table.project(wanted)?);
        let decoder = new_decoder(&schema, batch_rows)?;
        Ok(Self { schema, decoder, batch_rows, buffer: Vec::new(), line: 1, path })
    }

    /// Decodes whole lines.
    fn decode(&mut self, lines: &[u8], full: &mut Vec<RecordBatch>) -> Result<()> {
        let n_full = full.len();
        let mut at = 0;
        while at < lines.len() {
            let n_read = match self.decoder.decode(&lines[at..]) {
                Ok(n_read) => n_read,
                Err(error) => return Err(self.bad_line(lines, Error::from(error))),
            };
            at += n_read;
            if n_read == 0 || self.decoder.len() >= self.batch_rows {
                match self.decoder.flush() {
                    Ok(batch) => full.extend(batch),
                    Err(error) => return Err(self.bad_line(lines, Error::from(error))),
                }
            }
        }
        if self.decoder.has_partial_record() {
            return Err(self.bad_line(lines, Error::internal("JSON record goes on")));
        }
        // A row may still fail when the batch is built: do it while the lines are here to tell which.
        match self.decoder.flush() {
            Ok(batch) => full.extend(batch),
            Err(error) => return Err(self.bad_line(lines, Error::from(error))),
        }
        // An object over several lines would be cut where a block ends, so it is refused everywhere.
        let n_rows = full[n_full..].iter().map(RecordBatch::num_rows).sum::<usize>();
        let n_lines =
            lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        if n_rows != n_lines.count() {
            return Err(self.bad_line(lines, Error::internal("JSON lines and rows differ")));
        }
        self.line += memchr_iter(b'\n', lines).count() as u64;
        Ok(())
    }

    /// Finds the line that cannot be decoded by decoding each alone.
    fn bad_line(&self, lines: &[u8], error: Error) -> Error {
        let mut what = error.message();
        let mut number = self.line;
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            if let Some(found) = self.defect(line) {
                number = self.line + index as u64;
                what = found;
                break;
            }
        }
        Error::new(
            ErrorKind::BadFileFormat,
            format!("file \"{}\" line {number}: {what}", self.path),
        )
        .with_hint("A JSON file holds one object per line, with values of the columns' types.")
    }

    fn defect(&self, line: &[u8]) -> Option<String> {
        let mut decoder = new_decoder(&self.schema, 2).ok()?;
        let text = |error: arrow::error::ArrowError| Some(Error::from(error).message());
        if let Err(error) = decoder.decode(line).and_then(|_| decoder.decode(b"\n")) {
            return text(error);
        }
        if decoder.has_partial_record() {
            return Some("the object does not end on its line".to_owned());
        }
        if decoder.len() > 1 {
            return Some("more than one object".to_owned());
        }
        decoder.flush().err().and_then(text)
    }
}

impl Decoder for JsonDecoder {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        let mut full = Vec::new();
        if !last && self.buffer.len() + bytes.len() < BLOCK_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(full);
        }
        let end = if last { Some(bytes.len()) } else { memrchr(b'\n', bytes).map(|at| at + 1) };
        let Some(end) = end else {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!(
                        "file \"{}\" line {}: the line is longer than {LINE_BYTES_MAX} bytes",
                        self.path, self.line
                    ),
                ));
            }
            return Ok(full);
        };
        let mut lines = std::mem::take(&mut self.buffer);
        lines.extend_from_slice(&bytes[..end]);
        self.decode(&lines, &mut full)?;
        lines.clear();
        lines.extend_from_slice(&bytes[end..]);
        self.buffer = lines;
        Ok(full)
    }
}

fn new_decoder(schema: &SchemaRef, batch_rows: usize) -> Result<ArrowDecoder> {
    Ok(ReaderBuilder::new(Arc::clone(schema)).with_batch_size(batch_rows).build_decoder()?)
}
