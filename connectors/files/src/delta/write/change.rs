//! Changes of a table as a whole: each one commit.

use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::{StreamExt, TryStreamExt};
use maru_connect::{OpenedStore, TableChange};
use maru_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{Change, Meeting, commit};
use super::demands::{self, Effect};
use super::publish::{normal, removal};
use super::{now_ms, types};
use crate::delta::action::{Add, Metadata, Protocol};
use crate::delta::constraints;
use crate::delta::features;
use crate::delta::log::Log;
use crate::delta::snapshot::Snapshot;
use crate::delta::{LOG, schema};

/// Changes the table at `opened.path`.
///
/// # Errors
/// 0A000 for what such a table cannot do, 40001 if another writer came first.
pub(crate) async fn change(opened: &OpenedStore, what: TableChange) -> Result<()> {
    let log = Log::of(opened);
    let base = log.newest().await?;
    let (protocol, metadata) = base.shape()?;
    let effect = if what == TableChange::Truncate { Effect::Removes } else { Effect::Adds };
    let mapping = features::check(&opened.path, protocol, metadata)?;
    demands::check(&opened.path, protocol, metadata, mapping, effect)?;
    let (operation, lines) = match what {
        TableChange::Truncate => {
            let lines = base.files().map(|file| removal(&file.add)).collect::<Vec<_>>();
            if lines.is_empty() {
                return Ok(());
            }
            ("TRUNCATE", lines)
        }
        TableChange::AddColumns(columns) => ("ADD COLUMNS", added(protocol, metadata, &columns)?),
        TableChange::WidenColumn(column) => {
            ("CHANGE COLUMN", widened(opened, protocol, metadata, &column)?)
        }
        TableChange::SetNullable { column, nullable } => {
            match nullability(&base, metadata, &column, nullable)? {
                Some(line) => ("CHANGE COLUMN", vec![line]),
                None => return Ok(()),
            }
        }
        TableChange::AddCheck { name, condition, version } => {
            if version.is_some_and(|looked_at| looked_at != base.version) {
                return Err(Error::new(
                    ErrorKind::Serialization,
                    "the table was changed while its rows were looked at",
                )
                .with_hint("Run the statement again."));
            }
            let mut changed = metadata.clone();
            constraints::add_check(&mut changed.configuration, &name, &condition);
            let mut lines = Vec::new();
            lines.extend(demands::with_checks(protocol).map(|p| json!({ "protocol": p })));
            lines.push(with_schema(&changed, &parsed(metadata)?));
            ("ADD CONSTRAINT", lines)
        }
        TableChange::DropCheck(name) => {
            let mut changed = metadata.clone();
            constraints::drop_check(&mut changed.configuration, &name);
            ("DROP CONSTRAINT", vec![with_schema(&changed, &parsed(metadata)?)])
        }
        TableChange::SetDefault { column, value } => {
            let mut changed = metadata.clone();
            constraints::set_default(&mut changed.configuration, &column, value.as_ref());
            ("CHANGE COLUMN", vec![with_schema(&changed, &parsed(metadata)?)])
        }
        TableChange::DropColumns(_) | TableChange::RenameColumn { .. } => {
            return Err(Error::unsupported(
                "columns of this Delta Lake table cannot be dropped or renamed",
            )
            .with_detail("Its files know the columns by their names.")
            .with_hint("CREATE OR REPLACE TABLE … AS SELECT … makes it anew in one commit."));
        }
        TableChange::RenameTable(_) => {
            return Err(Error::unsupported("a table of files cannot be renamed")
                .with_detail("Its name is that of its directory.")
                .with_hint("CREATE TABLE … AS SELECT * FROM …, then DROP TABLE."));
        }
        TableChange::Drop => return Err(Error::internal("a table is dropped elsewhere")),
    };
    publish(&log, &base, operation, lines).await
}

