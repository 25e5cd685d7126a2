//! Statements that are too deep for those who walk over them: chains of operators, arrays in arrays, and calls in calls.
//!
//! The parser counts parentheses and calls itself ([`limits::NESTING_MAX`]), but reads `a AND b AND …` in a loop and leaves a tree
//! as deep as the chain is long. Who walks down that runs out of stack, which ends the process and every session with it.

use maru_core::{Error, ErrorKind, Result, limits};
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Words behind which another expression begins.
const BEGINNINGS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "ON", "WHEN", "THEN", "ELSE", "SET",
    "VALUES", "LIMIT",
];

/// Functions that the parser has words of its own for: what is wrong in their parentheses is read again as the arguments of an
/// ordinary function, and so twice as often for each level (sqlparser 0.62).
const READ_TWICE: &[&str] = &["CEIL", "CONVERT", "FLOOR", "OVERLAY", "SUBSTRING"];

/// # Errors
/// 54000 for a chain of more than `operators_max` operators, for brackets in more than `brackets_max` others, and for
/// [functions that are read twice](READ_TWICE) in more than `calls_max` others. The parser counts all other calls with what is
/// nested.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    // Operators of the expression that is open on each level of parentheses.
    let mut chains = vec![0_usize];
    let mut n_brackets = 0_usize;
    // Of each parenthesis that is open, whether it holds the arguments of a function that is read twice.
    let mut calls = Vec::new();
    let mut n_calls = 0_usize;
    let mut is_named = false;
    for token in tokens {
        if let Token::Whitespace(_) = token.token {
            continue;
        }
        let is_call = std::mem::replace(&mut is_named, is_read_twice(&token.token));
        match &token.token {
            Token::LParen => {
                chains.push(0);
                calls.push(is_call);
                n_calls += usize::from(is_call);
                if n_calls > limits::CALLS_MAX {
                    let what =
                        "calls of ceil, floor, substring, overlay or convert are nested too deeply";
                    return Err(too_deep(what, limits::CALLS_MAX, "levels (calls_max)")
                        .with_hint("Compute the inner ones in a subquery: SELECT f(x) FROM (SELECT g(y) AS x FROM …)."));
                }
            }
            Token::LBracket => {
                chains.push(0);
                n_brackets += 1;
                if n_brackets > limits::BRACKETS_MAX {
                    return Err(too_deep(
                        "arrays are nested too deeply",
                        limits::BRACKETS_MAX,
                        "levels (brackets_max)",
                    ));
                }
            }
            Token::RParen | Token::RBracket => {
                if token.token == Token::RBracket {
                    n_brackets = n_brackets.saturating_sub(1);
                } else if calls.pop() == Some(true) {
                    n_calls -= 1;
                }
                if chains.len() > 1 {
                    chains.pop();
                }
            }
            Token::Comma | Token::SemiColon => end(&mut chains),
            Token::Word(word) if word.quote_style.is_none() => {
                let is = |known: &&str| word.value.eq_ignore_ascii_case(known);
                if ["AND", "OR"].iter().any(is) {
                    count(&mut chains)?;
                } else if BEGINNINGS.iter().any(is) {
                    end(&mut chains);
                }
            }
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Caret
            | Token::Ampersand
            | Token::Pipe
            | Token::StringConcat
            | Token::DoubleColon => count(&mut chains)?,
            _ => {}
        }
    }
    Ok(())
}

fn is_read_twice(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && READ_TWICE.iter().any(|known| word.value.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

fn end(chains: &mut [usize]) {
    if let Some(chain) = chains.last_mut() {
        *chain = 0;
    }
}

fn count(chains: &mut [usize]) -> Result<()> {
    let Some(chain) = chains.last_mut() else { return Ok(()) };
    *chain += 1;
    if *chain > limits::OPERATORS_MAX {
        let what = "an expression has too many operators in a row";
        return Err(too_deep(what, limits::OPERATORS_MAX, "(operators_max)").with_hint(
            "Join a list of values instead: column = ANY (ARRAY[…]), IN (…) or a table of VALUES.",
        ));
    }
    Ok(())
}

fn too_deep(what: &str, limit: usize, of: &str) -> Error {
    Error::new(ErrorKind::LimitExceeded, what).with_detail(format!("The limit is {limit} {of}."))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::parse;

    /// The parser must not read what is wrong twice at each level, or one statement holds a core for ever.
    #[test]
    fn what_is_wrong_deep_inside_is_refused_at_once() {
        let began = Instant::now();
        for (open, close) in [
            ("abs(", ")"),
            ("cast(", " AS text)"),
            ("try_cast(", " AS text)"),
            ("case when a then ", " else b end"),
            ("case ", " when 1 then 2 end"),
            ("array(select ", ")"),
            ("not (", ")"),
            ("coalesce(a, ", ")"),
            ("extract(day from ", ")"),
            ("position(a in ", ")"),
            ("trim(both from ", ")"),
            ("exists (select ", ")"),
            ("current_timestamp(", ")"),
            ("sum(a) filter (where ", ")"),
            ("sum(a) over (order by ", ")"),
            ("a in (select b from c where ", ")"),
            ("(select ", ")"),
            ("row(a, ", ")"),
            ("f(a => ", ")"),
        ] {
            for inner in ["a b c d", "select a b c d from"] {
                let sql = format!("SELECT {}{inner}{}", open.repeat(40), close.repeat(40));
                assert!(parse(&sql).is_err(), "{sql}");
            }
        }
        for (open, close) in [("substring(", " from 1)"), ("overlay(", " placing 'a' from 1)")] {
            let sql = format!("SELECT {}a b c{}", open.repeat(12), close.repeat(12));
            assert!(parse(&sql).is_err(), "{sql}");
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }

    #[test]
    fn long_chains_and_deep_arrays_are_refused() {
        let chain = |n: usize| format!("SELECT 1 WHERE {}", vec!["1=1"; n].join(" AND "));
        assert!(parse(&chain(2000)).is_ok());
        for sql in [
            chain(10_000),
            format!("SELECT {}", vec!["'a'"; 20_000].join("||")),
            format!("SELECT {}1{}", "ARRAY[".repeat(3000), "]".repeat(3000)),
            format!("SELECT {}1{}", "floor (".repeat(13), ")".repeat(13)),
            format!("SELECT {}1{}", "abs (".repeat(101), ")".repeat(101)),
            format!("SELECT {}", "(".repeat(1_000_000)),
        ] {
            assert_eq!(parse(&sql).unwrap_err().sqlstate(), "54000");
        }
        assert!(parse(&format!("SELECT {}1{}", "abs(".repeat(60), ")".repeat(60))).is_ok());
        assert!(parse(&format!("SELECT {}1{}", "floor(".repeat(12), ")".repeat(12))).is_ok());
        // As long as it likes, where it is not deep.
        assert!(parse(&format!("SELECT {}", vec!["1+1"; 5000].join(","))).is_ok());
    }
}
