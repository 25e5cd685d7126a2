//! Names of columns that were given none, as PostgreSQL finds them: `count` for `count(*)`, `int4` for `'1'::int`, `?column?`
//! where nothing helps. The planner would say `Int64(1)`.
//!
//! PostgreSQL gives columns of the same name out side by side, the planner wants names that differ: the later ones of
//! `SELECT id, id` get a name that [`shown`] turns back for the client. Source: PostgreSQL 16, `FigureColname`.

use std::ops::ControlFlow;

use maru_sql::ast::{
    AccessExpr, ArrayElemTypeDef, DataType, Distinct, ExactNumberInfo, Expr, Ident, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TrimWhereField,
    Value, visit_expressions,
};

use super::folded;
use crate::session::quantified;

/// Between the name that is shown and a number. Nobody types it.
pub(in crate::session) const MARK: char = '\u{1}';

/// What a column is called for which nothing else is found.
const UNKNOWN: &str = "?column?";

/// Names the columns of a query. `outermost`: nobody but the client sees the names.
pub(super) fn select(select: &mut Select, outermost: bool) {
    let has = |wanted: fn(&SelectItem) -> bool| select.projection.iter().any(wanted);
    let all = has(|item| matches!(item, SelectItem::Wildcard(_)));
    let some = all || has(|item| matches!(item, SelectItem::QualifiedWildcard(..)));
    let mut seen = Vec::<Column>::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                let column = Column { qualifier: None, name: shown(&alias.value).to_owned() };
                let twice = seen.iter().any(|other| column.may_be(other));
                if outermost && twice && !alias.value.contains(MARK) {
                    *alias = Ident::with_quote('"', format!("{}{MARK}{position}", folded(alias)));
                }
                seen.push(column);
            }
            continue;
        };
        let column = Column::of(expr);
        // A star may hold a column of any name, and `*` holds each column that could be written out.
        let behind_star = some && outermost || all && is_column(expr);
        let twice = behind_star || seen.iter().any(|other| column.may_be(other));
        let is_plain =
            matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) && !is_word(expr);
        let alias = match (twice, is_plain) {
            (true, _) => Some(format!("{}{MARK}{position}", column.name)),
            (false, false) => Some(column.name.clone()),
            (false, true) => None,
        };
        if let Some(alias) = alias {
            let alias = Ident::with_quote('"', alias);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
        seen.push(column);
    }
}

/// Returns whether a name is a word of SQL, which `functions.rs` makes a call of.
fn is_word(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(Ident { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("current_schema"))
}

/// Turns names that the compatibility rules gave a column beside a star (`oid, *`) into ones that are shown without.
pub(in crate::session) fn unalias(statement: &mut Statement) {
    const ALIAS: &str = "__alias_";
    let Statement::Query(query) = statement else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for (position, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::ExprWithAlias { alias, .. } = item
            && let Some(name) = alias.value.strip_prefix(ALIAS)
        {
            *alias = Ident::with_quote('"', format!("{name}{MARK}{position}"));
        }
    }
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_column(expr),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

/// Changes names of columns and what rows are ordered by. `outermost`: nobody but the client sees the names.
pub(super) fn query(query: &mut Query, outermost: bool) {
    if outermost {
        beside_star(query);
    }
    by_number(query);
}

/// `row_number() OVER (ORDER BY t.n) AS n, t.*`: two columns of one name, which PostgreSQL gives out and the planner refuses. The one
/// that was given the name gets another one until the client sees it. That `t` has such a column is known if the query names it.
fn beside_star(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let stars = select.projection.iter().filter_map(|item| match item {
        SelectItem::Wildcard(_) => Some(None),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Some(name.0.last().and_then(|part| part.as_ident()).map(folded))
        }
        _ => None,
    });
    let stars = stars.collect::<Vec<Option<String>>>();
    if stars.is_empty() {
        return;
    }
    let mut named = Vec::new();
    let _ = visit_expressions(query, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., table, column] = parts.as_slice()
            && stars.iter().any(|star| star.as_ref().is_none_or(|star| *star == folded(table)))
        {
            named.push(folded(column));
        }
        ControlFlow::<()>::Continue(())
    });
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut renamed = Vec::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::ExprWithAlias { alias, .. } = item
            && named.contains(&folded(alias))
        {
            let name = Ident::with_quote('"', format!("{}{MARK}{position}", folded(alias)));
            renamed.push((folded(alias), name.clone()));
            *alias = name;
        }
    }
    let Some(order_by) = &mut query.order_by else { return };
    let OrderByKind::Expressions(keys) = &mut order_by.kind else { return };
    for key in keys {
        if let Expr::Identifier(name) = &key.expr
            && let Some((_, other)) = renamed.iter().find(|(known, _)| *known == folded(name))
        {
            key.expr = Expr::Identifier(other.clone());
        }
    }
}

