//! `FROM 's3://bucket/2026/*.parquet'`: files as a table, without making one first.
//!
//! The planner resolves tables by name, and so the path becomes one: `maru."<files>"."s3://…"`.

use maru_sql::ast::{Ident, ObjectNamePart, TableAlias, TableFactor};

use crate::catalog::BUILTIN;
use crate::catalog::resolve::FILES;
use crate::catalog::version::plain_name;

/// Puts a name in the place of a path: a text literal, or a quoted name that is a URL.
pub(super) fn table(table: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: None, .. } = table else { return };
    let [ObjectNamePart::Identifier(path)] = name.0.as_slice() else { return };
    let is_path = match path.quote_style {
        Some('\'') => true,
        Some('"') => path.value.contains("://"),
        _ => false,
    };
    if !is_path {
        return;
    }
    let quoted = |text: &str| ObjectNamePart::Identifier(Ident::with_quote('"', text));
    alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', stem(plain_name(&path.value))),
        columns: Vec::new(),
        at: None,
    });
    name.0 = vec![quoted(BUILTIN), quoted(FILES), quoted(&path.value)];
}

/// Returns what the rows are called where the statement does not say: the last name of the path without its end.
fn stem(path: &str) -> &str {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    if stem.is_empty() || stem.contains(['*', '?', '[']) { "files" } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_called_after_the_file() {
        for (path, name) in [
            ("s3://b/2026/orders.csv.gz", "orders"),
            ("/data/web/", "web"),
            ("s3://b/*.parquet", "files"),
        ] {
            assert_eq!(stem(path), name);
        }
    }
}
