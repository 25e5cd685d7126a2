//! Values on their way into columns: PostgreSQL's assignment casts. They go from a type to one that may hold less (a value
//! that does not fit is an error that names the column), and from any type to text; other pairs of types are refused.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use maru_core::{Error, ErrorKind, Result};

use crate::session::arithmetic::assigned;
use crate::system::types::sql_name;

/// Gives the rows of a plan the names and types of the columns they are for; `more` are added behind.
///
/// # Errors
/// 42804 for types that do not go together.
pub(super) fn assign(
    plan: LogicalPlan,
    columns: &[FieldRef],
    more: Vec<Expr>,
    zone: &str,
) -> Result<LogicalPlan> {
    let mut exprs = Vec::with_capacity(columns.len() + more.len());
    for (index, target) in columns.iter().enumerate() {
        let (qualifier, field) = plan.schema().qualified_field(index);
        let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let value = assign_one(value, field, target, &plan, zone)?;
        exprs.push(value.alias(target.name()));
    }
    exprs.extend(more);
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

pub(super) fn assign_one(
    value: Expr,
    from: &Field,
    target: &Field,
    plan: &LogicalPlan,
    zone: &str,
) -> Result<Expr> {
    let (source, to) = (from.data_type(), target.data_type());
    if source == to {
        return Ok(value);
    }
    if !assignable(source, to) {
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!(
                "column \"{}\" is of type {} but expression is of type {}",
                target.name(),
                sql_name(to),
                sql_name(source)
            ),
        )
        .with_hint("You will need to rewrite or cast the expression."));
    }
    if source.is_numeric() && to.is_numeric() {
        return Ok(assigned(value, target, plan.schema(), zone));
    }
    Ok(cast(value, to.clone()))
}

/// Returns whether values of a type may come into a column of another one.
pub(super) fn assignable(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let is_time = |t: &D| matches!(t, D::Time32(_) | D::Time64(_));
    let is_date = |t: &D| matches!(t, D::Date32 | D::Date64);
    let is_stamp = |t: &D| matches!(t, D::Timestamp(..));
    let is_bytes = |t: &D| t.is_binary() || matches!(t, D::FixedSizeBinary(_));
    match (from, to) {
        (D::Null, _) => true,
        (D::Dictionary(_, value), to) => assignable(value, to),
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (from, to) if to.is_string() => !from.is_nested() || matches!(from, D::List(_)),
        (from, to) if is_date(from) || is_stamp(from) => is_date(to) || is_stamp(to),
        (from, to) if is_time(from) => is_time(to),
        (D::Interval(_) | D::Duration(_), D::Interval(_) | D::Duration(_)) => true,
        (from, to) if is_bytes(from) => is_bytes(to),
        (from, to) if from.is_nested() => same_shape(from, to),
        _ => false,
    }
}

/// Returns whether nested types have the same parts, whatever their items are called and which encoding they have.
fn same_shape(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let item = |t: &D| match t {
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) | D::ListView(item) => {
            Some(item.data_type().clone())
        }
        _ => None,
    };
    if let (Some(from), Some(to)) = (item(from), item(to)) {
        return from == to || assignable(&from, &to);
    }
    match (from, to) {
        (D::Struct(from), D::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name()
                        && (from.data_type() == to.data_type()
                            || assignable(from.data_type(), to.data_type()))
                })
        }
        (D::Map(from, _), D::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (D::Struct(from), D::Struct(to)) => {
                from.len() == to.len()
                    && from.iter().zip(to).all(|(from, to)| {
                        from.data_type() == to.data_type()
                            || assignable(from.data_type(), to.data_type())
                    })
            }
            _ => false,
        },
        _ => false,
    }
}
