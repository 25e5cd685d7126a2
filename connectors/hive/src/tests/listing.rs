//! Which files a Hive table is found to have.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use maru_connect::{CompareOp, FileEntry, FileTable, Predicate, Source, SourceTable};
use maru_core::Result;

use super::services::{self, each_metastore};
use super::warehouse::Warehouse;
use crate::metastore::{Endpoint, Metastore};

async fn open(source: &Arc<dyn Source>, warehouse: &Warehouse, name: &str) -> Arc<FileTable> {
    match source.table(&warehouse.database, name).await.unwrap() {
        Some(SourceTable::Files(table)) => table,
        other => panic!("{other:?}"),
    }
}

/// Returns `path below the database: values`.
async fn files(
    warehouse: &Warehouse,
    table: &FileTable,
    filters: &[Predicate],
) -> Result<Vec<String>> {
    let shown = |entry: FileEntry| {
        let path = entry.meta.location.to_string();
        let path = path.strip_prefix(&warehouse.dir).unwrap().to_owned();
        let values = entry.partition_values.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{path}: {}", values.join(", "))
    };
    let mut shown = table.files.list(filters).await?.into_iter().map(shown).collect::<Vec<_>>();
    shown.sort();
    Ok(shown)
}

#[tokio::test]
async fn finds_files_of_kept_partitions() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "files").await else { return };
        let source = services::source(&hms.url).await;
        let sales = open(&source, &warehouse, "sales").await;
        let all = files(&warehouse, &sales, &[]).await.unwrap();
        let elsewhere = "/elsewhere/x y/HIVE_UNION_SUBDIR_1/000000_0: 2026-01-05, eu";
        let escaped = "/sales/day=2026-01-03/region=a b%2Fc%3Dd/000000_0: 2026-01-03, a b/c=d";
        let null =
            "/sales/day=2026-01-03/region=__HIVE_DEFAULT_PARTITION__/000000_0: 2026-01-03, NULL";
        let eu = "/sales/day=2026-01-02/region=eu/000000_0: 2026-01-02, eu";
        let us = "/sales/day=2026-01-02/region=us/000000_0: 2026-01-02, us";
        assert_eq!(all, vec![elsewhere, eu, us, null, escaped]);

        let region = |op, text: &str| Predicate::Compare {
            column: 1,
            op,
            value: ScalarValue::Utf8(Some(text.into())),
        };
        let kept = files(&warehouse, &sales, &[region(CompareOp::Eq, "a b/c=d")]).await.unwrap();
        assert_eq!(kept, vec![escaped]);
        let kept = files(&warehouse, &sales, &[region(CompareOp::NotEq, "eu")]).await.unwrap();
        assert_eq!(kept, vec![us, escaped], "NULL is not other than 'eu'");
        let null_region = Predicate::IsNull { column: 1, negated: false };
        assert_eq!(files(&warehouse, &sales, &[null_region]).await.unwrap(), vec![null]);
        let day =
            |op, days| Predicate::Compare { column: 0, op, value: ScalarValue::Date32(Some(days)) };
        let two = [day(CompareOp::Lt, 20456), region(CompareOp::Gt, "eu")];
        assert_eq!(files(&warehouse, &sales, &two).await.unwrap(), vec![us]);
        let none = files(&warehouse, &sales, &[day(CompareOp::Lt, 0)]).await.unwrap();
        assert!(none.is_empty(), "{none:?}");

        let text = open(&source, &warehouse, "text").await;
        assert_eq!(files(&warehouse, &text, &[]).await.unwrap(), vec!["/text/000000_0: "]);
        warehouse.drop().await;
    }
}

