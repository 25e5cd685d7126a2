//! SQLite: types, misfits, filters on and off, and that nothing stays open.

use std::collections::BTreeSet;

use arrow::util::display::array_value_to_string;
use datafusion::prelude::SessionContext;
use maru_connect::{FederatedTable, ScanRequest, conformance};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::*;

mod held;
mod verify;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, low TEXT COLLATE NOCASE, ok BOOLEAN, \
    price DECIMAL(10,2), ratio REAL, born DATE, at TIMESTAMP, raw BLOB, any)";

async fn database(statements: &[&str]) -> (tempfile::TempDir, SqliteSource) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    for sql in statements {
        sqlx::query(AssertSqlSafe(sql.to_string())).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let (closed, _) = watch::channel(false);
    (dir, SqliteSource { file: File { path, closed: Arc::new(closed) }, read_only: false })
}

async fn rows(source: &SqliteSource, sql: &str, pushdown: bool) -> Result<BTreeSet<String>> {
    let table = source.table("main", "t").await?.unwrap();
    let context = SessionContext::new();
    let table = FederatedTable::new("lite", table).with_pushdown(pushdown);
    context.register_table("t", Arc::new(table))?;
    let batches = context.sql(sql).await?.collect().await?;
    let mut lines = BTreeSet::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
            lines.insert(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}

#[tokio::test]
async fn reads_declared_types_and_null() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t VALUES (1, '가', 'A', 1, 12.5, 2, '2026-11-22', '2026-11-22 09:30:00.5', x'01ff', 7)",
        "INSERT INTO t (id) VALUES (9223372036854775807)",
    ])
    .await;
    assert!(source.check().await.unwrap().starts_with("SQLite 3"));
    let found = rows(&source, "SELECT * FROM t", true).await.unwrap();
    let wanted = [
        "1|가|A|true|12.50|2.0|2026-11-22|2026-11-22T09:30:00.500|01ff|7".to_owned(),
        "9223372036854775807|||||||||".to_owned(),
    ];
    assert_eq!(found, BTreeSet::from(wanted));
    assert_eq!(
        rows(&source, "SELECT count(*) FROM t", true).await.unwrap(),
        ["2".to_owned()].into()
    );
    assert!(source.table("main", "nope").await.unwrap().is_none());
}

#[tokio::test]
async fn values_that_are_not_of_their_type_are_errors() {
    for (insert, sqlstate) in [
        ("INSERT INTO t (id, ok) VALUES (1, 2)", "22P02"),
        ("INSERT INTO t (id, price) VALUES (1, 'dear')", "22P02"),
        ("INSERT INTO t (id, price) VALUES (1, 1.005)", "22003"),
        ("INSERT INTO t (id, born) VALUES (1, 'soon')", "22007"),
        ("INSERT INTO t (id, name) VALUES (1, x'ff')", "22P02"),
    ] {
        let (_dir, source) = database(&[TABLE, insert]).await;
        let error = rows(&source, "SELECT * FROM t", true).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{insert}: {error:?}");
    }
}

/// Runs statements past the source.
async fn run(source: &SqliteSource, sql: &str) {
    let options = SqliteConnectOptions::new().filename(&source.file.path);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_column_that_was_changed_is_never_its_own_name() {
    for (change, sqlstate) in [
        ("ALTER TABLE t RENAME name TO z", "HV000"),
        ("ALTER TABLE t DROP COLUMN name", "HV000"),
        (
            "CREATE TABLE u AS SELECT id, 7 AS name FROM t; DROP TABLE t; ALTER TABLE u RENAME TO t",
            "HV000",
        ),
        ("DROP TABLE t", "HV00R"),
    ] {
        let (_dir, source) = database(&[
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)",
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        ])
        .await;
        let SourceTable::Remote(table) = source.table("main", "t").await.unwrap().unwrap() else {
            panic!()
        };
        run(&source, "ALTER TABLE t ADD COLUMN more TEXT; CREATE TABLE v (x)").await;
        let context = SessionContext::new();
        let known = FederatedTable::new("lite", SourceTable::Remote(Arc::clone(&table)));
        context.register_table("t", Arc::new(known)).unwrap();
        let ask = async |sql: &str| -> Result<usize> {
            let batches = context.sql(sql).await?.collect().await?;
            Ok(batches.iter().map(|batch| batch.num_rows()).sum())
        };
        assert_eq!(ask("SELECT * FROM t").await.unwrap(), 2, "more columns do no harm");
        assert!(!table.is_outdated());
        run(&source, change).await;
        for sql in [
            "SELECT * FROM t",
            "SELECT name, count(*) FROM t GROUP BY name",
            "SELECT count(*) FROM t WHERE name > 'a'",
            "SELECT name FROM t ORDER BY name LIMIT 1",
            "SELECT a.name FROM t a JOIN t b ON a.id = b.id",
        ] {
            let error = ask(sql).await.unwrap_err();
            assert_eq!(error.sqlstate(), sqlstate, "{change}: {sql}: {error:?}");
        }
        assert!(table.is_outdated(), "{change}");
    }
}

