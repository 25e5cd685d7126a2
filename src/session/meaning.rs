//! What a statement means in PostgreSQL where the planner has made something else of its text.
//!
//! Each pass is given a plan whose types are not settled yet: what is a cast in it was written as one. Their order counts, and is
//! this list. After it a client is told the columns, so that no pass may come later that changes a type.

use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::arithmetic::{as_casts, keep_peers, keep_times, of_one_type, same_zeros};
use super::case_conditions;
use super::correlated::by_number;
use super::json::as_json_meant;
use super::lateral::{as_unnested, refuse_rest};
use super::multisets::count_copies;
use super::order_columns::of_rows_read;
use super::outer_aggregates;
use super::recursive::refuse_lost_digits;
use super::rewrite::shown;
use super::scalar_subqueries::one_row;
use super::subqueries::in_columns;
use super::union_names;

/// Makes a plan that of what the statement means.
///
/// # Errors
/// Those of the passes: 42883, 42846 and 0A000 of operators on JSON, and what the planner says of a plan that it is given.
pub(super) fn as_meant(mut plan: LogicalPlan) -> DfResult<LogicalPlan> {
    // What an aggregate is of is told while it stands where it was written.
    outer_aggregates::refuse(&plan)?;
    case_conditions::refuse(&plan)?;
    // What was written as a cast is one.
    plan = as_casts(plan)?;
    // The planner's own casts are told while no others have been added.
    refuse_lost_digits(&plan)?;
    // Orders have the columns that they mean before anything looks at their subqueries.
    plan = of_rows_read(plan)?;
    // JSON's casts, comparisons and keys stop being those of text, which all that follows would take them for.
    plan = as_json_meant(plan)?;
    // What LATERAL makes of each row is unnested above the row: the planner's join with a query in it is gone before anybody looks
    // at joins.
    plan = as_unnested(plan)?;
    // INTERSECT and EXCEPT are joins, of columns of one type, …
    plan = of_one_type(plan)?;
    // … those with ALL by the number of the copy too.
    plan = count_copies(plan)?;
    // Queries of a UNION have its names.
    plan = union_names::of_first(plan)?;
    // EXISTS, IN, ANY and ALL that are values become subqueries that count, …
    plan = in_columns(plan)?;
    // … which are values, like those that were written as such: one row, or 21000.
    plan = one_row(plan)?;
    // Those that look at the row around them by more than keys become joins by the row's number. What is left is the planner's own.
    plan = refuse_rest(by_number(plan)?)?;
    // Types of dates and times are PostgreSQL's from here on, in the new columns as well.
    plan = keep_times(plan)?;
    // Frames by peers of types that nothing is added to, …
    plan = keep_peers(plan)?;
    // … and keys of floats, whose type is known by now, with one zero.
    as_shown(same_zeros(plan)?)
}

/// Gives columns that were renamed for the planner the names that they are shown under, where no other column has it: those of a view are read
/// by name.
fn as_shown(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns();
    let names = columns.iter().map(|column| shown(&column.name)).collect::<Vec<_>>();
    let renamed = |name: &str| {
        let name_shown = shown(name);
        name_shown != name && names.iter().filter(|other| **other == name_shown).count() == 1
    };
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
        || !columns.iter().any(|column| renamed(&column.name))
    {
        return Ok(plan);
    }
    let exprs = columns.iter().map(|column| {
        let same = Expr::Column(column.clone());
        if renamed(&column.name) { same.alias(shown(&column.name)) } else { same }
    });
    let exprs = exprs.collect::<Vec<_>>();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
