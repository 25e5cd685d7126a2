//! The door from text to rows, on the memory connector: names, errors, cancel, limits, monitoring.

mod join_order;
mod once;
mod planning;
mod runtime_filters;

use std::time::Duration;

use arrow::datatypes::DataType;

use super::*;
use crate::output::{Body, Output};

struct Fixture {
    _dir: tempfile::TempDir,
    engine: Engine,
    session: Arc<Session>,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().to_path_buf(),
        initial_password: Some(maru_core::Secret::new("pw")),
        ..Config::default()
    };
    let engine = Engine::open(config).await.unwrap();
    let session = engine.session(Login::embedded()).await.unwrap();
    Fixture { _dir: dir, engine, session }
}

impl Fixture {
    async fn run(&self, sql: &str) -> Result<Output> {
        let mut last = None;
        for statement in Session::split(sql)? {
            last = Some(self.session.run(&statement).await?);
        }
        Ok(last.unwrap())
    }

    /// Runs and returns the rows as text, cells by `|`, rows by line.
    async fn rows(&self, sql: &str) -> Result<String> {
        let Body::Rows(rows) = self.run(sql).await?.body else { panic!("{sql} gives no rows") };
        let mut lines = Vec::new();
        for batch in rows.collect().await? {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    arrow::util::display::array_value_to_string(column, row).unwrap()
                });
                lines.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
        Ok(lines.join("\n"))
    }

    /// Returns the plan without times.
    async fn explained(&self, sql: &str) -> String {
        let report = self.rows(&format!("EXPLAIN {sql}")).await.unwrap();
        report.split("Planning Time").next().unwrap_or_default().to_owned()
    }

    async fn error(&self, sql: &str) -> Error {
        match self.run(sql).await {
            Err(error) => error,
            Ok(Output { body: Body::Rows(rows), .. }) => rows.collect().await.unwrap_err(),
            Ok(_) => panic!("{sql} succeeds"),
        }
    }
}

#[tokio::test]
async fn answers_a_query() {
    let maru = fixture().await;
    assert_eq!(maru.rows("SELECT 1 + 1 AS two, 'a' || 'b'").await.unwrap(), "2|ab");
    maru.run("CREATE CATALOG m USING memory WITH (rows = 100)").await.unwrap();
    assert_eq!(maru.rows("SELECT count(*) FROM m.sample.numbers").await.unwrap(), "100");
    let on = maru.rows("SELECT n FROM m.sample.numbers WHERE n > 95 ORDER BY n").await.unwrap();
    maru.run("SET pushdown = off").await.unwrap();
    let off = maru.rows("SELECT n FROM m.sample.numbers WHERE n > 95 ORDER BY n").await.unwrap();
    assert_eq!(on, off);
}

