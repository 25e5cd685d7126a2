//! What no table needs any more: files of writes that were killed, and those that later writes replaced.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use maru_connect::{Leftover, OpenContext, leftovers_in_place, remove_files};
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::journal::{COMMIT, Entry};
use super::lock::{Lock, files_below};
use super::place::{FOLDER, Place};
use crate::metastore::Metastore;
use crate::write::is_temporary;

const PARTITIONS_PER_CALL: usize = 500;

/// Returns the files below a table's directory that none of its partitions needs.
pub(crate) async fn orphans(
    metastore: &Metastore,
    context: &OpenContext,
    database: &str,
    name: &str,
) -> Result<Vec<Leftover>> {
    let Some(table) = metastore.table(database, name).await? else { return Ok(Vec::new()) };
    if crate::table::readable(&table, database, name).is_err() {
        return Ok(Vec::new());
    }
    let place = Place::of(context, &table).await?;
    let found = found(metastore, &place, &table).await?;
    Ok(leftovers_in_place(found, &place.opened.url))
}

async fn found(
    metastore: &Metastore,
    place: &Place,
    table: &hive_metastore::Table,
) -> Result<Vec<Leftover>> {
    let store = &place.opened.store;
    let files = files_below(store, &place.path(FOLDER)?).await?;
    if files.is_empty() {
        return Ok(Vec::new());
    }
    // When a file was replaced, by the journal that says so.
    let mut replaced = BTreeMap::<Path, DateTime<Utc>>::new();
    for meta in files.iter().filter(|meta| meta.location.filename() == Some(COMMIT)) {
        let text = store.get(&meta.location).await?.bytes().await?;
        let Ok(entry) = serde_json::from_slice::<Entry>(&text) else { continue };
        for file in &entry.replaced {
            replaced.insert(place.path(file)?, meta.last_modified);
        }
    }
    let needed = needed(metastore, place, table).await?;
    let is_needed = |path: &Path| {
        let folders = (0..).scan(path.as_ref(), |rest, _| {
            let (folder, _) = rest.rsplit_once('/')?;
            *rest = folder;
            Some(folder)
        });
        folders.into_iter().any(|folder| needed.contains(folder))
    };
    let mut leftovers = Vec::new();
    for meta in &files {
        let name = meta.location.filename().unwrap_or_default();
        // Journals and locks are small, and tell writers what they must know.
        if name.starts_with('_') && name != "_SUCCESS" || is_needed(&meta.location) {
            continue;
        }
        let since = replaced.remove(&meta.location).unwrap_or(meta.last_modified);
        leftovers.push(leftover(meta, since));
    }
    // The table's own directory from before Maru wrote: its files were seen by all who go by it.
    let own = place.opened.path.as_ref();
    for (path, since) in replaced {
        if needed.contains(own) || is_needed(&path) {
            continue;
        }
        match store.head(&path).await {
            Ok(meta) => leftovers.push(leftover(&meta, since)),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(leftovers)
}

fn leftover(meta: &object_store::ObjectMeta, since: DateTime<Utc>) -> Leftover {
    Leftover {
        path: meta.location.to_string(),
        n_bytes: meta.size,
        since_us: since.timestamp_micros(),
    }
}

/// Returns the directories that the table and its partitions lie in.
async fn needed(
    metastore: &Metastore,
    place: &Place,
    table: &hive_metastore::Table,
) -> Result<HashSet<String>> {
    let mut needed = HashSet::new();
    let mut need = |location: &str| {
        if let Some(rest) = location.trim_end_matches('/').strip_prefix(place.root.as_str()) {
            let whole = format!("{}{rest}", place.opened.path);
            needed.insert(whole.trim_matches('/').to_owned());
        }
    };
    let database = table.db_name.as_deref().unwrap_or_default();
    let name = table.table_name.as_deref().unwrap_or_default();
    let partitioned = table.partition_keys.as_ref().is_some_and(|keys| !keys.is_empty());
    if !partitioned {
        need(table.sd.as_ref().and_then(|sd| sd.location.as_deref()).unwrap_or_default());
        return Ok(needed);
    }
    let names = metastore.partition_names(database, name).await?;
    for chunk in names.chunks(PARTITIONS_PER_CALL) {
        for partition in metastore.partitions(database, name, chunk).await? {
            need(partition.sd.as_ref().and_then(|sd| sd.location.as_deref()).unwrap_or_default());
        }
    }
    Ok(needed)
}

/// Removes what has been left for longer than `retain`; returns what it was, or what it would be in a dry run.
///
/// # Errors
/// 42P01; 40001 if another writer is at it.
pub(crate) async fn vacuum(
    metastore: &Metastore,
    context: &OpenContext,
    database: &str,
    name: &str,
    retain: Duration,
    dry_run: bool,
) -> Result<Vec<Leftover>> {
    let table = metastore.table(database, name).await?.ok_or_else(|| {
        Error::new(ErrorKind::UndefinedTable, format!("table \"{database}.{name}\" does not exist"))
    })?;
    crate::table::readable(&table, database, name)?;
    let place = Place::of(context, &table).await?;
    // What a writer is about to publish is not there to be seen until it holds the lock; it is younger than any sensible time.
    let lock = Lock::take(&place, &uuid::Uuid::now_v7().to_string()).await?;
    let work = async {
        let table = metastore.table(database, name).await?.unwrap_or(table);
        let before = Utc::now().timestamp_micros()
            - i64::try_from(retain.as_micros()).unwrap_or(i64::MAX / 2);
        let mut old = found(metastore, &place, &table).await?;
        old.retain(|leftover| leftover.since_us <= before);
        if !dry_run {
            let paths = old.iter().map(|leftover| {
                Path::parse(&leftover.path)
                    .map_err(|error| Error::internal("a file's name is none").with_cause(error))
            });
            remove_files(&place.opened.store, paths.collect::<Result<Vec<_>>>()?).await?;
        }
        Ok(old)
    };
    let outcome = work.await;
    lock.release().await;
    if !dry_run {
        drop_unmade(metastore, database).await;
    }
    outcome
}

/// Drops tables that were being made when their engine died.
async fn drop_unmade(metastore: &Metastore, database: &str) {
    let Ok(listed) = metastore.all_tables(database).await else { return };
    for listed in listed.into_iter().filter(|listed| is_temporary(&listed.name)) {
        // One that is being made now is young.
        let found = metastore.table(database, &listed.name).await.ok().flatten();
        let made = found.as_ref().and_then(|table| table.create_time).unwrap_or(0);
        let age = Utc::now().timestamp() - i64::from(made);
        if found.is_some() && age > 24 * 3600 {
            tracing::info!(table = %listed.name, "dropping a table that was never made");
            let _ = metastore.drop_table(database, &listed.name).await;
        }
    }
}

/// Removes a folder with all that is in it. What cannot be removed is logged.
pub(super) async fn remove_folder(place: &Place, folder: &Path) {
    let outcome = async {
        if let Some(directories) = &place.opened.directories {
            return directories.remove_all(folder).await;
        }
        if place.is_local() {
            let path = std::path::PathBuf::from(format!("/{folder}"));
            let work = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path));
            return match work.await {
                Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::new(ErrorKind::Io, "a directory could not be removed")
                        .with_cause(error))
                }
                _ => Ok(()),
            };
        }
        let files = files_below(&place.opened.store, folder).await?;
        let paths = files.into_iter().map(|meta| meta.location).collect();
        remove_files(&place.opened.store, paths).await?;
        Ok(())
    };
    if let Err(error) = outcome.await {
        tracing::warn!(%folder, %error, "could not remove a folder that no table needs");
    }
}
