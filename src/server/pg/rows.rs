//! A running result on its way to the client, and where it stands.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use futures::{SinkExt, StreamExt};
use maru_core::Result;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::CommandComplete;
use pgwire::tokio::server::MaybeTls;

use super::Socket;
use super::encode::RowEncoder;
use super::errors::{Failure, Step};
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

    /// Returns the next row if it is in memory already.
    fn ready(&mut self) -> Option<Result<DataRow>> {
        (self.next < self.batch_rows).then(|| {
            self.next += 1;
            self.encoder.row(&self.batch, self.next - 1)
        })
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
            while let Some(row) = self.ready() {
                socket.feed(PgWireBackendMessage::DataRow(row?)).await?;
                sent += 1;
                if limit > 0 && sent == limit {
                    return Ok(None);
                }
            }
            if !watched(socket, self.fetch()).await?? {
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

/// Does some work unless the client goes away meanwhile. Rows that wait in the buffer are sent first, so that a slow
/// statement's first rows do not wait for its last.
pub(super) async fn watched<T>(socket: &mut Socket, work: impl Future<Output = T>) -> Step<T> {
    tokio::pin!(work);
    // Work that is done already needs neither a flush nor a look at the socket.
    if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
        return Ok(done);
    }
    if !socket.write_buffer().is_empty() {
        socket.flush().await?;
    }
    let look_at_terminate = socket.read_buffer().is_empty();
    tokio::select! {
        biased;
        done = &mut work => Ok(done),
        () = gone(socket.get_ref(), look_at_terminate) => Err(Failure::Gone),
    }
}

/// Returns once the client has closed its side. Messages it sent ahead are left alone; behind them its end is noticed
/// only when rows are written.
async fn gone(socket: &MaybeTls, look_at_terminate: bool) {
    if let MaybeTls::Plain(stream) = socket {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return,
            // `X` is Terminate: the client closed without waiting for its answer.
            Ok(_) if look_at_terminate && first[0] == b'X' => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
