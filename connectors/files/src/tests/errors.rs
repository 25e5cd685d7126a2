//! What a user reads when a file is not as it should be.

use super::*;

async fn fails(lake: &Lake, table: &str, sql: &str) -> Error {
    lake.sql(table, sql).await.unwrap_err()
}

#[tokio::test]
async fn corrupt_parquet_is_named() {
    let lake = Lake::new().await;
    write_parquet(&lake.path("s/t/a.parquet"), ["n", "name"], 0..100);
    lake.write("s/t/b.parquet", "PAR1 this is not Parquet at all");
    let error = fails(&lake, "s.t", "select sum(n) from t").await;
    assert_eq!(error.sqlstate(), "XX001");
    assert!(error.message().contains("s/t/b.parquet"), "{error}");
}

#[tokio::test]
async fn corrupt_pages_are_named() {
    let lake = Lake::new().await;
    write_parquet(&lake.path("s/t/a.parquet"), ["n", "name"], 0..1000);
    let path = lake.path("s/t/a.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..400].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = fails(&lake, "s.t", "select sum(n) from t where n + 0 > 1").await;
    assert!(error.message().contains("s/t/a.parquet"), "{error:?}");
    assert_eq!(error.sqlstate(), "XX001", "{error:?}");
}

#[tokio::test]
async fn a_ragged_line_is_told_with_its_number() {
    let lake = Lake::new().await;
    let mut text = String::from("id,name\n");
    for n in 0..20_000 {
        text.push_str(&format!("{n},\"two\nlines\"\n"));
    }
    text.push_str("1,2,3\n");
    lake.write("s/t.csv", text);
    let error = fails(&lake, "s.t", "select count(*) from t").await;
    assert_eq!(error.sqlstate(), "22P04");
    assert_eq!(
        lake.told(&error),
        "file \"/lake/s/t.csv\" line 40002: 3 fields where 2 are expected"
    );
    lake.write("s/u.csv", "id,name\n1,a\n2\n");
    let error = fails(&lake, "s.u", "select * from t").await;
    assert_eq!(lake.told(&error), "file \"/lake/s/u.csv\" line 3: 1 field where 2 are expected");
    lake.write("s/v.csv", "id,name\n1,a\n2,\"b\n3,c\n");
    let error = fails(&lake, "s.v", "select * from t").await;
    assert_eq!(
        lake.told(&error),
        "file \"/lake/s/v.csv\" line 3: the quoted field that begins here has no end"
    );
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_told_with_its_line() {
    let lake = Lake::new().await;
    let mut text = String::from("id\n");
    for n in 0..10_000 {
        text.push_str(&format!("{n}\n"));
    }
    text.push_str("12x\n");
    lake.write("s/t.csv", text);
    let error = fails(&lake, "s.t", "select sum(id) from t").await;
    assert_eq!(error.sqlstate(), "22P04");
    let told = lake.told(&error);
    assert!(told.starts_with("file \"/lake/s/t.csv\" line 10002: column \"id\""), "{error}");
    let mut text = String::new();
    for n in 0..10_000 {
        text.push_str(&format!("{{\"id\": {n}}}\n"));
    }
    text.push_str("{\"id\": \"x\"}\n{\"id\": 1}\n");
    lake.write("s/j.json", &text);
    let error = fails(&lake, "s.j", "select sum(id) from t").await;
    assert_eq!(error.sqlstate(), "22P02");
    assert!(lake.told(&error).starts_with("file \"/lake/s/j.json\" line 10001: "), "{error}");
    lake.write("s/k.json", format!("{}{{\"id\": \n1}}\n", &text[..9000]));
    let error = fails(&lake, "s.k", "select sum(id) from t").await;
    assert_eq!(error.sqlstate(), "22P04", "{error}");
}

#[tokio::test]
async fn a_cut_off_gzip_is_an_error() {
    use async_compression::tokio::write::GzipEncoder;
    use tokio::io::AsyncWriteExt;
    let lake = Lake::new().await;
    let mut packed = Vec::new();
    let mut encoder = GzipEncoder::new(&mut packed);
    let text = (0..50_000).map(|n| format!("{n},{}\n", n * 7919 % 10_007)).collect::<String>();
    encoder.write_all(b"a,b\n").await.unwrap();
    encoder.write_all(text.as_bytes()).await.unwrap();
    encoder.shutdown().await.unwrap();
    packed.truncate(packed.len() / 2);
    lake.write("s/t.csv.gz", packed);
    let error = fails(&lake, "s.t", "select count(*) from t").await;
    assert_eq!(error.sqlstate(), "22P04");
    assert_eq!(lake.told(&error), "file \"/lake/s/t.csv.gz\" ends in the middle of its gzip data");
    lake.write("s/u.csv.gz", "plain text\n1\n");
    let error = fails(&lake, "s.u", "select count(*) from t").await;
    assert!(
        lake.told(&error).starts_with("file \"/lake/s/u.csv.gz\" is not valid gzip"),
        "{error}"
    );
}

#[tokio::test]
async fn a_vanished_file_is_told() {
    let lake = Lake::new().await;
    write_parquet(&lake.path("s/t/a.parquet"), ["n", "name"], 0..100);
    lake.write("s/c.csv", "a\n1\n");
    for (name, file) in [("t", "s/t/a.parquet"), ("c", "s/c.csv")] {
        let table = lake.source.table("s", name).await.unwrap().unwrap();
        let config = SessionConfig::new().with_collect_statistics(false);
        let context = SessionContext::new_with_config(config);
        context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
        let plan =
            context.sql("select * from t").await.unwrap().create_physical_plan().await.unwrap();
        fs::remove_file(lake.path(file)).unwrap();
        let error = datafusion::physical_plan::collect(plan, context.task_ctx()).await;
        let error = Error::from(error.unwrap_err());
        assert_eq!(error.sqlstate(), "58P01", "{error:?}");
        assert!(error.message().contains(file), "{error}");
    }
}

#[tokio::test]
async fn places_that_cannot_be_tables_say_why() {
    let lake = Lake::new().await;
    lake.write("s/mixed/a.csv", "a\n1\n");
    lake.write("s/mixed/b.json", "{}\n");
    let error = fails(&lake, "s.mixed", "select 1").await;
    assert!(error.message().contains("more than one format"), "{error}");
    lake.write("s/empty/_SUCCESS", "x");
    assert_eq!(fails(&lake, "s.empty", "select 1").await.sqlstate(), "HV00R");
    lake.write("s/stray/day=1/a.csv", "a\n1\n");
    lake.write("s/stray/z.csv", "a\n1\n");
    let error = fails(&lake, "s.stray", "select * from t").await;
    let both = "\"/lake/s/stray/day=1/a.csv\" and \"/lake/s/stray/z.csv\" lie in different partition directories";
    assert_eq!(lake.told(&error), both);
    fs::remove_file(lake.path("s/stray/z.csv")).unwrap();
    let table = lake.source.table("s", "stray").await.unwrap().unwrap();
    lake.write("s/stray/z.csv", "a\n1\n");
    let context = SessionContext::new();
    context.register_table("t", Arc::new(FederatedTable::new("lake", table))).unwrap();
    for sql in ["select * from t", "select * from t where day = 1"] {
        let error = context.sql(sql).await.unwrap().collect().await.unwrap_err();
        let error = Error::from(error);
        assert!(lake.told(&error).contains("\"/lake/s/stray/z.csv\" does not lie in"), "{error}");
    }
}

#[tokio::test]
async fn wrong_paths_are_told_at_once() {
    for (path, wanted) in
        [("/nowhere/at/all", "no such directory"), ("data", "not an absolute path")]
    {
        let error = open(&FILE, &[("path", path)]).await.unwrap_err();
        assert_eq!(error.sqlstate(), "HV024");
        assert!(error.message().starts_with(wanted), "{error}");
    }
}
