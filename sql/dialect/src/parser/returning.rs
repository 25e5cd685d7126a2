//! `RETURNING`: what a statement that writes tells of its rows.

use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::{self, SelectItem, SelectItemQualifiedWildcardKind};

use super::change::shorten;
use super::{object_name, unsupported};
use crate::statement::Name;
use crate::write::Returning;

/// Reads the items. `joined` says that rows of other tables stand beside those of the target.
///
/// # Errors
/// 0A000 for what takes columns of other tables, or columns by a pattern.
pub(super) fn lower_returning(
    items: Option<Vec<SelectItem>>,
    table: &Name,
    alias: &str,
    joined: bool,
) -> Result<Option<Returning>> {
    let Some(items) = items else { return Ok(None) };
    let items = items.into_iter().map(|item| lower_item(item, table, alias, joined));
    let items = items.collect::<Result<Vec<_>>>()?;
    Ok(Some(Returning { items, alias: alias.to_owned() }))
}

fn lower_item(item: SelectItem, table: &Name, alias: &str, joined: bool) -> Result<SelectItem> {
    let is_plain = |options: &ast::WildcardAdditionalOptions| {
        *options == ast::WildcardAdditionalOptions::default()
    };
    Ok(match item {
        SelectItem::UnnamedExpr(mut expr) => {
            shorten(&mut expr, table, alias);
            SelectItem::UnnamedExpr(expr)
        }
        SelectItem::ExprWithAlias { mut expr, alias: name } => {
            shorten(&mut expr, table, alias);
            SelectItem::ExprWithAlias { expr, alias: name }
        }
        SelectItem::Wildcard(options) if is_plain(&options) => {
            if joined {
                return Err(unsupported("RETURNING * beside other tables")
                    .with_hint(format!("Write RETURNING {alias}.*")));
            }
            SelectItem::Wildcard(options)
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), options)
            if is_plain(&options) =>
        {
            let of = object_name(&of)?;
            let own = match of.0.as_slice() {
                [one] => one == alias,
                // The whole name, where no alias hides it.
                parts => {
                    table.0.last().is_some_and(|last| last == alias)
                        && parts.len() <= table.0.len()
                        && parts.iter().rev().zip(table.0.iter().rev()).all(|(a, b)| a == b)
                }
            };
            if !own {
                let of = of.0.join(".");
                return Err(Error::new(
                    ErrorKind::UndefinedTable,
                    format!("missing FROM-clause entry for table \"{of}\""),
                )
                .with_hint(format!("RETURNING tells of the rows of \"{alias}\" alone.")));
            }
            SelectItem::Wildcard(options)
        }
        other => return Err(unsupported(&format!("RETURNING {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::statement::Statement;
    use crate::write::*;

    fn returning(sql: &str) -> Option<Returning> {
        let Statement::Write(write) = parse(sql).unwrap() else { panic!("{sql}") };
        match write.action {
            WriteAction::Insert(insert) => insert.returning,
            WriteAction::Update(update) => update.returning,
            WriteAction::Delete(delete) => delete.returning,
            WriteAction::Merge(merge) => merge.returning,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn items_are_those_of_the_target() {
        for (sql, alias, items) in [
            ("INSERT INTO s.t VALUES (1) RETURNING *", "t", vec!["*"]),
            ("INSERT INTO s.t AS x VALUES (1) RETURNING x.*, x.a", "x", vec!["*", "x.a"]),
            ("DELETE FROM s.t RETURNING s.t.a + 1 AS b, t.*", "t", vec!["\"t\".a + 1 AS b", "*"]),
            ("UPDATE t SET a = 1 FROM u WHERE t.a = u.a RETURNING t.*", "t", vec!["*"]),
        ] {
            let found = returning(sql).unwrap();
            assert_eq!(found.alias, alias, "{sql}");
            let found = found.items.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(found, items, "{sql}");
        }
        assert!(returning("DELETE FROM t").is_none());
    }

    #[test]
    fn items_of_other_tables_are_refused() {
        for (sql, sqlstate) in [
            ("UPDATE t SET a = 1 FROM u WHERE t.a = u.a RETURNING *", "0A000"),
            ("UPDATE t SET a = 1 FROM u WHERE t.a = u.a RETURNING u.*", "42P01"),
            ("INSERT INTO s.t VALUES (1) RETURNING r.t.*", "42P01"),
            ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE RETURNING t.a", "0A000"),
        ] {
            assert_eq!(parse(sql).unwrap_err().sqlstate(), sqlstate, "{sql}");
        }
    }
}
