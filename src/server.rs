//! The doors of a server: Postgres wire, Flight SQL, HTTP.
//!
//! Each protocol lives in its own module and talks to [`Engine`] and its sessions only. Nothing outside of here names
//! a protocol's library. The Postgres wire and Flight SQL encrypt if they are given a certificate; the doors
//! listen on loopback unless told otherwise.

mod flight;
mod http;
mod pg;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use maru_core::{ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::engine::Engine;

/// The addresses in use, `host:port` each. This is what `endpoints.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub pg: String,
    pub flight: String,
    pub http: String,
}

/// The running doors of a process.
#[derive(Debug)]
pub struct Servers {
    endpoints: Endpoints,
    life: Life,
}

/// How far the end of the process has come, for everything that serves a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// No new clients, no new statements.
    stop: CancellationToken,
    /// What still runs ends now.
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Servers {
    /// Binds all doors, then serves them in the background. Port 0 picks a free port.
    ///
    /// # Errors
    /// F0000 for an address that cannot be read, 58030 for one that cannot be bound; then none is served.
    pub async fn start(engine: Engine, config: &Config) -> Result<Self> {
        let pg = bind("pg_listen", &config.pg_listen).await?;
        let flight = bind("flight_listen", &config.flight_listen).await?;
        let http = bind("http_listen", &config.http_listen).await?;
        let endpoints = Endpoints {
            pg: pg.1.to_string(),
            flight: flight.1.to_string(),
            http: http.1.to_string(),
        };
        let tls = tls::Tls::open(config)?;
        let pg = pg::Listeners::new(config, pg.0, pg.1.port(), tls.clone())?;
        let life = Life::default();
        life.tasks.spawn(pg::serve(engine.clone(), pg, config.pg_connections_max, life.clone()));
        life.tasks.spawn(flight::serve(engine.clone(), flight.0, tls, life.clone()));
        life.tasks.spawn(http::serve(engine, http.0, endpoints.clone(), life.clone()));
        life.tasks.close();
        Ok(Self { endpoints, life })
    }

    /// Returns the addresses in use.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Returns when every door has closed, after [`Servers::shutdown`] or because all have failed.
    pub async fn wait(&self) {
        self.life.tasks.wait().await;
    }

    /// Stops accepting clients, tells idle ones to go (57P01), lets running statements finish for up to `grace`, then
    /// cancels them. The engine itself is closed by the caller, after this.
    pub async fn shutdown(&self, grace: Duration) {
        self.life.stop.cancel();
        if tokio::time::timeout(grace, self.life.tasks.wait()).await.is_err() {
            tracing::warn!(?grace, "statements still ran after the grace period and are cancelled");
            self.life.abort.cancel();
            // Enough for the last error message to reach its client.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.life.tasks.wait()).await;
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.life.stop.cancel();
        self.life.abort.cancel();
    }
}

async fn bind(setting: &str, address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::InvalidInput => ErrorKind::ConfigInvalid,
            _ => ErrorKind::Io,
        };
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Another process listens there. Choose another port, or 0 for any free one."
            }
            _ => "Write it as HOST:PORT.",
        };
        maru_core::Error::new(kind, format!("could not listen on \"{address}\" ({setting})"))
            .with_hint(hint)
            .with_cause(error)
    })?;
    let bound = listener
        .local_addr()
        .or_error(ErrorKind::Io, || format!("could not read the address of {setting}"))?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests;
