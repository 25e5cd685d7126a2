//! Checkpoints: the log up to a version put together, so that readers need not read each commit.
//!
//! Lines are taken as JSON whatever they hold, put together by the protocol's rules, and given to Arrow's reader of JSON, which
//! makes the columns of the file from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use maru_core::{Error, Result};
use object_store::ObjectStoreExt;
use object_store::PutPayload;
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use super::now_ms;
use crate::delta::LOG;
use crate::delta::checkpoint::{read_parquet_values, read_values};
use crate::delta::log::Log;

/// Commits between checkpoints, where the table says nothing else.
const INTERVAL: u64 = 10;

/// How long a file that was taken away is told of, where the table says nothing else: a week.
const TOMBSTONES_MS: i64 = 7 * 24 * 3600 * 1000;

/// Rows of a batch.
const BATCH: usize = 1024;

/// Writes a checkpoint if it is time for one. What goes wrong is logged: the log is whole without it.
pub(super) async fn maybe(log: &Arc<Log>, version: u64, interval: Option<&str>) {
    let interval = interval.and_then(|text| text.parse().ok()).unwrap_or(INTERVAL);
    if interval == 0 || version == 0 || !version.is_multiple_of(interval) {
        return;
    }
    if let Err(error) = write(log, version).await {
        tracing::warn!(table = %log.table, version, %error, "could not write a checkpoint");
    }
}

async fn write(log: &Arc<Log>, version: u64) -> Result<()> {
    let listing = log.list(0).await?;
    let Some((checkpoint, commits)) = listing.start(Some(version)) else {
        return Err(Error::internal("the log ended before its own version"));
    };
    let mut state = State::default();
    if let Some((_, files)) = checkpoint {
        for file in files {
            if !file.as_ref().ends_with(".parquet") {
                return Ok(());
            }
            for line in read_parquet_values(&log.store, file).await? {
                state.apply(line);
            }
        }
    }
    for (_, commit) in commits {
        let text = log.store.get(&commit.location).await?.bytes().await?;
        let mut lines = read_values(&text, &commit.location)?;
        // What a commit takes away goes before what it brings.
        lines.sort_by_key(|line| line.get("remove").is_none());
        lines.into_iter().for_each(|line| state.apply(line));
    }
    // What is not known here must not get lost.
    if state.unknown {
        return Ok(());
    }
    let lines = state.lines();
    let n_lines = lines.len();
    let body = parquet_of(&lines)?;
    let folder = log.table.clone().join(LOG);
    let size = body.len();
    let name = format!("{version:020}.checkpoint.parquet");
    log.store.put(&folder.clone().join(name), PutPayload::from(body)).await?;
    let hint = json!({"version": version, "size": n_lines, "sizeInBytes": size}).to_string();
    log.store.put(&folder.join("_last_checkpoint"), PutPayload::from(hint.into_bytes())).await?;
    Ok(())
}

type Key = (String, Option<String>);

/// What lines add up to.
#[derive(Debug, Default)]
struct State {
    protocol: Option<Value>,
    metadata: Option<Value>,
    transactions: BTreeMap<String, Value>,
    added: HashMap<Key, Value>,
    removed: HashMap<Key, Value>,
    unknown: bool,
}

fn key(action: &Value) -> Key {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let vector = action.get("deletionVector").filter(|vector| !vector.is_null());
    let vector = vector.map(|vector| {
        let part = |name: &str| vector.get(name).map(Value::to_string).unwrap_or_default();
        format!("{} {} {}", part("storageType"), part("pathOrInlineDv"), part("offset"))
    });
    (text(action.get("path")).unwrap_or_default(), vector)
}

impl State {
    fn apply(&mut self, line: Value) {
        let Value::Object(line) = line else { return };
        for (kind, mut action) in line {
            if action.is_null() {
                continue;
            }
            match kind.as_str() {
                "add" => {
                    action["dataChange"] = false.into();
                    let key = key(&action);
                    self.removed.remove(&key);
                    self.added.insert(key, action);
                }
                "remove" => {
                    action["dataChange"] = false.into();
                    let key = key(&action);
                    self.added.remove(&key);
                    self.removed.insert(key, action);
                }
                "metaData" => self.metadata = Some(action),
                "protocol" => self.protocol = Some(action),
                "txn" => {
                    let name = action.get("appId").and_then(Value::as_str).map(str::to_owned);
                    self.transactions.insert(name.unwrap_or_default(), action);
                }
                "commitInfo" | "cdc" | "checkpointMetadata" => {}
                _ => self.unknown = true,
            }
        }
    }

