//! Functions that return rows among the columns of a SELECT: `SELECT generate_series(1, 3)` gives three rows.

use maru_sql::ast::{Expr, Ident, ObjectName, ObjectNamePart, Select, SelectItem};

use super::literals::call;

/// PostgreSQL's functions, and what gives their rows as an array.
const FUNCTIONS: &[(&str, &str)] = &[
    ("generate_series", "generate_series"),
    ("regexp_split_to_table", "regexp_split_to_array"),
    ("string_to_table", "string_to_array"),
];

/// Makes rows of the array.
pub(super) fn select(select: &mut Select) {
    for item in &mut select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        let Expr::Function(function) = expr else { continue };
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { continue };
        let name = name.value.to_lowercase();
        let Some((_, array)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else { continue };
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*array))]);
        *expr = call("unnest", vec![expr.clone()]);
    }
}
