//! What a connector is, and how its tables become tables of the engine.
//!
//! A connector brings one kind of the outside world: it declares itself in a [`ConnectorSpec`], opens a [`Source`]
//! (one attached catalog), and the source lists schemas and tables and opens a [`SourceTable`]. Connectors never see
//! an expression or a plan of the engine: they are asked with a [`ScanRequest`] whose filters are [`Predicate`]s.
//!
//! What becomes of one query, `SELECT name FROM crm.public.customers WHERE id = 7`:
//!
//! 1. the engine asks the source of catalog `crm` for `public.customers` and gets a `SourceTable::Remote`;
//! 2. `FederatedTable` (the one table provider of Maru) lowers `id = 7` to a predicate and asks
//!    [`RemoteTable::supports`]: what is not proven equal there stays in the engine;
//! 3. the plan gets a `RemoteScanExec`, one partition, whose `EXPLAIN` line is [`RemoteTable::describe`]:
//!    `SELECT "name" FROM "public"."customers" WHERE "id" = 7`;
//! 4. [`RemoteTable::read`] streams record batches; dropping the stream stops the source.
//!
//! This room must not know any concrete source. To write a connector, copy `connectors/memory`.

#[cfg(feature = "testkit")]
pub mod conformance;
mod connector;
mod decimal;
mod estimate;
mod file_table;
mod file_write;
pub mod float_text;
mod io_threads;
mod join_order;
mod keys;
mod number;
mod place;
mod predicate;
mod pushdown;
mod query_context;
mod runtime_filter;
mod scan_exec;
mod step;
mod store;
mod table;
mod table_provider;
mod time_slice;
pub mod value_text;
mod verify_exec;
mod write;
mod write_exec;
mod write_hooks;

pub use connector::{
    Capabilities, Connector, ConnectorSpec, OpenContext, Source, TableEntry, TableKind, TypeSpec,
};
pub use decimal::rounded_quotient;
pub use estimate::ColumnEstimate;
pub use file_table::{
    ColumnBounds, FileDetails, FileEntry, FileFormatSpec, FileLayout, FileLister, FileTable,
    LazyText, PartitionsRead, TextLengths, check_pattern, check_schema, infer_schema, one_nan,
    partitions_read, read_nested, type_name,
};
pub use file_write::{
    Ahead, FILE_BYTES, FileMaking, Files, OpenFile, Packing, ROW_GROUP_ROWS, RowFormat,
    WrittenFile, check_text_type, parquet_compression, partition_directory, partition_text,
    remove_files,
};
pub use io_threads::io_threads;
pub use join_order::{JoinModes, JoinOrder, JoinOrderOptions};
pub use keys::{KeyKind, KeyRule, Reference, TableKey};
pub use number::{ArithmeticOp, Computation, Number};
pub use place::{authority_of, in_place, leftovers_in_place, root_of};
pub use predicate::{CompareOp, Predicate, evaluate};
pub use pushdown::{PushIntoSources, why_stays, without_pushdown};
pub use query_context::QueryContext;
pub use runtime_filter::{FilteredFilesExec, RuntimeFilter, RuntimeFilterOptions, RuntimeFilters};
pub use scan_exec::RemoteScanExec;
pub use step::{Aggregate, AggregateFunction, Join, JoinKind, SortBy, Step};
pub use store::{Directories, OpenedStore, StoreOpener, literal_url};
pub use table::{
    BatchStream, ForeignView, RemoteTable, ScanRequest, SourceTable, TableStatistics, TableVersion,
    ViewLanguage, batch_stream,
};
pub use table_provider::{FederatedTable, Verify};
pub use time_slice::{TimeSliced, time_sliced};
pub use verify_exec::VerifyExec;
pub use write::{
    Attempt, Committed, Computed, DEFAULTED_KEY, LENGTH_KEY, Leftover, NewTable, OMITTED_KEY,
    Overwritten, RowIdentity, RowOp, TableChange, TableCommit, WriteJob, WriteMode, WriteRequest,
    Written,
};
pub use write_exec::{WriteExec, WriteWatch, check_not_null};
pub use write_hooks::{HookedJob, WriteHooks};
