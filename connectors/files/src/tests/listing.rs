//! What a large place costs: objects and directories that listings give back.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::StreamExt;
use futures::stream::BoxStream;
use maru_connect::{OpenedStore, SourceTable};
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::layout::Layout;
use crate::{LocationTable, open_location_table};

/// A store in memory that counts what it lists.
#[derive(Debug, Default)]
struct Counting {
    inner: InMemory,
    /// Objects and directories given back.
    listed: Arc<AtomicUsize>,
    /// Directories listed.
    levels: Arc<AtomicUsize>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        path: &StorePath,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &StorePath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &StorePath, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &StorePath, r: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(path, r).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<StorePath>>,
    ) -> BoxStream<'static, StoreResult<StorePath>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let listed = Arc::clone(&self.listed);
        self.inner
            .list(prefix)
            .inspect(move |_| {
                listed.fetch_add(1, Ordering::Relaxed);
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> StoreResult<ListResult> {
        let result = self.inner.list_with_delimiter(prefix).await?;
        self.levels.fetch_add(1, Ordering::Relaxed);
        let n_listed = result.objects.len() + result.common_prefixes.len();
        self.listed.fetch_add(n_listed, Ordering::Relaxed);
        Ok(result)
    }

    async fn copy_opts(
        &self,
        from: &StorePath,
        to: &StorePath,
        options: CopyOptions,
    ) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// 100 days of 20 hours of 2 files: 4,000 objects, of which a statement wants two.
#[tokio::test]
async fn a_large_place_is_listed_where_it_must_be() {
    let store = Counting::default();
    let listed = Arc::clone(&store.listed);
    for day in 0..100 {
        for hour in 0..20 {
            for part in ["a", "b"] {
                let path = format!("logs/day={day}/hour={hour:02}/{part}.csv");
                let text = format!("n\n{}\n", day * 100 + hour);
                store.put(&StorePath::from(path), text.into_bytes().into()).await.unwrap();
            }
        }
    }
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let opened = OpenedStore {
        store,
        url: ObjectStoreUrl::parse("c1+memory://x/").unwrap(),
        path: StorePath::from("logs"),
        directories: None,
    };
    let take = || listed.swap(0, Ordering::Relaxed);
    let table =
        open_location_table("lake", opened.clone(), LocationTable::default()).await.unwrap();
    // The first hundred objects, all days, eight days with their hours, and the files of eight of those.
    let n_looked = take();
    assert!(n_looked <= 100 + 100 + 8 * 20 + 8 * 2 + 100, "{n_looked}");
    let fields = table.schema().fields().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(fields[1].contains("\"day\": nullable Int64"), "{fields:?}");
    assert!(fields[2].contains("\"hour\": nullable Utf8"), "{fields:?}");
    let count = async |table: SourceTable, sql: &str| {
        let context = SessionContext::new();
        context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    };
    let text = count(table.clone(), "select sum(n) from t where day = 7 and hour = '03'").await;
    assert_eq!(rows(&text), ["1406"]);
    assert_eq!(take(), 100 + 20 + 2);
    let text = count(table, "select count(*) from t").await;
    assert_eq!(rows(&text), ["4000"]);
    assert_eq!(take(), 4000);
    // A table whose columns are known is looked at no further than its first file.
    let schema = |columns: &[(&str, DataType)]| {
        let fields = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true));
        Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    };
    let spec = LocationTable {
        format: "csv".to_owned(),
        columns: schema(&[("n", DataType::Int64)]),
        partition_columns: schema(&[("day", DataType::Int64), ("hour", DataType::Utf8)]),
        ..LocationTable::default()
    };
    let known = open_location_table("lake", opened, spec).await.unwrap();
    assert!(take() <= 2);
    let text = count(known, "select sum(n) from t where hour = '03' and day < 2").await;
    assert_eq!(rows(&text), ["212"]);
    assert_eq!(take(), 100 + 2 * 20 + 2 * 2);
}

#[tokio::test]
async fn one_table_of_a_thousand_is_found_by_itself() {
    let store = Counting::default();
    let levels = Arc::clone(&store.levels);
    let put = async |path: String| {
        store.put(&StorePath::from(path), "n\n1\n".into()).await.unwrap();
    };
    for number in 0..1000 {
        put(format!("part_{number}/day=1/a.csv")).await;
    }
    put("both/day=1/a.csv".to_owned()).await;
    put("both.csv".to_owned()).await;
    put("schema/plain/a.csv".to_owned()).await;
    let layout = Layout { store: Arc::new(store), root: StorePath::default(), flat: false };
    let take = || levels.swap(0, Ordering::Relaxed);
    let find = async |schema: &str, name: &str| {
        let place = layout.table(schema, name).await.unwrap();
        (place.map(|place| place.path.to_string()), take())
    };
    // The root, the directory of that name, and one that is named as the schema.
    assert_eq!(find("public", "part_7").await, (Some("part_7".to_owned()), 3));
    assert_eq!(find("public", "both").await, (Some("both".to_owned()), 3));
    assert_eq!(find("public", "both.csv").await, (Some("both.csv".to_owned()), 3));
    assert_eq!(find("public", "schema").await, (None, 3));
    assert_eq!(find("public", "nothing").await, (None, 2));
    assert_eq!(find("schema", "plain").await, (Some("schema/plain".to_owned()), 1));
    assert_eq!(layout.tables("public").await.unwrap().len(), 1002);
}

#[tokio::test]
async fn a_file_of_another_format_is_told_when_it_comes_later() {
    let lake = Lake::new().await;
    lake.write("s/t/a.csv", "a\n1\n");
    let table = lake.source.table("s", "t").await.unwrap().unwrap();
    lake.write("s/t/b.json", "{\"a\": 1}\n");
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    let error = context.sql("select * from t").await.unwrap().collect().await.unwrap_err();
    let error = Error::from(error);
    assert_eq!(error.sqlstate(), "22P04");
    assert!(error.message().contains("files of more than one format: CSV and"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_unpacked_is_told_when_it_comes_later() {
    let lake = Lake::new().await;
    lake.write("s/t/p=1/a.csv", "a\n1\n");
    lake.write("s/t/_b.csv.lz4", "hidden");
    let table = lake.source.table("s", "t").await.unwrap().unwrap();
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    let ask = async |sql: &str| context.sql(sql).await?.collect().await.map_err(Error::from);
    assert!(ask("select * from t").await.is_ok());
    for path in ["s/t/p=1/b.csv.lz4", "s/t/c.csv.snappy"] {
        lake.write(path, "packed");
        for sql in ["select * from t", "select * from t where p = 1"] {
            let error = ask(sql).await.unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{sql}");
            assert!(error.message().contains(path), "{error}");
        }
        fs::remove_file(lake.path(path)).unwrap();
    }
    // The look at a new table tells it, too.
    lake.write("s/u/a.csv", "a\n1\n");
    lake.write("s/u/b.csv.zip", "packed");
    assert_eq!(lake.source.table("s", "u").await.unwrap_err().sqlstate(), "0A000");
}
