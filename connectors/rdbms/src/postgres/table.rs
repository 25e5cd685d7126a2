//! A table or view of a PostgreSQL database as a table of the engine.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use maru_connect::{
    BatchStream, ColumnEstimate, Join, Predicate, RemoteTable, RowIdentity, ScanRequest, Step,
    TableStatistics,
};
use maru_core::Result;
use sqlx::Postgres;

use super::catalog::{Base, PgColumn, Relation};
use super::{parallel, read};
use crate::fragments::{Derived, Fragments};
use crate::outdated::Outdated;
use crate::pool::Connections;
use crate::render::{Conditions, columns};
use crate::stream::produced;

#[derive(Debug)]
pub(crate) struct PostgresTable {
    connections: Arc<Connections<Postgres>>,
    relation: Arc<Relation>,
    /// Connections over which one large table is read at most.
    parallel_reads: usize,
    outdated: Outdated,
}

impl PostgresTable {
    pub fn new(
        connections: Arc<Connections<Postgres>>,
        relation: Relation,
        parallel_reads: usize,
    ) -> Self {
        let outdated = Outdated::default();
        Self { connections, relation: Arc::new(relation), parallel_reads, outdated }
    }

    /// Returns a table that is read from the same tables of the database.
    fn beside(&self, relation: Relation, outdated: Outdated) -> Arc<dyn RemoteTable> {
        let (connections, relation) = (Arc::clone(&self.connections), Arc::new(relation));
        Arc::new(Self { connections, relation, parallel_reads: self.parallel_reads, outdated })
    }

    fn over(
        &self,
        derived: Derived<PgColumn>,
        bases: Vec<Base>,
        outdated: Outdated,
    ) -> Arc<dyn RemoteTable> {
        let relation = Relation {
            shown: self.relation.shown.clone(),
            from: derived.from,
            oid: None,
            bases,
            is_table: false,
            pages: None,
            unique: derived.unique,
            columns: derived.columns,
            schema: derived.schema,
            statistics: derived.statistics,
            estimates: Vec::new(),
            utf8: self.relation.utf8,
        };
        self.beside(relation, outdated)
    }
}

impl RemoteTable for PostgresTable {
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
        let sql = match self.relation.select(request) {
            Ok(sql) => sql.replace('\n', " "),
            Err(error) => return error.message(),
        };
        match parallel::plan(&self.relation, request, self.parallel_reads) {
            None => sql,
            Some((n_ranges, connections)) => {
                format!(
                    "{sql} (in {n_ranges} ranges of ctid, over up to {connections} connections)"
                )
            }
        }
    }

    fn with_row_identity(&self) -> Option<(RowIdentity, Arc<dyn RemoteTable>)> {
        let (identity, relation) = self.relation.with_place()?;
        Some((identity, self.beside(relation, self.outdated.clone())))
    }

    fn unique_keys(&self) -> &[Vec<usize>] {
        &self.relation.unique
    }

    fn derive(&self, input: &ScanRequest, step: &Step) -> Option<Arc<dyn RemoteTable>> {
        let derived = self.relation.derived(&self.relation.schema, input, step)?;
        let used = ScanRequest { projection: step.columns(input), ..input.clone() };
        Some(self.over(derived, self.relation.read_from(&used), self.outdated.clone()))
    }

    fn join(
        &self,
        input: &ScanRequest,
        other: &dyn RemoteTable,
        other_input: &ScanRequest,
        join: &Join,
    ) -> Option<Arc<dyn RemoteTable>> {
        let other = (other as &dyn Any).downcast_ref::<Self>()?;
        if !Arc::ptr_eq(&self.connections, &other.connections) {
            return None;
        }
        let schemas = (&self.relation.schema, &other.relation.schema);
        let derived = self.relation.derived_join(
            schemas,
            input,
            other.relation.as_ref(),
            other_input,
            join,
        )?;
        let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().copied().unzip();
        let mut bases = self.relation.read_from(&input.with_columns(lefts));
        bases.extend(other.relation.read_from(&other_input.with_columns(rights)));
        Some(self.over(derived, bases, self.outdated.and(&other.outdated)))
    }

    fn read(&self, request: ScanRequest) -> BatchStream {
        let connections = Arc::clone(&self.connections);
        let relation = Arc::clone(&self.relation);
        let parallel_reads = self.parallel_reads;
        let outdated = self.outdated.clone();
        produced(move |sink| {
            outdated.learn(read::read(connections, relation, request, parallel_reads, sink))
        })
    }
}

impl Relation {
    /// Returns the tables that a request reads, with the columns it uses of them.
    pub fn read_from(&self, request: &ScanRequest) -> Vec<Base> {
        let Some(oid) = self.oid else { return self.bases.clone() };
        let mut used = request.projection.clone();
        request.filters.iter().for_each(|filter| used.extend(filter.columns()));
        used.sort_unstable();
        used.dedup();
        let used = used.iter().filter_map(|index| self.columns.get(*index));
        // The place of a row is no column of the catalog's.
        let used = used.filter(|column| column.number != 0);
        vec![Base { from: self.from.clone(), oid, columns: used.cloned().collect() }]
    }

    /// Returns the SELECT that answers a request.
    pub fn select(&self, request: &ScanRequest) -> Result<String> {
        let columns = columns(&self.columns, request, |column| {
            format!("{}{}", column.quoted, column.mapping.cast)
        })?;
        Conditions::select(self, &self.from, &columns, request)
    }
}
