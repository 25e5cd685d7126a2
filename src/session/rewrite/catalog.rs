//! PostgreSQL's catalog, where a tool asks it in a way that is not planned, or for columns that its tables do not have here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, visit_expressions_mut,
};

use super::clients::parsed;
use super::literals::call;
use crate::session::quantified;

/// asyncpg asks for types whose values it meets, and for the types that those are made of, in a recursive query that is not planned
/// here. Types are made of others only in arrays, so that two steps are all there are.
const TYPE_TREE: &str = "SELECT t.oid AS oid, ns.nspname AS ns, t.typname AS name, t.typtype AS kind, \
    CAST(NULL AS oid) AS basetype, t.typelem AS elemtype, e.typdelim AS elemdelim, CAST(NULL AS oid) AS range_subtype, \
    CAST(NULL AS text[]) AS attrtypoids, CAST(NULL AS text[]) AS attrnames, t.depth AS depth, CAST(NULL AS text) AS basetype_name, \
    e.typname AS elemtype_name, CAST(NULL AS text) AS range_subtype_name FROM (\
    SELECT oid, typname, typtype, typelem, typlen, typnamespace, 0 AS depth FROM pg_catalog.pg_type \
    WHERE oid = ANY(CAST($1 AS oid[])) UNION ALL \
    SELECT i.oid, i.typname, i.typtype, i.typelem, i.typlen, i.typnamespace, 1 AS depth FROM pg_catalog.pg_type a \
    JOIN pg_catalog.pg_type i ON a.typlen = -1 AND a.typelem = i.oid WHERE a.oid = ANY(CAST($1 AS oid[]))) t \
    JOIN pg_catalog.pg_namespace ns ON ns.oid = t.typnamespace \
    LEFT JOIN pg_catalog.pg_type e ON t.typlen = -1 AND t.typelem <> 0 AND t.typelem = e.oid ORDER BY depth DESC";

/// Changes a whole query before its parts are looked at.
pub(super) fn query(query: &mut Query) {
    let is_tree = query.with.as_ref().is_some_and(|with| {
        with.recursive
            && matches!(with.cte_tables.as_slice(), [tree] if tree.alias.name.value == "typeinfo_tree")
    });
    if !is_tree || !query.to_string().contains("$1") {
        return;
    }
    let tree = Parser::new(&MaruDialect).try_with_sql(TYPE_TREE);
    if let Ok(tree) = tree.and_then(|mut parser| parser.parse_query()) {
        *query = *tree;
    }
}

/// What `pg_description` tells, by the functions that know it.
const DESCRIPTIONS: &str = "(SELECT a.attrelid AS objoid, CAST(1259 AS INT) AS classoid, CAST(a.attnum AS INT) AS objsubid, \
    col_description(a.attrelid, a.attnum) AS description FROM pg_catalog.pg_attribute a \
    WHERE a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NOT NULL UNION ALL \
    SELECT c.oid, CAST(1259 AS INT), CAST(0 AS INT), obj_description(c.oid) FROM pg_catalog.pg_class c \
    WHERE obj_description(c.oid) IS NOT NULL UNION ALL \
    SELECT n.oid, CAST(2615 AS INT), CAST(0 AS INT), obj_description(n.oid) FROM pg_catalog.pg_namespace n \
    WHERE obj_description(n.oid) IS NOT NULL) AS pg_description";

/// Fills `pg_description`, which is empty here.
pub(super) fn descriptions(table: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: None, .. } = table else { return };
    let parts = name.0.iter().map(|part| Some(part.as_ident()?.value.to_lowercase()));
    let parts = parts.collect::<Option<Vec<_>>>().unwrap_or_default();
    let names = parts.iter().map(String::as_str).collect::<Vec<_>>();
    let is_it = matches!(names.as_slice(), ["pg_description"] | ["pg_catalog", "pg_description"]);
    let told = is_it
        .then(|| {
            Parser::new(&MaruDialect).try_with_sql(DESCRIPTIONS).ok()?.parse_table_factor().ok()
        })
        .flatten();
    let Some(TableFactor::Derived { lateral, subquery, alias: own, sample }) = told else { return };
    let alias = alias.take().or(own);
    *table = TableFactor::Derived { lateral, subquery, alias, sample };
}

/// Grafana takes the search path apart to ask whether a schema is in it.
pub(super) fn in_search_path(expr: &Expr) -> Option<Expr> {
    let Expr::InSubquery { expr: schema, subquery, negated: false } = expr else { return None };
    let text = subquery.to_string().to_lowercase();
    let takes_apart = text.contains("generate_series(array_lower(")
        && text.contains("string_to_array(current_setting('search_path')");
    if !takes_apart {
        return None;
    }
    parsed(&format!(
        "{schema} = ANY (string_to_array(replace(replace(current_setting('search_path'), ' ', ''), '\"$user\"', user), ','))"
    ))
}

