//! The rule that places filters which are learned at run time. It runs last: its nodes are not known to others.

use std::sync::Arc;

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::collect::CollectKeysExec;
use super::keys::JoinKeys;
use super::place::{place, plain_column};
use super::{Origin, ordinary};
use crate::CompareOp;

extensions_options! {
    /// Whether scans learn filters at run time.
    pub struct RuntimeFilterOptions {
        /// `false` leaves plans as they are.
        pub enabled: bool, default = true
    }
}

impl ConfigExtension for RuntimeFilterOptions {
    const PREFIX: &'static str = "runtime_filters";
}

impl RuntimeFilterOptions {
    /// Returns the options with the filters on or off.
    pub fn with_enabled(enabled: bool) -> Self {
        Self { enabled }
    }
}

/// Lets scans learn the keys of joins and the values of scalar subqueries.
#[derive(Debug)]
pub struct RuntimeFilters;

impl PhysicalOptimizerRule for RuntimeFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<RuntimeFilterOptions>();
        if !options.is_none_or(|options| options.enabled) {
            return Ok(plan);
        }
        // Its parts are run again and again, each time with other keys.
        let recursive =
            plan.exists(|node| Ok(node.downcast_ref::<RecursiveQueryExec>().is_some()))?;
        if recursive { Ok(plan) } else { with_filters(plan) }
    }

    fn name(&self) -> &str {
        "runtime_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn with_filters(node: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    // Short of memory, a nested loop join reads its left side more than once.
    let again = node.downcast_ref::<NestedLoopJoinExec>().is_some();
    let children = node.children().into_iter().enumerate().map(|(index, child)| {
        if again && index == 0 { Ok(Arc::clone(child)) } else { with_filters(Arc::clone(child)) }
    });
    let children = children.collect::<DfResult<Vec<_>>>()?;
    let node = replace_children_if_necessary(node, children)?;
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return Ok(of_join(&node, join)?.unwrap_or(node));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        return of_filter(&node, filter);
    }
    Ok(node)
}

/// Returns whether rows of the right side that match nothing leave no trace in what the join gives.
fn drops_unmatched(join: &HashJoinExec) -> bool {
    // With NULLs that are equal, and in a NOT IN that minds them, rows count that no key is equal to.
    if join.null_aware || join.null_equality() != NullEquality::NullEqualsNothing {
        return false;
    }
    match join.join_type() {
        JoinType::Inner
        | JoinType::Left
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark
        | JoinType::RightSemi => true,
        JoinType::Right | JoinType::Full | JoinType::RightAnti | JoinType::RightMark => false,
    }
}

/// Lets the scans below the right side of a join wait for the keys of its left side, which is read first.
fn of_join(
    node: &Arc<dyn ExecutionPlan>,
    join: &HashJoinExec,
) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    if !drops_unmatched(join) {
        return Ok(None);
    }
    let (left, mut right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let keys = JoinKeys::new(left.properties().partitioning.partition_count());
    let mut collected = Vec::new();
    for (own, other) in join.on() {
        let (own_type, other_type) =
            (own.data_type(&left.schema())?, other.data_type(&right.schema())?);
        if own_type != other_type || !ordinary(&own_type) || is_volatile(own) {
            continue;
        }
        let Some(column) = plain_column(other, &right.schema()) else { continue };
        let origin = Origin::Keys { keys: Arc::clone(&keys), index: collected.len() };
        if let Some(placed) = place(&right, column, &origin) {
            right = placed;
            collected.push(Arc::clone(own));
        }
    }
    if collected.is_empty() {
        return Ok(None);
    }
    let left: Arc<dyn ExecutionPlan> = Arc::new(CollectKeysExec::new(left, collected, keys));
    Ok(Some(replace_children_if_necessary(Arc::clone(node), vec![left, right])?))
}

/// Lets the scans below a filter use the values of scalar subqueries, which are known before the scans are read. The
/// filter stays.
fn of_filter(
    node: &Arc<dyn ExecutionPlan>,
    filter: &FilterExec,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut input = Arc::clone(filter.input());
    let mut any = false;
    for condition in split_conjunction(filter.predicate()) {
        let Some((column, origin)) = with_subquery(condition, &input)? else { continue };
        if let Some(placed) = place(&input, column, &origin) {
            input = placed;
            any = true;
        }
    }
    if any {
        replace_children_if_necessary(Arc::clone(node), vec![input])
    } else {
        Ok(Arc::clone(node))
    }
}

/// Takes apart a comparison of a column with an expression that holds a scalar subquery and no column.
fn with_subquery(
    condition: &Arc<dyn PhysicalExpr>,
    input: &Arc<dyn ExecutionPlan>,
) -> DfResult<Option<(usize, Origin)>> {
    let Some(binary) = condition.downcast_ref::<BinaryExpr>() else { return Ok(None) };
    let schema = input.schema();
    for (swapped, column, value) in
        [(false, binary.left(), binary.right()), (true, binary.right(), binary.left())]
    {
        let Some(index) = plain_column(column, &schema) else { continue };
        let Some(op) = compare_op(binary.op(), swapped) else { return Ok(None) };
        if column.data_type(&schema)? != value.data_type(&schema)? {
            continue;
        }
        if collect_columns(value).is_empty() && !is_volatile(value) && holds_subquery(value)? {
            return Ok(Some((index, Origin::Value { op, value: Arc::clone(value) })));
        }
    }
    Ok(None)
}

fn holds_subquery(expr: &Arc<dyn PhysicalExpr>) -> DfResult<bool> {
    let mut found = false;
    expr.apply(|part| {
        found |= part.downcast_ref::<ScalarSubqueryExpr>().is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn compare_op(op: &Operator, swapped: bool) -> Option<CompareOp> {
    Some(match (op, swapped) {
        (Operator::Eq, _) => CompareOp::Eq,
        (Operator::NotEq, _) => CompareOp::NotEq,
        (Operator::Lt, false) | (Operator::Gt, true) => CompareOp::Lt,
        (Operator::LtEq, false) | (Operator::GtEq, true) => CompareOp::LtEq,
        (Operator::Gt, false) | (Operator::Lt, true) => CompareOp::Gt,
        (Operator::GtEq, false) | (Operator::LtEq, true) => CompareOp::GtEq,
        _ => return None,
    })
}
