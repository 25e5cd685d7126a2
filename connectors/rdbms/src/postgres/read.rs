//! Reading rows: one read-only transaction, one COPY, and a way to stop it.

use std::sync::Arc;

use futures::TryStreamExt;
use maru_connect::ScanRequest;
use maru_core::{Error, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row};

use super::catalog::{Base, PgColumn, Relation};
use super::conditions::text_literal;
use super::decode::Decoder;
use super::parallel::{self, Team};
use super::types::Kind;
use super::unheld::refused;
use crate::failure::Peer;
use crate::outdated::changed;
use crate::pool::Connections;
use crate::stream::Sink;

/// Reads `request` into `sink`, a large table over up to `parallel_reads` connections.
///
/// # Cancel
/// When the reader of `sink` goes away or the catalog is closed, the backend is told to cancel and the connection is
/// closed: both, since a backend that waits for a lock or sorts would not notice a closed socket for long.
pub(crate) async fn read(
    connections: Arc<Connections<Postgres>>,
    relation: Arc<Relation>,
    request: ScanRequest,
    parallel_reads: usize,
    sink: Sink,
) -> Result<()> {
    let Some(mut lease) = connections.unless_over(&sink, connections.lease()).await? else {
        return Ok(());
    };
    let mut backend = None;
    let spare = parallel::plan(&relation, &request, parallel_reads)
        .map_or_else(Vec::new, |(_, most)| connections.spare(most - 1));
    let work = async {
        if spare.is_empty() {
            let connection = &mut lease.connection;
            return rows(connection, &mut backend, &connections, &relation, &request, &sink).await;
        }
        let team = Team {
            connections: Arc::clone(&connections),
            relation: Arc::clone(&relation),
            request: request.clone(),
            sink: sink.clone(),
        };
        parallel::lead(team, &mut lease.connection, &mut backend, spare).await
    };
    let result = connections.unless_over(&sink, work).await;
    if matches!(result, Ok(Some(()))) {
        sink.complete().await;
        lease.end(async |connection| connection.execute("COMMIT").await.map(|_| ())).await;
        return Ok(());
    }
    if let Some(backend) = backend {
        cancel(&connections, backend).await;
    }
    lease.discard();
    result.map(|_| ())
}

/// Reads over one connection, in a transaction that is left to be ended.
async fn rows(
    connection: &mut PgConnection,
    backend: &mut Option<i32>,
    connections: &Connections<Postgres>,
    relation: &Relation,
    request: &ScanRequest,
    sink: &Sink,
) -> Result<()> {
    let failed = |error| failure(&connections.peer, error);
    let select = relation.select(request)?;
    *backend = Some(begin(connection, "READ ONLY", relation, request).await.map_err(failed)??);
    if request.projection.is_empty() {
        let count: i64 = sqlx::raw_sql(AssertSqlSafe(select))
            .fetch_one(&mut *connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(failed)?;
        let count = usize::try_from(count)
            .map_err(|_| Error::internal("PostgreSQL counted less than nothing"))?;
        return sink.send_empty(count, request.batch_rows).await;
    }
    copy(connection, connections, relation, request, &select, sink).await
}

/// Returns what a failed read means: it may have met a value that the engine cannot hold.
fn failure(peer: &Peer, error: sqlx::Error) -> Error {
    let told = error.as_database_error().and_then(|error| refused(error.message()));
    told.unwrap_or_else(|| peer.query_error(error))
}

/// Reads the rows of `select`, which has the columns of `request`.
pub(super) async fn copy(
    connection: &mut PgConnection,
    connections: &Connections<Postgres>,
    relation: &Relation,
    request: &ScanRequest,
    select: &str,
    sink: &Sink,
) -> Result<()> {
    let failed = |error| failure(&connections.peer, error);
    let schema = request.projected(&relation.schema)?;
    let kinds: Vec<Kind> = request
        .projection
        .iter()
        .filter_map(|index| Some(relation.columns.get(*index)?.mapping.kind.clone()))
        .collect();
    let mut decoder =
        Decoder::new(schema, relation.shown.clone(), kinds.into_iter(), request.batch_rows);
    let copy = format!("COPY ({select}) TO STDOUT (FORMAT BINARY)");
    let mut chunks = connection.copy_out_raw(&copy).await.map_err(failed)?;
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        for batch in decoder.take(&chunk)? {
            sink.send(batch).await;
        }
    }
    if let Some(batch) = decoder.finish()? {
        sink.send(batch).await;
    }
    Ok(())
}

/// Begins a read-only transaction, `mode` saying of which kind, locks the tables against changes of their columns, and returns
/// the backend's pid.
///
/// One round trip. The binary form of a value does not say its type, so a column that was altered since the table was
/// described would be read as something else; inside the transaction it cannot be altered any more.
///
/// # Errors
/// HV000 if a column that is read is not what it was.
pub(super) async fn begin(
    connection: &mut PgConnection,
    mode: &str,
    relation: &Relation,
    request: &ScanRequest,
) -> sqlx::Result<Result<i32>> {
    let bases = relation.read_from(request);
    let mut same = String::from("TRUE");
    let mut lock = String::new();
    for Base { from, oid, columns } in &bases {
        lock.push_str(&format!("SELECT 1 FROM {from} LIMIT 0; "));
        if columns.is_empty() {
            continue;
        }
        let expected = columns.iter().map(was).collect::<Option<Vec<_>>>();
        let expected = expected.map_or_else(|| "NULL".to_owned(), |all| all.join(", "));
        same.push_str(&format!(
            " AND (SELECT count(*) = {} FROM pg_attribute a \
             JOIN (VALUES {expected}) AS w (n, t, m, c, k, name) \
             ON a.attnum = w.n AND a.atttypid::int8 = w.t AND a.atttypmod = w.m \
             AND a.attcollation::int8 = w.c AND a.attnotnull >= w.k AND a.attname::text = w.name \
             WHERE a.attrelid = {oid}::oid AND NOT a.attisdropped)",
            columns.len()
        ));
    }
    let sql = format!("BEGIN {mode}; {lock}SELECT pg_backend_pid(), {same}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
    let backend: i32 = row.try_get(0)?;
    if row.try_get(1)? {
        return Ok(Ok(backend));
    }
    Ok(Err(changed(&relation.shown)))
}

/// Writes what a column was when it was described.
fn was(column: &PgColumn) -> Option<String> {
    let PgColumn { number, type_oid, typmod, collation, not_null, .. } = column;
    let name = text_literal(&column.name)?;
    Some(format!("({number}, {type_oid}, {typmod}, {collation}, {not_null}, {name})"))
}

/// Asks the server to cancel what a backend does, over a connection of its own. Best effort: the socket is closed anyway.
pub(super) async fn cancel(connections: &Connections<Postgres>, backend: i32) {
    let asked = async {
        let mut connection = connections.connect().await?;
        let cancelled = sqlx::query("SELECT pg_cancel_backend($1)")
            .bind(backend)
            .persistent(false)
            .execute(&mut connection)
            .await;
        let _ = connection.close().await;
        cancelled.map_err(|error| connections.peer.query_error(error))
    };
    if let Err(error) = asked.await {
        tracing::debug!(%error, "could not cancel a remote query");
    }
}
