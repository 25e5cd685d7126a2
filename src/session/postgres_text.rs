//! Texts of statements that ask PostgreSQL's catalog, before the compatibility rules read them.

use std::borrow::Cow;

use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use maru_sql::MaruDialect;

/// Tables of the catalog whose numbers tools know objects' kinds by, as PostgreSQL has them in every database.
const KINDS: &[(&str, &str)] = &[
    ("pg_attribute", "1249"),
    ("pg_class", "1259"),
    ("pg_database", "1262"),
    ("pg_namespace", "2615"),
    ("pg_proc", "1255"),
    ("pg_type", "1247"),
];

/// Returns whether a statement names something of PostgreSQL's own; what stands in literals does not count.
pub(super) fn speaks_of_postgres(sql: &str) -> bool {
    const WORDS: [&str; 3] = ["regclass", "regtype", "regproc"];
    let Ok(tokens) = Tokenizer::new(&MaruDialect, sql).tokenize() else { return false };
    tokens.iter().any(|token| match token {
        Token::Word(word) => {
            let word = word.value.to_lowercase();
            word.contains("pg_") || WORDS.contains(&word.as_str())
        }
        _ => false,
    })
}

/// Returns what is asked instead of psql's question for the policies of one table (`\\d`): the catalog's table of them is empty.
pub(super) fn policies_of_table(sql: &str) -> Option<String> {
    let text = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_asked = text.starts_with("SELECT pol.polname, pol.polpermissive,")
        && text.contains("FROM pg_catalog.pg_policy pol WHERE pol.polrelid = '");
    let (_, rest) = text.split_once("WHERE pol.polrelid = '").filter(|_| is_asked)?;
    let oid = rest.split_once('\'')?.0.parse::<u32>().ok()?;
    Some(format!(
        "SELECT p.name AS polname, p.kind = 'permissive' AS polpermissive, \
         CASE WHEN p.roles <> 'PUBLIC' THEN replace(p.roles, ', ', ',') END AS polroles, \
         p.expression AS polqual, p.check_expression AS polwithcheck, \
         CASE WHEN p.command <> 'ALL' THEN p.command END AS cmd \
         FROM system.policies AS p JOIN pg_catalog.pg_class AS c ON c.relname = p.\"table\" \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = p.schema \
         WHERE c.oid = {oid} AND p.catalog = current_database() AND p.kind <> 'mask' ORDER BY 1"
    ))
}

/// Writes a text as the compatibility rules are to read it: `current_role()` for `current_user`, which they would take for
/// `session_user`, and the number for `'pg_class'::regclass`, which they would look for among the user's tables.
pub(super) fn as_read_by_rules(sql: &str) -> Cow<'_, str> {
    let tokens = Tokenizer::new(&MaruDialect, sql).tokenize().unwrap_or_default();
    let mut texts = Vec::with_capacity(tokens.len());
    let (mut at, mut changed) = (0, false);
    while let Some(token) = tokens.get(at) {
        if let Some((number, n_tokens)) = kind(&tokens[at..]) {
            texts.push(format!("CAST({number} AS INT)"));
            (at, changed) = (at + n_tokens, true);
            continue;
        }
        let is_user = is_word(token, "current_user");
        changed |= is_user;
        texts.push(if is_user { "current_role()".to_owned() } else { token.to_string() });
        at += 1;
    }
    if changed { Cow::Owned(texts.concat()) } else { Cow::Borrowed(sql) }
}

/// Reads `'pg_class'::regclass`; returns the number of the table and how many tokens that was.
fn kind(tokens: &[Token]) -> Option<(&'static str, usize)> {
    let [Token::SingleQuotedString(name), Token::DoubleColon, rest @ ..] = tokens else {
        return None;
    };
    let n_tokens = match rest {
        [word, ..] if is_word(word, "regclass") => 3,
        [schema, Token::Period, word, ..]
            if is_word(schema, "pg_catalog") && is_word(word, "regclass") =>
        {
            5
        }
        _ => return None,
    };
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, number)| (*number, n_tokens))
}

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_asked_of_the_engine() {
        let asked = "SELECT pol.polname, pol.polpermissive,\n  1\nFROM pg_catalog.pg_policy pol\nWHERE pol.polrelid = '16384' ORDER BY 1;";
        assert!(policies_of_table(asked).is_some_and(|sql| sql.contains("c.oid = 16384 ")));
        assert_eq!(policies_of_table(&asked.replace("16384", "t' OR true")), None);
        assert_eq!(policies_of_table("SELECT polname FROM pg_catalog.pg_policy"), None);
    }

    #[test]
    fn users_and_kinds_are_written_anew() {
        let read = "SELECT current_user, 'pg_class'::regclass, 'pg_catalog.pg_type'::pg_catalog.regclass, 'current_user'";
        let written = "SELECT current_role(), CAST(1259 AS INT), CAST(1247 AS INT), 'current_user'";
        assert_eq!(as_read_by_rules(read), written);
        let kept = "SELECT \"current_user\", 'orders'::regclass, 'pg_class'";
        assert!(matches!(as_read_by_rules(kept), Cow::Borrowed(_)));
    }
}
