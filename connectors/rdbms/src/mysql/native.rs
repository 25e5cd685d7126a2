//! Whether a native query stays inside the parentheses it is put in.
//!
//! A read-only transaction keeps tables as they are, but not the server's disk: `INTO OUTFILE` writes a file. It is no
//! danger in a derived table, where MySQL refuses it, unless a query closes the parenthesis and goes on by itself.

/// Checks a query that is to stand in `FROM ( … )`, as a session with a plain `sql_mode` reads it.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn check(query: &str) -> Result<(), &'static str> {
    let mut rest = query.as_bytes();
    let mut depth = 0_usize;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\'' | b'"', _) => after_quote(tail, *first, true),
            (b'`', _) => after_quote(tail, b'`', false),
            (b'#', _) => after_line(tail),
            (b'-', [b'-', next, ..]) if next.is_ascii_whitespace() || next.is_ascii_control() => {
                after_line(tail)
            }
            (b'/', [b'*', b'!', ..] | [b'*', b'M', b'!', ..]) => {
                // Whether it is code depends on the server's version.
                return Err("the query has a comment that some servers execute");
            }
            (b'/', [b'*', inner @ ..]) => after_comment(inner),
            (b'(', _) => {
                depth += 1;
                tail
            }
            (b')', _) => {
                depth = depth.checked_sub(1).ok_or("the query closes a parenthesis too many")?;
                tail
            }
            (0, _) => return Err("the query has a zero byte"),
            _ => tail,
        };
    }
    Ok(())
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
            assert_eq!(check(query), Ok(()), "{query}");
        }
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
            assert!(check(query).is_err(), "{query}");
        }
    }
}
