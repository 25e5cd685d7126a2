//! Local directories.

use std::path::Path as OsPath;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

/// Opens a directory as a store whose paths are relative to it, or the whole file system.
///
/// # Errors
/// HV024 if the directory does not exist, HV00L if Maru may not read it.
pub(crate) fn open(root: Option<&str>) -> Result<Arc<dyn ObjectStore>> {
    let Some(root) = root else { return Ok(Arc::new(LocalFileSystem::new())) };
    check(root)?;
    let store = LocalFileSystem::new_with_prefix(root).map_err(|error| {
        Error::new(ErrorKind::InvalidOption, format!("directory \"{root}\" cannot be opened"))
            .with_cause(error)
    })?;
    Ok(Arc::new(store))
}

/// Looks whether the directory is there and can be read.
///
/// # Errors
/// As [`open`].
pub(crate) fn check(root: &str) -> Result<()> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidOption, format!("{what}: \"{root}\""));
    if !OsPath::new(root).is_absolute() {
        return Err(wrong("not an absolute path")
            .with_hint("Give the path from the root, such as /data/lake."));
    }
    match std::fs::read_dir(root) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => wrong("no such directory")
                .with_hint("The path is one on the machine that runs Maru."),
            std::io::ErrorKind::NotADirectory => {
                wrong("not a directory").with_hint("Give the directory that holds the file.")
            }
            std::io::ErrorKind::PermissionDenied => Error::new(
                ErrorKind::RemoteAuthentication,
                format!("permission denied for directory \"{root}\""),
            )
            .with_hint("The user that runs Maru must be allowed to read it."),
            _ => wrong("cannot read directory").with_cause(error),
        }),
    }
}

/// Removes a directory and those in it, as far as they hold no files.
pub(crate) fn remove_empty(directory: &OsPath) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}
