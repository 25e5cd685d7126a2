//! `SIMILAR TO`: SQL's own patterns, which match the whole text. DataFusion takes them for regular expressions that match
//! anywhere, so they become such.
//!
//! Source: PostgreSQL 16, section 9.7.2.

use maru_core::{Error, Result};
use maru_sql::ast::{BinaryOperator, Expr, Value};

use super::literal;

/// Puts a match with a regular expression in the place of `SIMILAR TO`.
///
/// # Errors
/// 0A000 for a pattern that is not a literal.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let Expr::SimilarTo { negated, expr: text, pattern, escape_char } = expr else {
        return Ok(());
    };
    let escape = match escape_char.as_ref().map(|value| &value.value) {
        None => Some('\\'),
        Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
        Some(_) => None,
    };
    let Some(pattern_text) = literal(pattern) else {
        return Err(Error::unsupported("SIMILAR TO takes its pattern as a text literal")
            .with_hint("Use ~ with a regular expression instead."));
    };
    let regex = regular_expression(pattern_text, escape);
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    let pattern = Expr::value(Value::SingleQuotedString(regex));
    *expr = Expr::BinaryOp { left: text.clone(), op, right: Box::new(pattern) };
    Ok(())
}

fn regular_expression(pattern: &str, escape: Option<char>) -> String {
    let mut regex = String::from("^(?s:");
    let mut in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if Some(character) == escape => push_literal(&mut regex, characters.next()),
            '[' if !in_class => {
                in_class = true;
                regex.push('[');
            }
            ']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            // In a class these are themselves, but `[`, `&` and `~` mean more to the regular expressions below.
            '[' | '&' | '~' | '\\' if in_class => push_literal(&mut regex, Some(character)),
            _ if in_class => regex.push(character),
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '.' | '^' | '$' | '\\' => push_literal(&mut regex, Some(character)),
            _ => regex.push(character),
        }
    }
    regex.push_str(")$");
    regex
}

fn push_literal(regex: &mut String, character: Option<char>) {
    let Some(character) = character else { return };
    if !character.is_alphanumeric() {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_regular_expressions() {
        for (pattern, regex) in [
            ("a%", "^(?s:a.*)$"),
            ("a_c", "^(?s:a.c)$"),
            ("(a|b)+", "^(?s:(a|b)+)$"),
            ("a.b", r"^(?s:a\.b)$"),
            (r"50\%", r"^(?s:50\%)$"),
            ("[0-9_%]{2}", "^(?s:[0-9_%]{2})$"),
        ] {
            assert_eq!(regular_expression(pattern, Some('\\')), regex);
        }
        assert_eq!(regular_expression("50#%", Some('#')), r"^(?s:50\%)$");
    }
}
