//! `sum` that cannot wrap around.
//!
//! DataFusion sums bigint modulo 2^64. As in PostgreSQL, the sum of bigint is numeric here; the sum of smaller integers is
//! bigint, which no number of rows that fits a disk can overflow. All else is DataFusion's own `sum`.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let function =
        ExactSum { inner: Sum::new(), signature: Signature::user_defined(Volatility::Immutable) };
    state.register_udaf(Arc::new(AggregateUDF::from(function)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    inner: Sum,
    signature: Signature,
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [data_type] = types else {
            return Err(Error::new(
                ErrorKind::UndefinedFunction,
                format!("sum takes one argument, {} are given", types.len()),
            )
            .into());
        };
        let value_type = match data_type {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        Ok(vec![match value_type {
            DataType::Int64 | DataType::UInt64 | DataType::UInt32 => DataType::Decimal128(20, 0),
            t if t.is_integer() => DataType::Int64,
            DataType::Null => DataType::Int64,
            t if t.is_floating() => DataType::Float64,
            t if t.is_decimal() => t.clone(),
            DataType::Duration(_) | DataType::Interval(_) => value_type.clone(),
            other => {
                return Err(Error::new(
                    ErrorKind::UndefinedFunction,
                    format!("function sum({}) does not exist", sql_name(other)),
                )
                .with_hint("CAST the argument to a number.")
                .into());
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
