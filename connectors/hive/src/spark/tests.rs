//! What Spark's own description of a table is taken for.

use super::*;
use crate::testkit::{Storage, TableDef};

const COLUMNS: &str = r#"{"type":"struct","fields":[
    {"name":"Id","type":"integer","nullable":true,"metadata":{}},
    {"name":"n","type":"timestamp_ntz","nullable":true,"metadata":{}},
    {"name":"c","type":"string","nullable":true,"metadata":{"__CHAR_VARCHAR_TYPE_STRING":"char(5)"}},
    {"name":"m","type":{"type":"map","keyType":"long","valueType":{"type":"array","elementType":{"type":"struct","fields":[
        {"name":"A","type":"short","nullable":true,"metadata":{}},{"name":"b","type":"decimal(5,2)","nullable":true,"metadata":{}}
    ]},"containsNull":true},"valueContainsNull":true},"nullable":true,"metadata":{}},
    {"name":"p","type":"string","nullable":true,"metadata":{}}]}"#;

fn stand_in(source: &str, columns: &str, options: &[(&str, &str)]) -> TableDef {
    let storage = Storage::class(
        "org.apache.hadoop.mapred.SequenceFileInputFormat",
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    );
    let mut all = vec![("path", "hdfs://nn:9000/w/t"), ("serialization.format", "1")];
    all.extend_from_slice(options);
    TableDef::new("shop", "t", "hdfs://nn:9000/w/t-__PLACEHOLDER__", storage.with(&all))
        .column("col", "array<string>")
        .parameter("spark.sql.sources.provider", source)
        .parameter("spark.sql.sources.schema", columns)
}

fn parted(table: TableDef) -> TableDef {
    table
        .partitioned_by("p", "string")
        .parameter("spark.sql.sources.schema.numPartCols", "1")
        .parameter("spark.sql.partitionProvider", "catalog")
}

fn shown(table: &Table) -> Vec<String> {
    let columns = table.sd.as_ref().and_then(|storage| storage.cols.as_deref()).unwrap_or_default();
    let text = |text: &Option<FastStr>| text.as_deref().unwrap_or_default().to_owned();
    columns
        .iter()
        .map(|column| format!("{} {}", text(&column.name), text(&column.r#type)))
        .collect()
}

#[test]
fn reads_what_spark_keeps_of_a_table() {
    let table = meant(parted(stand_in("PARQUET", COLUMNS, &[])).into_table()).unwrap();
    let wanted = [
        "id int",
        "n timestamp_ntz",
        "c char(5)",
        "m map<bigint,array<struct<A:smallint,b:decimal(5,2)>>>",
    ];
    assert_eq!(shown(&table), wanted);
    let storage = table.sd.as_ref().unwrap();
    assert_eq!(storage.location.as_deref(), Some("hdfs://nn:9000/w/t"));
    let format = crate::format::of(&table, storage).unwrap();
    assert_eq!(format, maru_connect::FileFormatSpec::Parquet);
    assert_eq!(meant(table.clone()).unwrap(), table);
    assert!(crate::table::schema(storage.cols.as_deref().unwrap()).is_ok());
}

#[test]
fn puts_long_texts_together_and_leaves_other_tables_alone() {
    let (first, second) = COLUMNS.split_at(77);
    let storage = Storage::class(
        "org.apache.hadoop.mapred.SequenceFileInputFormat",
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    );
    let table = TableDef::new("shop", "t", "hdfs://nn:9000/w/t", storage.clone())
        .column("col", "array<string>")
        .parameter("spark.sql.sources.provider", "parquet")
        .parameter("spark.sql.sources.schema.numParts", "2")
        .parameter("spark.sql.sources.schema.part.0", first)
        .parameter("spark.sql.sources.schema.part.1", second);
    assert_eq!(shown(&meant(table.into_table()).unwrap()).len(), 5);
    // It is what it says.
    let plain = TableDef::new("shop", "t", "hdfs://nn:9000/w/t", storage)
        .column("col", "array<string>")
        .into_table();
    assert_eq!(meant(plain.clone()).unwrap(), plain);
}

#[test]
fn refuses_what_it_does_not_follow() {
    let field = |more: &str| {
        format!(r#"{{"type":"struct","fields":[{{"name":"a","type":"integer"{more}}}]}}"#)
    };
    let ntz = r#"{"type":"struct","fields":[{"name":"a","type":"timestamp_ntz","metadata":{}}]}"#;
    let twice = r#"{"type":"struct","fields":[{"name":"a","type":"integer"},{"name":"A","type":"integer"}]}"#;
    let default = field(r#","metadata":{"EXISTS_DEFAULT":"7"}"#);
    let plain = field("");
    let table = [
        (stand_in("csv", &plain, &[("header", "true")]), "source \"csv\""),
        (stand_in("org.example.Reader", &plain, &[]), "source \"org.example.Reader\""),
        (stand_in("orc", ntz, &[]), "TIMESTAMP_NTZ in ORC"),
        (stand_in("parquet", &default, &[]), "column \"a\" has a default"),
        (stand_in("parquet", twice, &[]), "in case alone"),
        (stand_in("parquet", "{", &[]), "not understood"),
        (stand_in("parquet", &plain, &[("pathGlobFilter", "*.x")]), "pathGlobFilter"),
        (stand_in("parquet", COLUMNS, &[]).partitioned_by("p", "string"), "finds by itself"),
    ];
    for (table, said) in table {
        let error = meant(table.into_table()).unwrap_err();
        assert_eq!(error.sqlstate(), "0A000");
        assert!(error.primary().contains(said), "{error:?}");
    }
    assert!(meant(stand_in("orc", &plain, &[]).into_table()).is_ok());
    let csv = meant(stand_in("csv", &plain, &[]).into_table()).unwrap_err();
    assert!(csv.hint().unwrap().contains("'hdfs://nn:9000/w/t/*.csv'"), "{csv:?}");
}