#[tokio::test]
async fn points_at_what_is_missing() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG m USING memory").await.unwrap();
    for (sql, sqlstate, position, hint) in [
        ("SELECT 1 FORM x y", "42601", 15, ""),
        ("SELECT * FROM nope", "42P01", 15, ""),
        ("SELECT * FROM m.sample.number", "42P01", 15, "numbers"),
        ("SELECT * FROM m.sampel.numbers", "3F000", 17, "sample"),
        ("SELECT * FROM mm.sample.numbers", "3D000", 15, "\"m\""),
        ("SELECT * FROM m.numbers", "3F000", 15, "m.sample.numbers"),
        ("SELECT nn FROM m.sample.numbers", "42703", 8, ""),
        ("SELECT lenght('a')", "42883", 8, "length"),
        ("SELECT n FROM m.sample.numbers a, m.sample.numbers b", "42702", 8, "alias"),
    ] {
        let error = maru.error(sql).await;
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
        assert_eq!(error.position(), Some(position), "{sql}: {error:?}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn arithmetic_fails_rather_than_lies() {
    let maru = fixture().await;
    for (sql, sqlstate) in [
        ("SELECT 1 / 0", "22012"),
        ("SELECT 9223372036854775807 + 1", "22003"),
        ("SELECT n * 9223372036854775807 FROM m.sample.numbers", "22003"),
        ("SELECT CAST('abc' AS INT)", "22P02"),
        ("SELECT CAST(n AS SMALLINT) FROM (SELECT n * 1000 AS n FROM m.sample.numbers)", "22003"),
    ] {
        let _ = maru.run("CREATE OR REPLACE CATALOG m USING memory WITH (rows = 1000)").await;
        assert_eq!(maru.error(sql).await.sqlstate(), sqlstate, "{sql}");
    }
    let sql = "SELECT sum(x), sum(sum(x)) OVER () FROM (VALUES (9223372036854775807), (1)) AS v (x) GROUP BY x";
    assert!(maru.rows(sql).await.is_ok());
    let sql = "SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS v (x)";
    assert_eq!(maru.rows(sql).await.unwrap(), "9223372036854775808");
}

#[tokio::test]
async fn cancels_and_times_out_while_a_source_is_slow() {
    let maru = fixture().await;
    maru.run(
        "CREATE CATALOG slow USING memory WITH (rows = 100000, batch_rows = 10, delay = '50ms')",
    )
    .await
    .unwrap();
    let session = Arc::clone(&maru.session);
    let canceller = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        session.cancel();
    });
    let started = std::time::Instant::now();
    let error = maru.error("SELECT sum(n) FROM slow.sample.numbers").await;
    assert_eq!(error.sqlstate(), "57014");
    assert!(started.elapsed() < Duration::from_secs(60));
    canceller.await.unwrap();
    maru.run("SET statement_timeout = 150").await.unwrap();
    let error = maru.error("SELECT sum(n) FROM slow.sample.numbers").await;
    assert!(error.primary().contains("timeout"), "{error:?}");
    maru.run("SET statement_timeout = 0").await.unwrap();
    let states = maru
        .rows("SELECT state, sqlstate FROM system.queries WHERE sql LIKE 'SELECT sum%' ORDER BY query_id")
        .await
        .unwrap();
    assert_eq!(states, "cancelled|57014\nfailed|57014");
}

#[tokio::test]
async fn one_big_statement_fails_alone() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG m USING memory WITH (rows = 1000000); SET query_memory_limit = '4MB'")
        .await
        .unwrap();
    let error = maru
        .error("SELECT sum(cardinality(a)) FROM (SELECT array_agg(n) AS a FROM m.sample.numbers GROUP BY n % 3)")
        .await;
    assert_eq!(error.sqlstate(), "53200", "{error:?}");
    assert!(error.detail().unwrap_or_default().contains("query_memory_limit"), "{error:?}");
    assert_eq!(maru.rows("SELECT 1").await.unwrap(), "1");
    assert_eq!(maru.engine.inner.governor.used_bytes(), 0);
}

#[tokio::test]
async fn a_source_that_dies_is_an_error_not_a_short_answer() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG dying USING memory WITH (rows = 1000, fail_after_rows = 500)")
        .await
        .unwrap();
    assert_eq!(maru.error("SELECT sum(n) FROM dying.sample.numbers").await.sqlstate(), "HV00N");
}

