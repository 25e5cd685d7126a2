//! `LOAD DATA LOCAL INFILE` with rows from memory, over a connection that can answer the server's question for the file.
//!
//! With LOCAL the server goes on over rows that it cannot take, and only warns. So a load with a warning is an error here, whatever
//! the warning says, and its transaction is not committed.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Plan;
use super::failure::Refused;
use super::literal::loaded;
use crate::mysql::catalog::quoted;
use crate::network::{Address, Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are sent as one packet at most: servers take 1 MiB at the least.
const PACKET_BYTES: usize = 512 * 1024;

/// How to connect to a server to load data.
#[derive(Debug)]
pub(crate) struct Loader {
    plain: Opts,
    /// `None` if certificates are to be checked against those of the system, which this driver does not know.
    tls: Option<Opts>,
}

impl Loader {
    pub fn new(address: &Address, user: &str) -> Self {
        let password = address.password.as_ref().map(|password| password.reveal().to_owned());
        let plain = OptsBuilder::default()
            .ip_or_hostname(address.host.clone())
            .tcp_port(address.port)
            .user(Some(user))
            .pass(password)
            .prefer_socket(false)
            .stmt_cache_size(0);
        let unchecked = matches!(address.tls, Tls::Disable | Tls::Prefer | Tls::Require);
        let any_name = address.tls != Tls::VerifyFull;
        let tls = match &address.ca_file {
            None if !unchecked => None,
            ca_file => {
                let roots = ca_file.iter().map(|file| file.clone().into()).collect();
                let ssl = SslOpts::default()
                    .with_disable_built_in_roots(ca_file.is_some())
                    .with_root_certs(roots)
                    .with_danger_accept_invalid_certs(unchecked)
                    .with_danger_skip_domain_validation(any_name);
                Some(plain.clone().ssl_opts(ssl).into())
            }
        };
        Self { plain: plain.into(), tls }
    }

    /// Returns how to connect, as encrypted as `connection` is; `None` if the server does not take data of clients.
    pub async fn find(&self, connection: &mut MySqlConnection) -> sqlx::Result<Option<Opts>> {
        let row = sqlx::raw_sql("SELECT @@GLOBAL.local_infile").fetch_one(&mut *connection).await?;
        if row.try_get_unchecked::<i64, _>(0)? != 1 {
            return Ok(None);
        }
        let status = sqlx::raw_sql("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
        let status = status.fetch_optional(connection).await?;
        let cipher = status.map(|row| row.try_get_unchecked::<String, _>(1)).transpose()?;
        Ok(match cipher.is_some_and(|cipher| !cipher.is_empty()) {
            true => self.tls.clone(),
            false => Some(self.plain.clone()),
        })
    }
}

/// A connection that loads data.
#[derive(Debug)]
pub(super) struct Bulk(Conn);

impl Bulk {
    /// Connects; `None` if that does not succeed as it did for the catalog's own connection.
    pub async fn connect(opts: &Opts) -> Option<Self> {
        match timeout(CONNECT_TIMEOUT, Conn::new(opts.clone())).await {
            Ok(Ok(connection)) => Some(Self(connection)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection to load data; rows are inserted");
                None
            }
            Err(_) => None,
        }
    }

    pub async fn execute(&mut self, sql: String) -> mysql_async::Result<u64> {
        self.0.query_drop(sql).await?;
        Ok(self.0.affected_rows())
    }

    pub async fn number(&mut self, sql: String) -> mysql_async::Result<Option<i64>> {
        let number: Option<Option<i64>> = self.0.query_first(sql).await?;
        Ok(number.flatten())
    }

    /// Says farewell; a server that does not answer is not waited for.
    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(1), self.0.disconnect()).await;
    }

    /// Loads the pieces of one file, and returns the rows that the server took.
    pub async fn load(
        &mut self,
        plan: &Plan,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<u64, Refused> {
        let peer = &plan.connections.peer;
        let file = stream::unfold(pieces, |mut pieces| async {
            pieces.recv().await.map(|piece| (Ok(piece), pieces))
        });
        self.0.set_infile_handler(async move { Ok(file.boxed()) });
        let failed = |error| Refused::of_bulk(peer, error);
        let taken = self.execute(statement(plan)).await.map_err(failed)?;
        if self.0.get_warnings() > 0 {
            let warning: Option<(String, u16, String)> =
                self.0.query_first("SHOW WARNINGS LIMIT 1").await.map_err(failed)?;
            let (_, number, message) =
                warning.unwrap_or_else(|| (String::new(), 0, "a warning without words".to_owned()));
            return Err(Refused::told(peer, number, message));
        }
        Ok(taken)
    }
}

/// Returns the statement that loads the rows.
fn statement(plan: &Plan) -> String {
    let mut names = Vec::new();
    let mut set = Vec::new();
    for (index, column) in plan.target.columns.iter().enumerate() {
        let variable = format!("@maru_{index}");
        match loaded(&column.mapping, &variable) {
            None => names.push(quoted(&column.name)),
            Some(value) => {
                set.push(format!("{} = {value}", quoted(&column.name)));
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
