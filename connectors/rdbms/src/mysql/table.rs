//! A table or view of a MySQL server as a table of the engine.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use maru_connect::{BatchStream, Predicate, RemoteTable, ScanRequest, TableStatistics};
use maru_core::{Error, Result};
use sqlx::MySql;

use super::catalog::Relation;
use super::read;
use crate::pool::Connections;
use crate::render::Conditions;
use crate::stream::produced;

#[derive(Debug)]
pub(crate) struct MySqlTable {
    connections: Arc<Connections<MySql>>,
    relation: Arc<Relation>,
}

impl MySqlTable {
    pub fn new(connections: Arc<Connections<MySql>>, relation: Relation) -> Self {
        Self { connections, relation: Arc::new(relation) }
    }
}

impl RemoteTable for MySqlTable {
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
    /// Returns the SELECT that answers a request. Without columns it counts: one row with the number of rows.
    pub fn select(&self, request: &ScanRequest) -> Result<String> {
        let mut tail = format!(" FROM {}", self.from);
        let conditions = request
            .filters
            .iter()
            .map(|filter| self.condition(filter))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a filter was sent that is not supported"))?;
        if !conditions.is_empty() {
            tail.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some(limit) = request.limit {
            tail.push_str(&format!(" LIMIT {limit}"));
        }
        if request.projection.is_empty() {
            return Ok(match request.limit {
                Some(_) => format!("SELECT COUNT(*) FROM (SELECT 1{tail}) AS counted"),
                None => format!("SELECT COUNT(*){tail}"),
            });
        }
        let columns = request
            .projection
            .iter()
            .map(|index| {
                let column = self.columns.get(*index)?;
                Some(column.mapping.select(&column.quoted))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a column was asked that is not there"))?;
        Ok(format!("SELECT {}{tail}", columns.join(", ")))
    }
}
