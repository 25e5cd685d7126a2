//! The lines of the log that matter to a reader.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, json};

/// One line of a commit, or one row of a checkpoint: at most one of the fields is there. Lines of other kinds have none.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) add: Option<Add>,
    pub(super) remove: Option<Remove>,
    pub(super) meta_data: Option<Metadata>,
    pub(super) protocol: Option<Protocol>,
    pub(super) commit_info: Option<CommitInfo>,
    pub(super) sidecar: Option<Sidecar>,
    pub(super) txn: Option<Transaction>,
}

/// A file that belongs to the table from now on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// Relative to the table, percent-encoded.
    pub(super) path: String,
    /// By the physical names of the columns.
    pub(super) partition_values: HashMap<String, Option<String>>,
    pub(super) size: u64,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(super) modification_time: i64,
    pub(super) stats: Option<String>,
    pub(super) deletion_vector: Option<Vector>,
}

/// A file that no longer belongs to the table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    pub(super) path: String,
    pub(super) partition_values: Option<HashMap<String, Option<String>>>,
    pub(super) deletion_vector: Option<Vector>,
}

/// Where the positions of a file's deleted rows are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vector {
    /// `u`: a file of the table, `i`: here, `p`: a file elsewhere.
    pub(super) storage_type: String,
    pub(super) path_or_inline_dv: String,
    pub(super) offset: Option<u64>,
    pub(super) size_in_bytes: u64,
    pub(super) cardinality: u64,
}

impl Vector {
    /// Returns it as the log writes it.
    pub(super) fn json(&self) -> Value {
        let mut vector = json!({
            "storageType": self.storage_type,
            "pathOrInlineDv": self.path_or_inline_dv,
            "sizeInBytes": self.size_in_bytes,
            "cardinality": self.cardinality,
        });
        if let Some(offset) = self.offset {
            vector["offset"] = offset.into();
        }
        vector
    }
}

/// How far some work has come that is not to be done twice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction {
    pub(super) app_id: String,
    pub(super) version: i64,
}

/// The columns and properties of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) format: Format,
    pub(super) schema_string: String,
    pub(super) partition_columns: Vec<String>,
    #[serde(default)]
    pub(super) configuration: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(super) created_time: Option<i64>,
}

impl Metadata {
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.configuration.get(name)?.as_deref()
    }
}

/// The format of the table's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Format {
    #[serde(default)]
    pub(super) provider: String,
}

/// What a reader must know to read the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: u32,
    #[serde(default)]
    pub(super) min_writer_version: u32,
    #[serde(default)]
    pub(super) reader_features: Option<Vec<String>>,
    #[serde(default)]
    pub(super) writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// Returns it as the log writes it.
    pub(super) fn json(&self) -> Value {
        let mut protocol = json!({
            "minReaderVersion": self.min_reader_version,
            "minWriterVersion": self.min_writer_version,
        });
        if let Some(features) = &self.reader_features {
            protocol["readerFeatures"] = json!(features);
        }
        if let Some(features) = &self.writer_features {
            protocol["writerFeatures"] = json!(features);
        }
        protocol
    }
}

/// What a writer says of its commit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommitInfo {
    /// Milliseconds since 1970.
    pub(super) in_commit_timestamp: Option<i64>,
    /// Likewise, by the writer's own clock.
    pub(super) timestamp: Option<i64>,
    pub(super) operation: Option<String>,
    pub(super) operation_parameters: Option<serde_json::Value>,
    pub(super) operation_metrics: Option<serde_json::Value>,
    pub(super) engine_info: Option<String>,
}

/// A file with a part of a checkpoint.
#[derive(Debug, Deserialize)]
pub(super) struct Sidecar {
    pub(super) path: String,
}
