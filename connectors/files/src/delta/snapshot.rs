//! What the log adds up to at one version.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use maru_core::Result;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use tokio::sync::OnceCell;

use super::action::{Add, Line, Metadata, Protocol, Vector};
use super::{corrupt, vector};

/// A table at one version.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The table's directory.
    table: Path,
    pub(super) version: u64,
    /// The file of its last commit, if it is still there.
    pub(super) commit: Option<ObjectMeta>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    files: HashMap<Key, Arc<File>>,
    /// How far works have come, by their names.
    transactions: HashMap<String, i64>,
}

/// One file with other deleted rows is another file. Its path is decoded: writers do not all escape alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    path: String,
    vector: Option<(String, String, Option<u64>)>,
}

impl Key {
    fn new(path: &str, vector: Option<&Vector>) -> Self {
        let path = Path::from_url_path(path).map_or_else(|_| path.to_owned(), String::from);
        let vector =
            vector.map(|v| (v.storage_type.clone(), v.path_or_inline_dv.clone(), v.offset));
        Self { path, vector }
    }
}

/// A file of the table.
#[derive(Debug)]
pub(super) struct File {
    pub(super) add: Add,
    /// Read when it is first needed.
    deleted: OnceCell<Arc<Vec<Range<u64>>>>,
}

impl File {
    /// Returns the positions of the rows that do not count.
    pub(super) async fn deleted(
        &self,
        store: &dyn ObjectStore,
        table: &Path,
    ) -> Result<Option<Arc<Vec<Range<u64>>>>> {
        let Some(vector) = &self.add.deletion_vector else { return Ok(None) };
        let read = async || vector::read(store, table, vector).await.map(Arc::new);
        self.deleted.get_or_try_init(read).await.map(|ranges| Some(Arc::clone(ranges)))
    }
}

impl Snapshot {
    pub(super) fn new(table: Path) -> Self {
        Self {
            table,
            version: 0,
            commit: None,
            protocol: None,
            metadata: None,
            files: HashMap::new(),
            transactions: HashMap::new(),
        }
    }

    /// Adds a commit. What it takes away is taken away first: it may bring the same file back with other deleted rows.
    pub(super) fn commit(&mut self, version: u64, meta: ObjectMeta, lines: Vec<Line>) {
        for remove in lines.iter().filter_map(|line| line.remove.as_ref()) {
            let key = Key::new(&remove.path, remove.deletion_vector.as_ref());
            self.files.remove(&key);
        }
        for line in lines {
            self.apply(line);
        }
        self.version = version;
        self.commit = Some(meta);
    }

    /// Adds a line of a checkpoint, or one of a commit that takes nothing away.
    pub(super) fn apply(&mut self, line: Line) {
        if let Some(add) = line.add {
            let key = Key::new(&add.path, add.deletion_vector.as_ref());
            self.files.insert(key, Arc::new(File { add, deleted: OnceCell::new() }));
        }
        if let Some(txn) = line.txn {
            self.transactions.insert(txn.app_id, txn.version);
        }
        if line.protocol.is_some() {
            self.protocol = line.protocol;
        }
        if line.meta_data.is_some() {
            self.metadata = line.meta_data;
        }
    }

    /// Checks that the log said what it must.
    ///
    /// # Errors
    /// XX001 if it did not.
    pub(super) fn finish(&self, log: &Path) -> Result<()> {
        match (&self.protocol, &self.metadata) {
            (Some(_), Some(_)) => Ok(()),
            (None, _) => Err(corrupt(log, "it names no protocol")),
            (_, None) => Err(corrupt(log, "it names no columns")),
        }
    }

    /// Returns what a table of the engine is made from.
    ///
    /// # Errors
    /// As [`Snapshot::finish`].
    pub(super) fn shape(&self) -> Result<(&Protocol, &Metadata)> {
        match (&self.protocol, &self.metadata) {
            (Some(protocol), Some(metadata)) => Ok((protocol, metadata)),
            _ => Err(corrupt(&self.table, "it names no columns")),
        }
    }

    /// Returns whether both have the same columns in the same files.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && match (&self.metadata, &other.metadata) {
                (Some(a), Some(b)) => {
                    a.schema_string == b.schema_string
                        && a.partition_columns == b.partition_columns
                        && a.configuration == b.configuration
                }
                _ => false,
            }
    }

    /// Returns how far some work has come.
    pub(super) fn transaction(&self, name: &str) -> Option<i64> {
        self.transactions.get(name).copied()
    }

    pub(super) fn n_files(&self) -> usize {
        self.files.len()
    }

    /// Returns the files, in no order.
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<File>> {
        self.files.values()
    }
}
