//! The Arrow Flight SQL door.

use tokio::net::TcpListener;

use super::Life;
use crate::engine::Engine;

/// Serves until the process stops.
pub(super) async fn serve(engine: Engine, listener: TcpListener, life: Life) {
    let _held = (engine, listener);
    life.stop.cancelled().await;
}
