//! What became of a COMMIT whose answer was lost: the server knows, and is asked over another connection.

use std::time::Duration;

use maru_core::{Error, ErrorKind, Result};
use sqlx::{Connection, Postgres, Row};
use tokio::time::{Instant, sleep};

use crate::pool::Connections;

/// How long the server is asked.
const ASK_FOR: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Returns well if the transaction was committed.
///
/// # Errors
/// HV00N if it was not, and nothing is visible; 08007 if the server cannot be asked or does not know any more.
pub(super) async fn find_out(
    connections: &Connections<Postgres>,
    transaction: i64,
    backend: i32,
    lost: sqlx::Error,
) -> Result<()> {
    let until = Instant::now() + ASK_FOR;
    let mut last = connections.peer.query_error(lost);
    while Instant::now() < until {
        match ask(connections, transaction, backend).await {
            Ok(Some(State::Committed)) => return Ok(()),
            Ok(Some(State::Aborted)) => {
                return Err(Error::new(ErrorKind::RemoteUnavailable, last.primary())
                    .with_detail("The transaction was not committed: nothing was written.")
                    .with_hint("Run the statement again."));
            }
            Ok(Some(State::InProgress)) => {}
            Ok(None) => break,
            Err(error) => last = error,
        }
        sleep(ASK_EVERY).await;
    }
    Err(Error::new(
        ErrorKind::CommitUnknown,
        format!("it is not known whether {} has committed", connections.peer.name()),
    )
    .with_detail(format!("Transaction {transaction}: {}.", last.message()))
    .with_hint("Look at the table before you run the statement again."))
}

enum State {
    Committed,
    Aborted,
    InProgress,
}

async fn ask(
    connections: &Connections<Postgres>,
    transaction: i64,
    backend: i32,
) -> Result<Option<State>> {
    let mut connection = connections.connect().await?;
    // Where the COMMIT has not come, it never will: the session that waits for it is ended, and is then aborted for certain.
    let row = sqlx::query(
        "SELECT (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid = $2 AND usename = current_user AND state LIKE 'idle in transaction%'
                   AND backend_xid::text::int8 = $1 % 4294967296),
                txid_status($1)",
    )
    .bind(transaction)
    .bind(backend)
    .persistent(false)
    .fetch_one(&mut connection)
    .await;
    let _ = connection.close().await;
    let status: Option<String> =
        row.and_then(|row| row.try_get(1)).map_err(|error| connections.peer.query_error(error))?;
    Ok(match status.as_deref() {
        Some("committed") => Some(State::Committed),
        Some("aborted") => Some(State::Aborted),
        Some(_) => Some(State::InProgress),
        None => None,
    })
}
