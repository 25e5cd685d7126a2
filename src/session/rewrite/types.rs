//! Types that are named in an expression, where PostgreSQL's differ from the planner's: `timestamp` counts microseconds, as tables
//! keep it. In nanoseconds it would end in 2262, and `9999-12-31`, by which so many tables mean "for ever", would be none.
//! `timestamp(9)` is one of nanoseconds. `xid`, a transaction's number, is a number. `array[0, 'NaN']::float8[]` is one of floats.

use maru_core::Result;
use maru_sql::ast::{ArrayElemTypeDef, CastKind, DataType, Expr};

use super::clients::is_xid;
use super::literal;

/// Digits behind the second that a timestamp has if it says nothing.
const DIGITS: u64 = 6;

/// Changes the type that one cast or typed literal names.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Cast { expr: inner, data_type, .. } => {
            whole(data_type);
            if let (Expr::Array(array), Some(item)) = (inner.as_mut(), number(data_type)) {
                array.elem.iter_mut().for_each(|element| read(element, item));
            }
        }
        Expr::TypedString(typed) => whole(&mut typed.data_type),
        _ => {}
    }
    Ok(())
}

/// Returns the type of an array's items if these are numbers with places, or floats.
fn number(data_type: &DataType) -> Option<&DataType> {
    let DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) = data_type else { return None };
    let is_number = matches!(
        item.as_ref(),
        DataType::Numeric(..)
            | DataType::Decimal(..)
            | DataType::DoublePrecision
            | DataType::Double(..)
            | DataType::Real
            | DataType::Float(..)
            | DataType::Float4
            | DataType::Float8
    );
    is_number.then_some(item.as_ref())
}

/// Makes a number of a text in an array: beside whole numbers `'NaN'` would be none.
fn read(element: &mut Expr, item: &DataType) {
    if literal(element).is_some() {
        *element = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(element.clone()),
            data_type: item.clone(),
            array: false,
            format: None,
        };
    }
}

fn whole(data_type: &mut DataType) {
    match data_type {
        DataType::Timestamp(digits @ None, _) => *digits = Some(DIGITS),
        // Of four bytes without a sign in PostgreSQL.
        DataType::Custom(..) if is_xid(data_type) => *data_type = DataType::BigInt(None),
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => whole(item),
        DataType::Struct(fields, _) => fields.iter_mut().for_each(|f| whole(&mut f.field_type)),
        _ => {}
    }
}
