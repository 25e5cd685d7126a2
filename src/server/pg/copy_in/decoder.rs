//! From the bytes of a copy to batches, with the place of what is wrong in them.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use maru_core::{Error, ErrorKind, Result, limits};
use maru_sql::{CopyFormat, CopyOptions};

use super::binary::Tuples;
use super::columns::Column;
use super::lines::{Fields, Lines};
use crate::session::Incoming;
use crate::value_text::Zone;

/// Bytes of a line that an error shows.
const SHOWN_BYTES_MAX: usize = 100;

#[derive(Debug)]
enum Source {
    Lines(Lines, Fields),
    Tuples(Tuples),
}

/// Makes rows of the bytes that come.
#[derive(Debug)]
pub(super) struct Decoder {
    schema: SchemaRef,
    relation: String,
    options: Arc<CopyOptions>,
    zone: Zone,
    source: Source,
    columns: Vec<Column>,
    /// Per column: what stands for NULL is NULL even in quotes; it is text even without.
    forced: Vec<(bool, bool)>,
    header_read: bool,
    n_rows: usize,
    n_bytes: usize,
}

impl Decoder {
    pub(super) fn new(incoming: &Incoming, zone: Zone) -> Result<Self> {
        let options = &incoming.options;
        let fields = incoming.schema.fields();
        let columns = fields.iter().map(|field| Column::new(field)).collect::<Result<Vec<_>>>()?;
        let forced = fields.iter().map(|field| {
            let name = field.name();
            (options.force_null.takes(name), options.force_not_null.takes(name))
        });
        let source = match options.format {
            CopyFormat::Binary => Source::Tuples(Tuples::default()),
            _ => Source::Lines(Lines::new(options), Fields::default()),
        };
        Ok(Self {
            schema: incoming.schema.clone(),
            relation: incoming.relation.clone(),
            forced: forced.collect(),
            options: Arc::clone(options),
            zone,
            source,
            columns,
            header_read: !options.header,
            n_rows: 0,
            n_bytes: 0,
        })
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.n_bytes += piece.len();
        match &mut self.source {
            Source::Lines(lines, _) => lines.push(piece),
            Source::Tuples(tuples) => tuples.push(piece),
        }
    }

    /// Returns the next rows; `None` if there are none without more pieces.
    pub(super) fn next(&mut self, last: bool) -> Result<Option<RecordBatch>> {
        while self.n_rows < limits::BATCH_ROWS {
            let there = match self.source {
                Source::Lines(..) => self.read_line(last),
                Source::Tuples(_) => self.read_tuple(last),
            };
            if !there? {
                break;
            }
        }
        let full = self.n_rows >= limits::BATCH_ROWS || self.n_bytes >= limits::COPY_BATCH_BYTES;
        if self.n_rows == 0 || !(full || last) {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        (self.n_rows, self.n_bytes) = (0, 0);
        let schema = Arc::clone(&self.schema);
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    /// Says where in the data something is wrong, as PostgreSQL does.
    pub(super) fn locate(&self, error: Error, more: Option<String>) -> Error {
        let number = match &self.source {
            Source::Lines(lines, _) => lines.number,
            Source::Tuples(tuples) => tuples.number,
        };
        let more = more.unwrap_or_default();
        error.with_input(format!("COPY {}, line {number}{more}", self.relation))
    }

    fn read_line(&mut self, last: bool) -> Result<bool> {
        let Source::Lines(lines, fields) = &mut self.source else { return Ok(false) };
        let range = match lines.next(last) {
            Ok(Some(range)) => range,
            Ok(None) => return Ok(false),
            Err(error) => return Err(self.locate(error, None)),
        };
        let line = lines.line(range.clone());
        let options = &self.options;
        let split = check_text(line).and_then(|()| match options.format {
            CopyFormat::Csv => fields.split_csv(line, options),
            _ => {
                fields.split_text(line, options);
                Ok(())
            }
        });
        let header = !std::mem::replace(&mut self.header_read, true);
        if header && !options.header_match {
            return Ok(true);
        }
        let outcome = split.map_err(|error| (error, None)).and_then(|()| match header {
            true => check_header(fields, &self.columns, options).map_err(|error| (error, None)),
            false => {
                let how = How {
                    relation: &self.relation,
                    forced: &self.forced,
                    options,
                    zone: &self.zone,
                };
                append(fields, &mut self.columns, &how)
            }
        });
        if let Err((error, column)) = outcome {
            let more = column.unwrap_or_else(|| {
                let line = String::from_utf8_lossy(lines.line(range)).into_owned();
                format!(": \"{}\"", shortened(&line))
            });
            return Err(self.locate(error, Some(more)));
        }
        self.n_rows += usize::from(!header);
        Ok(true)
    }

    fn read_tuple(&mut self, last: bool) -> Result<bool> {
        let Source::Tuples(tuples) = &mut self.source else { return Ok(false) };
        match tuples.next(self.columns.len(), last) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(self.locate(error, None)),
        }
        let mut failed = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let appended = match tuples.field(index) {
                Some(bytes) => column.push_binary(bytes),
                None => push_null(column, &self.relation),
            };
            if let Err(error) = appended {
                failed = Some((error, format!(", column {}", column.name)));
                break;
            }
        }
        if let Some((error, place)) = failed {
            return Err(self.locate(error, Some(place)));
        }
        self.n_rows += 1;
        Ok(true)
    }
}

