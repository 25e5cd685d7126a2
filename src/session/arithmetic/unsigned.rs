//! Numbers without a sign, which files have and PostgreSQL has not: each counts as the type that a client is told of it.
//!
//! The engine underneath makes numerics of `uint64` beside other whole numbers, after a client has been told of narrower ones.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

/// Lets whole numbers be computed with as those types. The types of columns change, so this comes before anybody is told.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let computes = matches!(
        op,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    );
    if !computes {
        return Transformed::no(expr);
    }
    let (Ok(a), Ok(b)) = (left.get_type(schema), right.get_type(schema)) else {
        return Transformed::no(expr);
    };
    let is_exact = |data_type: &DataType| data_type.is_integer() || data_type.is_decimal();
    let (told_left, told_right) = (told(&a), told(&b));
    if (told_left.is_none() && told_right.is_none()) || !is_exact(&a) || !is_exact(&b) {
        return Transformed::no(expr);
    }
    let side = |side: &Expr, data_type: Option<DataType>| match data_type {
        Some(data_type) => Box::new(Expr::Cast(Cast::new(Box::new(side.clone()), data_type))),
        None => Box::new(side.clone()),
    };
    let (left, right) = (side(left, told_left), side(right, told_right));
    let sum = Expr::BinaryExpr(BinaryExpr { left, op: *op, right });
    // What is a numeric now is divided as one.
    Transformed::yes(super::quotient::settle(sum, schema).data)
}

/// Returns the type that a client is told of a number without a sign.
fn told(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::UInt8 => Some(DataType::Int16),
        DataType::UInt16 => Some(DataType::Int32),
        DataType::UInt32 => Some(DataType::Int64),
        DataType::UInt64 => Some(DataType::Decimal128(20, 0)),
        _ => None,
    }
}
