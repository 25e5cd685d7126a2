//! One table over several connections, against a real server: rows while others write, connections that are not to be had,
//! and every way in which a read ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt};
use maru_connect::{RemoteTable, ScanRequest, Source, SourceTable};
use maru_core::Result;
use sqlx::{Executor, PgConnection};

use super::{Place, admin, place};
use crate::postgres::PostgresConnector;
use crate::testing::{eventually, open, options_of, remote, rows, two_ways};

/// Rows that fill a page each: 4 ranges of 4,096 pages, in two seconds and 128 MiB.
const ROWS: i64 = 16_500;
const BIG: &str = "CREATE UNLOGGED TABLE big (id bigint PRIMARY KEY, n bigint NOT NULL, pad text) WITH (fillfactor = 10);
    ALTER TABLE big ALTER pad SET STORAGE PLAIN;
    INSERT INTO big SELECT g, g, repeat('x', 700) FROM generate_series(1, 16500) g;
    ANALYZE big;";
/// The same with ranges that no socket's buffers can hold, and an index.
const WIDE: &str = "CREATE UNLOGGED TABLE big (id bigint PRIMARY KEY, n bigint NOT NULL, pad text);
    ALTER TABLE big ALTER pad SET STORAGE PLAIN;
    INSERT INTO big SELECT g, g, repeat('x', 7000) FROM generate_series(1, 16500) g;
    CREATE INDEX ON big (n);
    ANALYZE big;";

/// The table over up to `n` of `max` connections.
async fn big(place: &Place, n: &str, max: &str) -> (Arc<dyn Source>, Arc<dyn RemoteTable>) {
    let more = [("parallel_reads", n), ("max_connections", max)];
    let source = open(&PostgresConnector, &options_of(&place.url, &more)).await.unwrap();
    let SourceTable::Remote(table) = remote(source.as_ref(), place.schema, "big").await else {
        panic!("not a remote table")
    };
    (source, table)
}

fn ids(table: &Arc<dyn RemoteTable>) -> ScanRequest {
    ScanRequest { projection: vec![0, 1], batch_rows: 100, ..ScanRequest::all(&table.schema()) }
}

/// Reads all and returns the ids in their order, and the sum of `n`.
async fn all(table: &Arc<dyn RemoteTable>, request: ScanRequest) -> Result<(Vec<i64>, i64)> {
    let batches = table.read(request).try_collect::<Vec<_>>().await?;
    let column = |n: usize| {
        let values = batches.iter().flat_map(move |batch| {
            batch.column(n).as_primitive::<Int64Type>().values().iter().copied()
        });
        values.collect::<Vec<_>>()
    };
    let mut ids = column(0);
    ids.sort_unstable();
    Ok((ids, column(1).iter().sum()))
}

