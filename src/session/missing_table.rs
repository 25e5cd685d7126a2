//! `missing FROM-clause entry for table "x"`: PostgreSQL's words, and class, for a column of a table that the statement does not read. The planner
//! only tells that the column is not there.

use maru_core::{Error, ErrorKind};
use maru_sql::tokenizer::{Token, Tokenizer};

/// Returns the error in PostgreSQL's words, if the table's name stands before columns alone in the text.
pub(super) fn named(error: Error, sql: &str) -> Error {
    if error.kind() != ErrorKind::UndefinedColumn {
        return error;
    }
    let name = error.primary().split('"').nth(1).unwrap_or_default();
    let Some((table, _)) = name.split_once('.') else { return error };
    if !stands_before_columns_alone(table, sql) {
        return error;
    }
    let what = format!("missing FROM-clause entry for table \"{table}\"");
    Error::new(ErrorKind::UndefinedTable, what)
}

fn stands_before_columns_alone(table: &str, sql: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&maru_sql::MaruDialect, sql).tokenize() else { return false };
    let mut visible =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    let mut found = false;
    while let Some(token) = visible.next() {
        let Token::Word(word) = token else { continue };
        if word.value.eq_ignore_ascii_case(table) {
            if visible.peek() != Some(&&Token::Period) {
                return false;
            }
            found = true;
        }
    }
    found
}
