//! Literals in what is kept with a table: an instant is the one that the literal means when it is written, whatever the time zones
//! of the sessions are that write rows later.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use maru_core::{Error, Result, quote_literal};
use maru_sql::ast::{self, BinaryOperator, Expr, Value, visit_expressions_mut};

use super::condition::read;
use super::declared::rows_of;
use crate::session::Session;
use crate::shell::text;

/// What an instant is called in casts.
const INSTANT: &str = "timestamp with time zone";

/// Writes the table out of the names of columns: its name may be another one elsewhere.
pub(super) fn unqualify(condition: &mut Expr, relation: &str, columns: &Schema) {
    if columns.field_with_name(relation).is_ok() {
        return;
    }
    let _ = visit_expressions_mut(condition, |expr| {
        let name = match &*expr {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] if folded(table) == relation => Some(column.clone()),
                _ => None,
            },
            _ => None,
        };
        if let Some(name) = name.filter(|name| columns.field_with_name(&folded(name)).is_ok()) {
            *expr = Expr::Identifier(name);
        }
        ControlFlow::<()>::Continue(())
    });
}

pub(super) fn folded(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Writes instants with their place in time into a condition, where they are compared with columns of them or written as such.
///
/// # Errors
/// 22007 for a text that is none.
pub(super) async fn fix_in(
    session: &Arc<Session>,
    condition: &mut Expr,
    columns: &Schema,
) -> Result<()> {
    let mut fixed = BTreeMap::new();
    each(condition, columns, &mut |literal| {
        fixed.insert(literal.to_string(), None);
    });
    for (literal, instant) in &mut fixed {
        *instant = Some(instant_of(session, literal).await?);
    }
    each(condition, columns, &mut |literal| {
        if let Some(Some(instant)) = fixed.get(&literal.to_string()) {
            *literal = instant.clone();
        }
    });
    Ok(())
}

/// Returns the instant that a literal means to the session, as a literal that means it to all.
async fn instant_of(session: &Arc<Session>, literal: &str) -> Result<Expr> {
    let instant = text_of(session, &format!("CAST({literal} AS {INSTANT})")).await?;
    read(&format!("SELECT CAST({} AS {INSTANT})", quote_literal(&instant)))
}

/// Returns a value as text.
async fn text_of(session: &Arc<Session>, value: &str) -> Result<String> {
    for batch in rows_of(session, &format!("SELECT CAST({value} AS text) AS x")).await? {
        if let Some(value) = text::rows(&batch)?.into_iter().flatten().next().flatten() {
            return Ok(value);
        }
    }
    Err(Error::internal("a literal without a value"))
}

/// Writes the default of a column out, if it is a literal that means an instant: `now` is now, too.
///
/// # Errors
/// 22007 for a text that is none.
pub(super) async fn fixed_default(
    session: &Arc<Session>,
    column: &Field,
    value: &Expr,
) -> Result<Option<String>> {
    let is_instant = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
    if !is_instant || !(is_open(value) || is_written(value)) {
        return Ok(None);
    }
    let instant = text_of(session, &format!("CAST({value} AS {INSTANT})")).await?;
    Ok(Some(quote_literal(&instant)))
}

/// Does something with each literal that means an instant.
fn each(condition: &mut Expr, columns: &Schema, act: &mut impl FnMut(&mut Expr)) {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let is_column = |expr: &Expr| match expr {
        Expr::Identifier(ident) => {
            let field = columns.field_with_name(&folded(ident));
            field.is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(_, Some(_))))
        }
        _ => false,
    };
    let _ = visit_expressions_mut(condition, |expr| {
        if is_written(expr) {
            act(expr);
            return ControlFlow::<()>::Continue(());
        }
        let beside: Vec<&mut Expr> = match expr {
            Expr::BinaryOp { left, op: Eq | NotEq | Lt | LtEq | Gt | GtEq, right } => {
                match (is_column(left), is_column(right)) {
                    (true, _) => vec![right.as_mut()],
                    (false, true) => vec![left.as_mut()],
                    (false, false) => Vec::new(),
                }
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                match is_column(left) {
                    true => vec![right.as_mut()],
                    false => Vec::new(),
                }
            }
            Expr::Between { expr, low, high, .. } => match is_column(expr) {
                true => vec![low.as_mut(), high.as_mut()],
                false => Vec::new(),
            },
            Expr::InList { expr, list, .. } => match is_column(expr) {
                true => list.iter_mut().collect(),
                false => Vec::new(),
            },
            _ => Vec::new(),
        };
        beside.into_iter().filter(|literal| is_open(literal)).for_each(&mut *act);
        ControlFlow::Continue(())
    });
}

/// Returns whether an expression is a text that has no type of its own.
fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// Returns whether an expression is a literal that says that it is an instant.
fn is_written(expr: &Expr) -> bool {
    use ast::TimezoneInfo::{Tz, WithTimeZone};
    let is_instant =
        |to: &ast::DataType| matches!(to, ast::DataType::Timestamp(_, Tz | WithTimeZone));
    match expr {
        Expr::TypedString(typed) => is_instant(&typed.data_type),
        Expr::Cast { expr, data_type, .. } => is_instant(data_type) && is_open(expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn instants_are_found_and_other_texts_are_not() {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let fields = [
            Field::new("seen", instant, true),
            Field::new("day", DataType::Date32, true),
            Field::new("b", DataType::Utf8, true),
        ];
        let columns = Schema::new(fields.to_vec());
        for (condition, expected) in [
            ("seen >= '2024-01-01'", "seen >= x"),
            ("'2024-01-01' < SEEN AND b = 'x'", "x < SEEN AND b = 'x'"),
            ("seen BETWEEN '2024-01-01' AND now()", "seen BETWEEN x AND now()"),
            ("seen IN ('2024-01-01', '2024-01-02')", "seen IN (x, x)"),
            ("seen - '1 day' > TIMESTAMPTZ '2024-01-01'", "seen - '1 day' > x"),
            ("seen > '2024-01-01'::timestamptz", "seen > x"),
            ("day > '2024-01-01'", "day > '2024-01-01'"),
        ] {
            let mut condition = read(&format!("SELECT {condition}")).unwrap();
            each(&mut condition, &columns, &mut |literal| *literal = read("SELECT x").unwrap());
            assert_eq!(condition.to_string(), expected);
        }
        let mut condition = read("SELECT t.b = 'x' AND T.\"day\" > u.seen").unwrap();
        unqualify(&mut condition, "t", &columns);
        assert_eq!(condition.to_string(), "b = 'x' AND \"day\" > u.seen");
    }
}
