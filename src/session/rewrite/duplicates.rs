//! Columns of the same name. PostgreSQL gives them out side by side, DataFusion's planner wants names that differ:
//! `SELECT now(), now()::date`, `SELECT id, id`. The later ones get a name that [`shown`] turns back for the client.

use std::collections::HashSet;

use maru_sql::ast::{Expr, Ident, Select, SelectItem};

/// Between the name that is shown and a number. Nobody types it.
const MARK: char = '\u{1}';

/// Gives the second and later of equal columns names of their own.
pub(super) fn select(select: &mut Select) {
    let mut seen = HashSet::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let column = Column::of(expr);
        if seen.iter().any(|other| column.may_be(other)) {
            let alias = Ident::with_quote('"', format!("{}{MARK}{position}", column.name));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
        seen.insert(column);
    }
}

/// Returns the name of a column as the client sees it.
pub(in crate::session) fn shown(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// What the planner names a column after. Casts do not count.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Column {
    /// What stands before the name: `a` of `a.id`.
    qualifier: Option<String>,
    name: String,
}

impl Column {
    fn of(expr: &Expr) -> Self {
        match expr {
            Expr::Cast { expr, .. } | Expr::Nested(expr) => Self::of(expr),
            Expr::Identifier(ident) => Self { qualifier: None, name: ident.value.clone() },
            Expr::CompoundIdentifier(parts) if parts.len() > 1 => {
                let mut parts = parts.iter().map(|part| part.value.clone()).collect::<Vec<_>>();
                let name = parts.pop().unwrap_or_default();
                Self { qualifier: Some(parts.join(".")), name }
            }
            other => Self { qualifier: None, name: other.to_string() },
        }
    }

    /// `id` may be `a.id`; `b.id` is another column.
    fn may_be(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.qualifier == other.qualifier
                || self.qualifier.is_none()
                || other.qualifier.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<String> {
        let mut statement = match maru_sql::parse(sql).unwrap() {
            maru_sql::Statement::Query { statement, .. } => *statement,
            other => panic!("{other:?}"),
        };
        super::super::rewrite(&mut statement).unwrap();
        let text = statement.to_string();
        text.split(MARK).map(str::to_owned).collect()
    }

    #[test]
    fn only_equal_columns_change() {
        assert_eq!(names("SELECT a, b, now() FROM t").len(), 1);
        assert_eq!(names("SELECT a.id, b.id FROM a, b").len(), 1);
        assert_eq!(names("SELECT a, a, now(), now()::date FROM t").len(), 3);
        assert_eq!(names("SELECT t.a, a, t.a FROM t").len(), 3);
    }

    #[test]
    fn clients_see_the_name() {
        assert_eq!(shown("now()\u{1}3"), "now()");
        assert_eq!(shown("id"), "id");
    }
}
