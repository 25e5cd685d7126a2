//! Types that are named in an expression, where PostgreSQL's differ from the planner's: `timestamp` counts microseconds, as tables
//! keep it. In nanoseconds it would end in 2262, and `9999-12-31`, by which so many tables mean "for ever", would be none.
//! `timestamp(9)` is one of nanoseconds. `xid`, a transaction's number, is a number.

use maru_core::Result;
use maru_sql::ast::{ArrayElemTypeDef, DataType, Expr};

use super::clients::is_xid;

/// Digits behind the second that a timestamp has if it says nothing.
const DIGITS: u64 = 6;

/// Changes the type that one cast or typed literal names.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Cast { data_type, .. } => whole(data_type),
        Expr::TypedString(typed) => whole(&mut typed.data_type),
        _ => {}
    }
    Ok(())
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
