//! What views say in Hive and Spark, and what is made of it.

use super::*;

fn read(text: &str, writer: Writer) -> String {
    match view_query(text, writer) {
        Ok(read) => read.query.to_string(),
        Err(error) => format!("{}: {}", error.sqlstate(), error.primary()),
    }
}

#[test]
fn respells_names_texts_and_numbers() {
    let table = [
        (
            "SELECT `T`.`Id` AS `n``o` FROM `Shop`.`Sales` `T`",
            "SELECT \"t\".\"id\" AS \"n`o\" FROM \"shop\".\"sales\" \"t\"",
        ),
        (
            r#"SELECT "it's", 'a\'b', 'c\nd', '\\N', 'x\%'"#,
            "SELECT 'it''s', 'a''b', 'c\nd', '\\N', 'x\\%'",
        ),
        ("SELECT 1L, 2.5, .5, 1.5D", "SELECT 1, 2.5, .5, CAST(1.5 AS DOUBLE PRECISION)"),
        ("SELECT 1e3", "SELECT CAST(1e3 AS DOUBLE PRECISION)"),
        ("SELECT a == b, a <=> b FROM t -- end", "SELECT a = b, a IS NOT DISTINCT FROM b FROM t"),
        (
            "SELECT /* \"x */ date'2026-01-02' FROM spark_catalog.shop.t;",
            "SELECT DATE '2026-01-02' FROM shop.t",
        ),
        ("SELECT a.b.c FROM t a", "SELECT a.b.c FROM t a"),
    ];
    for (text, wanted) in table {
        assert_eq!(read(text, Writer::Spark), wanted, "{text}");
    }
}

#[test]
fn says_it_in_functions_that_are_the_same() {
    let table = [
        (
            "SELECT nvl(a, b), concat(a, 'x', b) FROM t",
            "SELECT coalesce(a, b), ((a) || ('x') || (b)) FROM t",
        ),
        ("SELECT if(a > 1, b, c) FROM t", "SELECT CASE WHEN a > 1 THEN b ELSE c END FROM t"),
        (
            "SELECT year(d), isnull(d) FROM t",
            "SELECT CAST(EXTRACT(YEAR FROM d) AS INTEGER), ((d) IS NULL) FROM t",
        ),
        ("SELECT date_add(d, 7) FROM t", "SELECT ((d) + (7)) FROM t"),
        (
            "SELECT cast(a AS string), cast(a AS float), cast(a AS decimal) FROM t",
            "SELECT CAST(a AS TEXT), CAST(a AS REAL), CAST(a AS DECIMAL(10,0)) FROM t",
        ),
        ("SELECT substr(a, 1, 3) FROM t", "SELECT SUBSTR(a, 1, 3) FROM t"),
    ];
    for (text, wanted) in table {
        let found = read(text, Writer::Hive);
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn says_where_nulls_stand() {
    let limited = "SELECT a FROM t ORDER BY a, b DESC LIMIT 3";
    let wanted = "SELECT a FROM t ORDER BY a NULLS FIRST, b DESC NULLS LAST LIMIT 3";
    assert_eq!(read(limited, Writer::Spark), wanted);
    assert!(read(limited, Writer::Hive).starts_with("0A000: ORDER BY without NULLS FIRST"));
    let numbered = "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t";
    assert!(read(numbered, Writer::Spark).contains("ORDER BY b NULLS FIRST"));
    assert!(read(numbered, Writer::Hive).starts_with("0A000"));
    assert!(read("SELECT a FROM t ORDER BY a", Writer::Hive).starts_with("SELECT"));
    assert!(read("SELECT a FROM t GROUP BY 1", Writer::Hive).starts_with("0A000"));
    assert!(read("SELECT a FROM t GROUP BY 1", Writer::Spark).starts_with("SELECT"));
}

#[test]
fn refuses_by_name_what_may_mean_something_else() {
    let table = [
        ("SELECT explode(a) FROM t", "function explode"),
        ("SELECT x FROM t LATERAL VIEW explode(a) e AS x", "LATERAL VIEW"),
        ("SELECT a[0] FROM t", "\"[\" at character 9"),
        ("SELECT a RLIKE 'x' FROM t", "a RLIKE 'x'"),
        ("SELECT a & b FROM t", "\"&\" at character 10"),
        ("SELECT a DIV b FROM t", "not understood"),
        ("SELECT ${x} FROM t", "\"$\" at character 8"),
        ("SELECT 'a' 'b'", "two texts"),
        ("SELECT r'\\d'", "begins with r'"),
        ("SELECT '\\u0041'", "the escape \\u"),
        ("SELECT 1Y", "\"1Y\""),
        ("SELECT round(a, 2) FROM t", "function round"),
        ("SELECT substr(a, -1) FROM t", "substr with"),
        ("SELECT cast(a AS char(3)) FROM t", "a cast to CHAR(3)"),
        ("SELECT a FROM x.y.z", "another catalog"),
        ("SELECT a FROM range(10)", "range"),
        ("SELECT a FROM t DISTRIBUTE BY a", "DISTRIBUTE BY"),
        ("SELECT a FROM t UNION SELECT b FROM u INTERSECT SELECT c FROM v", "without parentheses"),
        ("SELECT current_date FROM t", "function current_date"),
        ("INSERT INTO t VALUES (1)", "not a query"),
        ("SELECT `a FROM t", "a name without an end"),
        ("SELECT 'it''s'", "a doubled quote"),
    ];
    for (text, said) in table {
        let found = read(text, Writer::Hive);
        assert!(found.starts_with("0A000: ") && found.contains(said), "{text}: {found}");
    }
}

#[test]
fn joins_without_a_condition_are_of_all_pairs() {
    let text = "SELECT a.x FROM t a JOIN s b";
    assert_eq!(read(text, Writer::Hive), "SELECT a.x FROM t a CROSS JOIN s b");
}
