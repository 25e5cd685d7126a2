//! `SELECT * FROM v` of a view, a query or a WITH query that has an order: the rows come in that order, as people expect of PostgreSQL.

use datafusion::sql::parser::Statement as DfStatement;
use maru_sql::ast::{GroupByExpr, Query, SetExpr, Statement, TableFactor};

/// Returns whether a statement passes on the rows of one relation, in whose query the planner is to keep the order.
pub(in crate::session) fn keeps_order(statement: &DfStatement) -> bool {
    match statement {
        DfStatement::Statement(inner) => {
            matches!(inner.as_ref(), Statement::Query(query) if passes_on(query))
        }
        DfStatement::Explain(explain) => keeps_order(&explain.statement),
        _ => false,
    }
}

fn passes_on(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_grouped = !matches!(&select.group_by,
        GroupByExpr::Expressions(keys, modifiers) if keys.is_empty() && modifiers.is_empty());
    let [from] = select.from.as_slice() else { return false };
    let reads_one = from.joins.is_empty()
        && matches!(
            from.relation,
            TableFactor::Table { args: None, .. } | TableFactor::Derived { .. }
        );
    query.order_by.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && !is_grouped
        && reads_one
}
