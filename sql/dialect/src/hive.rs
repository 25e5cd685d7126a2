//! Queries of views that Hive and Spark keep, in Maru's words.
//!
//! `hive/words.rs` respells the text: names in backticks, texts with escapes, suffixed numbers. The result is parsed like any
//! statement. `hive/meaning.rs` then lets only that through which means the same in both languages, or changes it until it
//! does. What depends on types (`1 / 2`, `text = 1`) is decided when the query is planned.

mod functions;
mod meaning;
mod words;

use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use sqlparser::ast;

use crate::{Statement, parse};

/// Whose words a view is written in. They share a language, and differ in where NULLs are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Hive, and what writes views for it, as Impala does.
    Hive,
    Spark,
}

/// A query in Maru's words.
#[derive(Debug)]
pub struct ViewQuery {
    pub query: Box<ast::Query>,
    /// Whether its columns are told by `*`, and so depend on what its tables have today.
    pub has_wildcard: bool,
}

/// Reads the query of a view.
///
/// # Errors
/// 0A000 that names what cannot be read, for everything that is not known to mean the same.
pub fn view_query(text: &str, writer: Writer) -> Result<ViewQuery> {
    let text = words::respell(text)?;
    let parsed = parse(text.trim().trim_end_matches(';')).map_err(|error| {
        let said = error.primary();
        Error::unsupported(format!("its query is not understood: {said}"))
    })?;
    let refused = || Error::unsupported("it is not a query");
    let Statement::Query { statement, .. } = parsed else { return Err(refused()) };
    let DfStatement::Statement(statement) = *statement else { return Err(refused()) };
    let ast::Statement::Query(mut query) = *statement else { return Err(refused()) };
    let has_wildcard = meaning::settle(&mut query, writer)?;
    Ok(ViewQuery { query, has_wildcard })
}

#[cfg(test)]
mod tests;
