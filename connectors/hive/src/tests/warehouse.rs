//! A database with one table of every kind, its files on HDFS.
//!
//! `sales` has partitions by day and region: one elsewhere than below the table, one whose region is NULL, one whose
//! region needs escapes, one that is empty. Its files were written over time: columns in another order, one missing, one
//! spelt in capitals.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use hdfs_native::{Client, ClientBuilder, WriteOptions};
use parquet::arrow::ArrowWriter;

use super::services::{HDFS, Hms};
use crate::testkit::{Seeder, Storage, TableDef};

pub(super) struct Warehouse {
    pub(super) database: String,
    pub(super) seeder: Seeder,
    hdfs: Client,
    pub(super) sales: TableDef,
    /// `hdfs://host:port`.
    authority: String,
    /// The directory of the database, without a slash before it.
    pub(super) dir: String,
}

impl Warehouse {
    /// Makes it anew; `None` without HDFS. Each test has its own, by its name.
    pub(super) async fn build(hms: &Hms, test: &str) -> Option<Self> {
        let authority = HDFS.get()?.trim_end_matches('/').to_owned();
        let database = format!("maru_{}_{test}_{}", hms.name, std::process::id());
        let dir = format!("tmp/{database}");
        let seeder = Seeder::new(&hms.url).unwrap();
        seeder.create_database(&database, &format!("{authority}/{dir}")).await.unwrap();
        let sales = TableDef::new(
            &database,
            "sales",
            &format!("{authority}/{dir}/sales"),
            Storage::parquet(&[]),
        )
        .column("id", "bigint")
        .column("item", "string")
        .column("at", "timestamp")
        .column("extra", "string")
        .partitioned_by("day", "date")
        .partitioned_by("region", "string")
        .parameter("comment", "what was sold");
        let hdfs = ClientBuilder::new().with_url(&authority).build().unwrap();
        let warehouse = Self { database, seeder, hdfs, sales, authority, dir };
        warehouse.make_sales().await;
        warehouse.make_others().await;
        Some(warehouse)
    }

    pub(super) fn url(&self, below: &str) -> String {
        format!("{}/{}/{below}", self.authority, self.dir)
    }

    /// Writes a file below the database's directory, under exactly this name.
    pub(super) async fn put(&self, below: &str, bytes: impl Into<Vec<u8>>) {
        let path = format!("/{}/{below}", self.dir);
        let options = WriteOptions::default().overwrite(true);
        let mut file = self.hdfs.create(&path, options).await.unwrap();
        file.write_bytes(bytes.into().into()).await.unwrap();
        file.close().await.unwrap();
    }

    fn table(&self, name: &str, storage: Storage) -> TableDef {
        TableDef::new(&self.database, name, &self.url(name), storage).column("id", "int")
    }

