//! What a source that takes rows has to do: one job for each write, which is published whole or not at all.
//!
//! The engine plans the rows as it plans any query and hands each of its partitions to [`WriteJob::write`] as a stream
//! (`write_exec.rs`); when all of them have ended well it calls [`WriteJob::commit`] once. Whatever ends otherwise (an error, a
//! cancel, a timeout) calls [`WriteJob::abort`]. A process that dies calls neither: what a job has put down before its commit
//! must be invisible, and found again by its name (attempt-unique) to be collected.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::execution::memory_pool::MemoryPool;
use futures::future::BoxFuture;
use maru_core::{Options, Result};

use crate::BatchStream;

/// The key of a column's metadata that keeps the length of `varchar(10)` as `varchar:10`, of `char(10)` as `char:10`.
pub const LENGTH_KEY: &str = "maru:length";

/// The key of a column's metadata that says of rows which [`WriteMode::Change`] inserts that they are given no value for it: the
/// target fills it in. In other modes it is that of the only column of one row without a value, which PostgreSQL alone is sent.
pub const OMITTED_KEY: &str = "maru:omitted";

/// The key of a column's metadata that says of rows which [`WriteMode::Change`] updates that the column is set to its default, whatever
/// they come with. Only sources that know it are sent it.
pub const DEFAULTED_KEY: &str = "maru:default";

/// What a statement writes, known before its first row.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    pub schema: String,
    pub table: String,
    pub mode: WriteMode,
    /// The columns of the rows that will come, by their names in the target. Of a table that exists: those the statement
    /// names, in the target's own types; whatever it does not name gets the target's default, NULL if there is none.
    pub columns: SchemaRef,
    /// `WITH (…)` of `CREATE TABLE`, checked against [`crate::ConnectorSpec`]'s options for tables.
    pub options: Options,
    /// Who writes, so that a write that is tried again after its commit is not done twice.
    pub attempt: Attempt,
    /// The number of the statement. What it reads of a table with versions is of one version
    /// ([`FileLister::list_in`](crate::FileLister::list_in)): that is the one its changes are made to.
    pub statement: u64,
    /// Where a job that keeps rows back accounts for them. `None` in tests alone: no limit.
    pub memory: Option<Arc<dyn MemoryPool>>,
    /// Columns whose values were checked against policies: a source that would store others is to refuse the write (0A000).
    pub checked: Vec<String>,
    /// `CHECK` constraints that the rows were checked against, by name: a source that knows others of the table fails with 40001.
    pub checks: Vec<(String, String)>,
}

/// Which try of which work a write is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Unique to this try: lower-case letters, digits, hyphens. Names what is put down before the commit.
    pub id: String,
    /// Of work that may be tried again, such as the step of a pipeline's run: its name and number. A source whose commits can
    /// hold them (Delta Lake's `txn`, a staging transaction) answers a second try with [`Committed::already`].
    pub once: Option<(String, i64)>,
}