#[tokio::test]
async fn tells_of_locations_and_partitions_it_cannot_read() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "bad").await else { return };
        let source = services::source(&hms.url).await;
        let gone = open(&source, &warehouse, "gone").await;
        let error = files(&warehouse, &gone, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), "58P01", "{error:?}");
        let location = warehouse.url("gone");
        assert_eq!(error.primary(), format!("location \"{location}\" is gone"));
        assert_eq!(error.detail().unwrap(), format!("table={}.gone", warehouse.database));

        let mixed = open(&source, &warehouse, "mixed").await;
        let error = files(&warehouse, &mixed, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), "0A000", "{error:?}");
        assert_eq!(error.primary(), "SequenceFile files cannot be read yet");
        assert!(error.detail().unwrap().contains("partition=1"), "{error:?}");

        let wrong = [(&["yesterday", "eu"][..], &*warehouse.url("elsewhere"))];
        match warehouse.seeder.add_partitions(&warehouse.sales, &wrong).await {
            Ok(()) => {
                let sales = open(&source, &warehouse, "sales").await;
                let error = files(&warehouse, &sales, &[]).await.unwrap_err();
                assert_eq!(error.sqlstate(), "22P02", "{error:?}");
                assert!(
                    error.primary().starts_with("partition value \"yesterday\" of column \"day\"")
                );
            }
            Err(error) => assert!(error.primary().contains("yesterday"), "{error:?}"),
        }
        warehouse.put("text/000001_0.snappy", "not read").await;
        let text = open(&source, &warehouse, "text").await;
        let error = files(&warehouse, &text, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), "0A000", "{error:?}");
        assert!(error.detail().unwrap().contains("text/000001_0.snappy"), "{error:?}");
        warehouse.drop().await;
    }
}

#[tokio::test]
async fn lists_many_partitions_in_pages() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "many").await else { return };
        let table = crate::testkit::TableDef::new(
            &warehouse.database,
            "many",
            &warehouse.url("many"),
            crate::testkit::Storage::parquet(&[]),
        )
        .column("id", "bigint")
        .partitioned_by("p", "int");
        warehouse.seeder.create_table(&table).await.unwrap();
        // All in one directory: what is tested is the metastore, not the store.
        let one = warehouse.url("plain");
        let values = (0..120).map(|n| n.to_string()).collect::<Vec<_>>();
        let values = values.iter().map(|text| [text.as_str()]).collect::<Vec<_>>();
        let partitions = values.iter().map(|v| (&v[..], one.as_str())).collect::<Vec<_>>();
        warehouse.seeder.add_partitions(&table, &partitions).await.unwrap();
        let source = services::source(&hms.url).await;
        let many = open(&source, &warehouse, "many").await;
        let mut found = many.files.list(&[]).await.unwrap();
        found.sort_by_key(|entry| entry.partition_values[0].to_string().parse::<u32>().unwrap());
        let found = found.iter().map(|entry| entry.partition_values[0].to_string());
        assert!(found.eq(values.iter().map(|v| v[0].to_owned())));
        // What the metastore answers itself is the same as what is left of all names.
        let endpoints = Endpoint::parse_list(&hms.url).unwrap();
        let metastore = Metastore::new(endpoints, "maru", std::time::Duration::from_secs(30));
        let answered = metastore.filtered(&warehouse.database, "many", "p = 7").await.unwrap();
        assert_eq!(answered.expect("it answers").len(), 1);
        let number = |n| ScalarValue::Int32(Some(n));
        let seven = Predicate::Compare { column: 0, op: CompareOp::Eq, value: number(7) };
        let some = Predicate::In {
            column: 0,
            values: vec![number(7), number(11), number(500)],
            negated: false,
        };
        let late = Predicate::Compare { column: 0, op: CompareOp::Gt, value: number(7) };
        for (filters, wanted) in [
            (vec![seven.clone()], vec![7]),
            (vec![some.clone()], vec![7, 11]),
            (vec![some.clone(), late.clone()], vec![11]),
            (vec![seven, late], vec![]),
        ] {
            let found = many.files.list(&filters).await.unwrap().into_iter();
            let mut found =
                found.map(|mut entry| entry.partition_values.remove(0)).collect::<Vec<_>>();
            found.sort_by_key(|value| value.to_string().parse::<i32>().unwrap());
            assert_eq!(found, wanted.into_iter().map(number).collect::<Vec<_>>(), "{filters:?}");
        }
        // Dropped half way, and then closed: neither waits nor fails another.
        let listing = many.files.list(&[]);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(5), listing).await;
        assert_eq!(source.tables(&warehouse.database).await.unwrap().len(), 10);
        source.close().await;
        assert_eq!(source.schemas().await.unwrap_err().sqlstate(), "HV00N");
        assert_eq!(many.files.list(&[]).await.unwrap_err().sqlstate(), "HV00N");
        warehouse.drop().await;
    }
}
