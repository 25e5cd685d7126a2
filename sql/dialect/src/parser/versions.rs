//! `FROM t VERSION AS OF 3`, `FROM t TIMESTAMP AS OF '2026-11-25'`: a table as it was.
//!
//! A moment may be reckoned from `now()` as well.
//!
//! PostgreSQL's dialect has no such words, and so they are read as arguments, which a view keeps as well:
//! `t(version_as_of => 3)`. The words can stand nowhere else: no other text goes on with a literal after `AS OF`.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// The argument that a version becomes.
pub const VERSION_AS_OF: &str = "version_as_of";

/// The argument that a moment becomes.
pub const TIMESTAMP_AS_OF: &str = "timestamp_as_of";

/// The words, and the argument they become.
const FORMS: &[(&[&str], &str)] = &[
    (&["for", "system_time", "as", "of"], TIMESTAMP_AS_OF),
    (&["for", "timestamp", "as", "of"], TIMESTAMP_AS_OF),
    (&["for", "version", "as", "of"], VERSION_AS_OF),
    (&["for", "system_version", "as", "of"], VERSION_AS_OF),
    (&["timestamp", "as", "of"], TIMESTAMP_AS_OF),
    (&["version", "as", "of"], VERSION_AS_OF),
];

/// Puts arguments in the place of the words.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "of")) {
        return tokens;
    }
    let mut written = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let found = FORMS.iter().find_map(|(words, name)| {
            let after_name = last_visible(&written).is_some_and(ends_a_name);
            let literal = after_name.then(|| after(&tokens, at, words)).flatten()?;
            let end = end_of_literal(&tokens, literal).or_else(|| match *name {
                TIMESTAMP_AS_OF => end_of_now(&tokens, literal),
                _ => None,
            });
            Some((literal, *name, end?))
        });
        let Some((literal, name, end)) = found else {
            written.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let of = |token: Token| TokenWithSpan { token, span: tokens[at].span };
        let word = Word { value: name.to_owned(), quote_style: None, keyword: NO_KEYWORD };
        written.extend([of(Token::LParen), of(Token::Word(word)), of(Token::RArrow)]);
        written.extend(tokens[literal..end].iter().cloned());
        written.push(TokenWithSpan { token: Token::RParen, span: tokens[end - 1].span });
        at = end;
    }
    written
}

const NO_KEYWORD: sqlparser::keywords::Keyword = sqlparser::keywords::Keyword::NoKeyword;

pub(super) fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn last_visible(tokens: &[TokenWithSpan]) -> Option<&Token> {
    tokens.iter().rev().find(|token| !is_space(token)).map(|token| &token.token)
}

fn ends_a_name(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::SingleQuotedString(_))
}

/// Returns where the next visible token stands.
fn visible(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|at| !is_space(&tokens[*at]))
}

pub(super) fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Returns what stands after `words`, which begin at `at`.
fn after(tokens: &[TokenWithSpan], mut at: usize, words: &[&str]) -> Option<usize> {
    for (n, wanted) in words.iter().enumerate() {
        if n > 0 {
            at = visible(tokens, at)?;
        }
        if !is_word(&tokens.get(at)?.token, wanted) {
            return None;
        }
        at += 1;
    }
    visible(tokens, at)
}

/// Returns the end of a number, a text, or a text with its type in front; `None` if there is none of these.
fn end_of_literal(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    match &tokens[at].token {
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => Some(at + 1),
        token if ["timestamp", "timestamptz", "date"].iter().any(|word| is_word(token, word)) => {
            let text = visible(tokens, at + 1)?;
            matches!(tokens[text].token, Token::SingleQuotedString(_)).then_some(text + 1)
        }
        _ => None,
    }
}

/// Returns the end of `now()` and of the intervals that are added to it or taken from it; `None` if there is none.
fn end_of_now(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let token = &tokens[at].token;
    let mut end = if matches!(token, Token::LParen) {
        let inner = end_of_now(tokens, visible(tokens, at + 1)?)?;
        end_of(tokens, inner, &Token::RParen)?
    } else if is_word(token, "current_timestamp") {
        at + 1
    } else if NOW.iter().any(|word| is_word(token, word)) {
        let open = end_of(tokens, at + 1, &Token::LParen)?;
        end_of(tokens, open, &Token::RParen)?
    } else {
        return None;
    };
    while let Some(after) = end_of_interval(tokens, end) {
        end = after;
    }
    Some(end)
}

/// Functions that give the beginning of a statement.
const NOW: [&str; 3] = ["now", "statement_timestamp", "transaction_timestamp"];

/// Returns the end of `wanted` if it comes next.
fn end_of(tokens: &[TokenWithSpan], from: usize, wanted: &Token) -> Option<usize> {
    let at = visible(tokens, from)?;
    (tokens[at].token == *wanted).then_some(at + 1)
}

/// Returns the end of `+ interval '…'` or `- interval '…'` if that comes next.
fn end_of_interval(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let sign =
        end_of(tokens, from, &Token::Minus).or_else(|| end_of(tokens, from, &Token::Plus))?;
    let word = visible(tokens, sign)?;
    let text = visible(tokens, word + 1)?;
    let is_interval = is_word(&tokens[word].token, "interval")
        && matches!(tokens[text].token, Token::SingleQuotedString(_));
    is_interval.then_some(text + 1)
}

#[cfg(test)]
mod tests {
    use crate::MaruDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let tokens = Tokenizer::new(&MaruDialect, sql).tokenize_with_location().unwrap();
        rewrite(tokens).iter().map(|token| token.token.to_string()).collect()
    }

    #[test]
    fn puts_arguments_in_the_place_of_the_words() {
        for (sql, expected) in [
            ("FROM t VERSION AS OF 3 a", "FROM t (version_as_of=>3) a"),
            ("FROM a.b.\"T\"  version  as of 3,u", "FROM a.b.\"T\"  (version_as_of=>3),u"),
            (
                "FROM 's3://b/t' TIMESTAMP AS OF '2026-01-01'",
                "FROM 's3://b/t' (timestamp_as_of=>'2026-01-01')",
            ),
            (
                "FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01'",
                "FROM t (timestamp_as_of=>TIMESTAMP '2026-01-01')",
            ),
            ("FROM t FOR VERSION AS OF $1", "FROM t (version_as_of=>$1)"),
            ("FROM t TIMESTAMP AS OF now() a", "FROM t (timestamp_as_of=>now()) a"),
            (
                "FROM t TIMESTAMP AS OF now ( ) - interval '1 day' + INTERVAL '2 h' a, u",
                "FROM t (timestamp_as_of=>now ( ) - interval '1 day' + INTERVAL '2 h') a, u",
            ),
            (
                "FROM t TIMESTAMP AS OF (current_timestamp - interval '1 day') WHERE a - 1 > 0",
                "FROM t (timestamp_as_of=>(current_timestamp - interval '1 day')) WHERE a - 1 > 0",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }

    #[test]
    fn leaves_everything_else() {
        for sql in [
            "SELECT version AS of FROM t",
            "SELECT 'VERSION AS OF 3'",
            "SELECT timestamp AS of, 3",
            "SELECT \"version\" as of 3",
            "SELECT 1 FROM timestamp AS of (now, b)",
            "SELECT 1 FROM t VERSION AS OF now()",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
    }
}
