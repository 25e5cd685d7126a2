//! Casts to `numeric` that say nothing of its digits: `x::numeric`.
//!
//! How many places are kept depends on the type of `x`, which is not known while the text is read: ten of a whole number, as columns
//! of type `numeric` have, those of a numeric that has more, and sixteen of a float and a text. So the statement calls a function whose type
//! says it, and a cast takes its place before anything looks for casts.

use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use super::numeric_text::PLACES;
use crate::system::types::sql_name;

/// The name under which the rewritten statement calls it.
pub(in crate::session) const FUNCTION: &str = "numeric_of";

/// Places that columns of type `numeric` have.
pub(in crate::session) const COLUMN_PLACES: i8 = 10;

/// Registers the function.
pub(in crate::session) fn register(state: &mut SessionState) -> Result<()> {
    let function = NumericOf { signature: Signature::any(1, Volatility::Immutable) };
    state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    Ok(())
}

/// Puts casts in the place of the function.
///
/// # Errors
/// What the walk says.
pub(in crate::session) fn as_casts(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(is_open(part)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if found { super::change_expressions(plan, as_cast) } else { Ok(plan) }
}

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.name() == FUNCTION)
}

fn as_cast(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Expr::ScalarFunction(call) = &expr
        && call.name() == FUNCTION
        && let [value] = call.args.as_slice()
        && let Ok(target) = expr.get_type(schema)
    {
        return Transformed::yes(Expr::Cast(Cast::new(Box::new(value.clone()), target)));
    }
    Transformed::no(expr)
}

/// Returns the numeric that values of a type become.
fn numeric_of(from: &DataType) -> DataType {
    let places = match from {
        DataType::Dictionary(_, value) => return numeric_of(value),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            (*scale).clamp(COLUMN_PLACES, DECIMAL128_MAX_SCALE)
        }
        other if other.is_integer() || other.is_null() => COLUMN_PLACES,
        _ => PLACES,
    };
    DataType::Decimal128(DECIMAL128_MAX_PRECISION, places)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericOf {
    signature: Signature,
}

impl ScalarUDFImpl for NumericOf {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Refused here, where the planner keeps the SQLSTATE.
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [from] = types else {
            return Err(Error::internal("one value is cast").into());
        };
        let target = numeric_of(from);
        if from.is_temporal() || !can_cast_types(from, &target) {
            let what = format!("cannot cast type {} to numeric", sql_name(from));
            return Err(Error::new(ErrorKind::CannotCast, what).into());
        }
        Ok(target)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let types = args.arg_fields.iter().map(|field| field.data_type().clone());
        let data_type = self.return_type(&types.collect::<Vec<_>>())?;
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, is_nullable)))
    }

    /// Where an expression was planned alone.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let target = args.return_field.data_type();
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => {
                Ok(ColumnarValue::Array(super::cast::to_numeric(values, target)?))
            }
            [ColumnarValue::Scalar(value)] => {
                let found = super::cast::to_numeric(&value.to_array()?, target)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?))
            }
            other => Err(Error::internal(format!("a cast of {} values", other.len())).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_have_the_places_that_a_type_needs() {
        for (from, places) in [
            (DataType::Int16, 10),
            (DataType::Null, 10),
            (DataType::Decimal128(12, 2), 10),
            (DataType::Decimal128(38, 12), 12),
            (DataType::Float64, 16),
            (DataType::Utf8, 16),
        ] {
            assert_eq!(numeric_of(&from), DataType::Decimal128(38, places), "{from}");
        }
        let function = NumericOf { signature: Signature::any(1, Volatility::Immutable) };
        assert!(function.return_type(&[DataType::Date32]).is_err());
        assert!(function.return_type(&[DataType::Boolean]).is_err());
    }
}
