//! `TABLE name`: PostgreSQL's short form of `SELECT * FROM name`.
//!
//! The parser keeps of such a name what a table of one schema needs. So the long form takes its place before it reads.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Puts `SELECT * FROM` in the place of `TABLE` where a query begins and a name follows.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_table = |token: &Token| is_word(token, &["table"]);
    if !tokens.iter().any(|token| is_table(&token.token)) {
        return tokens;
    }
    let visible = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    let mut written: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    for (at, token) in tokens.iter().enumerate() {
        let mut before = written.iter().rev().filter(visible).map(|token| &token.token);
        let begins = match before.next() {
            None => true,
            Some(token)
                if is_word(token, &["explain", "analyze", "union", "intersect", "except"]) =>
            {
                true
            }
            Some(token) if is_word(token, &["all", "distinct"]) => {
                before.next().is_some_and(|token| is_word(token, &["union", "intersect", "except"]))
            }
            Some(Token::LParen) => before.next().is_some_and(|token| is_word(token, &["copy"])),
            Some(Token::Word(_) | Token::RParen) => {
                let before = written.iter().filter(visible).map(|token| &token.token);
                is_table(&token.token) && ends_a_target(&before.collect::<Vec<_>>())
            }
            Some(_) => false,
        };
        let next = tokens[at + 1..].iter().find(visible).map(|token| &token.token);
        let named = matches!(next, Some(Token::Word(_)));
        if !(begins && named && is_table(&token.token)) {
            written.push(token.clone());
            continue;
        }
        let of = |token: Token| TokenWithSpan { token, span: tokens[at].span };
        written.extend([
            of(word("SELECT", Keyword::SELECT)),
            of(Token::Mul),
            of(word("FROM", Keyword::FROM)),
        ]);
    }
    written
}

/// Returns whether tokens are `INSERT INTO name [AS alias] [(columns)]`.
fn ends_a_target(before: &[&Token]) -> bool {
    const QUERIES: [&str; 6] = ["select", "values", "with", "default", "table", "on"];
    let Some(start) = before.iter().rposition(|token| is_word(token, &["into", "overwrite"]))
    else {
        return false;
    };
    let verb = start.checked_sub(1).and_then(|at| before.get(at));
    let mut target = &before[start + 1..];
    if let [first, rest @ ..] = target
        && is_word(first, &["table"])
    {
        target = rest;
    }
    let is_part = |token: &&Token| {
        let named = matches!(token, Token::Word(_) | Token::Period | Token::Comma);
        let list = matches!(token, Token::LParen | Token::RParen);
        (named || list) && !is_word(token, &QUERIES)
    };
    let n_open = target.iter().filter(|token| matches!(token, Token::LParen)).count();
    let n_closed = target.iter().filter(|token| matches!(token, Token::RParen)).count();
    verb.is_some_and(|verb| is_word(verb, &["insert"]))
        && !target.is_empty()
        && target.iter().all(is_part)
        && n_open == n_closed
}

fn word(text: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: text.to_owned(), quote_style: None, keyword })
}

fn is_word(token: &Token, wanted: &[&str]) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && wanted.iter().any(|wanted| word.value.eq_ignore_ascii_case(wanted)))
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
    fn queries_begin_with_it_and_nothing_else_changes() {
        for (sql, expected) in [
            ("table a.b.\"C\" order by 1", "SELECT*FROM a.b.\"C\" order by 1"),
            ("TABLE a UNION ALL TABLE b", "SELECT*FROM a UNION ALL SELECT*FROM b"),
            ("EXPLAIN TABLE a", "EXPLAIN SELECT*FROM a"),
            ("COPY (TABLE a) TO STDOUT", "COPY (SELECT*FROM a) TO STDOUT"),
            ("ALTER TABLE a ENABLE", "ALTER TABLE a ENABLE"),
            ("DESCRIBE TABLE a", "DESCRIBE TABLE a"),
            ("SELECT \"table\" FROM t", "SELECT \"table\" FROM t"),
            ("SELECT f(TABLE a)", "SELECT f(TABLE a)"),
            ("INSERT INTO a TABLE b", "INSERT INTO a SELECT*FROM b"),
            (
                "INSERT INTO s.a AS x (k, \"table\") TABLE b EXCEPT ALL TABLE c",
                "INSERT INTO s.a AS x (k, \"table\") SELECT*FROM b EXCEPT ALL SELECT*FROM c",
            ),
            ("INSERT OVERWRITE TABLE a TABLE b", "INSERT OVERWRITE TABLE a SELECT*FROM b"),
            ("INSERT INTO TABLE a SELECT 1", "INSERT INTO TABLE a SELECT 1"),
            ("INSERT INTO a SELECT table FROM b", "INSERT INTO a SELECT table FROM b"),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }
}