    fn lines(self) -> Vec<Value> {
        let oldest = now_ms() - TOMBSTONES_MS;
        let is_young = |action: &Value| {
            action.get("deletionTimestamp").and_then(Value::as_i64).is_none_or(|at| at > oldest)
        };
        let one =
            |kind: &str, action: Value| Value::Object(Map::from_iter([(kind.to_owned(), action)]));
        let mut lines = Vec::new();
        lines.extend(self.protocol.map(|action| one("protocol", action)));
        lines.extend(self.metadata.map(|action| one("metaData", action)));
        lines.extend(self.transactions.into_values().map(|action| one("txn", action)));
        lines.extend(self.added.into_values().map(|action| one("add", action)));
        let removed = self.removed.into_values().filter(is_young);
        lines.extend(removed.map(|action| one("remove", action)));
        lines
    }
}

fn parquet_of(lines: &[Value]) -> Result<Vec<u8>> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        Error::internal(format!("a checkpoint cannot be {what}: {error}"))
    };
    let schema = Arc::new(schema());
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(BATCH)
        .build_decoder()
        .map_err(|error| wrong("begun", &error))?;
    let mut body = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut body, schema, None).map_err(|error| wrong("begun", &error))?;
    for part in lines.chunks(BATCH) {
        decoder.serialize(part).map_err(|error| wrong("read", &error))?;
        while let Some(batch) = decoder.flush().map_err(|error| wrong("read", &error))? {
            writer.write(&batch).map_err(|error| wrong("written", &error))?;
        }
    }
    writer.close().map_err(|error| wrong("written", &error))?;
    Ok(body)
}

fn schema() -> Schema {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let text = |name: &str| field(name, DataType::Utf8);
    let long = |name: &str| field(name, DataType::Int64);
    let int = |name: &str| field(name, DataType::Int32);
    let flag = |name: &str| field(name, DataType::Boolean);
    let map = |name: &str| {
        let entries = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Utf8, true),
        ]);
        let entries = Field::new("key_value", DataType::Struct(entries), false);
        field(name, DataType::Map(Arc::new(entries), false))
    };
    let list = |name: &str| {
        field(name, DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))))
    };
    let group = |name: &str, fields: Vec<Field>| field(name, DataType::Struct(fields.into()));
    let vector = || {
        group(
            "deletionVector",
            vec![
                text("storageType"),
                text("pathOrInlineDv"),
                int("offset"),
                int("sizeInBytes"),
                long("cardinality"),
            ],
        )
    };
    Schema::new(vec![
        group("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
                map("tags"),
                vector(),
            ],
        ),
        group(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
                vector(),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                list("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group(
            "protocol",
            vec![
                int("minReaderVersion"),
                int("minWriterVersion"),
                list("readerFeatures"),
                list("writerFeatures"),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_lines_together_and_makes_columns_of_them() {
        let mut state = State::default();
        for line in [
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": "{}",
                "partitionColumns": ["k"], "configuration": {"a": "b"}}}),
            json!({"add": {"path": "a", "partitionValues": {"k": null}, "size": 5, "modificationTime": 1, "dataChange": true, "stats": "{}"}}),
            json!({"add": {"path": "b", "partitionValues": {"k": "1"}, "size": 6, "modificationTime": 1, "dataChange": true}}),
            json!({"remove": {"path": "a", "deletionTimestamp": now_ms(), "dataChange": true}}),
            json!({"txn": {"appId": "run", "version": 3}}),
            json!({"commitInfo": {"operation": "WRITE"}}),
        ] {
            state.apply(line);
        }
        assert!(!state.unknown);
        let lines = state.lines();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[3]["add"]["path"], "b");
        assert_eq!(lines[3]["add"]["dataChange"], false);
        assert!(parquet_of(&lines).unwrap().starts_with(b"PAR1"));
    }
}
