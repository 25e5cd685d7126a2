//! Real S3 and HDFS, as `MARU_TEST_S3` and `MARU_TEST_HDFS` name them.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use hdfs_native::WriteOptions;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::*;
use crate::{HDFS, S3};

/// Returns the variable, or says that a test is left out.
fn service(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        let required = std::env::var("MARU_TEST_SERVICES").is_ok_and(|word| word == "required");
        assert!(!required, "{variable} is not set");
        println!("left out: {variable} is not set");
    }
    value
}

fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), now.as_nanos())
}

/// Writes objects by their paths.
type Put<'a> = &'a dyn Fn(String, Vec<u8>) -> BoxFuture<'a, ()>;

async fn fill(put: Put<'_>, root: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.parquet");
    write_parquet(&file, ["n", "name"], 0..1000);
    let parquet = fs::read(&file).unwrap();
    let put = async |name: &str, bytes: Vec<u8>| put(format!("{root}/{name}"), bytes).await;
    for name in ["s/t/day=1/region=a b%2Fc/x.parquet", "s/t/day=2/region=d/x.parquet"] {
        put(name, parquet.clone()).await;
    }
    put("s/c.csv", b"id,name\n1,a\n2,\"b\nc\"\n".to_vec()).await;
    put("s/bad.csv", b"id,name\n1,a\n2,b,c\n".to_vec()).await;
    put("s/j.jsonl", b"{\"id\": 1}\n{\"id\": 2}\n".to_vec()).await;
}

/// Removes what [`fill`] wrote, through a client of its own since that of the catalog is closed.
async fn wipe(source: &Arc<dyn Source>, url: &str) {
    let opened = source.store_for(&Url::parse(url).unwrap()).unwrap();
    let paths = opened.store.list(Some(&opened.path)).map_ok(|meta| meta.location).boxed();
    opened.store.delete_stream(paths).try_collect::<Vec<_>>().await.unwrap();
    source.close().await;
}

async fn hold(source: &Arc<dyn Source>) {
    source.check().await.unwrap();
    assert_eq!(source.schemas().await.unwrap(), ["s"]);
    let tables = source.tables("s").await.unwrap();
    let names = tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["bad", "c", "j", "t"]);
    let checks = [
        ("s.t", "select count(*), count(name), sum(n) from t", "2000,1714,999000"),
        ("s.t", "select count(*) from t where day = 2", "1000"),
        ("s.t", "select sum(n) from t where region = 'a b/c' and n < 10", "45"),
        ("s.c", "select count(*), max(length(name)) from t", "2,3"),
        ("s.j", "select sum(id) from t", "3"),
    ];
    for (table, sql, wanted) in checks {
        for pushdown in [true, false] {
            let text = query(source, table, sql, pushdown).await.unwrap();
            assert_eq!(rows(&text), [wanted], "{sql} pushdown={pushdown}");
        }
    }
    let error = query(source, "s.bad", "select * from t", true).await.unwrap_err();
    assert_eq!(error.sqlstate(), "22P04");
    assert!(error.message().contains("s/bad.csv\" line 3"), "{error}");
    let plan = query(source, "s.t", "explain select n from t where day = 2", true).await.unwrap();
    assert!(plan.contains("day=2") && !plan.contains("day=1/"), "{plan}");
    source.close().await;
}

