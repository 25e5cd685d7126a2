//! How many rows a part of a plan gives, and what is known of their columns.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::selectivity::{remaining, share};
use super::{BelievedExec, Facts};
use crate::{RemoteScanExec, RemoteTable, ScanRequest, VerifyExec};

/// Of rows with a partner on the other side, or without one.
const HALF: f64 = 0.5;

/// An estimate. Rows are at least one: nobody knows that there are none.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    pub(crate) rows: f64,
    /// Rows before they were filtered: so many values a key may have.
    pub(super) base: f64,
    pub(crate) columns: Vec<Facts>,
}

impl Estimate {
    pub(super) fn new(rows: f64, columns: Vec<Facts>) -> Self {
        let rows = rows.max(1.0);
        Self { rows, base: rows, columns }
    }

    pub(super) fn kept(self, share: f64) -> Self {
        Self { rows: (self.rows * share).max(1.0), ..self }
    }

    pub(super) fn at_most(self, rows: Option<usize>) -> Self {
        let rows = rows.map_or(self.rows, |most| self.rows.min(most as f64));
        Self { rows: rows.max(1.0), ..self }
    }

    pub(super) fn choose<'c>(self, columns: impl Iterator<Item = &'c usize>) -> Self {
        let chosen = columns.map(|index| self.columns.get(*index).cloned().unwrap_or_default());
        Self { columns: chosen.collect(), ..self }
    }

    /// Returns what is known of a table of a source.
    pub(crate) fn of_table(table: &dyn RemoteTable) -> Option<Self> {
        let rows = table.statistics().n_rows? as f64;
        let columns = 0..table.schema().fields().len();
        let mut columns = columns
            .map(|column| Facts::of_estimate(&table.column_estimate(column)))
            .collect::<Vec<_>>();
        for key in table.unique_keys() {
            if let [column] = key.as_slice()
                && let Some(known) = columns.get_mut(*column)
            {
                known.n_distinct.get_or_insert(rows);
            }
        }
        Some(Self::new(rows, columns))
    }

    /// Returns what a request leaves.
    pub(crate) fn asked(self, request: &ScanRequest) -> Self {
        let share = remaining(&request.filters, &self.columns);
        self.kept(share).at_most(request.limit).choose(request.projection.iter())
    }

    /// Returns how many different values a column has, and whether that is known or only a bound.
    fn distinct(&self, column: usize) -> (f64, bool) {
        let facts = self.columns.get(column);
        match facts.and_then(|facts| facts.n_distinct) {
            Some(known) => (known.clamp(1.0, self.base), true),
            None => {
                let most = facts.and_then(Facts::most_distinct).unwrap_or(f64::INFINITY);
                (most.clamp(1.0, self.base), false)
            }
        }
    }
}

/// Returns which share of all pairs of rows is equal in the given columns.
///
/// One side's values are taken to be among the other's. Where only bounds are known, the smaller one is a key: most joins are
/// with one.
pub(super) fn matching(left: &Estimate, right: &Estimate, on: &[(usize, usize)]) -> f64 {
    if on.is_empty() {
        return 1.0;
    }
    if let [(one, other)] = on {
        let ((one, one_known), (other, other_known)) =
            (left.distinct(*one), right.distinct(*other));
        let n_distinct = match (one_known, other_known) {
            (true, true) => one.max(other),
            (true, false) => one.max(other.min(left.base)),
            (false, true) => other.max(one.min(right.base)),
            (false, false) => one.min(other),
        };
        return 1.0 / n_distinct;
    }
    // Of several columns some follow from others; there are never more than rows.
    let together = |estimate: &Estimate, columns: &mut dyn Iterator<Item = usize>| {
        let product = columns.map(|column| estimate.distinct(column).0).product::<f64>();
        product.clamp(1.0, estimate.base)
    };
    let left = together(left, &mut on.iter().map(|(one, _)| *one));
    let right = together(right, &mut on.iter().map(|(_, other)| *other));
    1.0 / left.min(right)
}

