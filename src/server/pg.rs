//! The Postgres wire: version 3 of the protocol, with SCRAM-SHA-256, over pgwire's messages.
//!
//! pgwire's own message loop buffers whole results and does not watch the client while a statement runs, so the loop
//! is ours: `startup` lets a client in, `connection` talks to it, `encode` writes rows, `params` reads parameters.

mod codec;
mod connection;
mod copy;
mod copy_in;
mod encode;
mod errors;
mod extended;
mod numeric;
mod params;
mod rows;
mod scram;
mod socket;
mod startup;
mod types;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result, ResultExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use self::socket::Socket;
use super::Life;
use super::tls::Tls;
use crate::config::Config;
use crate::engine::Engine;

/// What all connections share.
#[derive(Debug)]
struct Door {
    engine: Engine,
    /// One permit for each client that may be logged in.
    connections: Arc<Semaphore>,
    /// One permit for each socket, logged in or not, so that sockets that never speak are bounded as well.
    sockets: Arc<Semaphore>,
    /// For clients that name a user there is none of.
    fake: scram::FakeUsers,
    tls: Option<Arc<Tls>>,
    life: Life,
}

/// How a client came.
#[derive(Debug)]
enum Incoming {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where clients come in.
#[derive(Debug)]
pub(super) struct Listeners {
    tcp: TcpListener,
    unix: Option<UnixSocket>,
    tls: Option<Arc<Tls>>,
}

/// A socket in a directory, there as long as the server is.
#[derive(Debug)]
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "could not remove the socket");
        }
    }
}

impl Listeners {
    /// Prepares what the configuration asks for besides the TCP port: the Unix socket.
    ///
    /// # Errors
    /// 58030 for a socket that cannot be made.
    pub(super) fn new(
        config: &Config,
        tcp: TcpListener,
        port: u16,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self> {
        let unix = config.pg_socket_dir.as_ref().map(|dir| UnixSocket::bind(dir, port));
        Ok(Self { tcp, unix: unix.transpose()?, tls })
    }
}

impl UnixSocket {
    fn bind(dir: &Path, port: u16) -> Result<Self> {
        let path = dir.join(format!(".s.PGSQL.{port}"));
        let cannot = || format!("could not listen on \"{}\" (pg_socket_dir)", path.display());
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(Error::new(ErrorKind::Io, cannot())
                .with_hint("Another process listens there. Choose another directory."));
        }
        // What a killed server left behind.
        if path.exists() {
            std::fs::remove_file(&path).or_error(ErrorKind::Io, cannot)?;
        }
        let listener = UnixListener::bind(&path).or_error(ErrorKind::Io, cannot)?;
        let socket = Self { listener, path: path.clone() };
        // Everybody of this machine may knock; only the owner comes in without a password.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))
            .or_error(ErrorKind::Io, cannot)?;
        Ok(socket)
    }
}

/// Accepts clients until the process stops.
pub(super) async fn serve(
    engine: Engine,
    listeners: Listeners,
    connections_max: usize,
    life: Life,
) {
    let Listeners { tcp, unix, tls } = listeners;
    let door = Arc::new(Door {
        engine,
        connections: Arc::new(Semaphore::new(connections_max)),
        sockets: Arc::new(Semaphore::new(connections_max.saturating_mul(2).saturating_add(64))),
        fake: scram::FakeUsers::new(),
        tls,
        life,
    });
    let local = async || match &unix {
        Some(socket) => socket.listener.accept().await.map(|(stream, _)| Incoming::Unix(stream)),
        None => std::future::pending().await,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.life.stop.cancelled() => return,
            accepted = tcp.accept() => accepted.map(|(stream, _)| Incoming::Tcp(stream)),
            accepted = local() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let Ok(permit) = door.sockets.clone().try_acquire_owned() else { continue };
                let door = door.clone();
                let tasks = door.life.tasks.clone();
                tasks.spawn(async move {
                    startup::welcome(door, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors most likely: give it a moment instead of spinning.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
