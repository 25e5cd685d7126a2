//! Cutting what is typed or read into statements and the shell's own commands.

use maru_sql::MaruDialect;
use maru_sql::tokenizer::{Token, Tokenizer};

use crate::session::{Session, StatementText};

/// A piece of a script that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Statements that stand in one text, whose first line is line `first_line` of the script.
    Statements { text: String, first_line: usize, statements: Vec<StatementText> },
    /// A line such as `\dt`, with its backslash.
    Command(String),
}

/// Takes lines and gives pieces as soon as they are complete.
#[derive(Debug)]
pub struct Feeder {
    text: String,
    first_line: usize,
    next_line: usize,
}

impl Default for Feeder {
    fn default() -> Self {
        Self { text: String::new(), first_line: 1, next_line: 1 }
    }
}

impl Feeder {
    /// Takes a line without its line break. What is wrong with a statement is told when it is run.
    pub fn line(&mut self, line: &str) -> Option<Piece> {
        self.next_line += 1;
        let is_command = line.trim_start().starts_with('\\');
        // Comments and blank lines may stand before a command of the shell.
        if self.text.trim().is_empty() || (is_command && is_complete(&self.text)) {
            self.text.clear();
            self.first_line = self.next_line - 1;
            if is_command {
                return Some(Piece::Command(line.trim().to_owned()));
            }
        }
        self.text.push_str(line);
        self.text.push('\n');
        if line.contains(';') && is_complete(&self.text) {
            return self.take();
        }
        None
    }

    /// Returns what is left at the end: a last statement may lack its semicolon.
    pub fn rest(&mut self) -> Option<Piece> {
        self.take()
    }

    fn take(&mut self) -> Option<Piece> {
        let text = std::mem::take(&mut self.text);
        let statements = match Session::split(&text) {
            Ok(statements) => statements,
            // An open quote: the engine says so when it gets the text as one statement.
            Err(_) => vec![StatementText { text: text.clone(), offset: 0 }],
        };
        (!statements.is_empty()).then_some(Piece::Statements {
            text,
            first_line: self.first_line,
            statements,
        })
    }
}

/// Splits a whole text, e.g. of `-c`.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut feeder = Feeder::default();
    let mut pieces: Vec<_> = text.lines().filter_map(|line| feeder.line(line)).collect();
    pieces.extend(feeder.rest());
    pieces
}

/// Returns the first words of a statement, in small letters; comments are none.
pub fn words(text: &str, n: usize) -> Vec<String> {
    let tokens = Tokenizer::new(&MaruDialect, text).tokenize().unwrap_or_default();
    let words = tokens.into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    });
    words.take(n).collect()
}

/// Returns whether a text ends after a semicolon, outside of quotes and comments.
///
/// The engine's own splitting decides, so that the shell knows nothing of the syntax: a word put behind a complete
/// text becomes one statement more.
pub fn is_complete(text: &str) -> bool {
    let (Ok(alone), Ok(probed)) = (Session::split(text), Session::split(&format!("{text}\nx")))
    else {
        return false;
    };
    probed.len() == alone.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(piece: &Piece) -> Vec<&str> {
        match piece {
            Piece::Statements { statements, .. } => {
                statements.iter().map(|statement| statement.text.trim()).collect()
            }
            Piece::Command(line) => vec![line],
        }
    }

    #[test]
    fn statements_and_commands_come_in_order_with_their_lines() {
        let script =
            "-- head\n\\x\nSELECT 1;\n\nSELECT ';', $$\n;\n$$; SELECT\n2;\n\\dt a*\nSELECT 3";
        let pieces = pieces(script);
        let found: Vec<_> = pieces.iter().map(texts).collect();
        let expected: Vec<Vec<&str>> = vec![
            vec!["\\x"],
            vec!["SELECT 1"],
            vec!["SELECT ';', $$\n;\n$$", "SELECT\n2"],
            vec!["\\dt a*"],
            vec!["SELECT 3"],
        ];
        assert_eq!(found, expected);
        assert!(matches!(&pieces[2], Piece::Statements { first_line: 5, .. }), "{:?}", pieces[2]);
    }

    #[test]
    fn comments_have_no_words() {
        assert_eq!(words("-- first\nCREATE /* or */ TABLE t (a int)", 3), ["create", "table", "t"]);
        assert!(words("SELECT '", 3).is_empty());
    }

    #[test]
    fn a_text_is_complete_after_its_semicolon() {
        for text in
            ["SELECT 1;", "SELECT 1; -- done", "", "/* a */ SELECT 1 ;\n", "-- only a remark"]
        {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "SELECT $$;", "SELECT 1 /* ;"] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
