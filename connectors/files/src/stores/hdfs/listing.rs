//! What lies in directories of HDFS.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt, stream};
use hdfs_native::client::FileStatus;
use hdfs_native::{Client, HdfsError};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, Result};

use super::errors::{silent, store_error};

/// Directories asked for at once while a tree is listed.
const CONCURRENT_DIRECTORIES: usize = 16;

/// Files and directories that a directory holds.
#[derive(Debug, Default)]
struct Directory {
    files: Vec<ObjectMeta>,
    directories: Vec<Path>,
}

/// Lists a directory. One that is not there, or a file, is empty.
async fn directory(client: &Client, path: &Path, limit: Duration) -> Result<Directory> {
    let absolute = absolute(path);
    let mut listed = client.list_status_iter(&absolute, false).into_stream().boxed();
    let mut found = Directory::default();
    loop {
        let next = tokio::time::timeout(limit, listed.next());
        let next = next.await.map_err(|_| silent(path, "the NameNode", limit.as_secs_f64()))?;
        match next {
            None => return Ok(found),
            // A file answers with itself.
            Some(Ok(status)) if status.path == absolute => {}
            Some(Ok(status)) if status.isdir => found.directories.push(Path::parse(&status.path)?),
            Some(Ok(status)) => found.files.push(meta(&status)?),
            Some(Err(HdfsError::FileNotFound(_))) => return Ok(found),
            Some(Err(error)) => match store_error(path, &error) {
                object_store::Error::NotFound { .. } => return Ok(found),
                error => return Err(error),
            },
        }
    }
}

/// Lists all files below a directory, several directories at once, in no order. One that is not there is empty.
pub(super) fn tree(
    client: Client,
    root: Path,
    limit: Duration,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let ask = Arc::new(move |path: Path| -> BoxFuture<'static, Result<Directory>> {
        let client = client.clone();
        async move { directory(&client, &path, limit).await }.boxed()
    });
    let state = (vec![root], FuturesUnordered::new(), Vec::<ObjectMeta>::new().into_iter());
    stream::try_unfold(state, move |(mut waiting, mut asked, mut files)| {
        let ask = Arc::clone(&ask);
        async move {
            loop {
                if let Some(file) = files.next() {
                    return Ok(Some((file, (waiting, asked, files))));
                }
                while asked.len() < CONCURRENT_DIRECTORIES
                    && let Some(path) = waiting.pop()
                {
                    asked.push(ask(path));
                }
                let Some(found) = asked.next().await else { return Ok(None) };
                let found = found?;
                waiting.extend(found.directories);
                files = found.files.into_iter();
            }
        }
    })
    .boxed()
}

/// Lists one level.
pub(super) async fn level(client: &Client, path: &Path, limit: Duration) -> Result<ListResult> {
    let found = directory(client, path, limit).await?;
    Ok(ListResult { common_prefixes: found.directories, objects: found.files })
}

pub(super) fn absolute(path: &Path) -> String {
    format!("/{path}")
}

/// Returns what a file is known by. Its mark changes with each writing: HDFS keeps times to the millisecond.
pub(super) fn meta(status: &FileStatus) -> Result<ObjectMeta> {
    let milliseconds = i64::try_from(status.modification_time).ok();
    let last_modified = milliseconds.and_then(DateTime::<Utc>::from_timestamp_millis);
    Ok(ObjectMeta {
        location: Path::parse(&status.path)?,
        last_modified: last_modified.unwrap_or_default(),
        size: status.length as u64,
        e_tag: Some(format!("{:x}-{:x}", status.modification_time, status.length)),
        version: None,
    })
}
