//! The one table provider of Maru: a [`SourceTable`] as DataFusion sees it.
//!
//! `scan` is written by hand as `#[async_trait]` would expand it: a future that captured `&[Expr]` would cost the
//! compiler seconds (docs/decisions/0003). Expressions end here, synchronously.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use maru_core::Error;

use crate::file_table::scan;
use crate::join_order::{Estimate, of_plan};
use crate::pushdown::without_pushdown;
use crate::verify_exec::{Expected, VerifyExec};
use crate::{Predicate, QueryContext, RemoteScanExec, RemoteTable, ScanRequest, SourceTable};

type PlanFuture<'f> = Pin<Box<dyn Future<Output = DfResult<Arc<dyn ExecutionPlan>>> + Send + 'f>>;

/// A statement in so many is verified by `SET verify_pushdown = sample`.
const SAMPLE_ONE_IN: u64 = 10;

/// Whether what a source computes is computed by the engine as well, and compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    #[default]
    Off,
    /// One statement in ten.
    Sample,
    All,
}

/// A table of a source inside the engine.
///
/// A `View` is given with its plan, since only the engine can plan SQL.
#[derive(Debug, Clone)]
pub struct FederatedTable {
    catalog: String,
    table: SourceTable,
    schema: SchemaRef,
    view_plan: Option<LogicalPlan>,
    pushdown: bool,
    verify: Verify,
    derived: Option<Derived>,
}

/// Where a table comes from that the source computes (`pushdown.rs`).
#[derive(Debug, Clone)]
struct Derived {
    /// What the engine would compute in its place.
    original: LogicalPlan,
    most_rows: Option<usize>,
    /// Columns in which the rows are certain, if not all are.
    certain: Option<Vec<usize>>,
}

impl FederatedTable {
    pub fn new(catalog: impl Into<String>, table: SourceTable) -> Self {
        let schema = table.schema();
        Self {
            catalog: catalog.into(),
            table,
            schema,
            view_plan: None,
            pushdown: true,
            verify: Verify::Off,
            derived: None,
        }
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

    /// Has the engine compute what the source is asked as well, and compare (`SET verify_pushdown`).
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Makes this the table that a source derived from `original`, which has at most `most_rows` rows. In columns other than
    /// `certain` the source may have chosen other rows than the engine would have.
    pub(crate) fn with_original(
        mut self,
        original: LogicalPlan,
        most_rows: Option<usize>,
        certain: Option<Vec<usize>>,
    ) -> Self {
        self.derived = Some(Derived { original, most_rows, certain });
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
            SourceTable::View { .. } | SourceTable::ForeignView(_) => None,
        }
    }

    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    pub fn source_table(&self) -> &SourceTable {
        &self.table
    }

    pub(crate) fn verify(&self) -> Verify {
        self.verify
    }

    /// Returns the table of the source, if it is asked for more than rows.
    pub(crate) fn pushing_remote(&self) -> Option<&Arc<dyn RemoteTable>> {
        match &self.table {
            SourceTable::Remote(table) if self.pushdown => Some(table),
            _ => None,
        }
    }

    /// Returns the plan that the source computes in place of the engine.
    pub(crate) fn original(&self) -> Option<&LogicalPlan> {
        self.derived.as_ref().map(|derived| &derived.original)
    }

    /// Returns what is known of the rows of a remote table, for the order of joins.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        match (&self.derived, &self.table) {
            (Some(derived), _) => of_plan(&derived.original),
            (None, SourceTable::Remote(table)) => Estimate::of_table(table.as_ref()),
            (
                None,
                SourceTable::Files(_) | SourceTable::View { .. } | SourceTable::ForeignView(_),
            ) => None,
        }
    }

    pub(crate) fn most_rows(&self) -> Option<usize> {
        self.derived.as_ref().and_then(|derived| derived.most_rows)
    }

    /// Returns the same table, asked for nothing but rows.
    pub(crate) fn unpushed(&self) -> Self {
        self.clone().with_pushdown(false).with_verify(Verify::Off)
    }

    fn is_verified(&self, state: &dyn Session) -> bool {
        match self.verify {
            Verify::Off => false,
            Verify::Sample => {
                QueryContext::of(state.config()).query_id.is_multiple_of(SAMPLE_ONE_IN)
            }
            Verify::All => true,
        }
    }

    /// Returns the plan by which the engine computes a scan itself, and how the two answers compare.
    fn local_plan(
        &self,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<(LogicalPlan, Expected)> {
        const NAME: &str = "verified";
        let source = provider_as_source(Arc::new(self.clone()));
        let mut builder = LogicalPlanBuilder::scan(NAME, source, None)?;
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            builder = builder.filter(filter)?;
        }
        let all = || (0..self.schema.fields().len()).collect::<Vec<_>>();
        let projection = projection.cloned().unwrap_or_else(all);
        let columns = projection
            .iter()
            .map(|index| Expr::Column(Column::new(Some(NAME), self.schema.field(*index).name())));
        let plan = builder.project(columns.collect::<Vec<_>>())?.build()?;
        let limit =
            limit.filter(|_| self.pushing_remote().is_some_and(|remote| remote.supports_limit()));
        let certain = self.derived.as_ref().and_then(|derived| derived.certain.as_ref());
        let expected = match (limit, certain) {
            (Some(limit), _) => Expected::Some(limit),
            (None, Some(certain)) => Expected::SameIn(
                (0..projection.len()).filter(|i| certain.contains(&projection[*i])).collect(),
            ),
            (None, None) => Expected::Same,
        };
        Ok((without_pushdown(&plan)?, expected))
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
        let exec = RemoteScanExec::try_new(self.catalog.clone(), Arc::clone(table), request)?
            .with_estimate(self.derived.as_ref().and_then(|_| self.estimate()));
        Ok(Arc::new(if self.pushdown { exec } else { exec.unnarrowed() }))
    }
}

impl TableProvider for FederatedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        match self.table {
            SourceTable::View { .. } | SourceTable::ForeignView(_) => TableType::View,
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
            SourceTable::Remote(table) => {
                let pushed = self.scan_remote(table, state, projection, filters, limit);
                if !self.pushdown || !self.is_verified(state) {
                    return Box::pin(std::future::ready(pushed));
                }
                let local = self.local_plan(projection, filters, limit);
                Box::pin(async move {
                    let (pushed, (plan, expected)) = (pushed?, local?);
                    let local = state.create_physical_plan(&plan).await?;
                    Ok(Arc::new(VerifyExec::new(pushed, local, expected)) as _)
                })
            }
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
            SourceTable::View { .. } | SourceTable::ForeignView(_) => {
                let error = Error::internal("a view was scanned instead of planned");
                Box::pin(std::future::ready(Err(error.into())))
            }
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
                SourceTable::View { .. } | SourceTable::ForeignView(_) => {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }
}
