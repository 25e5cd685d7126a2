//! One table in memory, and how it is read: filters, projection and limit are all done here.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use futures::stream;
use maru_connect::{
    BatchStream, Predicate, RemoteTable, ScanRequest, TableStatistics, batch_stream, evaluate,
};
use maru_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::{Behaviour, closed, describe, sample};

/// Where rows come from.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// The first so many rows of `sample.numbers`, made when they are read.
    Numbers(usize),
    Batches(Vec<RecordBatch>),
}

impl Rows {
    fn n_rows(&self) -> usize {
        match self {
            Self::Numbers(rows) => *rows,
            Self::Batches(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        }
    }

    /// Returns some rows from row `start` on: at least one, at most `most`. Asked only for rows that exist.
    fn slice(&self, start: usize, most: usize) -> Result<RecordBatch> {
        match self {
            Self::Numbers(rows) => sample::numbers(start, most.min(rows - start)),
            Self::Batches(batches) => {
                let mut skip = start;
                for batch in batches {
                    if skip < batch.num_rows() {
                        return Ok(batch.slice(skip, most.min(batch.num_rows() - skip)));
                    }
                    skip -= batch.num_rows();
                }
                Err(Error::internal(format!("there is no row {start} in memory")))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct MemoryTable {
    pub(crate) catalog: String,
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Rows,
    pub(crate) behaviour: Behaviour,
    pub(crate) closed: CancellationToken,
}

impl RemoteTable for MemoryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn statistics(&self) -> TableStatistics {
        TableStatistics { n_rows: Some(self.rows.n_rows()), n_bytes: None }
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        // `evaluate` compares with arrow's kernels as the engine does, which know no order of nested values. Whether
        // they are NULL is known of all.
        let nested = |column: &usize| self.schema.field(*column).data_type().is_nested();
        match predicate {
            Predicate::IsNull { .. } => true,
            Predicate::Not(inner) => self.supports(inner),
            Predicate::And(parts) | Predicate::Or(parts) => {
                parts.iter().all(|part| self.supports(part))
            }
            simple => !simple.columns().iter().any(nested),
        }
    }

    fn describe(&self, request: &ScanRequest) -> String {
        describe::request(&self.name, &self.schema, request)
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let left = request.limit.unwrap_or(usize::MAX);
        let read = Read {
            catalog: self.catalog.clone(),
            rows: self.rows.clone(),
            behaviour: self.behaviour,
            closed: self.closed.clone(),
            request,
            start: 0,
            left,
        };
        // All state lies in the stream: dropping it is all that cancel takes.
        batch_stream(stream::try_unfold(read, |mut read| async move {
            Ok(read.next().await?.map(|batch| (batch, read)))
        }))
    }
}

/// A read on its way.
struct Read {
    catalog: String,
    rows: Rows,
    behaviour: Behaviour,
    closed: CancellationToken,
    request: ScanRequest,
    /// The next row of the table.
    start: usize,
    /// Rows still wanted.
    left: usize,
}

impl Read {
    /// Returns the next batch with at least one row; `None` at the end.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 && self.start < self.rows.n_rows() {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => return Err(closed(&self.catalog)),
                // Also without a delay: lets others work, and a timeout or a cancel in.
                () = tokio::time::sleep(self.behaviour.delay), if !self.behaviour.delay.is_zero() => {}
                () = tokio::task::yield_now(), if self.behaviour.delay.is_zero() => {}
            }
            let batch = self.rows.slice(self.start, self.batch_rows()?)?;
            self.start += batch.num_rows();
            let batch = self.answer(batch)?;
            if batch.num_rows() > 0 {
                self.left -= batch.num_rows();
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Returns how many rows the next batch may have.
    fn batch_rows(&self) -> Result<usize> {
        let most = self.behaviour.batch_rows.unwrap_or(usize::MAX).min(self.request.batch_rows);
        match self.behaviour.fail_after_rows {
            Some(rows) if rows <= self.start => Err(Error::new(
                ErrorKind::RemoteUnavailable,
                format!("source of catalog \"{}\" went away after {rows} rows", self.catalog),
            )
            .with_hint("Option \"fail_after_rows\" of this catalog asks for it.")),
            Some(rows) => Ok(most.min(rows - self.start)),
            None => Ok(most),
        }
    }

    /// Filters, cuts and projects.
    fn answer(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for filter in &self.request.filters {
            let keep = evaluate::rows(filter, &batch)?;
            batch = filter_record_batch(&batch, &keep)?;
        }
        let batch = batch.slice(0, batch.num_rows().min(self.left));
        // A batch of no columns still has a number of rows.
        let columns = self.request.projection.iter().map(|i| Arc::clone(batch.column(*i)));
        Ok(RecordBatch::try_new_with_options(
            self.request.projected(batch.schema_ref())?,
            columns.collect(),
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )?)
    }
}
