//! `maru serve`: the engine behind its protocols, from start to graceful stop.

use std::fs;
use std::io::Write;
use std::net::ToSocketAddrs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use maru_core::{Error, ErrorKind, Result, ResultExt};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::access::SUPERUSER;
use crate::config::Config;
use crate::engine::Engine;
use crate::server::Servers;

/// The file that tells scripts which addresses are in use.
const ENDPOINTS_FILE: &str = "endpoints.json";

/// As of a process that a signal ended: 128 and the number of SIGINT.
const EXIT_AT_ONCE: u8 = 130;

/// How long the engine may take to end once its servers are down.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(config: Config) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    for (name, address) in [
        ("pg_listen", &config.pg_listen),
        ("flight_listen", &config.flight_listen),
        ("http_listen", &config.http_listen),
    ] {
        let encrypts = name == "pg_listen" && config.tls_certificate.is_some();
        if !is_loopback(address) && !encrypts {
            tracing::warn!(
                setting = name,
                address,
                "reachable from other machines, and the connection is not encrypted"
            );
        }
    }
    let grace = config.shutdown_grace;
    let data_dir = config.data_dir.clone();
    let engine = Engine::open(config.clone()).await?;
    // What a killed server left behind would send people to nobody.
    EndpointsFile::remove_stale(&data_dir);
    // A signal during the start stops it, too: nothing is published yet.
    let servers = tokio::select! {
        started = Servers::start(engine.clone(), &config) => match started {
            Ok(servers) => servers,
            Err(error) => {
                engine.close(Duration::ZERO).await;
                return Err(error);
            }
        },
        () = signals.next() => {
            engine.close(Duration::ZERO).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let endpoints = servers.endpoints();
    let addresses = Addresses {
        pg: endpoints.pg.clone(),
        flight: endpoints.flight.clone(),
        http: endpoints.http.clone(),
    };
    let published = engine
        .publish_endpoint(&addresses.pg)
        .and_then(|()| EndpointsFile::write(&data_dir, &addresses));
    let file = match published {
        Ok(file) => file,
        Err(error) => {
            servers.shutdown(Duration::ZERO).await;
            engine.close(Duration::ZERO).await;
            return Err(error);
        }
    };
    engine.start_scheduler();
    announce(&addresses, engine.initial_password_notice());

    tokio::select! {
        () = signals.next() => {}
        () = servers.wait() => {
            drop(file);
            engine.close(CLOSE_GRACE).await;
            return Err(Error::new(ErrorKind::Io, "every server has ended by itself"));
        }
    }
    tracing::info!(grace_s = grace.as_secs(), "stopping: waiting for running statements");
    // Before clients are sent away, which would cancel the runs that they wait for.
    engine.stop_runs();
    let stopped = async {
        servers.shutdown(grace).await;
        engine.close(CLOSE_GRACE).await;
    };
    let code = tokio::select! {
        () = stopped => ExitCode::SUCCESS,
        () = signals.next() => {
            tracing::warn!("stopped at once by a second signal");
            ExitCode::from(EXIT_AT_ONCE)
        }
    };
    drop(file);
    tracing::info!("stopped");
    Ok(code)
}

#[derive(Debug, Clone, Serialize)]
struct Addresses {
    pg: String,
    flight: String,
    http: String,
}

/// Prints what a person or a script needs to connect. Standard output, so that it stands apart from the log.
fn announce(addresses: &Addresses, password: Option<String>) {
    let pg = reachable(&addresses.pg);
    let mut text = format!(
        "PostgreSQL wire  {}\nFlight SQL       {}\nHTTP             {}\n",
        addresses.pg, addresses.flight, addresses.http
    );
    if let Some(password) = password {
        text.push_str(&format!("{password}\n"));
    }
    text.push_str(&format!("Ready. Connect with: psql postgres://{SUPERUSER}@{pg}/maru\n"));
    let mut out = std::io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = printed {
        tracing::debug!(%error, "could not print the addresses");
    }
}

/// Returns the address by which this machine reaches a listener on all addresses.
pub(super) fn reachable(address: &str) -> String {
    address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

fn is_loopback(address: &str) -> bool {
    address
        .to_socket_addrs()
        .map(|mut addresses| addresses.all(|address| address.ip().is_loopback()))
        // What does not resolve fails when it is bound, with its own error.
        .unwrap_or(true)
}

/// `endpoints.json`, there as long as the server is.
struct EndpointsFile(PathBuf);

impl EndpointsFile {
    fn remove_stale(data_dir: &Path) {
        drop(Self(data_dir.join(ENDPOINTS_FILE)));
    }

    /// Writes the file whole or not at all: scripts wait for it.
    fn write(data_dir: &Path, addresses: &Addresses) -> Result<Self> {
        let path = data_dir.join(ENDPOINTS_FILE);
        let new = data_dir.join(format!("{ENDPOINTS_FILE}.new"));
        let cannot = || format!("cannot write \"{}\"", path.display());
        let text = serde_json::to_string(addresses).or_error(ErrorKind::Internal, cannot)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).or_error(ErrorKind::Io, cannot)?;
        writeln!(file, "{text}").or_error(ErrorKind::Io, cannot)?;
        fs::rename(&new, &path).or_error(ErrorKind::Io, cannot)?;
        Ok(Self(path))
    }
}

impl Drop for EndpointsFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "could not remove endpoints.json");
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|cause| {
                Error::new(ErrorKind::Io, "cannot listen for signals").with_cause(cause)
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_endpoints_file_is_private_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = Addresses {
            pg: "127.0.0.1:1".into(),
            flight: "127.0.0.1:2".into(),
            http: "127.0.0.1:3".into(),
        };
        let file = EndpointsFile::write(dir.path(), &addresses).unwrap();
        let path = dir.path().join(ENDPOINTS_FILE);
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"pg": "127.0.0.1:1", "flight": "127.0.0.1:2", "http": "127.0.0.1:3"})
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        assert!(is_loopback("127.0.0.1:5433") && is_loopback("[::1]:0"));
        assert!(!is_loopback("0.0.0.0:5433") && !is_loopback("[::]:5433"));
        assert_eq!(reachable("0.0.0.0:5433"), "127.0.0.1:5433");
    }
}
