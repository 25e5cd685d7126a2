//! Texts that go on in the next line: `'one ' ⏎ 'two'` is `'one two'`. In the same line the second is an error, and not
//! the name of a column. Nor is what stands right behind a zero: `0o17` and `0b11` are no zeros.
//!
//! Source: PostgreSQL 16, section 4.1.2.1.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// Joins them.
///
/// # Errors
/// 42601 at a text right behind another one, and at a number that is octal or binary.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut written: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if let (Token::Word(word), Some(Token::Number(zero, _))) =
            (&token.token, written.last().map(|before| &before.token))
            && zero == "0"
            && word.quote_style.is_none()
            && is_other_base(&word.value)
        {
            let what =
                format!("trailing junk after numeric literal at or near \"0{}\"", word.value);
            return Err(Error::new(ErrorKind::Syntax, what)
                .with_hint("Numbers are written in decimal digits.")
                .with_line_column(
                    token.span.start.line as usize,
                    token.span.start.column as usize,
                ));
        }
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

/// Returns whether a word right behind a zero makes an octal or binary number of it, `0o17`, and not the name of a column.
fn is_other_base(word: &str) -> bool {
    let digits = word.strip_prefix(['o', 'O', 'b', 'B']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit() || digit == b'_')
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
