//! The files of one stream of rows: one after the other, each of one partition.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use maru_core::Result;
use object_store::path::Path;

use super::{FileMaking, OpenFile, RowFormat};

/// Bytes of a row group before it is packed, about; a writer keeps one in memory.
const ROW_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// A file that is done.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    pub path: Path,
    pub partition: Vec<Option<String>>,
    pub n_rows: u64,
    pub n_bytes: u64,
}

/// The files of one stream.
#[derive(Debug)]
pub struct Files {
    making: Arc<FileMaking>,
    open: Option<(Vec<Option<String>>, OpenFile)>,
    n_files: usize,
    reservation: Option<MemoryReservation>,
    pub written: Vec<WrittenFile>,
}

impl Files {
    pub fn new(making: Arc<FileMaking>, stream: usize) -> Self {
        let pool = making.memory.as_ref();
        let reservation =
            pool.map(|pool| MemoryConsumer::new(format!("write[{stream}]")).register(pool));
        Self { making, open: None, n_files: 0, reservation, written: Vec::new() }
    }

    /// Writes rows of one partition; those of another one, or too many, begin a file, which `path` names by its number.
    pub async fn write(
        &mut self,
        partition: &[Option<String>],
        path: impl FnOnce(usize) -> Result<Path>,
        batch: &RecordBatch,
    ) -> Result<()> {
        let full = |file: &OpenFile| file.n_bytes() >= self.making.file_bytes;
        if self.open.as_ref().is_some_and(|(of, file)| of != partition || full(file)) {
            self.end().await?;
        }
        let (of, mut file) = match self.open.take() {
            Some(open) => open,
            None => {
                let path = path(self.n_files)?;
                self.n_files += 1;
                (partition.to_vec(), self.making.begin(path)?)
            }
        };
        let written = file.write(batch).await;
        let (of, mut file) = self.kept(of, file, written)?;
        let is_full = matches!(self.making.format, RowFormat::Parquet { .. })
            && file.held() >= ROW_GROUP_BYTES;
        if is_full || self.account(file.held()).is_err() {
            let spilled = file.spill().await;
            (_, file) = self.kept(of.clone(), file, spilled)?;
            self.account(file.held())?;
        }
        self.open = Some((of, file));
        Ok(())
    }

    /// Keeps a file that failed, so that it is given up as what it is.
    fn kept<T>(
        &mut self,
        of: Vec<Option<String>>,
        file: OpenFile,
        outcome: Result<T>,
    ) -> Result<(Vec<Option<String>>, OpenFile)> {
        match outcome {
            Ok(_) => Ok((of, file)),
            Err(error) => {
                self.open = Some((of, file));
                Err(error)
            }
        }
    }

    fn account(&mut self, n_bytes: usize) -> Result<()> {
        match &mut self.reservation {
            Some(reservation) => Ok(reservation.try_resize(n_bytes)?),
            None => Ok(()),
        }
    }

    /// Ends and publishes the file that is open.
    pub async fn end(&mut self) -> Result<()> {
        let Some((partition, file)) = self.open.take() else { return Ok(()) };
        let (path, n_rows) = (file.path.clone(), file.n_rows());
        let n_bytes = file.publish().await?;
        self.account(0)?;
        self.written.push(WrittenFile { path, partition, n_rows, n_bytes });
        Ok(())
    }

    /// Ends the file that is open without publishing it.
    pub async fn seal(&mut self) -> Result<Option<OpenFile>> {
        let Some((_, mut file)) = self.open.take() else { return Ok(None) };
        file.seal().await?;
        self.account(0)?;
        Ok(Some(file))
    }

    /// Gives up the file that is open.
    pub async fn abort(&mut self) {
        if let Some((_, file)) = self.open.take() {
            file.abort().await;
        }
    }
}
