//! The rows of one stream: encoded in a task of their own, sent in pieces, each of them one COPY.
//!
//! A server that refuses a row says so only when a COPY ends, so that one COPY for all would send millions of rows in vain.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use futures::StreamExt;
use maru_connect::{BatchStream, Written};
use maru_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::encode::{HEADER, TRAILER, Values, Wire};
use super::failure;
use super::session::Session;
use super::{Plan, target::Target};
use crate::outgoing::columns_as;
use crate::write::misfit;

/// Bytes that are handed over at once, about, and bytes of one COPY, about.
const CHUNK_BYTES: usize = 256 * 1024;
const COPY_BYTES: u64 = 32 * 1024 * 1024;
/// Chunks that wait to be sent.
const WAITING_CHUNKS: usize = 4;

/// Some rows in their binary form.
struct Chunk {
    bytes: Vec<u8>,
    n_rows: u64,
}

/// Writes all of `rows`; begins the transaction with the first of them.
pub(super) async fn write(
    plan: &Arc<Plan>,
    session: &mut Option<Session>,
    rows: BatchStream,
) -> Result<Written> {
    let (sender, mut chunks) = mpsc::channel(WAITING_CHUNKS);
    // Ends with this future.
    let mut encoding = JoinSet::new();
    let encoder = Encoder::new(plan);
    encoding.spawn(async move { encoder.run(rows, sender).await });
    let mut written = Written::default();
    let mut next = chunks.recv().await;
    while let Some(first) = next {
        let session = match session {
            Some(session) => session,
            None => session.insert(Session::begin(plan).await?),
        };
        if session.already {
            return Ok(Written::default());
        }
        let before = session.n_rows;
        let peer = &plan.connections.peer;
        let failed = |error| failure::write_error(peer, error, before);
        let mut copy = session.connection()?.copy_in_raw(&plan.copy()).await.map_err(failed)?;
        copy.send(HEADER).await.map_err(failed)?;
        let mut sent = Written::default();
        next = Some(first);
        while let Some(chunk) = next {
            copy.send(chunk.bytes.as_slice()).await.map_err(failed)?;
            sent.n_rows += chunk.n_rows;
            sent.n_bytes += chunk.bytes.len() as u64;
            next = chunks.recv().await;
            if sent.n_bytes >= COPY_BYTES {
                break;
            }
        }
        copy.send(TRAILER).await.map_err(failed)?;
        let taken = copy.finish().await.map_err(failed)?;
        // A trigger may have left rows out, which is the database's own affair.
        session.n_rows += sent.n_rows;
        session.n_taken += taken;
        written.n_rows += sent.n_rows;
        written.n_bytes += sent.n_bytes;
    }
    match encoding.join_next().await {
        Some(Ok(result)) => result.map(|()| written),
        _ => Err(Error::internal("the encoder of rows to write ended without a word")),
    }
}

struct Encoder {
    table: String,
    columns: Vec<(String, Wire)>,
    types: Vec<DataType>,
    n_rows: u64,
}

impl Encoder {
    fn new(plan: &Plan) -> Self {
        let mut columns = Target::leading(&plan.request.mode);
        let own = plan.target.columns.iter();
        columns.extend(own.map(|column| (column.name.clone(), column.wire.clone())));
        let types = columns.iter().map(|(_, wire)| wire.kind.arrow()).collect();
        Self { table: plan.target.shown(), columns, types, n_rows: 0 }
    }

    async fn run(mut self, mut rows: BatchStream, chunks: mpsc::Sender<Chunk>) -> Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        let mut n_rows = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let columns = columns_as(&batch, &self.table, &self.types, self.n_rows)?;
            let pairs = columns.iter().zip(&self.columns);
            let values = pairs
                .map(|(array, (_, wire))| Values::of(array, wire))
                .collect::<Result<Vec<_>>>()?;
            let mut from = 0;
            while from < batch.num_rows() {
                let to = self.encode(&batch, &values, from, &mut bytes)?;
                n_rows += (to - from) as u64;
                from = to;
                if bytes.len() >= CHUNK_BYTES {
                    let full = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
                    let bytes = std::mem::replace(&mut bytes, full);
                    if chunks.send(Chunk { bytes, n_rows }).await.is_err() {
                        return Ok(());
                    }
                    n_rows = 0;
                }
            }
        }
        if n_rows > 0 {
            let _ = chunks.send(Chunk { bytes, n_rows }).await;
        }
        Ok(())
    }

    /// Appends rows from `from` on until the chunk is full, and returns where it stopped.
    fn encode(
        &mut self,
        batch: &RecordBatch,
        values: &[Values<'_>],
        from: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<usize> {
        let n_columns = i16::try_from(values.len())
            .map_err(|_| Error::internal("a table of more columns than PostgreSQL knows"))?;
        let mut row = from;
        while row < batch.num_rows() && bytes.len() < CHUNK_BYTES {
            self.n_rows += 1;
            bytes.extend_from_slice(&n_columns.to_be_bytes());
            for (column, values) in values.iter().enumerate() {
                values.write(row, bytes).map_err(|what| {
                    let name = self.columns.get(column).map_or("", |(name, _)| name.as_str());
                    misfit(what, &self.table, name, self.n_rows)
                })?;
            }
            row += 1;
        }
        Ok(row)
    }
}