/// Lets `SELECT DISTINCT upper(a) … ORDER BY upper(a)` and `SELECT sum(a) AS a … ORDER BY sum(a)` mean their columns by number: once
/// such a column has a name, the planner takes it for another expression than the one in ORDER BY, and its name for a column in it.
fn by_number(query: &mut Query) {
    let (SetExpr::Select(select), Some(order_by)) = (query.body.as_ref(), &mut query.order_by)
    else {
        return;
    };
    if matches!(select.distinct, Some(Distinct::On(_))) {
        return;
    }
    // A star takes more than one place.
    let is_star = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
    };
    let n_known = select.projection.iter().position(is_star).unwrap_or(select.projection.len());
    let OrderByKind::Expressions(keys) = &mut order_by.kind else { return };
    for key in keys {
        let is_plain =
            matches!(key.expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_));
        let same = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                *expr == key.expr
            }
            _ => false,
        };
        let position = select.projection.iter().take(n_known).position(same);
        if let (false, Some(position)) = (is_plain, position) {
            let number = Value::Number((position + 1).to_string(), false);
            key.expr = Expr::value(number);
        }
    }
}

/// Returns the name of a column as the client sees it.
pub(in crate::session) fn shown(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// Returns what PostgreSQL calls an expression among the columns.
pub(super) fn name_of(expr: &Expr) -> String {
    Column::of(expr).name
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    /// What stands before the name: `a` of `a.id`.
    qualifier: Option<String>,
    name: String,
}

impl Column {
    fn of(expr: &Expr) -> Self {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some((name, qualifier)) = parts.split_last()
        {
            let parts = qualifier.iter().map(|part| part.value.as_str()).collect::<Vec<_>>();
            return Self { qualifier: Some(parts.join(".")), name: name.value.clone() };
        }
        let name = match found(expr) {
            Some(Name::Strong(name) | Name::Type(name)) => name,
            None => UNKNOWN.to_owned(),
        };
        Self { qualifier: None, name }
    }

    /// `id` may be `a.id`; `b.id` is another column.
    fn may_be(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.qualifier == other.qualifier
                || self.qualifier.is_none()
                || other.qualifier.is_none())
    }
}

enum Name {
    /// Of a column or function.
    Strong(String),
    /// Of a type, which the name of something inside of the cast comes before.
    Type(String),
}

