//! `COPY … TO STDOUT`: rows as text, CSV or binary, one message a row.

use arrow::datatypes::Schema;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use maru_core::{Error, Result};
use maru_sql::{CopyFormat, CopyOptions};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};

use super::connection::Connection;
use super::encode::RowEncoder;
use super::errors::Step;
use crate::output::Rows;

/// What a binary copy begins with: the signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Connection {
    /// Sends rows as a copy.
    pub(super) async fn copy_out(&mut self, mut rows: Rows, options: &CopyOptions) -> Step {
        let writer = Writer::new(&rows.schema, options);
        let binary = i16::from(options.format == CopyFormat::Binary);
        let count = rows.schema.fields().len();
        let formats = vec![binary; count];
        let mut encoder = RowEncoder::new(&rows.schema, &formats, self.zone());
        let columns = i16::try_from(count).unwrap_or(i16::MAX);
        let begin = CopyOutResponse::new(binary as i8, columns, formats);
        self.socket.feed(PgWireBackendMessage::CopyOutResponse(begin)).await?;
        let mut out = BytesMut::new();
        if binary == 1 {
            out.put_slice(BINARY_HEADER);
        }
        if options.header {
            writer.header(&rows.schema, &mut out);
            self.send_copied(out.split().freeze()).await?;
        }
        let mut sent = 0_u64;
        while let Some(batch) = self.socket.watched(rows.stream.next()).await? {
            let batch = batch?;
            let columns = encoder.prepare(&batch)?;
            for row in 0..batch.num_rows() {
                let fields = encoder.row(&columns, row)?.data;
                if binary == 1 {
                    out.put_i16(count as i16);
                    out.put_slice(&fields);
                } else {
                    writer.line(fields.freeze(), &mut out)?;
                }
                self.send_copied(out.split().freeze()).await?;
                sent += 1;
            }
        }
        if binary == 1 {
            out.put_i16(-1);
            self.send_copied(out.split().freeze()).await?;
        }
        self.socket.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
        self.complete(&format!("COPY {sent}")).await
    }

    async fn send_copied(&mut self, data: Bytes) -> Step {
        Ok(self.socket.feed(PgWireBackendMessage::CopyData(CopyData::new(data))).await?)
    }
}

/// Writes lines of text or CSV.
struct Writer<'a> {
    options: &'a CopyOptions,
    /// Which columns are quoted in any case.
    forced: Vec<bool>,
}

impl<'a> Writer<'a> {
    fn new(schema: &Schema, options: &'a CopyOptions) -> Self {
        let fields = schema.fields().iter();
        let forced = fields.map(|field| options.force_quote.takes(field.name()));
        Self { options, forced: forced.collect() }
    }

    fn header(&self, schema: &Schema, out: &mut BytesMut) {
        for (i, field) in schema.fields().iter().enumerate() {
            self.delimit(i, out);
            match self.options.format {
                CopyFormat::Csv => self.csv(field.name().as_bytes(), false, out),
                _ => self.text(field.name().as_bytes(), out),
            }
        }
        out.put_u8(b'\n');
    }

    /// Writes one row, of which `fields` holds each value behind its length.
    fn line(&self, mut fields: Bytes, out: &mut BytesMut) -> Result<()> {
        let cut = || Error::internal("a row of a copy is cut");
        for (i, forced) in self.forced.iter().enumerate() {
            self.delimit(i, out);
            let length = fields.try_get_i32().map_err(|_| cut())?;
            let Ok(length) = usize::try_from(length) else {
                out.put_slice(self.options.null.as_bytes());
                continue;
            };
            if fields.len() < length {
                return Err(cut());
            }
            let value = fields.split_to(length);
            match self.options.format {
                CopyFormat::Csv => self.csv(&value, *forced, out),
                _ => self.text(&value, out),
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

    fn text(&self, value: &[u8], out: &mut BytesMut) {
        for byte in value {
            let letter = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                b'\\' => b'\\',
                byte if *byte == self.options.delimiter => *byte,
                byte => {
                    out.put_u8(*byte);
                    continue;
                }
            };
            out.put_u8(b'\\');
            out.put_u8(letter);
        }
    }

    fn csv(&self, value: &[u8], forced: bool, out: &mut BytesMut) {
        let CopyOptions { delimiter, quote, escape, null, .. } = self.options;
        let special =
            |byte: &u8| byte == delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let quoted = forced
            || value == null.as_bytes()
            || value.iter().any(special)
            // Alone in a line, this would be the end of the data.
            || (self.forced.len() == 1 && value == b"\\.");
        if !quoted {
            out.put_slice(value);
            return;
        }
        out.put_u8(*quote);
        for byte in value {
            if byte == quote || byte == escape {
                out.put_u8(*escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(*quote);
    }
}

#[cfg(test)]
mod tests {
    use maru_sql::ForceQuote;

    use super::*;

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
        let mut fields = BytesMut::new();
        for value in values {
            match value {
                Some(value) => {
                    fields.put_i32(value.len() as i32);
                    fields.put_slice(value.as_bytes());
                }
                None => fields.put_i32(-1),
            }
        }
        let writer = Writer { options, forced: vec![false; values.len()] };
        let mut out = BytesMut::new();
        writer.line(fields.freeze(), &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
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
