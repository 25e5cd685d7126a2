//! `EXCLUDE` of a window's frame. The parser underneath does not know it: `EXCLUDE NO OTHERS` is the frame without it, and the others are
//! refused.

use maru_core::{Error, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Takes `EXCLUDE NO OTHERS` off frames.
///
/// # Errors
/// 0A000 for a frame that leaves rows out.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let visible = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)))
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    let token = |at: usize| visible.get(at).and_then(|at| tokens.get(*at));
    let is = |at: usize, word: &str| {
        matches!(token(at).map(|token| &token.token), Some(Token::Word(found))
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    };
    let ends = |at: usize| matches!(token(at).map(|token| &token.token), Some(Token::RParen));
    let mut dropped = Vec::new();
    for at in 1..visible.len() {
        let is_behind_bound = ["ROW", "PRECEDING", "FOLLOWING"].iter().any(|word| is(at - 1, word));
        if !is(at, "EXCLUDE") || !is_behind_bound {
            continue;
        }
        if is(at + 1, "NO") && is(at + 2, "OTHERS") && ends(at + 3) {
            dropped.extend(visible.iter().skip(at).take(3).copied());
            continue;
        }
        let left_out = if is(at + 1, "CURRENT") && is(at + 2, "ROW") && ends(at + 3) {
            "CURRENT ROW"
        } else if is(at + 1, "GROUP") && ends(at + 2) {
            "GROUP"
        } else if is(at + 1, "TIES") && ends(at + 2) {
            "TIES"
        } else {
            continue;
        };
        let error = Error::unsupported(format!("EXCLUDE {left_out} of a window frame is not supported"))
            .with_hint("Compute with one frame that ends before the row and one that begins behind it: ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING, and 1 FOLLOWING AND UNBOUNDED FOLLOWING.");
        return Err(match token(at) {
            Some(token) => {
                let place = token.span.start;
                error.with_line_column(place.line as usize, place.column as usize)
            }
            None => error,
        });
    }
    if dropped.is_empty() {
        return Ok(tokens);
    }
    let kept = tokens.into_iter().enumerate().filter(|(at, _)| !dropped.contains(at));
    Ok(kept.map(|(_, token)| token).collect())
}
