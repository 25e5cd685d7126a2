//! Makes databases, tables and partitions in a metastore, for tests. Works with 3.1 and 4.0.

use std::time::Duration;

use hive_metastore::{Database, FieldSchema, Partition, SerDeInfo, StorageDescriptor, Table};
use maru_core::Result;
use pilota::{AHashMap, FastStr};

use crate::metastore::{Endpoint, Metastore};

type Pairs = Vec<(String, String)>;

/// How a table's files are laid out, in Hive's words.
#[derive(Debug, Clone)]
pub struct Storage {
    input: String,
    output: String,
    serde: String,
    parameters: Pairs,
}

impl Storage {
    /// Returns any pair of classes.
    pub fn class(input: &str, serde: &str) -> Self {
        Self {
            input: input.to_owned(),
            output: "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat".to_owned(),
            serde: serde.to_owned(),
            parameters: Vec::new(),
        }
    }

    pub fn parquet(parameters: &[(&str, &str)]) -> Self {
        let package = "org.apache.hadoop.hive.ql.io.parquet";
        let storage = Self {
            output: format!("{package}.MapredParquetOutputFormat"),
            ..Self::class(
                &format!("{package}.MapredParquetInputFormat"),
                &format!("{package}.serde.ParquetHiveSerDe"),
            )
        };
        storage.with(parameters)
    }

    /// Returns Hive's default text, with SerDe parameters such as `field.delim`.
    pub fn text(parameters: &[(&str, &str)]) -> Self {
        Self::class(
            "org.apache.hadoop.mapred.TextInputFormat",
            "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        )
        .with(parameters)
    }

    pub fn open_csv(parameters: &[(&str, &str)]) -> Self {
        Self::class(
            "org.apache.hadoop.mapred.TextInputFormat",
            "org.apache.hadoop.hive.serde2.OpenCSVSerde",
        )
        .with(parameters)
    }

    pub fn json() -> Self {
        Self::class(
            "org.apache.hadoop.mapred.TextInputFormat",
            "org.apache.hive.hcatalog.data.JsonSerDe",
        )
    }

    pub fn orc() -> Self {
        let package = "org.apache.hadoop.hive.ql.io.orc";
        Self::class(&format!("{package}.OrcInputFormat"), &format!("{package}.OrcSerde"))
    }

    pub fn avro() -> Self {
        Self::class(
            "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat",
            "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
        )
    }

    /// Sets parameters of the SerDe.
    pub fn with(mut self, parameters: &[(&str, &str)]) -> Self {
        self.parameters = owned(parameters);
        self
    }

    fn descriptor(&self, columns: &Pairs, location: &str) -> StorageDescriptor {
        StorageDescriptor {
            cols: Some(fields(columns)),
            location: Some(FastStr::new(location)),
            input_format: Some(FastStr::new(&self.input)),
            output_format: Some(FastStr::new(&self.output)),
            compressed: Some(false),
            num_buckets: Some(-1),
            serde_info: Some(SerDeInfo {
                name: None,
                serialization_lib: Some(FastStr::new(&self.serde)),
                parameters: Some(map(&self.parameters)),
            }),
            bucket_cols: Some(Vec::new()),
            sort_cols: Some(Vec::new()),
            parameters: Some(AHashMap::default()),
            ..StorageDescriptor::default()
        }
    }
}

/// A table to be made.
#[derive(Debug, Clone)]
pub struct TableDef {
    database: String,
    name: String,
    location: String,
    storage: Storage,
    columns: Pairs,
    keys: Pairs,
    parameters: Pairs,
    view: Option<String>,
    managed: bool,
}

impl TableDef {
    /// Returns an external table without columns at `location`.
    pub fn new(database: &str, name: &str, location: &str, storage: Storage) -> Self {
        Self {
            database: database.to_owned(),
            name: name.to_owned(),
            location: location.to_owned(),
            storage,
            columns: Vec::new(),
            keys: Vec::new(),
            parameters: owned(&[("EXTERNAL", "TRUE")]),
            view: None,
            managed: false,
        }
    }

    pub fn column(mut self, name: &str, hive_type: &str) -> Self {
        self.columns.push((name.to_owned(), hive_type.to_owned()));
        self
    }

    pub fn partitioned_by(mut self, name: &str, hive_type: &str) -> Self {
        self.keys.push((name.to_owned(), hive_type.to_owned()));
        self
    }

    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes it a table that Hive manages.
    pub fn managed(mut self) -> Self {
        self.parameters.retain(|(key, _)| key != "EXTERNAL");
        self.managed = true;
        self
    }

