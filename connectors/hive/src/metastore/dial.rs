//! Connects to a metastore, and finds out at once when it is none.
//!
//! Every connection begins with `set_ugi`, which tells the metastore who asks (as Hive's own clients do). Whatever does
//! not answer it as a metastore does is named for what it is: nothing there, HTTP, TLS, Kerberos.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use hive_metastore::ThriftHiveMetastoreSetUgiArgsSend;
use maru_core::{Error, ErrorKind, Result};
use pilota::FastStr;
use pilota::thrift::binary::{TAsyncBinaryProtocol, TBinaryProtocol};
use pilota::thrift::{
    Message, TAsyncInputProtocol, TMessageIdentifier, TMessageType, TOutputProtocol, TType,
    ThriftException,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use volo::net::Address;
use volo::net::conn::{Conn, OwnedReadHalf, OwnedWriteHalf};
use volo::net::dial::MakeTransport;

/// The port metastores listen on unless told otherwise.
const DEFAULT_PORT: u16 = 9083;

/// Where a metastore listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// Reads `thrift://host:port,thrift://host2:port2`.
    ///
    /// # Errors
    /// HV024 if it is not that.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(|one| Self::parse(one.trim())).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(ErrorKind::InvalidOption, format!("invalid metastore address \"{text}\""))
                .with_detail(why)
                .with_hint("Write it as thrift://host:9083; several are separated by commas.")
        };
        let url = url::Url::parse(text).map_err(|error| bad(&format!("It is no URL: {error}.")))?;
        if url.scheme() != "thrift" {
            return Err(bad("Its scheme is not thrift."));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| bad("It names no host."))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
            return Err(bad("It says more than host and port."));
        }
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(DEFAULT_PORT) })
    }
}

/// Makes connections for the Thrift client.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    endpoints: Arc<[Endpoint]>,
    last_good: Arc<AtomicUsize>,
    user: FastStr,
    timeout: Duration,
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.write_str(&endpoints.join(","))
    }
}

impl Dial {
    pub(super) fn new(endpoints: Vec<Endpoint>, user: &str, timeout: Duration) -> Self {
        let last_good = Arc::new(AtomicUsize::new(0));
        // One that says nothing leaves the others time to be asked within one call.
        let share = u32::try_from(endpoints.len().max(1)).unwrap_or(u32::MAX);
        let timeout = if share > 1 { timeout / (share + 1) } else { timeout };
        Self { endpoints: endpoints.into(), last_good, user: FastStr::new(user), timeout }
    }

    pub(super) fn last_good(&self) -> &Endpoint {
        &self.endpoints[self.last_good.load(Ordering::Relaxed)]
    }

    pub(super) fn n_endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// Lets the next connection begin with another metastore: the last one has gone silent.
    pub(super) fn pass_over(&self) {
        let next = (self.last_good.load(Ordering::Relaxed) + 1) % self.endpoints.len().max(1);
        self.last_good.store(next, Ordering::Relaxed);
    }

    /// Connects to the first metastore that answers, beginning with the one that did last.
    async fn connect(&self) -> Result<Conn> {
        let mut errors: Vec<Error> = Vec::new();
        let n = self.endpoints.len();
        let first = self.last_good.load(Ordering::Relaxed);
        for i in (0..n).map(|i| (first + i) % n) {
            match self.connect_to(&self.endpoints[i]).await {
                Ok(conn) => {
                    self.last_good.store(i, Ordering::Relaxed);
                    return Ok(conn);
                }
                Err(error) => errors.push(error),
            }
        }
        let others = errors.iter().skip(1).map(|e| format!("Also: {e}.")).collect::<Vec<_>>();
        let first = errors.into_iter().next();
        let first = first.unwrap_or_else(|| Error::internal("there is no metastore address"));
        if others.is_empty() {
            return Err(first);
        }
        let details = first.detail().into_iter().chain(others).collect::<Vec<_>>();
        Err(first.with_detail(details.join(" ")))
    }

