//! `ARRAY(SELECT …)`: the rows of a query as an array, empty where there are none.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    Array, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, OrderByKind, Query, SelectItem, SetExpr,
};

use super::literals::call;

/// Makes `coalesce((SELECT array_agg(x ORDER BY …) …), ARRAY[])` of it.
///
/// # Errors
/// 42601 for a query of several columns, 0A000 for one with groups, `DISTINCT` or `LIMIT`.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. }) = expr
    else {
        return Ok(());
    };
    if !name.to_string().eq_ignore_ascii_case("array") {
        return Ok(());
    }
    let mut query = Query::clone(query);
    let unsupported = || {
        Error::unsupported("ARRAY(query) takes a plain SELECT")
            .with_hint("Use (SELECT array_agg(x) FROM (query) AS q (x)).")
    };
    let order = query.order_by.take();
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(unsupported()) };
    let plain = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
        && select.distinct.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    if !plain {
        return Err(unsupported());
    }
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return Err(Error::new(ErrorKind::Syntax, "subquery must return only one column"));
    };
    let mut aggregate = call("array_agg", Vec::new());
    if let Expr::Function(function) = &mut aggregate {
        let by = match order.map(|order| order.kind) {
            Some(OrderByKind::Expressions(by)) => vec![FunctionArgumentClause::OrderBy(by)],
            Some(OrderByKind::All(_)) => return Err(unsupported()),
            None => Vec::new(),
        };
        function.args = FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(item.clone()))],
            clauses: by,
        });
    }
    *item = aggregate;
    let empty = Expr::Array(Array { elem: Vec::new(), named: true });
    *expr = call("coalesce", vec![Expr::Subquery(Box::new(query)), empty]);
    Ok(())
}
