//! The one table provider of Maru: a [`SourceTable`] as DataFusion sees it.
//!
//! `scan` is written by hand as `#[async_trait]` would expand it: a future that captured `&[Expr]` would cost the
//! compiler seconds (docs/decisions/0003). Expressions end here, synchronously.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use maru_core::Error;

use crate::file_table::scan;
use crate::{Predicate, RemoteScanExec, RemoteTable, ScanRequest, SourceTable};

type PlanFuture<'f> = Pin<Box<dyn Future<Output = DfResult<Arc<dyn ExecutionPlan>>> + Send + 'f>>;

/// A table of a source inside the engine.
///
/// A `View` is given with its plan, since only the engine can plan SQL.
#[derive(Debug)]
pub struct FederatedTable {
    catalog: String,
    table: SourceTable,
    schema: SchemaRef,
    view_plan: Option<LogicalPlan>,
    pushdown: bool,
}

impl FederatedTable {
    pub fn new(catalog: impl Into<String>, table: SourceTable) -> Self {
        let schema = table.schema();
        Self { catalog: catalog.into(), table, schema, view_plan: None, pushdown: true }
    }

    /// Adds the plan of a view, made by the engine from its SQL.
    pub fn with_view_plan(mut self, plan: LogicalPlan) -> Self {
        self.schema = Arc::new(plan.schema().as_arrow().clone());
        self.view_plan = Some(plan);
        self
    }

    /// Keeps every filter and limit in the engine (`SET pushdown = off`); the rows must be the same.
    pub fn with_pushdown(mut self, pushdown: bool) -> Self {
        self.pushdown = pushdown;
        self
    }

    /// Tells why the engine checks a condition itself; `None` if the source alone decides it.
    pub fn why_kept(&self, condition: &Expr) -> Option<&'static str> {
        if !self.pushdown {
            return Some("pushdown is off");
        }
        match &self.table {
            SourceTable::Remote(table) => match Predicate::lower(condition, &self.schema) {
                None => Some("sources cannot be asked this"),
                Some(predicate) if !table.supports(&predicate) => {
                    Some("the source is not known to answer it as the engine does")
                }
                Some(_) => None,
            },
            SourceTable::Files(table) => match scan::pushdown(table, condition) {
                TableProviderFilterPushDown::Exact => None,
                TableProviderFilterPushDown::Inexact => {
                    Some("checked for each row; files and row groups are pruned by it")
                }
                TableProviderFilterPushDown::Unsupported => Some("checked for each row"),
            },
            SourceTable::View { .. } => None,
        }
    }

    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    pub fn source_table(&self) -> &SourceTable {
        &self.table
    }

    fn scan_remote(
        &self,
        table: &Arc<dyn RemoteTable>,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mut predicates = Vec::new();
        let mut all_sent = true;
        for filter in filters {
            match Predicate::lower(filter, &self.schema) {
                Some(predicate) if self.pushdown && table.supports(&predicate) => {
                    predicates.push(predicate);
                }
                _ => all_sent = false,
            }
        }
        let request = ScanRequest {
            projection: projection
                .cloned()
                .unwrap_or_else(|| (0..self.schema.fields().len()).collect()),
            filters: predicates,
            limit: limit.filter(|_| all_sent && self.pushdown && table.supports_limit()),
            batch_rows: state.config().batch_size(),
        };
        let exec = RemoteScanExec::try_new(self.catalog.clone(), Arc::clone(table), request)?;
        Ok(Arc::new(exec))
    }
}

impl TableProvider for FederatedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        match self.table {
            SourceTable::View { .. } => TableType::View,
            SourceTable::Remote(_) | SourceTable::Files(_) => TableType::Base,
        }
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.view_plan.as_ref().map(Cow::Borrowed)
    }

    fn scan<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        state: &'b dyn Session,
        projection: Option<&'c Vec<usize>>,
        filters: &'d [Expr],
        limit: Option<usize>,
    ) -> PlanFuture<'f>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
        Self: 'f,
    {
        match &self.table {
            SourceTable::Remote(table) => Box::pin(std::future::ready(
                self.scan_remote(table, state, projection, filters, limit),
            )),
            SourceTable::Files(table) => {
                let limit = limit.filter(|_| self.pushdown);
                match scan::FileScanRequest::lower(
                    table,
                    state,
                    projection,
                    filters,
                    limit,
                    self.pushdown,
                ) {
                    Ok(request) => scan::plan(Arc::clone(table), request, state),
                    Err(error) => Box::pin(std::future::ready(Err(error))),
                }
            }
            SourceTable::View { .. } => Box::pin(std::future::ready(Err(Error::internal(
                "a view was scanned instead of planned",
            )
            .into()))),
        }
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match &self.table {
                SourceTable::Remote(table) => match Predicate::lower(filter, &self.schema) {
                    Some(predicate) if self.pushdown && table.supports(&predicate) => {
                        TableProviderFilterPushDown::Exact
                    }
                    _ => TableProviderFilterPushDown::Unsupported,
                },
                SourceTable::Files(table) if self.pushdown => scan::pushdown(table, filter),
                SourceTable::Files(_) => TableProviderFilterPushDown::Unsupported,
                SourceTable::View { .. } => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }
}
