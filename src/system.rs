//! Schema `system`: what the engine knows about itself, as tables.
//!
//! A table is a list of columns and a function that makes its rows. [`SystemTable`] serves them like any remote table:
//! filters are evaluated here, and an equality on `catalog`, `schema` or `table` keeps other sources from being asked.

mod access_tables;
mod check_tables;
mod engine_tables;
mod group_tables;
pub mod information_schema;
mod key_tables;
mod model_tables;
mod object_tables;
mod pg_tables;
mod pipeline_tables;
mod reference_tables;
mod role_tables;
mod template_tables;
pub mod types;
mod upkeep_tables;

use std::sync::{Arc, Weak};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use maru_connect::{
    BatchStream, CompareOp, Predicate, RemoteTable, ScanRequest, SourceTable, batch_stream,
    evaluate,
};
use maru_core::{Error, ErrorKind, Result};

use crate::session::Session;

pub const SYSTEM: &str = "system";
pub const INFORMATION_SCHEMA: &str = "information_schema";
pub const PG_CATALOG: &str = "pg_catalog";

/// Schemas that every catalog has and no source knows.
pub const VIRTUAL_SCHEMAS: &[&str] = &[SYSTEM, INFORMATION_SCHEMA, PG_CATALOG];

/// The tables, in alphabetical order.
pub static TABLES: &[&TableSpec] = &[
    &access_tables::AUDIT,
    &template_tables::CATALOG_TEMPLATES,
    &object_tables::CATALOGS,
    &check_tables::CHECKS,
    &object_tables::COLUMNS,
    &reference_tables::CONNECTOR_OPTIONS,
    &reference_tables::CONNECTOR_TYPES,
    &reference_tables::CONNECTORS,
    &reference_tables::FUNCTIONS,
    &key_tables::KEYS,
    &pipeline_tables::LINEAGE,
    &model_tables::MODEL_VERSIONS,
    &model_tables::MODELS,
    &upkeep_tables::ORPHANS,
    &pipeline_tables::PIPELINE_STEPS,
    &pipeline_tables::PIPELINES,
    &access_tables::POLICIES,
    &access_tables::PRIVILEGE_KINDS,
    &access_tables::PRIVILEGES,
    &engine_tables::QUERIES,
    &group_tables::RESOURCE_GROUPS,
    &template_tables::ROLE_ATTRIBUTES,
    &access_tables::ROLE_MEMBERS,
    &access_tables::ROLES,
    &pipeline_tables::RUN_STEPS,
    &pipeline_tables::RUNS,
    &object_tables::SCHEMAS,
    &object_tables::SECRETS,
    &engine_tables::SESSIONS,
    &reference_tables::SETTINGS,
    &reference_tables::STATEMENTS,
    &upkeep_tables::TABLE_HISTORY,
    &object_tables::TABLES,
    &template_tables::TEMPLATE_CATALOGS,
    &model_tables::TRAINING_JOBS,
];

/// The kinds of column that system tables have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Integer,
    /// Of four bytes, as PostgreSQL's catalog has it.
    Int4,
    /// An object id of PostgreSQL's catalog.
    Oid,
    Real,
    Boolean,
    /// UTC, microseconds.
    Timestamp,
    TextList,
}

impl ColumnKind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Int4 | Self::Oid => DataType::Int32,
            Self::Real => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::TextList => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A row, one value per column.
pub type Row = Vec<ScalarValue>;

type MakeRows = for<'a> fn(&'a Arc<Session>, &'a Hints) -> BoxFuture<'a, Result<Vec<Row>>>;

/// One table of the schema.
pub struct TableSpec {
    name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    pub columns: &'static [(&'static str, ColumnKind)],
    rows: MakeRows,
}

