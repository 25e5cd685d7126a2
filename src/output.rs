//! What a statement gives back: rows, or the tag of a command.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use maru_core::Result;
use maru_sql::CopyOptions;

/// What a remark begins with that is more than a notice.
pub(crate) const WARNING: &str = "WARNING:  ";

/// The result of one statement.
#[derive(Debug)]
pub struct Output {
    /// Remarks for the user: notices, e.g. that an object already exists, and warnings, which begin with `WARNING`.
    pub notices: Vec<String>,
    pub body: Body,
}

/// Rows, or what a command did.
#[derive(Debug)]
pub enum Body {
    Rows(Rows),
    /// The command tag as PostgreSQL writes it: `CREATE CATALOG`, `SET`, `INSERT 0 5`.
    Command {
        tag: String,
    },
    /// Rows in the form that `COPY … TO STDOUT` asks for; only the Postgres wire gets them.
    Copy {
        rows: Rows,
        options: Arc<CopyOptions>,
    },
}

impl Output {
    /// Returns the output of a command without rows.
    pub fn command(tag: impl Into<String>) -> Self {
        Self { notices: Vec::new(), body: Body::Command { tag: tag.into() } }
    }

    /// Returns the output of a query.
    pub fn rows(rows: Rows) -> Self {
        Self { notices: Vec::new(), body: Body::Rows(rows) }
    }

    pub fn with_notice(mut self, notice: impl Into<String>) -> Self {
        self.notices.push(notice.into());
        self
    }

    pub(crate) fn with_warning(self, warning: &str) -> Self {
        self.with_notice(format!("{WARNING}{warning}"))
    }
}

/// A stream of batches that runs as it is read.
///
/// # Cancel
/// Dropping it cancels the statement, at every source too. It ends with 57014 when the session is cancelled or the
/// statement's time is over, also while it waits for a client that does not read.
pub struct Rows {
    /// The id in `system.queries`.
    pub query_id: u64,
    /// The word before the row count in the command tag: `SELECT`, `SHOW`, `EXPLAIN`.
    pub tag: &'static str,
    /// The schema of every batch.
    pub schema: SchemaRef,
    pub stream: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
}

impl Rows {
    /// Reads everything into memory; for small results and tests.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("query_id", &self.query_id).finish_non_exhaustive()
    }
}
