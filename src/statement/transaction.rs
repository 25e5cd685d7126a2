//! `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::Transaction;

use crate::output::Output;
use crate::session::{Session, TransactionStatus};

pub(super) async fn execute(session: &Arc<Session>, transaction: &Transaction) -> Result<Output> {
    let status = session.transaction_status();
    let in_block = status != TransactionStatus::Idle;
    match transaction {
        Transaction::Begin { tag, read_only } => {
            let output = Output::command(*tag);
            let opened = session.open_block();
            if let Some(read_only) = read_only {
                session.set_read_only(*read_only)?;
            }
            if opened {
                return Ok(output);
            }
            Ok(output.with_notice("there is already a transaction in progress"))
        }
        Transaction::Commit { chain } => {
            // A failed block can only be rolled back, whatever it asks for.
            let commit = status != TransactionStatus::Failed;
            end(session, in_block, commit, *chain, "COMMIT").await
        }
        Transaction::Rollback { chain } => end(session, in_block, false, *chain, "ROLLBACK").await,
        Transaction::Savepoint(name) => {
            require_block(in_block, "SAVEPOINT")?;
            session.set_savepoint(name).await?;
            Ok(Output::command("SAVEPOINT"))
        }
        Transaction::Release(name) => {
            require_block(in_block, "RELEASE SAVEPOINT")?;
            session.release_savepoint(name)?;
            Ok(Output::command("RELEASE"))
        }
        Transaction::RollbackTo(name) => {
            require_block(in_block, "ROLLBACK TO SAVEPOINT")?;
            let kept = session.rollback_to(name).await?;
            Ok(told(Output::command("ROLLBACK"), kept))
        }
    }
}

async fn end(
    session: &Session,
    in_block: bool,
    commit: bool,
    chain: bool,
    word: &str,
) -> Result<Output> {
    if chain {
        require_block(in_block, &format!("{word} AND CHAIN"))?;
    }
    let kept = session.close_block(commit, chain).await?;
    let output = told(Output::command(if commit { "COMMIT" } else { "ROLLBACK" }), kept);
    if in_block {
        Ok(output)
    } else {
        Ok(output.with_notice("there is no transaction in progress"))
    }
}

fn require_block(in_block: bool, what: &str) -> Result<()> {
    if in_block {
        return Ok(());
    }
    let message = format!("{what} can only be used in transaction blocks");
    Err(Error::new(ErrorKind::NoTransaction, message).with_hint("BEGIN opens one."))
}

fn told(output: Output, kept: usize) -> Output {
    match kept {
        0 => output,
        kept => output.with_notice(format!(
            "{kept} objects were changed by others meanwhile and stay as they are"
        )),
    }
}