#[tokio::test]
async fn objects_and_comments_survive_a_restart_without_showing_secrets() {
    let maru = fixture().await;
    maru.run(
        "CREATE SECRET s WITH (rows = '77'); \
         CREATE CATALOG m USING memory WITH (secret = 's'); \
         COMMENT ON CATALOG m IS 'numbers'; \
         CREATE SCHEMA demo; \
         CREATE VIEW demo.v AS SELECT n FROM m.sample.numbers WHERE n < 5; \
         CREATE VIEW demo.w (x) AS SELECT n * 2 FROM demo.v",
    )
    .await
    .unwrap();
    let Fixture { _dir, engine, session } = maru;
    let config = engine.config().clone();
    session.close();
    engine.close(Duration::from_secs(1)).await;
    drop(engine);
    let engine = Engine::open(config).await.unwrap();
    let session = engine.session(Login::embedded()).await.unwrap();
    let maru = Fixture { _dir, engine, session };
    assert_eq!(maru.rows("SELECT count(*) FROM m.sample.numbers").await.unwrap(), "77");
    let sum =
        maru.rows("SELECT sum(x) = (SELECT 2 * sum(n) FROM demo.v) FROM demo.w").await.unwrap();
    assert_eq!(sum, "true");
    let catalogs = maru.rows("SELECT name, comment FROM system.catalogs ORDER BY 1").await.unwrap();
    assert_eq!(catalogs, "m|numbers\nmaru|views and tables made by SQL");
    let past =
        maru.rows("SELECT sql FROM system.queries WHERE sql LIKE 'CREATE SECRET%'").await.unwrap();
    assert!(past.contains("********") && !past.contains("77"), "{past}");
    let error = maru.error("DROP SECRET s").await;
    assert_eq!(error.sqlstate(), "2BP01");
    maru.run("DROP CATALOG m; DROP SECRET s").await.unwrap();
    assert_eq!(maru.error("SELECT * FROM demo.v").await.sqlstate(), "42P01");
}

#[tokio::test]
async fn a_view_that_reads_itself_is_refused() {
    let maru = fixture().await;
    maru.run("CREATE VIEW a AS SELECT 1 AS x; CREATE VIEW b AS SELECT * FROM a").await.unwrap();
    maru.run("CREATE OR REPLACE VIEW a AS SELECT * FROM b").await.unwrap();
    assert_eq!(maru.error("SELECT * FROM a").await.sqlstate(), "54000");
}

#[tokio::test]
async fn every_system_table_answers() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG m USING memory").await.unwrap();
    for table in crate::system::TABLES {
        let rows = maru.rows(&format!("SELECT * FROM system.{}", table.name())).await;
        assert!(rows.is_ok(), "{}: {rows:?}", table.name());
        assert!(!table.doc.is_empty());
    }
    for view in crate::system::information_schema::names() {
        let rows = maru.rows(&format!("SELECT * FROM information_schema.{view}")).await;
        assert!(rows.is_ok(), "{view}: {rows:?}");
    }
    let columns = maru.rows("DESCRIBE m.sample.numbers").await.unwrap();
    assert!(columns.starts_with("n|bigint|"), "{columns}");
    assert_eq!(maru.rows("SHOW pushdown").await.unwrap(), "on");
    assert_eq!(maru.error("DESCRIBE m.sample.nope").await.sqlstate(), "42P01");
    let one = maru.rows("SELECT relname FROM pg_catalog.pg_class WHERE relname = 'nope'").await;
    assert_eq!(one.unwrap(), "");
}

