//! `(value).name`: a field of a row value. The planner knows it as `value['name']`.
//!
//! Source: PostgreSQL 16, section 8.16.3.

use maru_core::Result;
use maru_sql::ast::{AccessExpr, Expr, Subscript, Value};

/// Puts a subscript in the place of each dot.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return Ok(()) };
    // `t.name[1]` is an element of a column of `t`; a field's value stands in parentheses.
    if matches!(root.as_ref(), Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
        return Ok(());
    }
    for access in access_chain {
        let AccessExpr::Dot(Expr::Identifier(name)) = access else { continue };
        let name = match name.quote_style {
            Some(_) => name.value.clone(),
            None => name.value.to_lowercase(),
        };
        let index = Expr::value(Value::SingleQuotedString(name));
        *access = AccessExpr::Subscript(Subscript::Index { index });
    }
    Ok(())
}
