//! `INTERSECT` and `EXCEPT` of numbers and of moments whose types are not the same: their columns are of the type that both sides have in common,
//! as those of `UNION` are.
//!
//! The planner makes joins of them, and the columns of a join are those of its left side: `smallint EXCEPT bigint` would be a `smallint`, and `+ 100000`
//! above it out of range; `real INTERSECT double precision` would be shown as the `real` that it no longer is to PostgreSQL (DataFusion 55.2).
//!
//! Source: PostgreSQL 15, section 10.5.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder, Union};

use super::{bytes, float, moments, promised};

/// Of numerics that hold all whole numbers.
const WHOLE_DIGITS: u8 = 20;

/// Gives both sides of each `INTERSECT` and `EXCEPT` the types that they have in common.
///
/// # Errors
/// What is wrong with the types of a `UNION` in a side, and what the planner says of the plan it is given.
pub(in crate::session) fn of_one_type(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join) if is_set_operation(join));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return Ok(plan);
    }
    // A side may be a UNION, whose own types are not settled yet.
    let plan = promised::unions(bytes::settled(plan)?)?;
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_set_operation(&join) => matched(join),
        LogicalPlan::Union(union) => told_anew(union),
        other => Ok(Transformed::no(other.recompute_schema()?)),
    })
    .data()
}

/// Returns whether a join is that of a set operation: no other join is made of a text that takes NULLs for equal.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.on.is_empty()
        && join.left.schema().fields().len() == join.right.schema().fields().len()
}

fn matched(mut join: Join) -> DfResult<Transformed<LogicalPlan>> {
    let pairs = join.left.schema().fields().iter().zip(join.right.schema().fields());
    let types = pairs.map(|(left, right)| common(left.data_type(), right.data_type()));
    let (left_types, right_types): (Vec<_>, Vec<_>) = types.unzip();
    if left_types.iter().chain(&right_types).all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Join(join).recompute_schema()?));
    }
    // Values that were different may be one in the common type: what makes rows distinct comes after.
    let left = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(rows)) => {
            let rows = Arc::new(in_types(rows, &left_types)?);
            LogicalPlan::Distinct(Distinct::All(rows))
        }
        _ => in_types(&join.left, &left_types)?,
    };
    join.right = Arc::new(in_types(&join.right, &right_types)?);
    join.left = Arc::new(left);
    Ok(Transformed::yes(LogicalPlan::Join(join).recompute_schema()?))
}

/// Returns what columns of two types, left and right, become; `None` for one that stays as it is.
fn common(left: &DataType, right: &DataType) -> (Option<DataType>, Option<DataType>) {
    let both = [left.clone(), right.clone()];
    let is_moment = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
    let target = if left == right {
        None
    } else if left.is_numeric() && right.is_numeric() {
        match (left.is_decimal(), right.is_decimal()) {
            // Whatever comes out is a value of the left side, and keeps its places.
            (true, _) if !right.is_floating() => None,
            (false, true) if left.is_integer() => {
                return (Some(DataType::Decimal128(WHOLE_DIGITS, 0)), None);
            }
            _ => float::mixed(&both)
                .then_some(DataType::Float64)
                .or_else(|| type_union_coercion(left, right)),
        }
    } else if is_moment(left) && is_moment(right) {
        type_union_coercion(left, right)
    } else {
        moments::common(&both).filter(|_| left.is_temporal() && right.is_temporal())
    };
    (target.clone(), target)
}

/// Casts the columns of a side, which keep their names.
fn in_types(side: &Arc<LogicalPlan>, types: &[Option<DataType>]) -> DfResult<LogicalPlan> {
    let columns = side.schema().columns().into_iter().zip(side.schema().fields());
    let columns = columns.zip(types).map(|((column, field), target)| {
        let (relation, name) = (column.relation.clone(), column.name.clone());
        let column = Expr::Column(column);
        match target {
            Some(target) if target != field.data_type() => {
                let value = Expr::Cast(Cast::new(Box::new(column), target.clone()));
                value.alias_qualified(relation, name)
            }
            _ => column,
        }
    });
    let columns = columns.collect::<Vec<_>>();
    LogicalPlanBuilder::from(Arc::clone(side)).project(columns)?.build()
}

/// A `UNION` above a side that has become of another type says so.
fn told_anew(union: Union) -> DfResult<Transformed<LogicalPlan>> {
    let Some(first) = union.inputs.first() else {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    };
    let mut fields = union.schema.fields().iter().zip(first.schema().fields());
    if fields.all(|(told, field)| told.data_type() == field.data_type()) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let union = Union::try_new_with_loose_types(union.inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}
