//! `FROM catalog.query('…')`: the rows of a query in the source's own language.
//!
//! The planner resolves tables by name, and so the call becomes a name: `catalog."<query>"."…"`.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectNamePart, TableAlias, TableFactor,
    TableFunctionArgs, Value, VisitMut, VisitorMut,
};

use crate::catalog::resolve::NATIVE_QUERY;

/// The name of the function, and of its rows where the statement gives them no other.
const FUNCTION: &str = "query";

/// Puts names in the place of calls.
///
/// # Errors
/// 42601 for a call without exactly one text literal.
pub(super) fn rewrite(statement: &mut DfStatement) -> Result<()> {
    match statement {
        DfStatement::Statement(inner) => match VisitMut::visit(&mut **inner, &mut Calls) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        },
        DfStatement::Explain(explain) => rewrite(&mut explain.statement),
        _ => Ok(()),
    }
}

struct Calls;

impl VisitorMut for Calls {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args: arguments @ Some(_), .. } = table else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(catalog), ObjectNamePart::Identifier(function)] =
            name.0.as_slice()
        else {
            return ControlFlow::Continue(());
        };
        if !function.value.eq_ignore_ascii_case(FUNCTION) {
            return ControlFlow::Continue(());
        }
        let Some(text) = arguments.as_ref().and_then(only_text) else {
            let start = function.span.start;
            return ControlFlow::Break(
                Error::new(
                    ErrorKind::Syntax,
                    format!("{catalog}.{FUNCTION} takes one text literal"),
                )
                .with_hint(format!("Write {catalog}.{FUNCTION}($$ SELECT … $$)."))
                .with_line_column(start.line as usize, start.column as usize),
            );
        };
        let quoted = |text: &str| ObjectNamePart::Identifier(Ident::with_quote('"', text));
        name.0 = vec![name.0[0].clone(), quoted(NATIVE_QUERY), quoted(&text)];
        *arguments = None;
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::new(FUNCTION),
            columns: Vec::new(),
            at: None,
        });
        ControlFlow::Continue(())
    }
}

fn only_text(arguments: &TableFunctionArgs) -> Option<String> {
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] =
        arguments.args.as_slice()
    else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
        Value::DollarQuotedString(text) => Some(text.value.clone()),
        _ => None,
    }
}
