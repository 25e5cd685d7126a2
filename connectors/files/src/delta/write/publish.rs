//! From files that are written to the commit that makes them the table's: which files go, and whether that goes together
//! with what others committed meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use maru_connect::{Committed, Overwritten};
use maru_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::commit::{Change, Meeting, commit};
use super::job::{DeltaJob, Done, Effects};
use super::partition::text_of;
use super::rewrite::known_rows;
use super::{checkpoint, now_ms};
use crate::delta::action::{Add, Line};
use crate::delta::upkeep::to_compact;

impl DeltaJob {
    /// Returns whether the write takes a file away. What is not known of a file's partition may be in one.
    fn replaces(
        &self,
        values: impl Fn(&str) -> Option<Option<String>>,
        done: &Done,
    ) -> Result<bool> {
        let names = &self.making.partition_columns;
        let (fixed, dynamic) = match &self.effects {
            Effects::Append => return Ok(false),
            Effects::Create | Effects::Overwrite(Overwritten::Table) => return Ok(true),
            Effects::Compact => return Ok(false),
            Effects::Rewrite { moved: true, .. } => return Ok(!done.changed.is_empty()),
            Effects::Rewrite { moved: false, .. } => {
                let found = names.iter().map(|name| values(name)).collect::<Option<Vec<_>>>();
                return Ok(found.is_none_or(|found| done.changed.contains(&found)));
            }
            Effects::Overwrite(Overwritten::Partitions { fixed, dynamic }) => (fixed, *dynamic),
        };
        for (name, value) in fixed {
            let wanted = self.fixed_text(name, value)?;
            if values(name).is_some_and(|found| found != wanted) {
                return Ok(false);
            }
        }
        // Where only values are given, their rows go, whatever rows came.
        if !dynamic || fixed.len() == names.len() {
            return Ok(true);
        }
        let Some(found) = names.iter().map(|name| values(name)).collect::<Option<Vec<_>>>() else {
            return Ok(true);
        };
        Ok(done.partitions.contains(&found))
    }

    fn fixed_text(&self, name: &str, value: &ScalarValue) -> Result<Option<String>> {
        let field = self.declared.field_with_name(name)?;
        text_of(name, &value.cast_to(field.data_type())?)
    }

    pub(super) async fn publish(&self) -> Result<Committed> {
        if self.already {
            let version = self.base.as_ref().map(|base| base.version);
            return Ok(Committed { n_rows: 0, version, already: true });
        }
        let mut done = std::mem::take(&mut *self.done.lock());
        if let Effects::Rewrite { moved, .. } = self.effects {
            self.check_whole(done.n_came)?;
            // Partitions in which nothing was done stay what they are.
            let (added, unneeded) = std::mem::take(&mut done.added)
                .into_iter()
                .partition::<Vec<_>, _>(|added| match moved {
                    true => !done.changed.is_empty(),
                    false => done.changed.contains(&added.partition),
                });
            done.added = added;
            let unneeded = unneeded.into_iter().map(|added| added.place).collect();
            remove(&self.making.store, &Mutex::new(unneeded)).await;
            if done.changed.is_empty() {
                let version = self.base.as_ref().map(|base| base.version);
                return Ok(Committed { n_rows: 0, version, already: false });
            }
        }
        let mut lines = self.lines.clone();
        if self.effects == Effects::Compact {
            return self.publish_compacted(done).await;
        }
        for file in self.base.iter().flat_map(|base| base.files()) {
            let values = |name: &str| Some(normal(file.add.partition_values.get(name)?.clone()));
            if self.replaces(values, &done)? {
                lines.push(removal(&file.add));
            }
        }
        let parameters = match &self.effects {
            Effects::Append => json!({"mode": "Append"}),
            Effects::Create => json!({
                "partitionBy": json!(self.making.partition_columns).to_string(), "isManaged": "false",
            }),
            Effects::Overwrite(_) => json!({"mode": "Overwrite"}),
            Effects::Rewrite { .. } | Effects::Compact => json!({}),
        };
        let operation = match (&self.effects, &self.base) {
            (Effects::Create, Some(_)) => "CREATE OR REPLACE TABLE AS SELECT",
            (Effects::Create, None) => "CREATE TABLE AS SELECT",
            (Effects::Rewrite { what, .. }, _) => *what,
            _ => "WRITE",
        };
        // A version that changes nothing is none.
        if self.effects == Effects::Append && done.added.is_empty() && self.once.is_none() {
            let version = self.base.as_ref().map(|base| base.version);
            return Ok(Committed { n_rows: done.n_rows, version, already: false });
        }
        lines.extend(done.added.iter().map(|added| added.line.clone()));
        let change = Change {
            attempt: self.making.attempt.clone(),
            operation,
            parameters,
            base: self.base.as_ref().map(|base| base.version),
            keeps_times: self.keeps_times,
            lines,
            n_rows: done.n_rows,
        };
        let version = commit(&self.log, &change, |theirs| self.meets(theirs, &done)).await?;
        checkpoint::maybe(&self.log, version, self.interval.as_deref()).await;
        Ok(Committed { n_rows: done.n_rows, version: Some(version), already: false })
    }

