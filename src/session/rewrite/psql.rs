//! What psql asks in the verbose forms of its commands (`\d+`, `\dt+`, `\l+`, …), of what the engine does not have: sizes, storage
//! options, tablespaces, event triggers.

use std::ops::ControlFlow;

use maru_sql::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Select,
    TableFactor, Value, visit_expressions_mut,
};

/// Sizes, which are not known: a table may lie anywhere.
const SIZES: &[&str] = &[
    "pg_database_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
];

/// OIDs of PostgreSQL's catalogs themselves, which `tableoid` of their rows is.
const CATALOGS: &[(&str, &str)] = &[
    ("pg_am", "2601"),
    ("pg_cast", "2605"),
    ("pg_class", "1259"),
    ("pg_constraint", "2606"),
    ("pg_conversion", "2607"),
    ("pg_database", "1262"),
    ("pg_foreign_data_wrapper", "2328"),
    ("pg_foreign_server", "1417"),
    ("pg_language", "2612"),
    ("pg_namespace", "2615"),
    ("pg_opclass", "2616"),
    ("pg_operator", "2617"),
    ("pg_opfamily", "2753"),
    ("pg_proc", "1255"),
    ("pg_rewrite", "2618"),
    ("pg_trigger", "2620"),
    ("pg_type", "1247"),
];

/// Changes one expression before its parts are looked at; returns whether it has.
pub(super) fn before(expr: &mut Expr) -> bool {
    let instead = match expr {
        Expr::Function(function) => of_function(function),
        Expr::AnyOp { right, .. } if last(right).is_some_and(|name| name == "stxkind") => {
            Some(Expr::value(Value::Boolean(false)))
        }
        Expr::CompoundIdentifier(_) if last(expr).is_some_and(|name| name == "proparallel") => {
            Some(text("s"))
        }
        Expr::CompoundIdentifier(_) if last(expr).is_some_and(|name| name == "colliculocale") => {
            super::clients::parsed("CAST(NULL AS TEXT)")
        }
        _ => None,
    };
    match instead {
        Some(instead) => {
            *expr = instead;
            true
        }
        None => false,
    }
}

fn of_function(function: &Function) -> Option<Expr> {
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident)?.value.to_lowercase();
    if SIZES.contains(&name.as_str()) {
        return super::clients::parsed("CAST(NULL AS BIGINT)");
    }
    match name.as_str() {
        "pg_describe_object" | "pg_get_function_sqlbody" | "pg_get_statisticsobjdef_columns" => {
            super::clients::parsed("CAST(NULL AS TEXT)")
        }
        "pg_ts_dict_is_visible" | "pg_ts_parser_is_visible" | "pg_ts_template_is_visible" => {
            Some(Expr::value(Value::Boolean(true)))
        }
        // UTF8, which everything is in.
        "pg_char_to_encoding" => Some(Expr::value(Value::Number("6".to_owned(), false))),
        "array_to_string" => {
            let written = function.args.to_string();
            if ["unnest(tc.reloptions)", "unnest(evttags)"]
                .iter()
                .any(|part| written.contains(part))
            {
                return Some(text(""));
            }
            let FunctionArguments::List(list) = &function.args else { return None };
            let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.first()
            else {
                return None;
            };
            last(argument).is_some_and(|name| name == "proacl").then(|| text(""))
        }
        _ => None,
    }
}

/// Puts the OIDs of catalogs in the place of `tableoid`.
pub(super) fn select(select: &mut Select) {
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    let catalogs = factors.filter_map(|factor| {
        let TableFactor::Table { name, alias, .. } = factor else { return None };
        let table = name.0.last()?.as_ident()?;
        let (_, oid) = CATALOGS.iter().find(|(name, _)| table.value.eq_ignore_ascii_case(name))?;
        Some((alias.as_ref().map_or(table, |alias| &alias.name).clone(), *oid))
    });
    let catalogs = catalogs.collect::<Vec<(Ident, &str)>>();
    if catalogs.is_empty() {
        return;
    }
    let _ = visit_expressions_mut(select, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., table, column] = parts.as_slice()
            && column.value.eq_ignore_ascii_case("tableoid")
            && let Some((_, oid)) = catalogs.iter().find(|(known, _)| known.value == table.value)
        {
            *expr = Expr::value(Value::Number((*oid).to_owned(), false));
        }
        ControlFlow::<()>::Continue(())
    });
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// Returns the last part of a name.
fn last(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.to_lowercase()),
        Expr::Nested(inner) => last(inner),
        _ => None,
    }
}
