//! Precedence, the file, and the page made from the list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::values::{Address, Bytes, Kind, Span};
use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn layers(
    file: &Path,
    environment: &[(&'static str, &str)],
    flags: &[(&'static str, &str)],
) -> Layers {
    let owned = |pairs: &[(&'static str, &str)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    Layers { file: Some(file.to_owned()), flags: owned(flags), environment: owned(environment) }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let (_dir, path) = file(
        "pg_listen = '127.0.0.1:1'\nhttp_listen = '127.0.0.1:1'\nflight_listen = '127.0.0.1:1'\n",
    );
    let environment = [("pg_listen", "127.0.0.1:2"), ("http_listen", "127.0.0.1:2")];
    let loaded = load(&layers(&path, &environment, &[("pg_listen", "127.0.0.1:3")])).unwrap();
    assert_eq!(loaded.config.pg_listen, "127.0.0.1:3");
    assert_eq!(loaded.config.http_listen, "127.0.0.1:2");
    assert_eq!(loaded.config.flight_listen, "127.0.0.1:1");
    assert_eq!(loaded.config.data_dir, PathBuf::from("./maru-data"));
    assert_eq!(loaded.origin("pg_listen"), Origin::Flag("pg-listen".to_owned()));
    assert_eq!(loaded.origin("http_listen"), Origin::Environment("MARU_HTTP_LISTEN".to_owned()));
    assert_eq!(loaded.origin("flight_listen"), Origin::File(path, 3));
    assert_eq!(loaded.origin("data_dir"), Origin::Default);
}

#[test]
fn an_unknown_key_names_its_line_and_the_likely_one() {
    let (_dir, path) = file("# head\nlog = 'warn'\nmemory_limt = '1GB'\n");
    let error = load(&layers(&path, &[], &[])).unwrap_err();
    assert_eq!(error.sqlstate(), "F0000");
    assert_eq!(error.primary(), "unknown setting \"memory_limt\"");
    assert!(error.detail().unwrap().contains("line=3"), "{error:?}");
    assert_eq!(error.hint(), Some("Did you mean \"memory_limit\"?"));
}

#[test]
fn text_that_is_not_toml_names_its_line() {
    let (_dir, path) = file("log = 'warn'\nlog_format = \n");
    let error = load(&layers(&path, &[], &[])).unwrap_err();
    assert!(error.detail().unwrap().contains("line=2"), "{error:?}");
}

#[test]
fn a_bad_value_names_its_source_and_a_secret_is_not_repeated() {
    let (_dir, path) = file("");
    let error = load(&layers(&path, &[("pg_listen", "here")], &[])).unwrap_err();
    assert!(error.report().contains("environment MARU_PG_LISTEN"), "{error:?}");
    let loaded = load(&layers(&path, &[("initial_password", "hunter2")], &[])).unwrap();
    assert!(!loaded.print().contains("hunter2") && loaded.print().contains("********"));
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn the_printed_configuration_is_a_file_that_gives_the_same_one() {
    let (_dir, path) = file("statement_timeout = '90s'\nqueued_queries_max = 7\n");
    let loaded = load(&layers(&path, &[], &[("memory_limit", "1.5GB")])).unwrap();
    let (_again_dir, again) = file(&loaded.print());
    let again = load(&layers(&again, &[], &[])).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
    assert_eq!(again.config.statement_timeout, Duration::from_secs(90));
    assert_eq!(again.config.memory_limit_bytes, 1_500_000_000);
}

#[test]
fn the_file_in_the_data_directory_is_found_and_cannot_move_it() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().display().to_string();
    let layers =
        || Layers { flags: BTreeMap::from([("data_dir", name.clone())]), ..Layers::default() };
    std::fs::write(dir.path().join("maru.toml"), "queued_queries_max = 3").unwrap();
    assert_eq!(load(&layers()).unwrap().config.queued_queries_max, 3);
    std::fs::write(dir.path().join("maru.toml"), "data_dir = '/elsewhere'").unwrap();
    assert_eq!(load(&layers()).unwrap_err().sqlstate(), "F0000");
}

#[test]
fn sizes_durations_and_addresses() {
    assert_eq!(Bytes::<u64>::parse("512MB"), Ok(512_000_000));
    assert_eq!(Bytes::<u64>::parse("2 GiB"), Ok(2 << 30));
    assert_eq!(Bytes::<u64>::parse("1024"), Ok(1024));
    assert_eq!(Bytes::<u64>::show(&(3 << 20)), Some("3MiB".to_owned()));
    assert!(Bytes::<u64>::parse("2 apples").is_err());
    assert!(Bytes::<u64>::parse("-1").is_err());
    assert!(Bytes::<u64>::parse("0").is_err());
    assert_eq!(Span::parse("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(Span::parse("1.5h"), Ok(Duration::from_secs(5400)));
    assert_eq!(Span::show(&Duration::from_secs(90)), Some("90s".to_owned()));
    assert!(Span::parse("soon").is_err());
    assert!(Address::parse("[::1]:0").is_ok());
    assert!(Address::parse("::1:0").is_err());
    assert!(Address::parse("localhost:65536").is_err());
}

/// Asked at run time, since a test built in one clone may be run from the cache in another.
fn repository() -> PathBuf {
    let here = std::env::var("CARGO_MANIFEST_DIR");
    here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned()).into()
}

#[test]
fn the_configuration_page_is_the_list() {
    let path = repository().join("docs/configuration.md");
    if std::env::var_os("MARU_BLESS").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == markdown(), "docs/configuration.md is behind src/config/settings.rs");
}
