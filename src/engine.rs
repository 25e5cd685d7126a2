//! The door: one engine per process, one session per client.

use std::sync::Arc;

use maru_core::{Error, Result};

use crate::access::{Login, Verifier};
use crate::config::Config;
use crate::session::Session;

/// The engine of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
}

impl Engine {
    /// Opens the data directory, creating it at the first start, and attaches its catalogs.
    ///
    /// # Errors
    /// 55006 if another process owns the data directory, with its pid and address in the detail.
    pub async fn open(config: Config) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Returns what is needed to check the password of `user`; `None` if there is no such user or it may not log in.
    pub async fn verifier(&self, user: &str) -> Result<Option<Verifier>> {
        Err(Error::unsupported(format!("cannot look up user {user}")))
    }

    /// Checks a password in constant time, for protocols that send it (Flight SQL basic authentication).
    ///
    /// # Errors
    /// 28P01, the same for an unknown user and a wrong password.
    pub async fn check_password(&self, user: &str, _password: &str) -> Result<()> {
        Err(Error::unsupported(format!("cannot look up user {user}")))
    }

    /// Opens a session for a client that has proven who it is.
    ///
    /// # Errors
    /// 3D000 if the login names a catalog that does not exist; 57P01 while shutting down.
    pub async fn session(&self, _login: Login) -> Result<Arc<Session>> {
        Err(Error::unsupported("no sessions yet"))
    }

    /// Cancels the running statement of the session with this key (PostgreSQL's CancelRequest). A wrong key does
    /// nothing.
    pub fn cancel(&self, _session_id: i32, _cancel_secret: i32) {}

    /// Returns whether statements are accepted: metadata readable, not shutting down.
    pub async fn is_ready(&self) -> Result<()> {
        Ok(())
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn metrics_text(&self) -> String {
        String::new()
    }

    /// Refuses new statements, waits up to `grace` for the running ones, cancels the rest, closes all sources, and
    /// gives the data directory free.
    pub async fn close(&self, _grace: std::time::Duration) {}
}
