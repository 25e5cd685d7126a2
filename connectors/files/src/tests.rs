//! Catalogs of files through the engine: temporary directories here, real S3 and HDFS in `tests/services.rs`.

mod errors;
mod listing;
mod reading;
mod services;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};
use maru_connect::{Connector, FederatedTable, OpenContext, Source};
use maru_core::{Error, Options, Result};

use crate::{FILE, Stores};

/// A catalog over a temporary directory.
struct Lake {
    folder: tempfile::TempDir,
    source: Arc<dyn Source>,
}

impl Lake {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let options = [&[("path", path.as_str())], options].concat();
        let source = open(&FILE, &options).await.unwrap();
        Self { folder, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Returns what an error says, with files as they lie in the catalog.
    fn told(&self, error: &Error) -> String {
        error.message().replace(&format!("{}/", self.folder.path().display()), "/lake/")
    }

    async fn sql(&self, table: &str, sql: &str) -> Result<String> {
        query(&self.source, table, sql, true).await
    }
}

async fn open(connector: &dyn Connector, options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let spec = connector.spec();
    let owner = format!("connector \"{}\"", spec.name);
    let options = Options::check(&owner, spec.options, options.iter().copied())?;
    connector
        .open(OpenContext {
            catalog: "lake".to_owned(),
            instance: "c1".to_owned(),
            options,
            stores: Arc::new(Stores),
        })
        .await
}

/// Runs `sql`, in which the table `schema.name` is called `t`, and returns the result as text.
async fn query(source: &Arc<dyn Source>, table: &str, sql: &str, pushdown: bool) -> Result<String> {
    let (schema, name) = table.split_once('.').unwrap();
    let opened = source.table(schema, name).await?.expect("the table is there");
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let provider = FederatedTable::new("lake", opened).with_pushdown(pushdown);
    context.register_table("t", Arc::new(provider))?;
    let batches = async { context.sql(sql).await?.collect().await }.await.map_err(Error::from)?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// Returns the rows of a result without its frame.
fn rows(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
    lines
        .map(|line| {
            let cells = line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
            cells.join(",")
        })
        .collect()
}

/// Writes a Parquet file of an integer and a text column, in groups of 100 rows.
fn write_parquet(path: &Path, names: [&str; 2], rows: std::ops::Range<i64>) {
    let schema = Arc::new(Schema::new(vec![
        Field::new(names[0], DataType::Int64, false),
        Field::new(names[1], DataType::Utf8, true),
    ]));
    let texts = rows.clone().map(|n| (n % 7 != 0).then(|| format!("name {n}")));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from_iter_values(rows.clone())),
            Arc::new(StringArray::from_iter(texts)),
        ],
    )
    .unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
