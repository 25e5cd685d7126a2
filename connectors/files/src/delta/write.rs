//! Writing Delta Lake tables: Parquet files with names of their own, and then one commit that makes them the table's.
//!
//! [`job`] is one write from its check to its end, [`shape`] its columns, [`rewrite`] rows that come again, [`publish`] its commit, [`files`] puts rows into files, [`statistics`] tells of them what prunes
//! them later, [`commit`] takes the next number of the log and knows what to do when another writer had it. [`checkpoint`] puts the log together now and then. [`types`] says what
//! the log calls a column, [`demands`] what the table asks of its writers, [`change`] changes a table as a whole.
//!
//! Source: the Delta transaction log protocol, writer requirements.

mod change;
mod checkpoint;
mod commit;
mod demands;
mod files;
mod job;
mod partition;
mod publish;
mod rewrite;
mod shape;
mod statistics;
mod types;

pub(crate) use change::{change, drop_table};
pub(crate) use job::{Existing, begin};

/// What commits say wrote them.
const ENGINE: &str = concat!("Maru/", env!("CARGO_PKG_VERSION"));

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
