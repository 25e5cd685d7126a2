//! Functions that return rows among the columns of a SELECT: `SELECT generate_series(1, 3)` gives three rows.

use maru_sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, Select, SelectItem, TimezoneInfo, Value,
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

/// The step of a series of moments may be written as a text: `'1 day'`. A series of dates is one of timestamps with a zone, as in PostgreSQL,
/// where it is seen in the text that they are dates.
pub(super) fn steps(function: &str, arguments: &mut [FunctionArg]) {
    let ("generate_series", [begin, end, step]) = (function, arguments) else { return };
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(step)) = step
        && literal(step).is_some()
    {
        cast(step, DataType::Interval { fields: None, precision: None });
    }
    if let (
        FunctionArg::Unnamed(FunctionArgExpr::Expr(begin)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(end)),
    ) = (begin, end)
        && (is_date(begin) || is_date(end))
        && [&*begin, &*end].into_iter().all(|bound| is_date(bound) || literal(bound).is_some())
    {
        for bound in [begin, end] {
            cast(bound, DataType::Timestamp(Some(6), TimezoneInfo::Tz));
        }
    }
}

fn cast(expr: &mut Expr, data_type: DataType) {
    let inner = Box::new(expr.clone());
    let kind = CastKind::Cast;
    *expr = Expr::Cast { kind, expr: inner, data_type, array: false, format: None };
}

/// Returns whether an expression is said to be a date.
fn is_date(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_date(inner),
        Expr::Cast { data_type, .. } => *data_type == DataType::Date,
        Expr::TypedString(typed) => typed.data_type == DataType::Date,
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            ["current_date", "make_date", "to_date"].contains(&name.as_str())
        }
        Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, right } => {
            let is_days =
                matches!(&**right, Expr::Value(days) if matches!(days.value, Value::Number(..)));
            is_days && is_date(left)
        }
        _ => false,
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
