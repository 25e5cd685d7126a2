//! Finds the scan that a column comes from, and puts a filter there.
//!
//! The way down leads only through nodes that hand the column on as it is and whose other rows stay the same when rows
//! with other values of it are missing: no limits, no windows, no aggregates unless the column is one of their groups.
//! Columns are followed by index; names may stand twice.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::collect::CollectKeysExec;
use super::{FilteredFilesExec, Origin, RuntimeFilter, ordinary, widens};
use crate::RemoteScanExec;

/// Rows of a remote table that are sooner read than asked for by a list of keys.
const REMOTE_ROWS_MIN: usize = 200;

/// Returns the plan with a filter on `column` of its output at the scan or scans below; `None` if there is none to put
/// it at.
pub(super) fn place(
    node: &Arc<dyn ExecutionPlan>,
    column: usize,
    origin: &Origin,
) -> Option<Arc<dyn ExecutionPlan>> {
    // Fewer rows before a limit are other rows after it.
    if node.fetch().is_some() {
        return None;
    }
    if let Some(scan) = node.downcast_ref::<RemoteScanExec>() {
        let small = scan.n_rows().is_some_and(|rows| rows < REMOTE_ROWS_MIN);
        let filter = filter(node, column, origin)?;
        return if small { None } else { scan.with_runtime_filter(filter) };
    }
    if let Some(placed) =
        filter(node, column, origin).and_then(|filter| FilteredFilesExec::place(node, &filter))
    {
        return Some(placed);
    }
    if node.downcast_ref::<UnionExec>().is_some() {
        return placed_in(node, origin, |_| Some(column));
    }
    let (child, column) = source(node, column)?;
    placed_in(node, origin, |index| (index == child).then_some(column))
}

/// Puts the filter below the children for which `column` gives one; `None` if it was put nowhere.
fn placed_in(
    node: &Arc<dyn ExecutionPlan>,
    origin: &Origin,
    column: impl Fn(usize) -> Option<usize>,
) -> Option<Arc<dyn ExecutionPlan>> {
    let mut any = false;
    let children = node.children().into_iter().enumerate().map(|(index, child)| {
        match column(index).and_then(|column| place(child, column, origin)) {
            Some(placed) => {
                any = true;
                placed
            }
            None => Arc::clone(child),
        }
    });
    let children = children.collect::<Vec<_>>();
    if !any {
        return None;
    }
    replace_children_if_necessary(Arc::clone(node), children).ok()
}

fn filter(node: &Arc<dyn ExecutionPlan>, column: usize, origin: &Origin) -> Option<RuntimeFilter> {
    let data_type = node.schema().fields().get(column)?.data_type().clone();
    let fits = match origin {
        Origin::Keys { .. } => ordinary(&data_type),
        // A database is asked as for a literal; the statistics of files know no NaN.
        Origin::Value { .. } => {
            let remote = node.downcast_ref::<RemoteScanExec>().is_some();
            ordinary(&data_type) || (remote && data_type == DataType::Float64)
        }
    };
    fits.then(|| RuntimeFilter { column, data_type, origin: origin.clone() })
}

/// Returns from which child of a node a column of its output comes, and which column it is there.
fn source(node: &Arc<dyn ExecutionPlan>, column: usize) -> Option<(usize, usize)> {
    let same = node.downcast_ref::<RepartitionExec>().is_some()
        || node.downcast_ref::<CoalescePartitionsExec>().is_some()
        || node.downcast_ref::<CooperativeExec>().is_some()
        || node.downcast_ref::<SortExec>().is_some()
        || node.downcast_ref::<SortPreservingMergeExec>().is_some()
        || node.downcast_ref::<ScalarSubqueryExec>().is_some()
        || node.downcast_ref::<CollectKeysExec>().is_some();
    if same {
        return Some((0, column));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return Some((0, before(filter.projection().as_deref(), column)?));
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let expr = &projection.expr().get(column)?.expr;
        return Some((0, plain_column(expr, &projection.input().schema())?));
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let groups = aggregate.group_expr();
        if !groups.is_single() || aggregate.limit_options().is_some() {
            return None;
        }
        let (expr, _) = groups.expr().get(column)?;
        return Some((0, plain_column(expr, &aggregate.input().schema())?));
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let n_left = join.left().schema().fields().len();
        let column = before(join.projection.as_deref(), column)?;
        return if join.null_aware { None } else { join_side(*join.join_type(), n_left, column) };
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        let n_left = join.left().schema().fields().len();
        let column = before(join.projection().as_deref(), column)?;
        // Short of memory, it reads its left side more than once: that side stays as it is.
        return join_side(*join.join_type(), n_left, column).filter(|(child, _)| *child == 1);
    }
    if let Some(join) = node.downcast_ref::<CrossJoinExec>() {
        return join_side(JoinType::Inner, join.left().schema().fields().len(), column);
    }
    None
}

/// Returns the index before a projection that is part of a node.
fn before(projection: Option<&[usize]>, column: usize) -> Option<usize> {
    match projection {
        Some(projection) => projection.get(column).copied(),
        None => Some(column),
    }
}

/// Returns from which side of a join a column comes, if rows missing there are missing in the output and change no
/// other row. An outer join fills up with NULL what is missing on its inner side.
fn join_side(join: JoinType, n_left: usize, column: usize) -> Option<(usize, usize)> {
    match join {
        JoinType::Inner if column < n_left => Some((0, column)),
        JoinType::Inner => Some((1, column - n_left)),
        JoinType::Left | JoinType::LeftMark if column < n_left => Some((0, column)),
        JoinType::Right if column >= n_left => Some((1, column - n_left)),
        JoinType::LeftSemi | JoinType::LeftAnti => Some((0, column)),
        JoinType::RightSemi | JoinType::RightAnti => Some((1, column)),
        _ => None,
    }
}

/// Returns the column that an expression is, perhaps in a wider type.
pub(super) fn plain_column(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &arrow::datatypes::Schema,
) -> Option<usize> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let cast = expr.downcast_ref::<CastExpr>()?;
    let from = cast.expr().data_type(schema).ok()?;
    widens(&from, cast.cast_type()).then(|| plain_column(cast.expr(), schema))?
}