/// Cuts a text that an error shows.
fn shortened(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=SHOWN_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

fn check_text(line: &[u8]) -> Result<()> {
    let bad = |at: usize| {
        let shown = line[at..].iter().take(1).map(|byte| format!("0x{byte:02x}"));
        let message = format!(
            "invalid byte sequence for encoding \"UTF8\": {}",
            shown.collect::<Vec<_>>().join(" ")
        );
        Err(Error::new(ErrorKind::BadEncoding, message))
    };
    if let Err(error) = std::str::from_utf8(line) {
        return bad(error.valid_up_to());
    }
    match memchr::memchr(0, line) {
        Some(at) => bad(at),
        None => Ok(()),
    }
}

fn check_header(fields: &Fields, columns: &[Column], options: &CopyOptions) -> Result<()> {
    let bad = |message: String| Err(Error::new(ErrorKind::BadCopyFormat, message));
    if fields.len() != columns.len() {
        return bad(format!(
            "wrong number of fields in header line: got {}, expected {}",
            fields.len(),
            columns.len()
        ));
    }
    for (index, column) in columns.iter().enumerate() {
        let (number, expected) = (index + 1, &column.name);
        match fields.get(index) {
            Some((_, true, _)) | None => {
                return bad(format!(
                    "column name mismatch in header line field {number}: got null value (\"{}\"), expected \"{expected}\"",
                    options.null
                ));
            }
            Some((name, ..)) if name != expected.as_bytes() => {
                return bad(format!(
                    "column name mismatch in header line field {number}: got \"{}\", expected \"{expected}\"",
                    String::from_utf8_lossy(name)
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn push_null(column: &mut Column, relation: &str) -> Result<()> {
    if column.nullable {
        return column.push_null();
    }
    Err(Error::new(
        ErrorKind::NotNullViolation,
        format!(
            "null value in column \"{}\" of relation \"{relation}\" violates not-null constraint",
            column.name
        ),
    ))
}

/// What a row of text is read by.
struct How<'a> {
    relation: &'a str,
    forced: &'a [(bool, bool)],
    options: &'a CopyOptions,
    zone: &'a Zone,
}

/// Appends one row. An error comes with the column that it is in, if it is in one.
fn append(
    fields: &Fields,
    columns: &mut [Column],
    how: &How<'_>,
) -> Result<(), (Error, Option<String>)> {
    let bad = |message: String| (Error::new(ErrorKind::BadCopyFormat, message), None);
    if fields.len() > columns.len() {
        return Err(bad("extra data after last expected column".to_owned()));
    }
    for (index, (column, (force_null, force_not_null))) in
        columns.iter_mut().zip(how.forced).enumerate()
    {
        let Some((text, null, quoted)) = fields.get(index) else {
            return Err(bad(format!("missing data for column \"{}\"", column.name)));
        };
        let null = (null && !force_not_null)
            || (*force_null && quoted && text == how.options.null.as_bytes());
        if null {
            push_null(column, how.relation).map_err(|error| (error, None))?;
            continue;
        }
        // Escapes may make bytes that are no text.
        let appended = check_text(text).and_then(|()| {
            let text = std::str::from_utf8(text).unwrap_or_default();
            column.push_text(text, how.zone)
        });
        appended.map_err(|error| {
            let text = String::from_utf8_lossy(text);
            (error, Some(format!(", column {}: \"{}\"", column.name, shortened(&text))))
        })?;
    }
    Ok(())
}
