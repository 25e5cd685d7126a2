//! What a failed connection or query means, told in Maru's kinds.

use std::time::Duration;

use maru_core::{Error, ErrorKind};
use sqlx::mysql::MySqlDatabaseError;

/// The database at the other end, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// `PostgreSQL`, `MySQL`, `SQLite`.
    pub product: &'static str,
    /// `host:port/database`, or the file.
    pub address: String,
    /// Turns the database's own code (SQLSTATE, or MySQL's error number) into a kind; `None` for [`ErrorKind::RemoteFailed`].
    pub classify: fn(&str) -> Option<ErrorKind>,
    pub given: Given,
}

/// What the options say and leave out, for hints.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub password: bool,
    pub database: bool,
}

impl Peer {
    /// Returns what a failed attempt to connect means.
    pub fn connect_error(&self, error: sqlx::Error) -> Error {
        match error {
            // The driver hands a handshake's failure on as one of reading.
            sqlx::Error::Io(cause)
                if cause
                    .get_ref()
                    .is_some_and(|inner| inner.is::<tokio_rustls::rustls::Error>()) =>
            {
                self.no_tls(&cause).with_cause(cause)
            }
            sqlx::Error::Io(cause) => self.unreachable().with_cause(cause),
            sqlx::Error::Protocol(cause) => self
                .unreachable()
                .with_cause(without_place(&cause))
                .with_hint(format!("Check that a {} server listens there.", self.product)),
            sqlx::Error::Tls(cause) => self.no_tls(&cause).with_cause(cause),
            sqlx::Error::Configuration(cause) => {
                // Certificates that cannot be used, or a login that is not safe without TLS.
                Error::new(ErrorKind::InvalidOption, format!("cannot connect to {}", self.name()))
                    .with_cause(cause)
                    .with_hint("Check the options \"tls\" and \"ca_file\".")
            }
            error => self.login_error(error),
        }
    }

    /// Returns what a refusal of the server to begin means, with what to look at.
    fn login_error(&self, error: sqlx::Error) -> Error {
        let error = self.query_error(error);
        match error.kind() {
            ErrorKind::RemoteAuthentication if !self.given.password => {
                error.with_detail("The catalog's options have no password.").with_hint(
                    "Set the options \"user\" and \"password\", best by a secret (CREATE SECRET).",
                )
            }
            ErrorKind::RemoteAuthentication => error
                .with_hint("Check the options \"user\" and \"password\", or the catalog's secret."),
            ErrorKind::InvalidOption if !self.given.database && self.product == "PostgreSQL" => {
                error
                    .with_detail(
                        "Option \"url\" names no database, so it is the one of the user's name.",
                    )
                    .with_hint("Write it at the end of the URL: 'postgres://host:5432/database'.")
            }
            ErrorKind::InvalidOption if self.given.database => error
                .or_hint(|| Some("Check the database at the end of option \"url\".".to_owned())),
            _ => error,
        }
    }

    /// Returns what a failure on an open connection means.
    pub fn query_error(&self, error: sqlx::Error) -> Error {
        match error {
            sqlx::Error::Database(error) => {
                let code = match error.try_downcast_ref::<MySqlDatabaseError>() {
                    Some(error) => error.number().to_string(),
                    None => error.code().map(|code| code.into_owned()).unwrap_or_default(),
                };
                let kind = (self.classify)(&code).unwrap_or(ErrorKind::RemoteFailed);
                Error::new(kind, format!("{}: {}", self.name(), one_line(error.message())))
                    .with_context("code", code)
            }
            sqlx::Error::Io(cause) => Error::new(
                ErrorKind::RemoteUnavailable,
                format!("lost the connection to {}", self.name()),
            )
            .with_cause(cause),
            sqlx::Error::InvalidArgument(message) => {
                Error::new(ErrorKind::InvalidStatement, message)
            }
            sqlx::Error::PoolClosed => self.closed(),
            sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => Error::new(
                ErrorKind::RemoteUnavailable,
                format!("lost the connection to {}", self.name()),
            )
            .with_cause(error),
            error => Error::new(ErrorKind::RemoteFailed, format!("{} failed", self.name()))
                .with_cause(error),
        }
    }

    pub fn unreachable(&self) -> Error {
        Error::new(ErrorKind::RemoteUnavailable, format!("cannot reach {}", self.name())).with_hint(
            "Check host and port in option \"url\", and that the server runs and takes connections from here.",
        )
    }

    /// The certificate is not believed, or the two do not agree on how to encrypt.
    fn no_tls(&self, cause: &dyn std::fmt::Display) -> Error {
        if cause.to_string().contains("does not support TLS") {
            let what = format!("{} does not offer TLS", self.name());
            return Error::new(ErrorKind::RemoteUnavailable, what).with_hint(
                "Turn it on in the server, or set tls = 'prefer' or 'disable' to go without it.",
            );
        }
        Error::new(ErrorKind::RemoteUnavailable, format!("no TLS connection to {}", self.name()))
            .with_detail(format!("The handshake ended: {}.", one_line(&cause.to_string())))
            .with_hint(
                "Check the options \"tls\" and \"ca_file\", and that the certificate is one of this host.",
            )
    }

    pub fn timed_out(&self, after: Duration) -> Error {
        self.unreachable()
            .with_detail(format!("No connection within {after:?}."))
            .with_hint("Check the address, or raise the option \"connect_timeout\".")
    }

    pub fn all_busy(&self, max_connections: u32) -> Error {
        Error::new(
            ErrorKind::TooManyConnections,
            format!("all {max_connections} connections to {} are busy", self.name()),
        )
        .with_hint("Try again, or raise the option \"max_connections\".")
    }

    /// The catalog was dropped or the engine stops while a query was reading.
    pub fn closed(&self) -> Error {
        Error::new(
            ErrorKind::RemoteUnavailable,
            format!("the catalog of {} was closed", self.name()),
        )
    }

    pub fn name(&self) -> String {
        format!("{} at {}", self.product, self.address)
    }
}

/// Leaves out where in its own code the driver was: `… (sqlx_postgres::connection::tls:95)`.
fn without_place(message: &str) -> String {
    match message.rfind(" (sqlx") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// Joins the lines of a message into one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
