//! Files of locations: which there are, and how they come into another one.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;

use super::job::HiveJob;
use super::lock::files_below;
use super::place::Place;
use crate::lister;

/// Files copied at once.
const COPIES: usize = 8;

/// Makes a folder without files one that is there.
const MARK: &str = "_SUCCESS";

/// Puts a file into a folder that has none, so that the folder is there.
pub(super) async fn mark(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<()> {
    store.put(&folder.clone().join(MARK), PutPayload::new()).await?;
    Ok(())
}

pub(super) async fn rename(store: &Arc<dyn ObjectStore>, from: &Path, to: &Path) -> Result<()> {
    let renamed = store.rename(from, to).await;
    let Err(error) = renamed else { return Ok(()) };
    // The name is the attempt's own: if something is there, it is this file.
    match store.head(to).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::NotFound { .. }) => Err(error.into()),
        Err(_) => Err(Error::new(
            ErrorKind::CommitUnknown,
            "it is not known whether the rows came into the table",
        )
        .with_cause(error)),
    }
}

/// Returns the path of a location below the table's directory; `None` for one elsewhere.
fn path_of(job: &HiveJob, location: &str) -> Result<Option<Path>> {
    if !job.place.holds(location) {
        return Ok(None);
    }
    let rest = location.trim_end_matches('/').strip_prefix(job.place.root.as_str());
    match rest.unwrap_or_default().trim_matches('/') {
        "" => Ok(Some(job.place.opened.path.clone())),
        rest => Ok(Some(job.place.path(rest)?)),
    }
}

/// Returns the files of a location that readers see.
async fn visible(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<Vec<ObjectMeta>> {
    let files = files_below(store, folder).await?;
    Ok(files.into_iter().filter(|meta| !lister::is_hidden(folder, &meta.location)).collect())
}

/// Returns the files of a location, relative to the table's directory; none where it lies elsewhere, for others may read them there.
pub(super) async fn files_of(job: &HiveJob, location: &str) -> Result<Vec<String>> {
    let Some(folder) = path_of(job, location)? else { return Ok(Vec::new()) };
    let root = &job.place.opened.path;
    let files = visible(&job.place.opened.store, &folder).await?;
    let relative = |meta: &ObjectMeta| {
        let rest = meta.location.as_ref().strip_prefix(root.as_ref())?;
        Some(rest.trim_start_matches('/').to_owned())
    };
    Ok(files.iter().filter_map(relative).collect())
}

/// Copies the files of a partition into its new folder; returns how many, and their bytes.
pub(super) async fn copy_all(job: &HiveJob, location: &str, folder: &Path) -> Result<(u64, u64)> {
    let (store, from) = match path_of(job, location)? {
        Some(path) => (Arc::clone(&job.place.opened.store), path),
        None => {
            let opened = Place::at(&job.context, location).await?.opened;
            (opened.store, opened.path)
        }
    };
    let files = visible(&store, &from).await?;
    let mut copies = Vec::with_capacity(files.len());
    for meta in files.into_iter().filter(|meta| meta.size > 0) {
        let rest = meta.location.as_ref().strip_prefix(from.as_ref()).unwrap_or_default();
        let end = Path::parse(format!("{folder}/{}", rest.trim_start_matches('/')))
            .map_err(|error| Error::internal("a file's name is none").with_cause(error))?;
        job.making.begun.lock().push(end.clone());
        let (store, target) = (Arc::clone(&store), Arc::clone(&job.place.opened.store));
        copies.push(async move { copy(&store, &meta, &target, &end).await });
    }
    let sizes = stream::iter(copies).buffer_unordered(COPIES).try_collect::<Vec<u64>>().await?;
    Ok((sizes.len() as u64, sizes.iter().sum()))
}

/// Copies a file: by the store itself where it can.
async fn copy(
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
    target: &Arc<dyn ObjectStore>,
    end: &Path,
) -> Result<u64> {
    if Arc::ptr_eq(store, target) && store.copy(&meta.location, end).await.is_ok() {
        return Ok(meta.size);
    }
    let mut bytes = store.get(&meta.location).await?.into_stream();
    let mut file = object_store::buffered::BufWriter::new(Arc::clone(target), end.clone());
    let mut n_bytes = 0;
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, "a file could not be copied").with_cause(error)
    };
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        n_bytes += piece.len() as u64;
        file.put(piece).await?;
    }
    file.shutdown().await.map_err(failed)?;
    if n_bytes != meta.size {
        return Err(Error::new(
            ErrorKind::Serialization,
            format!("file \"{}\" changed while it was copied", meta.location),
        ));
    }
    Ok(n_bytes)
}