    async fn connect_to(&self, endpoint: &Endpoint) -> Result<Conn> {
        let unreachable = || {
            Error::new(
                ErrorKind::RemoteUnavailable,
                format!("could not connect to Hive metastore at {endpoint}"),
            )
            .with_hint("Check that the metastore runs there and that host and port are right.")
        };
        let connect = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        let stream = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| unreachable().with_detail(format!("No answer in {:?}.", self.timeout)))?
            .map_err(|error| unreachable().with_cause(error))?;
        let mut conn = Conn::from(stream);
        match tokio::time::timeout(self.timeout, self.greet(&mut conn)).await {
            Ok(Ok(())) => Ok(conn),
            Ok(Err(greeting)) => Err(greeting.explain(endpoint)),
            Err(_) => Err(Greeting::Silence(self.timeout).explain(endpoint)),
        }
    }

    /// Says who asks, and reads the answer to its end.
    async fn greet(&self, conn: &mut Conn) -> std::result::Result<(), Greeting> {
        let message = self.set_ugi().map_err(|error| Greeting::Broken(error.to_string()))?;
        let stream = &mut conn.stream;
        let gone = |error: io::Error| Greeting::Broken(error.to_string());
        stream.write_all(&message).await.map_err(gone)?;
        stream.flush().await.map_err(gone)?;
        let mut head = Vec::with_capacity(4);
        while head.len() < 4 {
            let mut byte = [0];
            match stream.read(&mut byte).await {
                Ok(0) => break,
                Ok(_) => head.push(byte[0]),
                // A peer that drops what it does not understand often resets the connection.
                Err(_) if head.is_empty() => break,
                Err(error) => return Err(gone(error)),
            }
        }
        Greeting::of(&head)?;
        let mut protocol = TAsyncBinaryProtocol::new(head.as_slice().chain(stream));
        let read = async {
            protocol.read_message_begin().await?;
            // A metastore that does not let clients say who they are answers with an exception, and serves them still.
            protocol.skip(TType::Struct).await?;
            protocol.read_message_end().await
        };
        read.await.map_err(|error: ThriftException| Greeting::Broken(error.to_string()))
    }

    fn set_ugi(&self) -> std::result::Result<BytesMut, ThriftException> {
        let mut buffer = BytesMut::new();
        let mut protocol = TBinaryProtocol::new(&mut buffer, false);
        let call = TMessageIdentifier::new("set_ugi".into(), TMessageType::Call, 0);
        let arguments = ThriftHiveMetastoreSetUgiArgsSend {
            user_name: self.user.clone(),
            group_names: Vec::new(),
        };
        protocol.write_message_begin(&call)?;
        arguments.encode(&mut protocol)?;
        protocol.write_message_end()?;
        Ok(buffer)
    }
}

impl MakeTransport for Dial {
    type ReadHalf = OwnedReadHalf;
    type WriteHalf = OwnedWriteHalf;

    async fn make_transport(&self, _: Address) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let conn = self.connect().await.map_err(io::Error::other)?;
        Ok(conn.stream.into_split())
    }

    fn set_connect_timeout(&mut self, _: Option<Duration>) {}

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn set_write_timeout(&mut self, _: Option<Duration>) {}
}

/// How something that is no metastore (or none for us) answers.
#[derive(Debug, PartialEq)]
enum Greeting {
    Http,
    Tls,
    Sasl,
    Closed,
    Unknown(Vec<u8>),
    Silence(Duration),
    Broken(String),
}

impl Greeting {
    /// Judges the first bytes of an answer.
    fn of(head: &[u8]) -> std::result::Result<(), Self> {
        match head {
            [0x80, 0x01, ..] => Ok(()),
            [] => Err(Self::Closed),
            [b'H', b'T', b'T', b'P'] => Err(Self::Http),
            [0x15, 0x03, ..] => Err(Self::Tls),
            // The status byte of Thrift's SASL (BAD, ERROR), then a length below 16 MB.
            [0x03 | 0x04, 0x00, ..] => Err(Self::Sasl),
            other => Err(Self::Unknown(other.to_vec())),
        }
    }

    fn explain(self, endpoint: &Endpoint) -> Error {
        let not_spoken = |detail: String| {
            Error::new(
                ErrorKind::RemoteUnavailable,
                format!(
                    "what listens at {endpoint} does not speak the metastore protocol (binary Thrift, buffered)"
                ),
            )
            .with_detail(detail)
            .with_hint("Check the port: a Hive metastore usually listens on 9083.")
        };
        match self {
            Self::Http => not_spoken("It answers HTTP.".to_owned()),
            Self::Tls => not_spoken("It wants TLS, which Maru cannot use here yet.".to_owned()),
            Self::Closed => not_spoken("It closed the connection.".to_owned()),
            Self::Unknown(bytes) => not_spoken(format!("It answers with the bytes {bytes:02x?}.")),
            Self::Silence(waited) => not_spoken(format!("It said nothing for {waited:?}.")),
            Self::Broken(why) => not_spoken(format!("The first call failed: {why}.")),
            Self::Sasl => Error::unsupported(format!(
                "Hive metastore at {endpoint} requires SASL (Kerberos or a password)"
            ))
            .with_hint("Maru can use metastores without authentication only."),
        }
    }
}

#[cfg(test)]
mod tests;
