//! The list of what is compiled in. Adding a connector is one folder and one line here.

use maru_connect::Connector;
use maru_core::{Error, ErrorKind, Result, did_you_mean};

/// Every connector, in the order of the reference.
pub fn connectors() -> impl Iterator<Item = &'static dyn Connector> {
    [maru_files::CONNECTORS, maru_hive::CONNECTORS, maru_rdbms::CONNECTORS, maru_memory::CONNECTORS]
        .into_iter()
        .flatten()
        .copied()
}

/// What else people call them, and what they read of others.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("postgresql", "postgres"),
    ("pg", "postgres"),
    ("mariadb", "mysql"),
    ("sqlite3", "sqlite"),
    ("minio", "s3, with the option \"endpoint\""),
    ("aws", "s3"),
    ("delta", "file or s3, which find Delta tables by themselves"),
    ("deltalake", "file or s3, which find Delta tables by themselves"),
    ("parquet", "file or s3, which read Parquet, CSV, JSON and ORC"),
    ("csv", "file or s3, which read Parquet, CSV, JSON and ORC"),
    ("files", "file"),
    ("local", "file"),
    ("webhdfs", "hdfs"),
    ("metastore", "hive"),
];

/// Returns the connector of that name.
///
/// # Errors
/// 42704 with the names there are.
pub fn require_connector(name: &str) -> Result<&'static dyn Connector> {
    connectors().find(|connector| connector.spec().name == name).ok_or_else(|| {
        let names = connectors().map(|connector| connector.spec().name).collect::<Vec<_>>();
        let error =
            Error::new(ErrorKind::UndefinedObject, format!("connector \"{name}\" does not exist"))
                .with_detail(format!("Connectors: {}.", names.join(", ")));
        if let Some((_, meant)) =
            OTHER_NAMES.iter().find(|(other, _)| *other == name.to_lowercase())
        {
            return error.with_hint(format!("Write USING {meant}."));
        }
        match did_you_mean(name, names.iter().copied()) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint("Run SHOW CONNECTORS to see what each of them is for."),
        }
    })
}
