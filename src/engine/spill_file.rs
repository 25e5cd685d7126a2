//! A file of rows that do not fit into memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::spill_file::SpillFile;
use datafusion::physical_plan::spill::SpillManager;

/// Appends a batch to a file, or ends it: DataFusion does not name the type of a file that is being written.
type Append = Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send>;

/// Rows on their way into a file, which is made with the first of them.
#[derive(Default)]
pub(crate) struct Spilling(Option<Append>);

impl Spilling {
    pub(crate) fn is_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Appends rows. `who` is named in an error.
    pub(crate) fn append(
        &mut self,
        batch: &RecordBatch,
        spill: &SpillManager,
        who: &str,
    ) -> Result<()> {
        let append = match &mut self.0 {
            Some(append) => append,
            None => self.0.insert(open(spill, who)?),
        };
        append(Some(batch)).map(drop)
    }

    /// Ends the file. `None` if no row was appended.
    pub(crate) fn finish(mut self) -> Result<Option<Arc<dyn SpillFile>>> {
        match &mut self.0 {
            Some(append) => append(None),
            None => Ok(None),
        }
    }
}

fn open(spill: &SpillManager, who: &str) -> Result<Append> {
    let mut file = spill.create_in_progress_file(who)?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => file.append_batch(batch).map(|_| None),
        None => file.finish(),
    }))
}