/// What every connector promises, of a table with partitions.
async fn conformance(connector: &dyn Connector, source: &Arc<dyn Source>, secret: &str) {
    let subject = maru_connect::conformance::Subject::new(connector, Arc::clone(source), "s", "t")
        .with_secrets(&[secret]);
    let report = maru_connect::conformance::hold(subject).await.unwrap();
    assert!(report.pushed > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_holds_what_is_promised() {
    let Some(endpoint) = service("MARU_TEST_S3") else { return };
    let key = std::env::var("MARU_TEST_S3_ACCESS_KEY").unwrap();
    let secret = std::env::var("MARU_TEST_S3_SECRET_KEY").unwrap();
    let bucket = std::env::var("MARU_TEST_S3_BUCKET").unwrap_or_else(|_| "weblogs".to_owned());
    let prefix = unique("files");
    let base =
        [("endpoint", endpoint.as_str()), ("access_key_id", &key), ("secret_access_key", &secret)];
    let with = |more: &[(&'static str, &str)]| {
        let all = base.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        all.collect::<std::collections::BTreeMap<String, String>>()
    };
    let attach = async |options: std::collections::BTreeMap<String, String>| {
        let options = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>();
        open(&S3, &options).await
    };
    let source = attach(with(&[("bucket", &bucket), ("prefix", &prefix)])).await.unwrap();
    let url = Url::parse(&format!("s3a://{bucket}/{prefix}/x")).unwrap();
    let store = source.store_for(&url).unwrap().store;
    let put = |name: String, bytes: Vec<u8>| -> BoxFuture<'_, ()> {
        let path = StorePath::parse(name).unwrap();
        async { store.put(&{ path }, bytes.into()).await.map(drop).unwrap() }.boxed()
    };
    fill(&put, &prefix).await;
    hold(&source).await;
    let again = attach(with(&[("bucket", &bucket), ("prefix", &prefix)])).await.unwrap();
    conformance(&S3, &again, &secret).await;
    let again = attach(with(&[("bucket", &bucket), ("prefix", &prefix)])).await.unwrap();
    wipe(&again, &format!("s3://{bucket}/{prefix}")).await;

    let wrong = [
        (with(&[("bucket", "no-such-bucket-here")]), "HV024"),
        (with(&[("bucket", &bucket), ("prefix", "no/such/prefix")]), "HV024"),
        (with(&[("bucket", &bucket), ("secret_access_key", "wrong")]), "HV00L"),
        (with(&[("bucket", &bucket), ("access_key_id", "wrong")]), "HV00L"),
        (with(&[("bucket", &bucket), ("endpoint", "http://127.0.0.1:1")]), "HV00N"),
    ];
    for (options, state) in wrong {
        let shown = format!("{options:?}").replace(&secret, "***");
        let started = Instant::now();
        let error = attach(options).await.unwrap().check().await.unwrap_err();
        assert_eq!(error.sqlstate(), state, "{shown}: {error:?}");
        assert!(!error.report().contains(&secret), "a secret is shown");
        assert!(started.elapsed() < Duration::from_secs(15), "{shown}: took too long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hdfs_holds_what_is_promised() {
    let Some(namenode) = service("MARU_TEST_HDFS") else { return };
    let root = format!("tmp/{}", unique("files"));
    let url = format!("{namenode}/{root}");
    let source = open(&HDFS, &[("url", &url)]).await.unwrap();
    let missing = source.check().await.unwrap_err();
    assert_eq!(missing.sqlstate(), "HV024", "{missing:?}");
    assert!(!missing.report().contains("org.apache"), "{missing:?}");
    let client = hdfs_native::ClientBuilder::new().with_url(&namenode).build().unwrap();
    let put = |name: String, bytes: Vec<u8>| -> BoxFuture<'_, ()> {
        async {
            let (name, options) = (format!("/{}", { name }), WriteOptions::default());
            let mut file = client.create(&name, options).await.unwrap();
            file.write_bytes(bytes.into()).await.unwrap();
            file.close().await.unwrap();
        }
        .boxed()
    };
    fill(&put, &root).await;
    hold(&source).await;
    let again = open(&HDFS, &[("url", &url)]).await.unwrap();
    conformance(&HDFS, &again, "no secret").await;
    client.delete(&format!("/{root}"), true).await.unwrap();

    let source = open(&HDFS, &[("url", "hdfs://127.0.0.1:1/x")]).await.unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
    let source = open(&HDFS, &[("url", "hdfs://ns/x"), ("namenodes", "127.0.0.1:1,127.0.0.1:2")]);
    let started = Instant::now();
    let error = source.await.unwrap().check().await.unwrap_err();
    assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "took too long");
    for (url, options) in [
        ("hdfs://ns/x", ("namenodes", "nn1")),
        ("hdfs://ns:8020/x", ("namenodes", "nn1:8020")),
        ("hdfs://ns/x", ("config_dir", "/no/such/directory")),
        ("hdfs://ns/x", ("layout", "schemas")),
    ] {
        let error = open(&HDFS, &[("url", url), options]).await.unwrap_err();
        assert_eq!(error.sqlstate(), "HV024", "{options:?}");
    }
}
