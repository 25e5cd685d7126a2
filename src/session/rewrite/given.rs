//! `SELECT upper(t.n) AS n … ORDER BY t.n` and `SELECT a[1], unnest(a)`: a column of the table is meant beside one that is given out under
//! its name.
//!
//! The planner puts what rows are ordered by, and what becomes rows, beside what is given out, and refuses two columns of one name.
//! What is given out gets another name: of the outermost query until the client sees it, of another one until the query that is put
//! around it here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{
    Distinct, Expr, Function, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    visit_expressions,
};

use super::columns::{MARK, name_of};
use super::{folded, set_returning};

/// Renames what is given out under the name of such a column. `unseen`: nobody but the client sees the names, or nobody at all.
pub(super) fn query(query: &mut Query, unseen: bool) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    if matches!(select.distinct, Some(Distinct::On(_))) || select.into.is_some() {
        return;
    }
    let meant = meant(query, select);
    if !select.projection.iter().any(|item| clashes(item, &meant)) {
        return;
    }
    if !unseen && select.projection.iter().any(|item| given(item).is_none()) {
        return;
    }
    let renamed = rename(query, |item| !unseen || clashes(item, &meant));
    if !unseen {
        put_around(query, &renamed);
    }
}

/// Returns the columns of tables by which a query orders its rows, and of which it makes rows, with their names.
fn meant(query: &Query, select: &Select) -> Vec<(String, Expr)> {
    let mut found = Vec::new();
    if let Some(order_by) = &query.order_by {
        let _ = visit_expressions(order_by, |expr| {
            if let Expr::CompoundIdentifier(parts) = expr
                && let Some(name) = parts.last()
            {
                found.push((folded(name), expr.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
    }
    for item in &select.projection {
        let Some((_, expr)) = given(item) else { continue };
        let _ = visit_expressions(expr, |part| {
            let Expr::Function(function) = part else { return ControlFlow::<()>::Continue(()) };
            if !gives_rows(function) {
                return ControlFlow::Continue(());
            }
            visit_expressions(&function.args, |argument| {
                let name = match argument {
                    Expr::Identifier(name) => Some(name),
                    Expr::CompoundIdentifier(parts) => parts.last(),
                    _ => None,
                };
                found.extend(name.map(|name| (folded(name), argument.clone())));
                ControlFlow::Continue(())
            })
        });
    }
    found
}

fn gives_rows(function: &Function) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident());
    name.map(|name| name.value.to_lowercase())
        .is_some_and(|name| name == "unnest" || set_returning::array_of(&name).is_some())
}

/// Returns what is given out, and its name; `None` for a star.
fn given(item: &SelectItem) -> Option<(String, &Expr)> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((folded(alias), expr)),
        SelectItem::UnnamedExpr(expr) => match expr {
            Expr::Identifier(name) => Some((folded(name), expr)),
            Expr::CompoundIdentifier(parts) => Some((folded(parts.last()?), expr)),
            _ => Some((name_of(expr), expr)),
        },
        _ => None,
    }
}

/// Returns whether something else than a column is given out under its name.
fn clashes(item: &SelectItem, meant: &[(String, Expr)]) -> bool {
    let Some((name, expr)) = given(item) else { return false };
    let is_plain = match (item, expr) {
        (SelectItem::UnnamedExpr(_), Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => true,
        (_, Expr::Identifier(column)) => folded(column) == name,
        _ => false,
    };
    if is_plain || !meant.iter().any(|(known, column)| *known == name && column != expr) {
        return false;
    }
    // Rows that are made of a column may have its name.
    let makes_rows = visit_expressions(expr, |part| match part {
        Expr::Function(function) if gives_rows(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    makes_rows.is_continue()
}

/// Renames what is given out; returns the names from before and those of now.
fn rename(query: &mut Query, wanted: impl Fn(&SelectItem) -> bool) -> Vec<(String, Ident)> {
    let mut renamed = Vec::new();
    let SetExpr::Select(select) = query.body.as_mut() else { return renamed };
    for (position, item) in select.projection.iter_mut().enumerate() {
        if !wanted(item) {
            continue;
        }
        let Some((name, expr)) = given(item) else { continue };
        let alias = Ident::with_quote('"', format!("{name}{MARK}{position}"));
        let expr = expr.clone();
        renamed.push((name, alias.clone()));
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
    if let Some(order_by) = &mut query.order_by
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        for key in keys {
            // A bare name means what is given out.
            if let Expr::Identifier(name) = &key.expr
                && let Some((_, other)) = renamed.iter().find(|(known, _)| *known == folded(name))
            {
                key.expr = Expr::Identifier(other.clone());
            }
        }
    }
    renamed
}

/// Puts a query around that gives the columns out under their names from before.
fn put_around(query: &mut Query, renamed: &[(String, Ident)]) {
    let parsed = Parser::new(&MaruDialect)
        .try_with_sql("SELECT 1 FROM (SELECT 1) AS given")
        .and_then(|mut parser| parser.parse_query());
    let Ok(mut around) = parsed else { return };
    let SetExpr::Select(select) = around.body.as_mut() else { return };
    let items = renamed.iter().enumerate().map(|(position, (name, column))| {
        let twice = renamed[..position].iter().any(|(other, _)| other == name);
        let name = if twice { column.value.clone() } else { name.clone() };
        let alias = Ident::with_quote('"', name);
        SelectItem::ExprWithAlias { expr: Expr::Identifier(column.clone()), alias }
    });
    select.projection = items.collect();
    let Some(from) = select.from.first_mut() else { return };
    if let TableFactor::Derived { subquery, .. } = &mut from.relation {
        std::mem::swap(subquery.as_mut(), query);
        *query = *around;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(sql: &str, unseen: bool) -> String {
        let mut parser = Parser::new(&MaruDialect).try_with_sql(sql).unwrap();
        let mut parsed = parser.parse_query().unwrap();
        query(&mut parsed, unseen);
        parsed.to_string().replace(MARK, "#")
    }

    #[test]
    fn what_is_given_out_under_the_name_of_a_key_is_renamed() {
        for (sql, expected) in [
            (
                "SELECT t.id::text AS id, n FROM t ORDER BY t.id, n",
                "SELECT t.id::TEXT AS \"id#0\", n FROM t ORDER BY t.id, n",
            ),
            (
                "SELECT -t.id AS id FROM t ORDER BY id, lower(t.id)",
                "SELECT -t.id AS \"id#0\" FROM t ORDER BY \"id#0\", lower(t.id)",
            ),
            ("SELECT a[1], unnest(a) FROM t", "SELECT a[1] AS \"a#0\", unnest(a) FROM t"),
        ] {
            assert_eq!(changed(sql, true), expected);
        }
        assert_eq!(
            changed("SELECT t.id::text AS id, n FROM t ORDER BY t.id, n LIMIT 1", false),
            "SELECT \"id#0\" AS \"id\", \"n#1\" AS \"n\" FROM (SELECT t.id::TEXT AS \"id#0\", n AS \"n#1\" FROM t \
             ORDER BY t.id, \"n#1\" LIMIT 1) AS given"
        );
        for same in [
            "SELECT t.id AS id FROM t ORDER BY t.id",
            "SELECT id AS id FROM t ORDER BY t.id",
            "SELECT u.id FROM t JOIN u ON true ORDER BY t.id",
            "SELECT -id AS id FROM t ORDER BY id",
            "SELECT unnest(a) AS a FROM t",
        ] {
            assert_eq!(changed(same, true), same);
            assert_eq!(changed(same, false), same);
        }
    }
}
