//! Quotients of numerics, and products with many places.
//!
//! The engine underneath gives a quotient four places more than its dividend has, and cuts the rest off: `2 / 3.0` is 0.6666.
//! PostgreSQL gives about sixteen digits and rounds. Here a quotient has sixteen places, or as many as its operands have, and
//! is rounded half away from zero. A product whose places would leave no room before the point is rounded to sixteen as well,
//! so that quotients can be multiplied.
//!
//! Source: PostgreSQL 16, `select_div_scale` (NUMERIC_MIN_SIG_DIGITS).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, i256};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use maru_connect::rounded_quotient;
use maru_core::{Error, ErrorKind, Result};

/// Places of a quotient.
const PLACES: i8 = 16;

/// Places of a product beyond which it is rounded.
const EXACT_PLACES_MAX: i8 = 20;

/// Puts the functions in the place of `/` and `*` where they differ from the engine's. The types of columns change, so this comes
/// before anybody is told.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    let (Ok(a), Ok(b)) = (left.get_type(schema), right.get_type(schema)) else {
        return Transformed::no(expr);
    };
    if !a.is_decimal() && !b.is_decimal() {
        return Transformed::no(expr);
    }
    let (Some((_, a)), Some((_, b))) = (exact(&a), exact(&b)) else { return Transformed::no(expr) };
    let function = match op {
        Operator::Divide => &*DIVIDE,
        Operator::Multiply if a + b > EXACT_PLACES_MAX => &*MULTIPLY,
        _ => return Transformed::no(expr),
    };
    Transformed::yes(function.call(vec![(**left).clone(), (**right).clone()]))
}

/// Returns the precision and the places of an exact number that fits a numeric of 38 digits.
fn exact(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 | DataType::UInt64 => (20, 0),
        DataType::Decimal128(precision, places) if *places >= 0 => (*precision, *places),
        _ => return None,
    })
}

static DIVIDE: LazyLock<ScalarUDF> = LazyLock::new(|| function(Operation::Divide));
static MULTIPLY: LazyLock<ScalarUDF> = LazyLock::new(|| function(Operation::Multiply));

fn function(operation: Operation) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(Rounded { operation, signature })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Divide,
    Multiply,
}

