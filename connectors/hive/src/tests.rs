//! Against real metastores (3.1.3 and 4.0.1) and HDFS: every test runs on both.
//!
//! Where a service is not given by its variable (`MARU_TEST_HMS3`, `MARU_TEST_HMS4`, `MARU_TEST_HDFS`) the test says
//! that it is left out; with `MARU_TEST_SERVICES=required` it fails.

mod listing;
mod rows;
mod services;
mod warehouse;

use maru_connect::{Connector, SourceTable, TableKind, ViewLanguage, conformance};
use maru_core::ErrorKind;

use services::{HDFS, Service, each_metastore};
use warehouse::Warehouse;

use crate::HIVE;

#[tokio::test]
async fn says_what_it_is_connected_to() {
    for hms in each_metastore() {
        let source = services::source(&hms.url).await;
        let said = source.check().await.unwrap();
        let peer = hms.url.trim_start_matches("thrift://");
        assert!(said.starts_with(&format!("Hive metastore at {peer}, ")), "{said}");
        assert!(said.ends_with(" databases"), "{said}");
        // The first address does not answer, the second does.
        let source = services::source(&format!("thrift://127.0.0.1:1,{}", hms.url)).await;
        assert_eq!(source.check().await.unwrap(), said);
    }
}

#[tokio::test]
async fn names_services_that_are_no_metastore() {
    let Some(hdfs) = HDFS.get() else { return };
    let other = hdfs.replace("hdfs://", "thrift://");
    let error = services::source(&other).await.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RemoteUnavailable);
    assert!(error.primary().contains("does not speak the metastore protocol"), "{error:?}");
    let pg = Service("MARU_TEST_PG");
    let Some(pg) = pg.get() else { return };
    let (_, host) = pg.rsplit_once('@').unwrap();
    let (host, _) = host.split_once('/').unwrap();
    let error = services::source(&format!("thrift://{host}")).await.check().await.unwrap_err();
    assert!(error.primary().contains("does not speak the metastore protocol"), "{error:?}");
}

#[tokio::test]
async fn lists_databases_tables_and_views() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "list").await else { return };
        let source = services::source(&hms.url).await;
        assert!(source.schemas().await.unwrap().contains(&warehouse.database));
        let tables = source.tables(&warehouse.database).await.unwrap();
        let shown = tables.iter().map(|t| (t.name.as_str(), t.kind)).collect::<Vec<_>>();
        let table = |name| (name, TableKind::Table);
        assert_eq!(
            shown,
            vec![
                table("acid"),
                table("csv"),
                table("gone"),
                ("it_is_a_view", TableKind::View),
                table("mixed"),
                table("orc"),
                table("plain"),
                table("sales"),
                table("text"),
            ]
        );
        let sales = tables.iter().find(|t| t.name == "sales").unwrap();
        assert_eq!(sales.comment.as_deref(), Some("what was sold"));
        assert!(source.tables("maru_no_such_database").await.unwrap().is_empty());
        assert!(source.table(&warehouse.database, "nope").await.unwrap().is_none());
        assert!(source.table("maru_no_such_database", "nope").await.unwrap().is_none());
        // Hive finds it under any spelling; a quoted name is meant as it stands.
        assert!(source.table(&warehouse.database, "SALES").await.unwrap().is_none());
        let acid = match hms.name {
            "hms3" => "is a transactional (ACID) table",
            _ => "SequenceFile files cannot be read yet",
        };
        let error = source.table(&warehouse.database, "acid").await.unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(acid), "{error:?}");
        let view = source.table(&warehouse.database, "it_is_a_view").await.unwrap().unwrap();
        let SourceTable::ForeignView(view) = view else { panic!("not a view: {view:?}") };
        assert_eq!((view.language, view.text.as_str()), (ViewLanguage::Hive, "SELECT 1"));
        assert_eq!(view.search_schema, warehouse.database);
        warehouse.drop().await;
    }
}

#[tokio::test]
async fn keeps_every_promise_of_a_connector() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "hold").await else { return };
        // Each table once: how rows are read does not depend on the metastore's version.
        let tables: &[&str] =
            if hms.name == "hms3" { &["sales"] } else { &["plain", "text", "csv"] };
        for table in tables {
            let context = services::context(&hms.url);
            let source = HIVE.open(context).await.unwrap();
            let subject = conformance::Subject::new(&HIVE, source, &warehouse.database, table)
                .with_secrets(&[services::KEY]);
            let report = conformance::hold(subject).await;
            let report = report.unwrap_or_else(|error| panic!("{table}: {error:?}"));
            assert!(report.pushed > 20, "{table}: {report:?}");
        }
        warehouse.drop().await;
    }
}
