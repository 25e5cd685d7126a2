//! Functions of JSON that return rows: `jsonb_array_elements`, `jsonb_each`, `jsonb_object_keys`, `jsonb_path_query`,
//! `jsonb_to_recordset`.
//!
//! A scalar function makes an array of the rows (`scalars/json/rows.rs`), and `unnest` rows of the array: in the select list right there,
//! in FROM as a query in the function's place, which may read the tables before it. A function whose rows are one value is that
//! value by the name of its table: `FROM jsonb_array_elements(doc) AS item WHERE item ->> 'k' = 'x'`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_core::{Error, ErrorKind, Result, quote_ident, quote_literal};
use maru_sql::MaruDialect;
use maru_sql::ast::{
    AccessExpr, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, VisitMut, VisitorMut,
};

use super::folded;
use super::literals::call;

/// Functions whose rows are one value: the array of them, what marks them, and whether the column is called `value`.
const OF_VALUES: &[(&str, &str, &str, bool)] = &[
    ("json_array_elements", "json_elements", "json_mark", true),
    ("jsonb_array_elements", "jsonb_elements", "jsonb_mark", true),
    ("json_array_elements_text", "json_elements_text", "", true),
    ("jsonb_array_elements_text", "jsonb_elements_text", "", true),
    ("json_object_keys", "json_keys", "", false),
    ("jsonb_object_keys", "jsonb_keys", "", false),
    ("jsonb_path_query", "jsonb_path_list", "jsonb_mark", false),
];

/// Functions whose rows are keys and values: the arrays of both, and what marks the values.
const OF_PAIRS: &[(&str, &str, &str, &str)] = &[
    ("json_each", "json_keys", "json_values", "json_mark"),
    ("jsonb_each", "jsonb_keys", "jsonb_values", "jsonb_mark"),
    ("json_each_text", "json_keys", "json_values_text", ""),
    ("jsonb_each_text", "jsonb_keys", "jsonb_values_text", ""),
];

/// Functions whose columns the statement defines, and the arrays of their objects.
const OF_RECORDS: &[(&str, &str)] = &[
    ("json_to_record", "json_record"),
    ("jsonb_to_record", "json_record"),
    ("json_to_recordset", "json_records"),
    ("jsonb_to_recordset", "json_records"),
];

/// Returns the name of a function in FROM, its arguments, and whether its rows are numbered.
fn function_of(table: &TableFactor) -> Option<(String, &[FunctionArg], bool)> {
    let (name, arguments, with_ordinality) = match table {
        TableFactor::Table { name, args: Some(args), with_ordinality, .. } => {
            (name, args.args.as_slice(), with_ordinality)
        }
        TableFactor::Function { name, args, with_ordinality, .. } => {
            (name, args.as_slice(), with_ordinality)
        }
        _ => return None,
    };
    let function = name.0.last()?.as_ident()?.value.to_lowercase();
    Some((function, arguments, *with_ordinality))
}

fn marked(mark: &str, value: String) -> String {
    if mark.is_empty() { value } else { format!("{mark}({value})") }
}

/// Puts a query in the place of a function in FROM.
///
/// # Errors
/// 42601 for a function without the columns it needs, or with some that it has itself; 0A000 for what makes rows of a type.
pub(super) fn table(table: &mut TableFactor) -> Result<()> {
    let Some((function, arguments, with_ordinality)) = function_of(table) else { return Ok(()) };
    let arguments = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let alias = match &*table {
        TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias.clone(),
        _ => None,
    };
    let alias = alias.as_ref();
    let named = alias.map_or(function.as_str(), |alias| alias.name.value.as_str());
    let mut columns = Vec::new();
    let array = if let Some((_, array, mark, is_value)) = by_name(OF_VALUES, &function) {
        let column = if *is_value { "value" } else { named };
        let value = marked(mark, format!("unnest({array}({arguments}))"));
        columns.push(format!("{value} AS {}", quote_ident(column)));
        *array
    } else if let Some((_, keys, values, mark)) = by_pairs(&function) {
        columns.push(format!("unnest({keys}({arguments})) AS key"));
        let value = marked(mark, format!("unnest({values}({arguments}))"));
        columns.push(format!("{value} AS value"));
        *keys
    } else if let Some((_, array)) = OF_RECORDS.iter().find(|(known, _)| *known == function) {
        if with_ordinality {
            return Err(Error::unsupported(
                "WITH ORDINALITY is not supported beside columns of a record",
            ));
        }
        let query = records(&function, array, &arguments, alias)?;
        return put(table, &query);
    } else if function.starts_with("json") && function.contains("populate_record") {
        return Err(Error::unsupported(format!("{function} is not supported"))
            .with_hint("Use jsonb_to_recordset(doc) AS t (name type, …)."));
    } else {
        return Ok(());
    };
    if alias.is_some_and(|alias| alias.columns.iter().any(|column| column.data_type.is_some())) {
        let what = "a column definition list is redundant for a function with OUT parameters";
        return Err(Error::new(ErrorKind::Syntax, what));
    }
    if with_ordinality {
        columns.push(format!("unnest(json_ordinals({array}({arguments}))) AS ordinality"));
    }
    let names = alias.map(names).unwrap_or_default();
    let columns = columns.join(", ");
    let query = format!("LATERAL (SELECT {columns}) AS {}{names}", quote_ident(named));
    put(table, &query)
}

