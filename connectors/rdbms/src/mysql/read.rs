//! Reading rows: one read-only transaction, one statement, and a way to stop it.

use std::sync::Arc;

use futures::TryStreamExt;
use maru_connect::ScanRequest;
use maru_core::{Error, Result};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, MySql, Row};

use super::catalog::Relation;
use super::decode::Decoder;
use super::unheld::refused;
use crate::failure::Peer;
use crate::outdated::changed;
use crate::pool::Connections;
use crate::stream::Sink;

/// What the session must be, whatever the server's defaults or an earlier query made of it. `sql_mode` decides how
/// literals are read; the two limits of rows and NULL change results; a reader that pauses must not be cut off after
/// the usual minute.
pub(crate) const SESSION: &str = "SET SESSION sql_mode = 'STRICT_TRANS_TABLES', time_zone = '+00:00', \
     sql_select_limit = 18446744073709551615, sql_auto_is_null = 0, net_write_timeout = 3600";

/// Statements that a connection keeps prepared, and how long they may be. To close one costs 40 ms, as the server does
/// not answer and TCP waits for more to send; so they are closed many at once.
pub(crate) const KEPT_STATEMENTS: usize = 32;
const KEPT_SQL_BYTES: usize = 16 * 1024;

/// Reads `request` into `sink`.
///
/// # Cancel
/// When the reader of `sink` goes away or the catalog is closed, the server is told to kill the query and the connection
/// is closed: both, since MySQL notices a closed socket only when it writes.
pub(crate) async fn read(
    connections: Arc<Connections<MySql>>,
    relation: Arc<Relation>,
    request: ScanRequest,
    sink: Sink,
) -> Result<()> {
    let Some(mut lease) = connections.unless_over(&sink, connections.lease()).await? else {
        return Ok(());
    };
    let mut thread = None;
    let work = rows(&mut lease.connection, &mut thread, &connections, &relation, &request, &sink);
    let result = connections.unless_over(&sink, work).await;
    if matches!(result, Ok(Some(()))) {
        sink.complete().await;
        lease.end(end).await;
        return Ok(());
    }
    if let Some(thread) = thread {
        kill(&connections, thread).await;
    }
    lease.discard();
    result.map(|_| ())
}

/// Reads in a transaction that is left to be ended.
async fn rows(
    connection: &mut MySqlConnection,
    thread: &mut Option<u64>,
    connections: &Connections<MySql>,
    relation: &Relation,
    request: &ScanRequest,
    sink: &Sink,
) -> Result<()> {
    let peer = &connections.peer;
    let failed = |error: sqlx::Error| failure(peer, &relation.shown, error);
    let select = relation.select(request)?;
    let kept = select.len() <= KEPT_SQL_BYTES;
    *thread = begin(connection, relation).await.map_err(failed)??;
    let schema = request.projected(&relation.schema)?;
    if request.projection.is_empty() {
        let count: i64 = sqlx::query(AssertSqlSafe(select))
            .persistent(kept)
            .fetch_one(&mut *connection)
            .await
            .and_then(|row| row.try_get_unchecked(0))
            .map_err(failed)?;
        let count = usize::try_from(count)
            .map_err(|_| Error::internal("MySQL counted less than nothing"))?;
        return sink.send_empty(count, request.batch_rows).await;
    }
    let kinds = request
        .projection
        .iter()
        .filter_map(|index| Some(relation.columns.get(*index)?.mapping.kind));
    let mut decoder = Decoder::new(schema, relation.shown.clone(), kinds, request.batch_rows);
    {
        // Prepared, so that it is one statement for certain; the driver reads on only when it is asked for a row.
        let mut rows = sqlx::query(AssertSqlSafe(select)).persistent(kept).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            if let Some(batch) = decoder.take(&row)? {
                sink.send(batch).await;
            }
        }
    }
    if let Some(batch) = decoder.finish()? {
        sink.send(batch).await;
    }
    Ok(())
}

/// Returns what a failed read means: it may have met a value that the engine cannot hold.
fn failure(peer: &Peer, table: &str, error: sqlx::Error) -> Error {
    let told = error.as_database_error().and_then(|told| refused(told.message(), table));
    told.unwrap_or_else(|| peer.query_error(error))
}

/// Begins a read-only transaction, keeps the tables as they are until it ends, and returns the connection's number.
///
/// One round trip. The types of columns that are read come with their values, but those of columns that are only compared, grouped
/// or counted do not.
///
/// # Errors
/// HV000 if a column is not what it was described as.
async fn begin(
    connection: &mut MySqlConnection,
    relation: &Relation,
) -> sqlx::Result<Result<Option<u64>>> {
    let looks = relation.bases.iter().map(|base| format!("{}; ", base.look())).collect::<String>();
    let sql = format!("{SESSION}; START TRANSACTION READ ONLY; {looks}SELECT CONNECTION_ID()");
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
    for base in &relation.bases {
        if !base.is_still(&rows)? {
            return Ok(Err(changed(&relation.shown)));
        }
    }
    rows.last().map(|row| row.try_get_unchecked(0)).transpose().map(Ok)
}

async fn end(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    connection.execute("COMMIT").await?;
    if connection.cached_statements_size() >= KEPT_STATEMENTS {
        connection.clear_cached_statements().await?;
    }
    Ok(())
}

/// Asks the server to end what a connection does, over a connection of its own. Best effort: the socket is closed anyway.
async fn kill(connections: &Connections<MySql>, thread: u64) {
    let asked = async {
        let mut connection = connections.connect().await?;
        let killed = sqlx::raw_sql(AssertSqlSafe(format!("KILL QUERY {thread}")))
            .execute(&mut connection)
            .await;
        let _ = connection.close().await;
        killed.map_err(|error| connections.peer.query_error(error))
    };
    if let Err(error) = asked.await {
        tracing::debug!(%error, "could not cancel a remote query");
    }
}
