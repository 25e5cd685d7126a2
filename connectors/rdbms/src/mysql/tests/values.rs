//! What each type arrives as, and what does not.

use super::*;

const TYPES: &str = "
CREATE TABLE types (
  id int PRIMARY KEY, i1 tinyint, i2 smallint, i3 mediumint, i4 int, i8 bigint, u1 tinyint unsigned, u2 smallint unsigned,
  u3 mediumint unsigned, u4 int unsigned zerofill, u8 bigint unsigned, b boolean, bit1 bit, bit9 bit(9), bit64 bit(64),
  f4 float, f8 double, n decimal(12,2), big decimal(60,3), c char(5), v varchar(10), t text, l latin, e enum('x','y'),
  s set('p','q'), j json, bin binary(3), vb varbinary(4), bl longblob, d date, dt datetime, dt6 datetime(6),
  ts timestamp(3) NULL, tm time, tm6 time(6), y year, u uuid, ip inet6, g point);
INSERT INTO types (id) VALUES (1);
INSERT INTO types VALUES (2, -128, -32768, -8388608, -2147483648, -9223372036854775808, 255, 65535, 16777215,
  4294967295, 18446744073709551615, false, b'0', b'100000001', b'1111111111111111111111111111111111111111111111111111111111111111',
  -1.5, -1.7976931348623157e308, -9999999999.99, 123456789012345678901234567890.123, 'ab  ', '한글 ', 'a\\\\b', 'äöü', 'y', 'p,q',
  '{\"a\": 1}', 'a', '', x'00ff', '0001-01-01', '0001-01-01 00:00', '9999-12-31 23:59:59.999999', '2024-02-29 12:00:00.123',
  '00:00', '23:59:59.999999', 2024, '11111111-1111-1111-1111-11111111111A', '::1', POINT(1, 2));
";

#[tokio::test]
async fn every_type_arrives_whole() {
    let ddl = TYPES.replace("l latin", "l varchar(9) CHARACTER SET latin1");
    let Some(place) = place("maru_types", ddl.leak()).await else { return };
    let table = place.table("types").await;
    let context = two_ways(&table).await;
    let text = rows(&context, "SELECT * FROM u WHERE id = 2").await.unwrap();
    let values = text.lines().nth(3).unwrap().split('|').map(str::trim).collect::<Vec<_>>();
    assert_eq!(
        values[2..values.len() - 1],
        [
            "-128",
            "-32768",
            "-8388608",
            "-2147483648",
            "-9223372036854775808",
            "255",
            "65535",
            "16777215",
            "4294967295",
            "18446744073709551615",
            "false",
            "false",
            "257",
            "18446744073709551615",
            "-1.5",
            "-1.7976931348623157e308",
            "-9999999999.99",
            "123456789012345678901234567890.123",
            "ab",
            "한글",
            "a\\b",
            "äöü",
            "y",
            "p,q",
            "{\"a\": 1}",
            "610000",
            "",
            "00ff",
            "0001-01-01",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59.999999",
            "2024-02-29T12:00:00.123Z",
            "00:00:00",
            "23:59:59.999999",
            "2024",
            "11111111-1111-1111-1111-11111111111a",
            "::1",
            "POINT(1 2)"
        ]
    );
    let nulls = read(&table, ScanRequest::all(&table.schema())).await.unwrap();
    assert!((1..nulls[0].num_columns()).all(|column| nulls[0].column(column).is_null(0)));
    // The same through a native query, which is told less of its types.
    let query = "SELECT * FROM maru_types.types WHERE id = 2";
    let native = place.source.native_query(query).await.unwrap();
    let error = read(&native, ScanRequest::all(&native.schema())).await.unwrap_err();
    assert_eq!(error.sqlstate(), "22003", "{error:?}");
    let query = "SELECT id, i1, u4, u8, b, bit9, f4, c, t, e, s, j, bin, bl, d, dt6, ts, tm6, y, u, ip, g \
                 FROM maru_types.types";
    let native = place.source.native_query(query).await.unwrap();
    let context = two_ways(&native).await;
    let text = rows(&context, "SELECT * FROM t WHERE id = 2").await.unwrap();
    let values = text.lines().nth(3).unwrap().split('|').map(str::trim).collect::<Vec<_>>();
    assert_eq!(
        values[2..values.len() - 1],
        [
            "-128",
            "4294967295",
            "18446744073709551615",
            "false",
            "257",
            "-1.5",
            "ab",
            "a\\b",
            "y",
            "p,q",
            "{\"a\": 1}",
            "610000",
            "00ff",
            "0001-01-01",
            "9999-12-31T23:59:59.999999",
            "2024-02-29T12:00:00.123Z",
            "23:59:59.999999",
            "2024",
            "11111111-1111-1111-1111-11111111111a",
            "::1",
            "POINT(1 2)"
        ]
    );
    place.end().await;
}

