//! What is known of a table that a source derives: it follows from the plan that it took the place of.

use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Facts;
use super::estimate::{Estimate, groups, joined_rows, matching};
use super::selectivity::remaining;
use crate::{FederatedTable, Predicate};

/// Estimates a plan of the few nodes that sources take over; `None` if nothing is known of it.
pub(crate) fn of_plan(plan: &LogicalPlan) -> Option<Estimate> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<FederatedTable>()?;
            let whole = table.estimate()?;
            let schema = table.source_table().schema();
            let filters =
                scan.filters.iter().filter_map(|filter| Predicate::lower(filter, &schema));
            let share = remaining(&filters.collect::<Vec<_>>(), &whole.columns);
            let kept = whole.kept(share).at_most(scan.fetch);
            Some(match &scan.projection {
                Some(chosen) => kept.choose(chosen.iter()),
                None => kept,
            })
        }
        LogicalPlan::SubqueryAlias(alias) => of_plan(&alias.input),
        LogicalPlan::Projection(projection) => {
            let below = of_plan(&projection.input)?;
            let columns = projection.expr.iter();
            let columns = columns.map(|expr| facts(expr, &projection.input, &below));
            Some(Estimate { columns: columns.collect(), ..below })
        }
        LogicalPlan::Sort(sort) => Some(of_plan(&sort.input)?.at_most(sort.fetch)),
        LogicalPlan::Aggregate(aggregate) => {
            let below = of_plan(&aggregate.input)?;
            let keys = aggregate.group_expr.iter().map(|key| index(key, &aggregate.input));
            Some(groups(&below, &keys.collect::<Vec<_>>(), plan.schema().fields().len()))
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (of_plan(&join.left)?, of_plan(&join.right)?);
            let on = join
                .on
                .iter()
                .map(|(one, other)| Some((index(one, &join.left)?, index(other, &join.right)?)));
            let share = matching(&left, &right, &on.collect::<Option<Vec<_>>>()?);
            Some(joined_rows(join.join_type, left, right, share))
        }
        _ => None,
    }
}

fn index(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => index(&alias.expr, input),
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    }
}

fn facts(expr: &Expr, input: &LogicalPlan, below: &Estimate) -> Facts {
    index(expr, input).and_then(|index| below.columns.get(index)).cloned().unwrap_or_default()
}
