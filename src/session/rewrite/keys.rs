//! Tools take indexes and constraints apart by functions that are not there. The engine knows of neither, so their catalogs are
//! empty, and a query that joins them has no rows: it is answered so, under its columns' names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{
    Expr, GroupByExpr, Ident, JoinOperator, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, visit_expressions_mut,
};

use super::columns::MARK;
use super::folded;

/// Catalogs without rows.
const EMPTY: &[&str] = &["pg_index", "pg_constraint"];

/// What is in the queries that cannot be planned. Others are left as they are, with the types of their columns.
const UNPLANNED: &[&str] = &[
    "unnest(",
    "generate_subscripts(",
    "_pg_expandarray(",
    "pg_get_indexdef(",
    "array_agg(",
    "array_position(",
    "indclass",
    "indoption",
    "indcollation",
    "any(",
    "array_lower(",
    "array_upper(",
    "indkey[",
    "conkey[",
    "confkey[",
];

/// Aggregates that make a row of none.
const AGGREGATES: &[&str] =
    &["count(", "array_agg(", "string_agg(", "max(", "min(", "sum(", "bool_or("];

/// Changes a query before its parts are looked at.
pub(super) fn query(query: &mut Query) {
    if !gives_nothing(query) {
        return;
    }
    let text = query.to_string().to_lowercase();
    if !UNPLANNED.iter().any(|word| text.contains(word)) {
        return;
    }
    let Some(mut items) = projection(&query.body) else { return };
    // A statement keeps its parameters.
    for parameter in parameters(query) {
        items.push_str(&format!(" AND CAST({parameter} AS TEXT) IS NULL"));
    }
    let Some(nothing) = parsed(&items) else { return };
    query.with = None;
    query.order_by = None;
    query.body = nothing.body;
}

fn parameters(query: &mut Query) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions_mut(query, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            found.insert(name.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Returns a query of such columns without rows; `None` where it is not known which columns there are.
fn projection(body: &SetExpr) -> Option<String> {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, .. } => return projection(left),
        SetExpr::Query(query) => return projection(&query.body),
        _ => return None,
    };
    let mut seen = Vec::new();
    let names = select.projection.iter().map(|item| match item {
        SelectItem::ExprWithAlias { alias, expr } => Some((alias.clone(), expr)),
        SelectItem::UnnamedExpr(expr) => Some((named(expr), expr)),
        _ => None,
    });
    let items = names
        .map(|found| {
            let (name, expr) = found?;
            let mut name = folded(&name);
            let is_array = matches!(expr, Expr::Function(function)
                if function.name.to_string().to_lowercase().ends_with("array_agg"));
            let data_type = if is_array { "TEXT[]" } else { "TEXT" };
            if seen.contains(&name) {
                name = format!("{name}{MARK}{}", seen.len());
            }
            seen.push(name.clone());
            Some(format!("CAST(NULL AS {data_type}) AS {}", maru_core::quote_ident(&name)))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(format!("SELECT {} WHERE false", items.join(", ")))
}

/// Returns what PostgreSQL calls a column.
fn named(expr: &Expr) -> Ident {
    let found = match expr {
        Expr::Identifier(name) => Some(name.clone()),
        Expr::CompoundIdentifier(names) => names.last().cloned(),
        Expr::Function(function) => {
            function.name.0.last().and_then(ObjectNamePart::as_ident).cloned()
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) => return named(expr),
        _ => None,
    };
    found.unwrap_or_else(|| Ident::with_quote('"', "?column?"))
}

fn parsed(sql: &str) -> Option<Query> {
    Parser::new(&MaruDialect).try_with_sql(sql).ok()?.parse_query().ok().map(|query| *query)
}

fn gives_nothing(query: &Query) -> bool {
    is_empty(&query.body)
}

fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select_is_empty(select),
        SetExpr::SetOperation { left, right, .. } => is_empty(left) && is_empty(right),
        SetExpr::Query(query) => gives_nothing(query),
        _ => false,
    }
}

fn select_is_empty(select: &Select) -> bool {
    let grouped =
        matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if !exprs.is_empty());
    let aggregates = !grouped
        && select.projection.iter().any(|item| {
            let text = match item {
                // What a subquery or a function of an array counts is its own.
                SelectItem::UnnamedExpr(Expr::Function(function))
                | SelectItem::ExprWithAlias { expr: Expr::Function(function), .. } => {
                    function.to_string().to_lowercase()
                }
                _ => return false,
            };
            AGGREGATES
                .iter()
                .any(|name| text.starts_with(name) || text.contains(&format!(".{name}")))
        });
    if aggregates {
        return false;
    }
    let nowhere = || matches!(&select.selection, Some(Expr::Value(value)) if matches!(value.value, Value::Boolean(false)));
    nowhere()
        || select.from.iter().any(|from| {
            let inner = |operator: &JoinOperator| {
                matches!(
                    operator,
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
                )
            };
            let keeps_left = |operator: &JoinOperator| {
                inner(operator)
                    || matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
            };
            let all_keep = from.joins.iter().all(|join| keeps_left(&join.join_operator));
            all_keep
                && (factor_is_empty(&from.relation)
                    || from
                        .joins
                        .iter()
                        .any(|join| inner(&join.join_operator) && factor_is_empty(&join.relation)))
        })
}

fn factor_is_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            let schema = name.0.len().checked_sub(2).and_then(|at| name.0[at].as_ident());
            let of_catalog =
                schema.is_none_or(|schema| schema.value.eq_ignore_ascii_case("pg_catalog"));
            let table = name.0.last().and_then(ObjectNamePart::as_ident);
            of_catalog
                && table.is_some_and(|table| {
                    EMPTY.iter().any(|empty| table.value.eq_ignore_ascii_case(empty))
                })
        }
        TableFactor::Derived { subquery, .. } => gives_nothing(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            factor_is_empty(&table_with_joins.relation)
                && table_with_joins.joins.iter().all(|join| {
                    matches!(
                        join.join_operator,
                        JoinOperator::Join(_)
                            | JoinOperator::Inner(_)
                            | JoinOperator::Left(_)
                            | JoinOperator::LeftOuter(_)
                    )
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(sql: &str) -> String {
        let mut parsed = parsed(sql).unwrap();
        query(&mut parsed);
        parsed.to_string()
    }

    #[test]
    fn queries_of_keys_have_columns_and_no_rows() {
        assert_eq!(
            changed(
                "SELECT i.indrelid, a.attname AS \"Name\", unnest(i.indkey) FROM pg_catalog.pg_class c \
                 JOIN pg_index i ON i.indrelid = c.oid LEFT JOIN pg_attribute a ON true ORDER BY c.oid"
            ),
            "SELECT CAST(NULL AS TEXT) AS indrelid, CAST(NULL AS TEXT) AS \"Name\", CAST(NULL AS TEXT) AS unnest WHERE false"
        );
        assert!(
            changed("SELECT r.a, (r.k).x FROM (SELECT 1 AS a, information_schema._pg_expandarray(i.indkey) AS k FROM pg_index i) r")
                .ends_with("WHERE false")
        );
        for same in [
            "SELECT indrelid FROM pg_index",
            "SELECT unnest(a) FROM t",
            "SELECT unnest(i.indkey) FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indrelid = c.oid",
            "SELECT array_agg(indkey) FROM pg_index",
            "SELECT *, unnest(indkey) FROM pg_index",
            "SELECT unnest(k) FROM mine.pg_index",
        ] {
            assert_eq!(changed(same), same);
        }
    }
}
