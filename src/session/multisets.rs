//! `EXCEPT ALL` and `INTERSECT ALL`, which count how often a row comes.
//!
//! The planner makes the joins of `EXCEPT` and `INTERSECT` of them and leaves out what makes rows distinct, so that one row on
//! the right takes away every equal one on the left (DataFusion 55.2). Here the copies of a row are numbered on both sides, and
//! the numbers compared too: the third copy is taken away by a third one, and found in one.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};

/// What the numbers of copies are called, left and right.
const COPY: [&str; 2] = ["copy of left", "copy of right"];

/// Numbers the copies of rows where they count.
///
/// # Errors
/// What the planner says of the plan it is given.
pub(super) fn count_copies(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if counts(&join) => Ok(Transformed::yes(counted(join)?)),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Returns whether a join is that of an operation with ALL. No other join is made of a text that takes NULLs for equal; one
/// whose left side is distinct may be that of an operation without ALL, and gives the same rows in either case.
fn counts(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.on.is_empty()
        && !matches!(*join.left, LogicalPlan::Distinct(_))
        && !join.left.schema().fields().iter().any(|field| field.name() == COPY[0])
}

fn counted(join: Join) -> DfResult<LogicalPlan> {
    let columns = join.left.schema().columns();
    let (left_keys, right_keys): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
    let [left_copy, right_copy] = COPY;
    let right = numbered((*join.right).clone(), &right_keys, right_copy)?;
    let keys = |keys: Vec<Expr>, copy: &str| {
        let copy = Expr::Column(Column::from_name(copy));
        keys.into_iter().chain([copy]).collect::<Vec<_>>()
    };
    let on = keys(left_keys.clone(), left_copy).into_iter().zip(keys(right_keys, right_copy));
    let on = on.map(|(left, right)| Ok((column(left)?, column(right)?)));
    let (left_on, right_on): (Vec<_>, Vec<_>) =
        on.collect::<DfResult<Vec<_>>>()?.into_iter().unzip();
    LogicalPlanBuilder::from(numbered((*join.left).clone(), &left_keys, left_copy)?)
        .join_detailed(
            right,
            join.join_type,
            (left_on, right_on),
            None,
            NullEquality::NullEqualsNull,
        )?
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// Adds a column with the number of a row among those equal to it.
fn numbered(rows: LogicalPlan, keys: &[Expr], copy: &str) -> DfResult<LogicalPlan> {
    let columns = rows.schema().columns();
    let number = row_number().partition_by(keys.to_vec()).build()?;
    let numbered = LogicalPlanBuilder::from(rows).window([number])?.build()?;
    let number = numbered.schema().columns().into_iter().filter(|c| !columns.contains(c));
    let number = number.map(|number| Expr::Column(number).alias(copy)).collect::<Vec<_>>();
    LogicalPlanBuilder::from(numbered)
        .project(columns.iter().cloned().map(Expr::Column).chain(number))?
        .build()
}

fn column(expr: Expr) -> DfResult<Column> {
    match expr {
        Expr::Column(column) => Ok(column),
        other => Err(maru_core::Error::internal(format!("rows are compared by {other}")).into()),
    }
}
