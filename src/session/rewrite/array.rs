//! `ARRAY(SELECT …)`: the rows of a query as an array, empty where there are none. `x = ANY (array)`: a function that knows NULL.

use std::ops::ControlFlow;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, OrderByKind,
    Query, SelectItem, SetExpr, Statement, TableFactor, Value, visit_expressions_mut,
};

use super::literals::call;
use super::{folded, literal};
use crate::session::quantified;

/// Keeps what is written about arrays from rules that split their text at commas, and names of functions and tables from rules that
/// look them up otherwise; returns whether there is any.
pub(in crate::session) fn protect(statement: &mut Statement) -> bool {
    let mut found = false;
    let _ = visit_expressions_mut(statement, |expr| {
        match expr {
            Expr::Cast { kind, expr: inner, data_type: DataType::Array(_), .. }
                if *kind == CastKind::DoubleColon && literal(inner).is_some() =>
            {
                *kind = CastKind::Cast;
                found = true;
            }
            // Looked up by its last name alone otherwise, if at all.
            Expr::Cast { expr: inner, data_type: DataType::Regclass, .. } if is_name(inner) => {
                *expr = call("to_regclass", vec![(**inner).clone()]);
                found = true;
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
                found |= super::clients::name_function(left, right);
                found |= super::clients::name_function(right, left);
            }
            // The compatibility rules know psql's questions by their words.
            Expr::AnyOp { right, .. }
                if ["stxkind", "polroles"].iter().any(|name| right.to_string().contains(name)) => {}
            Expr::AnyOp { .. } | Expr::AllOp { .. } => {
                let before = expr.clone();
                found |= quantified(expr).is_ok() && *expr != before;
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Returns whether an expression is the name of a table and no number: a parameter, or put together of texts.
fn is_name(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_name(inner),
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Function(function) => ["format", "quote_ident", "concat"]
            .contains(&function.name.to_string().to_lowercase().as_str()),
        Expr::BinaryOp { op, .. } => *op == BinaryOperator::StringConcat,
        _ => false,
    }
}

/// Makes a call of `x op ANY (array)` and `x op ALL (array)`; those of queries stay.
///
/// # Errors
/// 0A000 for operators that do not compare.
fn quantified(expr: &mut Expr) -> Result<()> {
    let (function, left, op, right) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (quantified::ANY, left, compare_op, right),
        Expr::AllOp { left, compare_op, right } => (quantified::ALL, left, compare_op, right),
        _ => return Ok(()),
    };
    if matches!(**right, Expr::Subquery(_)) {
        return Ok(());
    }
    let text = |text: String| Expr::value(Value::SingleQuotedString(text));
    let op = op.to_string();
    if !quantified::OPERATORS.contains(&op.as_str()) {
        return Err(Error::unsupported(format!("{op} before ANY or ALL is not supported yet"))
            .with_hint(format!("There are {}.", quantified::OPERATORS.join(", "))));
    }
    let mut bare = right.as_ref();
    while let Expr::Nested(inner) = bare {
        bare = inner;
    }
    let is_literal = literal(bare).is_some();
    let mut arguments = vec![text(op), (**left).clone(), bare.clone()];
    if is_literal {
        arguments.push(text("literal".to_owned()));
    }
    *expr = call(function, arguments);
    Ok(())
}

/// Makes a call of `ARRAY(SELECT x FROM unnest(t.array) AS x WHERE x > …)`: the rows are made of a row of the query around it, which the
/// planner finds no way to from within an expression.
pub(super) fn elements_of_row(expr: &mut Expr) {
    if let Some(instead) = kept(expr) {
        *expr = instead;
    }
}

fn kept(expr: &Expr) -> Option<Expr> {
    let Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. }) = expr
    else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ([SelectItem::UnnamedExpr(Expr::Identifier(item))], [from]) =
        (select.projection.as_slice(), select.from.as_slice())
    else {
        return None;
    };
    let TableFactor::UNNEST { alias, array_exprs, with_ordinality: false, .. } = &from.relation
    else {
        return None;
    };
    let [array] = array_exprs.as_slice() else { return None };
    let column = match alias {
        Some(alias) => folded(alias.columns.first().map_or(&alias.name, |column| &column.name)),
        None => "unnest".to_owned(),
    };
    let is_element = |expr: &Expr| matches!(expr, Expr::Identifier(name) if folded(name) == column);
    let plain = name.to_string().eq_ignore_ascii_case("array")
        && folded(item) == column
        && super::rows::looks_around(array)
        && from.joins.is_empty()
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none();
    let Some(Expr::BinaryOp { left, op, right }) = &select.selection else { return None };
    let (op, value) = match (is_element(left), is_element(right)) {
        (true, false) => (op.to_string(), right),
        (false, true) => (mirrored(op)?.to_owned(), left),
        _ => return None,
    };
    let known = quantified::OPERATORS.contains(&op.as_str());
    let op = Expr::value(Value::SingleQuotedString(op));
    (plain && known).then(|| call("array_kept", vec![array.clone(), op, (**value).clone()]))
}

/// Returns the operator with its sides changed over.
fn mirrored(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => ">",
        BinaryOperator::LtEq => ">=",
        BinaryOperator::Gt => "<",
        BinaryOperator::GtEq => "<=",
        _ => return None,
    })
}

/// Makes `coalesce((SELECT array_agg(x ORDER BY …) …), ARRAY[])` of it.
///
/// # Errors
/// 42601 for a query of several columns, 0A000 for one with groups, `DISTINCT` or `LIMIT`.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    quantified(expr)?;
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
