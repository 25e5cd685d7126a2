//! Casts that are columns of a recursive query's second query. Each is written twice: `session/recursive.rs` tells by it those that the planner
//! adds.

use maru_sql::ast::{DataType, Expr, Query, SelectItem, SetExpr};

/// Marks the casts in the WITH queries of a query.
pub(super) fn query(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for table in &mut with.cte_tables {
        if let SetExpr::SetOperation { right, .. } = table.query.body.as_mut() {
            columns(right);
        }
    }
}

fn columns(body: &mut SetExpr) {
    match body {
        SetExpr::Query(query) => columns(&mut query.body),
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                {
                    twice(expr);
                }
            }
        }
        _ => {}
    }
}

fn twice(expr: &mut Expr) {
    if let Expr::Nested(inner) = expr {
        return twice(inner);
    }
    let same = expr.clone();
    if let Expr::Cast { expr: inner, data_type, .. } = expr
        && loses(data_type)
    {
        **inner = same;
    }
}

/// Returns whether a type may hold less than a value has: other casts are never asked about.
fn loses(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Numeric(_)
            | DataType::Decimal(_)
            | DataType::Dec(_)
            | DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int(_)
            | DataType::Integer(_)
            | DataType::Int4(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::Real
            | DataType::Float4
            | DataType::Float(_)
            | DataType::Date
    )
}
