//! What a table has been, what it does not need any more, and which of its files had better be one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use maru_connect::{Leftover, OpenedStore, TableCommit, remove_files};
use maru_core::{Error, Result};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::action::Vector;
use super::lister::place;
use super::log::Log;
use super::snapshot::{File, Snapshot};
use super::{LOG, vector};

/// Commits that are shown at most, the newest first.
const HISTORY_MAX: usize = 1000;

/// Commits read at once.
const READS: usize = 16;

/// Files of at least so many bytes are left as they are.
const GOOD_SIZE: u64 = 128 * 1024 * 1024;

/// Begins the name of a file in the log of a table that is not made yet.
const UNMADE: &str = "_maru_unmade";

/// Returns the commits that are left, the newest first.
pub(crate) async fn history(opened: &OpenedStore) -> Result<Vec<TableCommit>> {
    let log = Log::of(opened);
    let commits = log.list(0).await?.commits;
    let newest = commits.into_iter().rev().take(HISTORY_MAX);
    let read = newest.map(|(version, meta)| {
        let log = Arc::clone(&log);
        async move {
            let lines = log.read_commit(&meta.location).await?;
            let info = lines.iter().find_map(|line| line.commit_info.as_ref());
            let told = info.and_then(|info| info.in_commit_timestamp.or(info.timestamp));
            let millis = told.unwrap_or_else(|| meta.last_modified.timestamp_millis());
            let text = |value: Option<&serde_json::Value>| value.map(ToString::to_string);
            Ok::<_, Error>(TableCommit {
                version,
                at_us: millis.saturating_mul(1000),
                operation: info.and_then(|info| info.operation.clone()),
                parameters: text(info.and_then(|info| info.operation_parameters.as_ref())),
                metrics: text(info.and_then(|info| info.operation_metrics.as_ref())),
                writer: info.and_then(|info| info.engine_info.clone()),
            })
        }
    });
    stream::iter(read.collect::<Vec<_>>()).buffered(READS).try_collect().await
}

/// Returns the files in the table's directory that its newest version does not need.
pub(crate) async fn leftovers(opened: &OpenedStore) -> Result<Vec<Leftover>> {
    let log = Log::of(opened);
    let listing = log.list(0).await?;
    let store = &opened.store;
    let files = store.list(Some(&opened.path)).try_collect::<Vec<_>>().await?;
    if listing.newest().is_none() {
        // A table that was being made; all of it is left over.
        return Ok(files.iter().map(|meta| leftover(meta, None)).collect());
    }
    let snapshot = log.newest().await?;
    let needed = needed(&opened.path, &snapshot)?;
    let mut found = Vec::new();
    let candidates = files
        .iter()
        .filter(|meta| !needed.contains(&meta.location) && is_data(&opened.path, &meta.location));
    let candidates = candidates.collect::<Vec<_>>();
    if candidates.is_empty() {
        return Ok(found);
    }
    // When a file was taken away tells since when it is not needed.
    let mut removed = HashMap::<Path, i64>::new();
    let commits = listing.commits.into_values().collect::<Vec<_>>();
    let mut read = stream::iter(commits)
        .map(|meta| {
            let log = Arc::clone(&log);
            async move { Ok::<_, Error>((log.read_commit(&meta.location).await?, meta)) }
        })
        .buffered(READS);
    while let Some((lines, meta)) = read.try_next().await? {
        let at = meta.last_modified.timestamp_micros();
        for remove in lines.iter().filter_map(|line| line.remove.as_ref()) {
            removed.insert(place(&opened.path, &remove.path)?, at);
            if let Some(file) = remove.deletion_vector.as_ref().and_then(|v| of(&opened.path, v)) {
                removed.insert(file, at);
            }
        }
    }
    for meta in candidates {
        found.push(leftover(meta, removed.get(&meta.location).copied()));
    }
    Ok(found)
}