#[tokio::test]
async fn times_of_utc_are_read_and_those_of_other_zones_are_not_guessed() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t (id, at) VALUES (1, '2026-01-01T10:00:00Z'), (2, '2026-01-01 10:00:00.5 Z')",
    ])
    .await;
    let found = rows(&source, "SELECT at FROM t", true).await.unwrap();
    let wanted = ["2026-01-01T10:00:00", "2026-01-01T10:00:00.500"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
    run(&source, "INSERT INTO t (id, at) VALUES (3, '2026-01-01T10:00:00+09:00')").await;
    let error = rows(&source, "SELECT at FROM t", true).await.unwrap_err();
    assert_eq!(error.sqlstate(), "22007");
    assert!(error.hint().unwrap().contains("datetime()"), "{error:?}");
}

#[tokio::test]
async fn filters_give_the_same_rows_on_and_off() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t (id, name, low) VALUES (1, 'a', 'A'), (2, 'A', 'a'), (3, NULL, NULL), (4, '', ' '), \
         (5, 'a ', 'it''s'), (6, '가나', '가')",
    ])
    .await;
    for filter in [
        "id = 2",
        "id <> 2",
        "id > 2 AND id <= 5",
        "NOT (id = 2)",
        "id IN (1, 3, 99)",
        "id NOT IN (1, 3)",
        "name = 'a'",
        "name <> 'a'",
        "name > 'A'",
        "name >= 'a' OR id = 3",
        "low = 'a'",
        "low = 'A'",
        "low IN ('a', 'it''s')",
        "low NOT IN ('a')",
        "low < 'a'",
        "name IS NULL",
        "name IS NOT NULL",
        "name IN ('가나', '')",
        "name LIKE 'a%'",
        "low LIKE 'a'",
        "name = 'a' AND low = 'A'",
        "name = ''",
    ] {
        let sql = format!("SELECT id FROM t WHERE {filter}");
        let on = rows(&source, &sql, true).await.unwrap();
        let off = rows(&source, &sql, false).await.unwrap();
        assert_eq!(on, off, "{filter}");
    }
}

#[tokio::test]
async fn keeps_what_every_connector_promises() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t (id, name, low, ok, price, born) VALUES (1, 'a', 'A', 1, 1.5, '2024-02-29'), \
         (2, 'A', 'a', 0, -1, '1969-12-31'), (3, NULL, NULL, NULL, NULL, NULL), (4, '', ' ', 1, 0, '0001-01-01'), \
         (5, 'a ', 'it''s', 0, 2, '9999-12-31'), (-9223372036854775807, '가나', '가', 1, 9.99, '2024-01-01')",
    ])
    .await;
    let subject = conformance::Subject::new(&SqliteConnector, Arc::new(source), "main", "t");
    let report = conformance::hold(subject).await.unwrap();
    assert!(report.pushed > 0, "{report:?}");
}

#[tokio::test]
async fn says_what_is_wrong_with_the_file() {
    let (dir, source) = database(&[TABLE]).await;
    std::fs::write(
        &source.file.path,
        "this is no database, however long it may be, and it is long enough",
    )
    .unwrap();
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "HV024");
    std::fs::remove_file(&source.file.path).unwrap();
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "HV024");
    drop(dir);
}

