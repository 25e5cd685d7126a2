//! The change of a table with partitions: all that were written to get their new locations at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use hive_metastore::{Partition, StorageDescriptor, Table};
use maru_connect::{Committed, partition_directory, partition_text};
use maru_core::{Error, Result, fault};
use pilota::FastStr;

use super::commit::{check_between, location, move_to, settle};
use super::figures::{Parameters, forget_figures, known_rows, tell_figures};
use super::files::{copy_all, files_of, mark};
use super::job::{Counts, Done, Effect, HiveJob, Values};
use super::journal::{self, Entry};
use super::lock::Lock;
use super::place::folder_of;
use super::target::Columns;
use crate::format;
use crate::partition::{self, DEFAULT_PARTITION};

/// Partitions that one call asks for.
const PARTITIONS_PER_CALL: usize = 500;

/// A table with partitions.
pub(super) async fn parts(
    job: &HiveJob,
    lock: &Lock,
    now: Table,
    last: Option<String>,
) -> Result<Committed> {
    let done = std::mem::take(&mut *job.done.lock());
    let committed = Committed { n_rows: done.n_rows, ..Committed::default() };
    let mut touched = done.partitions;
    let mut more = false;
    if let Effect::OverwritePartitions(given) = &job.effect {
        more = !given.is_empty() && given.len() < job.columns.keys.len();
        if given.len() == job.columns.keys.len() {
            touched.entry(given.iter().map(|(_, text)| text.clone()).collect()).or_default();
        }
    }
    let all = job.effect == Effect::OverwriteTable;
    if touched.is_empty() && !all && !more {
        return Ok(committed);
    }
    let mut names = touched.keys().cloned().collect::<BTreeSet<_>>();
    if job.effect != Effect::Append {
        check_between(job, last.as_deref(), (!all).then_some(&names)).await?;
    }
    let (existing, others) = existing(job, &touched, all).await?;
    if touched.is_empty() && others.is_empty() && !all {
        return Ok(committed);
    }
    let storage = now.sd.clone().unwrap_or_default();
    let (mut altered, mut added, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
    for (values, mut counts) in touched {
        let (new, folder) = job.place.below(&job.folder(&values))?;
        let Some(mut partition) = existing.get(&values).cloned() else {
            if counts.n_files == 0 {
                mark(&job.place.opened.store, &folder).await?;
            }
            let mut parameters = Parameters::default();
            tell_figures(&mut parameters, &counts);
            added.push(new_partition(job, &storage, &values, &new, parameters));
            continue;
        };
        let old = location(partition.sd.as_ref()).to_owned();
        replaced.extend(files_of(job, &old).await?);
        let parameters = partition.parameters.get_or_insert_default();
        let mut known = known_rows(Some(parameters));
        forget_figures(parameters);
        if job.effect == Effect::Append {
            refuse_other_format(job, &now, &partition, &values)?;
            let (n_files, n_bytes) = copy_all(job, &old, &folder).await?;
            counts.n_files += n_files;
            counts.n_bytes += n_bytes;
            counts.n_rows += known.map_or(0, |(rows, ..)| rows);
        } else {
            known = Some((0, 0, 0));
        }
        if counts.n_files == 0 {
            mark(&job.place.opened.store, &folder).await?;
        }
        if known.is_some() {
            tell_figures(partition.parameters.get_or_insert_default(), &counts);
        }
        partition.sd = Some(storage.clone());
        move_to(partition.sd.get_or_insert_default(), &new);
        altered.push(partition);
    }
    // What is emptied first shows nothing, then is not there.
    let empty = format!("{}/_empty", folder_of(&job.attempt));
    let (nowhere, nowhere_path) = job.place.below(&empty)?;
    if !others.is_empty() || (!altered.is_empty() && !added.is_empty()) {
        mark(&job.place.opened.store, &nowhere_path).await?;
    }
    for partition in &others {
        replaced.extend(files_of(job, location(partition.sd.as_ref())).await?);
        let texts = partition.values.iter().flatten().map(ToString::to_string);
        names.insert(as_named(&texts.collect::<Vec<_>>(), &job.columns));
        let mut partition = partition.clone();
        partition.sd = Some(storage.clone());
        move_to(partition.sd.get_or_insert_default(), &nowhere);
        forget_figures(partition.parameters.get_or_insert_default());
        altered.push(partition);
    }
    let partitions = (!all).then_some(names);
    let entry = Entry { previous: last, partitions, replaced };
    journal::begin(&job.place, &job.attempt, &entry).await?;
    lock.still_held()?;
    fault::point("hive.before_change");
    if altered.is_empty() {
        let made = job.metastore.add_partitions(&added).await;
        settled(job, made, &added).await?;
    } else {
        if !added.is_empty() {
            // Two calls cannot be one change; so partitions that are new are there first, with no rows.
            let mut hollow = added.clone();
            for partition in &mut hollow {
                move_to(partition.sd.get_or_insert_default(), &nowhere);
            }
            let made = job.metastore.add_partitions(&hollow).await;
            settled(job, made, &hollow).await?;
            fault::point("hive.hollow");
        }
        altered.append(&mut added);
        let changed = job.metastore.alter_partitions(&job.database, &job.name, &altered).await;
        settled(job, changed, &altered).await?;
    }
    fault::point("hive.after_change");
    for partition in &others {
        let values = partition.values.as_deref().unwrap_or_default();
        let dropped = job.metastore.drop_partition(&job.database, &job.name, values).await;
        if let Err(error) = dropped {
            tracing::warn!(table = %job.name, %error, "could not drop a partition that was emptied");
        }
    }
    Ok(committed)
}

async fn settled(job: &HiveJob, changed: Result<()>, partitions: &[Partition]) -> Result<()> {
    settle(changed, || async {
        let Some(first) = partitions.first() else { return Ok(true) };
        let values = first.values.clone().unwrap_or_default();
        let name = hive_name(&job.columns.key_names(), &values);
        let found = job.metastore.partitions(&job.database, &job.name, &[name]).await?;
        let wanted = location(first.sd.as_ref());
        Ok(found.iter().any(|found| location(found.sd.as_ref()) == wanted))
    })
    .await
}

fn hive_name(keys: &[String], values: &[FastStr]) -> String {
    let values = values.iter().map(|value| Some(value.to_string())).collect::<Vec<_>>();
    partition_directory(keys, &values)
}

/// Returns values as a write names them, which may stand in the metastore in several ways; a text that is no value stays.
fn as_named(texts: &[String], columns: &Columns) -> Values {
    let named = |(at, (text, key)): (usize, (&String, &Arc<Field>))| {
        let value = partition::typed(&[text], std::slice::from_ref(key)).ok()?.pop()?;
        partition_text(key.name(), &columns.key_value(at, value)).ok()
    };
    let parts = texts.iter().zip(&columns.keys).enumerate();
    parts.map(|part| named(part).unwrap_or_else(|| Some(part.1.0.clone()))).collect()
}

/// Finds the partitions that are there: those that were written to by their values, and the others that are replaced: `all`, or
/// those with the values that are given.
async fn existing(
    job: &HiveJob,
    touched: &BTreeMap<Values, Counts>,
    all: bool,
) -> Result<(HashMap<Values, Partition>, Vec<Partition>)> {
    let keys = &job.columns.keys;
    let text = |value: &Option<String>| value.as_deref().unwrap_or(DEFAULT_PARTITION).to_owned();
    let mut wanted = HashMap::<Vec<ScalarValue>, &Values>::new();
    for values in touched.keys() {
        let texts = values.iter().map(text).collect::<Vec<_>>();
        wanted.insert(job.columns.typed(&texts)?, values);
    }
    let names = job.metastore.partition_names(&job.database, &job.name).await?;
    let mut asked = Vec::new();
    for name in names {
        let texts = partition::values_of(&name, keys)?;
        // The same value may be written in several ways; a text that is no value is nobody's.
        let values = job.columns.typed(&texts).ok();
        let of = values.and_then(|values| wanted.get(&values).copied());
        if of.is_some() || all || job.is_given(&as_named(&texts, &job.columns)) {
            asked.push((name, texts, of));
        }
    }
    let (mut found, mut others) = (HashMap::new(), Vec::new());
    for chunk in asked.chunks(PARTITIONS_PER_CALL) {
        let names = chunk.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>();
        for partition in job.metastore.partitions(&job.database, &job.name, &names).await? {
            let texts = partition.values.iter().flatten().map(ToString::to_string);
            let texts = texts.collect::<Vec<_>>();
            let of = chunk.iter().find(|(_, known, _)| *known == texts).and_then(|(_, _, of)| *of);
            match of {
                Some(values) => {
                    if let Some(twin) = found.insert(values.clone(), partition) {
                        let name =
                            hive_name(&job.columns.key_names(), &twin.values.unwrap_or_default());
                        return Err(Error::unsupported(format!(
                            "partition \"{name}\" is there twice, its value written in two ways"
                        )));
                    }
                }
                None => others.push(partition),
            }
        }
    }
    Ok((found, others))
}

fn new_partition(
    job: &HiveJob,
    storage: &StorageDescriptor,
    values: &Values,
    location: &str,
    parameters: Parameters,
) -> Partition {
    let texts = values.iter().map(|value| value.as_deref().unwrap_or(DEFAULT_PARTITION));
    let mut storage = storage.clone();
    move_to(&mut storage, location);
    Partition {
        values: Some(texts.map(FastStr::new).collect()),
        db_name: Some(FastStr::new(&job.database)),
        table_name: Some(FastStr::new(&job.name)),
        sd: Some(storage),
        parameters: Some(parameters),
        ..Partition::default()
    }
}

/// Refuses to put rows beside files that are laid out otherwise.
fn refuse_other_format(
    job: &HiveJob,
    table: &Table,
    partition: &Partition,
    values: &Values,
) -> Result<()> {
    let storage = partition.sd.clone().unwrap_or_default();
    let of_table = table.sd.clone().unwrap_or_default();
    let name = partition_directory(&job.columns.key_names(), values);
    let refused = |why: &str| {
        Error::unsupported(format!("rows cannot be added to partition \"{name}\": {why}"))
            .with_hint("INSERT OVERWRITE … PARTITION writes it anew.")
    };
    if format::of(table, &storage)? != format::of(table, &of_table)? {
        return Err(refused("its files have another format than the table"));
    }
    let (columns, wanted) = (storage.cols.unwrap_or_default(), of_table.cols.unwrap_or_default());
    let names = |columns: &[hive_metastore::FieldSchema]| {
        columns.iter().map(|c| (c.name.clone(), c.r#type.clone())).collect::<Vec<_>>()
    };
    if !names(&wanted).starts_with(&names(&columns)) {
        return Err(refused("it has other columns than the table"));
    }
    Ok(())
}

/// Returns the partitions of a table that is made.
pub(super) fn new_partitions(job: &HiveJob, table: &Table, done: &Done) -> Result<Vec<Partition>> {
    let storage = table.sd.clone().unwrap_or_default();
    let one = |(values, counts): (&Values, &Counts)| {
        let (location, _) = job.place.below(&job.folder(values))?;
        let mut parameters = Parameters::default();
        tell_figures(&mut parameters, counts);
        Ok(new_partition(job, &storage, values, &location, parameters))
    };
    done.partitions.iter().map(one).collect()
}
