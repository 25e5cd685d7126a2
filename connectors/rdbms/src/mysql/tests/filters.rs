//! Filters: the same rows wherever they run, and what is sent.

use super::*;
use crate::testing::same_three_ways;

const UGLY: &str = "
CREATE TABLE ugly (id int PRIMARY KEY, t text, v varchar(20), c char(6), cs varchar(9) COLLATE utf8mb4_bin,
  l varchar(9) CHARACTER SET latin1, s varchar(9) CHARACTER SET sjis, n decimal(10,2), i bigint, u bigint unsigned, f8 double,
  f4 float, b boolean, d date, ts datetime(6), tz timestamp NULL, uu uuid, m enum('sad','ok','Happy'), tm time(6), y year,
  j json, bin varbinary(9), KEY (v), KEY (c), KEY (l), KEY (d), KEY (ts), KEY (uu), KEY (t(10)));
INSERT INTO ugly VALUES
 (1, 'abc', 'abc', 'abc', 'abc', 'abc', 'abc', 1.50, 1, 1, 1.5, 1.5, true, '2024-01-01', '2024-01-01', '2024-01-01',
  '11111111-1111-1111-1111-11111111111a', 'sad', '10:00', 2024, '{}', 'abc'),
 (2, 'ABC', 'ABC', 'ABC', 'ABC', 'ABC', 'ABC', -1.50, -1, 0, -1.5, -1.5, false, '1969-12-31', '1969-12-31 23:59:59.999999',
  '1970-01-01 23:59:59', '22222222-2222-2222-2222-222222222222', 'ok', '00:00', 1970, NULL, 'ABC'),
 (3, 'abc ', 'abc ', 'abc ', 'abc ', 'abc ', 'abc ', 0, 0, 18446744073709551615, 0, 0, NULL, '2024-02-29',
  '2024-02-29 12:00', '2024-02-29 03:00', '33333333-3333-3333-3333-333333333333', 'Happy', '23:59:59.999999', 1901, '[]', 'x'),
 (4, '', '', '', '', '', '', 99999999.99, 9223372036854775807, 7, 1e308, 1e38, true, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL),
 (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL),
 (6, '한글', '한글', '한글', '한글', 'é', '日本', 2, -9223372036854775808, 2, -0.0, 0, false, '9999-12-31',
  '9999-12-31 23:59:59', '2038-01-19 03:14:07', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'sad', NULL, 0, NULL, NULL),
 (7, 'a\\\\b''c\"', 'a\\\\b', 'a''b', 'a%b_c', 'a\\\\b', 'a\\\\b', 3, 3, 3, 3, 3, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL),
 (8, 'a\\nb', 'Äbc', 'ä', 'Z', 'Äbc', 'ｱ', 4, 4, 4, 4, 4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (9, '😀', 'straße', 'ss', 'z', 'ß', 'z', 5, 5, 5, 5, 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
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
    "t = '😀'",
    "t IN ('abc', '한글', '')",
    "t NOT IN ('abc', '한글')",
    "t LIKE 'a%'",
    "t LIKE '_bc'",
    "t LIKE '_'",
    "t LIKE '%글'",
    "t NOT LIKE 'A%'",
    "t LIKE 'a_b'",
    "t LIKE 'abc'",
    "t LIKE 'a\\\\%'",
    "t IS NULL",
    "t IS NOT NULL",
    "t = 'a\\b''c\"'",
    "t = 'a\nb'",
    "v = 'abc'",
    "v = 'äbc'",
    "v = 'strasse'",
    "v BETWEEN 'A' AND 'b'",
    "v NOT BETWEEN 'A' AND 'b'",
    "v LIKE 'Ä%'",
    "v LIKE 'ä%'",
    "v = '한글'",
    "c = 'abc'",
    "c = 'abc '",
    "c <> 'abc'",
    "c = ''",
    "c IN ('abc', 'ABC')",
    "c LIKE 'abc'",
    "c LIKE 'abc '",
    "c > 'abc'",
    "c = 'ä'",
    "cs > 'Z'",
    "cs < 'abc'",
    "cs = 'abc'",
    "cs = 'abc '",
    "l = 'é'",
    "l = 'e'",
    "l = 'abc'",
    "l = '한글'",
    "l IN ('😀', 'abc', 'Äbc')",
    "l < 'é'",
    "l LIKE '_'",
    "s = '日本'",
    "s = 'a\\b'",
    "s = '한글'",
    "s > 'abc'",
    "n = 1.50",
    "n > 0",
    "n IN (1.50, 2.00)",
    "n < -1",
    "i = 9223372036854775807",
    "i = -9223372036854775808",
    "i > 0",
    "NOT (i > 0)",
    "NOT (i IN (1, 3))",
    "u = 18446744073709551615",
    "u > 3",
    "u > -1",
    "u <> 0",
    "f8 = 1.5",
    "f8 > 1.5",
    "f8 < 1.5",
    "f8 = 0",
    "f8 >= 0",
    "f8 <> 1.5",
    "f8 = 'NaN'",
    "f8 >= 1e308",
    "f8 > 1e-310",
    "f4 = CAST(1.5 AS REAL)",
    "f4 < CAST(1.5 AS REAL)",
    "b",
    "NOT b",
    "b = true",
    "b IS NULL",
    "b IS NOT NULL",
    "b <> true",
    "b IS TRUE",
    "d = DATE '2024-02-29'",
    "d <> DATE '2024-02-29'",
    "d < DATE '1970-01-01'",
    "d >= DATE '2024-01-01'",
    "d = DATE '9999-12-31'",
    "d IN (DATE '2024-01-01', DATE '2024-02-29')",
    "d NOT IN (DATE '2024-01-01')",
    "d BETWEEN DATE '2024-01-01' AND DATE '2024-12-31'",
    "d IS NULL",
    "ts = TIMESTAMP '2024-01-01 00:00:00'",
    "ts < TIMESTAMP '1970-01-01 00:00:00'",
    "ts > TIMESTAMP '1969-12-31 23:59:59.999998'",
    "tz >= TIMESTAMP '2024-02-29 03:00:00Z'",
    "tz = '2024-02-29T03:00:00Z'",
    "tz < '2200-01-01T00:00:00Z'",
    "tz <> '2038-01-19T03:14:07Z'",
    "uu = '11111111-1111-1111-1111-11111111111a'",
    "uu = '11111111-1111-1111-1111-11111111111A'",
    "uu > '22222222-2222-2222-2222-222222222222'",
    "uu = 'x'",
    "uu LIKE '1%'",
    "m = 'sad'",
    "m = 'happy'",
    "m > 'ok'",
    "m = 'none'",
    "m NOT IN ('sad')",
    "tm < TIME '10:00:01'",
    "tm = TIME '23:59:59.999999'",
    "tm <> TIME '10:00:00'",
    "y = 2024",
    "y = 24",
    "y < 1970",
    "y <> 0",
    "j = '{}'",
    "bin = X'616263'",
    "id = 1 OR t IS NULL",
    "id = 1 AND (t = 'abc' OR t IS NULL)",
    "NOT (t = 'abc' OR i > 0)",
    "NOT (t = 'abc' AND i > 0)",
    "NOT (d >= DATE '2024-01-01' AND NOT b)",
    "t = 'abc' OR length(v) = 2",
    "id > 1 AND upper(t) = 'ABC'",
];

#[tokio::test]
async fn filters_give_the_same_rows_wherever_they_run() {
    let Some(place) = place("maru_ugly", UGLY).await else { return };
    let sent = same_three_ways(&place.table("ugly").await, PREDICATES).await;
    eprintln!("{sent} of {} predicates were sent", PREDICATES.len());
    assert!(sent > PREDICATES.len() * 3 / 4, "only {sent} were sent");
    let native = place.source.native_query("SELECT * FROM maru_ugly.ugly").await.unwrap();
    // Decimals have another scale there.
    let predicates = PREDICATES.iter().copied().filter(|predicate| !predicate.starts_with("n "));
    same_three_ways(&native, &predicates.collect::<Vec<_>>()).await;
    place.end().await;
}

#[tokio::test]
async fn sends_columns_filters_and_limit() {
    let Some(place) = place("maru_sent", UGLY).await else { return };
    let context = two_ways(&place.table("ugly").await).await;
    for (sql, sent) in [
        (
            "SELECT v FROM t WHERE id = 7 AND v = 'O''Neil' LIMIT 5",
            "SELECT `v` FROM `maru_sent`.`ugly` WHERE `id` = 7 AND (`v` = 'O''Neil' AND \
             CAST(CONVERT(`v` USING utf8mb4) AS BINARY) = 'O''Neil') LIMIT 5",
        ),
        (
            "SELECT count(*) FROM t WHERE l >= 'a'",
            "SELECT count(*) FROM `maru_sent`.`ugly` WHERE CAST(CONVERT(`l` USING utf8mb4) AS BINARY) >= 'a'",
        ),
        (
            "SELECT id FROM t WHERE d < DATE '2024-01-01' AND NOT b",
            "SELECT `id` FROM `maru_sent`.`ugly` WHERE (`d` < DATE'2024-01-01' AND MONTH(`d`) > 0 AND DAYOFMONTH(`d`) > 0) \
             AND `b` = 0",
        ),
    ] {
        let text = rows(&context, &format!("EXPLAIN {sql}")).await.unwrap();
        assert!(text.contains(sent), "{text}");
    }
    let text = rows(&context, "EXPLAIN SELECT v FROM t WHERE length(v) = 1 LIMIT 5").await.unwrap();
    assert!(!text.contains("`ugly` LIMIT"), "{text}");
    let limited = rows(&context, "SELECT id FROM t LIMIT 3").await.unwrap();
    assert_eq!(limited.lines().count(), 3 + 4);
    place.end().await;
}

#[tokio::test]
async fn equality_of_text_finds_the_index() {
    let Some(place) = place("maru_indexed", UGLY).await else { return };
    let mut connection = MySqlConnection::connect(place.url.as_str()).await.unwrap();
    let fill = "USE maru_indexed; INSERT INTO ugly (id, v) SELECT seq, CONCAT('v', seq) FROM seq_100_to_3000";
    sqlx::raw_sql(fill).execute(&mut connection).await.unwrap();
    let context = two_ways(&place.table("ugly").await).await;
    let plan = rows(&context, "EXPLAIN SELECT id FROM t WHERE v = 'v777'").await.unwrap();
    let from = plan.find("SELECT `id`").unwrap();
    let sql = plan[from..].lines().next().unwrap().trim_end_matches(['|', ' ']);
    let explained = AssertSqlSafe(format!("EXPLAIN {sql}"));
    let row = sqlx::raw_sql(explained).fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get_unchecked::<String, _>("key"), "v");
    connection.close().await.unwrap();
    place.end().await;
}
