//! The stored form of views and external tables: versioned JSON, schemas as Arrow IPC.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maru_core::{Error, ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};

/// What a relation of the built-in catalog is made of. A new layout is a new variant name; old ones stay readable.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "layout")]
pub enum Definition {
    #[serde(rename = "view-1")]
    View(ViewDefinition),
    #[serde(rename = "external-table-1")]
    ExternalTable(ExternalTableDefinition),
    #[serde(rename = "table-1")]
    Table(TableDefinition),
}

/// A table with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// In the warehouse.
    pub directory: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ViewDefinition {
    /// The query with column aliases applied.
    pub sql: String,
    /// Where its unqualified names are looked up.
    pub catalog: String,
    pub search_path: String,
    pub schema: EncodedSchema,
    /// Whether somebody was noted as its owner. One that was made before that was so for all is the superuser's if there is none.
    #[serde(default)]
    pub owned: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExternalTableDefinition {
    pub format: String,
    /// A URL, with percent escapes where the path has such characters.
    pub location: String,
    pub options: BTreeMap<String, String>,
    /// Columns in the files, declared or inferred when the table was made.
    pub columns: EncodedSchema,
    pub partition_columns: EncodedSchema,
}

/// An Arrow schema as base64 of an empty IPC stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedSchema(String);

impl EncodedSchema {
    pub fn new(schema: &Schema) -> Result<Self> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        writer.finish()?;
        Ok(Self(STANDARD.encode(writer.into_inner()?)))
    }

    pub fn decode(&self) -> Result<SchemaRef> {
        let damaged = || "a stored schema is damaged".to_owned();
        let bytes = STANDARD.decode(&self.0).or_error(ErrorKind::DataCorrupted, damaged)?;
        let reader = StreamReader::try_new(std::io::Cursor::new(bytes), None)
            .or_error(ErrorKind::DataCorrupted, damaged)?;
        Ok(Arc::clone(&reader.schema()))
    }
}

impl Definition {
    pub fn encode(&self) -> Result<String> {
        serde_json::to_string(self)
            .or_error(ErrorKind::Internal, || "could not encode a definition".to_owned())
    }

    /// # Errors
    /// XX001 if it is damaged or was written by a newer Maru.
    pub fn decode(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|cause| {
            Error::new(ErrorKind::DataCorrupted, "a stored definition cannot be read")
                .with_hint("Drop the object and create it again.")
                .with_cause(cause)
        })
    }
}
