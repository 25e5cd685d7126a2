//! `SET verify_pushdown`: what a source answers wrongly is told, and goes no further.

use datafusion::prelude::SessionContext;
use maru_connect::{FederatedTable, Verify};
use maru_core::ErrorKind;

use super::liar::{Lie, LyingTable};
use super::*;

async fn rows(lie: Lie, verify: Verify, sql: &str) -> Result<usize> {
    let source = opened(&[("rows", "100"), ("batch_rows", "30")]).await?;
    let table = source.table("sample", "numbers").await?;
    let Some(SourceTable::Remote(inner)) = table else { panic!("numbers is remote") };
    let table = SourceTable::Remote(Arc::new(LyingTable { inner, lie }));
    let table = FederatedTable::new("mem", table).with_verify(verify);
    let session = SessionContext::new();
    session.register_table("t", Arc::new(table))?;
    let batches = session.sql(sql).await?.collect().await?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[tokio::test]
async fn the_truth_passes() {
    for (sql, wanted) in [
        ("SELECT * FROM t", 100),
        ("SELECT * FROM t WHERE n >= 10 AND n < 30", 20),
        ("SELECT n FROM t LIMIT 7", 7),
        ("SELECT n FROM t WHERE n < 3 LIMIT 7", 3),
        ("SELECT n FROM t ORDER BY n DESC LIMIT 5", 5),
        ("SELECT count(*) FROM t WHERE n < 5", 1),
    ] {
        assert_eq!(rows(Lie::None, Verify::All, sql).await.unwrap(), wanted, "{sql}");
    }
}

#[tokio::test]
async fn a_wrong_row_is_told() {
    let sql = "SELECT n FROM t WHERE n >= 10 AND n < 30";
    let error = rows(Lie::IgnoresFilters, Verify::All, sql).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PushdownDiffers, "{error}");
    let report = error.report();
    assert!(report.contains("has a row that the engine does not find"), "{report}");
    assert!(
        report.contains("It was sent:") && report.contains("SET mem.pushdown = off"),
        "{report}"
    );
    // Without it, the source is believed.
    assert_eq!(rows(Lie::IgnoresFilters, Verify::Off, sql).await.unwrap(), 100);
}

#[tokio::test]
async fn a_missing_row_is_told() {
    let sql = "SELECT n FROM t WHERE n >= 10 AND n < 90";
    let error = rows(Lie::FiltersTooMuch, Verify::All, sql).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PushdownDiffers, "{error}");
    let report = error.report();
    assert!(report.contains("the engine finds 80. Missing is:"), "{report}");
}
