//! Rows into Parquet files, one after the other, each of one partition.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use maru_core::{Error, Result};
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::{Map, Value, json};

use super::partition::encoded;
use super::statistics::Statistics;
use super::{ENGINE, now_ms};

/// Bytes of a row group before it is packed, about; a writer keeps one in memory.
const ROW_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1024 * 1024;

/// Bytes after which a file is ended and the next one begun.
const FILE_BYTES: usize = 256 * 1024 * 1024;

/// How the files of one write are made.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The table's directory.
    pub(super) table: Path,
    /// Unique to the write.
    pub(super) attempt: String,
    /// Columns in the files.
    pub(super) schema: SchemaRef,
    pub(super) partition_columns: Vec<String>,
    pub(super) compression: Compression,
    pub(super) memory: Option<Arc<dyn MemoryPool>>,
    /// Every file that was begun, to be removed if the write fails.
    pub(super) begun: Mutex<Vec<Path>>,
}

/// Returns the packing of this name.
pub(super) fn compression(name: &str) -> Result<Compression> {
    Ok(match name {
        "zstd" => {
            let level = ZstdLevel::try_new(3)
                .map_err(|error| Error::internal("no such level of zstd").with_cause(error))?;
            Compression::ZSTD(level)
        }
        "lz4" => Compression::LZ4_RAW,
        "none" => Compression::UNCOMPRESSED,
        _ => Compression::SNAPPY,
    })
}

fn failed(error: ParquetError) -> Error {
    DataFusionError::from(error).into()
}

/// The files of one stream.
pub(super) struct Files {
    making: Arc<Making>,
    stream: usize,
    n_files: usize,
    open: Option<Open>,
    reservation: Option<MemoryReservation>,
    /// The files that are done.
    pub(super) added: Vec<Added>,
    pub(super) n_bytes: u64,
}

/// A file that is done.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) partition: Vec<Option<String>>,
    pub(super) place: Path,
    /// Its `add` action.
    pub(super) line: Value,
}

struct Open {
    place: Path,
    /// Relative to the table.
    path: String,
    partition: Vec<Option<String>>,
    writer: AsyncArrowWriter<BufWriter>,
    statistics: Statistics,
}

impl Files {
    pub(super) fn new(making: Arc<Making>, stream: usize) -> Self {
        let reservation = making
            .memory
            .as_ref()
            .map(|pool| MemoryConsumer::new(format!("write[{stream}]")).register(pool));
        Self { making, stream, n_files: 0, open: None, reservation, added: Vec::new(), n_bytes: 0 }
    }

    /// Writes rows of one partition; those of another one begin a file.
    pub(super) async fn write(
        &mut self,
        partition: &[Option<String>],
        directory: impl FnOnce() -> String,
        batch: &RecordBatch,
    ) -> Result<()> {
        let full = |open: &Open| {
            open.writer.bytes_written() + open.writer.in_progress_size() >= FILE_BYTES
        };
        if self.open.as_ref().is_some_and(|open| open.partition != partition || full(open)) {
            self.end().await?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(partition, &directory())?,
        };
        open.writer.write(batch).await.map_err(failed)?;
        open.statistics.add(batch);
        let mut held = open.writer.memory_size();
        if open.writer.in_progress_size() >= ROW_GROUP_BYTES || self.account(held).is_err() {
            open.writer.flush().await.map_err(failed)?;
            held = open.writer.memory_size();
            self.account(held)?;
        }
        self.open = Some(open);
        Ok(())
    }

    fn account(&mut self, n_bytes: usize) -> Result<()> {
        match &mut self.reservation {
            Some(reservation) => Ok(reservation.try_resize(n_bytes)?),
            None => Ok(()),
        }
    }

    fn begin(&mut self, partition: &[Option<String>], directory: &str) -> Result<Open> {
        let making = &self.making;
        let (stream, n) = (self.stream, self.n_files);
        self.n_files += 1;
        let path = format!("{directory}part-{stream:05}-{}-c{n:03}.parquet", making.attempt);
        let whole = Path::parse(format!("{}/{path}", making.table))
            .map_err(|error| Error::internal("a file's name is none").with_cause(error))?;
        making.begun.lock().push(whole.clone());
        let place = whole.clone();
        let properties = WriterProperties::builder()
            .set_compression(making.compression)
            .set_created_by(ENGINE.to_owned())
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Page)
            .build();
        // Other readers go by Parquet's own types.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let target = BufWriter::new(Arc::clone(&making.store), whole);
        let schema = Arc::clone(&making.schema);
        let names = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let writer =
            AsyncArrowWriter::try_new_with_options(target, schema, options).map_err(failed)?;
        let partition = partition.to_vec();
        Ok(Open { place, path, partition, writer, statistics: Statistics::new(&names) })
    }

    /// Ends the file that is open.
    pub(super) async fn end(&mut self) -> Result<()> {
        let Some(Open { place, path, partition, mut writer, statistics }) = self.open.take() else {
            return Ok(());
        };
        writer.finish().await.map_err(failed)?;
        let size = writer.bytes_written();
        drop(writer);
        self.account(0)?;
        self.n_bytes += size as u64;
        let values = self.making.partition_columns.iter().cloned();
        let values = values.zip(partition.iter().cloned().map(Value::from)).collect::<Map<_, _>>();
        let line = json!({"add": {
            "path": encoded(&path),
            "partitionValues": values,
            "size": size,
            "modificationTime": now_ms(),
            "dataChange": true,
            "stats": statistics.json(),
        }});
        self.added.push(Added { partition, place, line });
        debug_assert!(statistics.n_rows() > 0, "a file without rows");
        Ok(())
    }
}
