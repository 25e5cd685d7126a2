//! What models say is computed of the rows that a filter leaves.
//!
//! The engine moves a projection below a filter wherever that makes rows narrower, whatever the projection computes (55.2). A score
//! would be made of all rows, to keep a few.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;

/// Puts filters below projections that ask models. It comes after each rule that moves projections.
#[derive(Debug)]
pub(in crate::session) struct ScoresAboveFilters;

impl PhysicalOptimizerRule for ScoresAboveFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            Ok(match turned(&node)? {
                Some(turned) => Transformed::yes(turned),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "scores_above_filters"
    }

    /// The columns are computed by the same expressions; what a schema says besides is no concern of those above.
    fn schema_check(&self) -> bool {
        false
    }
}

/// Returns the projection above the filter, where a filter is above such a projection and looks at columns that it passes on.
fn turned(node: &Arc<dyn ExecutionPlan>) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(None) };
    let Some(projection) = filter.input().downcast_ref::<ProjectionExec>() else {
        return Ok(None);
    };
    if filter.projection().is_some() || !projection.expr().iter().any(|one| asks(&one.expr)) {
        return Ok(None);
    }
    let mut passed_on = true;
    let predicate = Arc::clone(filter.predicate()).transform_up(|part| {
        let Some(column) = part.downcast_ref::<Column>() else { return Ok(Transformed::no(part)) };
        let below = projection.expr().get(column.index()).map(|one| &one.expr);
        match below.filter(|below| below.downcast_ref::<Column>().is_some()) {
            Some(below) => Ok(Transformed::yes(Arc::clone(below))),
            None => {
                passed_on = false;
                Ok(Transformed::no(part))
            }
        }
    });
    let predicate = predicate.data()?;
    if !passed_on {
        return Ok(None);
    }
    let below = FilterExecBuilder::from(filter)
        .with_input(Arc::clone(projection.input()))
        .with_predicate(predicate)
        .build()?;
    let above = ProjectionExec::try_new(projection.expr().to_vec(), Arc::new(below))?;
    Ok(Some(Arc::new(above)))
}

/// Whether an expression asks a model, or takes a column of what one has said.
fn asks(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut found = false;
    let walked = expr.apply(|part| {
        let name = part.downcast_ref::<ScalarFunctionExpr>().map(|call| call.fun().name());
        found |= name.is_some_and(|name| name.starts_with("ml_") || name.starts_with("take["));
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    debug_assert!(walked.is_ok());
    found
}
