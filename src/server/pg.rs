//! The Postgres wire: version 3 of the protocol, with SCRAM-SHA-256, over pgwire's messages.
//!
//! pgwire's own message loop buffers whole results and does not watch the client while a statement runs, so the loop
//! is ours: `startup` lets a client in, `connection` talks to it, `encode` writes rows, `params` reads parameters.

mod connection;
mod encode;
mod errors;
mod extended;
mod numeric;
mod params;
mod rows;
mod scram;
mod startup;
mod types;

use std::sync::Arc;

use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::codec::Framed;

use super::Life;
use crate::engine::Engine;

/// A client's socket with the protocol's messages on it.
type Socket = Framed<MaybeTls, PgWireMessageServerCodec<()>>;

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
    life: Life,
}

/// Accepts clients until the process stops.
pub(super) async fn serve(
    engine: Engine,
    listener: TcpListener,
    connections_max: usize,
    life: Life,
) {
    let door = Arc::new(Door {
        engine,
        connections: Arc::new(Semaphore::new(connections_max)),
        sockets: Arc::new(Semaphore::new(connections_max.saturating_mul(2).saturating_add(64))),
        fake: scram::FakeUsers::new(),
        life,
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.life.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
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
