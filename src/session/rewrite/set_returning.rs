//! Functions that return rows among the columns of a SELECT: `SELECT generate_series(1, 3)` gives three rows.

use maru_sql::ast::{
    CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Select, SelectItem,
};

use super::literal;
use super::literals::call;
use super::outside::outside_of_queries;

/// PostgreSQL's functions, and what gives their rows as an array.
const FUNCTIONS: &[(&str, &str)] = &[
    ("aclexplode", "aclexplode"),
    ("generate_series", "generate_series"),
    ("regexp_matches", "regexp_matches"),
    ("regexp_split_to_table", "regexp_split_to_array"),
    ("string_to_table", "string_to_array"),
];

/// Returns the function that gives the rows of another one as an array.
pub(super) fn array_of(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, array)| *array)
}

/// Calls the function that gives an array. Its name is quoted: what has become of a call is not one of those below.
pub(super) fn array_call(array: &str, arguments: Vec<Expr>) -> Expr {
    let mut expr = call(array, arguments);
    if let Expr::Function(function) = &mut expr {
        function.name = quoted(array);
    }
    expr
}

fn quoted(array: &str) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', array))])
}

/// The step of a series of moments may be written as a text: `'1 day'`.
pub(super) fn steps(function: &str, arguments: &mut [FunctionArg]) {
    if let ("generate_series", [_, _, FunctionArg::Unnamed(FunctionArgExpr::Expr(step))]) =
        (function, arguments)
        && literal(step).is_some()
    {
        let data_type = DataType::Interval { fields: None, precision: None };
        let kind = CastKind::Cast;
        let expr = Box::new(step.clone());
        *step = Expr::Cast { kind, expr, data_type, array: false, format: None };
    }
}

/// Makes rows of the arrays, also inside of an expression: `(regexp_matches(t, '(a)'))[1]`.
pub(super) fn select(select: &mut Select) {
    for item in &mut select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        outside_of_queries(expr, rows_of);
    }
}

/// Makes rows of one call.
fn rows_of(expr: &mut Expr) {
    let Expr::Function(function) = &mut *expr else { return };
    let [ObjectNamePart::Identifier(Ident { value, quote_style: None, .. })] =
        function.name.0.as_slice()
    else {
        return;
    };
    let Some(array) = array_of(&value.to_lowercase()) else { return };
    function.name = quoted(array);
    if let FunctionArguments::List(list) = &mut function.args {
        steps(array, &mut list.args);
    }
    *expr = call("unnest", vec![expr.clone()]);
}