async fn publish(
    log: &Arc<Log>,
    base: &Snapshot,
    operation: &'static str,
    lines: Vec<Value>,
) -> Result<()> {
    let (_, metadata) = base.shape()?;
    let change = Change {
        attempt: Uuid::now_v7().to_string(),
        operation,
        parameters: json!({}),
        base: Some(base.version),
        keeps_times: metadata.property("delta.enableInCommitTimestamps") == Some("true"),
        lines,
        n_rows: 0,
    };
    let clash = |_: &[crate::delta::action::Line]| Meeting::Clashes("it changed the table");
    commit(log, &change, clash).await.map(|_| ())
}

fn added(protocol: &Protocol, metadata: &Metadata, columns: &Schema) -> Result<Vec<Value>> {
    let mut schema = parsed(metadata)?;
    for field in columns.fields() {
        types::check_name(field.name())?;
        if !field.is_nullable() {
            return Err(Error::new(
                ErrorKind::NotNullViolation,
                format!("column \"{}\" cannot be added NOT NULL", field.name()),
            )
            .with_detail("The rows that are there have no value for it.")
            .with_hint("Leave NOT NULL out."));
        }
        let fields = schema.get_mut("fields").and_then(Value::as_array_mut);
        let fields = fields.ok_or_else(|| Error::internal("a schema without fields"))?;
        let folded = field.name().to_lowercase();
        let is_same = |known: &Value| {
            known.get("name").and_then(Value::as_str).is_some_and(|n| n.to_lowercase() == folded)
        };
        if fields.iter().any(is_same) {
            return Err(Error::new(
                ErrorKind::DuplicateColumn,
                format!("column \"{}\" differs from another one in case alone", field.name()),
            ));
        }
        fields.push(types::field_of(field)?);
    }
    let mut lines = Vec::new();
    lines.extend(demands::extended(protocol, columns).map(|p| json!({ "protocol": p })));
    lines.push(with_schema(metadata, &schema));
    Ok(lines)
}

fn widened(
    opened: &OpenedStore,
    protocol: &Protocol,
    metadata: &Metadata,
    column: &Schema,
) -> Result<Vec<Value>> {
    let field = column.field(0);
    let columns = schema::columns(&opened.path, metadata, features::Mapping::None)?;
    let all = columns.in_files.iter().chain(&columns.partitions);
    let old = all.into_iter().find(|known| known.field.name() == field.name());
    let old = old.ok_or_else(|| Error::internal("a column that is not there"))?;
    if columns.partitions.iter().any(|known| known.field.name() == field.name()) {
        return Err(Error::unsupported("the type of a partition column cannot be changed"));
    }
    if !types::widens(old.field.data_type(), field.data_type()) {
        return Err(Error::new(
            ErrorKind::CannotCast,
            format!("the type of column \"{}\" cannot be changed to this one", field.name()),
        )
        .with_detail("Not every value of the old type is one of the new type, or other readers cannot read it so.")
        .with_hint("CREATE OR REPLACE TABLE … AS SELECT CAST(…) … makes the table anew in one commit."));
    }
    let mut schema = parsed(metadata)?;
    let fields = schema.get_mut("fields").and_then(Value::as_array_mut);
    let is_it =
        |known: &&mut Value| known.get("name").and_then(Value::as_str) == Some(field.name());
    let known = fields.into_iter().flatten().find(is_it);
    let known = known.ok_or_else(|| Error::internal("a column that is not there"))?;
    let new = types::type_of(field.name(), field.data_type())?;
    let from = known["type"].clone();
    let entry = json!({"fromType": from, "toType": new});
    match known["metadata"].get_mut("delta.typeChanges").and_then(Value::as_array_mut) {
        Some(changes) => changes.push(entry),
        None => known["metadata"]["delta.typeChanges"] = json!([entry]),
    }
    known["type"] = new;
    let mut configuration = metadata.clone();
    configuration
        .configuration
        .insert("delta.enableTypeWidening".to_owned(), Some("true".to_owned()));
    let mut features = vec!["typeWidening"];
    if types::has_local_times(field.data_type()) {
        features.push(demands::LOCAL_TIMES);
    }
    let protocol = demands::with_features(protocol, &features, &features);
    Ok(vec![json!({ "protocol": protocol }), with_schema(&configuration, &schema)])
}

