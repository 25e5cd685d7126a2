//! `WITH RECURSIVE t(n) AS (SELECT 1.0 UNION ALL SELECT n / 3 FROM t …)`: the columns have the types of the first query (PostgreSQL 16, section
//! 7.8.2).
//!
//! PostgreSQL refuses another type in the second query, and has one numeric of any scale. Here a numeric has a scale, and the planner casts to
//! the first query's without a word (DataFusion 55.2): digits were lost, more in each round. A cast that was written stands twice
//! (`rewrite/recursive.rs`), so that the planner's own are told from it.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, RecursiveQuery};
use maru_core::{Error, ErrorKind};

use crate::system::types::{regtype_name, sql_name};

/// Refuses recursive queries whose second query has values that the first one's types do not hold.
///
/// # Errors
/// 42804.
pub(super) fn refuse_lost_digits(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::RecursiveQuery(query) = node {
            of_query(query)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn of_query(query: &RecursiveQuery) -> DfResult<()> {
    let LogicalPlan::Projection(made) = query.recursive_term.as_ref() else { return Ok(()) };
    for (at, expr) in made.expr.iter().enumerate() {
        let Expr::Cast(cast) = expr.clone().unalias() else { continue };
        let from = cast.expr.get_type(made.input.schema())?;
        let to = cast.field.data_type();
        if loses(&from, to) {
            let name = &query.name;
            let what = format!(
                "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                at + 1,
                sql_name(to),
                regtype_name(&from),
            );
            return Err(Error::new(ErrorKind::TypeMismatch, what)
                .with_hint("Cast the column in both terms to one type that holds all values: CAST(… AS numeric(38, 10)).")
                .into());
        }
    }
    Ok(())
}

/// Returns whether a cast takes digits or a time of day from a value without a word.
fn loses(from: &DataType, to: &DataType) -> bool {
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        data_type if data_type.is_integer() => Some(0),
        _ => None,
    };
    match (scale(from), scale(to)) {
        (Some(from), Some(to)) => from > to,
        (None, Some(_)) => from.is_floating(),
        _ => matches!(
            (from, to),
            (DataType::Float64, DataType::Float32 | DataType::Float16)
                | (DataType::Timestamp(..), DataType::Date32 | DataType::Date64)
        ),
    }
}
