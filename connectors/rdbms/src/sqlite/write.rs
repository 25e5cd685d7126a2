//! Writing rows: into a temporary table first, whose file is another one, and from there in one transaction.
//!
//! A file has one writer at a time, who waits for its readers when it commits. So the file is locked only when all rows are there,
//! and a statement may read the table that it writes.

mod change;
mod failure;
mod rowwise;
mod target;
mod values;

use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::StreamExt;
use futures::future::BoxFuture;
use maru_connect::{BatchStream, Committed, WriteJob, WriteMode, WriteRequest, Written};
use maru_core::{Error, ErrorKind, Result};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Mutex;

use super::file::{File, Opened};
use super::{SCHEMA, quoted};
use crate::outgoing::columns_as;
use crate::write::{COMMITS, check_mode, misfit, refuse_recomputed};
pub(super) use change::change_table;
pub(super) use rowwise::place;
use target::Target;

/// The staging table of a session.
const STAGED: &str = "temp.maru_stage";
/// Values of one statement at most: SQLite takes 32,766.
const VALUES_MAX: usize = 16_000;
const ROWS_MAX: usize = 500;

/// What is written where, known before the first row.
#[derive(Debug)]
struct Plan {
    file: File,
    request: WriteRequest,
    target: Target,
    already: bool,
}

/// Plans a write and has SQLite check all that can be checked without rows.
///
/// # Errors
/// 42P01 and 42P07 names, 42703 columns, 22023 types, 428C9 columns that the table computes itself, 42000 keys that no unique index
/// is about, 42501 a file that may only be read.
pub(super) async fn begin(file: File, request: WriteRequest) -> Result<Arc<dyn WriteJob>> {
    check_mode(&request.mode, "SQLite")?;
    if request.schema != SCHEMA {
        return Err(no_table(&request.schema, &request.table));
    }
    let mut connection = file.connect_to_write().await?;
    let planned = plan(&file, &mut connection, &request).await;
    let _ = connection.close().await;
    let (target, already) = planned?;
    let plan = Plan { file, request, target, already };
    Ok(Arc::new(SqliteJob { plan, session: Mutex::new(None) }))
}

async fn plan(
    file: &File,
    connection: &mut SqliteConnection,
    request: &WriteRequest,
) -> Result<(Target, bool)> {
    let failed = |error| failure::write_error(&file.peer(), error);
    let mut already = false;
    if let Some((work, number)) = &request.attempt.once {
        let sql = "SELECT count(*) FROM sqlite_master WHERE name = ?";
        let row = sqlx::query(sql).bind(COMMITS).fetch_one(&mut *connection).await;
        if row.map_err(failed)?.get::<i64, _>(0) > 0 {
            let sql = format!("SELECT count(*) FROM {COMMITS} WHERE work = ? AND number >= ?");
            let row = sqlx::query(AssertSqlSafe(sql)).bind(work).bind(number);
            already = row.fetch_one(&mut *connection).await.map_err(failed)?.get::<i64, _>(0) > 0;
        }
    }
    let names = request.columns.fields().iter().map(|field| field.name().as_str());
    let names = names.collect::<Vec<_>>();
    let table = request.table.as_str();
    let exists = target::exists(connection, table).await.map_err(failed)?;
    let target = match &request.mode {
        WriteMode::Create(new) => {
            if exists && !new.replace && !already {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("table \"{table}\" already exists"),
                )
                .with_hint("Use CREATE OR REPLACE TABLE, or IF NOT EXISTS."));
            }
            Target::created(table, &request.columns)?
        }
        mode => {
            if !exists {
                return Err(no_table(SCHEMA, table));
            }
            let target = Target::find(connection, table, &names).await.map_err(failed)??;
            let mut checks = match mode {
                WriteMode::Change => {
                    let computed = target.columns.iter().filter(|column| column.is_computed);
                    let names = computed.map(|column| column.name.as_str());
                    refuse_recomputed(&request.checked, names, table)?;
                    target.check_changes()
                }
                mode => vec![target.insert(mode, &target.nothing())],
            };
            if matches!(mode, WriteMode::Overwrite(_)) {
                checks.push(format!("DELETE FROM {}", target.quoted()));
            }
            for check in checks {
                let sql = AssertSqlSafe(format!("EXPLAIN {check}"));
                sqlx::raw_sql(sql).execute(&mut *connection).await.map_err(failed)?;
            }
            target
        }
    };
    Ok((target, already))
}

