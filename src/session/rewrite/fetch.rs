//! `FETCH FIRST n ROWS ONLY`, the standard's way to write `LIMIT n`; with ties it is more than that (`ties.rs`).

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{Expr, Fetch, LimitClause, Query, Value};

use super::ties;

/// Makes a `LIMIT` of it.
///
/// # Errors
/// 0A000 for `PERCENT`, 42601 beside a `LIMIT`; those of `ties.rs`.
pub(super) fn query(query: &mut Query) -> Result<()> {
    let Some(Fetch { with_ties, percent, quantity }) = query.fetch.take() else { return Ok(()) };
    if percent {
        return Err(Error::unsupported("FETCH … PERCENT is not supported yet")
            .with_hint("Number the rows in a subquery: rank() OVER (ORDER BY …)."));
    }
    let rows = quantity.unwrap_or_else(|| Expr::value(Value::Number("1".to_owned(), false)));
    if with_ties {
        return ties::query(query, rows);
    }
    let clause = query.limit_clause.get_or_insert(LimitClause::LimitOffset {
        limit: None,
        offset: None,
        limit_by: Vec::new(),
    });
    match clause {
        LimitClause::LimitOffset { limit: limit @ None, .. } => {
            *limit = Some(rows);
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::Syntax, "LIMIT and FETCH stand side by side")
            .with_hint("Leave one of them.")),
    }
}
