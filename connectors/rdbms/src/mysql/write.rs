//! Writing rows: one transaction of InnoDB, `LOAD DATA` where the server takes it, otherwise `INSERT` of many rows at once.
//!
//! Rows that are appended lie in the transaction until its commit. Statements about tables end transactions in MySQL, so a new
//! table is filled under a name of its own and takes the target's place by `RENAME TABLE`, which is one step. Its filler holds a
//! lock of the table's name: a table whose lock is free was left behind, and the next write that makes one collects it.

mod bulk;
mod change;
mod failure;
mod literal;
mod outcome;
mod rows;
mod rowwise;
mod session;
mod target;
mod types;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use maru_connect::{BatchStream, Committed, NewTable, WriteJob, WriteMode, WriteRequest, Written};
use maru_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, MySql};
use tokio::sync::Mutex;

use super::types::{Choices, Mapping};
use crate::pool::Connections;
use crate::write::{STAGE, check_mode, computed_by_the_table, refuse_recomputed};
pub(super) use bulk::Loader;
pub(super) use change::{change_table, create_schema};
use session::Session;
use target::Target;

/// What is written where, known before the first row.
#[derive(Debug)]
struct Plan {
    connections: Arc<Connections<MySql>>,
    request: WriteRequest,
    target: Target,
    choices: Choices,
    /// How to connect to load data, if the server lets us.
    loader: Option<Loader>,
    /// This work was committed before: nothing is to be done.
    already: bool,
}

impl Plan {
    fn new_table(&self) -> Option<&NewTable> {
        match &self.request.mode {
            WriteMode::Create(new) => Some(new),
            _ => None,
        }
    }

    fn is_staged(&self) -> bool {
        matches!(self.request.mode, WriteMode::Upsert { .. } | WriteMode::Change)
    }

    /// The name of the table that is filled first, if it is not the target. MySQL has 64 characters for it, and for a lock.
    fn stage(&self) -> String {
        let id = self.request.attempt.id.replace('-', "");
        let most = 64 - STAGE.len() - "old_".len();
        format!("{STAGE}{}", &id[id.len().saturating_sub(most)..])
    }

    /// Returns the columns of the table that the rows are put into.
    fn written(&self) -> Vec<(String, Mapping)> {
        let own = self.target.columns.iter();
        if self.request.mode != WriteMode::Change {
            return own.map(|column| (column.name.clone(), column.mapping)).collect();
        }
        let mut written = self.target.leading_names();
        let own = own.enumerate();
        written.extend(own.map(|(number, column)| (format!("c_{number}"), column.mapping)));
        written
    }

    /// Returns the table that the rows are put into.
    fn filled(&self) -> String {
        match self.new_table().is_some() || self.is_staged() {
            true => self.target.beside(&self.stage()),
            false => self.target.quoted(),
        }
    }
}

