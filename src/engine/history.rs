//! Past statements, kept over a restart: what `system.queries` shows besides the running ones.
//!
//! Ended statements go through a channel to one writer, so that no statement waits for the disk. Rows older than
//! `query_history_days`, and those beyond `QUERY_HISTORY_ROWS_MAX`, are removed as new ones come.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maru_core::{Result, limits};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::store::{Journal, Store, failed};

/// How long an ended statement waits to be written together with others: each write waits for the disk.
const GATHER: Duration = Duration::from_millis(100);

/// Statements between two looks for old ones.
const TRIM_EVERY: usize = 500;

/// A statement that has ended. Times in microseconds since 1970 and milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct PastQuery {
    pub query_id: i64,
    pub user_name: String,
    pub protocol: String,
    pub session_id: i64,
    pub sql: String,
    pub state: String,
    pub sqlstate: Option<String>,
    pub error: Option<String>,
    pub started_us: i64,
    pub queued_ms: i64,
    pub elapsed_ms: i64,
    pub n_rows: i64,
    /// Rows and bytes that came from all sources together.
    pub source_rows: i64,
    pub source_bytes: i64,
    /// JSON: `[{"catalog": "crm", "rows": 10, "bytes": 1234}, …]`.
    pub sources: String,
    pub memory_peak_bytes: i64,
    pub spilled_bytes: i64,
}

/// The history and its writer.
#[derive(Debug)]
pub struct History {
    store: Store,
    journal: Journal<Box<PastQuery>>,
}

impl History {
    pub async fn open(store: Store, days: u64) -> Result<Self> {
        let journal = Journal::open(GATHER, {
            // The first batch trims too: the past may have grown old while nothing ran.
            let (store, mut since_trim) = (store.clone(), TRIM_EVERY);
            move |queries: Vec<Box<PastQuery>>| {
                since_trim += queries.len();
                let trims = since_trim >= TRIM_EVERY;
                if trims {
                    since_trim = 0;
                }
                let store = store.clone();
                async move { write(&store, &queries, trims.then_some(days)).await }
            }
        });
        Ok(Self { store, journal })
    }

    /// Returns the first id that was never given.
    pub async fn next_id(&self) -> Result<u64> {
        let row = sqlx::query("SELECT coalesce(max(query_id), 0) FROM query_history")
            .fetch_one(self.store.pool())
            .await
            .map_err(failed)?;
        Ok(row.get::<i64, _>(0).unsigned_abs() + 1)
    }

    /// Hands an ended statement to the writer.
    pub fn record(&self, query: PastQuery) {
        self.journal.record(Box::new(query));
    }

    /// Reads the newest statements first, those handed over just now included.
    pub async fn past(&self) -> Result<Vec<PastQuery>> {
        self.journal.flush().await;
        let rows = sqlx::query("SELECT * FROM query_history ORDER BY query_id DESC")
            .fetch_all(self.store.pool())
            .await
            .map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| PastQuery {
                query_id: row.get("query_id"),
                user_name: row.get("user_name"),
                protocol: row.get("protocol"),
                session_id: row.get("session_id"),
                sql: row.get("sql"),
                state: row.get("state"),
                sqlstate: row.get("sqlstate"),
                error: row.get("error"),
                started_us: row.get("started_us"),
                queued_ms: row.get("queued_ms"),
                elapsed_ms: row.get("elapsed_ms"),
                n_rows: row.get("n_rows"),
                source_rows: row.get("source_rows"),
                source_bytes: row.get("source_bytes"),
                sources: row.get("sources"),
                memory_peak_bytes: row.get("memory_peak_bytes"),
                spilled_bytes: row.get("spilled_bytes"),
            })
            .collect())
    }

    /// Writes what is left and ends the writer.
    pub async fn close(&self) {
        self.journal.close().await;
    }
}

/// Keeps statements, and forgets those that are older than `trim_days`, if given.
async fn write(store: &Store, queries: &[Box<PastQuery>], trim_days: Option<u64>) {
    if let Err(error) = insert(store, queries).await {
        tracing::warn!(n = queries.len(), error = %error, "could not keep query history");
    }
    if let Some(days) = trim_days
        && let Err(error) = forget_old(store, days).await
    {
        tracing::warn!(error = %error, "could not trim query history");
    }
}

/// Inserts all of them or none.
async fn insert(store: &Store, queries: &[Box<PastQuery>]) -> Result<()> {
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT OR REPLACE INTO query_history (query_id, user_name, protocol, session_id, sql, state, sqlstate, \
         error, started_us, queued_ms, elapsed_ms, n_rows, source_rows, source_bytes, sources, memory_peak_bytes, \
         spilled_bytes) ",
    );
    insert.push_values(queries, |mut row, query| {
        row.push_bind(query.query_id)
            .push_bind(&query.user_name)
            .push_bind(&query.protocol)
            .push_bind(query.session_id)
            .push_bind(&query.sql)
            .push_bind(&query.state)
            .push_bind(&query.sqlstate)
            .push_bind(&query.error)
            .push_bind(query.started_us)
            .push_bind(query.queued_ms)
            .push_bind(query.elapsed_ms)
            .push_bind(query.n_rows)
            .push_bind(query.source_rows)
            .push_bind(query.source_bytes)
            .push_bind(&query.sources)
            .push_bind(query.memory_peak_bytes)
            .push_bind(query.spilled_bytes);
    });
    insert.build().execute(store.pool()).await.map(|_| ()).map_err(failed)
}

async fn forget_old(store: &Store, days: u64) -> Result<()> {
    let day_us = 86_400_000_000_i64;
    let kept_us = i64::try_from(days).unwrap_or(i64::MAX / day_us).saturating_mul(day_us);
    let oldest = micros(SystemTime::now()).saturating_sub(kept_us);
    for (sql, bound) in [
        ("DELETE FROM query_history WHERE started_us < ?", oldest),
        (
            "DELETE FROM query_history WHERE query_id <= (SELECT max(query_id) FROM query_history) - ?",
            limits::QUERY_HISTORY_ROWS_MAX as i64,
        ),
    ] {
        sqlx::query(sql).bind(bound).execute(store.pool()).await.map_err(failed)?;
    }
    Ok(())
}

/// Returns microseconds since 1970.
pub fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}
