//! A second directory for the files of a Delta Lake table, which share their bytes: files of such tables are never changed, so
//! that another name for each is as good as a copy.
//!
//! Source: Delta transaction log protocol, "Delta log entries": version n is `_delta_log/` with twenty digits and `.json`.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use maru_core::{Error, ErrorKind, Result};

const LOG: &str = "_delta_log";

/// What is kept of where the last checkpoint is: a hint, which a table does without.
const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// Returns the version that a file of the log belongs to.
fn version_of(name: &str) -> Option<u64> {
    let digits = name.get(..20)?;
    name[20..].starts_with('.').then(|| digits.parse().ok()).flatten()
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
            _ => ErrorKind::Io,
        };
        Error::new(kind, "could not copy a table for the transaction")
            .with_context("path", path.display().to_string())
            .with_cause(error)
    }
}

/// Returns the number of the last commit.
///
/// # Errors
/// 58030 if the log cannot be read; XX001 if there is none.
pub(super) fn latest_version(table: &Path) -> Result<u64> {
    let log = table.join(LOG);
    let mut latest = None;
    for entry in fs::read_dir(&log).map_err(failed(&log))? {
        let name = entry.map_err(failed(&log))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") && name.len() == 25 {
            latest = latest.max(version_of(&name));
        }
    }
    latest.ok_or_else(|| {
        Error::new(ErrorKind::DataCorrupted, "a table has no log")
            .with_context("path", log.display().to_string())
    })
}

/// Gives every file of a table a name in another directory, as of a version or the last one; returns the version.
///
/// # Errors
/// 53100, 58030.
pub(super) fn copy_table(from: &Path, to: &Path, version: Option<u64>) -> Result<u64> {
    // Before the files are listed: those of a commit are there before it is.
    let version = match version {
        Some(version) => version,
        None => latest_version(from)?,
    };
    link(from, to, true)?;
    let (from, to) = (from.join(LOG), to.join(LOG));
    fs::create_dir_all(&to).map_err(failed(&to))?;
    for entry in fs::read_dir(&from).map_err(failed(&from))? {
        let entry = entry.map_err(failed(&from))?;
        let name = entry.file_name();
        let of = version_of(&name.to_string_lossy());
        if of.is_some_and(|of| of <= version) {
            link_file(&entry.path(), &to.join(&name))?;
        }
    }
    // Written anew in place by others, so it is no further name; one of a later version would lead astray.
    let last = from.join(LAST_CHECKPOINT);
    match fs::read(&last) {
        Ok(text) if checkpoint(&text).is_some_and(|of| of <= version) => {
            let to = to.join(LAST_CHECKPOINT);
            fs::write(&to, text).map_err(failed(&to))?;
        }
        Ok(_) => {}
        Err(error) if error.kind() == NotFound => {}
        Err(error) => return Err(failed(&last)(error)),
    }
    Ok(version)
}

fn checkpoint(text: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(text).ok()?.get("version")?.as_u64()
}

/// Links the files of a directory and of those in it; `top`: without the log.
fn link(from: &Path, to: &Path, top: bool) -> Result<()> {
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        if top && name == LOG {
            continue;
        }
        match entry.file_type().map_err(failed(&path))?.is_dir() {
            true => link(&path, &to.join(name), false)?,
            false => link_file(&path, &to.join(name))?,
        }
    }
    Ok(())
}

/// A file that is gone meanwhile was one that no version needs, or `VACUUM` takes it from the table itself, too.
fn link_file(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == NotFound => Ok(()),
        // A file system without such names.
        Err(_) => match fs::copy(from, to) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == NotFound => Ok(()),
            Err(error) => Err(failed(to)(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_at_its_version() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join(LOG)).unwrap();
        fs::create_dir_all(from.join("dt=1/x")).unwrap();
        fs::write(from.join("dt=1/x/part.parquet"), "rows").unwrap();
        for version in 0..4 {
            fs::write(from.join(LOG).join(format!("{version:020}.json")), "{}").unwrap();
        }
        fs::write(from.join(LOG).join(format!("{:020}.checkpoint.parquet", 3)), "").unwrap();
        fs::write(from.join(LOG).join(LAST_CHECKPOINT), r#"{"version": 3}"#).unwrap();
        assert_eq!(copy_table(&from, &to, Some(2)).unwrap(), 2);
        assert_eq!(latest_version(&to).unwrap(), 2);
        assert_eq!(fs::read_to_string(to.join("dt=1/x/part.parquet")).unwrap(), "rows");
        assert_eq!(fs::read_dir(to.join(LOG)).unwrap().count(), 3);
        let whole = place.path().join("whole");
        assert_eq!(copy_table(&from, &whole, None).unwrap(), 3);
        assert_eq!(fs::read_dir(whole.join(LOG)).unwrap().count(), 6);
        assert!(latest_version(&place.path().join("none")).is_err());
    }
}
