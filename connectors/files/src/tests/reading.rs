//! Right rows out of whole files, and only the files that are needed.

use super::*;

#[tokio::test]
async fn names_schemas_and_tables() {
    let lake = Lake::new().await;
    lake.write("top.csv", "a\n1\n");
    lake.write("sales/customers.csv", "a\n1\n");
    lake.write("sales/orders/part-0.csv", "a\n1\n");
    lake.write("sales/both.csv", "a\n1\n");
    lake.write("sales/both.json", "{}\n");
    lake.write("sales/_tmp/x.csv", "a\n1\n");
    lake.write("sales/.hidden.csv", "a\n1\n");
    lake.write("sales/README.md", "hello");
    lake.write("logs/day=1/x.csv", "a\n1\n");
    assert_eq!(lake.source.schemas().await.unwrap(), ["public", "sales"]);
    let names = async |schema: &str| {
        let tables = lake.source.tables(schema).await.unwrap();
        tables.into_iter().map(|table| table.name).collect::<Vec<_>>()
    };
    assert_eq!(names("public").await, ["logs", "top"]);
    assert_eq!(names("sales").await, ["both.csv", "both.json", "customers", "orders"]);
    assert_eq!(names("nope").await, Vec::<String>::new());
    assert_eq!(names("logs").await, Vec::<String>::new());
    assert!(lake.source.table("sales", "nope").await.unwrap().is_none());
    assert_eq!(rows(&lake.sql("sales.both.csv", "select * from t").await.unwrap()), ["1"]);
    assert!(lake.source.check().await.unwrap().starts_with("directory /"));
}

#[tokio::test]
async fn a_flat_layout_has_tables_only() {
    let lake = Lake::with(&[("layout", "tables")]).await;
    lake.write("orders/part-0.csv", "a\n1\n");
    assert_eq!(lake.source.schemas().await.unwrap(), ["public"]);
    assert_eq!(rows(&lake.sql("public.orders", "select a from t").await.unwrap()), ["1"]);
}

#[tokio::test]
async fn prunes_partitions_and_keeps_the_rows() {
    let lake = Lake::new().await;
    for (day, first) in [("2024-01-01", 0), ("2024-01-02", 100), ("2024-01-03", 200)] {
        for region in ["a%2Fb", "c d", "__HIVE_DEFAULT_PARTITION__"] {
            let path = lake.path(&format!("s/t/day={day}/region={region}/x.parquet"));
            write_parquet(&path, ["n", "name"], first..first + 10);
        }
    }
    lake.write("s/t/_SUCCESS", "");
    lake.write("s/t/day=2024-01-01/region=c d/.half.parquet.tmp", "junk");
    let checks = [
        ("select count(*) from t", vec!["90"]),
        ("select count(*) from t where day = '2024-01-02'", vec!["30"]),
        ("select count(*) from t where day > date '2024-01-01' and region = 'a/b'", vec!["20"]),
        ("select count(*) from t where region is null", vec!["30"]),
        ("select count(region) from t", vec!["60"]),
        ("select count(*) from t where region is null and n = 205", vec!["1"]),
        ("select distinct region from t order by 1 nulls first", vec!["", "a/b", "c d"]),
        ("select max(day), min(n), max(n) from t", vec!["2024-01-03,0,209"]),
        ("select count(name) from t where extract(day from day) = 1", vec!["24"]),
        ("select day, n from t where n = 7 and region = 'c d'", vec!["2024-01-01,7"]),
    ];
    for (sql, wanted) in checks {
        for pushdown in [true, false] {
            let text = query(&lake.source, "s.t", sql, pushdown).await.unwrap();
            assert_eq!(rows(&text), wanted, "{sql} pushdown={pushdown}");
        }
    }
    let plan = lake
        .sql("s.t", "explain select n from t where day = '2024-01-02' and region = 'c d'")
        .await
        .unwrap();
    assert!(plan.contains("2024-01-02"), "{plan}");
    assert!(!plan.contains("day=2024-01-01"), "{plan}");
    assert!(plan.contains("catalog=lake, partition_filters="), "{plan}");
}

