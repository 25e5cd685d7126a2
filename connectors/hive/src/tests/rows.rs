//! The rows themselves, as Hive would give them.

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use maru_connect::{FederatedTable, Source, SourceTable};

use super::services::{self, each_metastore};
use super::warehouse::Warehouse;

/// Runs a query on table `t`; a row is its values with blanks between, NULL as `∅`.
async fn rows(source: &Arc<dyn Source>, database: &str, table: &str, sql: &str) -> Vec<String> {
    let found = source.table(database, table).await.unwrap().unwrap();
    let session = SessionContext::new();
    if let SourceTable::Files(files) = &found {
        session.register_object_store(files.store_url.as_ref(), Arc::clone(&files.store));
    }
    session.register_table("t", Arc::new(FederatedTable::new("test", found))).unwrap();
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let options = FormatOptions::new().with_null("∅");
    let mut shown = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap());
        let columns = columns.collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.value(row).to_string());
            shown.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    shown
}

#[tokio::test]
async fn reads_what_hive_wrote() {
    for hms in each_metastore() {
        let Some(warehouse) = Warehouse::build(&hms, "rows").await else { return };
        let source = services::source(&hms.url).await;
        let read =
            async |table: &str, sql: &str| rows(&source, &warehouse.database, table, sql).await;
        assert_eq!(
            read("sales", "SELECT id, item, at, extra, day, region FROM t ORDER BY id").await,
            [
                "1 pen ∅ ∅ 2026-01-02 eu",
                "2 ∅ ∅ ∅ 2026-01-02 eu",
                "3 Pen  ∅ ∅ 2026-01-02 eu",
                // Columns in capitals and the other way round.
                "4 ink ∅ ∅ 2026-01-02 us",
                "5 pEn ∅ ∅ 2026-01-02 us",
                "6 ∅ 2026-01-02T03:04:05.123456 new 2026-01-03 a b/c=d",
                "7 ∅ ∅ ∅ 2026-01-03 a b/c=d",
                "8 it's 100% ∅ ∅ 2026-01-03 ∅",
                "9 PEN ∅ ∅ 2026-01-05 eu",
            ]
        );
        let counted =
            "SELECT region, count(*) FROM t WHERE region <> 'eu' GROUP BY region ORDER BY 1";
        assert_eq!(read("sales", counted).await, ["a b/c=d 2", "us 2"]);
        assert_eq!(read("sales", "SELECT count(*) FROM t WHERE day < '2026-01-03'").await, ["5"]);
        assert_eq!(
            read("text", "SELECT id, name, price, day, at FROM t ORDER BY id").await,
            [
                "1 \"quoted\"  1.50 2026-01-02 2026-01-02T03:04:05.123456",
                "2 ∅ ∅ ∅ ∅",
                // An empty field is an empty text; what a line lacks is NULL.
                "3  -0.01 ∅ ∅",
                "4 한글 0.00 9999-12-31 1969-12-31T23:59:59",
            ]
        );
        assert_eq!(
            read("csv", "SELECT id, name, note FROM t ORDER BY id").await,
            ["1 a,b say \"hi\"", "2  x", "3 A X "]
        );
        warehouse.drop().await;
    }
}
