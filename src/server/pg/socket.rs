//! A client's socket with the protocol's messages on it, which can be watched while a statement runs.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use pgwire::api::PgWireConnectionState;
use pgwire::error::PgWireError;
use pgwire::messages::startup::{NegotiateProtocolVersion, Startup};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::codec::{Codec, Malformed};
use super::connection::stopping;
use super::errors::{Failure, Step, WireError};

/// Messages, and bytes of them, that are read before their turn at most.
const AHEAD_MESSAGES_MAX: usize = 64;
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Bytes that are gathered before they are sent: fewer cost more calls of the system, more come too late to the client.
const SENT_BYTES: usize = 64 << 10;

/// What a Sync begins with.
const SYNC: u8 = b'S';

type Message = Result<PgWireFrontendMessage, Broken>;

/// Why a message could not be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// It alone; the next one can be.
    Message(Malformed),
    /// The connection cannot go on.
    Connection(PgWireError),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Message(malformed) => Self::Fatal(malformed.error),
            Broken::Connection(error) => error.into(),
        }
    }
}

fn message(read: Result<Result<PgWireFrontendMessage, Malformed>, PgWireError>) -> Message {
    read.map_err(Broken::Connection)?.map_err(Broken::Message)
}

pub(super) struct Socket {
    framed: Framed<MaybeTls, Codec>,
    /// What came while a statement ran.
    ahead: VecDeque<Message>,
    ahead_bytes: usize,
    /// Cancelled when somebody ends the session from outside.
    ended: CancellationToken,
}

impl Socket {
    pub(super) fn new(framed: Framed<MaybeTls, PgWireMessageServerCodec<()>>) -> Self {
        let mut framed = framed.map_codec(Codec::new);
        framed.set_backpressure_boundary(SENT_BYTES);
        Self { framed, ahead: VecDeque::new(), ahead_bytes: 0, ended: CancellationToken::new() }
    }

    /// Tells what cancels the sending to a client that does not read.
    pub(super) fn end_with(&mut self, ended: CancellationToken) {
        self.ended = ended;
    }

    /// Where messages are written that are no values of the library's.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        self.framed.write_buffer_mut()
    }

    /// Sends what was written if it is much, as fast as the client reads.
    pub(super) async fn relieve(&mut self) -> Step {
        if self.framed.write_buffer().len() >= SENT_BYTES {
            self.send_all().await?;
        }
        Ok(())
    }

    /// Sends what was written, unless the session is ended from outside meanwhile.
    async fn send_all(&mut self) -> Step {
        tokio::select! {
            biased;
            sent = self.framed.flush() => Ok(sent?),
            () = self.ended.cancelled() => Err(Failure::Fatal(stopping())),
        }
    }

    /// Tells how messages are to be read from now on.
    pub(super) fn set_state(&mut self, state: PgWireConnectionState) {
        self.framed.codec_mut().set_state(state);
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.framed.codec().address()
    }

    /// Agrees on a version of the protocol; a newer one of the client's is brought down to ours.
    ///
    /// # Errors
    /// 0A000 for another protocol.
    pub(super) async fn agree(&mut self, startup: &Startup) -> Step {
        let (major, minor) = (startup.protocol_number_major, startup.protocol_number_minor);
        if let Some(version) = ProtocolVersion::from_version_number(major, minor) {
            self.framed.codec_mut().set_version(version);
            return Ok(());
        }
        let newest = ProtocolVersion::default();
        if newest.version_number().0 != major {
            let message = format!("unsupported frontend protocol {major}.{minor}");
            return Err(Failure::Fatal(WireError::new("0A000", message)));
        }
        let ours = NegotiateProtocolVersion::new(newest.into(), Vec::new());
        self.framed.send(PgWireBackendMessage::NegotiateProtocolVersion(ours)).await?;
        self.framed.codec_mut().set_version(newest);
        Ok(())
    }

    /// Returns the next message; `None` once the client has closed.
    ///
    /// # Cancel
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Message> {
        match self.ahead.pop_front() {
            Some(message) => {
                self.ahead_bytes -= message.as_ref().map_or(0, size);
                Some(message)
            }
            None => self.framed.next().await.map(message),
        }
    }

    /// Returns whether the next message has come and is a Sync.
    pub(super) fn is_sync_next(&self) -> bool {
        match self.ahead.front() {
            Some(message) => matches!(message, Ok(PgWireFrontendMessage::Sync(_))),
            None => self.framed.read_buffer().first() == Some(&SYNC),
        }
    }

    /// Does some work unless the client goes away meanwhile. Rows that wait in the buffer are sent first, so that a slow
    /// statement's first rows do not wait for its last.
    pub(super) async fn watched<T>(&mut self, work: impl Future<Output = T>) -> Step<T> {
        tokio::pin!(work);
        // Work that is done already needs neither a flush nor a look at the socket.
        if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return Ok(done);
        }
        if !self.framed.write_buffer().is_empty() {
            self.send_all().await?;
        }
        tokio::select! {
            biased;
            done = &mut work => Ok(done),
            () = self.gone() => Err(Failure::Gone),
        }
    }

    /// Returns once the client has closed its side, or has said that it will. Messages before that are kept.
    async fn gone(&mut self) {
        while self.ahead.len() < AHEAD_MESSAGES_MAX && self.ahead_bytes < AHEAD_BYTES_MAX {
            match self.framed.next().await.map(message) {
                None => return,
                Some(Ok(PgWireFrontendMessage::Terminate(_))) if !self.has_work_ahead() => return,
                Some(message) => {
                    let broken = matches!(message, Err(Broken::Connection(_)));
                    self.ahead_bytes += message.as_ref().map_or(0, size);
                    self.ahead.push_back(message);
                    if broken {
                        break;
                    }
                }
            }
        }
        std::future::pending().await
    }

    fn has_work_ahead(&self) -> bool {
        use PgWireFrontendMessage::{Execute, Query};
        self.ahead.iter().any(|message| matches!(message, Ok(Query(_) | Execute(_))))
    }
}

/// Returns about how many bytes a message holds in memory.
fn size(message: &PgWireFrontendMessage) -> usize {
    use PgWireFrontendMessage as M;
    64 + match message {
        M::Query(query) => query.query.len(),
        M::Parse(parse) => parse.query.len(),
        M::Bind(bind) => {
            bind.parameters.iter().map(|value| value.as_ref().map_or(4, |v| v.len() + 4)).sum()
        }
        M::CopyData(data) => data.data.len(),
        _ => 0,
    }
}

impl Deref for Socket {
    type Target = Framed<MaybeTls, Codec>;

    fn deref(&self) -> &Self::Target {
        &self.framed
    }
}

impl DerefMut for Socket {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.framed
    }
}