#[tokio::test]
async fn the_time_of_a_statement_counts_from_its_arrival() {
    let maru = fixture().await;
    maru.run("SET statement_timeout = '30s'").await.unwrap();
    let text = StatementText::one("SELECT pg_sleep(20)");
    let prepared = maru.session.prepare(&text, &[]).await.unwrap();
    let started = Instant::now();
    let arrived = started.checked_sub(Duration::from_millis(29_900)).unwrap();
    let error = match maru.session.execute_since(&prepared, Vec::new(), arrived).await {
        Err(error) => error,
        Ok(Output { body: Body::Rows(rows), .. }) => rows.collect().await.unwrap_err(),
        Ok(_) => panic!("it gives no rows"),
    };
    assert_eq!(error.sqlstate(), "57014");
    assert!(error.primary().contains("timeout"), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn parameters_are_typed_and_bound() {
    let maru = fixture().await;
    maru.run("CREATE CATALOG m USING memory WITH (rows = 100)").await.unwrap();
    let text = StatementText::one("SELECT n FROM m.sample.numbers WHERE n = $1 AND n < $2");
    let prepared = maru.session.prepare(&text, &[]).await.unwrap();
    assert_eq!(prepared.parameters, vec![Some(DataType::Int64), Some(DataType::Int64)]);
    use datafusion::common::ScalarValue::Int64;
    let output = maru.session.execute(&prepared, vec![Int64(Some(7)), Int64(Some(50))]).await;
    let Body::Rows(rows) = output.unwrap().body else { panic!() };
    let batches = rows.collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    let error = maru.session.execute(&prepared, vec![]).await.unwrap_err();
    assert_eq!(error.sqlstate(), "08P01");
}

/// Plans grow old, and a COPY is planned again as a whole: what it copies has no text of its own.
#[tokio::test]
async fn a_copy_may_wait_and_run_again() {
    let t = fixture().await;
    let login = Login { protocol: crate::access::Protocol::Postgres, ..Login::embedded() };
    let session = t.engine.session(login).await.unwrap();
    for rows in ["VALUES (1), (2)", "SELECT name FROM system.connectors LIMIT 2"] {
        let text = StatementText::one(format!("COPY ({rows}) TO STDOUT"));
        let prepared = session.prepare(&text, &[]).await.unwrap();
        for _ in 0..2 {
            tokio::time::sleep(Planned::GOOD_FOR + Duration::from_millis(50)).await;
            let output = session.execute(&prepared, Vec::new()).await.unwrap();
            let Body::Copy { rows, .. } = output.body else { panic!("a COPY gives no rows") };
            let batches = rows.collect().await.unwrap();
            assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
        }
    }
}

#[tokio::test]
async fn a_failed_transaction_waits_for_its_end() {
    let maru = fixture().await;
    maru.run("BEGIN").await.unwrap();
    maru.session.fail_transaction();
    assert_eq!(maru.error("SELECT 1").await.sqlstate(), "25P02");
    maru.run("ROLLBACK").await.unwrap();
    assert_eq!(maru.rows("SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn passwords_are_checked() {
    let maru = fixture().await;
    maru.engine.check_password("maru", "pw", "").await.unwrap();
    for (user, password) in [("maru", "wrong"), ("nobody", "pw"), ("maru", "")] {
        let error = maru.engine.check_password(user, password, "").await.unwrap_err();
        assert_eq!(error.sqlstate(), "28P01");
    }
}

#[tokio::test]
async fn a_preview_tells_of_its_files() {
    let maru = fixture().await;
    let dir = tempfile::tempdir().unwrap();
    for (day, text) in [("2026-01-01", "id,name\n1,a\n2,b\n"), ("2026-01-02", "id,name\n3,c\n")] {
        let folder = dir.path().join(format!("day={day}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("x.csv"), text).unwrap();
    }
    let path = dir.path().display();
    let output = maru.run(&format!("PREVIEW '{path}/' LIMIT 2")).await.unwrap();
    let [files, columns] = output.notices.as_slice() else { panic!("{:?}", output.notices) };
    let wanted = "CSV with delimiter ',' and a header: 2 files, 28 bytes, the newest of ";
    assert!(files.starts_with(wanted), "{files}");
    assert_eq!(columns, "columns: id bigint, name text, day date (from the directories)");
    let rows = maru.rows(&format!("PREVIEW '{path}/**/*.csv'")).await.unwrap();
    assert_eq!(rows.lines().count(), 3);
    let rows = maru.rows("PREVIEW system.settings LIMIT 1").await.unwrap();
    assert_eq!(rows.lines().count(), 1);
}

#[tokio::test]
async fn a_column_that_no_file_has_is_told() {
    let maru = fixture().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.json"), "{\"a\": 1}\n").unwrap();
    let path = dir.path().display();
    let create =
        format!("CREATE EXTERNAL TABLE t (a bigint, b text) STORED AS JSON LOCATION '{path}'");
    let output = maru.run(&create).await.unwrap();
    assert_eq!(output.notices, ["no file has column \"b\": it is NULL"]);
}
