//! Functions that return rows in the place of a table, where they look at tables to their left, are numbered, or the planner knows
//! none of the name: `FROM orders o, unnest(o.items) WITH ORDINALITY AS i(item, place)`.
//!
//! Each becomes `LATERAL (SELECT unnest(array) AS item, …)`; `lateral.rs` finds a plan for it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_sql::MaruDialect;
use maru_sql::ast::{
    AccessExpr, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, SelectItem, SetExpr, TableAlias, TableFactor, Visit, Visitor,
    visit_expressions_mut,
};

use super::literals::call;
use super::set_returning::{array_call, array_of, steps};

/// Functions that the planner knows as tables.
const TABLES: &[&str] = &["generate_series"];

/// What the number of a row is called.
const ORDINALITY: &str = "ordinality";

/// Makes calls of arrays that are written of columns, in the arguments of functions in the place of tables: in an array the planner looks
/// for columns in the subquery alone (DataFusion 55.2).
pub(super) fn arrays_of_columns(table: &mut TableFactor) {
    let made = |expr: &mut Expr| {
        if let Expr::Array(array) = expr
            && array.elem.iter().any(looks_around)
        {
            *expr = call("make_array", std::mem::take(&mut array.elem));
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = match table {
        TableFactor::Table { args: Some(args), .. } => visit_expressions_mut(&mut args.args, made),
        TableFactor::Function { args, .. } => visit_expressions_mut(args, made),
        TableFactor::UNNEST { array_exprs, .. } => visit_expressions_mut(array_exprs, made),
        _ => ControlFlow::Continue(()),
    };
}

/// Makes a subquery of a call.
pub(super) fn table(table: &mut TableFactor) {
    let Some((function, arrays, numbered, alias)) = arrays(table) else { return };
    let Some(mut derived) = subquery() else { return };
    let TableFactor::Derived { subquery, alias: named, .. } = &mut derived else { return };
    let SetExpr::Select(select) = subquery.body.as_mut() else { return };
    let called = alias.as_ref().map_or_else(|| Ident::new(&function), |alias| alias.name.clone());
    let given = alias.as_ref().map(|alias| alias.columns.as_slice()).unwrap_or_default();
    let one = arrays.len() == 1;
    let name_of = |at: usize| match given.get(at) {
        Some(column) => column.name.clone(),
        None if at == arrays.len() => Ident::new(ORDINALITY),
        None if one => called.clone(),
        None => Ident::new(&function),
    };
    let mut items = Vec::new();
    for (at, array) in arrays.iter().enumerate() {
        let element = call("unnest", vec![array.clone()]);
        match columns_of(&function) {
            [] => items.push((element, name_of(at))),
            columns => items.extend(columns.iter().enumerate().map(|(at, column)| {
                let named = given.get(at).map(|column| column.name.clone());
                (field(element.clone(), column), named.unwrap_or_else(|| Ident::new(*column)))
            })),
        }
    }
    if numbered && let Some(longest) = longest(&arrays) {
        items.push((call("unnest", vec![longest]), name_of(arrays.len())));
    }
    select.projection =
        items.into_iter().map(|(expr, alias)| SelectItem::ExprWithAlias { expr, alias }).collect();
    *named = Some(TableAlias { explicit: true, name: called, columns: Vec::new(), at: None });
    *table = derived;
}

/// Returns the columns of a function whose rows have several.
fn columns_of(function: &str) -> &'static [&'static str] {
    match function {
        "aclexplode" => &["grantor", "grantee", "privilege_type", "is_grantable"],
        _ => &[],
    }
}

/// `(row).name`
fn field(row: Expr, name: &str) -> Expr {
    Expr::CompoundFieldAccess {
        root: Box::new(Expr::Nested(Box::new(row))),
        access_chain: vec![AccessExpr::Dot(Expr::Identifier(Ident::new(name)))],
    }
}

/// The function's name, the arrays whose elements are its rows, whether they are numbered, and what the table is called.
type Call = (String, Vec<Expr>, bool, Option<TableAlias>);

fn arrays(table: &TableFactor) -> Option<Call> {
    match table {
        TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. }
            if *with_ordinality || array_exprs.iter().any(looks_around) =>
        {
            Some(("unnest".to_owned(), array_exprs.clone(), *with_ordinality, alias.clone()))
        }
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. }
            if args.settings.is_none() =>
        {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
            let name = name.value.to_lowercase();
            let array = array_of(&name)?;
            let mut given = args.args.clone();
            steps(&name, &mut given);
            let arguments = plain(&given)?;
            // The planner's series of moments counts nanoseconds.
            let is_table = TABLES.contains(&name.as_str())
                && !*with_ordinality
                && !arguments.iter().any(|one| looks_around(one) || is_moment(one));
            (!is_table).then(|| {
                (name, vec![array_call(array, arguments)], *with_ordinality, alias.clone())
            })
        }
        // The same behind the word LATERAL.
        TableFactor::Function { lateral: true, name, args, alias, with_ordinality, .. } => {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
            let name = name.value.to_lowercase();
            let mut given = args.clone();
            steps(&name, &mut given);
            let arguments = plain(&given)?;
            if name == "unnest" {
                return Some((name, arguments, *with_ordinality, alias.clone()));
            }
            let array = array_of(&name)?;
            Some((name, vec![array_call(array, arguments)], *with_ordinality, alias.clone()))
        }
        _ => None,
    }
}

fn plain(arguments: &[FunctionArg]) -> Option<Vec<Expr>> {
    let plain = arguments.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    plain.collect()
}

/// `1, 2, …` as far as the longest of the arrays.
fn longest(arrays: &[Expr]) -> Option<Expr> {
    let lengths = arrays.iter().map(|array| call("cardinality", vec![array.clone()])).collect();
    let sql = "\"generate_series\"(1, CAST(NULL AS bigint))";
    let mut series = Parser::new(&MaruDialect).try_with_sql(sql).ok()?.parse_expr().ok()?;
    if let Expr::Function(function) = &mut series
        && let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Cast { expr, .. }))) =
            list.args.get_mut(1)
    {
        **expr = call("greatest", lengths);
    }
    Some(series)
}

/// Returns whether an expression is said to be a date or a timestamp.
fn is_moment(expr: &Expr) -> bool {
    let data_type = match expr {
        Expr::Nested(inner) => return is_moment(inner),
        Expr::Cast { data_type, .. } => data_type,
        Expr::TypedString(typed) => &typed.data_type,
        _ => return false,
    };
    matches!(data_type, DataType::Timestamp(..) | DataType::Date)
}

/// Returns whether an expression names a column.
pub(super) fn looks_around(expr: &Expr) -> bool {
    struct Names;
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Names).is_break()
}

/// `LATERAL (SELECT …)` whose columns are still to be named.
fn subquery() -> Option<TableFactor> {
    let sql = "LATERAL (SELECT 1) AS rows";
    Parser::new(&MaruDialect).try_with_sql(sql).ok()?.parse_table_factor().ok()
}
