//! Tests against a real server, `MARU_TEST_PG`.

use futures::StreamExt;
use maru_connect::{ScanRequest, conformance};
use sqlx::Executor;

use super::*;
use crate::testing::{
    eventually, open, options_of, read, remote, rows, same_three_ways, service, three_ways,
    two_ways,
};

/// A schema of its own for each test, so that tests run side by side.
struct Place {
    url: url::Url,
    schema: &'static str,
    source: Arc<dyn Source>,
}

async fn admin(url: &url::Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.unwrap()
}

/// Makes the schema afresh with `ddl`; `None` without a server.
async fn place(schema: &'static str, ddl: &'static str) -> Option<Place> {
    let url = service("MARU_TEST_PG")?;
    let mut connection = admin(&url).await;
    let sql = format!(
        "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; \
         SET search_path = {schema}; {ddl}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    let source = open(&PostgresConnector, &options_of(&url, &[])).await.unwrap();
    Some(Place { url, schema, source })
}

use sqlx::AssertSqlSafe;

impl Place {
    async fn table(&self, name: &str) -> SourceTable {
        remote(self.source.as_ref(), self.schema, name).await
    }

    /// Rows of pg_stat_activity of this schema's queries.
    async fn count(&self, condition: &str) -> i64 {
        let mut connection = admin(&self.url).await;
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE {condition}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
    }

    async fn end(self) {
        self.source.close().await;
        let sql = format!("DROP SCHEMA {} CASCADE", self.schema);
        admin(&self.url).await.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

const TYPES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN price AS numeric(8,3);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE types (
  id int PRIMARY KEY, i2 smallint, i8 bigint, f4 real, f8 double precision, n numeric(12,2), nfree numeric,
  b boolean, t text, v varchar(10), c char(5), d date, tm time, ts timestamp, tz timestamptz, iv interval, u uuid,
  j json, jb jsonb, bin bytea, ia int[], ta text[], m mood, p price, ip inet, mo money, pr pair, r int4range, nm name,
  ca char(3)[], na numeric(5,1)[], big numeric(60,3), o oid, cube int[][], mr int4multirange, ttz timetz, bits varbit(9), x xml);
INSERT INTO types (id) VALUES (1);
INSERT INTO types VALUES (2, -32768, -9223372036854775808, 'NaN', '-Infinity', -9999999999.99, -0.0000000001,
  false, '', '한글', 'ab', '0001-01-01', '00:00', '0001-01-01 00:00', '0001-01-01 00:00+00', '-1 mon 2 days',
  '00000000-0000-0000-0000-000000000000', '{\"a\": 1}', '{\"a\":1}', '', '{}', '{a,NULL,\"b c\"}', 'ok', 1.5,
  '10.0.0.1/8', 12.34, '(1,x)', '[1,5)', 'nm', '{ab,c}', '{1.5,NULL}', 123456789012345678901234567890.123, 4294967295, '{{1,NULL},{3,4}}', '{[1,3),[5,7)}', '12:34:56+09', B'101', '<a>x</a>');
INSERT INTO types VALUES (3, 32767, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 9999999999.99,
  9999999999999999999999999999.0123456789, true, E'a\\\\b\\n', 'x', 'abcde', '9999-12-31', '23:59:59.999999',
  '9999-12-31 23:59:59.999999', '2024-01-01 09:00+09', '178000000 years', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
  'null', '[]', '\\x00ff', '{1,NULL,3}', '{}', 'sad', 0, '::1', -1, NULL, 'empty', '', NULL, '{}', 0, 0);
INSERT INTO types (id, iv) VALUES (4, '1 year 2 mons 3 days 04:05:06.789');
";

#[tokio::test]
async fn every_type_arrives_whole() {
    let Some(place) = place("maru_types", TYPES).await else { return };
    let table = place.table("types").await;
    let context = two_ways(&table).await;
    let all = rows(&context, "SELECT * FROM u WHERE id <> 3").await;
    assert!(all.is_ok(), "{all:?}");
    let text = rows(
        &context,
        "SELECT i2, i8, f4, f8, n, nfree, b, t, v, c, d, tm, ts, tz, u, j, jb, bin, ia, ta, m, p, ip, mo, pr, r, \
         nm, ca, na, big, o, cube, mr, ttz, bits, x FROM u WHERE id = 2",
    )
    .await
    .unwrap();
    let last = text.lines().nth(3).unwrap();
    let values = last.split('|').map(str::trim).collect::<Vec<_>>();
    assert_eq!(
        values[1..values.len() - 1],
        [
            "-32768",
            "-9223372036854775808",
            "NaN",
            "-inf",
            "-9999999999.99",
            "-0.0000000001",
            "false",
            "",
            "한글",
            "ab",
            "0001-01-01",
            "00:00:00",
            "0001-01-01T00:00:00",
            "0001-01-01T00:00:00Z",
            "00000000-0000-0000-0000-000000000000",
            "{\"a\": 1}",
            "{\"a\": 1}",
            "",
            "[]",
            "[a, , b c]",
            "ok",
            "1.500",
            "10.0.0.1/8",
            "$12.34",
            "(1,x)",
            "[1,5)",
            "nm",
            "[ab, c]",
            "[1.5, ]",
            "123456789012345678901234567890.123",
            "4294967295",
            "{{1,NULL},{3,4}}",
            "{[1,3),[5,7)}",
            "12:34:56+09",
            "101",
            "<a>x</a>"
        ]
    );
    let text = rows(
        &context,
        "SELECT i2, i8, f4, f8, n, nfree, b, t, c, d, tm, ts, tz, u, jb, bin, ia, ta FROM u WHERE id = 3",
    )
    .await
    .unwrap();
    let values = text.lines().nth(3).unwrap().split('|').map(str::trim).collect::<Vec<_>>();
    assert_eq!(
        values[1..values.len() - 1],
        [
            "32767",
            "9223372036854775807",
            "3.4028235e38",
            "1.7976931348623157e308",
            "9999999999.99",
            "9999999999999999999999999999.0123456789",
            "true",
            "a\\b",
            "abcde",
            "9999-12-31",
            "23:59:59.999999",
            "9999-12-31T23:59:59.999999",
            "2024-01-01T00:00:00Z",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "[]",
            "00ff",
            "[1, , 3]",
            "[]"
        ]
    );
    let text = rows(&context, "SELECT iv FROM u WHERE id = 4").await.unwrap();
    assert!(text.contains("14 mons 3 days 4 hours 5 mins 6.789"), "{text}");
    let nulls = read(&table, ScanRequest::all(&table.schema())).await;
    assert!(nulls.is_ok(), "{nulls:?}");
    let first = &nulls.unwrap()[0];
    assert!((1..first.num_columns()).all(|column| first.column(column).is_null(0)));
    place.end().await;
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_with_its_column() {
    let ddl = "CREATE TABLE odd (n numeric, nn numeric(5,2), d date, ts timestamp, tm time, a int[], iv interval);
        INSERT INTO odd VALUES (1.00000000001, 'NaN', 'infinity', '-infinity', '24:00', '{{1},{2}}',
                                '178000000 years 2562047788:00:00');";
    let Some(place) = place("maru_odd", ddl).await else { return };
    let table = place.table("odd").await;
    for (column, sqlstate) in [
        ("n", "22003"),
        ("nn", "22003"),
        ("d", "22007"),
        ("ts", "22007"),
        ("tm", "22007"),
        ("a", "HV004"),
        ("iv", "22003"),
    ] {
        let index = table.schema().index_of(column).unwrap();
        let request = ScanRequest { projection: vec![index], ..ScanRequest::all(&table.schema()) };
        let error = read(&table, request).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(
            error.primary().contains(&format!("column \"{column}\" of maru_odd.odd")),
            "{error:?}"
        );
    }
    place.end().await;
}

/// Each row has one value that the engine cannot hold, but for the first.
const UNHELD: &str = "CREATE TABLE unheld (id int PRIMARY KEY, n numeric(5,2), nf numeric, nb numeric(60,5), d date, ts timestamp,
        tz timestamptz, tm time);
    INSERT INTO unheld VALUES (1, 9, 9, 9, '2024-01-01', '2024-01-01', '2024-01-01', '12:00');
    INSERT INTO unheld (id, n) VALUES (2, 'NaN');
    INSERT INTO unheld (id, nf) VALUES (3, 1 / 3.0), (4, 'NaN'), (5, 1e30);
    INSERT INTO unheld (id, nb) VALUES (6, 1e40), (7, -1e40);
    INSERT INTO unheld (id, d) VALUES (8, 'infinity'), (9, '-infinity');
    INSERT INTO unheld (id, ts) VALUES (10, 'infinity'), (11, '-infinity'), (12, '294260-01-01');
    INSERT INTO unheld (id, tz) VALUES (13, 'infinity'), (14, '-infinity');
    INSERT INTO unheld (id, tm) VALUES (15, '24:00');
    CREATE VIEW v_unheld AS SELECT * FROM unheld;";

#[tokio::test]
async fn what_cannot_be_held_is_not_counted_either() {
    let Some(place) = place("maru_unheld", UNHELD).await else { return };
    let table = place.table("unheld").await;
    let context = two_ways(&table).await;
    // A condition that the value satisfies there, and one that it does not, which need not look at it.
    for (ids, column, satisfied, other) in [
        ("2", "n", "n > 5", "n < 20"),
        ("2", "n", "n <> 5", "n = 9"),
        ("2", "n", "NOT (n <= 5)", "n IN (9, 8)"),
        ("2", "n", "n NOT IN (1, 2)", "n BETWEEN 5 AND 10"),
        ("3", "nf", "nf > 0", "nf = 9"),
        ("3", "nf", "nf >= 0 AND nf < 1", "nf > 5"),
        ("4", "nf", "nf > 5", "nf < 20"),
        ("5", "nf", "nf > 5", "nf < 20"),
        ("6", "nb", "nb > 5", "nb < 20"),
        ("7", "nb", "nb < 5", "nb > 5"),
        ("8", "d", "d > DATE '2020-01-01'", "d < DATE '2030-01-01'"),
        ("9", "d", "d < DATE '2030-01-01'", "d > DATE '2020-01-01'"),
        ("10", "ts", "ts > TIMESTAMP '2020-01-01'", "ts < TIMESTAMP '2030-01-01'"),
        ("11", "ts", "ts < TIMESTAMP '2030-01-01'", "ts > TIMESTAMP '2020-01-01'"),
        ("12", "ts", "ts <> TIMESTAMP '2030-01-01'", "ts = TIMESTAMP '2024-01-01'"),
        (
            "13",
            "tz",
            "tz > TIMESTAMP '2020-01-01 00:00:00Z'",
            "tz < TIMESTAMP '2030-01-01 00:00:00Z'",
        ),
        (
            "14",
            "tz",
            "tz < TIMESTAMP '2030-01-01 00:00:00Z' OR id = 0",
            "tz > TIMESTAMP '2020-01-01 00:00:00Z'",
        ),
        ("15", "tm", "tm > TIME '10:00'", "tm < TIME '13:00'"),
    ] {
        let ids = format!("id IN (1, {ids})");
        let mut errors = Vec::new();
        for (name, what) in [
            ("t", format!("count(*) FROM t WHERE {ids} AND {satisfied}")),
            ("t", format!("count(*) FILTER (WHERE {satisfied}) FROM t WHERE {ids}")),
            ("t", format!("id FROM t WHERE {ids} AND {satisfied}")),
            ("t", format!("count({column}) FROM t WHERE {ids}")),
            ("t", format!("count(DISTINCT {column}) FROM t WHERE {ids}")),
            ("t", format!("min({column}) FROM t WHERE {ids}")),
            ("t", format!("max({column}) FROM t WHERE {ids}")),
            ("t", format!("count(*) FROM t WHERE {ids} GROUP BY {column}")),
            ("t", format!("id FROM t WHERE {ids} ORDER BY {column} LIMIT 1")),
            ("t", format!("id FROM t WHERE {ids} ORDER BY {column} DESC LIMIT 1")),
            (
                "t",
                format!(
                    "a.id FROM t a JOIN t b ON a.{column} = b.{column} AND a.id = b.id WHERE a.{ids} AND b.{ids}"
                ),
            ),
            ("u", format!("count(*) FROM u WHERE {ids} AND {satisfied}")),
        ] {
            let told = rows(&context, &format!("SELECT {what}")).await;
            let error = told.map_err(|error| format!("{}: {}", error.sqlstate(), error.primary()));
            let error = error.expect_err(&format!("{name}: {what}"));
            assert!(
                error.contains(&format!("column \"{column}\" of maru_unheld.unheld")),
                "{what}: {error}"
            );
            // Without pushdown others are met first.
            if name == "t" {
                errors.push(error);
            }
        }
        errors.dedup();
        assert_eq!(errors.len(), 1, "{satisfied}: {errors:?}");
        let looked = format!("SELECT id FROM t WHERE {ids} AND {other}");
        let found = rows(&context, &looked).await.unwrap();
        assert!(found.lines().count() == 5 && found.contains("| 1 "), "{other}:\n{found}");
        let plan = rows(&context, &format!("EXPLAIN {looked}")).await.unwrap();
        assert!(!plan.contains("FilterExec"), "{other} stays:\n{plan}");
    }
    // NULL is neither, and what is held is as ever.
    let all =
        "SELECT count(n), count(nf), min(d), max(ts), count(DISTINCT tm) FROM t WHERE id IN (1, 7)";
    assert!(rows(&context, all).await.is_ok());
    // Between two bounds nothing needs to be asked.
    let plan = "EXPLAIN SELECT id FROM t WHERE ts >= TIMESTAMP '2024-01-01' AND ts < TIMESTAMP '2025-01-01'";
    assert!(!rows(&context, plan).await.unwrap().contains("CASE"));
    place.end().await;
}

#[tokio::test]
async fn numbers_that_are_too_long_say_what_to_do() {
    let Some(place) = place(
        "maru_long",
        "CREATE TABLE long AS SELECT 1 / 3.0 AS places, 1e30 AS free, 1e35::numeric(60,5) AS wide",
    )
    .await
    else {
        return;
    };
    let table = place.table("long").await;
    for (column, hint) in [("places", "Raise"), ("free", "lower"), ("wide", "column::text")] {
        let index = table.schema().index_of(column).unwrap();
        let request = ScanRequest { projection: vec![index], ..ScanRequest::all(&table.schema()) };
        let error = read(&table, request).await.unwrap_err();
        assert_eq!(error.sqlstate(), "22003", "{error:?}");
        assert!(error.primary().contains(&format!("column \"{column}\" of maru_long.long")));
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
    let query = "SELECT places::text AS places, wide::text AS wide FROM maru_long.long";
    let text = place.source.native_query(query).await.unwrap();
    assert_eq!(read(&text, ScanRequest::all(&text.schema())).await.unwrap()[0].num_rows(), 1);
    place.end().await;
}

#[tokio::test]
async fn a_column_that_was_altered_is_noticed_and_told() {
    let ddl = "CREATE TABLE altered (id int, a int NOT NULL, b text COLLATE \"C\"); INSERT INTO altered VALUES (1, 2, 'x');";
    let Some(place) = place("maru_noticed", ddl).await else { return };
    for change in [
        "ALTER TABLE altered ADD more int; ALTER TABLE altered ALTER a TYPE bigint",
        "ALTER TABLE altered ALTER a DROP NOT NULL",
        "ALTER TABLE altered RENAME a TO z",
        // What is called so by now is another column of the same type.
        "ALTER TABLE altered RENAME more TO a",
        "ALTER TABLE altered DROP a",
        "DROP TABLE altered; CREATE TABLE altered (a int)",
    ] {
        let table = place.table("altered").await;
        let SourceTable::Remote(remembered) = &table else { panic!() };
        let context = two_ways(&table).await;
        let has_a = table.schema().index_of("a").is_ok();
        let ask = if has_a { "SELECT count(*) FROM t WHERE a > 1" } else { "SELECT z FROM t" };
        rows(&context, ask).await.unwrap();
        let mut connection = admin(&place.url).await;
        let sql = format!("SET search_path = maru_noticed; {change}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        let harmless = change.contains("RENAME more");
        assert_eq!(rows(&context, ask).await.is_ok(), harmless, "{change}");
        assert_eq!(remembered.is_outdated(), !harmless, "{change}");
    }
    place.end().await;
}

const UGLY: &str = "
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE ugly (id int PRIMARY KEY, t text, v varchar(20), c char(6), cc text COLLATE \"C\", ct text COLLATE ci,
  n numeric(10,2), nf numeric, i bigint, f8 double precision, f4 real, b boolean, d date, ts timestamp,
  tz timestamptz, u uuid, m mood, ip inet, tm time);
INSERT INTO ugly VALUES
 (1, 'abc', 'abc', 'abc', 'abc', 'abc', 1.50, 1.5, 1, 1.5, 1.5, true, '2024-01-01', '2024-01-01 00:00',
  '2024-01-01 00:00+00', '11111111-1111-1111-1111-11111111111a', 'sad', '10.0.0.1', '10:00'),
 (2, 'ABC', 'ABC', 'ABC', 'ABC', 'ABC', -1.50, -1.5, -1, -1.5, -1.5, false, '1969-12-31', '1969-12-31 23:59:59.999999',
  '1969-12-31 23:59:59.999999+00', '22222222-2222-2222-2222-222222222222', 'ok', '10.0.0.2', '00:00'),
 (3, 'abc ', 'abc ', 'abc ', 'abc ', 'abc ', 0, 0, 0, 0, 0, NULL, '2024-02-29', '2024-02-29 12:00',
  '2024-02-29 12:00+09', '33333333-3333-3333-3333-333333333333', 'happy', '::1', '23:59:59.999999'),
 (4, '', '', '', '', '', 99999999.99, 12345678901234567890.5, 9223372036854775807, 'NaN', 'NaN', true, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL),
 (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (6, '한글', '한글', '한글', '한글', '한글', 2, 2, -9223372036854775808, '-0', '-0', false, '9999-12-31',
  '9999-12-31 23:59:59', '9999-12-31 23:59:59+00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'sad', NULL, NULL),
 (7, E'a\\\\b''c\"', E'a\\\\b', 'a''b', E'a\\\\b''c', E'a%b_c', 3, 3, 3, 'Infinity', 'Infinity', NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL),
 (8, E'a\\nb', 'Äbc', 'ä', 'Z', 'z', 4, 4, 4, '-Infinity', '-Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
";

/// Predicates that must give the same rows wherever they are evaluated.
const PREDICATES: &[&str] = &[
    "id = 3",
    "id <> 3",
    "id < 3",
    "id >= 3 AND id <= 5",
    "id IN (1, 4, 9)",
    "id NOT IN (1, 4)",
    "t = 'abc'",
    "t = 'ABC'",
    "t = 'abc '",
    "t = ''",
    "t <> 'abc'",
    "t <> ''",
    "t < 'abc'",
    "t >= 'abc'",
    "t > 'Z'",
    "t IN ('abc', '한글', '')",
    "t NOT IN ('abc', '한글')",
    "t LIKE 'a%'",
    "t LIKE '_bc'",
    "t LIKE '%글'",
    "t NOT LIKE 'A%'",
    "t LIKE 'a_b'",
    "t LIKE 'a\\\\%'",
    "t IS NULL",
    "t IS NOT NULL",
    "t = 'a\\b''c\"'",
    "t = 'a\nb'",
    "v = 'abc'",
    "v BETWEEN 'A' AND 'b'",
    "v LIKE 'Ä%'",
    "v = '한글'",
    "c = 'abc'",
    "c = 'abc '",
    "c <> 'abc'",
    "c = ''",
    "c IN ('abc', 'ABC')",
    "c LIKE 'abc'",
    "c > 'abc'",
    "c = 'ä'",
    "cc > 'Z'",
    "cc < 'abc'",
    "cc = 'abc'",
    "ct = 'abc'",
    "ct <> 'ABC'",
    "ct > 'abc'",
    "ct LIKE 'a%'",
    "ct NOT IN ('abc', 'z')",
    "n = 1.50",
    "n > 0",
    "n IN (1.50, 2.00)",
    "n < -1",
    "nf >= 1.5",
    "nf = 12345678901234567890.5",
    "i = 9223372036854775807",
    "i = -9223372036854775808",
    "i > 0",
    "NOT (i > 0)",
    "NOT (i IN (1, 3))",
    "f8 = 1.5",
    "f8 > 1.5",
    "f8 < 1.5",
    "f8 = 0",
    "f8 >= 0",
    "f8 <> 1.5",
    "f8 = 'NaN'",
    "f8 > 1e308",
    "f4 = CAST(1.5 AS REAL)",
    "f4 < CAST(1.5 AS REAL)",
    "b",
    "NOT b",
    "b = true",
    "b IS NULL",
    "b <> true",
    "d = DATE '2024-02-29'",
    "d < DATE '1970-01-01'",
    "d >= DATE '2024-01-01'",
    "d = DATE '9999-12-31'",
    "ts = TIMESTAMP '2024-01-01 00:00:00'",
    "ts < TIMESTAMP '1970-01-01 00:00:00'",
    "tz >= TIMESTAMP '2024-02-29 03:00:00Z'",
    "tz = '2024-02-29T03:00:00Z'",
    "u = '11111111-1111-1111-1111-11111111111a'",
    "u = '11111111-1111-1111-1111-11111111111A'",
    "u > '22222222-2222-2222-2222-222222222222'",
    "u = 'x'",
    "u LIKE '1%'",
    "m = 'sad'",
    "m > 'ok'",
    "m = 'none'",
    "m NOT IN ('sad')",
    "ip = '10.0.0.1'",
    "ip LIKE '10.%'",
    "tm < TIME '10:00:01'",
    "id = 1 OR t IS NULL",
    "id = 1 AND (t = 'abc' OR t IS NULL)",
    "NOT (t = 'abc' OR i > 0)",
    "NOT (t = 'abc' AND i > 0)",
    "t = 'abc' OR length(v) = 2",
    "id > 1 AND upper(t) = 'ABC'",
];

#[tokio::test]
async fn filters_give_the_same_rows_wherever_they_run() {
    let Some(place) = place("maru_ugly", UGLY).await else { return };
    let sent = same_three_ways(&place.table("ugly").await, PREDICATES).await;
    eprintln!("{sent} of {} predicates were sent", PREDICATES.len());
    assert!(sent > PREDICATES.len() * 2 / 3, "only {sent} were sent");
    place.end().await;
}

#[tokio::test]
async fn keeps_what_every_connector_promises() {
    let Some(place) = place("maru_held", UGLY).await else { return };
    let secret = place.url.password().unwrap().to_owned();
    let source = Arc::clone(&place.source);
    let subject = conformance::Subject::new(&PostgresConnector, source, "maru_held", "ugly")
        .with_secrets(&[&secret]);
    let report = conformance::hold(subject).await.unwrap();
    assert!(report.pushed > 2 * report.kept, "{report:?}");
    place.end().await;
}

#[tokio::test]
async fn sends_columns_filters_and_limit() {
    let Some(place) = place("maru_sent", UGLY).await else { return };
    let context = two_ways(&place.table("ugly").await).await;
    let plan = |sql: &'static str| {
        let context = context.clone();
        async move { rows(&context, &format!("EXPLAIN {sql}")).await.unwrap() }
    };
    let text = plan("SELECT v FROM t WHERE id = 7 AND t = 'O''Neil' LIMIT 5").await;
    let sent = r#"SELECT "v" FROM "maru_sent"."ugly" WHERE "id" = 7 AND "t" = 'O''Neil' LIMIT 5"#;
    assert!(text.contains(sent), "{text}");
    let text = plan("SELECT v FROM t WHERE length(v) = 1 LIMIT 5").await;
    assert!(!text.contains("\"ugly\" LIMIT"), "{text}");
    let text = plan("SELECT count(*) FROM t WHERE t >= 'a'").await;
    let sent = r#"SELECT count(*) FROM "maru_sent"."ugly" WHERE "t" COLLATE "C" >= 'a'"#;
    assert!(text.contains(sent), "{text}");
    let limited = rows(&context, "SELECT id FROM t LIMIT 3").await.unwrap();
    assert_eq!(limited.lines().count(), 3 + 4);
    place.end().await;
}

const NAMES: &str = "
CREATE TABLE \"Odd \"\"Name\"\"\" (\"Select\" int, \"from\" text);
INSERT INTO \"Odd \"\"Name\"\"\" VALUES (1, 'x');
CREATE VIEW seen AS SELECT * FROM \"Odd \"\"Name\"\"\";
CREATE TABLE parts (id int, k text) PARTITION BY LIST (k);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
INSERT INTO parts VALUES (1, 'a');
CREATE TABLE empty ();
COMMENT ON TABLE parts IS 'in parts';
";

#[tokio::test]
async fn lists_what_a_user_wants_to_see() {
    let Some(place) = place("maru_names", NAMES).await else { return };
    let source = &place.source;
    let schemas = source.schemas().await.unwrap();
    assert!(schemas.iter().any(|name| name == "maru_names"), "{schemas:?}");
    assert!(!schemas.iter().any(|name| name.starts_with("pg_") || name == "information_schema"));
    let tables = source.tables("maru_names").await.unwrap();
    let names = tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["Odd \"Name\"", "empty", "parts", "seen"]);
    assert_eq!(tables[3].kind, maru_connect::TableKind::View);
    assert_eq!(tables[2].comment.as_deref(), Some("in parts"));
    assert!(source.tables("no_such").await.unwrap().is_empty());
    assert!(source.table("maru_names", "no_such").await.unwrap().is_none());
    for name in ["Odd \"Name\"", "seen", "parts"] {
        let table = place.table(name).await;
        let batches = read(&table, ScanRequest::all(&table.schema())).await.unwrap();
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1, "{name}");
    }
    let table = place.table("empty").await;
    assert!(read(&table, ScanRequest::all(&table.schema())).await.unwrap().is_empty());
    place.end().await;
}

#[tokio::test]
async fn says_exactly_what_is_wrong() {
    let Some(url) = service("MARU_TEST_PG") else { return };
    let text =
        open(&PostgresConnector, &options_of(&url, &[])).await.unwrap().check().await.unwrap();
    assert!(text.starts_with("PostgreSQL 1") && text.contains("at 127.0.0.1:"), "{text}");
    let mut elsewhere = url.clone();
    elsewhere.set_password(None).unwrap();
    elsewhere.set_port(Some(1)).unwrap();
    let mut no_database = elsewhere.clone();
    no_database.set_port(url.port()).unwrap();
    no_database.set_path("no_such_database");
    for (more, sqlstate, says) in [
        (("password", "wrong"), "HV00L", "password authentication failed"),
        (("url", elsewhere.as_str()), "HV00N", "cannot reach PostgreSQL at 127.0.0.1:1"),
        (("url", no_database.as_str()), "HV024", "no_such_database"),
        (("url", "postgres://u@no-such-host.invalid/d"), "HV00N", "no-such-host.invalid"),
        (("tls", "require"), "HV00N", "TLS"),
    ] {
        let source = open(&PostgresConnector, &options_of(&url, &[more])).await.unwrap();
        let started = std::time::Instant::now();
        let error = source.check().await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.report().contains(says), "{error:?}");
        // A query learns the same, and at once.
        if more.0 != "tls" {
            assert_eq!(source.schemas().await.unwrap_err().sqlstate(), sqlstate);
        }
        assert!(started.elapsed().as_secs() < 8, "{more:?} took {:?}", started.elapsed());
        source.close().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    // Accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/d", silent.local_addr().unwrap());
    let options = [("url".to_owned(), url), ("connect_timeout".to_owned(), "300ms".to_owned())];
    let source = open(&PostgresConnector, &options).await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(source.check().await.unwrap_err().sqlstate(), "HV00N");
    assert_eq!(source.schemas().await.unwrap_err().sqlstate(), "HV00N");
    // By default it would be ten seconds for each.
    assert!(started.elapsed().as_secs() < 8);
}

const LONG: &str = "CREATE VIEW long AS SELECT g AS id, repeat('x', 100) AS filler FROM generate_series(1, 100000000) g;
    CREATE VIEW silent AS SELECT pg_sleep(600)::text AS filler;
    CREATE TABLE wide AS SELECT g AS id, repeat('x', 100) AS filler FROM generate_series(1, 50000) g;";

#[tokio::test]
async fn dropping_the_stream_ends_the_remote_query() {
    let Some(place) = place("maru_long", LONG).await else { return };
    for name in ["long", "silent"] {
        let SourceTable::Remote(table) = place.table(name).await else { panic!() };
        let mut stream = table.read(ScanRequest::all(&table.schema()));
        let running = format!("state = 'active' AND query LIKE 'COPY%maru_long\".\"{name}\"%'");
        if name == "long" {
            stream.next().await.unwrap().unwrap();
        } else {
            let runs = eventually("the query runs", async || place.count(&running).await == 1);
            tokio::select! {
                row = stream.next() => panic!("a row came: {row:?}"),
                () = runs => {}
            }
        }
        assert_eq!(place.count(&running).await, 1);
        drop(stream);
        eventually("the backend is idle", async || place.count(&running).await == 0).await;
    }
    place.end().await;
}

#[tokio::test]
async fn reads_stream_and_do_not_pile_up() {
    let Some(place) = place("maru_streamed", LONG).await else { return };
    let SourceTable::Remote(table) = place.table("long").await else { panic!() };
    // The view has a hundred million rows: without back-pressure this would not end.
    let mut stream =
        table.read(ScanRequest { batch_rows: 1000, ..ScanRequest::all(&table.schema()) });
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 1000);
    }
    drop(stream);
    let wide = place.table("wide").await;
    let batches = read(&wide, ScanRequest { batch_rows: 1000, ..ScanRequest::all(&wide.schema()) });
    let batches = batches.await.unwrap();
    assert_eq!(batches.len(), 50);
    assert!(batches.iter().all(|batch| batch.num_rows() == 1000));
    let request = ScanRequest { projection: vec![], ..ScanRequest::all(&wide.schema()) };
    let counted = read(&wide, request).await.unwrap();
    assert_eq!(counted.iter().map(|batch| batch.num_rows()).sum::<usize>(), 50_000);
    place.end().await;
}

#[tokio::test]
async fn closing_frees_every_connection_and_ends_readers() {
    let Some(place) = place("maru_closed", LONG).await else { return };
    let name = "maru_closing";
    let source = PostgresSource::new(&OpenContext {
        catalog: "crm".into(),
        instance: "crm1".into(),
        options: {
            let raw = options_of(&place.url, &[]);
            let raw = raw.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            maru_core::Options::check("connector", SPEC.options, raw).unwrap()
        },
        stores: crate::testing::no_stores(),
    })
    .unwrap();
    // Its own name at the server, so that other tests do not count.
    let pool_options =
        PgConnectOptions::clone(&source.connections.options()).application_name(name);
    source.connections.set_options(pool_options);
    let mine = format!("application_name = '{name}'");
    let SourceTable::Remote(table) = remote(&source, place.schema, "long").await else { panic!() };
    let mut one = table.read(ScanRequest::all(&table.schema()));
    let mut two = table.read(ScanRequest::all(&table.schema()));
    one.next().await.unwrap().unwrap();
    two.next().await.unwrap().unwrap();
    assert!(place.count(&mine).await >= 2);
    source.close().await;
    eventually("no connection is left", async || place.count(&mine).await == 0).await;
    let mut last = None;
    while let Some(batch) = one.next().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap().unwrap_err().sqlstate(), "HV00N");
    assert_eq!(source.schemas().await.unwrap_err().sqlstate(), "HV00N");
    place.end().await;
}

#[tokio::test]
async fn a_backend_that_dies_is_an_error_that_names_the_source() {
    let Some(place) = place("maru_dies", LONG).await else { return };
    let SourceTable::Remote(table) = place.table("long").await else { panic!() };
    let mut stream = table.read(ScanRequest::all(&table.schema()));
    stream.next().await.unwrap().unwrap();
    let mut connection = admin(&place.url).await;
    connection
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE 'COPY%maru_dies%' AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    let mut last = None;
    while let Some(batch) = stream.next().await {
        last = Some(batch);
    }
    let error = last.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
    assert!(error.primary().contains("PostgreSQL at 127.0.0.1:"), "{error:?}");
    // The next query finds a new connection.
    assert!(place.source.schemas().await.is_ok());
    place.end().await;
}

#[tokio::test]
async fn a_column_that_was_altered_is_never_misread() {
    let ddl = "CREATE TABLE altered (id int, x int); INSERT INTO altered VALUES (1, 2);";
    let Some(place) = place("maru_altered", ddl).await else { return };
    let table = place.table("altered").await;
    let alter = "ALTER TABLE maru_altered.altered ALTER x TYPE real; \
                 ALTER TABLE maru_altered.altered ADD y int";
    sqlx::raw_sql(alter).execute(&mut admin(&place.url).await).await.unwrap();
    let error = read(&table, ScanRequest::all(&table.schema())).await.unwrap_err();
    assert_eq!(error.sqlstate(), "HV000", "{error:?}");
    let request = ScanRequest { projection: vec![0], ..ScanRequest::all(&table.schema()) };
    assert_eq!(read(&table, request).await.unwrap()[0].num_rows(), 1);
    place.end().await;
}

#[tokio::test]
async fn native_queries_are_described_and_cannot_write() {
    let ddl = "CREATE TABLE n (id int, t text); INSERT INTO n VALUES (1, 'a'), (2, 'b');
        CREATE SEQUENCE s;";
    let Some(place) = place("maru_native", ddl).await else { return };
    let source = &place.source;
    let sql =
        "SELECT id, upper(t) AS big, array_agg(id) OVER () AS ids FROM maru_native.n -- all\n;";
    let table = source.native_query(sql).await.unwrap();
    let context = three_ways(&table).await;
    let text = rows(&context, "SELECT * FROM t WHERE big = 'B'").await.unwrap();
    assert!(text.contains("| 2  | B   | [1, 2] |"), "{text}");
    for (sql, sqlstate) in [
        ("DELETE FROM maru_native.n", "HV000"),
        ("SELECT 1 AS a) x; DROP TABLE maru_native.n; --", "HV000"),
        ("SELECT 1 AS a, 2 AS a", "42000"),
        ("SELECT * FROM no_such_table", "HV00R"),
    ] {
        assert_eq!(source.native_query(sql).await.unwrap_err().sqlstate(), sqlstate, "{sql}");
    }
    let writes = "SELECT nextval('maru_native.s') AS v";
    let table = source.native_query(writes).await.unwrap();
    let error = read(&table, ScanRequest::all(&table.schema())).await.unwrap_err();
    assert_eq!(error.sqlstate(), "25006", "{error:?}");
    place.end().await;
}

#[path = "parallel_tests.rs"]
mod parallel_tests;
