//! The reference connector against the conformance suite, and what only it can show.

use futures::StreamExt;
use maru_connect::ScanRequest;
use maru_connect::conformance::{self, Subject};

use super::*;

mod liar;
mod verify;

async fn opened(options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    MEMORY.open(conformance::context(&MEMORY, options, Arc::new(conformance::NoStores))?).await
}

async fn numbers(options: &[(&str, &str)]) -> Arc<dyn maru_connect::RemoteTable> {
    let source = opened(options).await.unwrap();
    match source.table("sample", "numbers").await.unwrap() {
        Some(SourceTable::Remote(table)) => table,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keeps_every_promise_of_a_connector() {
    for table in ["numbers", "types"] {
        let source = opened(&[("rows", "100"), ("batch_rows", "30")]).await.unwrap();
        let report =
            conformance::hold(Subject::new(&MEMORY, source, "sample", table)).await.unwrap();
        assert!(report.pushed > 100, "{report:?}");
        assert_eq!(report.kept, 0, "{report:?}");
    }
}

#[tokio::test]
async fn numbers_are_what_the_page_says() {
    let table = numbers(&[("rows", "20000")]).await;
    let batches = table.read(ScanRequest::all(&table.schema())).map(|b| b.unwrap());
    let batches = batches.collect::<Vec<_>>().await;
    let rows = batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
    assert_eq!(rows, vec![8192, 8192, 3616]);
    let shown = arrow::util::pretty::pretty_format_batches(&[batches[2].slice(3612, 4)]).unwrap();
    let wanted = "\
+-------+-----------+--------+------+
| n     | square    | half   | name |
+-------+-----------+--------+------+
| 19996 | 399840016 | 9998.0 | even |
| 19997 | 399880009 | 9998.5 | odd  |
| 19998 | 399920004 |        |      |
| 19999 | 399960001 | 9999.5 | odd  |
+-------+-----------+--------+------+";
    assert_eq!(shown.to_string(), wanted);
}

#[tokio::test]
async fn explains_what_it_is_asked() {
    use maru_connect::{CompareOp, Predicate};
    let table = numbers(&[]).await;
    let request = ScanRequest {
        projection: vec![3, 0],
        filters: vec![
            Predicate::Compare {
                column: 0,
                op: CompareOp::GtEq,
                value: datafusion::common::ScalarValue::Int64(Some(5)),
            },
            Predicate::Or(vec![
                Predicate::IsNull { column: 2, negated: true },
                Predicate::Like { column: 3, pattern: "o'%".into(), negated: true },
            ]),
        ],
        limit: Some(3),
        batch_rows: 10,
    };
    assert_eq!(
        table.describe(&request),
        "SELECT name, n FROM numbers WHERE n >= 5 AND (half IS NOT NULL OR name NOT LIKE 'o''%') LIMIT 3"
    );
}

#[tokio::test]
async fn breaks_off_where_it_is_told_to() {
    let table = numbers(&[("fail_after_rows", "500"), ("batch_rows", "400")]).await;
    let mut stream = table.read(ScanRequest::all(&table.schema()));
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 400);
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 100);
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N");
    assert_eq!(error.primary(), "source of catalog \"test\" went away after 500 rows");
    // A read that needs no more rows than there are before the break is not touched by it.
    let few = ScanRequest { limit: Some(500), ..ScanRequest::all(&table.schema()) };
    assert!(table.read(few).all(|batch| async move { batch.is_ok() }).await);
}

#[tokio::test]
async fn waits_before_each_batch_and_close_ends_the_wait() {
    let source = opened(&[("delay", "1h")]).await.unwrap();
    let Some(SourceTable::Remote(table)) = source.table("sample", "numbers").await.unwrap() else {
        panic!("no table")
    };
    let mut stream = table.read(ScanRequest::all(&table.schema()));
    let waited = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    source.close().await;
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N");
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "HV00N");
}

#[tokio::test]
async fn refuses_options_out_of_bounds() {
    for options in [[("rows", "-1")], [("rows", "5000000000")], [("batch_rows", "0")]] {
        assert_eq!(opened(&options).await.unwrap_err().sqlstate(), "HV024", "{options:?}");
    }
    assert_eq!(opened(&[("row", "1")]).await.unwrap_err().hint(), Some("Did you mean \"rows\"?"));
}

#[test]
fn refuses_batches_of_two_schemas() {
    let two = vec![sample::numbers(0, 1).unwrap(), sample::types().unwrap()];
    assert_eq!(MemorySource::new("m").with_table("s", "t", two).unwrap_err().sqlstate(), "HV024");
    assert!(MemorySource::new("m").with_table("s", "t", Vec::new()).is_err());
}
