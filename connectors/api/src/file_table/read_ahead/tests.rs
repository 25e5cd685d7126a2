//! The reader that fetches row groups ahead, over a file in memory.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::PartitionedFile;
use datafusion_datasource_parquet::{DefaultParquetFileReaderFactory, ParquetFileReaderFactory};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;

const GROUPS: usize = 5;

/// A file of five row groups and three columns.
async fn file() -> Target {
    let rows = 0..i64::try_from(GROUPS * 100).unwrap();
    let texts = rows.clone().map(|n| format!("{n:>50}")).collect::<Vec<_>>();
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(Int64Array::from_iter_values(rows.clone())) as ArrayRef),
        ("b", Arc::new(StringArray::from(texts)) as ArrayRef),
        ("c", Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (store, path) = (Arc::new(InMemory::new()), Path::from("x.parquet"));
    store.put(&path, bytes.into()).await.unwrap();
    Target { store, path }
}

async fn reader(part: Option<FileRange>, memory: Arc<dyn MemoryPool>) -> ReadAhead {
    let file = file().await;
    let meta = file.store.head(&file.path).await.unwrap();
    let inner = DefaultParquetFileReaderFactory::new(Arc::clone(&file.store))
        .create_reader(
            0,
            PartitionedFile::new_from_meta(meta),
            None,
            &ExecutionPlanMetricsSet::new(),
        )
        .unwrap();
    let scanned = Count::new();
    let mut reader = ReadAhead { inner, file, part, scanned, memory, state: State::default() };
    reader.get_metadata(None).await.unwrap();
    reader
}

/// Reads columns of a row group, holds the bytes against the file, and returns which row group comes ahead.
async fn read(reader: &mut ReadAhead, group: usize, columns: &[usize]) -> Option<usize> {
    let metadata = Arc::clone(reader.state.metadata.as_ref().unwrap());
    let columns = columns.iter().map(|column| metadata.row_group(group).column(*column));
    let ranges = columns.map(|column| chunk(column).unwrap()).collect::<Vec<_>>();
    let bytes = reader.get_byte_ranges(ranges.clone()).await.unwrap();
    let wanted = reader.file.store.get_ranges(&reader.file.path, &ranges).await.unwrap();
    assert!(bytes == wanted, "row group {group}");
    reader.state.ahead.as_ref().map(|ahead| ahead.group)
}

fn unbounded() -> Arc<dyn MemoryPool> {
    Arc::new(UnboundedMemoryPool::default())
}

#[tokio::test]
async fn fetches_each_row_group_once_and_ahead() {
    let memory = unbounded();
    let mut reader = reader(None, Arc::clone(&memory)).await;
    for group in 0..GROUPS {
        let next = (group + 1 < GROUPS).then_some(group + 1);
        assert_eq!(read(&mut reader, group, &[0, 2]).await, next);
        assert_eq!(memory.reserved() > 0, next.is_some());
        // More of the same row group leaves what is ahead in place.
        assert_eq!(read(&mut reader, group, &[1]).await, next);
    }
    let columns = reader.state.metadata.as_ref().unwrap().row_groups().iter();
    let size = columns.flat_map(|group| group.columns()).map(|c| c.compressed_size()).sum::<i64>();
    assert_eq!(reader.scanned.value(), usize::try_from(size).unwrap());
}

#[tokio::test]
async fn stops_where_row_groups_are_left_out() {
    let mut reader = reader(None, unbounded()).await;
    assert_eq!(read(&mut reader, 0, &[0]).await, Some(1));
    assert_eq!(read(&mut reader, 2, &[0]).await, None);
    assert_eq!(read(&mut reader, 4, &[0]).await, None);
    let mut reader = self::reader(None, unbounded()).await;
    assert_eq!(read(&mut reader, 1, &[0]).await, None);
    assert_eq!(read(&mut reader, 2, &[0]).await, Some(3));
    assert_eq!(read(&mut reader, 1, &[1]).await, None);
}

#[tokio::test]
async fn keeps_to_its_part_and_to_the_memory_there_is() {
    let whole = reader(None, unbounded()).await;
    let metadata = Arc::clone(whole.state.metadata.as_ref().unwrap());
    let start = |group: usize| {
        i64::try_from(chunk(metadata.row_group(group).column(0)).unwrap().start).unwrap()
    };
    let part = FileRange { start: start(2), end: start(4) };
    let mut reader = reader(Some(part), unbounded()).await;
    assert_eq!(read(&mut reader, 2, &[0, 1]).await, Some(3));
    assert_eq!(read(&mut reader, 3, &[0, 1]).await, None);
    let mut reader = self::reader(None, Arc::new(GreedyMemoryPool::new(10))).await;
    assert_eq!(read(&mut reader, 0, &[0]).await, None);
    // Parts of column chunks are what is left of filters on pages.
    let range = chunk(metadata.row_group(1).column(0)).unwrap();
    let part = range.start..range.end - 1;
    let bytes = reader.get_byte_ranges(Vec::from([part])).await.unwrap();
    assert_eq!(bytes[0].len() as u64, range.end - range.start - 1);
    assert!(reader.state.ahead.is_none());
}
