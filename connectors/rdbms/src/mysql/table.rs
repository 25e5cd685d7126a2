//! A table or view of a MySQL server as a table of the engine.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use maru_connect::{
    BatchStream, ColumnEstimate, Join, JoinKind, Predicate, RemoteTable, RowIdentity, ScanRequest,
    Step, TableStatistics,
};
use maru_core::Result;
use sqlx::MySql;

use super::catalog::{Base, MyColumn, Relation};
use super::read;
use crate::fragments::{Derived, Fragments};
use crate::outdated::Outdated;
use crate::pool::Connections;
use crate::render::{Conditions, columns};
use crate::stream::produced;

#[derive(Debug)]
pub(crate) struct MySqlTable {
    connections: Arc<Connections<MySql>>,
    relation: Arc<Relation>,
    outdated: Outdated,
}

impl MySqlTable {
    pub fn new(connections: Arc<Connections<MySql>>, relation: Relation) -> Self {
        Self { connections, relation: Arc::new(relation), outdated: Outdated::default() }
    }

    /// Returns a table that is read from the same tables of the server.
    fn beside(&self, relation: Relation, outdated: Outdated) -> Arc<dyn RemoteTable> {
        let (connections, relation) = (Arc::clone(&self.connections), Arc::new(relation));
        Arc::new(Self { connections, relation, outdated })
    }

    fn over(
        &self,
        derived: Derived<MyColumn>,
        bases: Vec<Base>,
        outdated: Outdated,
    ) -> Arc<dyn RemoteTable> {
        let relation = Relation {
            shown: self.relation.shown.clone(),
            from: derived.from,
            bases,
            columns: derived.columns,
            unique: derived.unique,
            schema: derived.schema,
            statistics: derived.statistics,
            estimates: Vec::new(),
        };
        self.beside(relation, outdated)
    }
}

impl RemoteTable for MySqlTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn statistics(&self) -> TableStatistics {
        self.relation.statistics
    }

    fn column_estimate(&self, column: usize) -> ColumnEstimate {
        self.relation.estimates.get(column).cloned().unwrap_or_default()
    }

    fn supports(&self, predicate: &Predicate) -> bool {
        self.relation.condition(predicate).is_some()
    }

    fn is_outdated(&self) -> bool {
        self.outdated.is_set()
    }

    fn describe(&self, request: &ScanRequest) -> String {
        match self.relation.select(request) {
            Ok(sql) => sql.replace('\n', " "),
            Err(error) => error.message(),
        }
    }

    fn with_row_identity(&self) -> Option<(RowIdentity, Arc<dyn RemoteTable>)> {
        let (identity, relation) = self.relation.with_key()?;
        Some((identity, self.beside(relation, self.outdated.clone())))
    }

    fn unique_keys(&self) -> &[Vec<usize>] {
        &self.relation.unique
    }

    fn derive(&self, input: &ScanRequest, step: &Step) -> Option<Arc<dyn RemoteTable>> {
        let derived = self.relation.derived(&self.relation.schema, input, step)?;
        Some(self.over(derived, self.relation.bases.clone(), self.outdated.clone()))
    }

    fn join(
        &self,
        input: &ScanRequest,
        other: &dyn RemoteTable,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Arc<dyn RemoteTable>> {
        let other = (other as &dyn Any).downcast_ref::<Self>()?;
        // A row that is not looked up by a key is looked for in the whole table, again and again.
        let rights = join.on.iter().map(|(_, right)| *right).collect::<Vec<_>>();
        let is_key = |key: &Vec<usize>| key.iter().all(|column| rights.contains(column));
        if join.kind.keeps_left_only() && !other.relation.unique.iter().any(is_key) {
            return None;
        }
        // MySQL has no full join.
        if join.kind == JoinKind::Full || !Arc::ptr_eq(&self.connections, &other.connections) {
            return None;
        }
        let schemas = (&self.relation.schema, &other.relation.schema);
        let relation = other.relation.as_ref();
        let derived = self.relation.derived_join(schemas, input, relation, other_input, join)?;
        let bases = self.relation.bases.iter().chain(&relation.bases).cloned().collect();
        Some(self.over(derived, bases, self.outdated.and(&other.outdated)))
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let connections = Arc::clone(&self.connections);
        let relation = Arc::clone(&self.relation);
        let outdated = self.outdated.clone();
        produced(move |sink| outdated.learn(read::read(connections, relation, request, sink)))
    }
}

impl Relation {
    /// Returns the SELECT that answers a request.
    pub fn select(&self, request: &ScanRequest) -> Result<String> {
        let columns =
            columns(&self.columns, request, |column| column.mapping.select(&column.quoted))?;
        Conditions::select(self, &self.from, &columns, request)
    }
}
