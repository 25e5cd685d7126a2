//! Catalogs over a Hive metastore: its databases are schemas, its tables are files that the engine reads itself.
//!
//! What becomes of `SELECT … FROM h.shop.sales WHERE day = '2026-01-02'`:
//!
//! 1. `source.rs` asks the metastore for the table (`metastore.rs`) and gets columns, location and SerDe as Hive wrote
//!    them;
//! 2. `table.rs` decides whether they mean what Maru can read exactly (`types.rs`, `format.rs`), or refuses with 0A000;
//! 3. the engine asks `lister.rs` for the files: the metastore is asked for the partitions that a filter leaves
//!    (`filter.rs`), or names are fetched and pruned here (`partition.rs`) and the kept ones looked up, and each partition's own location is listed in the object store.
//!
//! The store itself (HDFS, S3, local disk) is opened by whoever the engine passes as `StoreOpener`.

mod filter;
mod format;
mod lister;
mod location;
mod metastore;
mod partition;
mod source;
mod spark;
mod statistics;
mod table;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod types;
mod view;
mod write;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, ready};
use maru_connect::{Capabilities, Connector, ConnectorSpec, OpenContext, Source, TypeSpec};
use maru_core::{OptionKind, OptionSpec, Result};

/// What this room offers to the registry.
pub static CONNECTORS: &[&dyn Connector] = &[&HIVE];

/// `USING hive`.
pub static HIVE: HiveConnector = HiveConnector;

/// Those of `CREATE TABLE … WITH (…)`.
static TABLE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "format",
        OptionKind::OneOf(&["parquet", "text"]),
        "How the files of the table are laid out: Parquet, or Hive's delimited text (LazySimpleSerDe).",
    )
    .default("parquet"),
    OptionSpec::new(
        "compression",
        OptionKind::OneOf(&["snappy", "zstd", "lz4", "gzip", "none"]),
        "How Parquet files are packed.",
    )
    .default("snappy"),
];

static SPEC: ConnectorSpec = ConnectorSpec {
    name: "hive",
    doc: "Tables of a Hive metastore (2.3, 3.1, 4.0) whose files lie on HDFS, S3 or a local disk.",
    options: &[
        OptionSpec::new(
            "metastore",
            OptionKind::Text,
            "Where the metastore listens, e.g. thrift://host:9083; several, separated by commas, are tried in order.",
        )
        .required(),
        OptionSpec::new(
            "user",
            OptionKind::Text,
            "Who asks the metastore and HDFS; by default HADOOP_USER_NAME, else the user Maru runs as.",
        ),
        OptionSpec::new(
            "timeout",
            OptionKind::Duration,
            "How long the metastore may take to answer one call.",
        )
        .default("60s"),
        // Below: for whoever opens the stores, by the names that the connectors for S3 and HDFS give them.
        OptionSpec::new(
            "endpoint",
            OptionKind::Text,
            "For tables on S3: the URL of the server, e.g. http://minio:9000; by default Amazon's of the region.",
        ),
        OptionSpec::new("region", OptionKind::Text, "For tables on S3: the region.")
            .default("us-east-1"),
        OptionSpec::new("access_key_id", OptionKind::Text, "For tables on S3: the access key."),
        OptionSpec::new(
            "secret_access_key",
            OptionKind::Secret,
            "For tables on S3: the secret of the access key.",
        ),
        OptionSpec::new(
            "session_token",
            OptionKind::Secret,
            "For tables on S3: the token that goes with temporary keys.",
        ),
        OptionSpec::new(
            "path_style",
            OptionKind::Boolean,
            "For tables on S3: whether the bucket stands in the path of the URL; by default true with an endpoint.",
        ),
        OptionSpec::new(
            "ca_file",
            OptionKind::Text,
            "For tables on S3: a PEM file with the certificates to trust besides the system's.",
        ),
        OptionSpec::new(
            "max_requests",
            OptionKind::Integer,
            "For tables on S3: requests that are under way to one bucket at once at most; without it there is no such limit.",
        ),
        OptionSpec::new(
            "max_retries",
            OptionKind::Integer,
            "For tables on S3: how often a request is sent again that the store answers with 429 or 5xx, or not at all.",
        )
        .default("6"),
        OptionSpec::new(
            "retry_timeout",
            OptionKind::Duration,
            "For tables on S3: how long after its beginning a request is still sent again.",
        )
        .default("30s"),
        OptionSpec::new(
            "config_dir",
            OptionKind::Text,
            "For tables on HDFS: the directory with core-site.xml and hdfs-site.xml, e.g. /etc/hadoop/conf.",
        ),
        OptionSpec::new(
            "namenodes",
            OptionKind::Text,
            "For tables on HDFS: the NameNodes of the nameservice, e.g. nn1:8020,nn2:8020, without a config_dir.",
        ),
    ],
    table_options: TABLE_OPTIONS,
    types: &[
        TypeSpec::new(
            "boolean, tinyint, smallint, int, bigint, float, double",
            "boolean, smallint, smallint, integer, bigint, real, double precision",
            "prunes row groups of Parquet and stripes of ORC; partitions",
        ),
        TypeSpec::new(
            "decimal(p,s)",
            "numeric(p,s)",
            "as above",
        ),
        TypeSpec::new(
            "string, varchar, char",
            "text",
            "as above",
        ),
        TypeSpec::new(
            "date",
            "date",
            "as above",
        ),
        TypeSpec::new(
            "timestamp",
            "timestamp, microseconds",
            "as above",
        ),
        TypeSpec::new(
            "timestamp with local time zone",
            "timestamp with time zone, in UTC",
            "as above",
        ),
        TypeSpec::new(
            "binary",
            "bytea",
            "–",
        ),
        TypeSpec::new(
            "array, map, struct",
            "lists, maps, structs",
            "–",
        ),
        TypeSpec::new(
            "uniontype, intervals",
            "refused (HV004)",
            "–",
        ),
    ],
    capabilities: Capabilities {
        projection: true,
        filter: true,
        limit: true,
        aggregate: false,
        top_n: false,
        join: false,
        files: true,
        write: true,
    },
    example: "CREATE CATALOG warehouse USING hive WITH (metastore = 'thrift://metastore.example:9083')",
};

/// The kind of source behind `USING hive`.
#[derive(Debug)]
pub struct HiveConnector;

impl Connector for HiveConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        &SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        let source = source::HiveSource::open(context);
        ready(source.map(|source| Arc::new(source) as Arc<dyn Source>)).boxed()
    }

    fn reads_server_files(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
