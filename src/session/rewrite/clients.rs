//! What drivers and tools ask of PostgreSQL's catalog, where the engine knows the answer or asks itself otherwise.
//!
//! Sequences and defaults there are none, so what is read of their catalogs is NULL; a type's OID is looked up by its name;
//! functions of a type are names here and not numbers.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::parser::Parser;
use maru_core::Result;
use maru_sql::MaruDialect;
use maru_sql::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor,
    Value, visit_expressions_mut,
};

use super::catalog;

/// Catalogs that are empty, whatever is made.
const EMPTY: &[&str] = &["pg_sequence", "pg_attrdef"];

/// Columns that hold the name of a function where PostgreSQL has its number; the number zero is written `-`.
const REGPROC: &[&str] = &[
    "aggcombinefn",
    "aggdeserialfn",
    "aggfinalfn",
    "aggmfinalfn",
    "aggminvtransfn",
    "aggmtransfn",
    "aggserialfn",
    "aggtransfn",
    "amhandler",
    "conproc",
    "oprcode",
    "oprjoin",
    "oprrest",
    "prosupport",
    "rngcanonical",
    "rngsubdiff",
    "typanalyze",
    "typinput",
    "typmodin",
    "typmodout",
    "typoutput",
    "typreceive",
    "typsend",
    "typsubscript",
];

/// Changes one expression before its parts are looked at.
pub(super) fn before(expr: &mut Expr) {
    if let Some(member) = catalog::in_search_path(expr) {
        *expr = member;
        return;
    }
    if let Some(list) = list_of_table(expr) {
        *expr = list;
        return;
    }
    if let Some(age) = age_of_transaction(expr) {
        *expr = age;
        return;
    }
    let Expr::Subquery(query) = expr else { return };
    if reads_nothing(query) {
        *expr = Expr::value(Value::Null);
    } else if is_collation_of_type(query) {
        *expr = Expr::value(Value::Number("0".to_owned(), false));
    } else {
        catalog::one_of_catalog(query);
    }
}