/// The columns' names as the statement has them, of which there may be fewer than columns.
fn names(alias: &TableAlias) -> String {
    let names = alias.columns.iter().map(|column| quote_ident(&folded(&column.name)));
    match names.collect::<Vec<_>>() {
        names if names.is_empty() => String::new(),
        names => format!(" ({})", names.join(", ")),
    }
}

/// A column for each that is defined, cast from the text of its key.
fn records(
    function: &str,
    array: &str,
    arguments: &str,
    alias: Option<&TableAlias>,
) -> Result<String> {
    let defined = alias.filter(|alias| {
        !alias.columns.is_empty() && alias.columns.iter().all(|column| column.data_type.is_some())
    });
    let Some(alias) = defined else {
        let what = "a column definition list is required for functions returning \"record\"";
        return Err(Error::new(ErrorKind::Syntax, what)
            .with_hint(format!("Write {function}(doc) AS t (name type, …).")));
    };
    let columns = alias.columns.iter().map(|column| {
        let name = folded(&column.name);
        let (key, shown) = (quote_literal(&name), quote_ident(&name));
        let value = match column.data_type.as_ref() {
            Some(data_type @ (DataType::JSON | DataType::JSONB)) => {
                format!("CAST(json_field(item, {key}) AS {data_type})")
            }
            Some(data_type @ DataType::Array(_)) => {
                format!("CAST(json_field_array(item, {key}) AS {data_type})")
            }
            Some(data_type) => format!("CAST(item ->> {key} AS {data_type})"),
            None => key,
        };
        format!("{value} AS {shown}")
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    Ok(format!(
        "LATERAL (SELECT {columns} FROM (SELECT unnest({array}({arguments})) AS item) AS items) AS {}",
        quote_ident(&folded(&alias.name))
    ))
}

fn put(table: &mut TableFactor, query: &str) -> Result<()> {
    let parsed = Parser::new(&MaruDialect)
        .try_with_sql(query)
        .and_then(|mut parser| parser.parse_table_factor());
    *table = parsed.map_err(|error| {
        Error::internal("a function's rows could not be asked for").with_cause(error)
    })?;
    Ok(())
}

fn by_name<'a>(
    known: &'a [(&'a str, &'a str, &'a str, bool)],
    function: &str,
) -> Option<&'a (&'a str, &'a str, &'a str, bool)> {
    known.iter().find(|(name, ..)| *name == function)
}

fn by_pairs(
    function: &str,
) -> Option<&'static (&'static str, &'static str, &'static str, &'static str)> {
    OF_PAIRS.iter().find(|(name, ..)| *name == function)
}

/// Returns the name and the arguments of a call.
fn called(expr: &Expr) -> Option<(String, Vec<Expr>)> {
    let Expr::Function(function) = expr else { return None };
    let [part] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    Some((part.as_ident()?.value.to_lowercase(), arguments.collect::<Option<_>>()?))
}

