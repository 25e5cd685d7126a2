//! Plans as they were before sources took part in them: what an answer is held against.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};

use crate::FederatedTable;

/// Returns the same plan with everything computed by the engine: filters and limits above the scans, derived tables replaced by
/// what they were derived from.
///
/// # Errors
/// XX000 if the plan is not whole.
pub fn without_pushdown(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    plan.clone()
        .transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            Ok(match unpushed(scan)? {
                // Its scans push nothing any more.
                Some(plan) => Transformed::yes(plan),
                None => Transformed::no(node),
            })
        })
        .data()
}

fn unpushed(scan: &TableScan) -> DfResult<Option<LogicalPlan>> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<FederatedTable>() else { return Ok(None) };
    if table.pushing_remote().is_none() {
        return Ok(None);
    }
    let mut builder = match table.original() {
        Some(original) => {
            // The columns by the names of the derived table.
            let original = without_pushdown(original)?;
            let named = original
                .schema()
                .columns()
                .into_iter()
                .zip(table.source_table().schema().fields())
                .map(|(column, field)| {
                    Expr::Column(column)
                        .alias_qualified(Some(scan.table_name.clone()), field.name())
                })
                .collect::<Vec<_>>();
            LogicalPlanBuilder::from(original).project(named)?
        }
        None => {
            let source = provider_as_source(Arc::new(table.unpushed()));
            LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?
        }
    };
    if let Some(filter) = conjunction(scan.filters.iter().cloned()) {
        builder = builder.filter(filter)?;
    }
    let columns = scan.projected_schema.columns().into_iter().map(Expr::Column);
    builder = builder.project(columns.collect::<Vec<_>>())?;
    if scan.fetch.is_some() {
        builder = builder.limit(0, scan.fetch)?;
    }
    builder.build().map(Some)
}
