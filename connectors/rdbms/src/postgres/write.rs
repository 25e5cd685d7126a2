//! Writing rows: one connection, one transaction, binary COPY.
//!
//! Everything that a write puts down before its commit lies in its own transaction: rows in the target itself, or in a temporary
//! table if the database has to look at them first (`ON CONFLICT`, types without a binary form, policies). A process, a
//! connection or a server that dies takes all of it along; nothing is left to be collected.

mod change;
mod encode;
mod failure;
mod outcome;
mod rows;
mod session;
mod target;
mod types;

use std::sync::Arc;

use futures::future::BoxFuture;
use maru_connect::{
    Attempt, BatchStream, Committed, NewTable, WriteJob, WriteMode, WriteRequest, Written,
};
use maru_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Postgres};
use tokio::sync::Mutex;

use super::catalog::quoted;
use crate::pool::Connections;
use crate::write::{STAGE, check_mode, refuse_recomputed};
pub(super) use change::{change_table, create_schema};
use session::Session;
use target::Target;

/// The staging table of a session.
const STAGED: &str = "maru_stage";

/// What is written where, known before the first row.
#[derive(Debug)]
struct Plan {
    connections: Arc<Connections<Postgres>>,
    request: WriteRequest,
    target: Target,
    numeric_scale: i8,
    /// This work was committed before: nothing is to be done.
    already: bool,
}

impl Plan {
    /// Returns whether rows go to a temporary table first.
    fn is_staged(&self) -> bool {
        let looked_at = matches!(self.request.mode, WriteMode::Upsert { .. } | WriteMode::Change);
        let creates = matches!(self.request.mode, WriteMode::Create(_));
        let nothing = !creates && self.target.is_given_nothing(&self.request.columns);
        looked_at || self.target.staged || nothing
    }

    fn new_table(&self) -> Option<&NewTable> {
        match &self.request.mode {
            WriteMode::Create(new) => Some(new),
            _ => None,
        }
    }

    /// Returns the name under which a new table is filled: its own, or one that makes room for the old one until the commit.
    fn filled_name(&self) -> String {
        match self.new_table() {
            Some(new) if new.replace => short(&self.request.attempt),
            _ => self.target.name.clone(),
        }
    }

    /// Returns where COPY puts the rows.
    fn copy(&self) -> String {
        match self.is_staged() {
            true => self.target.copy_staged(STAGED, &self.request.mode),
            false => self.target.copy(&format!(
                "{}.{}",
                quoted(&self.target.schema),
                quoted(&self.filled_name())
            )),
        }
    }
}

/// PostgreSQL cuts names at 63 bytes.
fn short(attempt: &Attempt) -> String {
    let id = attempt.id.replace('-', "");
    let most = 63 - STAGE.len();
    format!("{STAGE}{}", &id[id.len().saturating_sub(most)..])
}

/// Plans a write and has the database check all that can be checked without rows.
///
/// # Errors
/// 42P01 and 42P07 names, 42703 columns, 22023 types, 42501 rights, 428C9 columns that the table computes itself, 42000 keys
/// that no unique index is about, 0A000 what has no meaning here.
pub(super) async fn begin(
    connections: Arc<Connections<Postgres>>,
    request: WriteRequest,
    numeric_scale: i8,
) -> Result<Arc<dyn WriteJob>> {
    check_mode(&request.mode, "PostgreSQL")?;
    let mut lease = connections.lease().await?;
    let failed = |error| failure::write_error(&connections.peer, error, 0);
    let names = request.columns.fields().iter().map(|field| field.name().as_str());
    let names = names.collect::<Vec<_>>();
    let (schema, table) = (request.schema.as_str(), request.table.as_str());
    let connection = &mut lease.connection;
    let already = match &request.attempt.once {
        Some((work, number)) => session::was_committed(connection, schema, work, *number).await,
        None => Ok(false),
    };
    let already = already.map_err(failed)?;
    let found = Target::find(connection, schema, table, &names, numeric_scale).await;
    let target = match &request.mode {
        WriteMode::Create(new) => {
            let exists = !matches!(found.map_err(failed)?, Ok(None));
            if exists && !new.replace && !already {
                return Err(exists_already(schema, table));
            }
            Target::created(schema, table, &request.columns)?
        }
        mode => {
            let target = found.map_err(failed)??;
            let target = target.ok_or_else(|| no_table(schema, table))?;
            let mut checks = Vec::new();
            if *mode == WriteMode::Change {
                let computed = target.columns.iter().filter(|column| column.is_computed);
                let names = computed.map(|column| column.name.as_str());
                refuse_recomputed(&request.checked, names, &target.shown())?;
                checks.extend(target.check_changes());
            } else {
                checks.push(target.insert_nothing(mode, &request.columns));
            }
            if matches!(mode, WriteMode::Overwrite(_)) {
                checks.push(format!("DELETE FROM {}", target.quoted()));
            }
            for check in checks {
                let sql = AssertSqlSafe(format!("EXPLAIN {check}"));
                sqlx::raw_sql(sql).execute(&mut **connection).await.map_err(failed)?;
            }
            target
        }
    };
    drop(lease);
    let plan = Plan { connections, request, target, numeric_scale, already };
    Ok(Arc::new(PostgresJob { plan: Arc::new(plan), session: Mutex::new(None) }))
}

fn exists_already(schema: &str, table: &str) -> Error {
    Error::new(ErrorKind::DuplicateTable, format!("table \"{schema}.{table}\" already exists"))
        .with_hint("Use CREATE OR REPLACE TABLE, or IF NOT EXISTS.")
}

pub(super) fn no_table(schema: &str, table: &str) -> Error {
    Error::new(ErrorKind::UndefinedTable, format!("table \"{schema}.{table}\" does not exist"))
}

/// One write.
#[derive(Debug)]
struct PostgresJob {
    plan: Arc<Plan>,
    /// Begun with the first row, or by the commit if there is none.
    session: Mutex<Option<Session>>,
}

impl WriteJob for PostgresJob {
    fn describe(&self) -> String {
        let copy = self.plan.copy();
        let then = match &self.plan.request.mode {
            WriteMode::Create(new) if new.replace => "; in its place with the commit",
            WriteMode::Overwrite(_) => "; in place of all rows, which are deleted before",
            WriteMode::Upsert { .. } => "; INSERT … ON CONFLICT from there",
            WriteMode::Change => "; DELETE, UPDATE and INSERT from there",
            _ if self.plan.is_staged() => "; INSERT from there",
            _ => "",
        };
        format!("{copy}{then}, in one transaction")
    }

    fn max_streams(&self) -> usize {
        1
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        Box::pin(async move {
            let mut session = self.session.lock().await;
            rows::write(&self.plan, &mut session, rows).await
        })
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        Box::pin(async move {
            let session = match self.session.lock().await.take() {
                Some(session) => session,
                None => Session::begin(&self.plan).await?,
            };
            session.commit(&self.plan).await
        })
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(session) = self.session.lock().await.take() {
                session.abort(&self.plan.connections).await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