    /// Commits that the rows of some files are in others now.
    async fn publish_compacted(&self, done: Done) -> Result<Committed> {
        let Some(base) = &self.base else { return Err(Error::internal("a table is missing")) };
        let files = to_compact(base);
        let unchanged = Committed { n_rows: 0, version: Some(base.version), already: false };
        if files.is_empty() {
            return Ok(unchanged);
        }
        let known = files.iter().map(|file| known_rows(&file.add)).sum::<Option<u64>>();
        if known.is_some_and(|known| known != done.n_rows) {
            let n_rows = done.n_rows;
            return Err(Error::internal(format!("{n_rows} rows came of {known:?}")));
        }
        let same = |mut line: Value, action: &str| {
            line[action]["dataChange"] = false.into();
            line
        };
        let mut lines = files.iter().map(|f| same(removal(&f.add), "remove")).collect::<Vec<_>>();
        lines.extend(done.added.iter().map(|added| same(added.line.clone(), "add")));
        let change = Change {
            attempt: self.making.attempt.clone(),
            operation: "OPTIMIZE",
            parameters: json!({"predicate": "[]"}),
            base: Some(base.version),
            keeps_times: self.keeps_times,
            lines,
            n_rows: done.n_rows,
        };
        let ours = files.iter().map(|file| file.add.path.as_str()).collect::<HashSet<_>>();
        let meets = |theirs: &[Line]| {
            for line in theirs {
                if line.meta_data.is_some() || line.protocol.is_some() {
                    return Meeting::Clashes("it changed the table's columns or properties");
                }
                // Rows that are deleted in a file take it away and bring it back.
                let removed = line.remove.as_ref().map(|remove| remove.path.as_str());
                if removed.is_some_and(|path| ours.contains(path)) {
                    return Meeting::Clashes("it changed rows of the files that are put together");
                }
            }
            Meeting::Passes
        };
        let version = commit(&self.log, &change, meets).await?;
        checkpoint::maybe(&self.log, version, self.interval.as_deref()).await;
        Ok(Committed { n_rows: done.n_rows, version: Some(version), already: false })
    }

    fn meets(&self, theirs: &[Line], done: &Done) -> Meeting {
        for line in theirs {
            if line.meta_data.is_some() || line.protocol.is_some() {
                return Meeting::Clashes("it changed the table's columns or properties");
            }
            if let (Some(txn), Some((name, number))) = (&line.txn, &self.once)
                && txn.app_id == *name
            {
                return match txn.version >= *number {
                    true => Meeting::Same,
                    false => Meeting::Clashes("it is of the same work"),
                };
            }
            if self.effects == Effects::Append {
                continue;
            }
            let touches = |known: Option<&std::collections::HashMap<String, Option<String>>>| {
                let values = |name: &str| Some(normal(known?.get(name)?.clone()));
                self.replaces(values, done).unwrap_or(true)
            };
            let added = line.add.as_ref().map(|add| touches(Some(&add.partition_values)));
            let removed =
                line.remove.as_ref().map(|remove| touches(remove.partition_values.as_ref()));
            if added == Some(true) || removed == Some(true) {
                return Meeting::Clashes("it changed rows that this statement replaces");
            }
        }
        Meeting::Passes
    }
}

/// An empty text stands for NULL in the log.
pub(super) fn normal(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

/// Returns the line that takes a file away.
pub(super) fn removal(add: &Add) -> Value {
    let mut remove = json!({
        "path": add.path,
        "deletionTimestamp": now_ms(),
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": add.partition_values,
        "size": add.size,
    });
    if let Some(vector) = &add.deletion_vector {
        remove["deletionVector"] = vector.json();
    }
    json!({ "remove": remove })
}

/// Removes files that no commit names.
pub(super) async fn remove(store: &Arc<dyn ObjectStore>, begun: &Mutex<Vec<Path>>) {
    let paths = std::mem::take(&mut *begun.lock());
    for path in paths {
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(%path, %error, "could not remove a file that was not committed")
            }
        }
    }
}
