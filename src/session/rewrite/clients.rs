//! What drivers and tools ask of PostgreSQL's catalog, where the engine knows the answer or asks itself otherwise.
//!
//! Sequences and defaults there are none, so what is read of their catalogs is NULL; a type's OID is looked up by its name;
//! functions of a type are names here and not numbers.

use datafusion::sql::sqlparser::parser::Parser;
use maru_core::Result;
use maru_sql::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, Value,
};
use maru_sql::dialect::PostgreSqlDialect;

/// Catalogs that are empty, whatever is made.
const EMPTY: &[&str] = &["pg_sequence", "pg_attrdef"];

/// Columns of `pg_type` that hold the name of a function where PostgreSQL has its number; the number zero is written `-`.
const REGPROC: &[&str] = &[
    "typinput",
    "typoutput",
    "typreceive",
    "typsend",
    "typmodin",
    "typmodout",
    "typanalyze",
    "typsubscript",
];

/// Changes one expression before its parts are looked at.
pub(super) fn before(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    if reads_nothing(query) {
        *expr = Expr::value(Value::Null);
    } else if is_collation_of_type(query) {
        *expr = Expr::value(Value::Number("0".to_owned(), false));
    }
}

/// Changes one expression after its parts.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => {
            if let Some(name) = argument_of(function, "to_regtype") {
                let found = format!(
                    "(SELECT oid FROM pg_catalog.pg_type WHERE typname = CAST({name} AS text) LIMIT 1)"
                );
                if let Some(query) = parsed(&found) {
                    *expr = query;
                }
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            let is_zero = |expr: &Expr| matches!(expr, Expr::Value(value) if matches!(&value.value, Value::Number(n, _) if *n == "0"));
            let none = || Box::new(Expr::value(Value::SingleQuotedString("-".to_owned())));
            if is_regproc(left) && is_zero(right) {
                *right = none();
            } else if is_regproc(right) && is_zero(left) {
                *left = none();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Tools take the columns of indexes and constraints apart by functions that are not there. Tables have neither that the engine
/// knows of, so such a query has no rows; its columns keep their types.
pub(super) fn select(select: &mut Select) {
    let table = select.from.first().and_then(|from| match &from.relation {
        TableFactor::Table { name, .. } => name.0.last()?.as_ident(),
        _ => None,
    });
    let of_keys = table.is_some_and(|name| {
        ["pg_constraint", "pg_index"].contains(&name.value.to_lowercase().as_str())
    });
    let mut found = false;
    for item in select.projection.iter_mut().filter(|_| of_keys) {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        let Expr::Function(function) = expr else { continue };
        let Some(name) = function.name.0.last().and_then(ObjectNamePart::as_ident) else {
            continue;
        };
        let nothing = match name.value.to_lowercase().as_str() {
            "unnest" => "CAST(NULL AS SMALLINT)",
            "generate_subscripts" => "CAST(NULL AS INTEGER)",
            _ => continue,
        };
        if let Some(nothing) = parsed(nothing) {
            *expr = nothing;
            found = true;
        }
    }
    if found {
        select.selection = Some(Expr::value(Value::Boolean(false)));
    }
}

fn is_regproc(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    name.is_some_and(|name| REGPROC.contains(&name.value.to_lowercase().as_str()))
}

/// Returns whether a scalar subquery reads an empty catalog alone; that gives NULL unless it counts.
fn reads_nothing(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let [from] = select.from.as_slice() else { return false };
    let TableFactor::Table { name, .. } = &from.relation else { return false };
    let table = match name.0.last() {
        Some(ObjectNamePart::Identifier(name)) => name.value.to_lowercase(),
        _ => return false,
    };
    let counts =
        select.projection.iter().any(|item| item.to_string().to_lowercase().contains("count("));
    // Columns have no collation of their own here.
    let of_columns =
        || select.selection.as_ref().is_some_and(|on| on.to_string().contains("attcollation"));
    let is_empty = match table.as_str() {
        "pg_collation" => of_columns(),
        table => from.joins.is_empty() && EMPTY.contains(&table),
    };
    query.with.is_none() && !counts && is_empty
}

/// Returns whether a scalar subquery asks for the collation of a type, which is nobody's here, as that of columns.
fn is_collation_of_type(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let ([from], [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }]) =
        (select.from.as_slice(), select.projection.as_slice())
    else {
        return false;
    };
    let name = match item {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    let is_type = matches!(&from.relation, TableFactor::Table { name, .. }
        if name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|name| name.value.eq_ignore_ascii_case("pg_type")));
    is_type
        && from.joins.is_empty()
        && name.is_some_and(|name| name.value.eq_ignore_ascii_case("typcollation"))
}

/// Returns the only argument of a call of this function.
fn argument_of<'a>(function: &'a Function, wanted: &str) -> Option<&'a Expr> {
    let Some(ObjectNamePart::Identifier(name)) = function.name.0.last() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))]
            if name.value.eq_ignore_ascii_case(wanted) =>
        {
            Some(argument)
        }
        _ => None,
    }
}

fn parsed(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?.parse_expr().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(sql: &str) -> String {
        let mut expr = parsed(sql).unwrap();
        before(&mut expr);
        expression(&mut expr).unwrap();
        expr.to_string()
    }

    #[test]
    fn what_clients_ask_is_answered() {
        assert_eq!(
            changed("(SELECT s.seqmin FROM pg_catalog.pg_sequence s WHERE s.seqrelid = 1)"),
            "NULL"
        );
        assert_eq!(
            changed("(SELECT t.typcollation FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid)"),
            "0"
        );
        assert_eq!(changed("t.typreceive <> 0"), "t.typreceive <> '-'");
        assert!(changed("to_regtype($1)").contains("typname = CAST($1 AS TEXT)"));
        for same in [
            "(SELECT count(*) FROM pg_sequence)",
            "(SELECT a FROM t)",
            "x <> 0",
            "(SELECT a FROM pg_sequence, t)",
        ] {
            assert_eq!(changed(same), same);
        }
    }
}
