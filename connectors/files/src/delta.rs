//! Delta Lake tables: a directory of Parquet files, and a log that says which of them are the table.
//!
//! [`log`] finds the pieces of the log in `_delta_log`, [`checkpoint`] and [`action`] read them, and a [`snapshot`] is what
//! they add up to at one version. [`table`] makes a table of the engine from it, whose files [`lister`] names; the engine
//! reads them as it reads any Parquet. What a reader of this kind cannot do right is refused in [`features`] and [`schema`].
//!
//! Source: the Delta transaction log protocol, reader requirements.

mod action;
mod bounds;
mod checkpoint;
mod constraints;
mod features;
mod lister;
mod log;
mod schema;
mod snapshot;
mod table;
mod travel;
mod upkeep;
mod vector;
mod write;

pub(crate) use table::{is_delta, open, open_scattered};
pub(crate) use upkeep::{history, is_unmade, leftovers, mark_of, vacuum};
pub(crate) use write::{Existing, begin, change, drop_table};

use maru_core::{Error, ErrorKind};
use object_store::path::Path;

/// The folder of a table's log.
pub(crate) const LOG: &str = "_delta_log";

/// A log that does not say what a log must say.
fn corrupt(file: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("file \"{file}\" is not a valid Delta Lake log: {what}"),
    )
    .with_hint("The file may be cut off. Restore it, or read an older version with VERSION AS OF.")
}

/// A part of the format that is not read.
fn refused(table: &Path, feature: impl std::fmt::Display) -> Error {
    Error::unsupported(format!(
        "Delta Lake table \"{table}\" uses {feature}, which Maru does not read"
    ))
    .with_hint("Read it with the engine that writes it, or write it again without this feature.")
}
