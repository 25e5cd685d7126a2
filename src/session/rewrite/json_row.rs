//! Whole rows as JSON: `json_agg(t)`, `row_to_json(t)`, where `t` is a table of FROM.
//!
//! The table becomes `(SELECT *, <row> FROM t) AS t`, in which the plan makes an object of the other columns once they are known
//! (`session/json/meaning.rs`). A column of that name comes first, as in PostgreSQL; that too is known in the plan.

use datafusion::sql::sqlparser::parser::Parser;
use maru_core::{Error, Result, quote_ident};
use maru_sql::MaruDialect;
use maru_sql::ast::{
    ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    Value,
};

use super::folded;
use super::literals::call;
use super::outside::outside_of_queries;
use crate::session::ROW_COLUMN;

/// Functions that take a row.
const FUNCTIONS: &[&str] = &[
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// Gives the tables whose rows are meant a column of them.
///
/// # Errors
/// Those of the parser, which would be Maru's own.
pub(super) fn select(select: &mut Select) -> Result<()> {
    let mut names = Vec::new();
    for from in &select.from {
        names.extend(name_of(&from.relation));
        names.extend(from.joins.iter().filter_map(|join| name_of(&join.relation)));
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut found = Vec::new();
    outside_of_queries(&mut select.projection, |expr| rows_of(expr, &names, &mut found));
    outside_of_queries(&mut select.having, |expr| rows_of(expr, &names, &mut found));
    if found.is_empty() {
        return Ok(());
    }
    for from in &mut select.from {
        let joined = from.joins.iter_mut().map(|join| &mut join.relation);
        for table in std::iter::once(&mut from.relation).chain(joined) {
            if name_of(table).is_some_and(|name| found.contains(&name)) {
                with_row(table)?;
            }
        }
    }
    hide(select, &found);
    Ok(())
}

/// The name that a table goes by, if it can be put into a query.
fn name_of(table: &TableFactor) -> Option<String> {
    match table {
        TableFactor::Table { name, alias, args: None, .. } => match alias {
            Some(alias) => Some(folded(&alias.name)),
            None => name.0.last()?.as_ident().map(folded),
        },
        TableFactor::Derived { lateral: false, alias: Some(alias), .. } => {
            Some(folded(&alias.name))
        }
        _ => None,
    }
}

fn with_row(table: &mut TableFactor) -> Result<()> {
    let Some(name) = name_of(table).map(|name| quote_ident(&name)) else { return Ok(()) };
    let row = quote_ident(ROW_COLUMN);
    let sql = format!("(SELECT *, json_whole_row() AS {row} FROM x) AS {name}");
    let parsed = Parser::new(&MaruDialect)
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_table_factor());
    let mut derived = parsed.map_err(|error| {
        Error::internal("the rows of a table could not be asked for").with_cause(error)
    })?;
    if let TableFactor::Derived { subquery, .. } = &mut derived
        && let SetExpr::Select(inner) = subquery.body.as_mut()
        && let [from] = inner.from.as_mut_slice()
    {
        std::mem::swap(&mut from.relation, table);
        *table = derived;
    }
    Ok(())
}

/// Leaves the rows out of `*`.
fn hide(select: &mut Select, names: &[String]) {
    let row = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', ROW_COLUMN))]);
    for item in &mut select.projection {
        let options = match item {
            SelectItem::Wildcard(options) => options,
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) if name
                .0
                .last()
                .and_then(|part| part.as_ident())
                .map(folded)
                .is_some_and(|name| names.contains(&name)) =>
            {
                options
            }
            _ => continue,
        };
        if options.opt_exclude.is_none() {
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(vec![row.clone()]));
        }
    }
}

/// Puts rows in the place of arguments of a function of JSON that are among the tables `names`; they become `found`.
fn rows_of(expr: &mut Expr, names: &[String], found: &mut Vec<String>) {
    let Expr::Function(function) = expr else { return };
    let called = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &mut function.args else { return };
    if !FUNCTIONS.contains(&called.as_str()) {
        return;
    }
    let mut changed = false;
    for argument in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument else { continue };
        let Expr::Identifier(ident) = value else { continue };
        let name = folded(ident);
        if !names.contains(&name) {
            continue;
        }
        let row = Ident::with_quote('"', ROW_COLUMN);
        let row = Expr::CompoundIdentifier(vec![ident.clone(), row]);
        let shown = Expr::value(Value::SingleQuotedString(name.clone()));
        *value = call("json_row_of", vec![row, shown]);
        found.push(name);
        changed = true;
    }
    if changed && called == "row_to_json" {
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("to_json"))]);
    }
}