/// Columns of `pg_index` and `pg_constraint` that hold several numbers. The catalogs are empty, and the columns text.
const KEYS: &[&str] = &["indkey", "indclass", "indcollation", "indoption", "conkey", "confkey"];

/// What is compared with such a column is not in it.
pub(super) fn keys(select: &mut Select) {
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    let is_empty = |factor: &&TableFactor| {
        matches!(factor, TableFactor::Table { name, .. } if name.0.last().and_then(ObjectNamePart::as_ident)
            .is_some_and(|name| ["pg_index", "pg_constraint"].contains(&name.value.to_lowercase().as_str())))
    };
    let tables = factors.filter(is_empty).filter_map(catalog_table).cloned().collect::<Vec<_>>();
    if tables.is_empty() {
        return;
    }
    let is_keys = |expr: &Expr| {
        let (table, name) = match expr {
            Expr::Identifier(name) => (None, name),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [.., table, name] => (Some(table), name),
                _ => return false,
            },
            _ => return false,
        };
        KEYS.contains(&name.value.to_lowercase().as_str())
            && table.is_none_or(|table| {
                tables.iter().any(|known| known.value.eq_ignore_ascii_case(&table.value))
            })
    };
    let is_dotted = |root: &Expr, chain: &[AccessExpr]| {
        matches!((root, chain.first()), (Expr::Identifier(table), Some(AccessExpr::Dot(Expr::Identifier(name))))
            if KEYS.contains(&name.value.to_lowercase().as_str())
                && tables.iter().any(|known| known.value.eq_ignore_ascii_case(&table.value)))
    };
    let _ = visit_expressions_mut(select, |expr| {
        let nothing = match expr {
            Expr::AnyOp { right, .. } => {
                let mut bare = right.as_ref();
                while let Expr::Nested(inner) = bare {
                    bare = inner;
                }
                is_keys(bare).then_some("CAST(NULL AS BOOLEAN)")
            }
            // What it was before it was made a call.
            Expr::Function(function) => match &function.args {
                FunctionArguments::List(list) => match list.args.as_slice() {
                    [_, _, FunctionArg::Unnamed(FunctionArgExpr::Expr(array))]
                        if function.name.to_string() == quantified::ANY && is_keys(array) =>
                    {
                        Some("CAST(NULL AS BOOLEAN)")
                    }
                    _ => None,
                },
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain }
                if is_keys(root) || is_dotted(root, access_chain) =>
            {
                Some("CAST(NULL AS SMALLINT)")
            }
            _ => None,
        };
        if let Some(nothing) = nothing.and_then(parsed) {
            *expr = nothing;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// A subquery that looks something up in PostgreSQL's catalog gives one row at most; the planner wants to see that.
pub(super) fn one_of_catalog(query: &mut Query) {
    if query.limit_clause.is_some() || query.fetch.is_some() || query.with.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let ([from], [SelectItem::UnnamedExpr(item)]) =
        (select.from.as_slice(), select.projection.as_mut_slice())
    else {
        return;
    };
    let function = match item {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Case { .. } => "min",
        Expr::BinaryOp { op: BinaryOperator::Eq | BinaryOperator::NotEq, .. } => "bool_or",
        _ => return,
    };
    if from.joins.is_empty() && catalog_table(&from.relation).is_some() {
        *item = call(function, vec![item.clone()]);
    }
}

/// Returns what a statement calls a table of PostgreSQL's catalog.
fn catalog_table(factor: &TableFactor) -> Option<&Ident> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let (table, schema) = name.0.split_last()?;
    let table = table.as_ident()?;
    let schema = schema.last().and_then(ObjectNamePart::as_ident);
    let known = schema.is_none_or(|schema| schema.value.eq_ignore_ascii_case("pg_catalog"));
    (known && table.value.to_lowercase().starts_with("pg_"))
        .then(|| alias.as_ref().map_or(table, |alias| &alias.name))
}

/// `xmin` says since when a row is as it is. Rows of the catalog are made as they are read: as far as a tool can know, since now.
pub(super) fn row_versions(select: &mut Select) {
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    let tables = factors.filter_map(catalog_table).cloned().collect::<Vec<_>>();
    let is_version = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [.., table, name] => {
                name.value.eq_ignore_ascii_case("xmin")
                    && tables.iter().any(|known| known.value.eq_ignore_ascii_case(&table.value))
            }
            _ => false,
        },
        Expr::Identifier(name) => name.value.eq_ignore_ascii_case("xmin") && tables.len() == 1,
        _ => false,
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && is_version(expr)
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new("xmin") };
        }
    }
    let _ = visit_expressions_mut(select, |expr| {
        if is_version(expr) {
            *expr = call("txid_current", Vec::new());
        }
        ControlFlow::<()>::Continue(())
    });
}
