//! Rows into files by their keys.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::NullEquality;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::spill_file::SpillFile;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::spill::SpillManager;
use futures::{Stream, StreamExt};

use crate::engine::spill_file::Spilling;

/// In how many parts rows are split at a time. More are fewer times of reading, and more rows in memory that wait for others.
pub(super) const N_PARTS: usize = 16;

/// Where the rows of one part are; without a file there are none.
#[derive(Default)]
pub(super) struct Part {
    pub(super) file: Option<Arc<dyn SpillFile>>,
    pub(super) n_rows: usize,
}

impl Part {
    /// Reads the part. Its file is gone when the stream is.
    pub(super) fn read(self, spill: &SpillManager) -> Result<Option<SendableRecordBatchStream>> {
        self.file.map(|file| spill.read_spill_as_stream(file, None)).transpose()
    }
}

/// How the rows of one side are split.
pub(super) struct Split<'a> {
    pub(super) spill: &'a SpillManager,
    pub(super) keys: &'a [PhysicalExprRef],
    pub(super) null_equality: NullEquality,
    /// How often the rows have been split before: rows of one part have another place each time.
    pub(super) level: usize,
    /// Rows that are written at a time: what reads them needs memory for as many.
    pub(super) written_rows: usize,
}

impl Split<'_> {
    /// Writes all rows, but for those of parts that `is_wanted` says nobody asks for.
    pub(super) async fn run(
        &self,
        mut rows: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
        is_wanted: impl Fn(usize) -> bool + Send,
    ) -> Result<Vec<Part>> {
        let writer = |_| PartWriter::new(self.spill.schema(), self.written_rows);
        let mut writers = (0..N_PARTS).map(writer).collect::<Vec<_>>();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let mut rows_of = vec![Vec::new(); N_PARTS];
            for (row, part) in (0u32..).zip(self.parts(&batch)?) {
                rows_of[part].push(row);
            }
            for (part, (writer, rows)) in writers.iter_mut().zip(rows_of).enumerate() {
                if !rows.is_empty() && is_wanted(part) {
                    let rows = take_record_batch(&batch, &UInt32Array::from(rows))?;
                    writer.push(rows, self.spill)?;
                }
            }
        }
        writers.into_iter().map(|writer| writer.finish(self.spill)).collect()
    }

    /// Returns the part of each row. Rows that are equal to none, having a NULL, go where there is room.
    fn parts(&self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let n_rows = batch.num_rows();
        let keys = self.keys.iter().map(|key| key.evaluate(batch)?.into_array(n_rows));
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let mut hashes = vec![0; n_rows];
        // Not the seeds of DataFusion's threads and tables: all rows of a thread are alike by those.
        let state = RandomState::with_seed(0x6d61_7275 + self.level as u64);
        create_hashes(&keys, &state, &mut hashes)?;
        let nulls = match self.null_equality {
            NullEquality::NullEqualsNothing => {
                keys.iter().filter_map(|key| key.logical_nulls()).collect::<Vec<_>>()
            }
            NullEquality::NullEqualsNull => Vec::new(),
        };
        let parts = hashes.iter().enumerate().map(|(row, hash)| {
            match nulls.iter().any(|nulls| nulls.is_null(row)) {
                true => row % N_PARTS,
                // The upper half: tables inside of a part use the lower one.
                false => (hash >> 32) as usize % N_PARTS,
            }
        });
        Ok(parts.collect())
    }
}

/// Puts few rows together before they are written.
struct PartWriter {
    waiting: BatchCoalescer,
    file: Spilling,
    n_rows: usize,
}

impl PartWriter {
    fn new(schema: &SchemaRef, written_rows: usize) -> Self {
        let waiting = BatchCoalescer::new(Arc::clone(schema), written_rows);
        Self { waiting, file: Spilling::default(), n_rows: 0 }
    }

    fn push(&mut self, rows: RecordBatch, spill: &SpillManager) -> Result<()> {
        self.n_rows += rows.num_rows();
        self.waiting.push_batch(rows)?;
        self.write(spill)
    }

    fn write(&mut self, spill: &SpillManager) -> Result<()> {
        while let Some(batch) = self.waiting.next_completed_batch() {
            self.file.append(&batch, spill, "HashJoin")?;
        }
        Ok(())
    }

    fn finish(mut self, spill: &SpillManager) -> Result<Part> {
        self.waiting.finish_buffered_batch()?;
        self.write(spill)?;
        Ok(Part { file: self.file.finish()?, n_rows: self.n_rows })
    }
}