    async fn make_sales(&self) {
        self.seeder.create_table(&self.sales).await.unwrap();
        let full = parquet(&[
            ("id", ids(&[1, 2, 3])),
            ("item", texts(&[Some("pen"), None, Some("Pen ")])),
        ]);
        self.put("sales/day=2026-01-02/region=eu/000000_0", full).await;
        // In capitals, and the other way round.
        let old = parquet(&[("Item", texts(&[Some("ink"), Some("pEn")])), ("ID", ids(&[4, 5]))]);
        self.put("sales/day=2026-01-02/region=us/000000_0", old).await;
        let new = parquet(&[
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![Some(1_767_323_045_123_456), None])),
            ),
            ("extra", texts(&[Some("new"), None])),
            ("id", ids(&[6, 7])),
            ("unknown", ids(&[0, 0])),
        ]);
        self.put("sales/day=2026-01-03/region=a b%2Fc%3Dd/000000_0", new).await;
        let lost = parquet(&[("id", ids(&[8])), ("item", texts(&[Some("it's 100%")]))]);
        self.put("sales/day=2026-01-03/region=__HIVE_DEFAULT_PARTITION__/000000_0", lost).await;
        let elsewhere = parquet(&[("id", ids(&[9])), ("item", texts(&[Some("PEN")]))]);
        self.put("elsewhere/x y/HIVE_UNION_SUBDIR_1/000000_0", elsewhere.clone()).await;
        // Nobody told the metastore of this one.
        self.put("sales/day=1999-01-01/region=eu/000000_0", elsewhere).await;
        // What writers leave behind.
        self.put("sales/day=2026-01-02/region=eu/_SUCCESS", "x").await;
        self.put("sales/day=2026-01-02/region=eu/.000000_0.tmp.1", "half a file").await;
        self.put("sales/day=2026-01-02/region=eu/.hive-staging_1/000000_0", "no Parquet").await;
        self.put("sales/day=2026-01-04/region=eu/000000_0", "").await;
        let escaped = self.url("sales/day=2026-01-03/region=a b%2Fc%3Dd");
        let null = self.url("sales/day=2026-01-03/region=__HIVE_DEFAULT_PARTITION__");
        self.seeder
            .add_partitions(
                &self.sales,
                &[
                    (&["2026-01-02", "eu"], &self.url("sales/day=2026-01-02/region=eu")),
                    (&["2026-01-02", "us"], &self.url("sales/day=2026-01-02/region=us")),
                    (&["2026-01-03", "a b/c=d"], &escaped),
                    (&["2026-01-03", "__HIVE_DEFAULT_PARTITION__"], &null),
                    (&["2026-01-04", "eu"], &self.url("sales/day=2026-01-04/region=eu")),
                    (&["2026-01-05", "eu"], &self.url("elsewhere/x y")),
                ],
            )
            .await
            .unwrap();
    }

    async fn make_others(&self) {
        let plain = self.table("plain", Storage::parquet(&[])).column("name", "string");
        self.seeder.create_table(&plain).await.unwrap();
        let names = texts(&[Some("one"), None, Some("ONE"), Some("one ")]);
        self.put("plain/part-0.parquet", parquet(&[("id", ids(&[1, 2, 3, 4])), ("name", names)]))
            .await;

        let parameters =
            [("field.delim", "|"), ("serialization.null.format", "NIL"), ("colelction.delim", ",")];
        let text = self
            .table("text", Storage::text(&parameters))
            .column("name", "string")
            .column("price", "decimal(8,2)")
            .column("day", "date")
            .column("at", "timestamp");
        self.seeder.create_table(&text).await.unwrap();
        let lines = "1|\"quoted\" |1.50|2026-01-02|2026-01-02 03:04:05.123456\n2|NIL|NIL|NIL|NIL\n3||-0.01\n4|한글|0|9999-12-31|1969-12-31 23:59:59|more\n";
        self.put("text/000000_0", lines).await;

        let csv = self
            .table("csv", Storage::open_csv(&[]))
            .column("name", "string")
            .column("note", "string");
        self.seeder.create_table(&csv).await.unwrap();
        self.put("csv/000000_0", "\"1\",\"a,b\",\"say \\\"hi\\\"\"\n2,,x\n3,A,X \n").await;

        let orc = self.table("orc", Storage::orc());
        // Of the transactional kinds the one that this metastore lets be made without Hive's own classes.
        let acid = self
            .table("acid", Storage::parquet(&[]))
            .managed()
            .parameter("transactional", "true")
            .parameter("transactional_properties", "insert_only");
        let gone = self.table("gone", Storage::parquet(&[]));
        let view = self.table("it_is_a_view", Storage::parquet(&[])).view("SELECT 1");
        let mixed = self.table("mixed", Storage::parquet(&[])).partitioned_by("p", "int");
        for table in [&orc, &gone, &view, &mixed] {
            self.seeder.create_table(table).await.unwrap();
        }
        let sequence = Storage::class(
            "org.apache.hadoop.mapred.SequenceFileInputFormat",
            "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        );
        // Metastore 4 lets only Hive itself make one.
        if let Err(error) = self.seeder.create_table(&acid).await {
            assert!(error.primary().contains("cannot create an ACID table"), "{error:?}");
            self.seeder.create_table(&self.table("acid", sequence.clone())).await.unwrap();
        }
        let as_sequence = self.table("mixed", sequence).partitioned_by("p", "int");
        let location = self.url("mixed/p=1");
        self.seeder.add_partitions(&as_sequence, &[(&["1"], &location)]).await.unwrap();
        // The metastore has made the directory when it made the table.
        self.remove("/gone").await;
    }

    async fn remove(&self, below: &str) {
        self.hdfs.delete(&format!("/{}{below}", self.dir), true).await.unwrap();
    }

    /// Takes it away again.
    pub(super) async fn drop(self) {
        self.seeder.drop_database(&self.database).await.unwrap();
        self.remove("").await;
    }
}

pub(super) fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let columns = columns.iter().map(|(name, column)| (*name, Arc::clone(column), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

pub(super) fn ids(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(super) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}
