//! Statements that take long to plan: seen, stopped, and in nobody's way.

use std::time::Instant;

use super::super::planning::Planning;
use super::*;

const STATES: &str = "SELECT state FROM system.queries WHERE sql = 'SELECT ''planned'''";

/// Waits until a statement of this text is shown to be planned, and cancels it by its number.
async fn cancel_while_planned(maru: &Fixture) {
    let began = Instant::now();
    while maru.rows(STATES).await.unwrap() != "planning" {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not shown");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let id = maru.rows(&STATES.replace("SELECT state", "SELECT query_id")).await.unwrap();
    maru.run(&format!("CANCEL QUERY {id}")).await.unwrap();
}

#[tokio::test]
async fn a_statement_is_shown_while_it_is_planned_and_can_be_cancelled() {
    let maru = fixture().await;
    let text = StatementText::one("SELECT 'planned'");
    let planning = Planning::new(&maru.session, &text);
    let (error, ()) = tokio::join!(planning.stopped(), cancel_while_planned(&maru));
    assert_eq!(error.sqlstate(), "57014");
    planning.fail(&error);
    assert_eq!(maru.rows(STATES).await.unwrap(), "cancelled");
}

#[tokio::test]
async fn a_plan_that_is_made_leaves_no_trace_and_one_that_is_dropped_was_cancelled() {
    let maru = fixture().await;
    let text = StatementText::one("SELECT 'planned'");
    let long = Duration::from_millis(50);
    let planning = Planning::new(&maru.session, &text);
    assert!(tokio::time::timeout(long, planning.stopped()).await.is_err());
    planning.succeed();
    assert_eq!(maru.rows(STATES).await.unwrap(), "");
    let planning = Planning::new(&maru.session, &text);
    assert!(tokio::time::timeout(long, planning.stopped()).await.is_err());
    drop(planning);
    assert_eq!(maru.rows(STATES).await.unwrap(), "cancelled");
}

/// Types of long sums were asked for again and again, in time that grew with the third power of their length.
#[tokio::test]
async fn long_sums_are_planned_in_time() {
    let maru = fixture().await;
    let began = Instant::now();
    let sum = vec!["1"; 500].join(" + ");
    assert_eq!(maru.rows(&format!("SELECT {sum}")).await.unwrap(), "500");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let names =
        "SELECT count(*) FROM (SELECT x + 1 + 2, x - 1, 2 * (x + 1) FROM (VALUES (1)) AS v (x))";
    assert_eq!(maru.rows(names).await.unwrap(), "1");
    let twice =
        "SELECT x + 1 + 2, sum(x + 1 + 2) FROM (VALUES (1), (1)) AS v (x) GROUP BY x + 1 + 2";
    assert_eq!(maru.rows(twice).await.unwrap(), "4|8");
}

#[tokio::test]
async fn long_texts_are_planned_apart_with_the_same_answers_and_errors() {
    let maru = fixture().await;
    let padding = " ".repeat(2000);
    assert_eq!(maru.rows(&format!("SELECT 1{padding}+ 1")).await.unwrap(), "2");
    assert_eq!(maru.error(&format!("SELECT nope{padding}")).await.position(), Some(8));
    assert_eq!(maru.error(&format!("SELECT 1 FORM{padding} x y")).await.sqlstate(), "42601");
    maru.run(&format!("CREATE VIEW v{padding} AS SELECT 1 AS x")).await.unwrap();
    maru.run(&format!("CREATE TABLE t{padding} AS SELECT x FROM v")).await.unwrap();
    let numbers = (0..500).map(|n| format!("({n})")).collect::<Vec<_>>().join(", ");
    maru.run(&format!("INSERT INTO t VALUES {numbers}")).await.unwrap();
    assert_eq!(maru.rows("SELECT count(*), max(x) FROM t").await.unwrap(), "501|499");
    let conditions = (0..200).map(|n| format!("x = {n}")).collect::<Vec<_>>().join(" OR ");
    let counted = maru.rows(&format!("SELECT count(*) FROM t WHERE {conditions}")).await;
    assert_eq!(counted.unwrap(), "201");
    let explained = maru.explained(&format!("SELECT count(*) FROM t WHERE {conditions}")).await;
    assert!(!explained.is_empty());
}

/// A join that compares many rows and finds none gives no batch for minutes.
#[tokio::test]
async fn joins_without_a_result_end_when_they_are_cancelled() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG m USING memory WITH (rows = 200000); SET statement_timeout = 500")
        .await
        .unwrap();
    let join =
        "SELECT count(*) FROM m.sample.numbers a JOIN m.sample.numbers b ON (a.n * b.n) % 7 = 9";
    for _ in 0..3 {
        assert!(maru.error(join).await.primary().contains("timeout"));
    }
    maru.run("SET statement_timeout = 0").await.unwrap();
    let began = Instant::now();
    assert_eq!(maru.rows("SELECT 1").await.unwrap(), "1");
    while maru.engine.inner.governor.used_bytes() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the joins go on for nobody");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
