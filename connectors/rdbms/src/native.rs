//! Whether a native query stays inside the parentheses it is put in.
//!
//! A read-only transaction keeps tables as they are, but not the server's disk: `INTO OUTFILE` of MySQL and `VACUUM INTO` of SQLite
//! write a file. They are no danger in a derived table, where both refuse them, unless a query closes the parenthesis and goes on
//! by itself.

use maru_core::{Error, ErrorKind};

/// Adds to what a database says of a query that it could not read what kind of query is wanted, if it may have been another.
pub(crate) fn one_select_wanted(query: &str, error: Error) -> Error {
    let begins = query.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let word = begins.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let reads =
        ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|known| known.eq_ignore_ascii_case(word))
            || begins.starts_with(['-', '/', '#']);
    let unread = matches!(
        error.kind(),
        ErrorKind::RemoteFailed | ErrorKind::RemoteTableNotFound | ErrorKind::InvalidStatement
    );
    if !unread || (reads && !query.contains(';') && !error.message().contains("syntax")) {
        return error;
    }
    error.or_hint(|| {
        Some("query() takes one SELECT, as it can stand in FROM ( … ): no second statement, no INSERT, UPDATE, DELETE, SHOW or CALL.".to_owned())
    })
}

/// How a database reads what is no plain code.
pub(crate) struct Lexis {
    /// A backslash takes the next character into a text.
    escapes: bool,
    /// `#` begins a comment, and `--` does so only before a blank.
    mysql_comments: bool,
    /// `[` begins a name.
    bracketed_names: bool,
    /// `;` begins another statement, and what begins with one of `?$@:#` is a parameter. `$a(')` is one of SQLite, quote and all.
    statements: bool,
}

/// A session with a plain `sql_mode`. A second statement or a parameter is seen when the query is prepared.
pub(crate) const MYSQL: Lexis =
    Lexis { escapes: true, mysql_comments: true, bracketed_names: false, statements: false };

/// SQLite, whose driver takes several statements at once.
pub(crate) const SQLITE: Lexis =
    Lexis { escapes: false, mysql_comments: false, bracketed_names: true, statements: true };

impl Lexis {
    /// Checks a query that is to stand in `FROM ( … )`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self, query: &str) -> Result<(), &'static str> {
        let mut rest = query.as_bytes();
        let mut depth = 0_usize;
        while let [first, tail @ ..] = rest {
            rest = match (first, tail) {
                (b'\'' | b'"', _) => after_quote(tail, *first, self.escapes),
                (b'`', _) => after_quote(tail, b'`', false),
                (b'[', _) if self.bracketed_names => after_quote(tail, b']', false),
                (b'#', _) if self.mysql_comments => after_line(tail),
                (b'-', [b'-', next @ ..]) if self.is_comment(next) => after_line(tail),
                (b'/', [b'*', b'!', ..] | [b'*', b'M', b'!', ..]) if self.mysql_comments => {
                    // Whether it is code depends on the server's version.
                    return Err("the query has a comment that some servers execute");
                }
                (b'/', [b'*', inner @ ..]) => after_comment(inner),
                (b'(', _) => {
                    depth += 1;
                    tail
                }
                (b')', _) => {
                    depth =
                        depth.checked_sub(1).ok_or("the query closes a parenthesis too many")?;
                    tail
                }
                (b';', _) if self.statements => {
                    return Err("the query has more than one statement");
                }
                (b'?' | b'$' | b'@' | b':' | b'#', _) if self.statements => {
                    return Err(
                        "the query has a parameter, or a name that needs quotes; write the value, or quote the name",
                    );
                }
                (0, _) => return Err("the query has a zero byte"),
                _ => tail,
            };
        }
        Ok(())
    }

    /// Returns whether `--` before this begins a comment.
    fn is_comment(&self, next: &[u8]) -> bool {
        let ends_word = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
        !self.mysql_comments || next.first().is_some_and(ends_word)
    }
}

/// Skips to behind the closing quote. A doubled one ends here and begins anew at once, which comes to the same.
fn after_quote(mut rest: &[u8], quote: u8, escapes: bool) -> &[u8] {
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == quote {
            break;
        }
        if escapes && *first == b'\\' {
            rest = tail.get(1..).unwrap_or_default();
        }
    }
    rest
}

fn after_line(rest: &[u8]) -> &[u8] {
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => &rest[end..],
        None => &[],
    }
}

fn after_comment(rest: &[u8]) -> &[u8] {
    match rest.windows(2).position(|pair| pair == b"*/") {
        Some(end) => &rest[end + 2..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_in_text_names_and_comments_do_not_count() {
        for query in [
            "SELECT (1), f((2))",
            "SELECT ')', \"it''s )\", 'a\\')', `)`, '''' -- )\n, 1 # )",
            "SELECT 1 /* ) */ + /*+ hint */ 2",
            "SELECT 5--1, 'unfinished )",
            "SELECT '한글)'",
        ] {
            assert_eq!(MYSQL.check(query), Ok(()), "{query}");
        }
        for query in [
            "SELECT (1), f((2))",
            "SELECT ')', \"it''s ;)\", `)`, [a ' ) ;], '''', 'a\\' -- );?\n, 1",
            "SELECT 1 /* ) */ + /*! ; */ 2 --)",
            "SELECT a->>'$.b[0]', ':x', '@', '한글)' FROM t",
        ] {
            assert_eq!(SQLITE.check(query), Ok(()), "{query}");
        }
    }

    #[test]
    fn says_that_one_select_is_wanted() {
        let hint = |query: &str, kind, message: &str| {
            one_select_wanted(query, Error::new(kind, message)).hint().is_some()
        };
        let failed = ErrorKind::RemoteFailed;
        assert!(hint("delete from t", failed, "near \"delete\""));
        assert!(hint("SHOW TABLES", failed, "x"));
        assert!(hint("SELECT 1; SELECT 2", failed, "x"));
        assert!(hint("SELECT FROM WHERE", failed, "You have an error in your SQL syntax"));
        assert!(hint("PRAGMA user_version", ErrorKind::RemoteTableNotFound, "no such table"));
        assert!(!hint("SELECT nope FROM t", failed, "no such column"));
        assert!(!hint("( SELECT 1 )", ErrorKind::NotAllowed, "denied"));
    }

    #[test]
    fn nothing_gets_out() {
        for query in [
            "SELECT 1 AS a) x INTO OUTFILE 'f' -- ",
            "SELECT '\\\\') x, (SELECT 1",
            "SELECT 1 --) x, (SELECT 1",
            "SELECT 1 /*!99999 ( */ ) x, (SELECT 1",
            "SELECT 1 /*M! ( */ ) x, (SELECT 1",
            "SELECT 1 -- (\n) x, (SELECT 1",
            "SELECT 1\0",
        ] {
            assert!(MYSQL.check(query).is_err(), "{query}");
        }
        for query in [
            "SELECT 1) x, (SELECT 1",
            "SELECT '\\') x, (SELECT '1",
            "SELECT 1 /*/ ( */ ) x, (SELECT 1",
            "SELECT 1 --(\n) x, (SELECT 1",
            "SELECT [a[b]) x, (SELECT 1",
            "SELECT 1; VACUUM INTO 'f'",
            "SELECT $a(')) x;VACUUM/**/INTO\"f\"--')",
            "SELECT :a(')) x",
            "SELECT ?1, @b",
            "SELECT 1\0",
        ] {
            assert!(SQLITE.check(query).is_err(), "{query}");
        }
    }
}
