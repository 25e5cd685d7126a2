//! Every queue, cache, batch and timeout of Maru by name, with its unit and default.
//!
//! Those a user may change are settings (`system.settings`) whose defaults stand here; an error that a limit causes
//! names it.

/// Rows in one batch that streams from a source through the engine to a client.
pub const BATCH_ROWS: usize = 8192;

/// Seconds a table that a source has opened is believed, unless the source tells sooner that it changed.
pub const CATALOG_TTL_S: u64 = 30;

/// Seconds a list of names of a source (schemas, tables) is believed, and a view that another system keeps.
pub const NAMES_TTL_S: u64 = 3;

/// Seconds after which the catalog that a user has from a template is closed if nobody uses it.
pub const OWN_CATALOG_IDLE_S: u64 = 600;

/// Seconds after which such a catalog is asked again, at a login, whether its source is there.
pub const OWN_CATALOG_LOOK_S: u64 = 60;

/// Seconds a table of a metastore is believed before it is asked whether the table is still the same.
pub const CHANGED_TTL_S: u64 = 1;

/// Seconds a directory listing is believed. Files that others add appear after at most this.
pub const LISTING_TTL_S: u64 = 30;

/// Tables of one schema whose columns `information_schema` and `pg_catalog` open while answering.
pub const METADATA_TABLES_MAX: usize = 1000;

/// Seconds until a connection attempt to a source is given up.
pub const CONNECT_TIMEOUT_S: u64 = 10;

/// Seconds that a server of HDFS may be silent before another one is asked.
pub const HDFS_SILENCE_S: u64 = 30;

/// Connections that one catalog keeps to its database at most.
pub const SOURCE_CONNECTIONS_MAX: u32 = 8;

/// Files of one directory that are opened to infer a schema: half of them the first by name, half the newest.
pub const INFER_FILES_MAX: usize = 16;

/// Rows of a CSV or JSON file that are read to infer a schema.
pub const INFER_ROWS_MAX: usize = 1000;

/// Unpacked bytes of a CSV or JSON file that are read to infer a schema, once they hold a row.
pub const INFER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Partitions that one statement writes to.
pub const WRITE_PARTITIONS_MAX: usize = 10_000;

/// Rows of past queries kept in `system.queries`.
pub const QUERY_HISTORY_ROWS_MAX: u64 = 10_000;

/// Days that past queries are kept in `system.queries`.
pub const QUERY_HISTORY_DAYS: u64 = 30;

/// Characters of one statement's text kept in `system.queries`.
pub const QUERY_TEXT_CHARS_MAX: usize = 8192;

/// Statements that run at once; more wait in the queue.
pub const CONCURRENT_QUERIES_MAX: usize = 16;

/// Statements that wait at most; one more is refused with 53000.
pub const QUEUED_QUERIES_MAX: usize = 200;

/// Connections over the Postgres wire at once.
pub const PG_CONNECTIONS_MAX: usize = 500;

/// Bytes of SQL text accepted as one statement.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Nesting of expressions and subqueries that the parser accepts.
pub const NESTING_MAX: usize = 100;

/// Operators that stand in one expression without parentheses: `a AND b AND …`.
pub const OPERATORS_MAX: usize = 2000;

/// Calls of `ceil`, `floor`, `substring`, `overlay` and `convert` in the arguments of each other.
pub const CALLS_MAX: usize = 12;

/// Brackets in brackets: `ARRAY[ARRAY[…]]`, `a[b[1]]`.
pub const BRACKETS_MAX: usize = 16;

/// Seconds in which a client has to log in.
pub const LOGIN_TIMEOUT_S: u64 = 30;

/// Seconds after which a Flight SQL session that nobody used is closed, with its prepared statements.
pub const FLIGHT_SESSION_IDLE_S: u64 = 3600;

/// Flight SQL sessions at once.
pub const FLIGHT_SESSIONS_MAX: usize = 500;

/// Prepared statements and tickets of one Flight SQL session; the oldest ticket goes first.
pub const FLIGHT_STATEMENTS_MAX: usize = 1000;

/// Channels that one session listens to.
pub const CHANNELS_MAX: usize = 1000;

/// Notifications that one transaction sends.
pub const NOTIFICATIONS_MAX: usize = 1000;

/// Bytes of notifications that wait for one session; from then on who sends more to it is refused.
pub const NOTIFICATIONS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of all notifications that wait; from then on nobody sends any.
pub const NOTIFICATIONS_TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one row that `COPY … FROM STDIN` takes.
pub const COPY_ROW_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of rows that `COPY … FROM STDIN` reads into one batch at most, if there are several.
pub const COPY_BATCH_BYTES: usize = 8 * 1024 * 1024;
