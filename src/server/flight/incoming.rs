//! Connections of Flight SQL's port: plain ones, and encrypted ones if the server has a certificate. The first byte tells.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use maru_core::limits;
use pgwire::tokio::tokio_rustls::server::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::config::TlsRequired;
use crate::server::Life;
use crate::server::tls::{Tls, common_name, must_encrypt};

/// The first byte of a client that begins with TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// Connections at once that have not yet shown whether they encrypt.
const UNSETTLED_MAX: usize = 256;

/// A connection.
#[derive(Debug)]
pub(super) enum Wire {
    Plain { stream: TcpStream, should_encrypt: bool },
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// What is known of a client by its connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    /// The name in a certificate that somebody we trust has signed.
    pub(super) common_name: Option<String>,
    /// It did not encrypt and should have.
    pub(super) should_encrypt: bool,
}

impl Connected for Wire {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Self::Plain { stream, should_encrypt } => Peer {
                address: stream.peer_addr().ok(),
                common_name: None,
                should_encrypt: *should_encrypt,
            },
            Self::Encrypted(stream) => {
                let (stream, tls) = stream.get_ref();
                let first = tls.peer_certificates().and_then(|certificates| certificates.first());
                Peer {
                    address: stream.peer_addr().ok(),
                    common_name: first.and_then(|certificate| common_name(certificate)),
                    should_encrypt: false,
                }
            }
        }
    }
}

/// Accepts clients until the process stops. Those that are slow to begin keep no others waiting.
pub(super) fn clients(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    required: TlsRequired,
    life: Life,
) -> ReceiverStream<io::Result<Wire>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let unsettled = Arc::new(Semaphore::new(UNSETTLED_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = life.stop.cancelled() => return,
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&unsettled).try_acquire_owned() else { continue };
            let (sender, tls) = (sender.clone(), tls.clone());
            tokio::spawn(async move {
                let limit = Duration::from_secs(limits::LOGIN_TIMEOUT_S);
                let settled = tokio::time::timeout(limit, settle(stream, tls, required)).await;
                drop(permit);
                match settled {
                    Ok(Ok(wire)) => {
                        let _ = sender.send(Ok(wire)).await;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a client did not begin as it should")
                    }
                    Err(_) => tracing::debug!("a client did not begin in time"),
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

async fn settle(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    required: TlsRequired,
) -> io::Result<Wire> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if let Some(tls) = tls
        && stream.peek(&mut first).await? == 1
        && first[0] == TLS_HANDSHAKE
    {
        let encrypted = tls.current().flight.accept(stream).await?;
        return Ok(Wire::Encrypted(Box::new(encrypted)));
    }
    let should_encrypt = must_encrypt(required, stream.peer_addr().ok());
    Ok(Wire::Plain { stream, should_encrypt })
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { stream, .. } => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { stream, .. } => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { stream, .. } => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain { stream, .. } => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { stream, .. } => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { stream, .. } => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
