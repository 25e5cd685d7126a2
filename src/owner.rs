//! Who owns a data directory: one process at a time.
//!
//! The lock is the operating system's, on `owner.lock`, so it goes with the process however that ends. `owner.json`
//! tells others who it is and lets `maru sql` on the same machine log in: its token is made anew by each owner and
//! readable by the same user alone.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::store::{random, write_private};

/// The owned data directory.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    token: Secret,
    lock: Mutex<Option<File>>,
}

/// What `owner.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerFile {
    pub pid: u32,
    /// `host:port` of the Postgres wire; absent while the owner serves none.
    pub pg: Option<String>,
    /// Password of the login `maru@local`.
    pub token: String,
}

impl Owner {
    /// Takes the data directory, creating it.
    ///
    /// # Errors
    /// 55006 if another process has it; 58030 if it cannot be created or locked.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let failed = || format!("could not use data directory {}", data_dir.display());
        std::fs::create_dir_all(data_dir).or_error(ErrorKind::Io, failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join("owner.lock"))
            .or_error(ErrorKind::Io, failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(data_dir)),
            Err(TryLockError::Error(error)) => {
                return Err(error).or_error(ErrorKind::Io, failed);
            }
        }
        let token = Secret::new(URL_SAFE_NO_PAD.encode(random(24)?));
        let owner = Self { path: data_dir.join("owner.json"), token, lock: Mutex::new(Some(lock)) };
        owner.write(None)?;
        Ok(owner)
    }

    /// Reads who owns a data directory, for a process that was refused it.
    pub fn read(data_dir: &Path) -> Option<OwnerFile> {
        let text = std::fs::read(data_dir.join("owner.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns the password of the login `maru@local`.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    pub fn publish(&self, pg: &str) -> Result<()> {
        self.write(Some(pg.to_owned()))
    }

    /// Removes `owner.json` and gives the lock free.
    pub fn give_free(&self) {
        if self.lock.lock().take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn write(&self, pg: Option<String>) -> Result<()> {
        let file = OwnerFile { pid: std::process::id(), pg, token: self.token.reveal().to_owned() };
        let text = serde_json::to_vec(&file)
            .or_error(ErrorKind::Internal, || "could not encode owner.json".to_owned())?;
        write_private(&self.path, &text)
    }
}

fn taken(data_dir: &Path) -> Error {
    let owner = Owner::read(data_dir);
    let (who, address) = match &owner {
        Some(owner) => (
            format!("process {}", owner.pid),
            owner.pg.clone().map_or_else(
                || "It serves no address.".to_owned(),
                |pg| format!("It serves the Postgres wire on {pg}."),
            ),
        ),
        None => ("another process".to_owned(), "It is just starting.".to_owned()),
    };
    Error::new(
        ErrorKind::LockedDataDir,
        format!("data directory \"{}\" is in use by {who}", data_dir.display()),
    )
    .with_detail(address)
    .with_hint("Connect to it with maru sql, stop it, or name another --data-dir.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::take(dir.path()).unwrap();
        owner.publish("127.0.0.1:5433").unwrap();
        let error = Owner::take(dir.path()).unwrap_err();
        assert_eq!(error.sqlstate(), "55006");
        assert!(error.primary().contains(&std::process::id().to_string()));
        assert!(error.detail().unwrap().contains("127.0.0.1:5433"));
        owner.give_free();
        Owner::take(dir.path()).unwrap();
    }
}
