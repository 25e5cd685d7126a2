//! Whether files that came since a table was opened give it other columns.
//!
//! A table whose columns are found in its files is kept open for a while. Files that others add meanwhile are read by the next
//! statement; the columns that they bring are there as soon as the table is opened again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, SchemaRef};
use maru_connect::{FileFormatSpec, FileLister, infer_schema};
use maru_core::Result;
use maru_core::limits::{CHANGED_TTL_S, INFER_FILES_MAX};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parking_lot::Mutex;

/// Files of a table that are remembered, which one request to a store lists; of a larger one nothing is.
const FILES_MAX: usize = 1000;

/// By what a file is told from one of the same name that replaces it.
type Mark = (i64, u64, Option<String>);

fn mark(meta: &ObjectMeta) -> Mark {
    (meta.last_modified.timestamp_micros(), meta.size, meta.e_tag.clone())
}

/// The files that a look at a place has met, as long as they are few.
#[derive(Debug, Clone)]
pub(crate) struct Met(Option<HashMap<Path, Mark>>);

impl Default for Met {
    fn default() -> Self {
        Self(Some(HashMap::new()))
    }
}

impl Met {
    pub(crate) fn add(&mut self, meta: &ObjectMeta) {
        let Some(files) = &mut self.0 else { return };
        files.insert(meta.location.clone(), mark(meta));
        if files.len() > FILES_MAX {
            self.0 = None;
        }
    }
}

/// A table's files and columns as they were when it was opened.
#[derive(Debug)]
pub(crate) struct Seen {
    store: Arc<dyn ObjectStore>,
    format: FileFormatSpec,
    file_schema: SchemaRef,
    partition_columns: Vec<Arc<Field>>,
    files: Mutex<HashMap<Path, Mark>>,
    checked: Mutex<Instant>,
}

impl Seen {
    /// Returns `None` if there were too many files.
    pub(crate) fn new(
        met: Met,
        store: &Arc<dyn ObjectStore>,
        format: &FileFormatSpec,
        file_schema: &SchemaRef,
        partition_columns: &[Arc<Field>],
    ) -> Option<Self> {
        Some(Self {
            store: Arc::clone(store),
            format: format.clone(),
            file_schema: Arc::clone(file_schema),
            partition_columns: partition_columns.to_vec(),
            files: Mutex::new(met.0?),
            checked: Mutex::new(Instant::now()),
        })
    }

    /// Returns whether files that are new may give the table other columns. The files are listed once in a second at most.
    pub(crate) async fn is_outdated(&self, lister: &dyn FileLister) -> bool {
        {
            let mut checked = self.checked.lock();
            if checked.elapsed() < Duration::from_secs(CHANGED_TTL_S) {
                return false;
            }
            *checked = Instant::now();
        }
        // What cannot be listed, or looked into, is told by whoever opens the table again.
        self.have_changed(lister).await.unwrap_or(true)
    }

    async fn have_changed(&self, lister: &dyn FileLister) -> Result<bool> {
        let listed = lister.list(&[]).await?;
        let new = {
            let files = self.files.lock();
            let metas = listed.into_iter().map(|entry| entry.meta);
            let is_new = |meta: &ObjectMeta| files.get(&meta.location) != Some(&mark(meta));
            metas.filter(is_new).collect::<Vec<_>>()
        };
        if new.is_empty() {
            return Ok(false);
        }
        if new.len() > INFER_FILES_MAX {
            return Ok(true);
        }
        let found = infer_schema(&self.store, &new, &self.format).await?;
        let is_known = |field: &Arc<Field>| {
            let of_path = |column: &Arc<Field>| column.name().eq_ignore_ascii_case(field.name());
            let known = self.file_schema.field_with_name(field.name());
            known.is_ok_and(|known| known.data_type() == field.data_type())
                || self.partition_columns.iter().any(of_path)
        };
        if !found.fields().iter().all(is_known) {
            return Ok(true);
        }
        let mut files = self.files.lock();
        files.extend(new.iter().map(|meta| (meta.location.clone(), mark(meta))));
        Ok(files.len() > FILES_MAX)
    }
}