/// Returns the schema with what a column may hold; `None` if it is so already.
fn nullability(
    base: &Snapshot,
    metadata: &Metadata,
    column: &str,
    nullable: bool,
) -> Result<Option<Value>> {
    let mut schema = parsed(metadata)?;
    let fields = schema.get_mut("fields").and_then(Value::as_array_mut);
    let is_it = |known: &&mut Value| known.get("name").and_then(Value::as_str) == Some(column);
    let known = fields.into_iter().flatten().find(is_it);
    let known = known.ok_or_else(|| Error::internal("a column that is not there"))?;
    if known.get("nullable").and_then(Value::as_bool).unwrap_or(true) == nullable {
        return Ok(None);
    }
    if !nullable {
        let parts = metadata.partition_columns.iter().any(|name| name == column);
        base.files().try_for_each(|file| require_values(&file.add, column, parts))?;
    }
    known["nullable"] = json!(nullable);
    Ok(Some(with_schema(metadata, &schema)))
}

/// # Errors
/// 23502 for a file with NULL in a column, 0A000 if its figures do not tell.
fn require_values(file: &Add, column: &str, parts: bool) -> Result<()> {
    let n_nulls = if parts {
        let value = file.partition_values.get(column).cloned().flatten();
        Some(u64::from(normal(value).is_none()))
    } else {
        let figures = file.stats.as_deref().map(serde_json::from_str::<Value>);
        let figures = figures.and_then(std::result::Result::ok);
        figures.and_then(|figures| figures.get("nullCount")?.get(column)?.as_u64())
    };
    match n_nulls {
        Some(0) => Ok(()),
        Some(_) if file.deletion_vector.is_none() => Err(Error::new(
            ErrorKind::NotNullViolation,
            format!("column \"{column}\" contains null values"),
        )),
        _ => Err(Error::unsupported(format!(
            "the files of this table do not tell whether column \"{column}\" holds NULL"
        ))
        .with_hint("CREATE OR REPLACE TABLE … AS SELECT * FROM … writes files that do.")),
    }
}

fn parsed(metadata: &Metadata) -> Result<Value> {
    serde_json::from_str(&metadata.schema_string).map_err(|error| {
        Error::new(ErrorKind::DataCorrupted, "the schema of a table is damaged").with_cause(error)
    })
}

fn with_schema(metadata: &Metadata, schema: &Value) -> Value {
    json!({"metaData": {
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(),
        "partitionColumns": metadata.partition_columns,
        "configuration": metadata.configuration,
        "createdTime": metadata.created_time.unwrap_or_else(now_ms),
    }})
}

/// Removes a table. Its files go before its log: what is left at any moment is no table with other rows.
///
/// # Errors
/// Those of the store; what is left then can be dropped again.
pub(crate) async fn drop_table(opened: &OpenedStore) -> Result<()> {
    let log = opened.path.clone().join(LOG);
    // Those who read from now on see no rows rather than missing files. A log that is damaged is dropped as it is.
    match change(opened, TableChange::Truncate).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Serialization => return Err(error),
        Err(error) => tracing::debug!(%error, "a table was not emptied before it is dropped"),
    }
    let all = listed(&opened.store, &opened.path).await?;
    let (of_log, files): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|path| path.prefix_matches(&log));
    for paths in [files, of_log] {
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = opened.store.delete_stream(paths);
        while let Some(path) = deleted.next().await {
            match path {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

async fn listed(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Vec<Path>> {
    Ok(store.list(Some(path)).map_ok(|meta| meta.location).try_collect().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_of_a_partition_is_null() {
        let file = |value: Value| {
            let add = json!({"path": "f", "partitionValues": {"p": value}, "size": 1});
            serde_json::from_value::<Add>(add).unwrap()
        };
        assert!(require_values(&file(json!("x")), "p", true).is_ok());
        for null in [json!(""), Value::Null] {
            let error = require_values(&file(null), "p", true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotNullViolation);
        }
    }
}
