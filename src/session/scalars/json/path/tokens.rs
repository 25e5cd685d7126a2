//! Words, numbers and signs of a path of SQL/JSON.

use maru_core::{Error, ErrorKind, Result};

use super::super::Json;
use super::super::value::numeric;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Variable(String),
    Number(String),
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "**", "&&", "||", "==", "!=", "<>", "<=", ">=", "$", "@", ".", "[", "]", "(", ")", "{", "}",
    ",", "?", "*", "+", "-", "/", "%", "!", "<", ">", "=",
];

pub(super) fn syntax(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Syntax, "syntax error in jsonpath").with_detail(detail)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || (!c.is_ascii() && !c.is_whitespace())
}

/// Cuts a path into its words and signs.
///
/// # Errors
/// 42601 for a text or a number that does not end, and for a sign that no path has.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_whitespace() {
            rest = rest.trim_start();
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").ok_or_else(|| syntax("A comment does not end."))?;
            rest = &rest[end + 2..];
        } else if c == '"' {
            let (quoted, after) = quoted(rest)?;
            found.push(Token::Quoted(quoted));
            rest = after;
        } else if c == '$' {
            rest = &rest[1..];
            if rest.starts_with('"') {
                let (name, after) = quoted(rest)?;
                found.push(Token::Variable(name));
                rest = after;
                continue;
            }
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (name, after) = rest.split_at(length);
            found.push(match name {
                "" => Token::Sign("$"),
                name => Token::Variable(name.to_owned()),
            });
            rest = after;
        } else if c.is_ascii_digit()
            || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let (number, after) = number(rest)?;
            found.push(Token::Number(number));
            rest = after;
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            found.push(Token::Word(word.to_owned()));
            rest = after;
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| syntax(format!("\"{c}\" is not expected.")))?;
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
    }
    Ok(found)
}

/// Reads a text in quotes, whose escapes are those of JSON.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    let (end, _) = end.ok_or_else(|| syntax("A text in quotes does not end."))?;
    let (string, rest) = text.split_at(end + 1);
    match Json::parse(string) {
        Ok(Json::String(string)) => Ok((string, rest)),
        _ => Err(syntax(format!("{string} has an escape sequence that is invalid."))),
    }
}

fn number(text: &str) -> Result<(String, &str)> {
    let digits = |from: &str| from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
    let mut end = digits(text);
    let whole = &text[..end];
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if text[end..].starts_with(['e', 'E']) {
        let signed = usize::from(text[end + 1..].starts_with(['+', '-']));
        let part = digits(&text[end + 1 + signed..]);
        if part == 0 {
            return Err(syntax("trailing junk after numeric literal"));
        }
        end += 1 + signed + part;
    }
    let (number, rest) = text.split_at(end);
    if rest.starts_with(is_word) || (whole.len() > 1 && whole.starts_with('0')) {
        return Err(syntax("trailing junk after numeric literal"));
    }
    let number = if number.starts_with('.') { format!("0{number}") } else { number.to_owned() };
    Ok((numeric(&number.replace(".e", ".0e").replace(".E", ".0E"))?, rest))
}
