//! Statements that write rows within a query: they are statements of their own here.

use maru_core::{Error, Result};
use maru_sql::ast::{Query, SetExpr};

/// # Errors
/// 0A000
pub(super) fn query(query: &Query) -> Result<()> {
    let what = match query.body.as_ref() {
        SetExpr::Insert(_) => "INSERT",
        SetExpr::Update(_) => "UPDATE",
        SetExpr::Delete(_) => "DELETE",
        SetExpr::Merge(_) => "MERGE",
        _ => return Ok(()),
    };
    if query.with.is_some() {
        return Err(Error::unsupported(format!("{what} behind WITH is not supported"))
            .with_hint("Write the queries where they are read: FROM (SELECT …) AS name."));
    }
    Err(Error::unsupported(format!("{what} inside of another statement is not supported"))
        .with_hint("Run it as a statement of its own; with RETURNING it tells of its rows."))
}
