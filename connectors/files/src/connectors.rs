//! `USING file`, `USING s3`, `USING hdfs`.

use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use maru_connect::{
    Capabilities, Connector, ConnectorSpec, OpenContext, Source, TypeSpec, authority_of,
};
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::path::Path;
use tokio::sync::OnceCell;
use url::Url;

use crate::layout::Layout;
use crate::options::{FILE_OPTIONS, HDFS_OPTIONS, S3_OPTIONS, TABLE_OPTIONS};
use crate::source::{FilesSource, Place, format_options};
use crate::stores::{Closable, hdfs, local, path_of, private_url, s3};

const CAPABILITIES: Capabilities = Capabilities {
    projection: true,
    filter: true,
    limit: true,
    aggregate: false,
    top_n: false,
    join: false,
    files: true,
    write: true,
};

/// What the formats hold.
const FORMATS: &[TypeSpec] = &[
    TypeSpec::new(
        "Parquet",
        "by the file's own schema: integers, floats, decimals, text, dates, times, timestamps, lists, structs, maps",
        "filters prune files, row groups and pages",
    ),
    TypeSpec::new(
        "ORC",
        "by the file's own schema: integers, floats, decimals, text, dates, timestamps, lists, structs, maps; unions are refused (0A000)",
        "filters prune files and stripes, but those on floats",
    ),
    TypeSpec::new(
        "CSV, TSV",
        "boolean, bigint, double precision, date, timestamp, text, as the values are; or as declared",
        "–",
    ),
    TypeSpec::new(
        "JSON lines",
        "boolean, bigint, double precision, text, lists, structs, as the values are; or as declared",
        "–",
    ),
    TypeSpec::new(
        "Avro",
        "by the file's own schema; enumerations are text; unions but with null are refused (0A000)",
        "–",
    ),
    TypeSpec::new(
        "key=value directories",
        "bigint if all values are plain numbers, date if all are dates, else text",
        "filters decide what is listed",
    ),
];

/// `USING file`.
pub static FILE: FileConnector = FileConnector;
/// `USING s3`.
pub static S3: S3Connector = S3Connector;
/// `USING hdfs`.
pub static HDFS: HdfsConnector = HdfsConnector;

static FILE_SPEC: ConnectorSpec = ConnectorSpec {
    name: "file",
    doc: "Parquet, ORC, Avro, CSV and JSON files in a directory of the machine that runs Maru.",
    options: FILE_OPTIONS,
    table_options: TABLE_OPTIONS,
    types: FORMATS,
    capabilities: CAPABILITIES,
    example: "CREATE CATALOG lake USING file WITH (path = '/data/lake')",
};

static S3_SPEC: ConnectorSpec = ConnectorSpec {
    name: "s3",
    doc: "Parquet, ORC, Avro, CSV and JSON files in a bucket of Amazon S3 or a server that speaks like it.",
    options: S3_OPTIONS,
    table_options: TABLE_OPTIONS,
    types: FORMATS,
    capabilities: CAPABILITIES,
    example: "CREATE CATALOG lake USING s3 WITH (bucket = 'lake', endpoint = 'http://minio:9000', access_key_id = 'reader', secret_access_key = '…')",
};

static HDFS_SPEC: ConnectorSpec = ConnectorSpec {
    name: "hdfs",
    doc: "Parquet, ORC, Avro, CSV and JSON files in a directory of HDFS.",
    options: HDFS_OPTIONS,
    table_options: TABLE_OPTIONS,
    types: FORMATS,
    capabilities: CAPABILITIES,
    example: "CREATE CATALOG lake USING hdfs WITH (url = 'hdfs://namenode:8020/lake')",
};

/// The kind of source behind `USING file`.
#[derive(Debug)]
pub struct FileConnector;

/// The kind of source behind `USING s3`.
#[derive(Debug)]
pub struct S3Connector;

/// The kind of source behind `USING hdfs`.
#[derive(Debug)]
pub struct HdfsConnector;

impl Connector for FileConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        &FILE_SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        Box::pin(ready(open_file(&context)))
    }

    fn reads_server_files(&self) -> bool {
        true
    }
}

impl Connector for S3Connector {
    fn spec(&self) -> &'static ConnectorSpec {
        &S3_SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        Box::pin(ready(open_s3(&context)))
    }
}

impl Connector for HdfsConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        &HDFS_SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        // In a future of its own, since the client must be made inside the runtime.
        Box::pin(async move { open_hdfs(&context) })
    }
}

fn is_flat(options: &Options) -> bool {
    options.text("layout") == Some("tables")
}

fn open_file(context: &OpenContext) -> Result<Arc<dyn Source>> {
    let path = context.options.require_text("path")?.to_owned();
    let closable = Closable::new(local::open(Some(&path))?);
    let store_url = private_url(&context.instance, "file", &authority_of(&path))?;
    let layout = Layout {
        store: Arc::clone(&closable.store),
        root: Path::default(),
        flat: is_flat(&context.options),
    };
    Ok(Arc::new(FilesSource {
        catalog: context.catalog.clone(),
        place: Place::Local { path },
        layout,
        store_url,
        formats: format_options(&context.options),
        gate: closable.gate,
        exclusive: OnceCell::new(),
    }))
}

fn open_s3(context: &OpenContext) -> Result<Arc<dyn Source>> {
    let options = &context.options;
    let bucket = options.require_text("bucket")?.to_owned();
    let prefix = options.text("prefix").unwrap_or_default();
    let root = Path::parse(prefix.trim_matches('/')).map_err(|error| {
        Error::new(
            ErrorKind::InvalidOption,
            format!("invalid value \"{prefix}\" for option \"prefix\""),
        )
        .with_cause(error)
    })?;
    let closable = Closable::new(s3::open(&bucket, options)?);
    let layout = Layout { store: Arc::clone(&closable.store), root, flat: is_flat(options) };
    Ok(Arc::new(FilesSource {
        catalog: context.catalog.clone(),
        store_url: private_url(&context.instance, "s3", &bucket)?,
        place: Place::S3 { bucket, options: options.clone() },
        layout,
        formats: format_options(options),
        gate: closable.gate,
        exclusive: OnceCell::new(),
    }))
}

fn open_hdfs(context: &OpenContext) -> Result<Arc<dyn Source>> {
    let options = &context.options;
    let text = options.require_text("url")?;
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "hdfs" && url.has_host());
    let url = url.ok_or_else(|| {
        Error::new(ErrorKind::InvalidOption, format!("invalid value \"{text}\" for option \"url\""))
            .with_hint("Give a URL such as hdfs://namenode:8020/lake.")
    })?;
    let cluster = hdfs::open(&url, options)?;
    let root = path_of(&url)?;
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let layout = Layout { store: Arc::clone(&cluster.store), root, flat: is_flat(options) };
    Ok(Arc::new(FilesSource {
        catalog: context.catalog.clone(),
        store_url: private_url(&context.instance, "hdfs", &authority)?,
        layout,
        formats: format_options(options),
        gate: Arc::clone(&cluster.gate),
        exclusive: OnceCell::new(),
        place: Place::Hdfs { url, cluster },
    }))
}