    /// Makes it a view.
    pub fn view(mut self, query: &str) -> Self {
        self.view = Some(query.to_owned());
        self
    }

    /// Returns what the metastore would hand out for it.
    pub fn into_table(self) -> Table {
        let kind = match (&self.view, self.managed) {
            (Some(_), _) => "VIRTUAL_VIEW",
            (None, true) => "MANAGED_TABLE",
            (None, false) => "EXTERNAL_TABLE",
        };
        let query = self.view.as_deref().map(FastStr::new);
        Table {
            table_name: Some(FastStr::new(&self.name)),
            db_name: Some(FastStr::new(&self.database)),
            owner: Some("maru".into()),
            sd: Some(self.storage.descriptor(&self.columns, &self.location)),
            partition_keys: Some(fields(&self.keys)),
            parameters: Some(map(&self.parameters)),
            table_type: Some(kind.into()),
            view_original_text: query.clone(),
            view_expanded_text: query,
            ..Table::default()
        }
    }

    fn partition(&self, values: &[&str], location: &str) -> Partition {
        Partition {
            values: Some(values.iter().map(FastStr::new).collect()),
            db_name: Some(FastStr::new(&self.database)),
            table_name: Some(FastStr::new(&self.name)),
            sd: Some(self.storage.descriptor(&self.columns, location)),
            parameters: Some(AHashMap::default()),
            ..Partition::default()
        }
    }
}

/// Writes to a metastore.
#[derive(Debug)]
pub struct Seeder {
    metastore: Metastore,
}

impl Seeder {
    /// Takes `thrift://host:port`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// HV024 if it is no such address.
    pub fn new(metastore: &str) -> Result<Self> {
        let endpoints = Endpoint::parse_list(metastore)?;
        Ok(Self { metastore: Metastore::new(endpoints, "maru", Duration::from_secs(60)) })
    }

    /// Makes a database, after dropping one of that name with its tables (not their files).
    pub async fn create_database(&self, name: &str, location: &str) -> Result<()> {
        self.drop_database(name).await?;
        let database = Database {
            name: Some(FastStr::new(name)),
            description: Some("made by a test of Maru".into()),
            location_uri: Some(FastStr::new(location)),
            parameters: Some(AHashMap::default()),
            ..Database::default()
        };
        let call = self.metastore.call("create_database", |client| {
            let database = database.clone();
            async move { client.create_database(database).await }
        });
        Ok(call.await??)
    }

    pub async fn drop_database(&self, name: &str) -> Result<()> {
        // Metastore 3.1 fails with a null pointer on one that is not there.
        if !self.metastore.databases().await?.iter().any(|database| database == name) {
            return Ok(());
        }
        let name = FastStr::new(name);
        let call = self.metastore.call("drop_database", |client| {
            let name = name.clone();
            async move { client.drop_database(name, false, true).await }
        });
        match call.await? {
            Err(refusal) if !refusal.missing => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    pub async fn create_table(&self, table: &TableDef) -> Result<()> {
        let table = table.clone().into_table();
        let call = self.metastore.call("create_table", |client| {
            let table = table.clone();
            async move { client.create_table(table).await }
        });
        Ok(call.await??)
    }

    /// Adds partitions: their values, in the order of the partition columns, and where they lie.
    pub async fn add_partitions(
        &self,
        table: &TableDef,
        partitions: &[(&[&str], &str)],
    ) -> Result<()> {
        let new = partitions.iter().map(|(values, location)| table.partition(values, location));
        let new = new.collect::<Vec<_>>();
        let call = self.metastore.call("add_partitions", |client| {
            let new = new.clone();
            async move { client.add_partitions(new).await }
        });
        call.await??;
        Ok(())
    }
}

fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn map(pairs: &Pairs) -> AHashMap<FastStr, FastStr> {
    pairs.iter().map(|(key, value)| (FastStr::new(key), FastStr::new(value))).collect()
}

fn fields(columns: &Pairs) -> Vec<FieldSchema> {
    let field = |(name, hive_type): &(String, String)| FieldSchema {
        name: Some(FastStr::new(name)),
        r#type: Some(FastStr::new(hive_type)),
        comment: None,
    };
    columns.iter().map(field).collect()
}
