//! `sum` that cannot wrap around.
//!
//! DataFusion sums bigint modulo 2^64. As in PostgreSQL, the sum of bigint is numeric here; the sum of smaller integers is
//! bigint, which no number of rows that fits a disk can overflow. Sums of intervals are those of `interval_sums.rs`, and those of
//! floats are looked at by `float_sums.rs`. All else is DataFusion's own `sum`.
//!
//! DataFusion asks a call for its type again after its argument has been widened, and a bigint that was a smaller number looks
//! like any other then. So [`SettleSums`] gives sums of smaller numbers a function of their own before that.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, ExprSchemable,
    GroupsAccumulator, LogicalPlan, ReversedUDAF, Signature, Volatility, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;
use maru_core::{Error, ErrorKind, Result};

use super::arithmetic::change_expressions;
use super::float_sums::{Bounded, BoundedGroups, Sliding};
use super::interval_sums::{self, INTERVAL, Intervals};
use crate::system::types::sql_name;

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udaf(Arc::new(sum(false)))?;
    Ok(())
}

fn sum(of_small: bool) -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::from(ExactSum { inner: Sum::new(), signature, of_small })
}

static OF_SMALL: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(sum(true)));

/// Tells sums of numbers below bigint from those of bigint; comes before types are coerced.
#[derive(Debug)]
pub(super) struct SettleSums;

impl AnalyzerRule for SettleSums {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        change_expressions(plan, settle)
    }

    fn name(&self) -> &str {
        "settle_sums"
    }
}

fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (function, arguments) = match &mut expr {
        Expr::AggregateFunction(call) => (&mut call.func, &call.params.args),
        Expr::WindowFunction(call) => match &mut call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => (function, &call.params.args),
            WindowFunctionDefinition::WindowUDF(_) => return Transformed::no(expr),
        },
        _ => return Transformed::no(expr),
    };
    let small = function.name() == OF_SMALL.name()
        && arguments.iter().any(|argument| {
            argument.get_type(schema).is_ok_and(|data_type| is_small(value_type(&data_type)))
        });
    if small {
        *function = Arc::clone(&OF_SMALL);
    }
    if small { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn is_small(data_type: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Null, UInt8, UInt16};
    matches!(data_type, Int8 | Int16 | Int32 | UInt8 | UInt16 | Null)
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    inner: Sum,
    signature: Signature,
    /// Whether its bigints were smaller numbers.
    of_small: bool,
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
        let value_type = value_type(data_type);
        Ok(vec![match value_type {
            DataType::Int64 if self.of_small => DataType::Int64,
            DataType::Int64 | DataType::UInt64 | DataType::UInt32 => DataType::Decimal128(20, 0),
            t if is_small(t) => DataType::Int64,
            t if t.is_floating() => DataType::Float64,
            t if t.is_decimal() => t.clone(),
            DataType::Duration(_) => value_type.clone(),
            DataType::Interval(_) => INTERVAL,
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
        match types {
            [INTERVAL] => Ok(INTERVAL),
            types => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match *args.return_field.data_type() {
            INTERVAL if !args.is_distinct => Ok(Box::new(Intervals::default())),
            DataType::Float64 if !args.is_distinct => {
                Ok(Box::new(Bounded::new(self.inner.accumulator(args)?)))
            }
            _ => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        match *args.return_field.data_type() {
            INTERVAL if !args.is_distinct => Ok(interval_sums::state_fields(args.name)),
            _ => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        *args.return_field.data_type() != INTERVAL && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        let is_float = *args.return_field.data_type() == DataType::Float64 && !args.is_distinct;
        let groups = self.inner.create_groups_accumulator(args)?;
        if is_float { Ok(Box::new(BoundedGroups::new(groups))) } else { Ok(groups) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match *args.return_field.data_type() {
            INTERVAL => self.accumulator(args),
            DataType::Float64 if !args.is_distinct => {
                Ok(Box::new(Sliding::new(self.inner.create_sliding_accumulator(args)?)))
            }
            _ => self.inner.create_sliding_accumulator(args),
        }
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
