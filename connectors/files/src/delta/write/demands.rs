//! What a table demands of its writers, and which of it is met.

use arrow::datatypes::Schema;
use maru_core::{Error, Result};
use object_store::path::Path;
use serde_json::{Value, json};

use super::types::has_local_times;
use crate::delta::action::{Metadata, Protocol};
use crate::delta::constraints;
use crate::delta::features::Mapping;

/// The newest version of the writer protocol that is known.
const WRITER_VERSION: u32 = 7;

/// The features that a write keeps to. Of some only that they are there: what they ask for is looked for in [`check`].
const KNOWN: &[&str] = &[
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "columnMapping",
    "deletionVectors",
    "generatedColumns",
    "identityColumns",
    "inCommitTimestamp",
    "invariants",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// The feature of tables with times without a zone.
pub(super) const LOCAL_TIMES: &str = "timestampNtz";

/// What a write does to the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Adds,
    /// Takes some away.
    Removes,
}

fn refused(table: &Path, what: impl std::fmt::Display) -> Error {
    Error::unsupported(format!(
        "Delta Lake table \"{table}\" has {what}, which Maru does not keep to when it writes"
    ))
    .with_hint("Write it with the engine that made it.")
}

/// Checks that the table can be written as its makers mean it.
///
/// # Errors
/// 0A000 that names what is not known.
pub(super) fn check(
    table: &Path,
    protocol: &Protocol,
    metadata: &Metadata,
    mapping: Mapping,
    effect: Effect,
) -> Result<()> {
    let version = protocol.min_writer_version;
    if version > WRITER_VERSION {
        return Err(refused(table, format!("version {version} of the writer protocol")));
    }
    let features = protocol.writer_features.as_deref().unwrap_or_default();
    if let Some(unknown) = features.iter().find(|feature| !KNOWN.contains(&feature.as_str())) {
        return Err(refused(table, format!("feature \"{unknown}\"")));
    }
    if mapping != Mapping::None {
        return Err(refused(table, "columns that were renamed or dropped (column mapping)"));
    }
    if constraints::has_foreign(metadata) {
        return Err(refused(table, "CHECK constraints of another engine"));
    }
    let is_on = |name: &str| metadata.property(name).is_some_and(|text| text == "true");
    if is_on("delta.enableRowTracking") {
        return Err(refused(table, "numbers of rows (row tracking)"));
    }
    if effect == Effect::Removes {
        if is_on("delta.appendOnly") {
            return Err(Error::unsupported(format!(
                "Delta Lake table \"{table}\" only takes new rows (delta.appendOnly)"
            )));
        }
        if is_on("delta.enableChangeDataFeed") {
            return Err(refused(table, "a feed of changes"));
        }
    }
    let schema = serde_json::from_str::<Value>(&metadata.schema_string).unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array);
    for field in fields.into_iter().flatten() {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        let keys = field.get("metadata").and_then(Value::as_object);
        for key in keys.into_iter().flat_map(|keys| keys.keys()) {
            let what = match key.as_str() {
                "delta.invariants" => "an invariant",
                "delta.generationExpression" => "a generation expression",
                "__CHAR_VARCHAR_TYPE_STRING" => "a length",
                key if key.starts_with("delta.identity.") => "identity values",
                _ => continue,
            };
            return Err(refused(table, format!("{what} for column \"{name}\"")));
        }
    }
    Ok(())
}

/// Returns what a new table demands: as little as its columns allow, for the sake of other readers.
pub(super) fn of_new(columns: &Schema) -> Value {
    if columns.fields().iter().any(|field| has_local_times(field.data_type())) {
        return json!({
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": [LOCAL_TIMES],
            "writerFeatures": ["appendOnly", "invariants", LOCAL_TIMES],
        });
    }
    json!({"minReaderVersion": 1, "minWriterVersion": 2})
}

/// Returns the protocol with what the columns need besides; `None` if nothing is.
pub(super) fn extended(protocol: &Protocol, columns: &Schema) -> Option<Value> {
    let needs = columns.fields().iter().any(|field| has_local_times(field.data_type()));
    let has = |features: &Option<Vec<String>>| {
        features.iter().flatten().any(|feature| feature == LOCAL_TIMES)
    };
    if !needs || has(&protocol.reader_features) {
        return None;
    }
    Some(with_features(protocol, &[LOCAL_TIMES], &[LOCAL_TIMES]))
}

/// Returns the protocol of a table with `CHECK` constraints; `None` if it asks writers to keep to them already.
pub(super) fn with_checks(protocol: &Protocol) -> Option<Value> {
    const FEATURE: &str = "checkConstraints";
    /// The version that implies the feature.
    const VERSION: u32 = 3;
    let mut extended = protocol.json();
    if protocol.min_writer_version < WRITER_VERSION {
        if protocol.min_writer_version >= VERSION {
            return None;
        }
        extended["minWriterVersion"] = VERSION.into();
        return Some(extended);
    }
    let mut features = protocol.writer_features.clone().unwrap_or_default();
    if features.iter().any(|feature| feature == FEATURE) {
        return None;
    }
    features.push(FEATURE.to_owned());
    extended["writerFeatures"] = json!(features);
    Some(extended)
}

/// Returns the protocol in the form that lists features, with more of them.
pub(super) fn with_features(protocol: &Protocol, reader: &[&str], writer: &[&str]) -> Value {
    let merged = |known: &Option<Vec<String>>, implied: &[&str], more: &[&str]| {
        let mut all =
            known.clone().unwrap_or_else(|| implied.iter().map(|f| (*f).to_owned()).collect());
        for feature in more {
            if !all.iter().any(|known| known == feature) {
                all.push((*feature).to_owned());
            }
        }
        all
    };
    let implied_reader: &[&str] =
        if protocol.min_reader_version == 2 { &["columnMapping"] } else { &[] };
    let implied_writer: &[&str] = match protocol.min_writer_version {
        0 | 1 => &[],
        2 => &["appendOnly", "invariants"],
        3 => &["appendOnly", "invariants", "checkConstraints"],
        4 => {
            &["appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"]
        }
        5 => &[
            "appendOnly",
            "invariants",
            "checkConstraints",
            "changeDataFeed",
            "generatedColumns",
            "columnMapping",
        ],
        _ => &[
            "appendOnly",
            "invariants",
            "checkConstraints",
            "changeDataFeed",
            "generatedColumns",
            "columnMapping",
            "identityColumns",
        ],
    };
    json!({
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": merged(&protocol.reader_features, implied_reader, reader),
        "writerFeatures": merged(&protocol.writer_features, implied_writer, writer),
    })
}
