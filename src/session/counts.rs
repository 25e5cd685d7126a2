//! `count(DISTINCT x)` with groups, which lets go of memory.
//!
//! Short of memory, a group operator takes out what it has so far and goes on with empty state. DataFusion's accumulator keeps the
//! table of a distinct count at its size then (55.2), the operator finds that nothing became free, and the statement ends with
//! 53200. Here it is put away and another one begun.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion::physical_plan::PhysicalExpr;
use maru_core::Result;

/// Puts the function in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let inner = state.udaf("count")?;
    state.register_udaf(Arc::new(AggregateUDF::from(Count { inner })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Count {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Count {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
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
        if !args.is_distinct {
            return self.inner.create_groups_accumulator(args);
        }
        let maker = Maker {
            function: Arc::clone(&self.inner),
            schema: args.schema.clone(),
            return_field: args.return_field,
            ignores_nulls: args.ignore_nulls,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        };
        Ok(Box::new(Distinct { inner: maker.make()?, maker }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn default_value(&self, data_type: &DataType) -> DfResult<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Makes accumulators of one call.
struct Maker {
    function: Arc<AggregateUDF>,
    schema: Schema,
    return_field: FieldRef,
    ignores_nulls: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Maker {
    fn make(&self) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.function.create_groups_accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignores_nulls,
            // The order of rows does not matter to a count.
            order_bys: &[],
            is_reversed: false,
            name: self.function.name(),
            is_distinct: true,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

struct Distinct {
    inner: Box<dyn GroupsAccumulator>,
    maker: Maker,
}

impl Distinct {
    fn emptied(&mut self, emitted: EmitTo) -> DfResult<()> {
        if matches!(emitted, EmitTo::All) {
            self.inner = self.maker.make()?;
        }
        Ok(())
    }
}

impl GroupsAccumulator for Distinct {
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
        let counts = self.inner.evaluate(emit_to)?;
        self.emptied(emit_to)?;
        Ok(counts)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let state = self.inner.state(emit_to)?;
        self.emptied(emit_to)?;
        Ok(state)
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion::functions_aggregate::count::count_udaf;
    use datafusion::physical_expr::expressions::col;

    use super::*;

    #[test]
    fn what_is_taken_out_is_let_go_of() {
        let field = Arc::new(Field::new("x", DataType::Int64, true));
        let schema = Schema::new(vec![Arc::clone(&field)]);
        let count = Count { inner: count_udaf() };
        let args = AccumulatorArgs {
            return_field: Arc::new(Field::new("count", DataType::Int64, false)),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "count",
            is_distinct: true,
            exprs: &[col("x", &schema).unwrap()],
            expr_fields: &[field],
        };
        let mut counts = count.create_groups_accumulator(args).unwrap();
        let empty = counts.size();
        let values: ArrayRef = Arc::new((0..10_000).map(|x| x % 7_000).collect::<Int64Array>());
        let groups = (0..10_000).map(|row| row % 2).collect::<Vec<_>>();
        for _ in 0..2 {
            counts.update_batch(&[Arc::clone(&values)], &groups, None, 2).unwrap();
            let state = counts.state(EmitTo::All).unwrap();
            assert_eq!(counts.size(), empty);
            counts.merge_batch(&state, &[0, 1], 2).unwrap();
            let found = counts.evaluate(EmitTo::All).unwrap();
            assert_eq!(found.as_primitive::<Int64Type>().values(), &[3_500, 3_500]);
        }
    }
}