/// How the rows meet those that are there.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteMode {
    /// A new table; 42P07 if it exists, unless it is to be replaced in the same commit.
    Create(NewTable),
    /// `INSERT INTO`.
    Append,
    /// `INSERT OVERWRITE`: all rows of the table, or of some of its partitions, are replaced.
    Overwrite(Overwritten),
    /// `INSERT … ON CONFLICT (keys) DO UPDATE | DO NOTHING`: a row whose keys are there already replaces the columns named, and sets
    /// others to what is computed of the two rows.
    /// Without keys: a row that any key of the table refuses is left out.
    Upsert { keys: Vec<String>, replaced: Vec<String>, computed: Vec<(String, Computed)> },
    /// `UPDATE`, `DELETE`, `MERGE`: the rows of [`WriteRequest::columns`] are preceded by the columns of the table's
    /// [`RowIdentity`] (NULL for a row to insert) and by one column `op` (Int8, a [`RowOp`]). A row that is updated comes with the new
    /// values of all columns of the request, a row that is deleted with any; a row that is inserted counts for the columns without
    /// [`OMITTED_KEY`] alone. A column that the table computes itself keeps its old
    /// value in an update and is NULL in an insert; another value is 428C9.
    Change,
    /// `UPDATE`, `DELETE`, `MERGE` where rows cannot be changed in their places: all rows of the table come, as they are to be.
    /// Behind the table's columns [`WriteRequest::columns`] has, if `numbered`, the number of the row in the table (UInt64; NULL
    /// for a new one), and in any case what was done (Int8, a [`RowOp`]; NULL for a row that stays as it is; one that is
    /// deleted is left out). A row that comes twice and was changed is 21000, one that was not counts once. `moved`: values of
    /// partition columns may have changed.
    Rewrite {
        numbered: bool,
        moved: bool,
        /// What the history of the table calls it: `UPDATE`, `DELETE`, `MERGE`.
        what: &'static str,
    },
    /// `OPTIMIZE`: the rows of [`crate::Source::scattered`] come, to be put into fewer files.
    Compact,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTable {
    pub replace: bool,
    /// Names of columns, in order; empty for none.
    pub partitioned_by: Vec<String>,
    pub primary_key: Vec<String>,
    pub comment: Option<String>,
    /// Conditions by name, which the engine sees to.
    pub checks: Vec<(String, String)>,
    /// Values of columns that a row is given none for, which the engine puts in.
    pub defaults: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Overwritten {
    Table,
    /// Those with all of the values that are given, whatever rows come (static); if `dynamic`, of these only the ones that the
    /// new rows fall in: partition columns are named without a value.
    Partitions {
        fixed: Vec<(String, ScalarValue)>,
        dynamic: bool,
    },
}

/// What a column is set to where a row of the key is there already: computed by the database, of values of its own types.
#[derive(Debug, Clone, PartialEq)]
pub enum Computed {
    /// A column of the row that is there.
    Old(String),
    /// A column of the row that came.
    New(String),
    /// A number, as it is written.
    Number(String),
    Text(String),
    Null,
    /// `+`, `-`, `*`, `||`.
    Binary(Box<Self>, &'static str, Box<Self>),
    /// `coalesce`, `greatest`, `least`.
    Call(&'static str, Vec<Self>),
}

/// What is done with one row of [`WriteMode::Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum RowOp {
    Insert = 0,
    Update = 1,
    Delete = 2,
}

/// The columns by which a source finds a row again within one statement: a primary key, or a place (file and row number,
/// `ctid`). A row that was changed by another in between fails the statement with 40001, one that is changed twice with 21000.
#[derive(Debug, Clone, PartialEq)]
pub struct RowIdentity {
    /// Columns that [`crate::RemoteTable::with_row_identity`] gives before the user's.
    pub columns: SchemaRef,
}

/// One write, from its check to its commit. Nothing is put down before the first [`WriteJob::write`]: `EXPLAIN` makes a job and
/// drops it.
pub trait WriteJob: Send + Sync + Debug {
    /// One line for `EXPLAIN`: what becomes of the rows and what makes them visible. No secrets.
    fn describe(&self) -> String;

    /// How many streams may be written at once; at least one.
    fn max_streams(&self) -> usize;

    /// Columns by which each stream is to come sorted, as indexes into [`WriteRequest::columns`]; none: in any order.
    fn sorted_by(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Writes the rows of one stream, in batches of the schema of [`WriteRequest::columns`], nullability aside. Called at most
    /// [`WriteJob::max_streams`] times, at once; not at all where there are no rows to come, as for `CREATE TABLE`.
    ///
    /// # Errors
    /// What the target refuses, with the row where it is known: 23502 NULL in a NOT NULL column, 23505 a key twice, 22003 out of range.
    ///
    /// # Cancel
    /// Dropping the future stops the write; [`WriteJob::abort`] follows.
    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>>;

    /// Publishes what was written, in one step. Never dropped halfway: a cancel that comes now is too late.
    ///
    /// # Errors
    /// 40001 if another writer came first and the two cannot follow one another. An answer that was lost is asked for again
    /// before it is called a failure: after an error nothing is visible, or the error says that it is not known. What is
    /// known not to be visible is removed; [`WriteJob::abort`] does not follow.
    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>>;

    /// Removes what was written. Errors are logged: what stays is invisible, and collected later.
    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

/// What one stream has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub n_rows: u64,
    pub n_bytes: u64,
}

/// What a commit has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows inserted, updated and deleted, together, as PostgreSQL's command tags count them.
    pub n_rows: u64,
    /// The table's new version, where it has some.
    pub version: Option<u64>,
    /// This very attempt had been committed before; nothing was written now.
    pub already: bool,
}

/// `ALTER TABLE`, `DROP TABLE`, `TRUNCATE` on a table of a source: each one commit.
#[derive(Debug, Clone, PartialEq)]
pub enum TableChange {
    Drop,
    Truncate,
    AddColumns(SchemaRef),
    DropColumns(Vec<String>),
    RenameColumn {
        from: String,
        to: String,
    },
    /// To a type that holds every value of the old one; the schema has the one column.
    WidenColumn(SchemaRef),
    /// Whether a column may hold NULL; 23502 if it must not and does.
    SetNullable {
        column: String,
        nullable: bool,
    },
    RenameTable(String),
    /// A condition that the engine sees to. It holds for all rows of this version of the table; 40001 for another one.
    AddCheck {
        name: String,
        condition: String,
        version: Option<u64>,
    },
    DropCheck(String),
    /// What the engine puts into a column where a row is given no value for it.
    SetDefault {
        column: String,
        value: Option<String>,
    },
}

/// A file that no table needs: of a write that was killed, or replaced by a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// In the store.
    pub path: String,
    pub n_bytes: u64,
    /// Since when it has not been needed, as far as is known: microseconds since 1970, UTC.
    pub since_us: i64,
}

/// One version of a table that keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCommit {
    pub version: u64,
    /// Microseconds since 1970, UTC.
    pub at_us: i64,
    pub operation: Option<String>,
    /// As JSON.
    pub parameters: Option<String>,
    /// As JSON.
    pub metrics: Option<String>,
    pub writer: Option<String>,
}
