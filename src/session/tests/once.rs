//! What costs much is in a plan once, and numbers of rows are counted by the engine's own node, with the same rows as before.

use super::*;

const VISITS: &str = "SELECT (l).url, l['status'] AS status FROM (SELECT parse_access_log(line, 'common') AS l FROM (VALUES \
    ('10.0.0.1 - - [22/Nov/2026:13:55:36 +0900] \"GET /a HTTP/1.1\" 200 5'), \
    ('10.0.0.1 - - [22/Nov/2026:13:55:37 +0900] \"GET /b HTTP/1.1\" 500 5'), ('of another form')) AS t (line)) AS p \
    WHERE l['status'] < 400 AND (l).url IS NOT NULL";

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_taken_apart_once() {
    let maru = fixture().await;
    for sql in [
        VISITS.to_owned(),
        format!("SELECT url || status, url || 'x' FROM ({VISITS}) AS v WHERE status > 100"),
    ] {
        let plan = maru.explained(&sql).await;
        assert_eq!(plan.matches("parse_access_log(").count(), 1, "{plan}");
    }
    assert!(maru.rows(VISITS).await.unwrap().contains("/a"));
    // In a query's own columns it may be folded and shared.
    let own = maru.explained("SELECT (parse_phone('010-1234-5678'))['number']").await;
    assert!(!own.contains("once("), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_random_row_come_from_one_throw() {
    let maru = fixture().await;
    let throws = "SELECT named_struct('a', x, 'b', x) AS s FROM (SELECT random() AS x FROM generate_series(1, 500)) AS t";
    let differing = format!("SELECT count(*) AS n FROM ({throws}) AS u WHERE s['a'] <> s['b']");
    assert_eq!(maru.rows(&differing).await.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_numbered_by_one_node() {
    let maru = fixture().await;
    let numbered = |functions: &str| {
        format!(
            "SELECT k, o, {functions} FROM (SELECT i % 7 AS k, i * 31 % 20 AS o FROM generate_series(1, 20000) AS g (i)) AS t \
             WINDOW w AS (PARTITION BY k ORDER BY o) ORDER BY 1, 2, 3, 4, 5"
        )
    };
    let ours = numbered("row_number() OVER w AS n, rank() OVER w AS r, dense_rank() OVER w AS d");
    assert!(maru.explained(&ours).await.contains("NumberRowsExec"));
    // Beside another function the engine's node does it.
    let engines = ours.replace(" AS d FROM", " AS d, ntile(1) OVER w FROM");
    assert!(!maru.explained(&engines).await.contains("NumberRowsExec"));
    let engines = format!("SELECT k, o, n, r, d FROM ({engines}) AS e ORDER BY 1, 2, 3, 4, 5");
    assert_eq!(maru.rows(&ours).await.unwrap(), maru.rows(&engines).await.unwrap());
}
