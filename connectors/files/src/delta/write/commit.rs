//! The commit: the next number of the log is taken by making its file, which one writer alone can do. Whoever finds it taken
//! looks at what the other one has done, and takes the one after it if both can be true.

use std::sync::Arc;
use std::time::Duration;

use maru_core::{Error, ErrorKind, Result, fault};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::{Value, json};

use super::{ENGINE, now_ms};
use crate::delta::LOG;
use crate::delta::action::Line;
use crate::delta::log::Log;

/// Numbers that are tried: others may be quicker as often.
const TRIES: u64 = 200;

/// Times that a commit is asked for whose answer was lost.
const QUESTIONS: u32 = 5;

/// What is to be committed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) attempt: String,
    /// As `DESCRIBE HISTORY` shows it: `WRITE`, `CREATE TABLE`.
    pub(super) operation: &'static str,
    pub(super) parameters: Value,
    /// The version that it was made from; `None`: the table is new.
    pub(super) base: Option<u64>,
    /// Whether the table keeps times of commits in the log.
    pub(super) keeps_times: bool,
    pub(super) lines: Vec<Value>,
    pub(super) n_rows: u64,
}

/// What another writer's commit is to one's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Both can be, one after the other.
    Passes,
    /// It was done already.
    Same,
    Clashes(&'static str),
}

/// What came of taking a number.
enum Taken {
    Ours,
    Theirs,
}

/// Commits; returns the version.
///
/// # Errors
/// 40001 if another commit came first that this one cannot follow; 42P07 if the table is new and another one made it.
pub(super) async fn commit(
    log: &Arc<Log>,
    change: &Change,
    meets: impl Fn(&[Line]) -> Meeting,
) -> Result<u64> {
    let first = change.base.map_or(0, |base| base + 1);
    for version in first..first + TRIES {
        match take(log, version, change).await? {
            Taken::Ours => return Ok(version),
            Taken::Theirs if change.base.is_none() => {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("Delta Lake table \"{}\" already exists", log.table),
                )
                .with_detail("Another writer has made it just now."));
            }
            Taken::Theirs => {
                let theirs = log.read_commit(&path_of(log, version)).await?;
                match meets(&theirs) {
                    Meeting::Passes => {}
                    Meeting::Same => return Ok(version),
                    Meeting::Clashes(why) => {
                        return Err(Error::new(
                            ErrorKind::Serialization,
                            "could not serialize access due to concurrent update",
                        )
                        .with_detail(format!(
                            "Version {version} of the table came first, and {why}."
                        ))
                        .with_hint("Run the statement again."));
                    }
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Serialization, "could not serialize access due to concurrent update")
        .with_detail(format!("{TRIES} commits of others came first."))
        .with_hint("Run the statement again."))
}

fn path_of(log: &Log, version: u64) -> Path {
    log.table.clone().join(LOG).join(format!("{version:020}.json"))
}

async fn take(log: &Arc<Log>, version: u64, change: &Change) -> Result<Taken> {
    let path = path_of(log, version);
    let body = body(log, version, change).await?;
    let mut asked = 0;
    fault::point("delta.before_commit");
    loop {
        let options = PutOptions::from(PutMode::Create);
        let put = log.store.put_opts(&path, PutPayload::from(body.clone()), options).await;
        let error = match put {
            Ok(_) => {
                fault::point("delta.after_commit");
                return Ok(Taken::Ours);
            }
            Err(error) => error,
        };
        let is_taken = matches!(
            error,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
        );
        // Where an answer was lost, or the store tried again by itself, the file that is there may be one's own.
        match whose(&log.store, &path, &change.attempt).await {
            Ok(Some(taken)) => return Ok(taken),
            Ok(None) if is_taken && asked >= QUESTIONS => return Err(error.into()),
            Ok(None) if is_taken => {}
            Ok(None) => {
                // It is not there, and a try more is safe. After an answer it cannot come any more; what the store did not answer
                // may still be on its way.
                if asked >= 1 {
                    return Err(match is_unanswered(&error) {
                        true => not_known(error, log, version),
                        false => error.into(),
                    });
                }
            }
            Err(cause) if asked >= QUESTIONS => return Err(not_known(cause, log, version)),
            Err(_) => {}
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(50 << asked.min(6))).await;
    }
}

/// Returns whether the store has said nothing to a request.
fn is_unanswered(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["HTTP error", "error sending request", "timed out"].iter().any(|words| text.contains(words))
}

fn not_known(cause: object_store::Error, log: &Log, version: u64) -> Error {
    Error::from(cause)
        .with_detail(format!(
            "It is not known whether version {version} of table \"{}\" was committed.",
            log.table
        ))
        .with_hint("Look at the table before the statement is run again.")
}

/// Tells whose commit a file is; `None` if it is not there.
async fn whose(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    attempt: &str,
) -> object_store::Result<Option<Taken>> {
    match store.get(path).await {
        Ok(found) => {
            let text = found.bytes().await?;
            let needle = json!(attempt).to_string();
            let is_ours = text.windows(needle.len()).any(|part| part == needle.as_bytes());
            Ok(Some(if is_ours { Taken::Ours } else { Taken::Theirs }))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the lines of the commit. The writer's own come first, for readers that look no further.
async fn body(log: &Arc<Log>, version: u64, change: &Change) -> Result<Vec<u8>> {
    let mut now = now_ms();
    let mut info = json!({
        "timestamp": now,
        "operation": change.operation,
        "operationParameters": change.parameters,
        "isBlindAppend": false,
        "engineInfo": ENGINE,
        "txnId": change.attempt,
        "operationMetrics": { "numOutputRows": change.n_rows.to_string() },
    });
    if change.keeps_times {
        if let Some(before) = version.checked_sub(1) {
            let lines = log.read_commit(&path_of(log, before)).await?;
            let told = lines.iter().find_map(|line| line.commit_info.as_ref()?.in_commit_timestamp);
            now = now.max(told.map_or(now, |told| told + 1));
        }
        info["inCommitTimestamp"] = now.into();
    }
    let mut text = json!({ "commitInfo": info }).to_string();
    for line in &change.lines {
        text.push('\n');
        text.push_str(&line.to_string());
    }
    text.push('\n');
    Ok(text.into_bytes())
}
