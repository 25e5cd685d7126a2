//! Which views are handed on, in whose words, and which are refused.

use super::*;
use crate::testkit::{Storage, TableDef};

fn view(text: &str) -> TableDef {
    TableDef::new("shop", "v", "hdfs://nn:9000/w/v", Storage::parquet(&[]))
        .column("id", "bigint")
        .view(text)
}

#[test]
fn tells_hive_and_spark_apart() {
    let hive = open(&view("SELECT `t`.`id` FROM `shop`.`t`").into_table()).unwrap();
    assert_eq!(hive.language, ViewLanguage::Hive);
    assert_eq!((hive.search_schema.as_str(), hive.query_columns.len()), ("shop", 0));
    let spark = view("SELECT id FROM t")
        .parameter("view.catalogAndNamespace.numParts", "2")
        .parameter("view.catalogAndNamespace.part.0", "spark_catalog")
        .parameter("view.catalogAndNamespace.part.1", "other")
        .parameter("view.query.out.numCols", "1")
        .parameter("view.query.out.col.0", "ID")
        .parameter("view.referredTempViewNames", "[]")
        .parameter("view.sqlConfig.spark.sql.ansi.enabled", "true");
    let spark = open(&spark.into_table()).unwrap();
    assert_eq!(spark.language, ViewLanguage::Spark);
    assert_eq!(spark.search_schema, "other");
    assert_eq!(spark.query_columns, vec!["ID"]);
    assert_eq!(spark.schema.field(0).name(), "id");
}

#[test]
fn refuses_what_only_others_can_read() {
    let plain = || view("SELECT 'a\\d' AS id").parameter("spark.sql.create.version", "3.5.9");
    let table = [
        (
            view("/* Presto View: eyJvcmlnaW5hbFNxbCI6IlNFTEVDVCAxIn0= */"),
            "Presto or Trino",
            "SELECT 1",
        ),
        (view("/* Presto View: no base64 */"), "Presto or Trino", "no base64"),
        (
            plain().parameter("view.sqlConfig.spark.sql.parser.escapedStringLiterals", "true"),
            "escapedStringLiterals",
            "a\\d",
        ),
        (
            plain().parameter("view.sqlConfig.spark.sql.legacy.setopsPrecedence.enabled", "true"),
            "setopsPrecedence",
            "a\\d",
        ),
        (plain().parameter("view.referredTempViewNames", "[[\"x\"]]"), "only one session", "a\\d"),
        (view(" "), "has no text", "shop.v"),
    ];
    for (view, said, shown) in table {
        let error = open(&view.into_table()).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(said), "{error:?}");
        let detail = error.detail().unwrap_or_else(|| error.primary().to_owned());
        assert!(detail.contains(shown) || shown == "shop.v", "{error:?}");
    }
    let typed = view("SELECT 1").column("u", "uniontype<int,string>");
    assert_eq!(open(&typed.into_table()).unwrap_err().sqlstate(), "HV004");
}