fn of_place(place: &Place) -> String {
    format!("state = 'active' AND query LIKE 'COPY%{}\".\"big%ctid%'", place.schema)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_missed_or_comes_twice_while_others_write() {
    let Some(place) = place("maru_ranges", BIG).await else { return };
    let (source, table) = big(&place, "4", "8").await;
    let sent = table.describe(&ids(&table));
    assert!(sent.ends_with("(in 4 ranges of ctid, over up to 4 connections)"), "{sent}");
    let url = place.url.clone();
    // Moves rows to other pages, those at the end to the beginning, and money between two rows, so that the sum stays.
    let writer = tokio::spawn(async move {
        let mut connection = admin(&url).await;
        connection.execute("SET search_path = maru_ranges").await.unwrap();
        for round in 0.. {
            let sql = format!(
                "BEGIN; UPDATE big SET n = n + 1 WHERE id % 7 = {0} AND id <= 8250;
                 UPDATE big SET n = n - 1 WHERE (16501 - id) % 7 = {0} AND id > 8250; COMMIT;
                 BEGIN; DELETE FROM big WHERE id % 50 = {1}; INSERT INTO big SELECT g, g, 'again' FROM generate_series(1, 16500) g
                 WHERE g % 50 = {1}; COMMIT; BEGIN; INSERT INTO big VALUES (-1, 0, ''); ROLLBACK; VACUUM big",
                round % 7,
                round % 50
            );
            for part in sql.split(';') {
                sqlx::raw_sql(sqlx::AssertSqlSafe(part.trim().to_owned()))
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }
    });
    let wanted = (1..=ROWS).collect::<Vec<_>>();
    let mut ordered = 0;
    for _ in 0..12 {
        let (found, sum) = all(&table, ids(&table)).await.unwrap();
        assert_eq!(found, wanted);
        // Rows that were inserted again have lost what was moved, in one transaction with all of their kind.
        ordered += i32::from(sum != 0);
    }
    assert_eq!(ordered, 12);
    assert!(!writer.is_finished(), "the writer failed");
    writer.abort();
    source.close().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ranges_see_one_moment() {
    let Some(place) = place("maru_moment", BIG).await else { return };
    let (source, table) = big(&place, "4", "8").await;
    let url = place.url.clone();
    let writer = tokio::spawn(async move {
        let mut connection = admin(&url).await;
        loop {
            // One transaction over all ranges.
            connection.execute("UPDATE maru_moment.big SET n = n + 1").await.unwrap();
            connection.execute("VACUUM maru_moment.big").await.unwrap();
        }
    });
    let wanted: i64 = (1..=ROWS).sum();
    let mut moments = Vec::<i64>::new();
    let patience = Instant::now() + Duration::from_secs(60);
    // Beside other work the writer may take longer than twelve reads.
    while moments.len() < 12 || (moments.first() == moments.last() && Instant::now() < patience) {
        let (found, sum) = all(&table, ids(&table)).await.unwrap();
        assert_eq!(found.len() as i64, ROWS);
        assert_eq!((sum - wanted) % ROWS, 0, "some rows are older than others");
        moments.push((sum - wanted) / ROWS);
    }
    assert!(moments.is_sorted() && moments.first() < moments.last(), "{moments:?}");
    assert!(!writer.is_finished(), "the writer failed");
    writer.abort();
    source.close().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_goes_on_with_fewer_connections_and_nobody_waits_for_ever() {
    let Some(place) = place("maru_fewer", BIG).await else { return };
    // Without a second connection there is one read as ever.
    let (alone, table) = big(&place, "4", "1").await;
    assert_eq!(all(&table, ids(&table)).await.unwrap().0.len() as i64, ROWS);
    alone.close().await;
    // Six reads that each would like four connections, of four together; half of them are begun and then left lying.
    let (source, table) = big(&place, "4", "4").await;
    let mut lying = Vec::new();
    for _ in 0..2 {
        let mut stream = table.read(ids(&table));
        stream.next().await.unwrap().unwrap();
        lying.push(stream);
    }
    let began = Instant::now();
    let others = (0..4).map(|_| {
        let table = Arc::clone(&table);
        tokio::spawn(async move { all(&table, ids(&table)).await })
    });
    let others = others.collect::<Vec<_>>();
    // Two of four connections are for reads which have none; those that lie hold them, or their helpers have left.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for stream in lying {
        assert!(stream.try_collect::<Vec<_>>().await.is_ok());
    }
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().0.len() as i64, ROWS);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    source.close().await;
    // A server that counts queries gets one for a read.
    let more = [("max_queries_per_second", "100")];
    let source = open(&PostgresConnector, &options_of(&place.url, &more)).await.unwrap();
    let SourceTable::Remote(table) = remote(source.as_ref(), place.schema, "big").await else {
        panic!("not a remote table")
    };
    let mut stream = table.read(ids(&table));
    stream.next().await.unwrap().unwrap();
    assert_eq!(place.count(&of_place(&place)).await, 0);
    drop(stream);
    source.close().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_ends_every_backend() {
    let Some(place) = place("maru_given", WIDE).await else { return };
    let (source, table) = big(&place, "4", "8").await;
    let running = of_place(&place);
    for _ in 0..3 {
        // Wide rows, so that nothing fits into buffers.
        let mut stream =
            table.read(ScanRequest { batch_rows: 10, ..ScanRequest::all(&table.schema()) });
        stream.next().await.unwrap().unwrap();
        eventually("four backends read", async || place.count(&running).await == 4).await;
        drop(stream);
        eventually("no backend reads", async || place.count(&running).await == 0).await;
    }
    source.close().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backend_that_dies_fails_the_read() {
    let Some(place) = place("maru_one_dies", WIDE).await else { return };
    let (source, table) = big(&place, "3", "8").await;
    let running = of_place(&place);
    // Each of the three in turn, as they come.
    for which in 0..3 {
        let mut stream =
            table.read(ScanRequest { batch_rows: 10, ..ScanRequest::all(&table.schema()) });
        stream.next().await.unwrap().unwrap();
        eventually("three backends read", async || place.count(&running).await == 3).await;
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {running} ORDER BY pid OFFSET {which} LIMIT 1"
        );
        admin(&place.url).await.execute(sqlx::AssertSqlSafe(kill)).await.unwrap();
        let mut last = None;
        while let Some(batch) = stream.next().await {
            last = Some(batch);
        }
        let error = last.unwrap().unwrap_err();
        assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
        eventually("no backend reads", async || place.count(&running).await == 0).await;
        assert_eq!(all(&table, ids(&table)).await.unwrap().0.len() as i64, ROWS);
    }
    source.close().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_alters_the_table_waits_and_is_not_waited_for() {
    let Some(place) = place("maru_waits", BIG).await else { return };
    let (source, table) = big(&place, "4", "8").await;
    let url = place.url.clone();
    let mut stream = table.read(ids(&table));
    stream.next().await.unwrap().unwrap();
    let alters = tokio::spawn(async move {
        let mut connection: PgConnection = admin(&url).await;
        connection.execute("TRUNCATE maru_waits.big").await
    });
    let waits = "query LIKE 'TRUNCATE%maru_waits%' AND wait_event_type = 'Lock'";
    eventually("TRUNCATE waits", async || place.count(waits).await == 1).await;
    // The next read waits for that; the one before does not.
    let next = tokio::spawn({
        let table = Arc::clone(&table);
        async move { all(&table, ids(&table)).await }
    });
    let rest = stream.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(rest.iter().map(|batch| batch.num_rows() as i64).sum::<i64>() + 100, ROWS);
    alters.await.unwrap().unwrap();
    assert_eq!(next.await.unwrap().unwrap().0, Vec::<i64>::new());
    source.close().await;
    place.end().await;
}

const OTHERS: &str = "CREATE VIEW seen AS SELECT * FROM big;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM big;
    CREATE TABLE parts (id bigint, n bigint, pad text) PARTITION BY HASH (id);
    CREATE UNLOGGED TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 0) WITH (fillfactor = 10);
    CREATE UNLOGGED TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 1) WITH (fillfactor = 10);
    CREATE UNLOGGED TABLE parts_2 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 2) WITH (fillfactor = 10);
    INSERT INTO parts SELECT g, g, repeat('x', 700) FROM generate_series(1, 16500) g;
    CREATE TABLE parent (LIKE big) WITH (fillfactor = 10);
    INSERT INTO parent SELECT * FROM big;
    CREATE TABLE child () INHERITS (parent);
    INSERT INTO child SELECT -id, n, pad FROM big WHERE id < 100;
    ANALYZE;";

#[tokio::test(flavor = "multi_thread")]
async fn only_large_tables_read_from_end_to_end_are_shared() {
    let ddl: &'static str = Box::leak(format!("{WIDE}{OTHERS}").into_boxed_str());
    let Some(place) = place("maru_shared", ddl).await else { return };
    for (name, shared, n_rows) in [
        ("big", true, ROWS),
        ("parts", true, ROWS),
        ("parts_1", false, 0),
        ("seen", false, ROWS),
        ("kept", false, ROWS),
        ("parent", false, ROWS + 99),
    ] {
        let SourceTable::Remote(table) = place.table(name).await else { panic!("{name}") };
        let sent = table.describe(&ids(&table));
        assert_eq!(sent.contains("ranges of ctid"), shared, "{name}: {sent}");
        let (found, _) = all(&table, ids(&table)).await.unwrap();
        assert!(found.is_sorted_by(|one, other| one < other), "{name}");
        assert!(n_rows == 0 || found.len() as i64 == n_rows, "{name}: {}", found.len());
    }
    let context = two_ways(&place.table("big").await).await;
    for (sql, shared) in [
        ("SELECT id, pad FROM t", true),
        ("SELECT id, pad FROM t WHERE n > 5 AND pad <> 'y'", true),
        ("SELECT id FROM t LIMIT 3", false),
        ("SELECT count(*) FROM t", false),
        ("SELECT id FROM t ORDER BY n LIMIT 3", true),
    ] {
        let plan = rows(&context, &format!("EXPLAIN {sql}")).await.unwrap();
        assert_eq!(plan.contains("ranges of ctid"), shared, "{plan}");
    }
    for (sql, n) in [
        (
            "SELECT count(id) AS a, sum(n) AS b FROM t WHERE pad <> 'y' AND (n = 5 OR n > 10)",
            "16491",
        ),
        ("SELECT count(pad) AS a FROM t WHERE n = 77", "1"),
        ("SELECT count(pad) AS a FROM t WHERE n < 0", "0"),
    ] {
        let found = rows(&context, &sql.replace("FROM t", "FROM u")).await.unwrap();
        assert!(found.contains(n), "{sql}: {found}");
        assert_eq!(rows(&context, sql).await.unwrap(), found, "{sql}");
    }
    place.end().await;
}
