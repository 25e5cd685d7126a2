//! `VALUES` with queries in them: `VALUES (1, (SELECT max(id) FROM t))`. The planner computes the rows of `VALUES` before anything
//! has been read, so such ones are queries of one row each, put together.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use maru_sql::Statement;
use maru_sql::ast::{
    self, Expr, Ident, Parens, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier,
    VisitMut, VisitorMut,
};

/// # Errors
/// None but broken invariants.
pub(super) fn query(query: &mut Query) -> Result<()> {
    let SetExpr::Values(values) = query.body.as_mut() else { return Ok(()) };
    if !has_query(&mut values.rows) {
        return Ok(());
    }
    let template = template()?;
    let mut whole = None;
    for row in std::mem::take(&mut values.rows) {
        let mut select = template.clone();
        let cells = row.content.into_iter().enumerate().map(|(at, expr)| {
            SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("column{}", at + 1)) }
        });
        select.projection = cells.collect();
        let right = SetExpr::Select(select);
        whole = Some(match whole {
            None => right,
            Some(left) => SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(left),
                right: Box::new(right),
            },
        });
    }
    if let Some(whole) = whole {
        *query.body = whole;
    }
    Ok(())
}

/// Returns a query of one row, to be filled.
fn template() -> Result<Box<Select>> {
    let none = || Error::internal("a row is no query");
    let Statement::Query { statement, .. } = maru_sql::parse("SELECT NULL")? else {
        return Err(none());
    };
    let DfStatement::Statement(statement) = *statement else { return Err(none()) };
    let ast::Statement::Query(query) = *statement else { return Err(none()) };
    match *query.body {
        SetExpr::Select(select) => Ok(select),
        _ => Err(none()),
    }
}

fn has_query(rows: &mut [Parens<Vec<Expr>>]) -> bool {
    struct Found;
    impl VisitorMut for Found {
        type Break = ();

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    let mut cells = rows.iter_mut().flat_map(|row| row.content.iter_mut());
    cells.any(|cell| VisitMut::visit(cell, &mut Found).is_break())
}
