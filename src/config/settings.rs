//! The one list of settings. Flags, environment variables, the keys of `maru.toml`, `docs/configuration.md` and
//! `maru serve --print-config` are made from it: a new setting is a field of [`Config`] and one entry here.

use super::Config;
use super::values::{
    Address, Bytes, Count, Directory, Format, Kind, Password, Place, Positive, Requirement, Span,
    Text,
};

/// Which subcommands show a setting among their flags. All of them accept all settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Everywhere,
    /// Only a server uses it.
    Serve,
}

/// One setting: how it is written, what it means, where it goes.
#[derive(Debug)]
pub struct Setting {
    /// The key in `maru.toml`; the flag is the same with hyphens, the variable `MARU_` and capitals.
    pub name: &'static str,
    /// What a value looks like, e.g. `SIZE`.
    pub shape: &'static str,
    pub scope: Scope,
    /// One sentence.
    pub doc: &'static str,
    /// What to print as the default where it depends on the machine.
    pub default_note: Option<&'static str>,
    /// Whether the value is a secret: never printed.
    pub secret: bool,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) show: fn(&Config) -> Option<String>,
    /// Whether the value stands in quotes in `maru.toml`.
    pub(super) quoted: bool,
}

impl Setting {
    /// Returns the name of the environment variable.
    pub fn variable(&self) -> String {
        format!("MARU_{}", self.name.to_uppercase())
    }

    /// Returns the name of the flag without its two hyphens.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns the value in `config` as it is written in `maru.toml`; stars for a secret, `None` if it is not set.
    pub fn toml_value(&self, config: &Config) -> Option<String> {
        let value = (self.show)(config)?;
        Some(match (self.secret, self.quoted) {
            (true, _) => "\"********\"".to_owned(),
            (false, true) => toml::Value::String(value).to_string(),
            (false, false) => value,
        })
    }
}

/// Returns the setting of this name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

macro_rules! settings {
    ($($name:literal $field:ident: $kind:ty, $scope:ident, $note:expr, $doc:literal;)*) => {
        /// Every setting, in the order in which people read them.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            shape: <$kind as Kind>::SHAPE,
            scope: Scope::$scope,
            doc: $doc,
            default_note: $note,
            secret: <$kind as Kind>::SECRET,
            set: |config, text| {
                config.$field = <$kind as Kind>::parse(text)?;
                Ok(())
            },
            show: |config| <$kind as Kind>::show(&config.$field),
            quoted: <$kind as Kind>::QUOTED,
        },)*];
    };
}

settings! {
    "data_dir" data_dir: Directory, Everywhere, None,
        "Directory of the engine's own metadata, demo data and spill files; one process at a time owns it.";
    "pg_listen" pg_listen: Address, Serve, None,
        "Address of the PostgreSQL wire protocol; port 0 picks a free one.";
    "flight_listen" flight_listen: Address, Serve, None,
        "Address of Arrow Flight SQL; port 0 picks a free one.";
    "http_listen" http_listen: Address, Serve, None,
        "Address of health, readiness and metrics over HTTP; port 0 picks a free one.";
    "pg_socket_dir" pg_socket_dir: Place, Serve, None,
        "Directory in which the PostgreSQL wire also listens on a Unix socket, `.s.PGSQL.` and the port; the user who runs the server logs in there without a password.";
    "tls_certificate" tls_certificate: Place, Serve, None,
        "PEM file with the certificate of the server and those that sign it; with it clients of the PostgreSQL wire and of Flight SQL can encrypt. Read again when it changes.";
    "tls_key" tls_key: Place, Serve, None,
        "PEM file with the certificate's private key.";
    "tls_client_ca" tls_client_ca: Place, Serve, None,
        "PEM file with who signs certificates of clients; a client whose certificate has the user as its common name logs in without a password.";
    "tls_required" tls_required: Requirement, Serve, None,
        "Whether clients of the PostgreSQL wire and of Flight SQL must encrypt: `off`, `remote` for those that come from another machine, `all` for all but the Unix socket.";
    "initial_password" initial_password: Password, Serve, Some("a random one, written to `initial-password` in the data directory"),
        "Password that the superuser `maru` gets at the first start; prefer the variable to the flag, which other users of the machine can read.";
    "memory_limit" memory_limit_bytes: Bytes<usize>, Everywhere, Some("half of the machine's memory, or of the container's"),
        "Memory that all statements together may hold; buffers and what the allocator keeps come on top, about a fifth. The last quarter is kept for statements that hold less than their share.";
    "query_memory_limit" query_memory_limit_bytes: Bytes<usize>, Everywhere, Some("a quarter of the machine's memory, or of the container's"),
        "Memory that one statement may hold before it spills to disk or fails with 53200.";
    "spill_limit" spill_limit_bytes: Bytes<u64>, Everywhere, None,
        "Disk space that all statements together may spill to.";
    "concurrent_queries_max" concurrent_queries_max: Positive<usize>, Everywhere, None,
        "Statements that run at once; more wait in the queue.";
    "queued_queries_max" queued_queries_max: Count<usize>, Everywhere, None,
        "Statements that wait in the queue; one more is refused with 53000.";
    "statement_timeout" statement_timeout: Span, Everywhere, None,
        "Time after which a statement is cancelled with 57014; 0s means never.";
    "target_partitions" target_partitions: Positive<usize>, Everywhere, Some("the number of processor cores"),
        "Threads that work on one statement.";
    "pg_connections_max" pg_connections_max: Positive<usize>, Serve, None,
        "Connections over the PostgreSQL wire at once; one more is refused with 53300.";
    "query_history_days" query_history_days: Count<u64>, Everywhere, None,
        "Days that past statements stay in `system.queries`.";
    "shutdown_grace" shutdown_grace: Span, Serve, None,
        "Time that a stopping server leaves to running statements before it cancels them.";
    "onnxruntime_library" onnxruntime_library: Place, Everywhere, Some("the one that `maru setup onnx` put into the data directory"),
        "Shared library of ONNX Runtime, which runs imported models; loaded at the first use.";
    "log" log: Text, Everywhere, Some("`info` for a server, `warn` for the other commands"),
        "What is logged to standard error: `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,maru=debug`.";
    "log_format" log_format: Format, Everywhere, None,
        "Shape of a log line: `text` or `json`.";
}
