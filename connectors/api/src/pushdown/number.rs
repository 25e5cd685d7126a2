//! From the engine's arithmetic to numbers that a source may compute.
//!
//! Each step is followed by the greatest value it can have, as its columns' types say. Only if that fits the type which the
//! engine has at this place is nothing lost on the way: there then is one right value, and whoever computes exactly has it.
//! What could run over stays, since the error is the engine's to tell.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};

use crate::{ArithmeticOp, Computation, Number};

/// A number that is `n · 10^-scale` for some whole `n` with `|n| <= most`.
struct Bounded {
    number: Number,
    most: u128,
    scale: u8,
}

/// Lowers an expression of the columns of `schema`; `None` for what is not proven to have one value. `column` tells which column
/// of the table an expression is.
pub(super) fn lower(
    expr: &Expr,
    schema: &DFSchema,
    column: &dyn Fn(&Expr) -> Option<usize>,
) -> Option<Computation> {
    let Bounded { number, .. } = bounded(expr, schema, column)?;
    let data_type = expr.get_type(schema).ok()?;
    (!number.columns().is_empty()).then_some(Computation { number, data_type })
}

fn bounded(
    expr: &Expr,
    schema: &DFSchema,
    column: &dyn Fn(&Expr) -> Option<usize>,
) -> Option<Bounded> {
    let data_type = expr.get_type(schema).ok()?;
    let (limit, type_scale) = room(&data_type)?;
    let of = |expr: &Expr| bounded(expr, schema, column);
    let value = match expr {
        Expr::Alias(alias) => of(&alias.expr)?,
        Expr::Column(_) => {
            let number = Number::Column(column(expr)?);
            // The least whole number is further from zero than the greatest.
            let most = if data_type.is_integer() { limit + 1 } else { limit };
            return Some(Bounded { number, most, scale: type_scale });
        }
        Expr::Literal(value, _) => literal(value)?,
        Expr::Cast(Cast { expr, .. }) => of(expr)?,
        Expr::Negative(inner) => {
            let zero =
                Bounded { number: Number::Literal { digits: 0, scale: 0 }, most: 0, scale: 0 };
            arithmetic(ArithmeticOp::Subtract, zero, of(inner)?)?
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = match op {
                Operator::Plus => ArithmeticOp::Add,
                Operator::Minus => ArithmeticOp::Subtract,
                Operator::Multiply => ArithmeticOp::Multiply,
                _ => return None,
            };
            arithmetic(op, of(left)?, of(right)?)?
        }
        // Arithmetic of whole numbers, checked.
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let op = match func.name() {
                "integer_add" => ArithmeticOp::Add,
                "integer_subtract" => ArithmeticOp::Subtract,
                "integer_multiply" => ArithmeticOp::Multiply,
                _ => return None,
            };
            let [left, right] = args.as_slice() else { return None };
            arithmetic(op, of(left)?, of(right)?)?
        }
        _ => return None,
    };
    (shifted(value.most, value.scale, type_scale)? <= limit).then_some(value)
}

fn literal(value: &ScalarValue) -> Option<Bounded> {
    let (digits, scale) = match value {
        ScalarValue::Int8(Some(n)) => (i128::from(*n), 0),
        ScalarValue::Int16(Some(n)) => (i128::from(*n), 0),
        ScalarValue::Int32(Some(n)) => (i128::from(*n), 0),
        ScalarValue::Int64(Some(n)) => (i128::from(*n), 0),
        ScalarValue::Decimal128(Some(n), _, scale) => (*n, u8::try_from(*scale).ok()?),
        _ => return None,
    };
    let number = Number::Literal { digits, scale };
    Some(Bounded { number, most: digits.unsigned_abs(), scale })
}

fn arithmetic(op: ArithmeticOp, left: Bounded, right: Bounded) -> Option<Bounded> {
    let (most, scale) = match op {
        ArithmeticOp::Multiply => {
            (left.most.checked_mul(right.most)?, left.scale.checked_add(right.scale)?)
        }
        ArithmeticOp::Add | ArithmeticOp::Subtract => {
            let scale = left.scale.max(right.scale);
            let left = shifted(left.most, left.scale, scale)?;
            (left.checked_add(shifted(right.most, right.scale, scale)?)?, scale)
        }
    };
    let (left, right) = (Box::new(left.number), Box::new(right.number));
    Some(Bounded { number: Number::Arithmetic { op, left, right }, most, scale })
}

/// Returns `n` with `to` places instead of `from`; `None` if it would lose some.
fn shifted(n: u128, from: u8, to: u8) -> Option<u128> {
    n.checked_mul(10_u128.checked_pow(u32::from(to.checked_sub(from)?))?)
}

/// Returns the greatest `n` of a type's values `n · 10^-scale`, and the scale.
fn room(data_type: &DataType) -> Option<(u128, u8)> {
    let bits = match data_type {
        DataType::Int8 => 7,
        DataType::Int16 => 15,
        DataType::Int32 => 31,
        DataType::Int64 => 63,
        DataType::Decimal128(precision, scale) => {
            let limit = 10_u128.checked_pow(u32::from(*precision))? - 1;
            return Some((limit, u8::try_from(*scale).ok()?));
        }
        _ => return None,
    };
    Some(((1 << bits) - 1, 0))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;

    fn lowered(expr: Expr) -> Option<Computation> {
        let schema = Schema::new(vec![
            Field::new("small", DataType::Int16, true),
            Field::new("int", DataType::Int32, true),
            Field::new("big", DataType::Int64, true),
            Field::new("price", DataType::Decimal128(12, 2), true),
            Field::new("free", DataType::Decimal128(38, 10), true),
            Field::new("float", DataType::Float64, true),
        ]);
        let schema = DFSchema::try_from(schema).unwrap();
        let column = |expr: &Expr| match expr {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        };
        lower(&expr, &schema, &column)
    }

    fn decimal(expr: Expr, precision: u8, scale: i8) -> Expr {
        cast(expr, DataType::Decimal128(precision, scale))
    }

    #[test]
    fn what_cannot_run_over_is_lowered() {
        let one = || lit(ScalarValue::Decimal128(Some(1), 20, 0));
        for (expr, result) in [
            (col("price") * (one() - col("price")), DataType::Decimal128(36, 4)),
            (decimal(col("int"), 10, 0) * col("price"), DataType::Decimal128(23, 2)),
            (cast(col("int"), DataType::Int64) + lit(1_i64), DataType::Int64),
            (decimal(col("big"), 20, 0) + one(), DataType::Decimal128(21, 0)),
            (-col("price"), DataType::Decimal128(12, 2)),
        ] {
            let found = lowered(expr.clone());
            assert_eq!(found.map(|found| found.data_type), Some(result), "{expr}");
        }
    }

    #[test]
    fn what_could_run_over_or_be_rounded_stays() {
        for expr in [
            col("int") * col("int"),
            col("small") + col("small"),
            col("big") + lit(1_i64),
            -col("big"),
            col("free") * col("price"),
            col("free") + col("free"),
            col("float") * lit(2.0),
            col("price") / col("price"),
            decimal(col("price"), 12, 1),
            decimal(col("price"), 10, 2),
            lit(1_i64) + lit(2_i64),
        ] {
            assert_eq!(lowered(expr.clone()), None, "{expr}");
        }
    }
}
