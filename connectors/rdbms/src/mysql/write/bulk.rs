//! `LOAD DATA LOCAL INFILE` with rows from memory, over a connection of its own kind.
//!
//! With LOCAL the server goes on over rows that it cannot take, and only warns. So a load with a warning is an error here, whatever
//! the warning says, and its transaction is not committed.

use std::time::Duration;

use bytes::Bytes;
use maru_core::Secret;
use sqlx::Row;
use sqlx::mysql::MySqlConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Plan;
use super::failure::Refused;
use super::literal::loaded;
use super::wire::{Failure, Wire};
use crate::mysql::catalog::quoted;
use crate::network::{Address, Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are sent as one packet at most: servers take 1 MiB at the least.
const PACKET_BYTES: usize = 512 * 1024;

/// How to connect to a server to load data.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    socket: (String, u16),
    user: String,
    password: Option<Secret>,
    /// Whether certificates are to be checked, which is left to the driver.
    checks: bool,
    tls: bool,
}

impl Loader {
    pub fn new(address: &Address, user: &str) -> Self {
        Self {
            socket: (address.host.clone(), address.port),
            user: user.to_owned(),
            password: address.password.clone(),
            checks: matches!(address.tls, Tls::VerifyCa | Tls::VerifyFull),
            tls: false,
        }
    }

    /// Has all rows inserted by statements.
    #[cfg(test)]
    pub fn off(&mut self) {
        self.checks = true;
    }

    /// Returns how to connect, encrypted if `connection` is; `None` if the server does not take data of clients.
    pub async fn find(&self, connection: &mut MySqlConnection) -> sqlx::Result<Option<Self>> {
        if self.checks {
            return Ok(None);
        }
        let row = sqlx::raw_sql("SELECT @@GLOBAL.local_infile").fetch_one(&mut *connection).await?;
        if row.try_get_unchecked::<i64, _>(0)? != 1 {
            return Ok(None);
        }
        let status = sqlx::raw_sql("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
        let status = status.fetch_optional(connection).await?;
        let cipher = status.map(|row| row.try_get_unchecked::<String, _>(1)).transpose()?;
        let tls = cipher.is_some_and(|cipher| !cipher.is_empty());
        Ok(Some(Self { tls, ..self.clone() }))
    }
}

/// A connection that loads data.
#[derive(Debug)]
pub(super) struct Bulk(Wire);

impl Bulk {
    /// Connects; `None` if that does not succeed as it did for the catalog's own connection.
    pub async fn connect(loader: &Loader) -> Option<Self> {
        let socket = (loader.socket.0.as_str(), loader.socket.1);
        let wire = Wire::connect(socket, &loader.user, loader.password.as_ref(), loader.tls);
        match timeout(CONNECT_TIMEOUT, wire).await {
            Ok(Ok(wire)) => Some(Self(wire)),
            Ok(Err(error)) => {
                tracing::debug!(?error, "no connection to load data; rows are inserted");
                None
            }
            Err(_) => None,
        }
    }

    pub async fn execute(&mut self, sql: &str) -> Result<u64, Failure> {
        Ok(self.0.run(sql, None).await?.n_rows)
    }

    /// Returns the number that a query gives; `None` without a row.
    pub async fn number(&mut self, sql: &str) -> Result<Option<i64>, Failure> {
        let rows = self.0.run(sql, None).await?.rows;
        let text = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
    }

    /// Says farewell; a server that does not answer is not waited for.
    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(1), self.0.close()).await;
    }

    /// Loads the pieces of one file, and returns the rows that the server took.
    pub async fn load(
        &mut self,
        plan: &Plan,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<u64, Refused> {
        let peer = &plan.connections.peer;
        let failed = |failure| Refused::of_wire(peer, failure);
        let done = self.0.run(&statement(plan), Some(pieces)).await.map_err(failed)?;
        if done.n_warnings == 0 {
            return Ok(done.n_rows);
        }
        let warnings = self.0.run("SHOW WARNINGS LIMIT 1", None).await.map_err(failed)?;
        let text = |column: usize| {
            let value = warnings.rows.first().and_then(|row| row.get(column)?.as_ref());
            value.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
        };
        Err(Refused::told(peer, text(1).parse().unwrap_or_default(), text(2)))
    }
}

/// Returns the statement that loads the rows.
fn statement(plan: &Plan) -> String {
    let mut names = Vec::new();
    let mut set = Vec::new();
    for (index, (name, mapping)) in plan.written().into_iter().enumerate() {
        let variable = format!("@maru_{index}");
        match loaded(&mapping, &variable) {
            None => names.push(quoted(&name)),
            Some(value) => {
                set.push(format!("{} = {value}", quoted(&name)));
                names.push(variable);
            }
        }
    }
    let set = if set.is_empty() { String::new() } else { format!(" SET {}", set.join(", ")) };
    format!(
        "LOAD DATA LOCAL INFILE 'rows' INTO TABLE {} CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ENCLOSED BY '' \
         ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({}){set}",
        plan.filled(),
        names.join(", ")
    )
}

/// Returns the lines in pieces that fit a packet.
pub(super) fn pieces(lines: Vec<u8>) -> impl Iterator<Item = Bytes> {
    let lines = Bytes::from(lines);
    (0..lines.len().div_ceil(PACKET_BYTES)).map(move |index| {
        let from = index * PACKET_BYTES;
        lines.slice(from..lines.len().min(from + PACKET_BYTES))
    })
}
