//! `COPY … TO STDOUT`: rows as text, CSV or binary, one message a row.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use bytes::{BufMut, BytesMut};
use futures::{SinkExt, StreamExt};
use maru_core::Result;
use maru_sql::{CopyFormat, CopyOptions};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};

use super::connection::Connection;
use super::encode::{RowEncoder, is_null, put_message};
use super::errors::Step;
use crate::output::Rows;

/// What a binary copy begins with: the signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The letter of a message with a row of it.
const COPY_DATA: u8 = b'd';

impl Connection {
    /// Sends rows as a copy.
    pub(super) async fn copy_out(&mut self, mut rows: Rows, options: &CopyOptions) -> Step {
        let writer = Writer::new(&rows.schema, options);
        let binary = i16::from(options.format == CopyFormat::Binary);
        let count = rows.schema.fields().len();
        let formats = vec![binary; count];
        let encoder = RowEncoder::new(&rows.schema, &formats, self.zone());
        let columns = i16::try_from(count).unwrap_or(i16::MAX);
        let begin = CopyOutResponse::new(binary as i8, columns, formats);
        self.socket.feed(PgWireBackendMessage::CopyOutResponse(begin)).await?;
        if options.header {
            put_message(COPY_DATA, self.socket.out(), |out| {
                writer.header(&rows.schema, out);
                Ok(())
            })?;
        }
        // It stands in the first message, whatever that is: readers rely on it.
        let mut header = if binary == 1 { BINARY_HEADER } else { b"" };
        let mut sent = 0_u64;
        while let Some(batch) = self.socket.watched(rows.stream.next()).await? {
            let batch = batch?;
            let columns = encoder.prepare(&batch)?;
            for row in 0..batch.num_rows() {
                put_message(COPY_DATA, self.socket.out(), |out| {
                    out.put_slice(std::mem::take(&mut header));
                    match binary {
                        1 => encoder.put_fields(&columns, row, out),
                        _ => writer.line(&encoder, &columns, row, out),
                    }
                })?;
                self.socket.relieve().await?;
                sent += 1;
            }
        }
        if binary == 1 {
            put_message(COPY_DATA, self.socket.out(), |out| {
                out.put_slice(header);
                out.put_i16(-1);
                Ok(())
            })?;
        }
        self.socket.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
        self.complete(&format!("COPY {sent}")).await
    }
}

/// Writes lines of text or CSV.
struct Writer<'a> {
    options: &'a CopyOptions,
    /// Which columns are quoted in any case.
    forced: Vec<bool>,
    /// Which columns cannot hold anything that is written in another way.
    plain: Vec<bool>,
    /// By byte, whether text has a backslash before it.
    escaped: [bool; 256],
}

impl<'a> Writer<'a> {
    fn new(schema: &Schema, options: &'a CopyOptions) -> Self {
        let fields = schema.fields().iter();
        let forced = fields.map(|field| options.force_quote.takes(field.name()));
        let forced = forced.collect::<Vec<_>>();
        let usual = matches!(options.delimiter, b'\t' | b',' | b';' | b'|')
            && (options.null.is_empty() || options.null.starts_with('\\'));
        let plain = schema.fields().iter().zip(&forced).map(|(field, forced)| {
            let data_type = field.data_type();
            let figures = data_type.is_numeric() || data_type.is_temporal();
            usual && !forced && (figures || *data_type == DataType::Boolean)
        });
        let mut escaped = [false; 256];
        for byte in [8, 9, 10, 11, 12, 13, b'\\', options.delimiter] {
            escaped[usize::from(byte)] = true;
        }
        Self { options, plain: plain.collect(), forced, escaped }
    }

    fn header(&self, schema: &Schema, out: &mut BytesMut) {
        for (i, field) in schema.fields().iter().enumerate() {
            self.delimit(i, out);
            let start = out.len();
            out.put_slice(field.name().as_bytes());
            self.protect(start, false, out);
        }
        out.put_u8(b'\n');
    }