pub(super) fn no_table(schema: &str, table: &str) -> Error {
    Error::new(ErrorKind::UndefinedTable, format!("table \"{schema}.{table}\" does not exist"))
}

/// One write.
#[derive(Debug)]
struct SqliteJob {
    plan: Plan,
    /// Opened with the first row, or by the commit if there is none.
    session: Mutex<Option<Session>>,
}

/// A connection with a staging table. Dropping it ends its statement and closes it.
#[derive(Debug)]
struct Session {
    connection: Opened,
    n_rows: u64,
}

impl Session {
    async fn begin(plan: &Plan) -> Result<Self> {
        let mut connection = plan.file.connect_to_write().await?;
        let names = match plan.request.mode {
            WriteMode::Change => plan.target.staged_changes(),
            _ => plan.target.names(|column| quoted(&column.name)),
        };
        // Without types: values stay what they are.
        let sql = format!("CREATE TEMP TABLE maru_stage ({names})");
        let made = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        made.map_err(|error| failure::write_error(&plan.file.peer(), error))?;
        Ok(Self { connection, n_rows: 0 })
    }

    async fn write(&mut self, plan: &Plan, mut rows: BatchStream) -> Result<Written> {
        let peer = plan.file.peer();
        let failed = |error| failure::write_error(&peer, error);
        let (target, table) = (&plan.target, plan.target.name.as_str());
        let leading = match plan.request.mode {
            WriteMode::Change => Target::leading(),
            _ => Vec::new(),
        };
        let columns = leading.iter().chain(&target.columns).collect::<Vec<_>>();
        let types = columns.iter().map(|column| column.arrow()).collect::<Vec<DataType>>();
        let n_columns = types.len().max(1);
        let most = (VALUES_MAX / n_columns).clamp(1, ROWS_MAX);
        let mut written = Written::default();
        // All in one transaction of the temporary file alone.
        sqlx::raw_sql("BEGIN").execute(&mut *self.connection).await.map_err(failed)?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let arrays = columns_as(&batch, table, &types, self.n_rows)?;
            let mut from = 0;
            while from < batch.num_rows() {
                let to = (from + most).min(batch.num_rows());
                let row = format!("({})", vec!["?"; n_columns].join(","));
                let all = vec![row.as_str(); to - from].join(",");
                let sql = AssertSqlSafe(format!("INSERT INTO {STAGED} VALUES {all}"));
                let mut insert = sqlx::query(sql).persistent(to - from == most);
                for row in from..to {
                    self.n_rows += 1;
                    for (array, column) in arrays.iter().zip(&columns) {
                        let value = values::value(array, column, row)?;
                        let value =
                            value.map_err(|what| misfit(what, table, &column.name, self.n_rows))?;
                        written.n_bytes += value.len();
                        insert = value.bind(insert);
                    }
                }
                insert.execute(&mut *self.connection).await.map_err(failed)?;
                written.n_rows += (to - from) as u64;
                from = to;
            }
        }
        sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await.map_err(failed)?;
        Ok(written)
    }

    async fn publish(&mut self, plan: &Plan) -> Result<Committed> {
        let peer = plan.file.peer();
        let failed = |error| failure::write_error(&peer, error);
        let target = &plan.target;
        let connection = &mut *self.connection;
        // Takes the lock of the one who writes at once: who would take it later could have read what is old by then.
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed)?;
        if let Some((work, number)) = &plan.request.attempt.once {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {COMMITS} (work TEXT PRIMARY KEY, number INTEGER NOT NULL, \
                 at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
            let sql = format!(
                "INSERT INTO {COMMITS} (work, number) VALUES (?, ?) ON CONFLICT (work) \
                 DO UPDATE SET number = excluded.number, at = CURRENT_TIMESTAMP WHERE number < excluded.number"
            );
            let marked = sqlx::query(AssertSqlSafe(sql)).bind(work).bind(number);
            let marked = marked.execute(&mut *connection).await.map_err(failed)?;
            if marked.rows_affected() == 0 {
                sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.map_err(failed)?;
                return Ok(Committed { already: true, ..Committed::default() });
            }
        }
        let mut before = Vec::new();
        match &plan.request.mode {
            WriteMode::Create(new) => {
                if new.replace {
                    before.push(format!("DROP TABLE IF EXISTS {}", target.quoted()));
                }
                before.push(target.create(new, &plan.request.columns));
            }
            WriteMode::Overwrite(_) => before.push(format!("DELETE FROM {}", target.quoted())),
            // Of rows that are in one another's way the first stays.
            WriteMode::Upsert { keys, .. } if keys.is_empty() => {}
            WriteMode::Upsert { keys, .. } => {
                let sql = target.twice(STAGED, keys);
                let twice = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut *connection);
                if twice.await.map_err(failed)?.is_some() {
                    return Err(Error::new(
                        ErrorKind::Cardinality,
                        format!("two rows for \"{}\" have the same key", target.name),
                    )
                    .with_hint("Leave one of them, such as by DISTINCT ON (key)."));
                }
            }
            _ => {}
        }
        for sql in before {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
        }
        if plan.request.mode == WriteMode::Change {
            let n_rows = self.change(plan).await?;
            sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await.map_err(failed)?;
            return Ok(Committed { n_rows, version: None, already: false });
        }
        let connection = &mut *self.connection;
        let rows = target.staged(STAGED);
        let insert = AssertSqlSafe(target.insert(&plan.request.mode, &rows));
        let done = sqlx::raw_sql(insert).execute(&mut *connection).await.map_err(failed)?;
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(failed)?;
        let n_rows = done.rows_affected();
        Ok(Committed { n_rows, version: None, already: false })
    }
}

