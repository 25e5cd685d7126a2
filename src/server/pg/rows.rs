//! A running result on its way to the client, and where it stands.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use maru_core::Result;
use pgwire::messages::response::CommandComplete;

use super::Socket;
use super::encode::RowEncoder;
use super::errors::Step;
use crate::output::Rows;
use crate::value_text::Zone;

/// A result of which some rows have been sent. Dropping it cancels the statement.
#[derive(Debug)]
pub(super) struct Running {
    tag: &'static str,
    encoder: RowEncoder,
    rows: Option<Rows>,
    batch: Vec<ArrayRef>,
    batch_rows: usize,
    next: usize,
}

/// Commands whose tag carries no count, as in PostgreSQL.
const TAGS_WITHOUT_COUNT: &[&str] = &["SHOW", "EXPLAIN"];

impl Running {
    /// `schema` is what the client was told; `formats` one code for each column.
    pub(super) fn new(rows: Rows, schema: &SchemaRef, formats: &[i16], zone: Zone) -> Self {
        Self {
            tag: rows.tag,
            encoder: RowEncoder::new(schema, formats, zone),
            rows: Some(rows),
            batch: Vec::new(),
            batch_rows: 0,
            next: 0,
        }
    }

    /// Writes the next row if it is in memory already; returns whether it was.
    fn put_ready(&mut self, socket: &mut Socket) -> Result<bool> {
        if self.next == self.batch_rows {
            return Ok(false);
        }
        self.next += 1;
        self.encoder.put_row(&self.batch, self.next - 1, socket.out())?;
        Ok(true)
    }

    /// Reads the next batch; `false` at the end, where the statement is over.
    async fn fetch(&mut self) -> Result<bool> {
        let Some(rows) = &mut self.rows else { return Ok(false) };
        match rows.stream.next().await {
            Some(batch) => {
                let batch = batch?;
                self.batch = self.encoder.prepare(&batch)?;
                self.batch_rows = batch.num_rows();
                self.next = 0;
                Ok(true)
            }
            None => {
                // The statement ends here, not when the client comes to closing its portal.
                self.rows = None;
                self.batch = Vec::new();
                self.batch_rows = 0;
                self.next = 0;
                Ok(false)
            }
        }
    }

    /// Reads up to `limit` rows and sends none; returns how many there were.
    pub(super) async fn skip(&mut self, socket: &mut Socket, limit: u64) -> Step<u64> {
        let mut left = limit;
        loop {
            let here = u64::try_from(self.batch_rows - self.next).unwrap_or(u64::MAX).min(left);
            self.next += usize::try_from(here).unwrap_or(self.batch_rows - self.next);
            left -= here;
            if left == 0 || !socket.watched(self.fetch()).await?? {
                return Ok(limit - left);
            }
        }
    }

    /// Sends up to `limit` rows (0: all). Rows go out as fast as the client reads them and no faster.
    ///
    /// Returns the tag of the finished command, or `None` if the limit came first.
    pub(super) async fn send(
        &mut self,
        socket: &mut Socket,
        limit: usize,
    ) -> Step<Option<CommandComplete>> {
        let mut sent = 0;
        loop {
            while self.put_ready(socket)? {
                socket.relieve().await?;
                sent += 1;
                if limit > 0 && sent == limit {
                    return Ok(None);
                }
            }
            if !socket.watched(self.fetch()).await?? {
                break;
            }
        }
        let tag = if TAGS_WITHOUT_COUNT.contains(&self.tag) {
            self.tag.to_owned()
        } else {
            format!("{} {sent}", self.tag)
        };
        Ok(Some(CommandComplete::new(tag)))
    }
}
