//! `avg` of numerics with the places that a quotient has, rounded.
//!
//! DataFusion gives an average four places more than its values have, and cuts the rest off. What it sums and counts is kept;
//! the division is that of `arithmetic/quotient.rs`: sixteen places or as many as the values have, rounded half away from zero.
//! Averages of intervals are those of `interval_sums.rs`, of floats and whole numbers DataFusion's own, which
//! `float_sums.rs` looks at.
//!
//! Source: PostgreSQL 16, `numeric_avg`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, UInt64Array};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, UInt64Type, i256,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, Signature, Volatility,
};
use maru_connect::rounded_quotient;
use maru_core::{Error, ErrorKind, Result};

use super::float_sums::{Bounded, BoundedGroups, Sliding};
use super::interval_sums::{self, INTERVAL, Intervals};

/// Places of an average of numerics with fewer.
const PLACES: i8 = 16;

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let signature = Signature::user_defined(Volatility::Immutable);
    let average = ExactAverage { inner: Avg::new(), signature };
    state.register_udaf(Arc::new(AggregateUDF::from(average)))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactAverage {
    inner: Avg,
    signature: Signature,
}

/// Returns the places of values, if they are numerics that this averages.
fn numeric(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal128(_, places) if *places >= 0 => Some(*places),
        _ => None,
    }
}

impl ExactAverage {
    /// What DataFusion's function is told: the result as it would have it.
    fn as_inner(&self, input: &DataType) -> DfResult<FieldRef> {
        let data_type = self.inner.return_type(std::slice::from_ref(input))?;
        Ok(Arc::new(Field::new(self.inner.name(), data_type, true)))
    }
}

impl AggregateUDFImpl for ExactAverage {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if let [DataType::Interval(_)] = types {
            return Ok(vec![INTERVAL]);
        }
        let fields = types.iter().map(|t| Arc::new(Field::new("", t.clone(), true)));
        let fields = fields.collect::<Vec<_>>();
        let coerced = fields_with_udf(&fields, &AggregateUDF::from(Avg::new()))?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        if types == [INTERVAL] {
            return Ok(INTERVAL);
        }
        match types.first().and_then(numeric) {
            Some(places) => Ok(DataType::Decimal128(38, places.max(PLACES))),
            None => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        if *input == INTERVAL {
            if args.is_distinct {
                return Err(Error::unsupported("avg(DISTINCT interval) is not supported").into());
            }
            return Ok(Box::new(Intervals::averaged()));
        }
        let distinct = args.is_distinct;
        let Some(places) = numeric(input) else {
            let is_float = *args.return_field.data_type() == DataType::Float64 && !distinct;
            let inner = self.inner.accumulator(args)?;
            return if is_float { Ok(Box::new(Bounded::new(inner))) } else { Ok(inner) };
        };
        let divide = Divide { places, result: args.return_field.data_type().clone() };
        let return_field = self.as_inner(input)?;
        let inner = self.inner.accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Values { inner, divide, distinct }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type();
        if *input == INTERVAL {
            return Ok(interval_sums::state_fields(args.name));
        }
        match numeric(input) {
            Some(_) => self
                .inner
                .state_fields(StateFieldsArgs { return_field: self.as_inner(input)?, ..args }),
            None => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match numeric(args.expr_fields[0].data_type()) {
            Some(_) => !args.is_distinct,
            None if *args.expr_fields[0].data_type() == INTERVAL => false,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if *args.return_field.data_type() == DataType::Float64 && !args.is_distinct {
            return Ok(Box::new(Sliding::new(self.inner.create_sliding_accumulator(args)?)));
        }
        self.accumulator(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        let input = args.expr_fields[0].data_type();
        let Some(places) = numeric(input) else {
            let is_float = *args.return_field.data_type() == DataType::Float64 && !args.is_distinct;
            let inner = self.inner.create_groups_accumulator(args)?;
            return if is_float { Ok(Box::new(BoundedGroups::new(inner))) } else { Ok(inner) };
        };
        let divide = Divide { places, result: args.return_field.data_type().clone() };
        let return_field = self.as_inner(input)?;
        let inner =
            self.inner.create_groups_accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Groups { inner, divide }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// How a sum and a count become an average.
#[derive(Debug)]
struct Divide {
    /// Of the sum.
    places: i8,
    result: DataType,
}

impl Divide {
    /// Returns NULL for a group without values.
    fn all(&self, counts: &UInt64Array, sums: &ArrayRef) -> Result<Decimal128Array> {
        let DataType::Decimal128(precision, places) = self.result else {
            return Err(Error::internal("an average of numerics is a numeric"));
        };
        let out_of_range = || Error::new(ErrorKind::OutOfRange, "an average is out of range");
        let power = u32::try_from(places - self.places).ok();
        let power = power
            .and_then(|power| i256::from_i128(10).checked_pow(power))
            .ok_or_else(out_of_range)?;
        let limit = 10_u128.pow(u32::from(precision));
        let sum = |row: usize| match sums.data_type() {
            DataType::Decimal128(..) => {
                Some(i256::from_i128(sums.as_primitive::<Decimal128Type>().value(row)))
            }
            DataType::Decimal256(..) => Some(sums.as_primitive::<Decimal256Type>().value(row)),
            _ => None,
        };
        let average = |row: usize| {
            if counts.is_null(row) || sums.is_null(row) || counts.value(row) == 0 {
                return Ok(None);
            }
            let count = i256::from_i128(i128::from(counts.value(row)));
            let average = sum(row)
                .and_then(|sum| sum.checked_mul(power))
                .and_then(|sum| rounded_quotient(sum, count))
                .and_then(i256::to_i128)
                .filter(|average| average.unsigned_abs() < limit);
            average.map(Some).ok_or_else(out_of_range)
        };
        let averages = (0..counts.len()).map(average).collect::<Result<Decimal128Array>>()?;
        Ok(averages.with_data_type(self.result.clone()))
    }
}

struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    divide: Divide,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> DfResult<()> {
        self.inner.update_batch(values, groups, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let state = self.inner.state(emit_to)?;
        let [counts, sums] = state.as_slice() else {
            return Err(Error::internal("an average is of a count and a sum").into());
        };
        Ok(Arc::new(self.divide.all(counts.as_primitive::<UInt64Type>(), sums)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        n_groups: usize,
    ) -> DfResult<()> {
        self.inner.merge_batch(values, groups, n_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[derive(Debug)]
struct Values {
    inner: Box<dyn Accumulator>,
    divide: Divide,
    /// Whether the state is a list of values.
    distinct: bool,
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let state = self.inner.state()?;
        let (counts, sums) = match state.as_slice() {
            [ScalarValue::List(values)] if self.distinct => {
                let values = values.value(0);
                let numbers = values.as_primitive::<Decimal128Type>();
                let sum = numbers
                    .iter()
                    .flatten()
                    .try_fold(i256::ZERO, |sum, value| sum.checked_add(i256::from_i128(value)));
                let sum = sum.ok_or_else(|| {
                    Error::new(ErrorKind::OutOfRange, "an average is out of range")
                })?;
                let n = (numbers.len() - numbers.null_count()) as u64;
                (
                    ScalarValue::UInt64(Some(n)),
                    ScalarValue::Decimal256(Some(sum), 76, self.divide.places),
                )
            }
            [count, sum] => (count.clone(), sum.clone()),
            _ => return Err(Error::internal("an average is of a count and a sum").into()),
        };
        let (counts, sums) = (counts.to_array()?, sums.to_array()?);
        let average = self.divide.all(counts.as_primitive::<UInt64Type>(), &sums)?;
        ScalarValue::try_from_array(&average, 0)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
