//! The configuration of one Maru process.
//!
//! [`Config`] is what the rest of Maru reads. The one list in `config/settings.rs` says how each of its fields is called
//! on the command line, in the environment and in `maru.toml`; `config/load.rs` puts the layers over one another.

mod document;
mod load;
mod settings;
mod values;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use maru_core::{Secret, limits};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

pub use document::markdown;
pub use load::{Layers, Loaded, Origin, load};
pub use settings::{SETTINGS, Scope, Setting, setting};
pub use values::{LogFormat, TlsRequired};

/// Every setting of the process, resolved. Where each value came from is told by `maru serve --print-config`.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub pg_listen: String,
    pub flight_listen: String,
    pub http_listen: String,
    /// Where the Unix socket of the Postgres wire lies.
    pub pg_socket_dir: Option<PathBuf>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub tls_required: TlsRequired,
    /// The superuser's password at the first start; a random one if absent.
    pub initial_password: Option<Secret>,
    /// Bytes that all statements together may hold in memory.
    pub memory_limit_bytes: usize,
    /// Bytes that one statement may hold in memory before it spills or fails.
    pub query_memory_limit_bytes: usize,
    /// Bytes that all statements together may spill to disk.
    pub spill_limit_bytes: u64,
    pub concurrent_queries_max: usize,
    pub queued_queries_max: usize,
    /// Zero means none.
    pub statement_timeout: Duration,
    /// Threads that work on one statement.
    pub target_partitions: usize,
    pub pg_connections_max: usize,
    pub query_history_days: u64,
    /// How long a stopping server waits for running statements before it cancels them.
    pub shutdown_grace: Duration,
    /// The shared library of ONNX Runtime.
    pub onnxruntime_library: Option<PathBuf>,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log: String,
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_bytes = machine_memory_bytes();
        Self {
            data_dir: PathBuf::from("./maru-data"),
            pg_listen: "127.0.0.1:5433".to_owned(),
            flight_listen: "127.0.0.1:50051".to_owned(),
            http_listen: "127.0.0.1:8080".to_owned(),
            pg_socket_dir: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_required: TlsRequired::Off,
            initial_password: None,
            memory_limit_bytes: memory_bytes / 2,
            query_memory_limit_bytes: memory_bytes / 4,
            spill_limit_bytes: 64 << 30,
            concurrent_queries_max: limits::CONCURRENT_QUERIES_MAX,
            queued_queries_max: limits::QUEUED_QUERIES_MAX,
            statement_timeout: Duration::ZERO,
            target_partitions: cores,
            pg_connections_max: limits::PG_CONNECTIONS_MAX,
            query_history_days: limits::QUERY_HISTORY_DAYS,
            shutdown_grace: Duration::from_secs(30),
            onnxruntime_library: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// Returns the memory that the process may have, in whole GiB unless that is none: of the machine, or less in a container.
fn machine_memory_bytes() -> usize {
    static MEMORY_BYTES: LazyLock<usize> = LazyLock::new(|| {
        let ram = MemoryRefreshKind::nothing().with_ram();
        let bytes = System::new_with_specifics(RefreshKind::nothing().with_memory(ram)).map_or(
            0,
            |system| {
                let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
                usize::try_from(system.total_memory().min(group)).unwrap_or(usize::MAX)
            },
        );
        let whole = bytes >> 30 << 30;
        // Where the system does not tell, what every machine has.
        [whole, bytes].into_iter().find(|bytes| *bytes > 0).unwrap_or(1 << 30)
    });
    *MEMORY_BYTES
}

#[cfg(test)]
mod tests;
