//! The options of the three connectors and of located tables, each declared once.

use maru_core::{OptionKind, OptionSpec};

const FORMAT_HEADER: OptionSpec = OptionSpec::new(
    "header",
    OptionKind::Boolean,
    "Whether the first line of a CSV file names the columns.",
)
.default("true");

const FORMAT_DELIMITER: OptionSpec = OptionSpec::new(
    "delimiter",
    OptionKind::Text,
    "The character between the fields of a CSV line, e.g. ; or \\t. By default a comma, in .tsv files a tab.",
);

const FORMAT_QUOTE: OptionSpec = OptionSpec::new(
    "quote",
    OptionKind::Text,
    "The character around CSV fields that hold the delimiter or a newline; empty for none.",
)
.default("\"");

const FORMAT_ESCAPE: OptionSpec = OptionSpec::new(
    "escape",
    OptionKind::Text,
    "The character that takes away the meaning of the next one between quotes, e.g. \\; anywhere if quote is empty. By default a quote is doubled.",
);

const FORMAT_NULL: OptionSpec = OptionSpec::new(
    "null",
    OptionKind::Text,
    "The unquoted CSV field that stands for NULL, e.g. \\N. By default the empty field.",
)
.default("");

const LAYOUT: OptionSpec = OptionSpec::new(
    "layout",
    OptionKind::OneOf(&["schemas", "tables"]),
    "Whether directories at the root are schemas, or all of them tables of schema public.",
)
.default("schemas");

pub(crate) const ENDPOINT: OptionSpec = OptionSpec::new(
    "endpoint",
    OptionKind::Text,
    "The URL of a server that speaks S3, e.g. http://minio:9000. By default Amazon's of the region.",
);

pub(crate) const REGION: OptionSpec =
    OptionSpec::new("region", OptionKind::Text, "The region of the bucket.").default("us-east-1");

pub(crate) const ACCESS_KEY_ID: OptionSpec = OptionSpec::new(
    "access_key_id",
    OptionKind::Text,
    "The access key. Without it requests are not signed, which only public buckets allow.",
);

pub(crate) const SECRET_ACCESS_KEY: OptionSpec =
    OptionSpec::new("secret_access_key", OptionKind::Secret, "The secret of the access key.");

pub(crate) const SESSION_TOKEN: OptionSpec = OptionSpec::new(
    "session_token",
    OptionKind::Secret,
    "The token that goes with temporary keys.",
);

pub(crate) const PATH_STYLE: OptionSpec = OptionSpec::new(
    "path_style",
    OptionKind::Boolean,
    "Whether the bucket stands in the path of the URL instead of the host. By default true with an endpoint.",
);

pub(crate) const CA_FILE: OptionSpec = OptionSpec::new(
    "ca_file",
    OptionKind::Text,
    "A PEM file with the certificates to trust besides the system's.",
);

pub(crate) const TIMEOUT: OptionSpec =
    OptionSpec::new("timeout", OptionKind::Duration, "How long one request may take.")
        .default("60s");

pub(crate) const MAX_REQUESTS: OptionSpec = OptionSpec::new(
    "max_requests",
    OptionKind::Integer,
    "Requests that are under way to the bucket at once at most; one more waits. Without it there is no such limit.",
);

pub(crate) const MAX_RETRIES: OptionSpec = OptionSpec::new(
    "max_retries",
    OptionKind::Integer,
    "How often a request is sent again that the store answers with 429 or 5xx, or not at all; 0 for never.",
)
.default("6");

pub(crate) const RETRY_TIMEOUT: OptionSpec = OptionSpec::new(
    "retry_timeout",
    OptionKind::Duration,
    "How long after its beginning a request is still sent again.",
)
.default("30s");

pub(crate) const CONFIG_DIR: OptionSpec = OptionSpec::new(
    "config_dir",
    OptionKind::Text,
    "The directory with core-site.xml and hdfs-site.xml, e.g. /etc/hadoop/conf; it names the NameNodes of a nameservice.",
);

pub(crate) const NAMENODES: OptionSpec = OptionSpec::new(
    "namenodes",
    OptionKind::Text,
    "The NameNodes of the nameservice in the URL, e.g. nn1:8020,nn2:8020, if there is no config_dir.",
);

pub(crate) const USER: OptionSpec = OptionSpec::new(
    "user",
    OptionKind::Text,
    "The user for HDFS. By default HADOOP_USER_NAME, else whom Maru runs as. With Kerberos, for whom the ticket's owner acts.",
);

/// Named as the timeout of the other connectors; HDFS itself sends no requests but keeps on talking.
pub(crate) const SILENCE: OptionSpec = OptionSpec::new(
    "timeout",
    OptionKind::Duration,
    "How long a server of HDFS may be silent. By default 30s; with a config_dir, DataNodes as dfs.client.socket-timeout there says.",
);

pub(crate) static FILE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "path",
        OptionKind::Text,
        "The directory that is the catalog, e.g. /data/lake.",
    )
    .required(),
    LAYOUT,
    FORMAT_HEADER,
    FORMAT_DELIMITER,
    FORMAT_QUOTE,
    FORMAT_ESCAPE,
    FORMAT_NULL,
];

pub(crate) static S3_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("bucket", OptionKind::Text, "The bucket.").required(),
    OptionSpec::new("prefix", OptionKind::Text, "The directory in the bucket that is the catalog.")
        .default(""),
    ENDPOINT,
    REGION,
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    PATH_STYLE,
    CA_FILE,
    TIMEOUT,
    MAX_REQUESTS,
    MAX_RETRIES,
    RETRY_TIMEOUT,
    LAYOUT,
    FORMAT_HEADER,
    FORMAT_DELIMITER,
    FORMAT_QUOTE,
    FORMAT_ESCAPE,
    FORMAT_NULL,
];

pub(crate) static HDFS_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "url",
        OptionKind::Text,
        "The directory that is the catalog, e.g. hdfs://namenode:8020/lake or hdfs://nameservice/lake.",
    )
    .required(),
    CONFIG_DIR,
    NAMENODES,
    USER,
    SILENCE,
    LAYOUT,
    FORMAT_HEADER,
    FORMAT_DELIMITER,
    FORMAT_QUOTE,
    FORMAT_ESCAPE,
    FORMAT_NULL,
];

/// Options of one located table (`CREATE EXTERNAL TABLE … OPTIONS (…)`).
pub static LOCATION_OPTIONS: &[OptionSpec] =
    &[FORMAT_HEADER, FORMAT_DELIMITER, FORMAT_QUOTE, FORMAT_ESCAPE, FORMAT_NULL];

/// Options of tables that are made (`CREATE TABLE … WITH (…)`).
pub static TABLE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("format", OptionKind::OneOf(&["delta"]), "How the table is kept.")
        .default("delta"),
    OptionSpec::new(
        "compression",
        OptionKind::OneOf(&["snappy", "zstd", "lz4", "none"]),
        "How the pages of its Parquet files are packed.",
    )
    .default("snappy"),
];