#[tokio::test]
async fn prunes_row_groups_and_answers_counts_from_footers() {
    let lake = Lake::new().await;
    write_parquet(&lake.path("s/t/a.parquet"), ["n", "name"], 0..1000);
    write_parquet(&lake.path("s/t/b.parquet"), ["n", "name"], 1000..2000);
    let sql = "explain analyze select name from t where n = 1234";
    let text = lake.sql("s.t", sql).await.unwrap();
    assert!(
        text.contains("row_groups_pruned_statistics=10 total → 1 matched")
            || text.contains("files_ranges_pruned_statistics=2 total → 1 matched"),
        "{text}"
    );
    assert!(text.contains("bytes_scanned="), "{text}");
    let plan = lake.sql("s.t", "explain select count(*) from t").await.unwrap();
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    let limited = lake.sql("s.t", "explain select n from t limit 5").await.unwrap();
    assert!(limited.contains("a.parquet") && !limited.contains("b.parquet"), "{limited}");
    for pushdown in [true, false] {
        let sql = "select count(*), sum(n), count(name) from t where n >= 990 and n < 1010";
        let text = query(&lake.source, "s.t", sql, pushdown).await.unwrap();
        assert_eq!(rows(&text), ["20,19990,17"]);
    }
}

#[tokio::test]
async fn finds_parquet_columns_by_name_whatever_the_case() {
    let lake = Lake::new().await;
    write_parquet(&lake.path("s/t/a.parquet"), ["id", "name"], 1..4);
    write_parquet(&lake.path("s/t/b.parquet"), ["ID", "other"], 4..6);
    let columns = Arc::new(Schema::new(vec![
        Field::new("Id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let store = lake.source.store_for(&url::Url::from_file_path(lake.path("s/t")).unwrap());
    let spec = crate::LocationTable { columns: Some(columns), ..Default::default() };
    let table = crate::open_location_table("lake", store.unwrap(), spec).await.unwrap();
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    let run = async |sql: &str| {
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        rows(&pretty_format_batches(&batches).unwrap().to_string())
    };
    assert_eq!(
        run(r#"select "Id", name from t order by 1"#).await,
        ["1,name 1", "2,name 2", "3,name 3", "4,", "5,"]
    );
    assert_eq!(run(r#"select count("Id"), count(name), max("Id") from t"#).await, ["5,3,5"]);
    assert_eq!(run(r#"select "Id" from t where "Id" > 4"#).await, ["5"]);
    assert_eq!(run(r#"select "Id" from t where name is null order by 1"#).await, ["4", "5"]);
}

#[tokio::test]
async fn reads_csv_as_it_is_written() {
    let lake = Lake::new().await;
    lake.write(
        "s/t.csv",
        "\u{feff}id,text,price,day,ok\r\n1,\"a, \"\"b\"\"\nnext\",1.5,2024-01-31,true\r\n\r\n2,,,,\r\n3,\"\",2,2024-02-01,false",
    );
    let text = lake
        .sql(
            "s.t",
            "select id, length(text), text is null, price, day, ok, arrow_typeof(day) from t order by id",
        )
        .await
        .unwrap();
    assert_eq!(
        rows(&text),
        [
            "1,11,false,1.5,2024-01-31,true,Date32",
            "2,,true,,,,Date32",
            "3,0,false,2.0,2024-02-01,false,Date32"
        ]
    );
    assert_eq!(rows(&lake.sql("s.t", "select count(*) from t").await.unwrap()), ["3"]);
    assert_eq!(
        rows(&lake.sql("s.t", "select ok, id from t where id > 2").await.unwrap()),
        ["false,3"]
    );
    let plan = lake.sql("s.t", "explain analyze select id from t").await.unwrap();
    assert!(plan.contains("bytes_scanned="), "{plan}");
}

#[tokio::test]
async fn reads_csv_columns_by_the_header_of_each_file() {
    let lake = Lake::new().await;
    lake.write("s/t/a.csv", "id,name\n1,x\n");
    lake.write("s/t/b.csv", "name,id\ny,2\n");
    lake.write("s/t/c.csv", "id\n3\n");
    let text = lake.sql("s.t", "select id, name from t order by id").await.unwrap();
    assert_eq!(rows(&text), ["1,x", "2,y", "3,"]);
    lake.write("s/t/d.csv", "id,phone\n4,z\n");
    let text = lake.sql("s.t", "select id, name, phone from t order by id").await.unwrap();
    assert_eq!(rows(&text), ["1,x,", "2,y,", "3,,", "4,,z"]);
}

#[tokio::test]
async fn a_header_with_an_unknown_column_is_told() {
    let lake = Lake::new().await;
    lake.write("s/t/a.csv", "id,name\n1,x\n");
    let table = lake.source.table("s", "t").await.unwrap().unwrap();
    lake.write("s/t/b.csv", "id,phone\n4,z\n");
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    let error = context.sql("select id, name from t").await.unwrap().collect().await.unwrap_err();
    let error = maru_core::Error::from(error);
    assert_eq!(error.sqlstate(), "22P04");
    let wanted = "b.csv\" line 1: the header names column \"phone\"";
    assert!(error.message().contains(wanted), "{error}");
}

#[tokio::test]
async fn parquet_files_of_different_types_are_widened() {
    use arrow::array::{ArrayRef, Date32Array, Int32Array};
    let lake = Lake::new().await;
    fs::create_dir_all(lake.path("s/t")).unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs::File::create(lake.path(name)).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let ints = Arc::new(Int32Array::from(vec![9, 10])) as ArrayRef;
    let days = Arc::new(Date32Array::from(vec![0, 1])) as ArrayRef;
    write("s/t/a.parquet", vec![("n", Arc::clone(&ints)), ("code", ints), ("at", days)]);
    let times = arrow::array::TimestampMicrosecondArray::from(vec![3_600_000_000]);
    write(
        "s/t/b.parquet",
        vec![
            ("n", Arc::new(Int64Array::from(vec![9_000_000_000])) as ArrayRef),
            ("code", Arc::new(StringArray::from(vec!["x7"]))),
            ("at", Arc::new(times)),
        ],
    );
    let text = lake.sql("s.t", "select n, code, at from t order by n").await.unwrap();
    let wanted = [
        "9,9,1970-01-01T00:00:00",
        "10,10,1970-01-02T00:00:00",
        "9000000000,x7,1970-01-01T01:00:00",
    ];
    assert_eq!(rows(&text), wanted);
    // Texts are compared as texts, whatever the footers say of the numbers.
    for (sql, wanted) in [
        ("select min(code), max(code), count(*) from t", "10,x7,3"),
        ("select n from t where code > '7' and code < 'a'", "9"),
        ("select n from t where code = '10'", "10"),
        ("select count(*) from t where at > '1970-01-01 00:30:00'", "2"),
        ("select max(n) from t where n > 9", "9000000000"),
    ] {
        assert_eq!(rows(&lake.sql("s.t", sql).await.unwrap()), [wanted], "{sql}");
    }
}

#[tokio::test]
async fn a_record_that_is_too_long_is_refused() {
    use async_compression::tokio::write::GzipEncoder;
    use tokio::io::AsyncWriteExt;
    let lake = Lake::new().await;
    let long = "x".repeat(65 << 20);
    for (name, text) in
        [("c.csv.gz", format!("a\n{long}\n")), ("j.json.gz", format!("{{\"a\": \"{long}\"}}\n"))]
    {
        let mut packed = Vec::new();
        pack!(GzipEncoder, packed, text);
        lake.write(&format!("s/{name}"), packed);
        let table = format!("s.{}", &name[..1]);
        let error = lake.sql(&table, "select count(*) from t").await.unwrap_err();
        assert_eq!(error.sqlstate(), "54000", "{error}");
        let told = lake.told(&error);
        assert!(told.starts_with(&format!("file \"/lake/s/{name}\" line ")), "{error}");
    }
}

#[tokio::test]
async fn reads_json_lines() {
    let lake = Lake::new().await;
    lake.write(
        "s/t/a.json",
        "{\"id\": 1, \"name\": \"x\"}\n\n{\"id\": 2, \"tags\": [\"p\", \"q\"]}\n",
    );
    lake.write("s/t/b.json", "{\"name\": \"z\", \"id\": 3}");
    let text = lake.sql("s.t", "select id, name, tags[2] from t order by id").await.unwrap();
    assert_eq!(rows(&text), ["1,x,", "2,,q", "3,z,"]);
    assert_eq!(rows(&lake.sql("s.t", "select count(*) from t").await.unwrap()), ["3"]);
}

#[tokio::test]
async fn unpacks_by_the_end_of_the_name() {
    use async_compression::tokio::write::{BzEncoder, GzipEncoder, ZstdEncoder};
    use tokio::io::AsyncWriteExt;
    let lake = Lake::new().await;
    // Two packed parts one after the other: what pbzip2 and `cat a.gz b.gz` make.
    for (name, end) in [("g", "gz"), ("b", "bz2"), ("z", "zst")] {
        let mut bytes = Vec::new();
        for part in ["a\n1\n", "2\n"] {
            let mut packed = Vec::new();
            match end {
                "gz" => pack!(GzipEncoder, packed, part),
                "bz2" => pack!(BzEncoder, packed, part),
                _ => pack!(ZstdEncoder, packed, part),
            }
            bytes.extend(packed);
        }
        lake.write(&format!("s/{name}.csv.{end}"), bytes);
        let text = lake.sql(&format!("s.{name}"), "select sum(a) from t").await.unwrap();
        assert_eq!(rows(&text), ["3"], "{end}");
    }
}

macro_rules! pack {
    ($encoder:ident, $packed:ident, $part:ident) => {{
        let mut encoder = $encoder::new(&mut $packed);
        encoder.write_all($part.as_bytes()).await.unwrap();
        encoder.shutdown().await.unwrap();
    }};
}
use pack;

#[tokio::test]
async fn large_csv_comes_in_batches_with_all_rows() {
    let lake = Lake::new().await;
    let mut text = String::from("id,name\n");
    for n in 0..200_000 {
        text.push_str(&format!("{n},\"name \n {n}\"\n"));
    }
    lake.write("s/t.csv", text);
    let sql = "select count(*), sum(id), max(length(name)) from t";
    assert_eq!(
        rows(&lake.sql("s.t", sql).await.unwrap()),
        [format!("200000,{},13", 199_999_i64 * 200_000 / 2)]
    );
}

#[tokio::test]
async fn closing_frees_the_store() {
    let lake = Lake::new().await;
    lake.write("s/t.csv", "a\n1\n");
    let table = lake.source.table("s", "t").await.unwrap().unwrap();
    lake.source.close().await;
    assert!(lake.source.schemas().await.is_err());
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    assert!(context.sql("select * from t").await.unwrap().collect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_what_every_connector_promises() {
    const CSV: &str = "n,name\n1,a\n2,A\n3,a \n4,\n,b\n";
    for kind in ["parquet", "csv", "parquet in partitions", "csv in partitions"] {
        let lake = Lake::new().await;
        match kind {
            "parquet" => write_parquet(&lake.path("s/t.parquet"), ["n", "name"], 0..500),
            "csv" => lake.write("s/t.csv", CSV),
            _ => {
                for (p, first) in [("1", 0), ("2", 50), ("__HIVE_DEFAULT_PARTITION__", 100)] {
                    if kind.starts_with("csv") {
                        lake.write(&format!("s/t/p={p}/x.csv"), CSV);
                        continue;
                    }
                    let path = lake.path(&format!("s/t/p={p}/x.parquet"));
                    write_parquet(&path, ["n", "name"], first..first + 50);
                }
            }
        }
        let subject =
            maru_connect::conformance::Subject::new(&FILE, Arc::clone(&lake.source), "s", "t");
        let held = maru_connect::conformance::hold(subject).await;
        held.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
    }
}
