//! Texts that go on in the next line: `'one ' ⏎ 'two'` is `'one two'`. In the same line the second is an error, and not
//! the name of a column.
//!
//! Source: PostgreSQL 16, section 4.1.2.1.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// Joins them.
///
/// # Errors
/// 42601 at a text right behind another one.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut written: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::SingleQuotedString(more) = &token.token else {
            written.push(token);
            continue;
        };
        let space = written.iter().rev().take_while(|token| is_space(token)).count();
        let behind = written.len() - space;
        let (before, between) = written.split_at_mut(behind);
        let (text, readable) = match before.last_mut().map(|token| &mut token.token) {
            Some(Token::SingleQuotedString(text)) => (text, true),
            // What goes on has the escapes of what began, which have been left as they are here.
            Some(Token::EscapedStringLiteral(text)) => (text, !more.contains('\\')),
            _ => {
                written.push(token);
                continue;
            }
        };
        let is_comment = |token: &TokenWithSpan| {
            matches!(token.token, Token::Whitespace(Whitespace::MultiLineComment(_)))
        };
        if !readable || !between.iter().any(ends_a_line) || between.iter().any(is_comment) {
            let near = format!("syntax error at or near \"'{more}'\"");
            return Err(Error::new(ErrorKind::Syntax, near)
                .with_hint(
                    "Texts that stand in two lines become one; in one line join them with ||.",
                )
                .with_line_column(
                    token.span.start.line as usize,
                    token.span.start.column as usize,
                ));
        }
        text.push_str(more);
        written.truncate(behind);
    }
    Ok(written)
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn ends_a_line(token: &TokenWithSpan) -> bool {
    matches!(
        token.token,
        Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. })
    )
}
