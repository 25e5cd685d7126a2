//! Names of the columns of a `UNION`, which are those of its first query.
//!
//! Where all other queries are found to be empty, the optimizer puts the one that is left in the place of the whole, and reads its columns by
//! the names of the `UNION` (DataFusion 55.2): `column "c0" does not exist`, if that query is itself an `INTERSECT` or has a `LIMIT`. Here each
//! query gives its columns the names that the `UNION` has.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union};

/// Names the columns of the queries of each `UNION`.
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn of_first(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Union(union) => named(union),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn named(union: Union) -> DfResult<Transformed<LogicalPlan>> {
    let columns = union.schema.columns();
    // The planner names the columns of a SELECT itself, whose literals are still to find their types.
    let differs = |input: &LogicalPlan| {
        !matches!(input, LogicalPlan::Projection(_)) && input.schema().columns() != columns
    };
    // What is called by one name twice cannot be named anew, and is not looked for by its name.
    let is_plain = columns.iter().enumerate().all(|(at, column)| !columns[..at].contains(column));
    if !is_plain || !union.inputs.iter().any(|input| differs(input)) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.iter().map(|input| {
        if !differs(input) {
            return Ok(Arc::clone(input));
        }
        let shown = input.schema().columns().into_iter().zip(&columns).map(|(column, wanted)| {
            Expr::Column(column).alias_qualified(wanted.relation.clone(), wanted.name.clone())
        });
        let shown = shown.collect::<Vec<_>>();
        LogicalPlanBuilder::from(Arc::clone(input)).project(shown)?.build().map(Arc::new)
    });
    let inputs = inputs.collect::<DfResult<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: union.schema })))
}
