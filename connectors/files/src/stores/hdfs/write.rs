//! Files of HDFS that come into being whole: they are written under a hidden name and renamed, which the NameNode does in one
//! step, and refuses if the name is taken and must not be.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError, WriteOptions};
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::errors::{silent, store_error};
use super::listing::absolute;

/// Parts that wait to be written at most.
const PARTS_AHEAD: usize = 2;

/// A file that has its name not yet.
pub(super) struct Unnamed {
    client: Client,
    limit: Duration,
    path: Path,
    hidden: String,
    writer: FileWriter,
}

impl Unnamed {
    pub(super) async fn create(client: &Client, path: &Path, limit: Duration) -> Result<Self> {
        let name = path.filename().unwrap_or_default();
        let whole = absolute(path);
        let folder = whole.strip_suffix(name).unwrap_or(&whole);
        let hidden = format!("{folder}.{name}.{}.tmp", Uuid::new_v4().simple());
        let created = client.create(&hidden, WriteOptions::default());
        let writer = in_time(path, limit, created).await?;
        let (client, path) = (client.clone(), path.clone());
        Ok(Self { client, limit, path, hidden, writer })
    }

    pub(super) async fn write(&mut self, payload: PutPayload) -> Result<()> {
        for bytes in payload {
            let written = self.writer.write_bytes(bytes);
            in_time(&self.path, self.limit, written).await?;
        }
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// `AlreadyExists` if it is taken and must not be; the hidden file is removed then.
    pub(super) async fn finish(mut self, overwrite: bool) -> Result<()> {
        let closed = in_time(&self.path, self.limit, self.writer.close()).await;
        let named = match closed {
            Ok(()) => {
                let whole = absolute(&self.path);
                let renamed = self.client.rename(&self.hidden, &whole, overwrite);
                match tokio::time::timeout(self.limit, renamed).await {
                    Err(_) => {
                        return Err(silent(&self.path, "the NameNode", self.limit.as_secs_f64()));
                    }
                    Ok(Err(error)) if is_taken(&error) => {
                        let source = "the name is taken".into();
                        Err(Error::AlreadyExists { path: self.path.to_string(), source })
                    }
                    Ok(renamed) => renamed.map_err(|error| store_error(&self.path, &error)),
                }
            }
            Err(error) => Err(error),
        };
        if named.is_err() {
            self.remove().await;
        }
        named
    }

    pub(super) async fn remove(&self) {
        let removed = self.client.delete(&self.hidden, false);
        match tokio::time::timeout(self.limit, removed).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(path = %self.hidden, %error, "could not remove an unfinished file");
            }
            Err(_) => {
                tracing::warn!(path = %self.hidden, "could not remove an unfinished file in time")
            }
        }
    }
}

fn is_taken(error: &HdfsError) -> bool {
    match error {
        HdfsError::AlreadyExists(_) => true,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            class.ends_with("FileAlreadyExistsException")
        }
        _ => false,
    }
}

async fn in_time<T>(
    path: &Path,
    limit: Duration,
    call: impl Future<Output = hdfs_native::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Err(_) => Err(silent(path, "HDFS", limit.as_secs_f64())),
        Ok(done) => done.map_err(|error| store_error(path, &error)),
    }
}

type Part = (PutPayload, oneshot::Sender<Result<()>>);

/// A file that comes in parts, which are written in their order by one task.
pub(super) struct Upload {
    sender: Option<mpsc::Sender<Part>>,
    task: Option<AbortOnDropHandle<std::result::Result<Unnamed, ()>>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn start(mut file: Unnamed) -> Self {
        let (sender, mut parts) = mpsc::channel::<Part>(PARTS_AHEAD);
        let task = tokio::spawn(async move {
            while let Some((payload, answer)) = parts.recv().await {
                let written = file.write(payload).await;
                let failed = written.is_err();
                let _ = answer.send(written);
                if failed {
                    file.remove().await;
                    return Err(());
                }
            }
            Ok(file)
        });
        Self { sender: Some(sender), task: Some(AbortOnDropHandle::new(task)) }
    }

    async fn written(&mut self) -> Result<Unnamed> {
        self.sender = None;
        let task = self.task.take().ok_or_else(broken_off)?;
        task.await.map_err(|_| broken_off())?.map_err(|()| broken_off())
    }
}

fn broken_off() -> Error {
    Error::Generic { store: "HDFS", source: "the writing of a file broke off".into() }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (answer, written) = oneshot::channel();
        let sender = self.sender.clone();
        // Sent in the order of the calls, as a channel's places are.
        let sent = async move {
            let sender = sender.ok_or_else(broken_off)?;
            sender.send((data, answer)).await.map_err(|_| broken_off())?;
            written.await.map_err(|_| broken_off())?
        };
        sent.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.written().await?.finish(true).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        if let Ok(file) = self.written().await {
            file.remove().await;
        }
        Ok(())
    }
}