    /// Writes one row.
    fn line(
        &self,
        encoder: &RowEncoder,
        columns: &[ArrayRef],
        row: usize,
        out: &mut BytesMut,
    ) -> Result<()> {
        for (i, array) in columns.iter().enumerate() {
            self.delimit(i, out);
            if is_null(array, row) {
                out.put_slice(self.options.null.as_bytes());
                continue;
            }
            let start = out.len();
            encoder.put_text(i, array, row, out)?;
            if !self.plain[i] {
                self.protect(start, self.forced[i], out);
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn delimit(&self, column: usize, out: &mut BytesMut) {
        if column > 0 {
            out.put_u8(self.options.delimiter);
        }
    }

    /// Escapes or quotes the value that begins at `start`, if it needs that.
    fn protect(&self, start: usize, forced: bool, out: &mut BytesMut) {
        match self.options.format {
            CopyFormat::Csv => self.csv(start, forced, out),
            _ => self.text(start, out),
        }
    }

    fn text(&self, start: usize, out: &mut BytesMut) {
        let escaped = |byte: &u8| self.escaped[usize::from(*byte)];
        let Some(first) = out[start..].iter().position(escaped) else { return };
        let rest = out[start + first..].to_vec();
        out.truncate(start + first);
        for byte in rest {
            let letter = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                byte => byte,
            };
            if escaped(&byte) {
                out.put_u8(b'\\');
            }
            out.put_u8(letter);
        }
    }

    fn csv(&self, start: usize, forced: bool, out: &mut BytesMut) {
        let value = &out[start..];
        let CopyOptions { delimiter, quote, escape, null, .. } = self.options;
        let special =
            |byte: &u8| byte == delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let quoted = forced
            || value == null.as_bytes()
            || value.iter().any(special)
            // Alone in a line, this would be the end of the data.
            || (self.forced.len() == 1 && value == b"\\.");
        if !quoted {
            return;
        }
        let value = value.to_vec();
        out.truncate(start);
        out.put_u8(*quote);
        for byte in value {
            if byte == *quote || byte == *escape {
                out.put_u8(*escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(*quote);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::Field;
    use maru_sql::ForceQuote;

    use super::*;
    use crate::value_text::Zone;

    fn options(format: CopyFormat) -> CopyOptions {
        CopyOptions {
            format,
            delimiter: if format == CopyFormat::Csv { b',' } else { b'\t' },
            null: if format == CopyFormat::Csv { String::new() } else { "\\N".to_owned() },
            header: false,
            header_match: false,
            quote: b'"',
            escape: b'"',
            force_quote: ForceQuote::default(),
            force_null: ForceQuote::default(),
            force_not_null: ForceQuote::default(),
        }
    }

    fn line(options: &CopyOptions, values: &[Option<&str>]) -> String {
        let column = |value: &Option<&str>| Arc::new(StringArray::from(vec![*value])) as ArrayRef;
        let columns = values.iter().map(column).collect::<Vec<_>>();
        let fields = (0..values.len()).map(|at| Field::new(at.to_string(), DataType::Utf8, true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let encoder = RowEncoder::new(&schema, &vec![0; values.len()], Zone::parse("UTC"));
        let mut out = BytesMut::from("before");
        Writer::new(&schema, options).line(&encoder, &columns, 0, &mut out).unwrap();
        String::from_utf8(out.strip_prefix(b"before").unwrap().to_vec()).unwrap()
    }

    #[test]
    fn text_is_escaped_and_csv_is_quoted() {
        let text = options(CopyFormat::Text);
        assert_eq!(
            line(&text, &[Some("a\tb\n"), None, Some("c\\d"), Some("")]),
            "a\\tb\\n\t\\N\tc\\\\d\t\n"
        );
        let csv = options(CopyFormat::Csv);
        assert_eq!(
            line(&csv, &[Some("a,b"), None, Some(""), Some("q\"r")]),
            "\"a,b\",,\"\",\"q\"\"r\"\n"
        );
        assert_eq!(line(&csv, &[Some("\\.")]), "\"\\.\"\n");
    }
}