fn found(expr: &Expr) -> Option<Name> {
    let strong = |name: &str| Some(Name::Strong(name.to_owned()));
    match expr {
        Expr::Identifier(ident) => strong(&ident.value),
        Expr::CompoundIdentifier(parts) => strong(&parts.last()?.value),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let named = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
                _ => None,
            });
            named.map_or_else(|| found(root), |name| strong(&name.value))
        }
        Expr::Nested(expr) | Expr::Collate { expr, .. } => found(expr),
        Expr::Function(function) => {
            let ident = function.name.0.last()?.as_ident()?;
            // What `x = ANY (array)` has been made.
            if [quantified::ANY, quantified::ALL].contains(&ident.value.as_str()) {
                return None;
            }
            let quoted = ident.quote_style.is_some();
            strong(&if quoted { ident.value.clone() } else { ident.value.to_lowercase() })
        }
        Expr::Cast { expr, data_type, .. } => match found(expr) {
            Some(Name::Strong(name)) => Some(Name::Strong(name)),
            _ => Some(Name::Type(type_name(data_type))),
        },
        Expr::TypedString(typed) => Some(Name::Type(type_name(&typed.data_type))),
        Expr::Interval(_) => Some(Name::Type("interval".to_owned())),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(found) {
            Some(Name::Strong(name)) => Some(Name::Strong(name)),
            _ => strong("case"),
        },
        Expr::Extract { .. } => strong("extract"),
        Expr::Substring { shorthand, .. } => {
            strong(if *shorthand { "substr" } else { "substring" })
        }
        Expr::Position { .. } => strong("position"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => strong(shown(&alias.value)),
                SelectItem::UnnamedExpr(expr) => found(expr),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The type as `pg_type` has it.
fn type_name(data_type: &DataType) -> String {
    if let DataType::Array(
        ArrayElemTypeDef::AngleBracket(item)
        | ArrayElemTypeDef::SquareBracket(item, _)
        | ArrayElemTypeDef::Parenthesis(item),
    ) = data_type
    {
        return type_name(item);
    }
    if let DataType::Float(ExactNumberInfo::Precision(..=24)) = data_type {
        return "float4".to_owned();
    }
    let text = data_type.to_string().to_lowercase();
    let word = text.split('(').next().unwrap_or_default().trim();
    match word {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "real" => "float4",
        "double precision" | "float" | "double" => "float8",
        "boolean" => "bool",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "char" | "character" => "bpchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut statement = match maru_sql::parse(sql).unwrap() {
            maru_sql::Statement::Query { statement, .. } => *statement,
            other => panic!("{other:?}"),
        };
        super::super::rewrite(&mut statement).unwrap();
        statement.to_string()
    }

    #[test]
    fn plain_columns_stay() {
        for sql in ["SELECT a, b.c FROM t", "SELECT * FROM t", "SELECT a.id, b.id FROM a, b"] {
            assert_eq!(rewritten(sql), sql);
        }
    }

    #[test]
    fn names_are_postgres() {
        for (expr, name) in [
            ("count(*)", "count"),
            ("'1'::int", "int4"),
            ("a::text", "a"),
            ("now()::date", "now"),
            ("DATE '2026-01-01'", "date"),
            ("1 + 1", "?column?"),
            ("'x'", "?column?"),
            ("CASE WHEN a THEN 1 END", "case"),
            ("CASE WHEN a THEN 1 ELSE b END", "b"),
            ("EXTRACT(year FROM a)", "extract"),
            ("(SELECT max(x) FROM t)", "max"),
            ("EXISTS (SELECT 1)", "exists"),
            ("ARRAY[1]", "array"),
            ("'{1}'::int[]", "int4"),
        ] {
            let text = rewritten(&format!("SELECT {expr} FROM t"));
            assert!(text.contains(&format!("AS \"{name}\" FROM t")), "{expr}: {text}");
        }
    }

    #[test]
    fn equal_names_are_told_apart_until_the_client_sees_them() {
        let marks = |sql| rewritten(sql).matches(MARK).count();
        assert_eq!(marks("SELECT a, a, now(), now()::date FROM t"), 2);
        assert_eq!(marks("SELECT t.a, a, t.a FROM t"), 2);
        assert_eq!(marks("SELECT 1, 2, 3"), 2);
        assert_eq!(marks("SELECT 1 AS n, n FROM t"), 1);
        assert_eq!(marks("SELECT a AS n, b AS n FROM t"), 1);
        assert_eq!(marks("SELECT n FROM (SELECT 1 AS m, 2 AS m) t"), 0);
        assert_eq!(marks("SELECT *, a, a::text, count(*) FROM t"), 3);
        assert_eq!(marks("SELECT 1 AS one FROM (SELECT *, a, count(*) FROM t) x"), 1);
        assert_eq!(marks("SELECT 1 AS one FROM (SELECT a.*, b.n FROM a, b) x"), 0);
        assert_eq!(marks("SELECT 1 AS n, t.* FROM t ORDER BY t.n"), 1);
        assert_eq!(marks("SELECT 1 AS n, t.* FROM t, u ORDER BY u.n"), 1);
        assert_eq!(marks("SELECT t.*, t.n + 1 AS n FROM t ORDER BY n"), 2);
        assert_eq!(marks("SELECT t.*, t.n + 1 AS m FROM t ORDER BY m"), 0);
        assert_eq!(shown("now\u{1}3"), "now");
        assert_eq!(shown("id"), "id");
    }
}
