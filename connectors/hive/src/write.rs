//! Writing Hive tables: files in a directory that the attempt alone has, and then one change of the metastore that makes it the
//! location of the table, or of its partitions.
//!
//! [`target`] decides whether a table can be written at all, [`job`] is one write from its check to its end, [`rows`] brings rows to the
//! table's columns, [`commit`] is the change, [`parts`] that of partitions, [`figures`] what is told of rows, [`files`] what lies in locations, [`lock`] keeps other engines out while it is made, [`journal`] tells what was changed
//! before, [`place`] names directories. [`create`] makes tables, [`change`] drops and empties them, [`upkeep`] finds and removes what no
//! table needs.
//!
//! ```text
//! <table>/_maru/<attempt>/day=2026-01-02/part-…     rows of one write; names with `_` are hidden to those who read the folder
//! <table>/_maru/<attempt>/_commit.json              what it has replaced, and which write was the last before
//! <table>/_maru/_last                               the write that came last
//! <table>/_maru/_lock-<attempt>                     who is changing the metastore now
//! ```

mod change;
mod commit;
mod create;
mod figures;
mod files;
mod job;
mod journal;
mod lock;
mod parts;
mod place;
mod rows;
mod target;
mod upkeep;

pub(crate) use change::change;
pub(crate) use create::begin_create;
pub(crate) use job::begin;
pub(crate) use place::is_temporary;
pub(crate) use upkeep::{orphans, vacuum};
