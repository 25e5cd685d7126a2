//! Where things lie: as Hadoop writes a location, and as the store has it.

use hive_metastore::Table;
use maru_connect::{OpenContext, OpenedStore};
use maru_core::{Error, Result};
use object_store::path::Path;

use crate::location;

/// The folder of what Maru writes. Hive and Spark skip names that begin with an underscore.
pub(super) const FOLDER: &str = "_maru";

/// A table's own directory, and the store that it lies in.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// As the metastore has it, without a slash at the end.
    pub(super) root: String,
    pub(super) opened: OpenedStore,
}

impl Place {
    /// Opens the directory of a table: its location, or the one that its location is an attempt in.
    pub(super) async fn of(context: &OpenContext, table: &Table) -> Result<Self> {
        let storage = table.sd.as_ref();
        let location = storage.and_then(|storage| storage.location.as_deref()).unwrap_or_default();
        Self::at(context, root_of(location)).await
    }

    pub(super) async fn at(context: &OpenContext, root: &str) -> Result<Self> {
        let url = location::url(root)?;
        let opened = context.stores.open_store(&context.instance, &url, &context.options).await?;
        Ok(Self { root: root.to_owned(), opened })
    }

    /// Returns the location of a directory below, and its path in the store.
    pub(super) fn below(&self, name: &str) -> Result<(String, Path)> {
        Ok((format!("{}/{name}", self.root), self.path(name)?))
    }

    pub(super) fn path(&self, name: &str) -> Result<Path> {
        let whole = format!("{}/{name}", self.opened.path);
        Path::parse(whole.trim_matches('/'))
            .map_err(|error| Error::internal("a directory's name is none").with_cause(error))
    }

    /// Returns whether a location of the metastore is one below this directory.
    pub(super) fn holds(&self, location: &str) -> bool {
        let location = location.trim_end_matches('/');
        location == self.root
            || location.strip_prefix(self.root.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    pub(super) fn is_of_objects(&self) -> bool {
        self.root.starts_with("s3")
    }

    pub(super) fn is_local(&self) -> bool {
        self.root.starts_with("file:")
    }
}

/// Returns the directory that a table had before Maru wrote to it.
pub(super) fn root_of(location: &str) -> &str {
    let location = location.trim_end_matches('/');
    match location.split_once(&format!("/{FOLDER}/")) {
        Some((root, _)) => root,
        None => location,
    }
}

/// Returns the folder of an attempt, relative to the table's directory.
pub(super) fn folder_of(attempt: &str) -> String {
    format!("{FOLDER}/{attempt}")
}

/// Begins the names of tables that are being made.
const TEMPORARY: &str = "maru_new_";

/// Returns what a table is called until it has its partitions.
pub(super) fn temporary_name(attempt: &str) -> String {
    format!("{TEMPORARY}{}", attempt.replace('-', ""))
}

/// Returns whether a table is one that is being made, or was.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_found_again() {
        for location in ["hdfs://nn/w/t", "hdfs://nn/w/t/", "hdfs://nn/w/t/_maru/0190-a"] {
            assert_eq!(root_of(location), "hdfs://nn/w/t");
        }
    }

    #[test]
    fn tables_that_are_being_made_are_known_by_their_names() {
        assert!(is_temporary(&temporary_name("01920000-0000-7000-8000-0123456789ab")));
        assert!(!is_temporary("maru_new_customers"));
    }
}