/// Plans a write and has the server check all that can be checked without rows.
///
/// # Errors
/// 42P01 and 42P07 names, 42703 columns, 22023 types, 42501 rights, 428C9 columns that the table computes itself, 42000 keys
/// that no unique index is about, 0A000 tables without transactions.
pub(super) async fn begin(
    connections: Arc<Connections<MySql>>,
    request: WriteRequest,
    choices: Choices,
    loader: &Loader,
) -> Result<Arc<dyn WriteJob>> {
    check_mode(&request.mode, "MySQL")?;
    let mut lease = connections.lease().await?;
    let failed = |error| failure::write_error(&connections.peer, error);
    let names = request.columns.fields().iter().map(|field| field.name().as_str());
    let names = names.collect::<Vec<_>>();
    let (schema, table) = (request.schema.as_str(), request.table.as_str());
    let connection = &mut lease.connection;
    let already = match &request.attempt.once {
        Some((work, number)) => session::was_committed(connection, schema, work, *number).await,
        None => Ok(false),
    };
    let already = already.map_err(failed)?;
    let target = match &request.mode {
        WriteMode::Create(new) => {
            let found = Target::find(connection, schema, table, &[], choices).await;
            let exists = !matches!(found.map_err(failed)?, Ok(None));
            if exists && !new.replace && !already {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("table \"{schema}.{table}\" already exists"),
                )
                .with_hint("Use CREATE OR REPLACE TABLE, or IF NOT EXISTS."));
            }
            Target::created(schema, table, &request.columns, new)?
        }
        mode => {
            let target = Target::find(connection, schema, table, &names, choices).await;
            let target = target.map_err(failed)??.ok_or_else(|| no_table(schema, table))?;
            let computed = target.columns.iter().any(|column| column.is_computed);
            if computed && *mode != WriteMode::Change {
                return Err(computed_by_the_table(&target.shown()));
            }
            let computed = target.columns.iter().filter(|column| column.is_computed);
            let names = computed.map(|column| column.name.as_str());
            refuse_recomputed(&request.checked, names, &target.shown())?;
            if let Some(engine) = &target.untransacted {
                return Err(untransacted(&target, engine));
            }
            let mut checks = Vec::new();
            if *mode == WriteMode::Change {
                if target.key.is_empty() {
                    return Err(Error::unsupported(format!(
                        "rows of {} cannot be changed one by one: it has no unique key without NULLs",
                        target.shown()
                    ))
                    .with_hint("Give the table a primary key."));
                }
                checks.push(format!("DELETE FROM {} WHERE FALSE", target.quoted()));
            } else {
                checks.push(target.insert_nothing());
            }
            if matches!(mode, WriteMode::Overwrite(_)) {
                checks.push(format!("DELETE FROM {} WHERE FALSE", target.quoted()));
            }
            for check in checks {
                let sql = AssertSqlSafe(format!("EXPLAIN {check}"));
                sqlx::raw_sql(sql).execute(&mut **connection).await.map_err(failed)?;
            }
            if let WriteMode::Upsert { keys, .. } = mode {
                if keys.is_empty() {
                    return Err(Error::unsupported("ON CONFLICT without columns is not supported")
                        .with_detail("Here rows are looked for by one key.")
                        .with_hint("Name the columns of the key: ON CONFLICT (id) DO NOTHING."));
                }
                let is_key = Target::has_key(connection, schema, table, keys).await;
                if !is_key.map_err(failed)? {
                    return Err(Error::new(
                        ErrorKind::InvalidStatement,
                        format!("no unique key of {} is on ({})", target.shown(), keys.join(", ")),
                    )
                    .with_hint("Name all columns of its primary key or of a unique index."));
                }
            }
            target
        }
    };
    let loader = loader.find(connection).await.map_err(failed)?;
    drop(lease);
    let plan = Arc::new(Plan { connections, request, target, choices, loader, already });
    Ok(Arc::new(MySqlJob { plan, session: Mutex::new(None) }))
}

pub(super) fn no_table(schema: &str, table: &str) -> Error {
    Error::new(ErrorKind::UndefinedTable, format!("table \"{schema}.{table}\" does not exist"))
}

/// Half of a write to such a table would stay.
fn untransacted(target: &Target, engine: &str) -> Error {
    Error::unsupported(format!(
        "table \"{}\" is of the engine {engine}, which knows no transactions",
        target.shown()
    ))
    .with_hint(format!("ALTER TABLE {} ENGINE = InnoDB there.", target.shown()))
}

/// One write.
#[derive(Debug)]
struct MySqlJob {
    plan: Arc<Plan>,
    /// Begun with the first row, or by the commit if there is none.
    session: Mutex<Option<Session>>,
}

impl WriteJob for MySqlJob {
    fn describe(&self) -> String {
        let then = match &self.plan.request.mode {
            WriteMode::Create(_) => "; RENAME TABLE to the target with the commit",
            WriteMode::Overwrite(_) => {
                "; in place of all rows, which are deleted before, in one transaction"
            }
            WriteMode::Change => "; DELETE, UPDATE and INSERT from there, in one transaction",
            WriteMode::Upsert { .. } => "; UPDATE and INSERT from there, in one transaction",
            _ => ", in one transaction",
        };
        let how = match self.plan.loader {
            Some(_) => "LOAD DATA LOCAL INFILE INTO TABLE",
            None => "INSERT INTO",
        };
        format!("{how} {}{then}", self.plan.filled())
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
                session.abort(&self.plan).await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
