//! One engine at a time changes what the metastore says of a table.
//!
//! Metastores have locks, but not all that run were set up with them, and 3.1 changes a table whatever it was in between. So engines
//! agree through the table's own store: who wants to change puts a file of its own down and looks whether there is another one. Who sees
//! one takes its own away and waits. Stores list what was written before, so of two at least one sees the other.
//!
//! The file of an engine that died is passed over: at once if it ran on this machine and its process is gone, else when it is
//! [`LEASE`] old by the store's own clock. Who holds the lock begins nothing any more when half of that has passed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::place::{FOLDER, Place};

/// How old the file of a lock may be while its holder is believed to live.
const LEASE: Duration = Duration::from_secs(600);

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const PREFIX: &str = "_lock-";

/// A process, told from all others that could be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// The boot of the machine, and the space of its process numbers.
    machine: String,
    process: u32,
    /// When the process began, in the machine's own ticks: numbers are given again.
    began: String,
}

impl Holder {
    fn of(process: u32) -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let boot = read("/proc/sys/kernel/random/boot_id")?;
        let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let stat = read(&format!("/proc/{process}/stat"))?;
        // Behind the name, which may hold anything, the twentieth field.
        let began = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
        let machine = format!("{} {}", boot.trim(), space.display());
        Some(Self { machine, process, began })
    }

    fn this() -> Self {
        Self::of(std::process::id()).unwrap_or_else(|| Self {
            machine: String::new(),
            process: std::process::id(),
            began: String::new(),
        })
    }

    /// Returns whether it is known to be dead.
    fn is_dead(&self) -> bool {
        let this = Self::this();
        !self.machine.is_empty()
            && self.machine == this.machine
            && Self::of(self.process).as_ref() != Some(self)
    }
}

/// A lock that is held. It is given back by [`Lock::release`].
#[derive(Debug)]
pub(super) struct Lock {
    store: Arc<dyn ObjectStore>,
    path: Path,
    since: Instant,
}

impl Lock {
    /// Takes the lock of a table.
    ///
    /// # Errors
    /// 40001 if another writer has it for too long.
    pub(super) async fn take(place: &Place, attempt: &str) -> Result<Self> {
        let store = Arc::clone(&place.opened.store);
        let folder = place.path(FOLDER)?;
        let path = place.path(&format!("{FOLDER}/{PREFIX}{attempt}"))?;
        let text = serde_json::to_vec(&Holder::this())
            .map_err(|error| Error::internal("a lock has no text").with_cause(error))?;
        let begun = Instant::now();
        let mut wait = 20_u64;
        loop {
            let since = Instant::now();
            store.put(&path, PutPayload::from(text.clone())).await?;
            let lock = Self { store: Arc::clone(&store), path: path.clone(), since };
            match lock.others(&folder).await {
                Ok(None) => return Ok(lock),
                Ok(Some(other)) if begun.elapsed() > PATIENCE => {
                    lock.release().await;
                    return Err(Error::new(
                        ErrorKind::Serialization,
                        "could not serialize access: another writer is changing the table",
                    )
                    .with_detail(format!("It holds {other}."))
                    .with_hint("Run the statement again."));
                }
                Ok(Some(_)) => lock.release().await,
                Err(error) => {
                    lock.release().await;
                    return Err(error);
                }
            }
            // Two that step back together must not meet again.
            let noise = uuid::Uuid::new_v4().as_u128() as u64 % wait;
            tokio::time::sleep(Duration::from_millis(wait / 2 + noise)).await;
            wait = (wait * 2).min(1000);
        }
    }

    /// Returns the lock of another engine that lives.
    async fn others(&self, folder: &Path) -> Result<Option<Path>> {
        let listed = self.store.list_with_delimiter(Some(folder)).await?.objects;
        let own = listed.iter().find(|meta| meta.location == self.path);
        let now = own.map(|meta| meta.last_modified);
        for meta in &listed {
            let is_lock = meta.location.filename().is_some_and(|name| name.starts_with(PREFIX));
            if !is_lock || meta.location == self.path {
                continue;
            }
            let age = now.map(|now| (now - meta.last_modified).to_std().unwrap_or_default());
            let expired = age.is_some_and(|age| age > LEASE);
            if expired || self.is_of_dead(&meta.location).await? {
                tracing::info!(path = %meta.location, "passing over the lock of a writer that is gone");
                match self.store.delete(&meta.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(Some(meta.location.clone()));
        }
        Ok(None)
    }

    async fn is_of_dead(&self, path: &Path) -> Result<bool> {
        let text = match self.store.get(path).await {
            Ok(found) => match found.bytes().await {
                Ok(text) => text,
                Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            },
            // It was given back meanwhile; the next look tells.
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        Ok(serde_json::from_slice::<Holder>(&text).is_ok_and(|holder| holder.is_dead()))
    }

    /// Says that the holder goes on now.
    ///
    /// # Errors
    /// 40001 if it has taken so long that another one may soon take it for dead.
    pub(super) fn still_held(&self) -> Result<()> {
        if self.since.elapsed() < LEASE / 2 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Serialization,
            "could not serialize access: the change of the table took too long",
        )
        .with_hint("Run the statement again."))
    }

    pub(super) async fn release(&self) {
        match self.store.delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(path = %self.path, %error, "could not give back the lock of a table");
            }
        }
    }
}

/// Lists all files below a folder; none if there is no such folder.
pub(super) async fn files_below(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
) -> Result<Vec<object_store::ObjectMeta>> {
    match store.list(Some(folder)).try_collect::<Vec<_>>().await {
        Ok(files) => Ok(files),
        Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
