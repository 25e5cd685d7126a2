//! The change of the metastore that makes written rows the table's.

use std::collections::BTreeSet;
use std::time::Duration;

use hive_metastore::{StorageDescriptor, Table};
use maru_connect::Committed;
use maru_core::{Error, ErrorKind, Result, fault};
use pilota::FastStr;

use super::figures::{forget_figures, known_rows, tell_figures};
use super::files::{files_of, mark, rename};
use super::job::{Counts, Effect, HiveJob, Values};
use super::journal::{self, Entry};
use super::lock::Lock;
use super::parts::parts;
use super::place::folder_of;

/// How often it is looked whether a change whose answer was lost took place.
const LOOKS: u32 = 5;

/// Publishes what a job has written.
///
/// # Errors
/// 40001 where another writer came first, 08007 where it is not known whether the metastore took the change.
pub(super) async fn publish(job: &HiveJob) -> Result<Committed> {
    let lock = Lock::take(&job.place, &job.attempt).await?;
    fault::point("hive.locked");
    let outcome = locked(job, &lock).await;
    lock.release().await;
    outcome
}

fn conflict(what: &str) -> Error {
    Error::new(ErrorKind::Serialization, format!("could not serialize access: {what}"))
        .with_hint("Run the statement again.")
}

async fn locked(job: &HiveJob, lock: &Lock) -> Result<Committed> {
    let now = job.metastore.table(&job.database, &job.name).await?;
    let now = now.ok_or_else(|| conflict("the table was dropped while it was written"))?;
    if !same_shape(&job.table, &now) {
        return Err(conflict("the table was altered while it was written"));
    }
    let last = journal::last(&job.place).await?;
    match job.columns.keys.is_empty() {
        true => whole(job, lock, now, last).await,
        false => parts(job, lock, now, last).await,
    }
}

pub(super) fn location(storage: Option<&StorageDescriptor>) -> &str {
    storage.and_then(|sd| sd.location.as_deref()).unwrap_or_default().trim_end_matches('/')
}

/// Returns whether rows that were written for one description of a table are rows of the other.
fn same_shape(a: &Table, b: &Table) -> bool {
    let shape = |table: &Table| {
        let sd = table.sd.clone().unwrap_or_default();
        let parameters = sd.serde_info.as_ref().and_then(|serde| serde.parameters.clone());
        let parameters = parameters.map(|mut all| {
            all.remove("path");
            all
        });
        (sd.cols, sd.input_format, sd.serde_info.and_then(|s| s.serialization_lib), parameters)
    };
    let root = |table: &Table| super::place::root_of(location(table.sd.as_ref())).to_owned();
    shape(a) == shape(b) && a.partition_keys == b.partition_keys && root(a) == root(b)
}

/// Looks whether other writes came in between that this one would have to have seen.
pub(super) async fn check_between(
    job: &HiveJob,
    last: Option<&str>,
    touched: Option<&BTreeSet<Values>>,
) -> Result<()> {
    if job.base.as_deref() == last {
        return Ok(());
    }
    let changed = journal::changed_since(&job.place, job.base.as_deref(), last).await?;
    let apart = match (changed, touched) {
        (Some(changed), Some(touched)) => {
            changed.is_disjoint(touched) && !changed.iter().any(|values| job.is_given(values))
        }
        _ => false,
    };
    match apart {
        true => Ok(()),
        false => Err(conflict("another writer changed the same rows")),
    }
}

/// A table without partitions.
async fn whole(
    job: &HiveJob,
    lock: &Lock,
    mut now: Table,
    last: Option<String>,
) -> Result<Committed> {
    if location(now.sd.as_ref()) != location(job.table.sd.as_ref()) {
        return Err(conflict("another writer replaced the rows of the table"));
    }
    let n_rows = job.done.lock().n_rows;
    let committed = Committed { n_rows, ..Committed::default() };
    if job.effect == Effect::Append {
        let Some(file) = job.pending.lock().take() else { return Ok(committed) };
        let (n_bytes, known) = (file.n_bytes(), known_rows(now.parameters.as_ref()));
        let entry = Entry { previous: last, ..Entry::default() };
        journal::begin(&job.place, &job.attempt, &entry).await?;
        // Before there are rows that they do not count: Hive answers from figures that are called accurate.
        if forget_figures(now.parameters.get_or_insert_default()) {
            job.metastore.alter_table(&job.database, &job.name, &now).await?;
        }
        lock.still_held()?;
        fault::point("hive.before_change");
        let staged = file.path.clone();
        file.publish().await?;
        let name = staged.filename().unwrap_or_default().to_owned();
        let end = job.location_path()?.join(name);
        if staged != end {
            rename(&job.place.opened.store, &staged, &end).await?;
        }
        fault::point("hive.after_change");
        if let Some((rows, files, bytes)) = known {
            let counts =
                Counts { n_rows: rows + n_rows, n_files: files + 1, n_bytes: bytes + n_bytes };
            tell_figures(now.parameters.get_or_insert_default(), &counts);
            if let Err(error) = job.metastore.alter_table(&job.database, &job.name, &now).await {
                tracing::warn!(table = %job.name, %error, "could not tell the metastore how many rows there are");
            }
        }
        return Ok(committed);
    }
    check_between(job, last.as_deref(), None).await?;
    let (new, folder) = job.place.below(&folder_of(&job.attempt))?;
    let counts = job.done.lock().partitions.values().next().copied().unwrap_or_default();
    if counts.n_files == 0 {
        mark(&job.place.opened.store, &folder).await?;
    }
    let old = location(now.sd.as_ref()).to_owned();
    let replaced = files_of(job, &old).await?;
    let entry = Entry { previous: last, partitions: None, replaced };
    journal::begin(&job.place, &job.attempt, &entry).await?;
    move_to(now.sd.get_or_insert_default(), &new);
    let parameters = now.parameters.get_or_insert_default();
    forget_figures(parameters);
    tell_figures(parameters, &counts);
    lock.still_held()?;
    fault::point("hive.before_change");
    let changed = job.metastore.alter_table(&job.database, &job.name, &now).await;
    settle(changed, || async {
        let found = job.metastore.table(&job.database, &job.name).await?;
        Ok(found.is_some_and(|found| location(found.sd.as_ref()) == new))
    })
    .await?;
    fault::point("hive.after_change");
    Ok(committed)
}

/// Looks whether a change took place whose answer was lost.
pub(super) async fn settle<F>(changed: Result<()>, is_there: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let Err(error) = changed else { return Ok(()) };
    if error.kind() != ErrorKind::RemoteUnavailable {
        // The metastore said no; or it did, and failed in what it does after.
        return match is_there().await {
            Ok(true) => Ok(()),
            _ => Err(error),
        };
    }
    for look in 0..LOOKS {
        tokio::time::sleep(Duration::from_millis(200 << look)).await;
        if let Ok(true) = is_there().await {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::CommitUnknown,
        "it is not known whether the metastore took the change",
    )
    .with_detail(format!("Its answer was lost: {}.", error.primary()))
    .with_hint("Look at the table before the statement is run again."))
}

/// Sets a location, also where Spark keeps a second one.
pub(super) fn move_to(storage: &mut StorageDescriptor, location: &str) {
    storage.location = Some(FastStr::new(location));
    if let Some(parameters) =
        storage.serde_info.as_mut().and_then(|serde| serde.parameters.as_mut())
        && parameters.contains_key("path")
    {
        parameters.insert("path".into(), FastStr::new(location));
    }
}
