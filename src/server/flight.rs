//! The Arrow Flight SQL door: batches leave as they are, without a detour over rows.
//!
//! `sessions` knows who calls, `statements` holds what was prepared and runs it, `endpoints` hands its rows out, `service` maps the protocol's calls
//! to the two, `metadata` and `keys` answer drivers' questions about catalogs, `actions` the calls that Flight SQL added later,
//! `ingest` takes rows, `given` brings what clients send to the form that the engine counts on,
//! `schema` says what types clients are shown, `outer` adds what the library leaves out, `incoming` takes connections, encrypted or not.

mod actions;
mod endpoints;
mod given;
mod incoming;
mod ingest;
mod keys;
mod metadata;
mod outer;
mod schema;
mod service;
mod sessions;
mod statements;
mod status;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use maru_core::limits;
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::Life;
use super::tls::Tls;
use crate::engine::Engine;

/// Bytes of one message from a client; a statement is at most as long.
const MESSAGE_BYTES_MAX: usize = limits::STATEMENT_BYTES_MAX + 64 * 1024;

/// How often sessions are looked at that nobody uses.
const SWEEP: Duration = Duration::from_secs(60);

/// Serves until the process stops.
pub(super) async fn serve(
    engine: Engine,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    life: Life,
) {
    let required = engine.config().tls_required;
    let clients = incoming::clients(listener, tls, required, life.clone());
    let sessions = Arc::new(sessions::Sessions::new(engine));
    let door = outer::Door::new(service::Service::new(sessions.clone(), life.abort.clone()));
    let service = FlightServiceServer::new(door).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_service(service)
        .serve_with_incoming_shutdown(clients, life.stop.clone().cancelled_owned());
    let sweep = async {
        loop {
            tokio::time::sleep(SWEEP).await;
            sessions.sweep();
        }
    };
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::error!(%error, "the Flight SQL door failed");
            }
        }
        () = sweep => {}
        () = async {
            life.abort.cancelled().await;
            // The streams have heard of it too: let their last message leave.
            tokio::time::sleep(Duration::from_millis(500)).await;
        } => {}
    }
    sessions.close_all();
}