#[tokio::test]
async fn closing_leaves_no_file_open() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t (id) SELECT value FROM (WITH RECURSIVE c(value) AS \
        (SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 50000) SELECT value FROM c)",
    ])
    .await;
    let SourceTable::Remote(table) = source.table("main", "t").await.unwrap().unwrap() else {
        panic!()
    };
    let mut stream =
        table.read(ScanRequest { batch_rows: 10, ..ScanRequest::all(&table.schema()) });
    futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
    source.close().await;
    let open = |path: &std::path::Path| {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .any(|target| target == path)
    };
    assert!(!open(&source.file.path));
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "HV00N");
}

/// A query whose only row takes very long.
const ENDLESS: &str = "SELECT count(*) AS n FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c)";

#[tokio::test]
async fn a_statement_ends_before_its_first_row() {
    let (_dir, source) = database(&[TABLE]).await;
    let begin = async || {
        let SourceTable::Remote(table) = source.native_query(ENDLESS).await.unwrap() else {
            panic!()
        };
        let mut stream = table.read(ScanRequest::all(&table.schema()));
        let wait = std::time::Duration::from_millis(300);
        let first = tokio::time::timeout(wait, futures::StreamExt::next(&mut stream)).await;
        assert!(first.is_err(), "it was to have no row yet");
        stream
    };
    // Given up by the reader: SQLite's thread is gone soon after, and its receiver with it.
    drop(begin().await);
    let given_up = std::time::Instant::now();
    while source.file.closed.receiver_count() > 0 {
        assert!(given_up.elapsed() < std::time::Duration::from_secs(5));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Closed under a reader.
    let mut stream = begin().await;
    let closing = std::time::Instant::now();
    source.close().await;
    assert!(closing.elapsed() < std::time::Duration::from_secs(5));
    let error = futures::StreamExt::next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N");
}

#[tokio::test]
async fn native_queries_have_the_types_of_their_columns() {
    let (_dir, source) = database(&[
        TABLE,
        "INSERT INTO t VALUES (1, '가', 'A', 1, 12.5, 2, '2026-11-22', '2026-11-22 09:30:00.5', x'01ff', 7)",
    ])
    .await;
    let types = async |query: &str| -> Result<String> {
        let SourceTable::Remote(table) = source.native_query(query).await? else { panic!() };
        let fields = table.schema().fields().clone();
        let shown = fields.iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        Ok(shown.collect::<Vec<_>>().join(", "))
    };
    let all = types("SELECT * FROM t; ").await.unwrap();
    // SQLite calls the one without a declared type a BLOB, as it does in views.
    assert_eq!(
        all,
        "id Int64, name Utf8, low Utf8, ok Boolean, price Decimal128(10, 2), ratio Float64, born Date32, \
         at Timestamp(µs), raw Binary, any Binary"
    );
    let computed = "SELECT id + 1 AS a, count(*) AS b, CAST(sum(id) AS INTEGER) AS c, CAST(price AS REAL) AS d, \
                    max(born) AS e, name || 'x' AS f, x'00' AS g, NULL AS h FROM t";
    let expected = "a Utf8, b Utf8, c Int64, d Float64, e Utf8, f Utf8, g Utf8, h Utf8";
    assert_eq!(types(computed).await.unwrap(), expected);
    for (query, sqlstate, words) in [
        ("SELECT 1; SELECT 2", "42000", "more than one statement"),
        ("SELECT 1) x; DROP TABLE t; SELECT * FROM (SELECT 1", "42000", "a parenthesis too many"),
        ("SELECT ?1", "42000", "parameter"),
        ("DELETE FROM t", "HV000", "near \"DELETE\": syntax error"),
        ("INSERT INTO t (id) VALUES (9) RETURNING id", "HV000", "near \"INSERT\""),
        ("PRAGMA user_version", "HV00R", "no such table: PRAGMA"),
        ("SELECT * FROM nowhere", "HV00R", "no such table: nowhere"),
        ("SELECT nope FROM t", "HV000", "no such column: nope"),
        ("", "HV000", "syntax error"),
    ] {
        let error = types(query).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{query}: {error:?}");
        assert!(error.message().contains(words), "{query}: {}", error.message());
    }
}
