//! `TRIM(BOTH FROM text)`, which takes blanks away: the parser knows it without its `FROM`.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::versions::{is_space, is_word};

const SIDES: &[&str] = &["both", "leading", "trailing"];

/// Leaves out a `FROM` before which no characters are named.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "trim")) {
        return tokens;
    }
    let mut written: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if !(is_word(&token.token, "from") && begins_a_trim(&written)) {
            written.push(token);
        }
    }
    written
}

/// Returns whether tokens end with `TRIM (` or `TRIM ( side`.
fn begins_a_trim(tokens: &[TokenWithSpan]) -> bool {
    let mut last = tokens.iter().rev().filter(|token| !is_space(token)).map(|token| &token.token);
    let mut next = last.next();
    if next.is_some_and(|token| SIDES.iter().any(|side| is_word(token, side))) {
        next = last.next();
    }
    next == Some(&Token::LParen) && last.next().is_some_and(|token| is_word(token, "trim"))
}