/// NULL if an operand is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounded {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Rounded {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Divide => "numeric_divide",
            Operation::Multiply => "numeric_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let numeric = |data_type: &DataType| match exact(data_type) {
            Some((precision, places)) => Ok(DataType::Decimal128(precision, places)),
            None => Err(Error::internal(format!("{} of {data_type}", self.name())).into()),
        };
        types.iter().map(numeric).collect()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let places = types.iter().filter_map(exact).map(|(_, places)| places).max().unwrap_or(0);
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, places.max(PLACES)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let DataType::Decimal128(precision, places) = *args.return_field.data_type() else {
            return Err(Error::internal(format!("{} has no type", self.name())).into());
        };
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let sides =
            args.args.iter().map(|arg| arg.to_array(n_rows)).collect::<DfResult<Vec<_>>>()?;
        let [left, right] = sides.as_slice() else {
            return Err(Error::internal(format!("{} takes two arguments", self.name())).into());
        };
        let computed =
            self.rows(left, right, places)?.with_precision_and_scale(precision, places)?;
        let array: ArrayRef = Arc::new(computed);
        Ok(if is_scalar {
            ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

impl Rounded {
    fn rows(&self, left: &ArrayRef, right: &ArrayRef, places: i8) -> Result<Decimal128Array> {
        let places_of = |array: &ArrayRef| exact(array.data_type()).map_or(0, |(_, places)| places);
        let (a, b) = (places_of(left), places_of(right));
        let left = left.as_primitive::<Decimal128Type>();
        let right = right.as_primitive::<Decimal128Type>();
        let compute: Box<dyn Fn(i128, i128) -> Result<i128>> = match self.operation {
            Operation::Divide => {
                let shift = u8::try_from(places + b - a).unwrap_or(0);
                Box::new(move |a, b| quotient(a, b, shift))
            }
            Operation::Multiply => {
                let shift = u8::try_from(a + b - places).unwrap_or(0);
                Box::new(move |a, b| product(a, b, shift))
            }
        };
        let pairs = left.iter().zip(right.iter());
        pairs
            .map(|pair| match pair {
                (Some(a), Some(b)) => compute(a, b).map(Some),
                _ => Ok(None),
            })
            .collect()
    }
}

/// Returns `a · 10^shift / b`, rounded.
fn quotient(a: i128, b: i128, shift: u8) -> Result<i128> {
    if b == 0 {
        return Err(Error::new(ErrorKind::DivisionByZero, "division by zero"));
    }
    let narrow = 10_i128.checked_pow(u32::from(shift)).and_then(|power| a.checked_mul(power));
    if let Some(a) = narrow {
        let (whole, rest) = (a / b, a % b);
        let up = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
        let away = if (a < 0) == (b < 0) { 1 } else { -1 };
        return in_range(if up { whole.checked_add(away) } else { Some(whole) });
    }
    let power = i256::from_i128(10).checked_pow(u32::from(shift));
    let a = power.and_then(|power| i256::from_i128(a).checked_mul(power));
    in_range(a.and_then(|a| divided(a, i256::from_i128(b))))
}

/// Returns `a · b / 10^shift`, rounded.
fn product(a: i128, b: i128, shift: u8) -> Result<i128> {
    let wide = i256::from_i128(a).checked_mul(i256::from_i128(b));
    let power = i256::from_i128(10).checked_pow(u32::from(shift));
    in_range(wide.zip(power).and_then(|(wide, power)| divided(wide, power)))
}

/// Rounds half away from zero; `None` if the result has no room in 128 bits.
fn divided(a: i256, b: i256) -> Option<i128> {
    rounded_quotient(a, b)?.to_i128()
}

fn in_range(value: Option<i128>) -> Result<i128> {
    let limit = 10_i128.pow(u32::from(Decimal128Type::MAX_PRECISION));
    value.filter(|value| (-limit < *value) && (*value < limit)).ok_or_else(|| {
        Error::new(ErrorKind::OutOfRange, "numeric out of range")
            .with_detail("The result has more digits before the point than a numeric has room for.")
            .with_hint("CAST a side to double precision.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        for (a, b, shift, expected) in [
            (2, 3, 4, 6667),
            (-2, 3, 4, -6667),
            (1, 3, 4, 3333),
            (1, -8, 2, -13),
            (1, 8, 2, 13),
            (0, 7, 16, 0),
            (5, 10, 0, 1),
            (4, 10, 0, 0),
            // By way of 256 bits.
            (10_i128.pow(30) * 2, 3, 16, 0),
        ] {
            let found = quotient(a, b, shift);
            match expected {
                0 if a != 0 && b == 3 => assert_eq!(found.unwrap_err().sqlstate(), "22003"),
                _ => assert_eq!(found.unwrap(), expected, "{a} / {b}"),
            }
        }
        assert_eq!(
            quotient(10_i128.pow(30) * 2, 3 * 10_i128.pow(12), 16).unwrap(),
            6_666_666_666_666_666_666_666_666_666_666_667
        );
        assert_eq!(quotient(1, 0, 4).unwrap_err().sqlstate(), "22012");
    }

    #[test]
    fn products_are_rounded() {
        assert_eq!(product(15, 10, 2).unwrap(), 2);
        assert_eq!(product(-15, 10, 2).unwrap(), -2);
        assert_eq!(product(10_i128.pow(37), 10_i128.pow(37), 37).unwrap(), 10_i128.pow(37));
        assert_eq!(product(10_i128.pow(37), 10_i128.pow(37), 30).unwrap_err().sqlstate(), "22003");
    }
}
