//! The file of a catalog, and connections to it whose statements end when nobody wants them any more.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use maru_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::watch;

use super::described::{Described, description};
use crate::failure::{Given, Peer};

/// How long a lock of the file is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Steps of SQLite's machine between two looks at whether to go on: some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 4000;

/// The file, and whether its catalog was closed.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) closed: Arc<watch::Sender<bool>>,
}

impl File {
    pub(super) fn peer(&self) -> Peer {
        Peer {
            product: "SQLite",
            address: self.path.display().to_string(),
            classify: |_| None,
            given: Given::default(),
        }
    }

    /// Opens a connection of its own: opening a file is cheap, and a reader that goes away leaves nothing behind.
    pub(super) async fn connect(&self) -> Result<Opened> {
        self.open(true).await
    }

    /// Opens a connection that may write, and waits a while for others who do.
    pub(super) async fn connect_to_write(&self) -> Result<Opened> {
        self.open(false).await
    }

    async fn open(&self, read_only: bool) -> Result<Opened> {
        if *self.closed.borrow() {
            return Err(self.peer().closed());
        }
        let shown = self.path.display();
        if !self.path.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("file \"{shown}\" does not exist"),
            )
            .with_hint("Give the path of a SQLite database file on the machine that runs Maru."));
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(read_only)
            .busy_timeout(BUSY_TIMEOUT)
            // Statements hold values, and no value belongs into a log.
            .disable_statement_logging();
        let opened = async {
            let mut connection = options.connect().await?;
            let stop = Stop::default();
            let stopped = Arc::clone(&stop.0);
            let goes_on = move || !stopped.load(Ordering::Relaxed);
            connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, goes_on);
            Ok(Opened { stop, connection })
        };
        opened.await.map_err(|error| self.peer().connect_error(error))
    }

    /// Returns the columns of a table or view.
    pub(super) async fn described(&self, name: &str) -> Result<Vec<Described>> {
        let mut connection = self.connect().await?;
        let described = description(&mut connection, name).await;
        let _ = connection.close().await;
        described.map_err(|error| self.peer().query_error(error))
    }

    /// Returns all rows of a query of the connector's own.
    pub(super) async fn rows(&self, sql: String) -> Result<Vec<SqliteRow>> {
        let mut connection = self.connect().await?;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
        let rows = rows.map_err(|error| {
            let error = self.peer().query_error(error);
            if error.message().contains("not a database") {
                return error.with_kind(ErrorKind::InvalidOption);
            }
            error
        })?;
        connection.close().await.map_err(|error| self.peer().query_error(error))?;
        Ok(rows)
    }
}

/// An open connection. SQLite computes in a thread of its own, which would go on to the end of its statement: a group, a join or an
/// order has no row before. So dropping or closing the connection ends the statement, within [`STEPS_BETWEEN_LOOKS`].
#[derive(Debug)]
pub(super) struct Opened {
    // Dropped first, so that the thread learns of it before it is waited for.
    stop: Stop,
    connection: SqliteConnection,
}

impl Opened {
    /// Ends what still runs, and waits until the file is closed. What was not committed is undone.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        let Self { stop, connection } = self;
        drop(stop);
        connection.close().await
    }
}

impl Deref for Opened {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Opened {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// Tells SQLite's thread to stop when it is dropped.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
