//! `FROM catalog.query('…')`: the rows of a query in the source's own language.
//!
//! The planner resolves tables by name, and so the call becomes a name: `catalog."<query>"."…"`.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    FunctionArg, FunctionArgExpr, Ident, ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs,
};

use super::literal;
use crate::catalog::resolve::NATIVE_QUERY;

/// The name of the function, and of its rows where the statement gives them no other.
const FUNCTION: &str = "query";

/// Puts a name in the place of a call.
///
/// # Errors
/// 42601 for a call without exactly one text literal.
pub(super) fn table(table: &mut TableFactor) -> Result<()> {
    let TableFactor::Table { name, alias, args: arguments @ Some(_), .. } = table else {
        return Ok(());
    };
    let [ObjectNamePart::Identifier(catalog), ObjectNamePart::Identifier(function)] =
        name.0.as_slice()
    else {
        return Ok(());
    };
    if !function.value.eq_ignore_ascii_case(FUNCTION) {
        return Ok(());
    }
    let Some(text) = arguments.as_ref().and_then(only_text) else {
        let start = function.span.start;
        return Err(Error::new(
            ErrorKind::Syntax,
            format!("{catalog}.{FUNCTION} takes one text literal"),
        )
        .with_hint(format!("Write {catalog}.{FUNCTION}($$ SELECT … $$)."))
        .with_line_column(start.line as usize, start.column as usize));
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
    Ok(())
}

fn only_text(arguments: &TableFunctionArgs) -> Option<String> {
    match arguments.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => literal(expr).map(str::to_owned),
        _ => None,
    }
}
