//! Texts whose syntax tree can be written as SQL again. Statements that write, and definitions that are kept, are put together from
//! parts of the syntax tree in text; the library writes a quote in a text once if another one, or a backslash, stands before it,
//! and the text would end there.
//!
//! Such texts go on as `E'…'`, which is written faithfully. For names there is no other way to write them.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::Value;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::statement::Statement;
use crate::write::WriteAction;

/// # Errors
/// 42601 for a quote in a text of bits.
pub(super) fn rewrite(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    for token in &mut tokens {
        match &token.token {
            Token::SingleQuotedString(text) | Token::NationalStringLiteral(text)
                if !is_faithful(text) =>
            {
                token.token = Token::EscapedStringLiteral(text.clone());
            }
            // Its quotes are never written twice.
            Token::NationalStringLiteral(text) => {
                token.token = Token::SingleQuotedString(text.clone());
            }
            Token::SingleQuotedByteStringLiteral(text) | Token::HexStringLiteral(text)
                if text.contains('\'') =>
            {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    "a text of bits holds binary or hexadecimal digits alone",
                )
                .with_line_column(
                    token.span.start.line as usize,
                    token.span.start.column as usize,
                ));
            }
            _ => {}
        }
    }
    Ok(tokens)
}

fn is_faithful(text: &str) -> bool {
    let written = Value::SingleQuotedString(text.to_owned()).to_string();
    written == format!("'{}'", text.replace('\'', "''"))
}

/// Refuses names that could not be written again in statements that are.
///
/// # Errors
/// 0A000 with the place of the name.
pub(super) fn check_names(statement: &Statement, names: &[TokenWithSpan]) -> Result<()> {
    let written_again = match statement {
        Statement::Write(write) => matches!(
            write.action,
            WriteAction::Update(_) | WriteAction::Delete(_) | WriteAction::Merge(_)
        ),
        Statement::AlterTable(alter) => alter.keeps_text(),
        Statement::CreateTable(create) => !create.checks.is_empty() || !create.defaults.is_empty(),
        Statement::CreateView(_) | Statement::Model(_) | Statement::Pipeline(_) => true,
        _ => false,
    };
    let Some(name) = names.first().filter(|_| written_again) else { return Ok(()) };
    Err(Error::unsupported(format!("this statement cannot name {}", name.token))
        .with_detail("Two quotes side by side, or one behind a backslash, stand in the name.")
        .with_hint("Queries may name it: give it another name in a view of the source.")
        .with_line_column(name.span.start.line as usize, name.span.start.column as usize))
}

/// Returns the names that could not be written again.
pub(super) fn odd_names(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let odd = |token: &&TokenWithSpan| match &token.token {
        Token::Word(Word { value, quote_style: Some(_), .. }) => {
            value.contains("\"\"") || value.contains("\\\"")
        }
        _ => false,
    };
    tokens.iter().filter(odd).cloned().collect()
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::statement::Statement;

    #[test]
    fn texts_are_written_as_they_were_read() {
        for sql in [
            r"SELECT '\'' OR true --'",
            r"SELECT '\\''', 'a''''b', '''''', '''', '\'",
            r"SELECT N'a'' OR true --'",
            r"SELECT E'a\'b\\', U&'d''\0061', $$a''\'b$$",
        ] {
            let written = |sql: &str| match parse(sql).unwrap() {
                Statement::Query { statement, .. } => statement.to_string(),
                other => panic!("{other:?}"),
            };
            let once = written(sql);
            assert_eq!(written(&once), once, "{sql}");
            assert!(!once.contains("true --'") || once.ends_with("true --'"), "{once}");
        }
        assert_eq!(parse("SELECT B'0'' OR true --'").unwrap_err().sqlstate(), "42601");
    }

    #[test]
    fn names_that_cannot_be_written_again_are_refused_where_they_would_be() {
        for name in [r#""a""""b""#, r#""a\""b""#] {
            parse(&format!("SELECT {name} FROM t")).unwrap();
            for sql in [
                "UPDATE t SET a = {}",
                "DELETE FROM t WHERE {} = 1",
                "CREATE VIEW v AS SELECT {} FROM t",
            ] {
                let sql = sql.replace("{}", name);
                assert_eq!(parse(&sql).unwrap_err().sqlstate(), "0A000", "{sql}");
            }
        }
        parse(r#"UPDATE t SET "a""b" = 1"#).unwrap();
    }
}
