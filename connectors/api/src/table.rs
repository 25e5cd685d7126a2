//! Tables of a source, and what they are asked.

use std::any::Any;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::Stream;
use maru_core::Result;

use crate::{ColumnEstimate, FileTable, Join, Predicate, RowIdentity, Step};

/// Record batches from a source. Dropping it stops the source and frees its connection.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Boxes a stream of batches.
pub fn batch_stream(
    stream: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> BatchStream {
    Box::pin(stream)
}

/// A table that a source has opened.
#[derive(Debug, Clone)]
pub enum SourceTable {
    /// Rows come from the source's own protocol.
    Remote(Arc<dyn RemoteTable>),
    /// Rows lie in files which the engine reads, prunes and splits itself.
    Files(Arc<FileTable>),
    /// A query in Maru's own SQL, kept by the source (views of the catalog `maru`).
    View {
        /// The defining `SELECT`.
        sql: String,
        /// Schema of the result as it was when the view was made.
        schema: SchemaRef,
    },
    /// A query in another system's SQL, kept by the source.
    ForeignView(Arc<ForeignView>),
}

/// A view that another system made: its text, and what it was declared to be. Only the engine can read the text.
#[derive(Debug, Clone)]
pub struct ForeignView {
    pub language: ViewLanguage,
    /// The query as it is kept.
    pub text: String,
    /// Schema of the source in which names without one are looked up.
    pub search_schema: String,
    /// Which columns of the query are the view's, in their order; empty if that is all of them.
    pub query_columns: Vec<String>,
    /// The declared columns. What the query gives is cast to them.
    pub schema: SchemaRef,
}

/// The SQL in which a view is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewLanguage {
    Hive,
    Spark,
}

impl SourceTable {
    /// Returns the columns as a user sees them.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Remote(table) => table.schema(),
            Self::Files(table) => table.user_schema(),
            Self::View { schema, .. } => Arc::clone(schema),
            Self::ForeignView(view) => Arc::clone(&view.schema),
        }
    }

    /// Returns the columns as [`SourceTable::schema`] does, with those that are declared to have no NULL: to be told, not to plan
    /// with ([`FileLister::not_null`](crate::FileLister::not_null)).
    pub fn declared_schema(&self) -> SchemaRef {
        let schema = self.schema();
        let Self::Files(table) = self else { return schema };
        let not_null = table.files.not_null();
        if not_null.is_empty() {
            return schema;
        }
        let declared = schema.fields().iter().map(|field| {
            let is_nullable = field.is_nullable() && !not_null.contains(field.name());
            field.as_ref().clone().with_nullable(is_nullable)
        });
        Arc::new(Schema::new(declared.collect::<Vec<_>>()))
    }
}

/// Which of its states a table is read in, where the source keeps old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableVersion {
    /// The number that the source gave it.
    Number(u64),
    /// The last one at this moment: microseconds since 1970, UTC.
    Time(i64),
}

/// Facts that help to order joins. Estimates; never used to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStatistics {
    pub n_rows: Option<usize>,
    pub n_bytes: Option<usize>,
}

/// A table whose rows come over the source's protocol.
pub trait RemoteTable: Any + Send + Sync + Debug {
    /// Returns the columns. Every batch of [`RemoteTable::read`] has exactly this schema, projected.
    fn schema(&self) -> SchemaRef;

    fn statistics(&self) -> TableStatistics {
        TableStatistics::default()
    }

    /// Returns what is believed of one column, by index.
    fn column_estimate(&self, column: usize) -> ColumnEstimate {
        let _ = column;
        ColumnEstimate::default()
    }

    /// Returns whether the source evaluates `predicate` exactly as the engine would, for every value, NULLs and
    /// collations included. Anything not proven equal is `false` and stays in the engine.
    fn supports(&self, predicate: &Predicate) -> bool;

    /// Returns whether `LIMIT` may be sent once all filters are supported.
    fn supports_limit(&self) -> bool {
        true
    }

    /// Returns this table with columns before its own by which a row is found again, and what these are: for rows that are changed
    /// one by one ([`crate::WriteMode::Change`]). They say which row it is and what it was when it was read. `None` if rows of this
    /// table cannot be changed so: views, queries, tables without a key.
    fn with_row_identity(&self) -> Option<(RowIdentity, Arc<dyn RemoteTable>)> {
        None
    }

    /// Returns sets of columns of which no two rows have the same values, NULLs aside. A join on one of them makes no rows more.
    fn unique_keys(&self) -> &[Vec<usize>] {
        &[]
    }

    /// Returns the table of what `step` makes of the rows of `input`, with the schema of [`Step::schema`], if the source computes
    /// it exactly as the engine would: collations, NULLs and types included. `input` has only supported filters.
    fn derive(&self, input: &ScanRequest, step: &Step) -> Option<Arc<dyn RemoteTable>> {
        let _ = (input, step);
        None
    }

    /// Returns the table of the join with `other`, which may be of any source, with the schema of [`Join::schema`], if both are
    /// of this source and it joins exactly as the engine would.
    fn join(
        &self,
        input: &ScanRequest,
        other: &dyn RemoteTable,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Arc<dyn RemoteTable>> {
        let _ = (input, other, other_input, join);
        None
    }

    /// Returns whether a read of this table, or of one derived from it, was refused by the source in a way that another definition
    /// would explain. Who remembers the table asks the source for it anew then.
    fn is_outdated(&self) -> bool {
        false
    }

    /// Returns what is sent to the source for `request` as one line, for `EXPLAIN`. No secrets.
    fn describe(&self, request: &ScanRequest) -> String;

    /// Reads. Batches carry at most `BATCH_ROWS` rows and the schema of [`ScanRequest::projected`].
    ///
    /// # Cancel
    /// Dropping the stream ends the remote query and frees the connection.
    fn read(&self, request: ScanRequest) -> BatchStream;
}

/// What the engine asks of a [`RemoteTable`]: columns by index, filters that are all supported, at most `limit` rows.
#[derive(Clone, PartialEq)]
pub struct ScanRequest {
    /// Columns wanted, by index into the table's schema, in this order. May be empty (`count(*)`): batches then carry
    /// only a row count.
    pub projection: Vec<usize>,
    /// All of them hold for every returned row.
    pub filters: Vec<Predicate>,
    pub limit: Option<usize>,
    /// Rows a batch should have.
    pub batch_rows: usize,
}

impl ScanRequest {
    /// Returns the request for every column and row.
    pub fn all(schema: &SchemaRef) -> Self {
        Self {
            projection: (0..schema.fields().len()).collect(),
            filters: Vec::new(),
            limit: None,
            batch_rows: maru_core::limits::BATCH_ROWS,
        }
    }

    /// Returns the same request for more columns.
    pub fn with_columns(&self, columns: Vec<usize>) -> Self {
        let mut request = self.clone();
        request.projection.extend(columns);
        request
    }

    /// Returns the schema of the batches that answer this request.
    ///
    /// # Errors
    /// XX000 if an index lies outside `schema`.
    pub fn projected(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::new(schema.project(&self.projection)?))
    }
}

impl fmt::Debug for ScanRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "columns {:?}, filters {:?}, limit {:?}",
            self.projection, self.filters, self.limit
        )
    }
}
