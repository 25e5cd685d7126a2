//! `VALUES` with queries in them: `VALUES (1, (SELECT max(id) FROM t))`. The planner computes the rows of `VALUES` before anything
//! has been read, so such ones are queries of one row each, put together.
//!
//! And `VALUES (date '2026-01-01'), ('2026-01-02')`: a text that stands in a column of another type is read as that. The planner does so for
//! numbers alone (DataFusion 55.2).

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, Result};
use maru_sql::Statement;
use maru_sql::ast::{
    self, ArrayElemTypeDef, CastKind, DataType, Expr, Ident, Parens, Query, Select, SelectItem,
    SetExpr, SetOperator, SetQuantifier, TimezoneInfo, Value, VisitMut, VisitorMut,
};

use super::literal;
use crate::session::open_texts::are_left_alone;

/// What stands in a cell of `VALUES`, as far as the text tells.
enum Cell {
    /// A text without a type.
    Open,
    Null,
    Typed(DataType),
    Unknown,
}

/// # Errors
/// None but broken invariants.
pub(super) fn query(query: &mut Query) -> Result<()> {
    let SetExpr::Values(values) = query.body.as_mut() else { return Ok(()) };
    if !are_left_alone() {
        type_texts(&mut values.rows);
    }
    if !has_query(&mut values.rows) {
        return Ok(());
    }
    let template = template()?;
    let mut whole = None;
    for row in std::mem::take(&mut values.rows) {
        let mut select = template.clone();
        let cells = row.content.into_iter().enumerate().map(|(at, expr)| {
            SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("column{}", at + 1)) }
        });
        select.projection = cells.collect();
        let right = SetExpr::Select(select);
        whole = Some(match whole {
            None => right,
            Some(left) => SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(left),
                right: Box::new(right),
            },
        });
    }
    if let Some(whole) = whole {
        *query.body = whole;
    }
    Ok(())
}

/// Gives texts the type that the other values of their column have, if that is one.
fn type_texts(rows: &mut [Parens<Vec<Expr>>]) {
    let n_columns = rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
    for at in 0..n_columns {
        let (mut has_text, mut is_clear) = (false, true);
        let mut known: Option<DataType> = None;
        for row in rows.iter() {
            match row.content.get(at).map_or(Cell::Unknown, cell) {
                Cell::Open => has_text = true,
                Cell::Null => {}
                Cell::Typed(data_type) => {
                    is_clear &= known.as_ref().is_none_or(|other| *other == data_type);
                    known = Some(data_type);
                }
                Cell::Unknown => is_clear = false,
            }
        }
        let Some(data_type) = known.filter(|_| has_text && is_clear) else { continue };
        for value in rows.iter_mut().filter_map(|row| row.content.get_mut(at)) {
            if matches!(cell(value), Cell::Open) {
                *value = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(value.clone()),
                    data_type: data_type.clone(),
                    array: false,
                    format: None,
                };
            }
        }
    }
}

fn cell(value: &Expr) -> Cell {
    let typed = |data_type: Option<DataType>| data_type.map_or(Cell::Unknown, Cell::Typed);
    match value {
        _ if literal(value).is_some() => Cell::Open,
        Expr::Value(value) => match &value.value {
            Value::Null => Cell::Null,
            Value::Boolean(_) => Cell::Typed(DataType::Boolean),
            _ => Cell::Unknown,
        },
        Expr::Nested(inner) if literal(inner).is_none() => cell(inner),
        Expr::TypedString(text) => typed(open_type(&text.data_type)),
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. } => {
            typed(open_type(data_type))
        }
        Expr::Interval(_) => Cell::Typed(interval()),
        Expr::Array(array) => typed(type_of_elements(&array.elem).map(array_of)),
        _ => Cell::Unknown,
    }
}

/// Returns the type that a text beside such a value is read as: without a precision, which is the other value's own. `None` for those that
/// the planner reads, and for texts.
fn open_type(data_type: &DataType) -> Option<DataType> {
    let zoned = |zone: &TimezoneInfo| match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => TimezoneInfo::None,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => TimezoneInfo::Tz,
    };
    match data_type {
        DataType::Date | DataType::Bytea | DataType::Uuid => Some(data_type.clone()),
        DataType::Bool | DataType::Boolean => Some(DataType::Boolean),
        DataType::Time(_, zone) => Some(DataType::Time(None, zoned(zone))),
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(None, zoned(zone))),
        DataType::Interval { .. } => Some(interval()),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => match element.as_ref() {
            DataType::SmallInt(None)
            | DataType::Int(None)
            | DataType::Integer(None)
            | DataType::BigInt(None)
            | DataType::Real
            | DataType::DoublePrecision
            | DataType::Text => Some(array_of(element.as_ref().clone())),
            element => open_type(element).map(array_of),
        },
        _ => None,
    }
}

fn interval() -> DataType {
    DataType::Interval { fields: None, precision: None }
}

fn array_of(element: DataType) -> DataType {
    DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(element), None))
}

/// Returns the type of elements that are all whole numbers, or all texts.
fn type_of_elements(elements: &[Expr]) -> Option<DataType> {
    let is_whole = |element: &Expr| {
        matches!(element, Expr::Value(value) if matches!(&value.value, Value::Number(digits, _)
            if digits.bytes().all(|digit| digit.is_ascii_digit())))
    };
    if elements.is_empty() {
        None
    } else if elements.iter().all(is_whole) {
        Some(DataType::BigInt(None))
    } else if elements.iter().all(|element| literal(element).is_some()) {
        Some(DataType::Text)
    } else {
        None
    }
}

/// Returns a query of one row, to be filled.
fn template() -> Result<Box<Select>> {
    let none = || Error::internal("a row is no query");
    let Statement::Query { statement, .. } = maru_sql::parse("SELECT NULL")? else {
        return Err(none());
    };
    let DfStatement::Statement(statement) = *statement else { return Err(none()) };
    let ast::Statement::Query(query) = *statement else { return Err(none()) };
    match *query.body {
        SetExpr::Select(select) => Ok(select),
        _ => Err(none()),
    }
}

fn has_query(rows: &mut [Parens<Vec<Expr>>]) -> bool {
    struct Found;
    impl VisitorMut for Found {
        type Break = ();

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    let mut cells = rows.iter_mut().flat_map(|row| row.content.iter_mut());
    cells.any(|cell| VisitMut::visit(cell, &mut Found).is_break())
}
