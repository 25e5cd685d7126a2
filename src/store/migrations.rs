//! The versions of the metadata database. A version, once released, is never edited: changes are new versions.

use maru_core::{Error, ErrorKind, Result};
use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use super::failed;

/// SQL of version 1, 2, … Each runs once, in one transaction with its number.
const VERSIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE engine_value (key TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT",
        "CREATE TABLE catalog (name TEXT PRIMARY KEY, connector TEXT NOT NULL, sealed BLOB NOT NULL, comment TEXT) STRICT",
        "CREATE TABLE secret (name TEXT PRIMARY KEY, sealed BLOB NOT NULL, comment TEXT) STRICT",
        "CREATE TABLE schema (name TEXT PRIMARY KEY, comment TEXT) STRICT",
        "INSERT INTO schema (name) VALUES ('public')",
        "CREATE TABLE relation (schema TEXT NOT NULL REFERENCES schema (name), name TEXT NOT NULL, kind TEXT NOT NULL, \
     definition TEXT NOT NULL, comment TEXT, PRIMARY KEY (schema, name)) STRICT",
        "CREATE TABLE remark (catalog TEXT NOT NULL, schema TEXT NOT NULL, object TEXT NOT NULL, col TEXT NOT NULL, \
     text TEXT NOT NULL, PRIMARY KEY (catalog, schema, object, col)) STRICT",
        "CREATE TABLE query_history (query_id INTEGER PRIMARY KEY, user_name TEXT NOT NULL, protocol TEXT NOT NULL, \
     session_id INTEGER NOT NULL, sql TEXT NOT NULL, state TEXT NOT NULL, sqlstate TEXT, error TEXT, \
     started_us INTEGER NOT NULL, queued_ms INTEGER NOT NULL, elapsed_ms INTEGER NOT NULL, n_rows INTEGER NOT NULL, \
     source_rows INTEGER NOT NULL, source_bytes INTEGER NOT NULL, sources TEXT NOT NULL, \
     memory_peak_bytes INTEGER NOT NULL, spilled_bytes INTEGER NOT NULL) STRICT",
        "CREATE INDEX query_history_started ON query_history (started_us)",
    ],
    &[
        "CREATE TABLE access (kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, sealed BLOB, \
     PRIMARY KEY (kind, key)) STRICT",
        "CREATE TABLE audit (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, event TEXT NOT NULL, user_name TEXT NOT NULL, \
     role_name TEXT, protocol TEXT NOT NULL, client_address TEXT, session_id INTEGER, sql TEXT, sqlstate TEXT, \
     message TEXT) STRICT",
    ],
    &[
        "CREATE TABLE model (schema TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (schema, name)) STRICT",
        "CREATE TABLE model_version (schema TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, manifest TEXT NOT NULL, \
     file TEXT NOT NULL, n_bytes INTEGER NOT NULL, PRIMARY KEY (schema, model, version)) STRICT",
        "CREATE TABLE training_job (job_id INTEGER PRIMARY KEY, schema TEXT NOT NULL, model TEXT NOT NULL, \
     user_name TEXT NOT NULL, state TEXT NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER, trials INTEGER NOT NULL, \
     trials_done INTEGER NOT NULL, version INTEGER, sqlstate TEXT, error TEXT) STRICT",
    ],
    &[
        "CREATE TABLE pipeline (pipeline_id INTEGER PRIMARY KEY AUTOINCREMENT, schema TEXT NOT NULL, name TEXT NOT NULL, \
     definition TEXT NOT NULL, sealed BLOB, paused INTEGER NOT NULL, cursor_us INTEGER NOT NULL, created_us INTEGER NOT NULL, \
     UNIQUE (schema, name)) STRICT",
        "CREATE TABLE pipeline_run (run_id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, pipeline_id INTEGER NOT NULL, \
     schema TEXT NOT NULL, pipeline TEXT NOT NULL, user_name TEXT NOT NULL, origin TEXT NOT NULL, definition TEXT NOT NULL, \
     arguments TEXT NOT NULL, slot_us INTEGER, interval_start_us INTEGER, interval_end_us INTEGER, state TEXT NOT NULL, \
     cancelled INTEGER NOT NULL, created_us INTEGER NOT NULL, started_us INTEGER, ended_us INTEGER, sqlstate TEXT, error TEXT) STRICT",
        // A schedule starts one run for each of its times, ever.
        "CREATE UNIQUE INDEX pipeline_run_slot ON pipeline_run (pipeline_id, slot_us) WHERE origin = 'schedule'",
        "CREATE INDEX pipeline_run_open ON pipeline_run (run_id) WHERE ended_us IS NULL",
        "CREATE TABLE pipeline_step (run_id INTEGER NOT NULL, step TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL, \
     attempt INTEGER NOT NULL, query_id INTEGER, n_rows INTEGER, n_bytes INTEGER, source_bytes INTEGER, spilled_bytes INTEGER, \
     memory_peak_bytes INTEGER, sql TEXT, lineage TEXT, note TEXT, sqlstate TEXT, error TEXT, started_us INTEGER, ended_us INTEGER, \
     PRIMARY KEY (run_id, step)) STRICT",
    ],
];

pub(super) async fn run(pool: &SqlitePool) -> Result<()> {
    let version = sqlx::query("PRAGMA user_version").fetch_one(pool).await.map_err(failed)?;
    let version = usize::try_from(version.get::<i64, _>(0)).unwrap_or(usize::MAX);
    if version > VERSIONS.len() {
        return Err(Error::new(
            ErrorKind::ConfigInvalid,
            "the data directory was written by a newer Maru",
        )
        .with_detail(format!(
            "Its metadata has version {version}, this program knows up to {}.",
            VERSIONS.len()
        ))
        .with_hint("Start the newer program, or name another --data-dir."));
    }
    for (index, statements) in VERSIONS.iter().enumerate().skip(version) {
        let mut transaction = pool.begin().await.map_err(failed)?;
        for sql in *statements {
            sqlx::query(*sql).execute(&mut *transaction).await.map_err(failed)?;
        }
        let mark = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", index + 1));
        sqlx::query(mark).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}