/// Makes rows of `(jsonb_each(doc)).key` and `.value`, before the call is looked at by itself.
pub(super) fn before(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let Expr::Nested(inner) = root.as_ref() else { return };
    let Some((name, arguments)) = called(inner) else { return };
    let Some((_, keys, values, mark)) = by_pairs(&name) else { return };
    let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice() else { return };
    let rows = |array: &str| call("unnest", vec![call(array, arguments.clone())]);
    match folded(field).as_str() {
        "key" => *expr = rows(keys),
        "value" if mark.is_empty() => *expr = rows(values),
        "value" => *expr = call(mark, vec![rows(values)]),
        _ => {}
    }
}

/// Makes rows of a call outside of FROM.
///
/// # Errors
/// 0A000 for functions whose rows are more than one value.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let Some((name, arguments)) = called(expr) else { return Ok(()) };
    if let Some((_, array, mark, _)) = by_name(OF_VALUES, &name) {
        let rows = call("unnest", vec![call(array, arguments)]);
        *expr = if mark.is_empty() { rows } else { call(mark, vec![rows]) };
    } else if by_pairs(&name).is_some() || OF_RECORDS.iter().any(|(known, _)| *known == name) {
        return Err(Error::unsupported(format!("{name} stands in FROM only"))
            .with_hint(format!("Write SELECT … FROM t, {name}(t.doc) AS e.")));
    }
    Ok(())
}

/// Lets the name of a function's table mean its value, in a SELECT.
pub(super) fn select(select: &mut Select) {
    let names = value_names(select);
    if names.is_empty() {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(ident)) = item
            && names.contains(&folded(ident))
        {
            let alias = ident.clone();
            *item = SelectItem::ExprWithAlias { expr: Expr::Identifier(alias.clone()), alias };
        }
    }
    let mut replacer = ByName { names };
    let _ = select.projection.visit(&mut replacer);
    let _ = select.selection.visit(&mut replacer);
    let _ = select.group_by.visit(&mut replacer);
    let _ = select.having.visit(&mut replacer);
    // What a table is made of may name the tables before it.
    let mut before = ByName { names: Vec::new() };
    for from in &mut select.from {
        before.table(&mut from.relation);
        for join in &mut from.joins {
            before.table(&mut join.relation);
            let _ = join.join_operator.visit(&mut replacer);
        }
    }
}

/// The same in ORDER BY, where names that the SELECT gives come first.
pub(super) fn order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let mut names = value_names(select);
    names.retain(|name| {
        !select.projection.iter().any(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => folded(alias) == *name,
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => folded(ident) == *name,
            _ => false,
        })
    });
    if names.is_empty() {
        return;
    }
    if let Some(order) = &mut query.order_by
        && let OrderByKind::Expressions(keys) = &mut order.kind
    {
        let mut replacer = ByName { names };
        keys.iter_mut().for_each(|key| {
            let _ = key.expr.visit(&mut replacer);
        });
    }
}

/// Returns the names of the tables that are functions with a column `value`.
fn value_names(select: &Select) -> Vec<String> {
    let tables = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    tables.filter_map(value_name).collect()
}

/// Returns the name of a table that is a function with a column `value`.
fn value_name(table: &TableFactor) -> Option<String> {
    let (function, ..) = function_of(table)?;
    let (.., true) = by_name(OF_VALUES, &function)? else { return None };
    match table {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => {
            alias.columns.is_empty().then(|| folded(&alias.name))
        }
        _ => Some(function),
    }
}

struct ByName {
    names: Vec<String>,
}

impl ByName {
    /// Changes what a table is made of, and knows it from then on.
    fn table(&mut self, table: &mut TableFactor) {
        let name = value_name(table);
        if !self.names.is_empty() {
            let _ = match table {
                TableFactor::Table { args: Some(args), .. } => args.args.visit(self),
                TableFactor::Function { args, .. } => args.visit(self),
                TableFactor::UNNEST { array_exprs, .. } => array_exprs.visit(self),
                TableFactor::Derived { lateral: true, subquery, .. } => subquery.visit(self),
                _ => ControlFlow::Continue(()),
            };
        }
        self.names.extend(name);
    }
}

impl VisitorMut for ByName {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && self.names.contains(&folded(ident))
        {
            let value = Expr::CompoundIdentifier(vec![ident.clone(), Ident::new("value")]);
            let name = folded(ident);
            let name = maru_sql::ast::Value::SingleQuotedString(name);
            *expr = call("json_row_value", vec![value, Expr::value(name)]);
        }
        ControlFlow::Continue(())
    }
}
