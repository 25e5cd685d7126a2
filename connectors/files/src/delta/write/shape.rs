//! The columns of a table that is written: as a new one is declared, and as the rows that come are brought to them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampNanosecondType};
use maru_connect::{NewTable, WriteRequest};
use maru_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{demands, now_ms, types};
use crate::delta::action::{Metadata, Protocol};
use crate::delta::constraints;
use crate::delta::schema::{Columns, not_null};
use crate::delta::snapshot::Snapshot;

/// Returns columns and protocol of a new table, as the log has them.
pub(super) fn made(
    new: &NewTable,
    request: &WriteRequest,
    base: Option<&Snapshot>,
) -> Result<(Value, Value)> {
    if !new.primary_key.is_empty() {
        return Err(Error::unsupported("a Delta Lake table has no PRIMARY KEY")
            .with_hint("Leave it out; MERGE INTO goes by any columns."));
    }
    let schema = types::schema_of(&request.columns)?;
    let mut id = Uuid::new_v4().to_string();
    let mut protocol = demands::of_new(&request.columns);
    if let Some(base) = base {
        // It stays the same table for those who follow its log.
        let (old, metadata) = base.shape()?;
        if !metadata.id.is_empty() {
            id.clone_from(&metadata.id);
        }
        protocol = demands::extended(old, &request.columns).unwrap_or_else(|| old.json());
    }
    if !new.checks.is_empty() {
        let demanded = serde_json::from_value::<Protocol>(protocol.clone())
            .map_err(|error| Error::internal("a log of one's own").with_cause(error))?;
        protocol = demands::with_checks(&demanded).unwrap_or(protocol);
    }
    let metadata = json!({
        "id": id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(),
        "partitionColumns": new.partitioned_by,
        "configuration": constraints::of_new(new),
        "createdTime": now_ms(),
        "description": new.comment,
    });
    Ok((metadata, protocol))
}

/// Returns files' columns and then partition columns, with what may not be NULL.
pub(super) fn declared(metadata: &Metadata, columns: &Columns) -> Schema {
    let not_null = not_null(metadata);
    let all = columns.in_files.iter().chain(&columns.partitions).map(|column| {
        let field = column.field.as_ref().clone();
        let nullable = !not_null.contains(field.name());
        field.with_nullable(nullable)
    });
    Schema::new(all.collect::<Vec<_>>())
}

/// Finds each of the table's columns among those that come.
pub(super) fn places(
    relation: &str,
    columns: &Columns,
    declared: &Schema,
    given: &Schema,
) -> Result<Vec<Option<usize>>> {
    let all = columns.in_files.iter().chain(&columns.partitions);
    let places = all.map(|column| given.index_of(column.field.name()).ok()).collect::<Vec<_>>();
    for (field, place) in declared.fields().iter().zip(&places) {
        if place.is_none() && !field.is_nullable() {
            return Err(Error::new(
                ErrorKind::NotNullViolation,
                format!(
                    "null value in column \"{}\" of relation \"{relation}\" violates not-null constraint",
                    field.name()
                ),
            )
            .with_detail("The statement gives no value for it."));
        }
    }
    Ok(places)
}

/// Brings values to the type that the files have.
pub(super) fn convert(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    if let (
        DataType::Timestamp(TimeUnit::Nanosecond, _),
        DataType::Timestamp(TimeUnit::Microsecond, _),
    ) = (values.data_type(), to)
    {
        let nanos = values.as_primitive::<TimestampNanosecondType>();
        if nanos.iter().flatten().any(|value| value % 1000 != 0) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "a timestamp has digits below the microsecond, which a Delta Lake table does not keep",
            )
            .with_hint("Cut them off: date_trunc('microsecond', …)."));
        }
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(values, to, &options)?)
}