/// Estimates a part of a plan; `None` if nothing is known of it.
pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Estimate> {
    if let Some(scan) = plan.downcast_ref::<RemoteScanExec>() {
        return scan.estimate();
    }
    if let Some(believed) = plan.downcast_ref::<BelievedExec>() {
        let below = of(believed.input())?;
        let more = believed.columns().iter().map(Facts::of_estimate);
        let columns = below.columns.clone().into_iter().zip(more);
        return Some(Estimate {
            columns: columns.map(|(own, more)| own.or(more)).collect(),
            ..below
        });
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let below = of(filter.input())?;
        let share = share(filter.predicate(), &below.columns);
        let kept = below.kept(share).at_most(plan.fetch());
        return Some(match filter.projection() {
            Some(chosen) => kept.choose(chosen.iter()),
            None => kept,
        });
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = of(projection.input())?;
        let columns = projection.expr().iter().map(|made| computed(&made.expr, &below));
        return Some(Estimate { columns: columns.collect(), ..below });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return Some(grouped(aggregate, &of(aggregate.input())?));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return joined(join);
    }
    if plan.downcast_ref::<CrossJoinExec>().is_some()
        || plan.downcast_ref::<NestedLoopJoinExec>().is_some()
    {
        let sides = plan.children().into_iter().map(of).collect::<Option<Vec<_>>>()?;
        let columns = vec![Facts::default(); plan.schema().fields().len()];
        return Some(Estimate::new(sides.iter().map(|side| side.rows).product(), columns));
    }
    if passes(plan) {
        return Some(of(plan.children().first()?)?.at_most(plan.fetch()));
    }
    told(plan)
}

/// Returns whether a node gives the rows of its first child, or as many as it may.
fn passes(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<CooperativeExec>().is_some()
        || plan.downcast_ref::<SortExec>().is_some()
        || plan.downcast_ref::<SortPreservingMergeExec>().is_some()
        || plan.downcast_ref::<GlobalLimitExec>().is_some()
        || plan.downcast_ref::<LocalLimitExec>().is_some()
        || plan.downcast_ref::<VerifyExec>().is_some()
}

/// Returns what the engine itself makes of a node.
fn told(plan: &Arc<dyn ExecutionPlan>) -> Option<Estimate> {
    let statistics =
        StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    let rows = *statistics.num_rows.get_value()? as f64;
    let columns =
        statistics.column_statistics.iter().map(|column| Facts::of_statistics(column, rows));
    Some(Estimate::new(rows, columns.collect()))
}

fn computed(expr: &Arc<dyn PhysicalExpr>, below: &Estimate) -> Facts {
    if expr.downcast_ref::<Literal>().is_some() {
        return Facts::distinct(1.0);
    }
    let column = expr.downcast_ref::<Column>().map(Column::index);
    column.and_then(|index| below.columns.get(index)).cloned().unwrap_or_default()
}

fn grouped(aggregate: &AggregateExec, below: &Estimate) -> Estimate {
    let keys = aggregate.group_expr().expr().iter();
    let keys = keys.map(|(key, _)| key.downcast_ref::<Column>().map(Column::index));
    groups(below, &keys.collect::<Vec<_>>(), aggregate.schema().fields().len())
}

/// Returns the groups by some columns, which come first; `None` is a key that is no column.
pub(super) fn groups(below: &Estimate, keys: &[Option<usize>], n_columns: usize) -> Estimate {
    let n_groups = keys.iter().map(|key| key.map_or(below.rows, |key| below.distinct(key).0));
    let rows = n_groups.product::<f64>().min(below.rows);
    let key = |key: &Option<usize>| key.and_then(|key| below.columns.get(key)).cloned();
    let mut columns = keys.iter().map(|at| key(at).unwrap_or_default()).collect::<Vec<_>>();
    if let [key] = columns.as_mut_slice() {
        key.n_distinct = Some(rows);
    }
    columns.resize(n_columns, Facts::default());
    Estimate::new(rows, columns)
}

fn joined(join: &HashJoinExec) -> Option<Estimate> {
    let (left, right) = (of(join.left())?, of(join.right())?);
    let on = join.on().iter().map(|(one, other)| {
        let index = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(Column::index);
        Some((index(one)?, index(other)?))
    });
    let share = match on.collect::<Option<Vec<_>>>() {
        Some(on) => matching(&left, &right, &on),
        None => 1.0 / left.base.min(right.base),
    };
    let joined = joined_rows(*join.join_type(), left, right, share).at_most(join.fetch());
    Some(match &join.projection {
        Some(chosen) => joined.choose(chosen.iter()),
        None => joined,
    })
}

/// Returns the rows of a join of which `share` of all pairs match.
pub(super) fn joined_rows(kind: JoinType, left: Estimate, right: Estimate, share: f64) -> Estimate {
    let matched = left.rows * right.rows * share;
    let both = || [left.columns.as_slice(), &right.columns].concat();
    match kind {
        JoinType::Inner => Estimate::new(matched, both()),
        JoinType::Left => Estimate::new(matched.max(left.rows), both()),
        JoinType::Right => Estimate::new(matched.max(right.rows), both()),
        JoinType::Full => Estimate::new(matched.max(left.rows + right.rows), both()),
        JoinType::LeftSemi | JoinType::LeftAnti => left.kept(HALF),
        JoinType::RightSemi | JoinType::RightAnti => right.kept(HALF),
        JoinType::LeftMark | JoinType::RightMark => {
            let mut side = if kind == JoinType::LeftMark { left } else { right };
            side.columns.push(Facts::default());
            side
        }
    }
}
