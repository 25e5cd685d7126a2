//! Paths, hidden names, and listings of a local directory.

use super::found::literal;
use super::*;

#[test]
fn appends_directory_names_as_they_are() {
    let base = Path::parse("w/sales").unwrap();
    let path = literal(&base, "region=a b%2Fc%3Dd").unwrap();
    assert_eq!(path.as_ref(), "w/sales/region=a b%2Fc%3Dd");
    assert_eq!(literal(&Path::default(), "d=1").unwrap().as_ref(), "d=1");
}

#[test]
fn skips_hidden_names_at_any_depth_below_the_table() {
    // The table's own path may have what it likes in it.
    let base = Path::parse("_w/.t").unwrap();
    for (path, hidden) in [
        ("_w/.t/000000_0", false),
        ("_w/.t/HIVE_UNION_SUBDIR_1/000000_0", false),
        ("_w/.t/_SUCCESS", true),
        ("_w/.t/.hive-staging_1/x/000000_0", true),
        ("_w/.t/_temporary/0/part-0", true),
        ("_w/.t/a/.part.tmp.3", true),
    ] {
        assert_eq!(is_hidden(&base, &Path::parse(path).unwrap()), hidden, "{path}");
    }
}

#[tokio::test]
async fn tells_an_empty_directory_from_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("w/empty")).unwrap();
    let store = object_store::local::LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let path = |text: &str| Path::parse(text).unwrap();
    assert!(exists(&store, &path("w/empty"), "file:/w/empty").await.unwrap());
    assert!(!exists(&store, &path("w/gone"), "file:/w/gone").await.unwrap());
    assert!(!exists(&store, &path("x/gone"), "file:/x/gone").await.unwrap());
    assert!(exists(&store, &path("w/gone"), "s3://w/gone").await.unwrap());
}
