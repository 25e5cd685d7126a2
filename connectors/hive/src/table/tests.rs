//! What is opened, and what is refused with which words.

use std::time::Duration;

use arrow::datatypes::TimeUnit;
use futures::future::{BoxFuture, FutureExt};
use maru_connect::conformance;
use maru_connect::{FileFormatSpec, OpenedStore, StoreOpener};
use maru_core::Options;
use url::Url;

use super::*;
use crate::HIVE;
use crate::metastore::Endpoint;
use crate::testkit::{Storage, TableDef};

/// Opens every URL as an empty store in memory.
#[derive(Debug)]
struct Memory;

impl StoreOpener for Memory {
    fn open_store<'a>(
        &'a self,
        instance: &'a str,
        url: &'a Url,
        _: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        let host = url.host_str().unwrap_or_default();
        let private = format!("{instance}+{}://{host}/", url.scheme());
        async move {
            Ok(OpenedStore {
                store: Arc::new(object_store::memory::InMemory::new()),
                url: datafusion::execution::object_store::ObjectStoreUrl::parse(private)?,
                path: object_store::path::Path::from_url_path(url.path())
                    .map_err(object_store::Error::from)?,
                directories: None,
            })
        }
        .boxed()
    }
}

async fn opened(table: TableDef) -> Result<FileTable> {
    let options = [("metastore", "thrift://127.0.0.1:1")];
    let context = conformance::context(&HIVE, &options, Arc::new(Memory)).unwrap();
    let endpoints = Endpoint::parse_list("thrift://127.0.0.1:1").unwrap();
    let metastore = Arc::new(Metastore::new(endpoints, "maru", Duration::from_secs(1)));
    open(metastore, context, table.into_table()).await
}

fn sales(storage: Storage) -> TableDef {
    TableDef::new("shop", "sales", "hdfs://nn:9000/w/shop.db/sales/", storage)
        .column("id", "bigint")
        .column("at", "timestamp")
        .partitioned_by("day", "date")
}

#[tokio::test]
async fn opens_a_partitioned_table() {
    let table = opened(sales(Storage::parquet(&[]))).await.unwrap();
    let schema = table.table_schema();
    let shown = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type()));
    assert_eq!(shown.collect::<Vec<_>>(), vec!["id Int64", "at Timestamp(µs)", "day Date32"],);
    assert_eq!(table.format, FileFormatSpec::Parquet);
    assert_eq!(
        table.file_schema.field(1).data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, None)
    );
    assert_eq!(table.store_url.as_str(), "testhive+hdfs://nn/");
    assert_eq!(table.catalog, "test");
}

#[tokio::test]
async fn tells_which_texts_have_a_length() {
    let table = sales(Storage::parquet(&[]))
        .column("c", "char(5)")
        .column("v", "VARCHAR(3)")
        .column("s", "string")
        .column("many", "array<char(2)>")
        .partitioned_by("p", "char(4)");
    let files = opened(table).await.unwrap().files;
    let told = files.declared_lengths();
    let told = told.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>();
    assert_eq!(told, ["c char(5)", "v varchar(3)", "many array<char(2)>", "p char(4)"]);
    let padded = files.text_lengths().unwrap();
    let padded = ["c", "v", "s", "many", "p", "day"].map(|name| padded.has(name));
    assert_eq!(padded, [true, false, false, false, true, false]);
}

async fn refused(table: TableDef) -> Error {
    opened(table).await.unwrap_err()
}

#[tokio::test]
async fn refuses_tables_that_are_more_than_files() {
    for (key, value, said) in [
        ("transactional", "TRUE", "a transactional (ACID) table"),
        ("table_type", "iceberg", "an Iceberg table"),
        ("spark.sql.sources.provider", "delta", "a Delta Lake table"),
        ("storage_handler", "org.x.HBaseStorageHandler", "a table of HBase, kept by org.x.HBase"),
        ("storage_handler", "org.x.OtherHandler", "is kept by org.x.OtherHandler, not in files"),
    ] {
        let error = refused(sales(Storage::parquet(&[])).parameter(key, value)).await;
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(said) && error.hint().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn names_the_column_it_cannot_read() {
    let error = refused(sales(Storage::parquet(&[])).column("u", "uniontype<int,string>")).await;
    assert_eq!(error.sqlstate(), "HV004");
    assert_eq!(error.detail().unwrap(), "column=u table=shop.sales");
    for (storage, column, of_type) in [
        (Storage::text(&[]), "tags", "map<array<int>,int>"),
        (Storage::text(&[]), "seen", "timestamp with local time zone"),
        (Storage::json(), "raw", "array<binary>"),
    ] {
        let error = refused(sales(storage).column(column, of_type)).await;
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(&format!("\"{column}\"")), "{error:?}");
    }
    let error = refused(sales(Storage::parquet(&[])).partitioned_by("b", "binary")).await;
    assert_eq!(error.sqlstate(), "HV004");
}