const ODD: &str = "CREATE TABLE odd (d date NOT NULL, m date, dt datetime NOT NULL, ts timestamp NOT NULL, t time, l time,
      b boolean, n decimal(60,0), u text);
    INSERT INTO odd VALUES ('0000-00-00', '2024-02-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '-01:00:00', '30:00:00',
      2, 1234567890123456789012345678901234567890, 'x');";

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_with_its_column() {
    let Some(place) = place("maru_odd", ODD).await else { return };
    let table = place.table("odd").await;
    for (column, sqlstate, says) in [
        ("d", "22007", "is 0000-00-00, which is no date"),
        ("m", "22007", "is 2024-02-00, which is no date"),
        ("dt", "22007", "is 0000-00-00, which is no date"),
        ("ts", "22007", "is 0000-00-00, which is no date"),
        ("t", "22007", "is -01:00:00, which is no time of day"),
        ("l", "22007", "is 30:00:00, which is no time of day"),
        ("b", "22003", "is 2 where 0 or 1 was declared"),
        ("n", "22003", "does not fit decimal(38,0)"),
    ] {
        let index = table.schema().index_of(column).unwrap();
        let request = ScanRequest { projection: vec![index], ..ScanRequest::all(&table.schema()) };
        let error = read(&table, request).await.unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        let message = format!("a value of column \"{column}\" of maru_odd.odd {says}");
        assert_eq!(error.primary(), message);
        assert!(column == "n" || error.report().contains("HINT"), "{}", error.report());
    }
    // No condition in the database is true of them, nor its negation.
    let context = two_ways(&table).await;
    for (column, literal) in [
        ("d", "DATE '2024-01-01'"),
        ("m", "DATE '2024-01-01'"),
        ("dt", "TIMESTAMP '2024-01-01 00:00:00'"),
        ("ts", "TIMESTAMP '2024-01-01 00:00:00Z'"),
        ("t", "TIME '10:00:00'"),
        ("l", "TIME '10:00:00'"),
        ("b", "true"),
    ] {
        for op in ["=", "<>", "<", ">="] {
            for not in ["", "NOT "] {
                if column == "b" && !matches!(op, "=" | "<>") {
                    continue;
                }
                let sql = format!("SELECT u FROM t WHERE {not}({column} {op} {literal})");
                let text = rows(&context, &sql).await.unwrap();
                assert!(!text.contains("x"), "{sql}: {text}");
                let plan = rows(&context, &format!("EXPLAIN {sql}")).await.unwrap();
                assert!(!plan.contains("FilterExec"), "{plan}");
            }
        }
    }
    let text = rows(&context, "SELECT count(*) AS n FROM t WHERE d IS NULL").await;
    assert!(text.is_err() || text.unwrap().contains("| 0"));
    place.end().await;
}

#[tokio::test]
async fn a_tinyint_can_be_a_number() {
    let Some(place) = place("maru_odd_numbers", ODD).await else { return };
    let options = options_of(&place.url, &[("tinyint1", "integer")]);
    let source = open(&MySqlConnector, &options).await.unwrap();
    let table = remote(source.as_ref(), "maru_odd_numbers", "odd").await;
    let context = two_ways(&table).await;
    let text = rows(&context, "SELECT b FROM t WHERE b > 1").await.unwrap();
    assert!(text.contains("| 2 |"), "{text}");
    let native = source.native_query("SELECT b FROM maru_odd_numbers.odd").await.unwrap();
    let text = rows(&two_ways(&native).await, "SELECT b FROM t").await.unwrap();
    assert!(text.contains("| 2 |"), "{text}");
    source.close().await;
    place.end().await;
}

#[tokio::test]
async fn the_session_is_safe_whatever_the_server_prefers() {
    let ddl = "CREATE TABLE padded (id int, c char(6), ts timestamp);
        INSERT INTO padded VALUES (1, 'a\\\\b', '2024-01-01 00:00:00');";
    let Some(place) = place("maru_padded", ddl).await else { return };
    // What a query left behind in its session would be there for the next, if it were not set again.
    let source = MySqlSource::new(&OpenContext {
        catalog: "crm".into(),
        instance: "crm1".into(),
        options: {
            let raw = options_of(&place.url, &[("max_connections", "1")]);
            let raw = raw.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            maru_core::Options::check("connector", SPEC.options, raw).unwrap()
        },
        stores: crate::testing::no_stores(),
    })
    .unwrap();
    let table = source.table("maru_padded", "padded").await.unwrap().unwrap();
    let mut lease = source.connections.lease().await.unwrap();
    let spoil = "SET SESSION sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES,NO_BACKSLASH_ESCAPES', \
                 time_zone = '+09:00', sql_select_limit = 0";
    sqlx::raw_sql(spoil).execute(&mut *lease.connection).await.unwrap();
    drop(lease);
    let context = two_ways(&table).await;
    let sql = "SELECT id, c, ts FROM t WHERE c = 'a\\b' AND c LIKE 'a%'";
    let text = rows(&context, sql).await.unwrap();
    assert!(text.contains("| 1  | a\\b | 2024-01-01T00:00:00Z |"), "{text}");
    source.close().await;
    place.end().await;
}
