//! `SET`, `CANCEL QUERY`, transaction blocks.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::{CancelQuery, SetVariable, Transaction};

use crate::output::Output;
use crate::session::{Session, TransactionStatus};

pub(super) fn set(session: &Arc<Session>, set: &SetVariable) -> Result<Output> {
    match &set.value {
        Some(value) => session.set(&set.name, value)?,
        None => session.reset(Some(&set.name))?,
    }
    Ok(Output::command("SET"))
}

pub(super) fn cancel_query(session: &Arc<Session>, cancel: &CancelQuery) -> Result<Output> {
    let rights = session.rights();
    let may = |user: &str| {
        let is_superuser = rights.rules().is_superuser(user);
        rights.has_role(user) || (rights.has_role("pg_signal_backend") && !is_superuser)
    };
    let query = session.engine().inner.queries.get(cancel.query_id);
    let query = query.filter(|query| may(&query.user)).ok_or_else(|| {
        Error::new(ErrorKind::UndefinedObject, format!("query {} is not running", cancel.query_id))
            .with_hint("SELECT query_id, sql FROM system.queries WHERE state = 'running'.")
    })?;
    query.token.cancel();
    Ok(Output::command("CANCEL QUERY"))
}

pub(super) fn transaction(session: &Arc<Session>, transaction: Transaction) -> Result<Output> {
    let status = session.transaction_status();
    match transaction {
        Transaction::Begin => {
            let output = Output::command("BEGIN");
            if status != TransactionStatus::Idle {
                return Ok(output.with_notice("there is already a transaction in progress"));
            }
            session.set_transaction(TransactionStatus::Open);
            Ok(output)
        }
        Transaction::Commit | Transaction::Rollback => {
            session.set_transaction(TransactionStatus::Idle);
            // A failed block can only be rolled back, whatever it asks for.
            let rolled_back =
                transaction == Transaction::Rollback || status == TransactionStatus::Failed;
            let output = Output::command(if rolled_back { "ROLLBACK" } else { "COMMIT" });
            if status == TransactionStatus::Idle {
                return Ok(output.with_notice("there is no transaction in progress"));
            }
            Ok(output)
        }
        Transaction::Savepoint => {
            if status == TransactionStatus::Idle {
                return Err(Error::new(
                    ErrorKind::InvalidStatement,
                    "SAVEPOINT can only be used in transaction blocks",
                ));
            }
            Ok(Output::command("SAVEPOINT"))
        }
    }
}
