//! `system.audit`: logins, refusals, changes of objects and of rights, kept over restarts.
//!
//! Events go through a channel to one writer. The newest [`ROWS_MAX`] are kept.

use std::time::{Duration, SystemTime};

use maru_core::Result;
use sqlx::Row;

use super::Protocol;
use crate::engine::history::micros;
use crate::store::{Journal, Store, failed};

/// Events that are kept.
pub const ROWS_MAX: i64 = 1_000_000;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Login,
    LoginFailed,
    /// A statement was refused with 42501.
    Denied,
    /// A statement that makes, changes or drops an object.
    Ddl,
    /// A statement that writes rows, or removes all of them.
    Write,
    /// A statement on roles or privileges.
    Grant,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login failed",
            Self::Denied => "denied",
            Self::Ddl => "ddl",
            Self::Write => "write",
            Self::Grant => "grant",
        }
    }
}

/// One event. Texts of statements have stars in the place of secrets.
#[derive(Debug, Clone)]
pub struct Event {
    pub what: What,
    pub user: String,
    /// The role as which the statement ran.
    pub role: Option<String>,
    pub protocol: Protocol,
    pub client_address: Option<String>,
    pub session_id: Option<i32>,
    pub sql: Option<String>,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
}

/// An event as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub at_us: i64,
    pub event: String,
    pub user_name: String,
    pub role_name: Option<String>,
    pub protocol: String,
    pub client_address: Option<String>,
    pub session_id: Option<i64>,
    pub sql: Option<String>,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
}

/// The record and its writer.
#[derive(Debug)]
pub struct Audit {
    store: Store,
    journal: Journal<(i64, Event)>,
}

impl Audit {
    pub fn open(store: Store) -> Self {
        let journal = Journal::open(Duration::ZERO, {
            let store = store.clone();
            move |events: Vec<(i64, Event)>| {
                let store = store.clone();
                async move {
                    for (at_us, event) in events {
                        if let Err(error) = insert(&store, at_us, &event).await {
                            tracing::error!(event = event.what.name(), user = %event.user, error = %error, "could not keep an audit event");
                        }
                    }
                }
            }
        });
        Self { store, journal }
    }

    pub fn record(&self, event: Event) {
        self.journal.record((micros(SystemTime::now()), event));
    }

    /// Waits until what was recorded so far is kept.
    pub async fn settle(&self) {
        self.journal.flush().await;
    }

    /// Reads the newest events first, those of just now included.
    pub async fn past(&self) -> Result<Vec<Kept>> {
        self.settle().await;
        let rows = sqlx::query("SELECT * FROM audit ORDER BY id DESC LIMIT 100000")
            .fetch_all(self.store.pool())
            .await
            .map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| Kept {
                at_us: row.get("at_us"),
                event: row.get("event"),
                user_name: row.get("user_name"),
                role_name: row.get("role_name"),
                protocol: row.get("protocol"),
                client_address: row.get("client_address"),
                session_id: row.get("session_id"),
                sql: row.get("sql"),
                sqlstate: row.get("sqlstate"),
                message: row.get("message"),
            })
            .collect())
    }

    /// Writes what is left and ends the writer.
    pub async fn close(&self) {
        self.journal.close().await;
    }
}

async fn insert(store: &Store, at_us: i64, event: &Event) -> Result<()> {
    let done = sqlx::query(
        "INSERT INTO audit (at_us, event, user_name, role_name, protocol, client_address, session_id, sql, sqlstate, \
         message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(at_us)
    .bind(event.what.name())
    .bind(&event.user)
    .bind(&event.role)
    .bind(event.protocol.name())
    .bind(&event.client_address)
    .bind(event.session_id)
    .bind(&event.sql)
    .bind(&event.sqlstate)
    .bind(&event.message)
    .execute(store.pool())
    .await
    .map_err(failed)?;
    if done.last_insert_rowid() % 1_000 == 0 {
        sqlx::query("DELETE FROM audit WHERE id <= ?")
            .bind(done.last_insert_rowid() - ROWS_MAX)
            .execute(store.pool())
            .await
            .map_err(failed)?;
    }
    Ok(())
}
