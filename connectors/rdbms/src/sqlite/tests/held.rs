//! Values of another type than the declared one: what SQLite computes with them is the error that reading them is.

use datafusion::execution::SessionStateBuilder;
use maru_connect::PushIntoSources;

use super::*;

/// Asks with everything that is pushed, and returns the rows, or the SQLSTATE.
async fn asked(
    source: &SqliteSource,
    pushdown: bool,
    sql: &str,
) -> std::result::Result<String, String> {
    let state = SessionStateBuilder::new().with_default_features();
    let state = state.with_optimizer_rule(Arc::new(PushIntoSources)).build();
    let context = SessionContext::new_with_state(state);
    for name in ["o", "p", "strict"] {
        let table = source.table("main", name).await.unwrap().unwrap();
        let table = FederatedTable::new("lite", table).with_pushdown(pushdown);
        context.register_table(name, Arc::new(table)).unwrap();
    }
    let rows = async { Ok::<_, Error>(context.sql(sql).await?.collect().await?) };
    let batches = rows.await.map_err(|error| error.sqlstate().to_owned())?;
    let mut lines = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    Ok(lines.join(" "))
}

async fn odd() -> (tempfile::TempDir, SqliteSource) {
    database(&[
        "CREATE TABLE o (id INTEGER PRIMARY KEY, i INT, t TEXT, b BOOLEAN, f REAL, d DATE)",
        "CREATE INDEX o_i ON o (i)",
        "CREATE TABLE p (k INT UNIQUE, v TEXT)",
        "CREATE TABLE strict (n INT, s TEXT) STRICT",
        "INSERT INTO o VALUES (1, 'abc', x'61', 7, 'x', 'soon'), (2, 1.5, 'a', 1, 2, '2026-11-22'), \
         (3, 1, 'b', 0, 0.5, NULL), (4, NULL, NULL, NULL, NULL, NULL)",
        "INSERT INTO p VALUES (1, 'one'), ('abc', 'letters'), (1.5, 'more')",
        "INSERT INTO strict VALUES (1, 'a'), (2, 'b')",
    ])
    .await
}

#[tokio::test]
async fn what_satisfies_a_condition_is_looked_at() {
    let (_dir, source) = odd().await;
    for sql in [
        "SELECT id FROM o WHERE i > 0",
        "SELECT id FROM o WHERE i BETWEEN 1 AND 2",
        "SELECT id FROM o WHERE NOT (i <= 0)",
        "SELECT id FROM o WHERE i <> 1",
        "SELECT id FROM o WHERE i NOT IN (1, 2, 3, 4)",
        "SELECT id FROM o WHERE t > 'a'",
        "SELECT id FROM o WHERE t <> 'a'",
        "SELECT count(*) FROM o WHERE i > 0",
        "SELECT count(*) FILTER (WHERE i > 0) FROM o",
        "SELECT count(DISTINCT i) FROM o",
        "SELECT count(i) FROM o",
        "SELECT count(t) FROM o",
        "SELECT count(b) FROM o",
        "SELECT count(f) FROM o",
        "SELECT count(d) FROM o",
        "SELECT max(i) FROM o",
        "SELECT max(t) FROM o",
        "SELECT DISTINCT t FROM o",
        "SELECT i, count(*) FROM o GROUP BY i",
        "SELECT id FROM o ORDER BY i DESC NULLS LAST LIMIT 1",
        "SELECT id FROM o ORDER BY t DESC NULLS LAST LIMIT 1",
        "SELECT o.id, p.v FROM o JOIN p ON o.i = p.k",
        "SELECT o.id, p.v FROM o LEFT JOIN p ON o.i = p.k",
        "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM p WHERE p.k = o.i)",
        "SELECT id FROM o WHERE NOT EXISTS (SELECT 1 FROM p WHERE p.k = o.i)",
    ] {
        for pushdown in [false, true] {
            let found = asked(&source, pushdown, sql).await;
            let expected = if sql.contains("(d)") { "22007" } else { "22P02" };
            assert_eq!(found, Err(expected.to_owned()), "{sql}, pushdown {pushdown}");
        }
    }
    let error = rows_of_o(&source, "SELECT id FROM t WHERE i > 0").await.unwrap_err();
    let message = error.message();
    assert!(message.contains("column \"i\" of o is"), "{message}");
    assert!(message.contains("where a whole number was declared"), "{message}");
}

async fn rows_of_o(source: &SqliteSource, sql: &str) -> Result<usize> {
    let table = source.table("main", "o").await?.unwrap();
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lite", table)))?;
    let batches = context.sql(sql).await?.collect().await?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[tokio::test]
async fn what_is_not_satisfied_is_left_out_and_what_is_certain_is_not_looked_at() {
    let (_dir, source) = odd().await;
    for (sql, wanted) in [
        ("SELECT id FROM o WHERE i = 1", "3"),
        ("SELECT id FROM o WHERE i IN (1, 2)", "3"),
        ("SELECT id FROM o WHERE t = 'a'", "2"),
        ("SELECT id FROM o WHERE i IS NULL", "4"),
        ("SELECT count(*) FROM o WHERE id > 1", "3"),
        ("SELECT max(id), count(id) FROM o", "4|4"),
        ("SELECT max(n), count(s) FROM strict WHERE n > 0", "2|2"),
    ] {
        assert_eq!(asked(&source, true, sql).await, Ok(wanted.to_owned()), "{sql}");
    }
    for (table, column, looked_at) in [
        ("o", 0, false),
        ("o", 1, true),
        ("strict", 0, false),
        ("strict", 1, false),
        ("p", 0, true),
    ] {
        let SourceTable::Remote(remote) = source.table("main", table).await.unwrap().unwrap()
        else {
            panic!()
        };
        let is_text =
            remote.schema().field(column).data_type() == &arrow::datatypes::DataType::Utf8;
        let value = match is_text {
            true => datafusion::common::ScalarValue::from("a"),
            false => datafusion::common::ScalarValue::from(1_i64),
        };
        let op = maru_connect::CompareOp::Gt;
        let filter = maru_connect::Predicate::Compare { column, op, value };
        let request = ScanRequest { filters: vec![filter], ..ScanRequest::all(&remote.schema()) };
        let sql = remote.describe(&request);
        assert_eq!(sql.contains("typeof"), looked_at, "{sql}");
    }
}

#[tokio::test]
async fn views_and_keys_in_descending_order_hold_anything() {
    let (_dir, source) = database(&[
        "CREATE TABLE o (id INTEGER PRIMARY KEY DESC, x TEXT)",
        "CREATE VIEW p AS SELECT id FROM o",
        "CREATE TABLE strict (n INT)",
        "INSERT INTO o VALUES ('abc', NULL), (1, NULL)",
    ])
    .await;
    for sql in ["SELECT count(*) FROM o WHERE id > 0", "SELECT count(*) FROM p WHERE id > 0"] {
        assert_eq!(asked(&source, true, sql).await, Err("22P02".to_owned()), "{sql}");
    }
}
