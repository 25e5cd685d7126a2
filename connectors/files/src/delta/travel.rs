//! From a moment to the version that the table had then.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectMeta;

use super::log::{Log, no_table};
use super::snapshot::Snapshot;

/// Returns the last version that was committed at `micros` (since 1970, UTC) or before it.
///
/// A commit's time is what it says itself where the table keeps such times, else that of its file; as no writer's clock
/// is another's, a commit is later than the one before it in any case.
///
/// # Errors
/// 22023 for a moment before the first commit that is left, with its time.
pub(super) async fn version_at(log: &Log, newest: &Snapshot, micros: i64) -> Result<u64> {
    let wanted = micros.div_euclid(1000);
    let commits = log.list(0).await?.commits;
    let (_, metadata) = newest.shape()?;
    let keeps_times = metadata.property("delta.enableInCommitTimestamps") == Some("true");
    let since = metadata.property("delta.inCommitTimestampEnablementVersion");
    let since = keeps_times.then(|| since.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0));
    let mut oldest = None;
    // The newest are asked for more often.
    if let Some(since) = since {
        for (version, meta) in commits.range(since..).rev() {
            let time = commit_time(log, meta).await?;
            oldest = Some(time);
            if time <= wanted {
                return Ok(*version);
            }
        }
    }
    let before = commits.into_iter().take_while(|(version, _)| since.is_none_or(|s| *version < s));
    let times = file_times(before.collect());
    if let Some((version, _)) = times.iter().rev().find(|(_, time)| **time <= wanted) {
        return Ok(*version);
    }
    let first = times.values().next().copied().or(oldest).ok_or_else(|| no_table(&log.table))?;
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!("Delta Lake table \"{}\" has no version of {}", log.table, shown(wanted)),
    )
    .with_hint(format!("Its oldest version is of {}.", shown(first))))
}

/// Milliseconds of each commit's file, in order.
fn file_times(commits: BTreeMap<u64, ObjectMeta>) -> BTreeMap<u64, i64> {
    let mut last = i64::MIN;
    let in_order = |(version, meta): (u64, ObjectMeta)| {
        last = meta.last_modified.timestamp_millis().max(last.saturating_add(1));
        (version, last)
    };
    commits.into_iter().map(in_order).collect()
}

async fn commit_time(log: &Log, meta: &ObjectMeta) -> Result<i64> {
    let lines = log.read_commit(&meta.location).await?;
    let told = lines.iter().find_map(|line| line.commit_info.as_ref()?.in_commit_timestamp);
    told.ok_or_else(|| super::corrupt(&meta.location, "it does not tell its time"))
}

fn shown(millis: i64) -> String {
    match DateTime::from_timestamp_millis(millis) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{millis} ms"),
    }
}
