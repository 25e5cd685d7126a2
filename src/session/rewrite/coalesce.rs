//! `coalesce(coalesce(a, b), c)` is `coalesce(a, b, c)`. The planner writes each argument twice, so that calls in calls would grow
//! with the power of their depth (DataFusion 55.2).

use maru_sql::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

pub(super) fn expression(expr: &mut Expr) -> maru_core::Result<()> {
    if let Expr::Function(function) = expr
        && is_coalesce(function)
        && let FunctionArguments::List(list) = &mut function.args
    {
        let args = std::mem::take(&mut list.args);
        list.args = args.into_iter().flat_map(flat).collect();
    }
    Ok(())
}

fn flat(argument: FunctionArg) -> Vec<FunctionArg> {
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner))) = &argument
        && is_coalesce(inner)
        && let FunctionArguments::List(list) = &inner.args
    {
        return list.args.clone();
    }
    vec![argument]
}

fn is_coalesce(function: &Function) -> bool {
    function.name.to_string().eq_ignore_ascii_case("coalesce")
        && function.over.is_none()
        && function.filter.is_none()
}