impl WriteJob for SqliteJob {
    fn describe(&self) -> String {
        let then = match &self.plan.request.mode {
            WriteMode::Create(_) => "CREATE TABLE and INSERT",
            WriteMode::Overwrite(_) => "DELETE and INSERT",
            WriteMode::Upsert { .. } => "INSERT … ON CONFLICT",
            WriteMode::Change => "DELETE, UPDATE and INSERT",
            _ => "INSERT",
        };
        format!(
            "{STAGED}; {then} into {} from there, in one transaction",
            self.plan.target.quoted()
        )
    }

    fn max_streams(&self) -> usize {
        1
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        Box::pin(async move {
            if self.plan.already {
                return Ok(Written::default());
            }
            let mut session = self.session.lock().await;
            let session = match session.as_mut() {
                Some(session) => session,
                None => session.insert(Session::begin(&self.plan).await?),
            };
            let mut closed = self.plan.file.closed.subscribe();
            let over = async move { closed.wait_for(|closed| *closed).await.map(|_| ()) };
            tokio::select! {
                written = session.write(&self.plan, rows) => written,
                _ = over => Err(self.plan.file.peer().closed()),
            }
        })
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        Box::pin(async move {
            if self.plan.already {
                return Ok(Committed { already: true, ..Committed::default() });
            }
            let mut session = match self.session.lock().await.take() {
                Some(session) => session,
                None => Session::begin(&self.plan).await?,
            };
            let done = session.publish(&self.plan).await;
            // What is not committed is undone by closing.
            let _ = session.connection.close().await;
            done
        })
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(session) = self.session.lock().await.take() {
                let _ = session.connection.close().await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
