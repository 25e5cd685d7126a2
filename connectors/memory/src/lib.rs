//! The reference connector: tables in memory. Read it first, copy it to start yours (docs/how-to/add-a-connector.md).
//!
//! `CREATE CATALOG m USING memory` brings schema `sample` with two tables, see `sample.rs`. With `delay` and
//! `fail_after_rows` it plays a slow or a failing source. It pushes down all that can be pushed down, so that whatever
//! goes wrong above it is not its doing. In Rust, [`MemorySource`] serves any record batches.

mod describe;
mod sample;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::{BoxFuture, FutureExt, ready};
use maru_connect::{
    Capabilities, Connector, ConnectorSpec, OpenContext, Source, SourceTable, TableEntry, TypeSpec,
};
use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Result};
use tokio_util::sync::CancellationToken;

use crate::table::{MemoryTable, Rows};

/// Rows that `sample.numbers` can have; below it every square fits a BIGINT.
const ROWS_MAX: i64 = 1_000_000_000;

/// What this room offers to the registry.
pub static CONNECTORS: &[&dyn Connector] = &[&MEMORY];

/// `USING memory`.
pub static MEMORY: MemoryConnector = MemoryConnector;

static SPEC: ConnectorSpec = ConnectorSpec {
    name: "memory",
    doc: "Sample tables in memory, to try Maru without any system around it.",
    options: &[
        OptionSpec::new("rows", OptionKind::Integer, "Rows of table sample.numbers.")
            .default("1000"),
        OptionSpec::new(
            "batch_rows",
            OptionKind::Integer,
            "Rows of one batch at most, e.g. 10 to see many small ones.",
        ),
        OptionSpec::new(
            "delay",
            OptionKind::Duration,
            "Wait before each batch, to see how Maru behaves with a slow source, e.g. 100ms.",
        ),
        OptionSpec::new(
            "fail_after_rows",
            OptionKind::Integer,
            "Every read of more rows breaks off with HV00N, to see how Maru behaves with a failing source.",
        ),
    ],
    table_options: &[],
    types: &[
        TypeSpec::new(
            "numbers: n, square, half, name",
            "bigint, bigint, double precision, text",
            "filter",
        ),
        TypeSpec::new("types", "a column for every ordinary type", "filter"),
    ],
    capabilities: Capabilities {
        projection: true,
        filter: true,
        limit: true,
        aggregate: false,
        top_n: false,
        join: false,
        files: false,
        write: false,
    },
    example: "CREATE CATALOG try USING memory WITH (rows = 1000)",
};

/// The kind of source behind `USING memory`.
#[derive(Debug)]
pub struct MemoryConnector;

impl Connector for MemoryConnector {
    fn spec(&self) -> &'static ConnectorSpec {
        &SPEC
    }

    fn open(&self, context: OpenContext) -> BoxFuture<'static, Result<Arc<dyn Source>>> {
        ready(open(&context)).boxed()
    }
}

fn open(context: &OpenContext) -> Result<Arc<dyn Source>> {
    let number = |name: &str, least: i64| match context.options.integer(name) {
        Some(n) if !(least..=ROWS_MAX).contains(&n) => Err(Error::new(
            ErrorKind::InvalidOption,
            format!("option \"{name}\" must lie between {least} and {ROWS_MAX}, not {n}"),
        )),
        other => Ok(other),
    };
    let rows = number("rows", 0)?.unwrap_or_default();
    let behaviour = Behaviour {
        batch_rows: number("batch_rows", 1)?.map(|n| n as usize),
        delay: context.options.duration("delay").unwrap_or_default(),
        fail_after_rows: number("fail_after_rows", 0)?.map(|n| n as usize),
    };
    let source = MemorySource::new(context.catalog.clone())
        .with_behaviour(behaviour)
        .insert("sample", "numbers", sample::numbers_schema(), Rows::Numbers(rows as usize))
        .with_table("sample", "types", vec![sample::types()?])?;
    Ok(Arc::new(source))
}

/// How reads go, besides right.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// Rows of one batch at most.
    pub batch_rows: Option<usize>,
    /// Wait before each batch.
    pub delay: Duration,
    /// Rows after which a read breaks off with HV00N.
    pub fail_after_rows: Option<usize>,
}

/// One attached catalog in memory.
#[derive(Debug)]
pub struct MemorySource {
    catalog: String,
    schemas: BTreeMap<String, BTreeMap<String, (SchemaRef, Rows)>>,
    behaviour: Behaviour,
    closed: CancellationToken,
}

impl MemorySource {
    /// Returns a catalog without tables.
    pub fn new(catalog: impl Into<String>) -> Self {
        Self {
            catalog: catalog.into(),
            schemas: BTreeMap::new(),
            behaviour: Behaviour::default(),
            closed: CancellationToken::new(),
        }
    }

    /// Adds a table, or replaces the one of that name.
    ///
    /// # Errors
    /// HV024 if `batches` is empty or its batches differ in schema.
    pub fn with_table(self, schema: &str, name: &str, batches: Vec<RecordBatch>) -> Result<Self> {
        let columns = batches.first().map(RecordBatch::schema);
        match columns {
            Some(columns) if batches.iter().all(|batch| batch.schema_ref() == &columns) => {
                Ok(self.insert(schema, name, columns, Rows::Batches(batches)))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("table \"{name}\" needs batches of one schema"),
            )),
        }
    }

    /// Makes all reads of this catalog slow or failing.
    pub fn with_behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    fn insert(mut self, schema: &str, name: &str, columns: SchemaRef, rows: Rows) -> Self {
        let tables = self.schemas.entry(schema.to_owned()).or_default();
        tables.insert(name.to_owned(), (columns, rows));
        self
    }

    /// A source that was closed answers nothing more, as a connection would.
    fn open_or_error(&self) -> Result<()> {
        if self.closed.is_cancelled() { Err(closed(&self.catalog)) } else { Ok(()) }
    }
}

impl Source for MemorySource {
    fn check(&self) -> BoxFuture<'_, Result<String>> {
        let tables = self.schemas.values().map(BTreeMap::len).sum::<usize>();
        ready(self.open_or_error().map(|()| format!("{tables} tables in memory"))).boxed()
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        ready(self.open_or_error().map(|()| self.schemas.keys().cloned().collect())).boxed()
    }

    fn tables<'a>(&'a self, schema: &'a str) -> BoxFuture<'a, Result<Vec<TableEntry>>> {
        let names = self.schemas.get(schema).into_iter().flat_map(BTreeMap::keys);
        ready(self.open_or_error().map(|()| names.map(TableEntry::table).collect())).boxed()
    }

    fn table<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SourceTable>>> {
        let found = self.schemas.get(schema).and_then(|tables| tables.get(name));
        let table = found.map(|(columns, rows)| {
            SourceTable::Remote(Arc::new(MemoryTable {
                catalog: self.catalog.clone(),
                name: name.to_owned(),
                schema: Arc::clone(columns),
                rows: rows.clone(),
                behaviour: self.behaviour,
                closed: self.closed.clone(),
            }))
        });
        ready(self.open_or_error().map(|()| table)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.cancel();
        ready(()).boxed()
    }
}

fn closed(catalog: &str) -> Error {
    Error::new(ErrorKind::RemoteUnavailable, format!("catalog \"{catalog}\" is closed"))
}

#[cfg(test)]
mod tests;
