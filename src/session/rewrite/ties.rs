//! `FETCH FIRST n ROWS WITH TIES`: the first rows, and those that the order does not tell from the last of them. They are the rows
//! whose rank in that order is at most `n`.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    BinaryOperator, Expr, LimitClause, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Value, WindowSpec, WindowType,
};

use super::folded;
use super::literals::call;

/// Keeps the rows of a query by their rank.
///
/// # Errors
/// 42601 without an ORDER BY; 0A000 beside OFFSET, DISTINCT, QUALIFY and set operations.
pub(super) fn query(query: &mut Query, n_rows: Expr) -> Result<()> {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind)
    else {
        let what = "WITH TIES cannot be specified without ORDER BY clause";
        return Err(Error::new(ErrorKind::Syntax, what));
    };
    let skips =
        matches!(&query.limit_clause, Some(LimitClause::LimitOffset { offset: Some(_), .. }));
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(unsupported("a set operation"));
    };
    if skips || query.limit_clause.is_some() {
        return Err(unsupported(if skips { "OFFSET" } else { "LIMIT" }));
    }
    if select.distinct.is_some() || select.qualify.is_some() {
        let what = if select.distinct.is_some() { "DISTINCT" } else { "QUALIFY" };
        return Err(unsupported(what));
    }
    let order_by = order.iter().map(|by| meant(by, select)).collect::<Result<Vec<_>>>()?;
    let mut rank = call("rank", Vec::new());
    if let Expr::Function(function) = &mut rank {
        function.over = Some(WindowType::WindowSpec(WindowSpec {
            window_name: None,
            partition_by: Vec::new(),
            order_by,
            window_frame: None,
        }));
    }
    let (left, right) = (Box::new(rank), Box::new(n_rows));
    select.qualify = Some(Expr::BinaryOp { left, op: BinaryOperator::LtEq, right });
    Ok(())
}

/// Writes out what a column's name or number stands for in an ORDER BY: inside of a window neither is known.
fn meant(by: &OrderByExpr, select: &Select) -> Result<OrderByExpr> {
    let of = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        _ => None,
    };
    let expr = match &by.expr {
        Expr::Identifier(name) => {
            let named = select.projection.iter().find(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => folded(alias) == folded(name),
                _ => false,
            });
            named.and_then(of).unwrap_or_else(|| by.expr.clone())
        }
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                // A star before it takes more than one place.
                let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let items = at.and_then(|at| select.projection.get(..=at));
                let items = items.map(|items| items.iter().map(of).collect::<Option<Vec<_>>>());
                let last = items.flatten().and_then(|mut items| items.pop());
                last.ok_or_else(|| unsupported(&format!("ORDER BY {number}")))?
            }
            _ => by.expr.clone(),
        },
        other => other.clone(),
    };
    Ok(OrderByExpr { expr, ..by.clone() })
}

fn unsupported(beside: &str) -> Error {
    Error::unsupported(format!("FETCH … WITH TIES is not supported beside {beside}"))
        .with_hint("Number the rows in a subquery: rank() OVER (ORDER BY …).")
}
