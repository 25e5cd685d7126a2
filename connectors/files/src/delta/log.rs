//! The log of one table: which versions there are, and what the table is at one of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use futures::{StreamExt, TryStreamExt, stream};
use maru_connect::OpenedStore;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde::Deserialize;

use super::action::Line;
use super::snapshot::Snapshot;
use super::{LOG, checkpoint, corrupt};

/// Files of a log that are read at once.
const CONCURRENT_READS: usize = 16;

/// Statements whose snapshots are remembered, so that all of a statement's scans read the same one.
const STATEMENTS: usize = 64;

/// Files in all snapshots that are kept between statements.
const KEPT_FILES_MAX: usize = 500_000;

/// Tables whose snapshots are kept between statements.
const KEPT_TABLES: usize = 64;

/// The log of a table.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The table's directory.
    pub(super) table: Path,
    /// The newest snapshot that was seen.
    newest: Mutex<Option<Arc<Snapshot>>>,
    /// The snapshots of running statements. Asked for by one at a time: two scans of a statement must not differ.
    statements: tokio::sync::Mutex<VecDeque<(u64, Arc<Snapshot>)>>,
}

/// Logs of tables that were read not long ago, the last one first, by the private address of the store.
static LOGS: LazyLock<Kept> = LazyLock::new(Mutex::default);

/// Logs by the private address of their place.
type Kept = Mutex<VecDeque<(String, Arc<Log>)>>;

impl Log {
    /// Returns the log of the table at `opened.path`. What is known of it is kept for a while, and checked before it
    /// is used.
    pub(super) fn of(opened: &OpenedStore) -> Arc<Self> {
        let key = format!("{}{}", opened.url.as_str(), opened.path);
        let mut logs = LOGS.lock();
        let at = logs.iter().position(|(known, _)| *known == key);
        let log = match at.and_then(|at| logs.remove(at)) {
            // A catalog that was made anew has another client.
            Some((_, log)) if Arc::ptr_eq(&log.store, &opened.store) => log,
            _ => Arc::new(Self {
                store: Arc::clone(&opened.store),
                table: opened.path.clone(),
                newest: Mutex::default(),
                statements: tokio::sync::Mutex::default(),
            }),
        };
        logs.push_front((key, Arc::clone(&log)));
        let mut n_files = 0;
        let mut n_tables = 0;
        logs.retain(|(_, log)| {
            n_tables += 1;
            n_files += log.newest.lock().as_ref().map_or(0, |snapshot| snapshot.n_files());
            n_tables == 1 || n_tables <= KEPT_TABLES && n_files <= KEPT_FILES_MAX
        });
        log
    }

    fn folder(&self) -> Path {
        self.table.clone().join(LOG)
    }

