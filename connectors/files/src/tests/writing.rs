//! Writers of one table that meet: who comes second follows, or is refused.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::object_store::ObjectStoreUrl;
use maru_connect::{
    Attempt, NewTable, OpenedStore, Overwritten, WriteJob, WriteMode, WriteRequest, batch_stream,
};
use maru_core::{ErrorKind, Options, Result};
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::begin_delta_write;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Int64, true),
    ]))
}

fn opened() -> OpenedStore {
    OpenedStore {
        store: Arc::new(InMemory::new()),
        url: ObjectStoreUrl::parse(format!("t{}+s3://b/", uuid::Uuid::new_v4().simple())).unwrap(),
        path: Path::from("t"),
        directories: None,
    }
}

async fn begun(
    opened: &OpenedStore,
    mode: WriteMode,
    once: Option<i64>,
) -> Result<Arc<dyn WriteJob>> {
    let exists = !matches!(mode, WriteMode::Create(_));
    let request = WriteRequest {
        schema: "public".to_owned(),
        table: "t".to_owned(),
        mode,
        columns: columns(),
        options: Options::default(),
        attempt: Attempt {
            id: uuid::Uuid::new_v4().to_string(),
            once: once.map(|number| ("run".to_owned(), number)),
        },
        statement: 0,
        memory: None,
        checked: Vec::new(),
        checks: Vec::new(),
    };
    begin_delta_write(opened, "t", request, exists).await
}

async fn written(job: &Arc<dyn WriteJob>, k: i64) {
    let columns: [Arc<dyn arrow::array::Array>; 2] =
        [Arc::new(Int64Array::from(vec![1, 2])), Arc::new(Int64Array::from(vec![k, k]))];
    let batch = RecordBatch::try_new(self::columns(), columns.to_vec()).unwrap();
    let rows = batch_stream(futures::stream::iter([Ok(batch)]));
    assert_eq!(Arc::clone(job).write(rows).await.unwrap().n_rows, 2);
}

async fn made() -> OpenedStore {
    let opened = opened();
    let new = NewTable { partitioned_by: vec!["k".to_owned()], ..NewTable::default() };
    let job = begun(&opened, WriteMode::Create(new), None).await.unwrap();
    written(&job, 1).await;
    assert_eq!(job.commit().await.unwrap().version, Some(0));
    opened
}

#[tokio::test]
async fn appends_follow_one_another() {
    let opened = made().await;
    let jobs = [
        begun(&opened, WriteMode::Append, None).await.unwrap(),
        begun(&opened, WriteMode::Append, None).await.unwrap(),
    ];
    for job in &jobs {
        written(job, 1).await;
    }
    for (job, version) in jobs.into_iter().zip([1, 2]) {
        assert_eq!(job.commit().await.unwrap().version, Some(version));
    }
}

#[tokio::test]
async fn who_replaces_what_another_has_changed_is_refused() {
    let opened = made().await;
    let overwrite = || WriteMode::Overwrite(Overwritten::Table);
    let partition =
        || WriteMode::Overwrite(Overwritten::Partitions { fixed: Vec::new(), dynamic: true });
    for (first, second, k, refused) in [
        (overwrite(), overwrite(), 1, true),
        (WriteMode::Append, overwrite(), 1, true),
        (overwrite(), WriteMode::Append, 1, false),
        (partition(), partition(), 1, true),
        (partition(), partition(), 2, false),
    ] {
        let first = begun(&opened, first, None).await.unwrap();
        let second = begun(&opened, second, None).await.unwrap();
        written(&first, 1).await;
        written(&second, k).await;
        first.commit().await.unwrap();
        let outcome = second.commit().await;
        match refused {
            true => {
                let error = outcome.unwrap_err();
                assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Serialization, "40001"));
            }
            false => assert_eq!(outcome.unwrap().n_rows, 2),
        }
    }
}

#[tokio::test]
async fn two_cannot_make_one_table() {
    let opened = opened();
    let new = || WriteMode::Create(NewTable::default());
    let first = begun(&opened, new(), None).await.unwrap();
    let second = begun(&opened, new(), None).await.unwrap();
    written(&first, 1).await;
    written(&second, 1).await;
    first.commit().await.unwrap();
    assert_eq!(second.commit().await.unwrap_err().sqlstate(), "42P07");
}

#[tokio::test]
async fn work_that_is_tried_again_is_not_done_twice() {
    let opened = made().await;
    for (number, already) in [(1, false), (1, true), (2, false)] {
        let job = begun(&opened, WriteMode::Append, Some(number)).await.unwrap();
        let columns: [Arc<dyn arrow::array::Array>; 2] =
            [Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![1]))];
        let batch = RecordBatch::try_new(self::columns(), columns.to_vec()).unwrap();
        let rows = batch_stream(futures::stream::iter([Ok(batch)]));
        Arc::clone(&job).write(rows).await.unwrap();
        assert_eq!(job.commit().await.unwrap().already, already, "{number}");
    }
}
