//! `COPY … FROM STDIN`: the client's messages become rows of a statement that writes.
//!
//! The statement runs like any other; its rows come through a short queue, so a client that sends faster than the target
//! writes waits. `decoder` makes them of bytes, which `lines` and `binary` cut into rows; `columns` reads
//! the values.

mod binary;
mod columns;
mod decoder;
mod lines;
mod times;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use maru_connect::BatchStream;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::CopyFormat;
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio::sync::mpsc;

use self::decoder::Decoder;
use super::connection::Connection;
use super::errors::{Failure, Step, WireError};
use crate::output::{Body, Output};
use crate::session::{Incoming, Prepared};

/// Messages between the client and the statement at most.
const PIECES_AHEAD: usize = 16;

/// How long a client may take to end the batch in which it has sent the statement.
const SYNC_WAIT: Duration = Duration::from_secs(1);

/// What comes from the client.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Done,
    Failed(Error),
}

impl Connection {
    /// Takes the rows of a copy and writes them. `extended`: the client has sent it by Execute, and a Sync may follow before its rows.
    pub(super) async fn copy_in(
        &mut self,
        prepared: Prepared,
        incoming: Incoming,
        extended: bool,
    ) -> Step {
        let decoder = Decoder::new(&incoming, self.zone())?;
        let binary = i16::from(incoming.options.format == CopyFormat::Binary);
        let count = incoming.schema.fields().len();
        let begin = CopyInResponse::new(
            binary as i8,
            i16::try_from(count).unwrap_or(i16::MAX),
            vec![binary; count],
        );
        self.socket.send(PgWireBackendMessage::CopyInResponse(begin)).await?;
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        incoming.give(decoded(decoder, receiver));
        let session = Arc::clone(&self.session);
        let run = session.execute(&prepared, Vec::new());
        tokio::pin!(run);
        let mut in_step = !extended;
        let outcome = loop {
            let message = tokio::select! {
                biased;
                outcome = &mut run => break outcome,
                message = self.socket.next() => message,
            };
            let piece = match message {
                Some(Ok(PgWireFrontendMessage::Sync(_) | PgWireFrontendMessage::Flush(_))) => {
                    in_step = true;
                    continue;
                }
                Some(Ok(message)) => piece(message)?,
                None => return Err(Failure::Gone),
                Some(Err(error)) => return Err(error.into()),
            };
            in_step = true;
            let is_last = !matches!(piece, Piece::Data(_));
            let send = async {
                tokio::select! {
                    biased;
                    outcome = &mut run => Some(outcome),
                    _ = sender.send(piece) => None,
                }
            };
            if let Some(outcome) = self.socket.watched(send).await? {
                break outcome;
            }
            if is_last {
                break self.socket.watched(&mut run).await?;
            }
        };
        let outcome = outcome.and_then(tag);
        match outcome {
            Ok(tag) => self.complete(&tag).await,
            Err(error) => {
                if !in_step {
                    self.get_in_step().await?;
                }
                Err(error.into())
            }
        }
    }

    /// Reads the Sync behind the statement, so that the client does not take the answer to it for that to its rows.
    async fn get_in_step(&mut self) -> Step {
        let first = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(PgWireFrontendMessage::Flush(_))) => {}
                    None => return Err(Failure::Gone),
                    Some(Err(error)) => return Err(error.into()),
                    Some(Ok(message)) => return piece_or_sync(message),
                }
            }
        };
        tokio::time::timeout(SYNC_WAIT, first).await.unwrap_or(Ok(()))
    }
}

fn tag(output: Output) -> Result<String> {
    match output.body {
        Body::Command { tag } => Ok(tag),
        _ => Err(Error::internal("a COPY gave rows")),
    }
}

fn piece(message: PgWireFrontendMessage) -> Result<Piece, Failure> {
    use PgWireFrontendMessage as M;
    Ok(match message {
        M::CopyData(data) => Piece::Data(data.data),
        M::CopyDone(_) => Piece::Done,
        M::CopyFail(fail) => Piece::Failed(Error::new(
            ErrorKind::Cancelled,
            format!("COPY from stdin failed: {}", fail.message),
        )),
        M::Terminate(_) => return Err(Failure::Gone),
        _ => {
            let message = "unexpected message from the client during COPY from stdin";
            return Err(Failure::Fatal(WireError::new("08P01", message)));
        }
    })
}

fn piece_or_sync(message: PgWireFrontendMessage) -> Step {
    match message {
        PgWireFrontendMessage::Sync(_) => Ok(()),
        other => piece(other).map(|_| ()),
    }
}

/// Returns the rows that pieces hold, as they come.
fn decoded(decoder: Decoder, pieces: mpsc::Receiver<Piece>) -> BatchStream {
    let state = (decoder, pieces, false);
    Box::pin(futures::stream::try_unfold(state, |(mut decoder, mut pieces, mut last)| async move {
        loop {
            if let Some(batch) = decoder.next(last)? {
                return Ok(Some((batch, (decoder, pieces, last))));
            }
            if last {
                return Ok(None);
            }
            match pieces.recv().await {
                Some(Piece::Data(data)) => decoder.push(&data),
                Some(Piece::Done) => last = true,
                Some(Piece::Failed(error)) => return Err(decoder.locate(error, None)),
                // Nobody waits for the outcome any more.
                None => return Err(Error::cancelled()),
            }
        }
    }))
}