impl std::fmt::Debug for TableSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl TableSpec {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|(name, kind)| {
            let field = Field::new(*name, kind.data_type(), true);
            match kind {
                ColumnKind::Oid => {
                    field.with_metadata([("pg.oid_alias".to_owned(), "oid".to_owned())].into())
                }
                _ => field,
            }
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// Returns a table of schema `system` for a session.
pub fn table(session: &Arc<Session>, name: &str) -> Option<SourceTable> {
    make(session, TABLES, name)
}

/// Returns a table of schema `pg_catalog` that tells of sessions or roles.
pub fn pg_table(session: &Arc<Session>, name: &str) -> Option<SourceTable> {
    make(session, pg_tables::TABLES, name)
}

fn make(session: &Arc<Session>, tables: &[&'static TableSpec], name: &str) -> Option<SourceTable> {
    let spec = tables.iter().copied().find(|spec| spec.name == name)?;
    let table = SystemTable { spec, schema: spec.schema(), session: Arc::downgrade(session) };
    Some(SourceTable::Remote(Arc::new(table)))
}

/// What a filter says of the names, so that rows need not be made to be thrown away.
#[derive(Debug, Default)]
pub struct Hints {
    pub catalog: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
}

impl Hints {
    fn from_filters(filters: &[Predicate], schema: &Schema) -> Self {
        let mut hints = Self::default();
        for filter in filters {
            let Predicate::Compare {
                column,
                op: CompareOp::Eq,
                value: ScalarValue::Utf8(Some(text)),
            } = filter
            else {
                continue;
            };
            match schema.field(*column).name().as_str() {
                "catalog" => hints.catalog = Some(text.clone()),
                "schema" => hints.schema = Some(text.clone()),
                "table" => hints.table = Some(text.clone()),
                _ => {}
            }
        }
        hints
    }

    fn allows_catalog(&self, name: &str) -> bool {
        self.catalog.as_deref().is_none_or(|wanted| wanted == name)
    }

    fn allows_schema(&self, name: &str) -> bool {
        self.schema.as_deref().is_none_or(|wanted| wanted == name)
    }
}

#[derive(Debug)]
struct SystemTable {
    spec: &'static TableSpec,
    schema: SchemaRef,
    session: Weak<Session>,
}

impl RemoteTable for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn supports(&self, _: &Predicate) -> bool {
        true
    }

    fn describe(&self, request: &ScanRequest) -> String {
        format!("system.{} ({request:?})", self.spec.name)
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let session = self.session.upgrade();
        let (spec, schema) = (self.spec, Arc::clone(&self.schema));
        let read = async move {
            let session = session
                .ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))?;
            let hints = Hints::from_filters(&request.filters, &schema);
            let rows = (spec.rows)(&session, &hints).await?;
            answer(&request, batch(&schema, rows)?)
        };
        batch_stream(read.map_err(|error: Error| error).boxed().into_stream())
    }
}

fn batch(schema: &SchemaRef, rows: Vec<Row>) -> Result<RecordBatch> {
    let n_rows = rows.len();
    let mut columns = vec![Vec::with_capacity(n_rows); schema.fields().len()];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let arrays = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(values, field)| {
            if values.is_empty() {
                return Ok(new_empty_array(field.data_type()));
            }
            Ok(ScalarValue::iter_to_array(values)?)
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

/// Filters, cuts and projects as the request says.
fn answer(request: &ScanRequest, mut batch: RecordBatch) -> Result<RecordBatch> {
    for filter in &request.filters {
        let kept = evaluate::rows(filter, &batch)?;
        let kept = kept.iter().map(|keep| keep.unwrap_or(false)).collect::<Vec<_>>();
        batch = filter_record_batch(&batch, &BooleanArray::from(kept))?;
    }
    if let Some(limit) = request.limit {
        batch = batch.slice(0, limit.min(batch.num_rows()));
    }
    Ok(batch.project(&request.projection)?)
}

// Values ------------------------------------------------------------------------------------------------------------

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn text_or_null(value: Option<impl Into<String>>) -> ScalarValue {
    ScalarValue::Utf8(value.map(Into::into))
}

fn integer(value: i64) -> ScalarValue {
    ScalarValue::Int64(Some(value))
}

fn oid(value: i32) -> ScalarValue {
    ScalarValue::Int32(Some(value))
}

fn boolean(value: bool) -> ScalarValue {
    ScalarValue::Boolean(Some(value))
}

fn timestamp(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
}