    /// Returns the newest snapshot: one listing if nothing has changed, the new commits if something has.
    ///
    /// # Errors
    /// XX001 for a log that is not valid, HV00R if there is none.
    pub(super) async fn newest(&self) -> Result<Arc<Snapshot>> {
        let known = self.newest.lock().clone();
        let snapshot = match known {
            Some(known) => match self.advance(&known).await? {
                Some(snapshot) => snapshot,
                None => Arc::new(self.load(None).await?),
            },
            None => Arc::new(self.load(None).await?),
        };
        *self.newest.lock() = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Returns the snapshot that all scans of the statement with this number read; 0 is no statement.
    pub(super) async fn in_statement(&self, statement: u64) -> Result<Arc<Snapshot>> {
        if statement == 0 {
            return self.newest().await;
        }
        let mut statements = self.statements.lock().await;
        if let Some((_, snapshot)) = statements.iter().find(|(number, _)| *number == statement) {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = self.newest().await?;
        statements.push_front((statement, Arc::clone(&snapshot)));
        statements.truncate(STATEMENTS);
        Ok(snapshot)
    }

    /// Adds new commits to a known snapshot; `None` if the log does not continue it.
    async fn advance(&self, known: &Arc<Snapshot>) -> Result<Option<Arc<Snapshot>>> {
        let Some(commit) = &known.commit else { return Ok(None) };
        let listing = self.list(known.version).await?;
        let same = listing.commits.get(&known.version).is_some_and(|found| {
            found.size == commit.size
                && found.last_modified == commit.last_modified
                && found.e_tag == commit.e_tag
        });
        if !same {
            return Ok(None);
        }
        let Some(newest) = listing.newest().filter(|newest| *newest > known.version) else {
            return Ok(Some(Arc::clone(known)));
        };
        let Some(commits) = listing.commits(known.version + 1, newest) else { return Ok(None) };
        let mut snapshot = Snapshot::clone(known);
        self.apply(&mut snapshot, commits).await?;
        Ok(Some(Arc::new(snapshot)))
    }

    /// Reads the table as it was at `version`, or as it is.
    ///
    /// # Errors
    /// 22023 for a version that is not there, with those that are.
    pub(super) async fn load(&self, version: Option<u64>) -> Result<Snapshot> {
        let hint = self.last_checkpoint().await?;
        let from = hint.filter(|hint| version.is_none_or(|version| *hint <= version)).unwrap_or(0);
        let mut listing = self.list(from).await?;
        // What the hint names may be gone or unfinished.
        if from > 0 && listing.start(version).is_none() {
            listing = self.list(0).await?;
        }
        let newest = listing.newest().ok_or_else(|| no_table(&self.table))?;
        let version = version.unwrap_or(newest);
        let Some((checkpoint, commits)) = listing.start(Some(version)) else {
            return Err(self.no_version(version).await?);
        };
        let mut snapshot = Snapshot::new(self.table.clone());
        if let Some((version, files)) = checkpoint {
            snapshot.version = version;
            for line in self.read_checkpoint(files).await? {
                snapshot.apply(line);
            }
            // The commit that it ends with tells a table from another one made in its place.
            snapshot.commit = listing.commits.get(&version).cloned();
        }
        self.apply(&mut snapshot, commits).await?;
        snapshot.finish(&self.folder())?;
        Ok(snapshot)
    }

    async fn apply(&self, snapshot: &mut Snapshot, commits: Vec<(u64, ObjectMeta)>) -> Result<()> {
        let mut read = stream::iter(commits)
            .map(|(version, meta)| async move {
                let lines = self.read_commit(&meta.location).await?;
                Ok::<_, Error>((version, meta, lines))
            })
            .boxed()
            .buffered(CONCURRENT_READS);
        while let Some((version, meta, lines)) = read.try_next().await? {
            snapshot.commit(version, meta, lines);
        }
        Ok(())
    }

    /// Reads the lines of a commit.
    pub(super) async fn read_commit(&self, path: &Path) -> Result<Vec<Line>> {
        let text = self.store.get(path).await?.bytes().await?;
        let lines = checkpoint::read_json(&text, path)?;
        if lines.is_empty() {
            return Err(corrupt(path, "it is empty"));
        }
        Ok(lines)
    }

    async fn read_checkpoint(&self, files: &[Path]) -> Result<Vec<Line>> {
        let read = |path: Path| async move {
            if path.as_ref().ends_with(".json") {
                let text = self.store.get(&path).await?.bytes().await?;
                checkpoint::read_json(&text, &path)
            } else {
                checkpoint::read_parquet(&self.store, &path).await
            }
        };
        let mut lines = stream::iter(files.to_vec())
            .map(read)
            .boxed()
            .buffered(CONCURRENT_READS)
            .try_concat()
            .await?;
        let sidecars = lines
            .iter()
            .filter_map(|line| line.sidecar.as_ref())
            .map(|sidecar| self.sidecar(&sidecar.path))
            .collect::<Result<Vec<_>>>()?;
        let more = stream::iter(sidecars).map(read).boxed().buffered(CONCURRENT_READS);
        lines.extend(more.try_concat().await?);
        Ok(lines)
    }

    fn sidecar(&self, path: &str) -> Result<Path> {
        if path.contains("://") || path.starts_with('/') {
            return Err(super::refused(&self.table, "checkpoints outside of its directory"));
        }
        let folder = self.folder().join("_sidecars");
        Path::from_url_path(path)
            .and_then(|path| Path::parse(format!("{folder}/{path}")))
            .map_err(|error| corrupt(&folder, error))
    }

    /// Returns the version of the last checkpoint, as its writer noted it. Only a hint.
    async fn last_checkpoint(&self) -> Result<Option<u64>> {
        #[derive(Deserialize)]
        struct Hint {
            version: u64,
        }
        match self.store.get(&self.folder().join("_last_checkpoint")).await {
            Ok(found) => {
                let hint = serde_json::from_slice::<Hint>(&found.bytes().await?);
                Ok(hint.ok().map(|hint| hint.version))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the log from a version on.
    pub(super) async fn list(&self, from: u64) -> Result<Listing> {
        let folder = self.folder();
        let offset = folder.clone().join(format!("{from:020}"));
        let mut listing = Listing::default();
        let mut listed = self.store.list_with_offset(Some(&folder), &offset);
        while let Some(meta) = listed.try_next().await.or_else(missing)? {
            let depth = meta.location.prefix_match(&folder).map_or(0, Iterator::count);
            if depth == 1 {
                listing.add(meta);
            }
        }
        Ok(listing)
    }

    /// Says that a version is not there, and which are.
    pub(super) async fn no_version(&self, version: u64) -> Result<Error> {
        let listing = self.list(0).await?;
        let error = Error::new(
            ErrorKind::InvalidParameter,
            format!("Delta Lake table \"{}\" has no version {version}", self.table),
        );
        Ok(match (listing.oldest(), listing.newest()) {
            (Some(oldest), Some(newest)) if version <= newest && version >= oldest => {
                corrupt(&self.folder(), format!("a commit up to version {version} is missing"))
            }
            (Some(oldest), Some(newest)) => {
                error.with_hint(format!("It has versions {oldest} to {newest}."))
            }
            _ => corrupt(&self.folder(), "commits are missing, and there is no checkpoint"),
        })
    }
}

pub(super) fn no_table(table: &Path) -> Error {
    Error::new(ErrorKind::RemoteTableNotFound, format!("no Delta Lake table lies at \"{table}\""))
        .with_hint("A Delta Lake table is a directory with a folder _delta_log.")
}

/// HDFS does not list a folder that is not there.
fn missing(error: object_store::Error) -> Result<Option<ObjectMeta>, object_store::Error> {
    match error {
        object_store::Error::NotFound { .. } => Ok(None),
        other => Err(other),
    }
}

/// The pieces of a log, by their names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) commits: BTreeMap<u64, ObjectMeta>,
    /// The parts of each checkpoint by the number of them; 0 for one that is whole.
    checkpoints: BTreeMap<u64, BTreeMap<usize, Vec<Path>>>,
}

/// The checkpoint to begin with, and the commits to add.
pub(super) type Start<'a> = (Option<(u64, &'a [Path])>, Vec<(u64, ObjectMeta)>);

impl Listing {
    fn add(&mut self, meta: ObjectMeta) {
        let Some(name) = meta.location.filename() else { return };
        let Some((digits, rest)) = name.split_once('.') else { return };
        let Some(version) = number(digits, 20) else { return };
        let parts = rest.split('.').collect::<Vec<_>>();
        let n = match parts.as_slice() {
            ["json"] => {
                self.commits.insert(version, meta);
                return;
            }
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] => 0,
            ["checkpoint", part, of, "parquet"] => match (number(part, 10), number(of, 10)) {
                (Some(1..), Some(of @ 1..)) => usize::try_from(of).unwrap_or(usize::MAX),
                _ => return,
            },
            _ => return,
        };
        let files = self.checkpoints.entry(version).or_default().entry(n).or_default();
        // One that is whole is enough.
        if n > 0 || files.is_empty() {
            files.push(meta.location);
        }
    }

    fn checkpoint(&self, version: u64) -> Option<&[Path]> {
        let of_version = self.checkpoints.get(&version)?;
        of_version.iter().find(|(n, files)| **n == 0 || files.len() == **n).map(|(_, f)| &f[..])
    }

    /// Returns the newest version.
    pub(super) fn newest(&self) -> Option<u64> {
        let checkpoint = self.checkpoints.keys().rev().find(|v| self.checkpoint(**v).is_some());
        self.commits.keys().next_back().max(checkpoint).copied()
    }

    /// Returns the oldest version that can be put together, if the listing is a whole one.
    pub(super) fn oldest(&self) -> Option<u64> {
        if self.commits.contains_key(&0) {
            return Some(0);
        }
        self.checkpoints.keys().find(|version| self.checkpoint(**version).is_some()).copied()
    }

    /// Returns all commits of a range, if all are there.
    fn commits(&self, from: u64, to: u64) -> Option<Vec<(u64, ObjectMeta)>> {
        (from..=to)
            .map(|version| Some((version, self.commits.get(&version)?.clone())))
            .collect::<Option<Vec<_>>>()
    }

    /// Returns what to read for a version, or for the newest one.
    pub(super) fn start(&self, version: Option<u64>) -> Option<Start<'_>> {
        let newest = self.newest()?;
        let version = version.unwrap_or(newest);
        if version > newest {
            return None;
        }
        let checkpoints = self.checkpoints.range(..=version).rev();
        for (at, _) in checkpoints {
            if let Some(files) = self.checkpoint(*at) {
                return Some((Some((*at, files)), self.commits(at + 1, version)?));
            }
        }
        // Only a whole log can do without a checkpoint, and has its first commit.
        Some((None, self.commits(0, version)?))
    }
}

fn number(digits: &str, length: usize) -> Option<u64> {
    let plain = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}
