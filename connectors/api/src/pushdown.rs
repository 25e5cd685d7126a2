//! Lets sources group, order and join before rows travel.
//!
//! A rule of the logical planner, run when filters have found their way into the scans. Where a node stands right above
//! tables of a source, the source is asked for a table of what the node makes of them ([`RemoteTable::derive`] and
//! [`RemoteTable::join`]); if there is one, its scan takes the node's place. So a derived table is a table like any other:
//! filters, limits and further steps above it are pushed by the same means, and what a source does not know to compute as
//! the engine does stays where it was.

mod average;
mod gather;
mod lower;
mod number;
mod reasons;
mod unpushed;

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, LogicalPlanBuilder, Sort};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::{FederatedTable, RemoteTable, SortBy, SourceTable, Step};
use lower::Input;
pub use reasons::why_stays;
pub use unpushed::without_pushdown;

/// The name of a derived table in plans.
const DERIVED: &str = "derived";

/// The rule.
#[derive(Debug, Default)]
pub struct PushIntoSources;

impl OptimizerRule for PushIntoSources {
    fn name(&self) -> &str {
        "push_into_sources"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        let pushed = match &plan {
            LogicalPlan::Aggregate(node) => match average::taken_apart(node, config)? {
                Some(parts) => {
                    let whole = parts.plan();
                    let pushed = aggregate(&parts.node, &whole)?;
                    // Whether it is sent or not, an average of whole numbers of a source is the exact one.
                    parts.put_together(pushed.or_else(|| parts.exact.then_some(whole)))?
                }
                None => aggregate(node, &plan)?,
            },
            LogicalPlan::Sort(node) => top_n(node)?,
            LogicalPlan::Join(node) => match join(node, &plan)? {
                None => gather::joined(node)?,
                joined => joined,
            },
            _ => None,
        };
        Ok(pushed.map_or_else(|| Transformed::no(plan), Transformed::yes))
    }
}

fn aggregate(node: &Aggregate, plan: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    let Some(input) = Input::of(&node.input) else { return Ok(None) };
    let arguments = lower::arguments(node, &input).collect::<Vec<_>>();
    let Some(input) = input.computing(arguments) else { return Ok(None) };
    let Some(step) = lower::aggregate(node, &input) else { return Ok(None) };
    let Some(derived) = input.remote.derive(&input.request, &step) else { return Ok(None) };
    scan(&input, derived, plan, None, None)
}

/// The engine keeps the order: it sorts the few rows that come.
fn top_n(node: &Sort) -> DfResult<Option<LogicalPlan>> {
    let Some(fetch) = node.fetch else { return Ok(None) };
    let Some(input) = Input::of(&node.input) else { return Ok(None) };
    // So few rows already: this was pushed before.
    let few = |rows: usize| rows <= fetch;
    if input.table.most_rows().is_some_and(few) || input.request.limit.is_some_and(few) {
        return Ok(None);
    }
    let Some(input) = input.computing(node.expr.iter().map(|by| &by.expr)) else {
        return Ok(None);
    };
    let Some(by) = lower::sort(node, &input) else { return Ok(None) };
    let certain = positions(&by, &input.request.projection);
    let step = Step::TopN { by, rows: fetch };
    let Some(derived) = input.remote.derive(&input.request, &step) else { return Ok(None) };
    let sorted = LogicalPlan::Sort(node.clone());
    let Some(scan) = scan(&input, derived, &sorted, Some(fetch), Some(certain))? else {
        return Ok(None);
    };
    Ok(Some(LogicalPlan::Sort(Sort { input: Arc::new(scan), ..node.clone() })))
}

/// Returns which columns of a result an order is by.
fn positions(by: &[SortBy], projection: &[usize]) -> Vec<usize> {
    (0..projection.len()).filter(|i| by.iter().any(|by| by.column == projection[*i])).collect()
}

/// A join is computed by the source only where it cannot make more rows than its inputs have together. One that keeps left
/// rows alone never does.
fn join(node: &Join, plan: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    let (Some(left), Some(right)) = (Input::of(&node.left), Input::of(&node.right)) else {
        return Ok(None);
    };
    if left.table.catalog() != right.table.catalog() {
        return Ok(None);
    }
    let Some(join) = lower::join(node, &left, &right) else { return Ok(None) };
    let (lefts, rights): (Vec<_>, Vec<_>) = join.on.iter().copied().unzip();
    let unique = covered(left.remote.as_ref(), &lefts) || covered(right.remote.as_ref(), &rights);
    if !unique && !join.kind.keeps_left_only() {
        return Ok(None);
    }
    let Some(derived) =
        left.remote.join(&left.request, right.remote.as_ref(), &right.request, &join)
    else {
        return Ok(None);
    };
    scan(&left, derived, plan, None, None)
}

/// Returns whether no two rows of a table have the same values in `columns`.
fn covered(remote: &dyn RemoteTable, columns: &[usize]) -> bool {
    remote.unique_keys().iter().any(|key| key.iter().all(|column| columns.contains(column)))
}

/// Returns the scan of a derived table in the place of `plan`, with the names of its columns; `None` if the types are not
/// those of the plan.
fn scan(
    input: &Input<'_>,
    derived: Arc<dyn RemoteTable>,
    plan: &LogicalPlan,
    most_rows: Option<usize>,
    certain: Option<Vec<usize>>,
) -> DfResult<Option<LogicalPlan>> {
    let schema = derived.schema();
    if !fits(&schema, plan.schema()) {
        return Ok(None);
    }
    let table = FederatedTable::new(input.table.catalog(), SourceTable::Remote(derived))
        .with_verify(input.table.verify())
        .with_original(plan.clone(), most_rows, certain);
    let columns = plan
        .schema()
        .iter()
        .zip(schema.fields())
        .map(|((qualifier, field), derived)| {
            Expr::Column(Column::new(Some(DERIVED), derived.name()))
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect::<Vec<_>>();
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::scan(DERIVED, source, None)?.project(columns)?.build().map(Some)
}

fn fits(derived: &arrow::datatypes::SchemaRef, wanted: &DFSchema) -> bool {
    derived.fields().len() == wanted.fields().len()
        && derived.fields().iter().zip(wanted.fields()).all(|(derived, wanted)| {
            derived.data_type() == wanted.data_type()
                && (wanted.is_nullable() || !derived.is_nullable())
        })
}
