//! The HTTP door: health, readiness, metrics, and a page that points at the other doors.
//!
//! Nothing here asks who is there: the pages hold no data of users, and probes and scrapers have no password. Keep
//! the address on loopback or a network of operators.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Endpoints, Life};
use crate::engine::Engine;

#[derive(Clone)]
struct Door {
    engine: Engine,
    endpoints: Endpoints,
}

/// Serves until the process stops.
pub(super) async fn serve(engine: Engine, listener: TcpListener, endpoints: Endpoints, life: Life) {
    let routes = Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "there is no such page\n".to_owned()) })
        .with_state(Door { engine, endpoints });
    let stop = life.stop.clone();
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::error!(%error, "the HTTP door failed");
            }
        }
        () = life.abort.cancelled() => {}
    }
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn index(State(door): State<Door>) -> Response {
    let Endpoints { pg, flight, http } = &door.endpoints;
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        "Maru {version}: one SQL engine in front of all your data\n\n\
         PostgreSQL wire   psql \"host={} port={} user=maru\"\n\
         Arrow Flight SQL  grpc://{flight}\n\
         HTTP              http://{http}/healthz  /readyz  /metrics\n",
        pg.rsplit_once(':').map_or(pg.as_str(), |(host, _)| host.trim_matches(['[', ']'])),
        pg.rsplit_once(':').map_or("5433", |(_, port)| port),
    );
    text(StatusCode::OK, body)
}

async fn ready(State(door): State<Door>) -> Response {
    match door.engine.is_ready().await {
        Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            let body = format!("not ready: {}: {error}\n", error.sqlstate());
            text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn metrics(State(door): State<Door>) -> Response {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], door.engine.metrics_text()).into_response()
}
