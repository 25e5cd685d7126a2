//! Cuts a text at its top-level semicolons.

use crate::MaruDialect;
use maru_core::{Error, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Without the semicolon and without white space around it.
    pub text: String,
    /// Characters before it in the whole text.
    pub offset: usize,
}

/// Returns the statements of `sql`; empty ones, and those that are only comments, are left out.
///
/// # Errors
/// 42601 with its position for text that cannot be cut into words: an open quote, an open comment.
pub fn split(sql: &str) -> Result<Vec<Piece>> {
    let tokens = Tokenizer::new(&MaruDialect, sql).tokenize_with_location().map_err(|error| {
        Error::new(
            maru_core::ErrorKind::Syntax,
            format!("syntax error: {}", lower_first(&error.message)),
        )
        .with_line_column(error.location.line as usize, error.location.column as usize)
        .locate(sql, 0)
    })?;
    let chars = sql.chars().collect::<Vec<_>>();
    let lines = line_starts(&chars);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut has_words = false;
    let mut steps = Body::default();
    for TokenWithSpan { token, span } in &tokens {
        match token {
            Token::SemiColon if steps.open => steps.saw(token),
            Token::SemiColon => {
                let end = lines[span.start.line as usize - 1] + span.start.column as usize - 1;
                if has_words {
                    pieces.push(piece(&chars, start, end));
                }
                start = end + 1;
                has_words = false;
                steps = Body::default();
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => {
                has_words = true;
                steps.saw(token);
            }
        }
    }
    if has_words {
        pieces.push(piece(&chars, start, chars.len()));
    }
    Ok(pieces)
}

/// Whether the steps of a `CREATE PIPELINE … AS BEGIN step; … END` are open: their semicolons end no statement.
#[derive(Default)]
struct Body {
    /// Lower case, as many as tell.
    first: Vec<String>,
    last: String,
    open: bool,
}

impl Body {
    fn saw(&mut self, token: &Token) {
        let text = match token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            Token::SemiColon => ";".to_owned(),
            _ => String::new(),
        };
        if self.first.len() < 4 {
            self.first.push(text.clone());
        }
        let first = self.first.iter().map(String::as_str).collect::<Vec<_>>();
        let is_pipeline = matches!(
            first.as_slice(),
            ["create", "pipeline", ..] | ["create", "or", "replace", "pipeline"]
        );
        match (text.as_str(), self.last.as_str()) {
            ("begin", "as") if is_pipeline => self.open = true,
            // The END of a CASE comes after something else.
            ("end", ";" | "begin") => self.open = false,
            _ => {}
        }
        self.last = text;
    }
}

fn piece(chars: &[char], mut start: usize, mut end: usize) -> Piece {
    while start < end && chars[start].is_whitespace() {
        start += 1;
    }
    while end > start && chars[end - 1].is_whitespace() {
        end -= 1;
    }
    Piece { text: chars[start..end].iter().collect(), offset: start }
}

fn line_starts(chars: &[char]) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(i, _)| i + 1));
    starts
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(String, usize)> {
        split(sql).unwrap().into_iter().map(|piece| (piece.text, piece.offset)).collect()
    }

    #[test]
    fn cuts_at_top_level_semicolons_only() {
        assert_eq!(
            texts("SELECT ';' ; -- ; no\n SELECT $$a;b$$;;"),
            vec![("SELECT ';'".to_owned(), 0), ("-- ; no\n SELECT $$a;b$$".to_owned(), 13)]
        );
    }

    #[test]
    fn offsets_count_characters_across_lines() {
        assert_eq!(texts("SELECT '가';\n\n  SELECT 2")[1], ("SELECT 2".to_owned(), 15));
    }

    #[test]
    fn comments_alone_are_no_statement() {
        assert!(texts("-- nothing\n/* here */ ;").is_empty());
    }

    #[test]
    fn open_quote_has_a_position() {
        let error = split("SELECT 'abc").unwrap_err();
        assert_eq!((error.sqlstate(), error.position()), ("42601", Some(8)));
    }
}
