//! Operators with a sign right behind them: `a >=-1` is `a >= -1`. The tokenizer takes `>=-` for one operator.
//!
//! Source: PostgreSQL 16, section 4.1.3: the name of an operator ends in `+` or `-` only if there is one of
//! ``~ ! @ # % ^ & | ` ?`` in it, and a comment ends it.

use crate::MaruDialect;
use datafusion::error::DataFusionError;
use maru_core::{Error, ErrorKind, Result};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

/// Takes signs off the operators before them.
///
/// # Errors
/// 42883 for an operator that may end in a sign, since there is none; 42601 for a comment right behind an operator.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut written = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::CustomBinaryOperator(name) = &token.token else {
            written.push(token);
            continue;
        };
        let start = token.span.start;
        let place =
            |error: Error| error.with_line_column(start.line as usize, start.column as usize);
        if name.contains("--") || name.contains("/*") {
            let near = format!("syntax error at or near \"{name}\"");
            return Err(place(
                Error::new(ErrorKind::Syntax, near)
                    .with_hint("Put a blank between an operator and a comment."),
            ));
        }
        let base = name.trim_end_matches(['+', '-']);
        // A sign alone is an operator itself.
        let base = if base.is_empty() { name.get(..1).unwrap_or_default() } else { base };
        let signs = name.get(base.len()..).unwrap_or_default();
        if signs.is_empty() {
            written.push(token);
            continue;
        }
        if name.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
            let what = format!("operator does not exist: {name}");
            return Err(place(
                Error::new(ErrorKind::UndefinedFunction, what)
                    .with_hint("Put a blank between the operator and the sign."),
            ));
        }
        let mut column = start.column;
        for part in std::iter::once(base).chain(signs.split_inclusive(['+', '-'])) {
            let found = Tokenizer::new(&MaruDialect, part)
                .tokenize()
                .map_err(|error| DataFusionError::from(ParserError::from(error)))?;
            let from = Location { line: start.line, column };
            column += part.chars().count() as u64;
            let span = Span { start: from, end: Location { line: start.line, column } };
            written.extend(found.into_iter().map(|token| TokenWithSpan { token, span }));
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::statement::Statement;

    #[test]
    fn signs_are_no_parts_of_operators() {
        for (sql, expected) in [
            ("SELECT 2>=-1, 2<>-1, 2>=+1, 2<=-x", "SELECT 2 >= -1, 2 <> -1, 2 >= +1, 2 <= -x"),
            ("SELECT a->-1, a->>-1, a>>-1", "SELECT a -> -1, a ->> -1, a >> -1"),
            ("SELECT a>-1, a=-+1, a-+1", "SELECT a > -1, a = -+1, a - +1"),
            ("SELECT a@>b, a#-b", "SELECT a @> b, a #- b"),
        ] {
            let Statement::Query { statement, .. } = parse(sql).unwrap() else { panic!("{sql}") };
            assert_eq!(statement.to_string(), expected);
        }
    }

    #[test]
    fn other_operators_end_where_they_end() {
        for (sql, sqlstate) in [
            ("SELECT 'a'||-1", "42883"),
            ("SELECT a %-2 FROM t", "42883"),
            ("SELECT a >/* */ 1", "42601"),
            ("SELECT a >=--1\n 2", "42601"),
        ] {
            assert_eq!(parse(sql).unwrap_err().sqlstate(), sqlstate, "{sql}");
        }
    }
}
