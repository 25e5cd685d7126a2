//! What PostgreSQL means where DataFusion's planner would read something else, changed in the syntax tree before planning.
//!
//! One walk over the statement; each file of the folder is one such difference.

mod absent;
pub(super) mod arguments;
mod array;
mod catalog;
mod clients;
mod coalesce;
mod columns;
pub(super) mod declared;
mod distinct;
mod fetch;
mod fields;
mod from_names;
mod functions;
mod given;
mod json;
mod json_row;
mod json_rows;
mod keys;
mod literals;
mod moments;
mod native;
mod number;
mod operators;
mod ordered;
mod outer_names;
mod outside;
mod path;
mod psql;
mod recursive;
mod regex;
mod row_comparison;
mod row_in;
mod rows;
mod sample;
mod set_returning;
mod similar;
mod table_function;
mod template;
mod ties;
mod types;
mod using;
mod values;
mod version;
mod windows;
mod with_names;
mod writes;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use maru_sql::ast::{
    Expr, Ident, Query, Select, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};

pub(super) use array::protect;
pub(super) use columns::{MARK, shown, unalias};
pub(super) use literals::uuid;
pub(super) use ordered::keeps_order;

/// Changes a statement so that it is planned as PostgreSQL would.
///
/// # Errors
/// 42601 and 0A000 for what has no such plan, with its position.
pub(super) fn rewrite(statement: &mut DfStatement) -> Result<()> {
    match statement {
        DfStatement::Statement(inner) => {
            match VisitMut::visit(&mut **inner, &mut Rewriter::default()) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(error) => Err(error),
            }
        }
        DfStatement::Explain(explain) => rewrite(&mut explain.statement),
        _ => Ok(()),
    }
}

/// What is done to each expression, after its parts.
const EXPRESSIONS: &[fn(&mut Expr) -> Result<()>] = &[
    types::expression,
    array::expression,
    clients::expression,
    coalesce::expression,
    row_comparison::expression,
    fields::expression,
    regex::expression,
    similar::expression,
    template::expression,
    functions::expression,
    operators::expression,
    json::expression,
    json_rows::expression,
    moments::expression,
    literals::expression,
    number::expression,
];

#[derive(Default)]
struct Rewriter {
    /// Queries that the walk is in.
    depth: usize,
    names: with_names::Scopes,
}

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        self.names.enter(query);
        let refused = writes::query(query).and_then(|()| values::query(query));
        if let Err(error) = refused.and_then(|()| windows::query(query)) {
            return ControlFlow::Break(error);
        }
        recursive::query(query);
        catalog::query(query);
        keys::query(query);
        columns::query(query, self.depth == 1);
        given::query(query, self.depth == 1);
        json_rows::order(query);
        flow(using::order(query).and_then(|()| fetch::query(query)))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        self.names.leave(query);
        if let SetExpr::Values(values) = query.body.as_mut() {
            json::values(&mut values.rows);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        if let Err(error) = version::table(table).and_then(|()| sample::table(table)) {
            return ControlFlow::Break(error);
        }
        outer_names::table(table);
        absent::table(table);
        path::table(table);
        catalog::descriptions(table);
        rows::arrays_of_columns(table);
        if let Err(error) = json_rows::table(table) {
            return ControlFlow::Break(error);
        }
        rows::table(table);
        table_function::table(table);
        flow(native::table(table))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if !psql::before(expr) {
            clients::before(expr);
        }
        array::elements_of_row(expr);
        if let Expr::Subquery(query) = expr {
            // Nobody sees the name of a value.
            given::query(query, true);
        }
        json_rows::before(expr);
        distinct::regroup(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(EXPRESSIONS.iter().try_for_each(|change| change(expr)))
    }

    /// Before anything in it has changed: columns are named after what was written.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let named = from_names::select(select).and_then(|()| using::select(select));
        if let Err(error) = named.and_then(|()| windows::select(select)) {
            return ControlFlow::Break(error);
        }
        columns::select(select, self.depth == 1);
        psql::select(select);
        clients::select(select);
        set_returning::select(select);
        row_in::select(select);
        json_rows::select(select);
        flow(json_row::select(select))
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Returns the text of a text literal.
fn literal(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// Returns a name as it is meant: in small letters, unless it is quoted.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