fn leftover(meta: &ObjectMeta, since: Option<i64>) -> Leftover {
    let written = meta.last_modified.timestamp_micros();
    Leftover {
        path: meta.location.to_string(),
        n_bytes: meta.size,
        since_us: since.map_or(written, |since| since.max(written)),
    }
}

fn of(table: &Path, vector: &Vector) -> Option<Path> {
    (vector.storage_type == "u").then(|| vector::file(table, vector)).flatten()
}

fn needed(table: &Path, snapshot: &Snapshot) -> Result<HashSet<Path>> {
    let mut needed = HashSet::new();
    for file in snapshot.files() {
        needed.insert(place(table, &file.add.path)?);
        needed.extend(file.add.deletion_vector.as_ref().and_then(|vector| of(table, vector)));
    }
    Ok(needed)
}

/// Returns whether a file is one of rows. What is hidden belongs to others: the log, a feed of changes, indexes. But a file that HDFS
/// was writing has such a name of its own: one of rows, or in the log a commit, a checkpoint or the hint at it.
fn is_data(table: &Path, file: &Path) -> bool {
    let Some(parts) = file.prefix_match(table) else { return false };
    let parts = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
    let Some((name, folders)) = parts.split_last() else { return false };
    let unfinished = name.starts_with('.') && name.ends_with(".tmp");
    if folders == [LOG] {
        return unfinished;
    }
    let hidden = |name: &str| name.starts_with(['_', '.']) && !name.contains('=');
    let unfinished = unfinished && name.starts_with(".part-");
    !folders.iter().any(|folder| hidden(folder)) && (!hidden(name) || unfinished)
}

/// Removes leftovers of more than `retain`; in a dry run it only returns them.
pub(crate) async fn vacuum(
    opened: &OpenedStore,
    retain: Duration,
    dry_run: bool,
) -> Result<Vec<Leftover>> {
    let before =
        Utc::now().timestamp_micros() - i64::try_from(retain.as_micros()).unwrap_or(i64::MAX / 2);
    let mut old = leftovers(opened).await?;
    old.retain(|leftover| leftover.since_us <= before);
    if dry_run {
        return Ok(old);
    }
    let paths = old.iter().map(|leftover| {
        Path::parse(&leftover.path)
            .map_err(|error| Error::internal("a file's name is none").with_cause(error))
    });
    remove_files(&opened.store, paths.collect::<Result<Vec<_>>>()?).await?;
    Ok(old)
}

/// Returns the files that had better be fewer: small ones of a partition of which there are several, and those with deleted rows.
pub(super) fn to_compact(snapshot: &Snapshot) -> Vec<Arc<File>> {
    let mut partitions = BTreeMap::<Vec<(String, Option<String>)>, Vec<Arc<File>>>::new();
    for file in snapshot.files() {
        if file.add.size >= GOOD_SIZE && file.add.deletion_vector.is_none() {
            continue;
        }
        let mut values = file.add.partition_values.clone().into_iter().collect::<Vec<_>>();
        values.sort();
        partitions.entry(values).or_default().push(Arc::clone(file));
    }
    let worth = partitions.into_values().filter(|files| {
        files.len() > 1 || files.iter().any(|file| file.add.deletion_vector.is_some())
    });
    worth.flatten().collect()
}

/// Returns the mark of a table that an attempt is making.
pub(crate) fn mark_of(opened: &OpenedStore, attempt: &str) -> Path {
    opened.path.clone().join(LOG).join(format!("{UNMADE}-{attempt}"))
}

/// Returns whether a place holds nothing but a table that is being made, or was.
pub(crate) async fn is_unmade(opened: &OpenedStore) -> Result<bool> {
    let folder = opened.path.clone().join(LOG);
    let listed = opened.store.list_with_delimiter(Some(&folder)).await;
    let listed = match listed {
        Ok(listed) => listed.objects,
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let names = || listed.iter().filter_map(|meta| meta.location.filename());
    Ok(names().any(|name| name.starts_with(UNMADE)) && !names().any(|name| !name.starts_with('_')))
}
