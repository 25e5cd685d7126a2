//! What the writes to a table have changed, one after the other: each says which one came before it.
//!
//! It is written before the metastore is changed. So a write that died in between is taken for one that changed something, which can
//! only make another one begin again.

use std::collections::BTreeSet;
use std::sync::Arc;

use maru_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::place::{FOLDER, Place, folder_of};

/// Writes that may have come in between.
const BETWEEN_MAX: usize = 1000;

pub(super) const COMMIT: &str = "_commit.json";
const LAST: &str = "_last";

/// One write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The write before it.
    pub(super) previous: Option<String>,
    /// The values of the partitions that were changed; none: the whole table.
    pub(super) partitions: Option<BTreeSet<Vec<Option<String>>>>,
    /// Files that do not count any more, relative to the table's directory.
    #[serde(default)]
    pub(super) replaced: Vec<String>,
}

async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Option<Vec<u8>>> {
    match store.get(path).await {
        Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the write that came last; `None` if Maru has not written to the table.
pub(super) async fn last(place: &Place) -> Result<Option<String>> {
    let path = place.path(&format!("{FOLDER}/{LAST}"))?;
    let text = read(&place.opened.store, &path).await?;
    Ok(text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
}

pub(super) async fn entry(place: &Place, attempt: &str) -> Result<Option<Entry>> {
    let path = place.path(&format!("{}/{COMMIT}", folder_of(attempt)))?;
    let text = read(&place.opened.store, &path).await?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Returns which partitions other writes have changed since `base`; `None` if it was the whole table, or cannot be told.
pub(super) async fn changed_since(
    place: &Place,
    base: Option<&str>,
    last: Option<&str>,
) -> Result<Option<BTreeSet<Vec<Option<String>>>>> {
    let mut changed = BTreeSet::new();
    let mut at = last.map(str::to_owned);
    for _ in 0..BETWEEN_MAX {
        if at.as_deref() == base {
            return Ok(Some(changed));
        }
        let Some(attempt) = at else { return Ok(None) };
        let Some(found) = entry(place, &attempt).await? else { return Ok(None) };
        let Some(partitions) = found.partitions else { return Ok(None) };
        changed.extend(partitions);
        at = found.previous;
    }
    Ok(None)
}

/// Writes down what is about to be changed.
pub(super) async fn begin(place: &Place, attempt: &str, entry: &Entry) -> Result<()> {
    let text = serde_json::to_vec(entry)
        .map_err(|error| Error::internal("a journal has no text").with_cause(error))?;
    let path = place.path(&format!("{}/{COMMIT}", folder_of(attempt)))?;
    place.opened.store.put(&path, PutPayload::from(text)).await?;
    let path = place.path(&format!("{FOLDER}/{LAST}"))?;
    place.opened.store.put(&path, PutPayload::from(attempt.to_owned())).await?;
    Ok(())
}