/// Changes one expression after its parts.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => {
            if let Some(argument) = argument_of(function, "age")
                && is_transaction(argument)
            {
                // Transactions have no numbers that could grow old.
                if let Some(none) = parsed("CAST(0 AS INTEGER)") {
                    *expr = none;
                }
            } else if let Some(name) = argument_of(function, "to_regtype") {
                let found = format!(
                    "(SELECT oid FROM pg_catalog.pg_type WHERE typname = CAST({name} AS text) LIMIT 1)"
                );
                if let Some(query) = parsed(&found) {
                    *expr = query;
                }
            }
        }
        // Types that only PostgreSQL's catalog has: of one byte, of names.
        Expr::Cast { data_type, .. }
            if ["\"char\"", "name", "pg_catalog.name"]
                .contains(&data_type.to_string().as_str()) =>
        {
            *data_type = DataType::Text;
        }
        Expr::Cast { expr: inner, data_type, .. } if is_regproc(inner) => {
            match data_type.to_string().to_lowercase().trim_start_matches("pg_catalog.") {
                "regproc" | "regprocedure" => *data_type = DataType::Text,
                "oid" | "int" | "integer" | "int4" | "bigint" | "int8" => {
                    let number =
                        super::literals::call("maru_function_oid", vec![(**inner).clone()]);
                    **inner = number;
                }
                _ => {}
            }
        }
        Expr::Cast { expr: inner, data_type: DataType::Array(item), .. }
            if is_oid(item) && is_parameter(inner) =>
        {
            *expr = super::literals::call("oid_array", vec![(**inner).clone()]);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            function_by_name(left, right);
            function_by_name(right, left);
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
    catalog::row_versions(select);
    catalog::keys(select);
    signatures(select);
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

/// The functions that may be called, in the form of `pg_proc`.
const ENGINE_FUNCTIONS: &str = "SELECT CAST(0 AS INTEGER) AS oid, name AS proname, CAST(11 AS INTEGER) AS pronamespace, \
    CAST(0 AS INTEGER) AS prorettype, CAST(10 AS INTEGER) AS proowner, CAST(12 AS INTEGER) AS prolang, false AS proretset, \
    false AS prosecdef, CAST('v' AS TEXT) AS provolatile, CAST(0 AS SMALLINT) AS pronargs, CAST(NULL AS TEXT) AS prosrc, \
    CASE kind WHEN 'aggregate' THEN 'a' WHEN 'window' THEN 'w' ELSE 'f' END AS prokind, signature FROM system.functions";

/// `\df` asks `pg_proc` for signatures. That table lists PostgreSQL's functions, as other catalogs refer to them; who asks for
/// signatures gets the functions that there are.
fn signatures(select: &mut Select) {
    let is_proc = |factor: &TableFactor| {
        matches!(factor, TableFactor::Table { name, args: None, .. }
            if name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|name| name.value.eq_ignore_ascii_case("pg_proc")))
    };
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    if !factors.into_iter().any(is_proc) {
        return;
    }
    let text = select.to_string().to_lowercase();
    if !["pg_get_function_result(", "pg_get_function_arguments("].iter().any(|w| text.contains(w)) {
        return;
    }
    let factors = select.from.iter_mut().flat_map(|from| {
        std::iter::once(&mut from.relation)
            .chain(from.joins.iter_mut().map(|join| &mut join.relation))
    });
    let Some(proc) = factors.into_iter().find(|factor| is_proc(factor)) else { return };
    let alias = match proc {
        TableFactor::Table { alias: Some(alias), .. } => alias.name.clone(),
        _ => Ident::new("pg_proc"),
    };
    let derived = Parser::new(&MaruDialect)
        .try_with_sql(&format!("({ENGINE_FUNCTIONS}) AS {alias}"))
        .and_then(|mut parser| parser.parse_table_factor());
    let Ok(derived) = derived else { return };
    *proc = derived;
    let _ = visit_expressions_mut(select, |expr| {
        let told = match expr {
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(ObjectNamePart::as_ident);
                match name.map(|name| name.value.to_lowercase()).as_deref() {
                    Some("pg_get_function_result") => Some("CAST(NULL AS TEXT)".to_owned()),
                    Some("pg_get_function_arguments" | "pg_get_function_identity_arguments") => {
                        Some(format!("{alias}.signature"))
                    }
                    Some("pg_function_is_visible") => Some("true".to_owned()),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(told) = told.and_then(|told| parsed(&told)) {
            *expr = told;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Has `ARRAY(SELECT … FROM pg_attribute WHERE attrelid = … AND attacl IS NOT NULL)` and the like of `pg_policy` told by functions of
/// the table's OID: `\dp` asks so.
fn list_of_table(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let name = function.name.0.last()?.as_ident()?;
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name: table, .. } = &from.relation else { return None };
    if !name.value.eq_ignore_ascii_case("array") || !from.joins.is_empty() {
        return None;
    }
    let on = select.selection.as_ref()?;
    let (list, key) = match table.0.last()?.as_ident()?.value.to_lowercase().as_str() {
        "pg_attribute" if on.to_string().to_lowercase().contains("attacl") => {
            ("maru_column_acls", "attrelid")
        }
        "pg_policy" => ("maru_policies", "polrelid"),
        _ => return None,
    };
    parsed(&format!("{list}({})", equal_to(on, key)?))
}

/// Returns what a column has to be equal to.
fn equal_to<'a>(on: &'a Expr, column: &str) -> Option<&'a Expr> {
    let is_column = |expr: &Expr| match expr {
        Expr::Identifier(name) => name.value.eq_ignore_ascii_case(column),
        Expr::CompoundIdentifier(names) => {
            names.last().is_some_and(|name| name.value.eq_ignore_ascii_case(column))
        }
        _ => false,
    };
    match on {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equal_to(left, column).or_else(|| equal_to(right, column))
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match () {
            () if is_column(left) => Some(right),
            () if is_column(right) => Some(left),
            () => None,
        },
        Expr::Nested(inner) => equal_to(inner, column),
        _ => None,
    }
}

/// Joins a function to where it is named, `proc.oid = typ.typreceive`, by its name.
fn function_by_name(number: &mut Expr, column: &Expr) {
    if let Expr::CompoundIdentifier(names) = number
        && let Some(last) = names.last_mut()
        && last.value.eq_ignore_ascii_case("oid")
        && is_regproc(column)
    {
        *last = Ident::new("proname");
    }
}

fn is_oid(item: &ArrayElemTypeDef) -> bool {
    let (ArrayElemTypeDef::AngleBracket(item)
    | ArrayElemTypeDef::SquareBracket(item, _)
    | ArrayElemTypeDef::Parenthesis(item)) = item
    else {
        return false;
    };
    ["oid", "pg_catalog.oid"].contains(&item.to_string().to_lowercase().as_str())
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// `age('1234'::xid)`: how many transactions ago that was, as `txid_current()` counts them; the numbers below three are older than all.
/// One that is still to come is as young as the current one: what is counted begins anew with the data directory.
fn age_of_transaction(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let Expr::Cast { expr: number, data_type, .. } = argument_of(function, "age")? else {
        return None;
    };
    if !is_xid(data_type) {
        return None;
    }
    parsed(&format!(
        "CAST(CASE WHEN CAST({number} AS BIGINT) < 3 THEN 2147483647 \
         ELSE greatest(txid_current() - CAST({number} AS BIGINT), 0) END AS INTEGER)"
    ))
}

/// Returns whether a type is that of transactions' numbers.
pub(super) fn is_xid(data_type: &DataType) -> bool {
    let name = data_type.to_string().to_lowercase();
    ["xid", "xid8"].contains(&name.trim_start_matches("pg_catalog."))
}

/// Returns whether a column holds the number of a transaction.
fn is_transaction(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Function(function) => function.name.0.last().and_then(ObjectNamePart::as_ident),
        _ => None,
    };
    name.is_some_and(|name| {
        [
            "backend_xid",
            "backend_xmin",
            "datfrozenxid",
            "relfrozenxid",
            "transactionid",
            "txid_current",
            "xmin",
        ]
        .contains(&name.value.to_lowercase().as_str())
    })
}

/// Makes a name of `'pg_catalog.array_in'::regproc` beside a column that holds names; returns whether it was one.
pub(super) fn name_function(cast: &mut Expr, column: &Expr) -> bool {
    let Expr::Cast { expr: inner, data_type, .. } = cast else { return false };
    let Some(name) = super::literal(inner).filter(|_| is_regproc(column)) else { return false };
    if !data_type.to_string().to_lowercase().ends_with("regproc") {
        return false;
    }
    let name = name.rsplit('.').next().unwrap_or(name).to_owned();
    *cast = Expr::value(Value::SingleQuotedString(name));
    true
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

pub(super) fn parsed(sql: &str) -> Option<Expr> {
    Parser::new(&MaruDialect).try_with_sql(sql).ok()?.parse_expr().ok()
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
        assert_eq!(changed("a.amhandler::oid"), "maru_function_oid(a.amhandler)::oid");
        assert_eq!(changed("a.aggtransfn::regproc"), "a.aggtransfn::TEXT");
        assert!(changed("age('7'::varchar::xid)").contains("txid_current() - CAST('7'"));
        assert!(changed("to_regtype($1)").contains("typname = CAST($1 AS TEXT)"));
        assert_eq!(
            changed(
                "ARRAY(SELECT attname FROM pg_catalog.pg_attribute a WHERE attrelid = c.oid AND attacl IS NOT NULL)"
            ),
            "maru_column_acls(c.oid)"
        );
        assert_eq!(
            changed("ARRAY(SELECT polname FROM pg_catalog.pg_policy pol WHERE (polrelid = c.oid))"),
            "maru_policies(c.oid)"
        );
        for same in [
            "ARRAY(SELECT a FROM t WHERE attrelid = 1)",
            "(SELECT count(*) FROM pg_sequence)",
            "(SELECT a FROM t)",
            "x <> 0",
            "(SELECT a FROM pg_sequence, t)",
        ] {
            assert_eq!(changed(same), same);
        }
    }
}
