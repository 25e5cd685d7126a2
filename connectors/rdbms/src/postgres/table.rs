//! A table or view of a PostgreSQL database as a table of the engine.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use maru_connect::{BatchStream, Predicate, RemoteTable, ScanRequest, TableStatistics};
use maru_core::Result;
use sqlx::Postgres;

use super::catalog::Relation;
use super::read;
use crate::pool::Connections;
use crate::render::{Conditions, columns};
use crate::stream::produced;

#[derive(Debug)]
pub(crate) struct PostgresTable {
    connections: Arc<Connections<Postgres>>,
    relation: Arc<Relation>,
}

impl PostgresTable {
    pub fn new(connections: Arc<Connections<Postgres>>, relation: Relation) -> Self {
        Self { connections, relation: Arc::new(relation) }
    }
}

impl RemoteTable for PostgresTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn statistics(&self) -> TableStatistics {
        self.relation.statistics
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        self.relation.condition(predicate).is_some()
    }

    fn describe(&self, request: &ScanRequest) -> String {
        match self.relation.select(request) {
            Ok(sql) => sql.replace('\n', " "),
            Err(error) => error.message(),
        }
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let connections = Arc::clone(&self.connections);
        let relation = Arc::clone(&self.relation);
        produced(move |sink| read::read(connections, relation, request, sink))
    }
}

impl Relation {
    /// Returns the SELECT that answers a request.
    pub fn select(&self, request: &ScanRequest) -> Result<String> {
        let columns = columns(&self.columns, request, |column| {
            format!("{}{}", column.quoted, column.mapping.cast)
        })?;
        Conditions::select(self, &self.from, &columns, request)
    }
}
