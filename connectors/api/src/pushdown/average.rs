//! Averages of decimals and whole numbers as sums and counts, which a source may compute. The division stays in the engine.
//!
//! Those of whole numbers are floats. As a sum of floats they would depend on the order of rows once the sum is beyond 2^53; as a
//! whole sum divided once they do not, so above the rows of a source they are always that, sent or not.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Int64Type, i256};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{AggregateFunction as Call, Cast};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::OptimizerConfig;
use maru_core::{Error, ErrorKind};

use crate::{FederatedTable, SourceTable, rounded_quotient};

/// An aggregation whose averages are sums and counts, and how they become averages again.
pub(super) struct Parts {
    pub(super) node: Aggregate,
    /// Whether it stays apart if the source does not compute it.
    pub(super) exact: bool,
    /// One expression over the columns of `node` for each column of the aggregation as it was.
    columns: Vec<Expr>,
}

impl Parts {
    pub(super) fn plan(&self) -> LogicalPlan {
        LogicalPlan::Aggregate(self.node.clone())
    }

    /// Divides above what took the place of the aggregation, if anything did.
    pub(super) fn put_together(
        &self,
        pushed: Option<LogicalPlan>,
    ) -> DfResult<Option<LogicalPlan>> {
        let Some(pushed) = pushed else { return Ok(None) };
        LogicalPlanBuilder::from(pushed).project(self.columns.clone())?.build().map(Some)
    }
}

/// Takes an aggregation apart; `None` if it has no averages of decimals, nor of a source's whole numbers.
pub(super) fn taken_apart(
    node: &Aggregate,
    config: &dyn OptimizerConfig,
) -> DfResult<Option<Parts>> {
    let input = node.input.schema();
    let of_source = reads_source(&node.input);
    let named = |expr: &Expr| averaged(expr, input, of_source);
    let types = node.aggr_expr.iter().filter_map(&named).map(|(_, result)| result);
    let types = types.collect::<Vec<_>>();
    if types.is_empty() {
        return Ok(None);
    }
    let exact = types.contains(&DataType::Float64);
    let Some(registry) = config.function_registry() else { return Ok(None) };
    let (Ok(sum), Ok(count)) = (registry.udaf("sum"), registry.udaf("count")) else {
        return Ok(None);
    };
    let mut aggregates: Vec<Expr> = Vec::new();
    let mut place = |expr: Expr| match aggregates.iter().position(|other| *other == expr) {
        Some(at) => at,
        None => {
            aggregates.push(expr);
            aggregates.len() - 1
        }
    };
    let with = |function: &Arc<AggregateUDF>, call: &Call| {
        let call = Call { func: Arc::clone(function), params: call.params.clone() };
        Expr::AggregateFunction(call)
    };
    let of = |call: &Call, argument: Expr| {
        let mut call = call.clone();
        call.params.args = vec![argument];
        call
    };
    let places = node
        .aggr_expr
        .iter()
        .map(|expr| match named(expr) {
            Some((Averaged { call, summed, counted }, _)) => (
                place(with(&sum, &of(&call, summed))),
                Some(place(with(&count, &of(&call, counted)))),
            ),
            None => (place(expr.clone()), None),
        })
        .collect::<Vec<_>>();
    let aggregates = named_apart(aggregates);
    let parts = Aggregate::try_new(Arc::clone(&node.input), node.group_expr.clone(), aggregates)?;
    let n_keys = node.schema.fields().len() - node.aggr_expr.len();
    let column = |at: usize| Expr::Column(Column::from(parts.schema.qualified_field(at)));
    let keys = (0..n_keys).map(|at| (column(at), at));
    let values = places.into_iter().enumerate().map(|(at, (value, count))| {
        let at = n_keys + at;
        let value = column(n_keys + value);
        let Some(count) = count else { return (value, at) };
        let function = ScalarUDF::from(Average::new(node.schema.field(at).data_type().clone()));
        (function.call(vec![value, column(n_keys + count)]), at)
    });
    let columns = keys.chain(values).map(|(expr, at)| {
        let (qualifier, field) = node.schema.qualified_field(at);
        expr.alias_qualified(qualifier.cloned(), field.name())
    });
    let columns = columns.collect();
    Ok(Some(Parts { node: parts, exact, columns }))
}

/// Gives aggregates that differ in a cast alone, which their names do not show, names of their own.
fn named_apart(aggregates: Vec<Expr>) -> Vec<Expr> {
    let mut seen = HashSet::new();
    let apart = |(at, expr): (usize, Expr)| {
        let name = expr.schema_name().to_string();
        if seen.insert(name.clone()) { expr } else { expr.alias(format!("{name} {at}")) }
    };
    aggregates.into_iter().enumerate().map(apart).collect()
}

/// An average, what is summed for it and what is counted.
struct Averaged {
    call: Call,
    summed: Expr,
    counted: Expr,
}

/// Returns the call if an expression is the average of a decimal or of a source's whole numbers, and what kind of number it is.
fn averaged(expr: &Expr, input: &DFSchema, of_source: bool) -> Option<(Averaged, DataType)> {
    let call = match expr {
        Expr::Alias(alias) => return averaged(&alias.expr, input, of_source),
        Expr::AggregateFunction(call) if call.func.name() == "avg" && !call.params.distinct => call,
        _ => return None,
    };
    let [argument] = call.params.args.as_slice() else { return None };
    let data_type = argument.get_type(input).ok()?;
    match (&data_type, argument) {
        (DataType::Decimal128(_, scale), _) if *scale >= 0 => {
            let (call, summed, counted) = (call.clone(), argument.clone(), argument.clone());
            Some((Averaged { call, summed, counted }, data_type))
        }
        (DataType::Float64, Expr::Cast(Cast { expr: whole, .. })) if of_source => {
            if !whole.get_type(input).ok()?.is_signed_integer() {
                return None;
            }
            let (call, counted) = (call.clone(), whole.as_ref().clone());
            let summed = Expr::Cast(Cast::new(whole.clone(), DataType::Decimal128(20, 0)));
            Some((Averaged { call, summed, counted }, data_type))
        }
        _ => None,
    }
}

/// Returns whether rows of a source are among those below.
fn reads_source(plan: &LogicalPlan) -> bool {
    let is_source = |node: &LogicalPlan| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(false) };
        let provider = source_as_provider(&scan.source)?;
        let table = provider.downcast_ref::<FederatedTable>();
        Ok(table.is_some_and(|table| matches!(table.source_table(), SourceTable::Remote(_))))
    };
    plan.exists(is_source).unwrap_or(false)
}

/// A sum divided by a count as Maru's `avg` divides: to the decimal places of its type, rounded half away from zero.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    signature: Signature,
    result: DataType,
}

impl Average {
    fn new(result: DataType) -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable), result }
    }
}

impl ScalarUDFImpl for Average {
    fn name(&self) -> &str {
        "average"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [sums, counts] = arrays.as_slice() else {
            return Err(Error::internal("an average is of a sum and a count").into());
        };
        Ok(ColumnarValue::Array(divided(sums, counts, &self.result)?))
    }
}

fn divided(sums: &ArrayRef, counts: &ArrayRef, result: &DataType) -> DfResult<ArrayRef> {
    if *result == DataType::Float64 {
        return divided_whole(sums, counts);
    }
    let (DataType::Decimal128(_, scale), DataType::Decimal128(precision, places)) =
        (sums.data_type(), result)
    else {
        return Err(Error::internal("an average is of decimals").into());
    };
    let shift = u32::try_from(*places - *scale)
        .map_err(|_| Error::internal("an average has fewer places than its sum"))?;
    let power = i256::from_i128(10_i128.pow(shift));
    let limit = 10_u128.pow(u32::from((*precision).min(DECIMAL128_MAX_PRECISION)));
    let overflow = || Error::new(ErrorKind::OutOfRange, "an average is out of range");
    let sums = sums.as_primitive::<Decimal128Type>();
    let counts = counts.as_primitive::<Int64Type>();
    let mut averages = Decimal128Array::builder(sums.len());
    for (sum, count) in sums.iter().zip(counts) {
        let (Some(sum), Some(count @ 1..)) = (sum, count) else {
            averages.append_null();
            continue;
        };
        let count = i256::from_i128(count.into());
        let average =
            i256::from_i128(sum).checked_mul(power).and_then(|n| rounded_quotient(n, count));
        let average = average.and_then(i256::to_i128).filter(|n| n.unsigned_abs() < limit);
        averages.append_value(average.ok_or_else(overflow)?);
    }
    Ok(Arc::new(averages.finish().with_data_type(result.clone())))
}

/// Divides the sum as the float next to it.
fn divided_whole(sums: &ArrayRef, counts: &ArrayRef) -> DfResult<ArrayRef> {
    let counts = counts.as_primitive::<Int64Type>();
    let average = |sum: Option<f64>, count: Option<i64>| match (sum, count) {
        (Some(sum), Some(count @ 1..)) => Some(sum / count as f64),
        _ => None,
    };
    let Some(sums) = sums.as_primitive_opt::<Decimal128Type>() else {
        return Err(Error::internal("a sum of whole numbers is a decimal").into());
    };
    let pairs = sums.iter().zip(counts);
    let averages: Float64Array =
        pairs.map(|(sum, count)| average(sum.map(|sum| sum as f64), count)).collect();
    Ok(Arc::new(averages))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn divides_whole_sums_once() {
        let sums: ArrayRef = Arc::new(
            Decimal128Array::from(vec![Some((1 << 60) + 1), Some(-7), None, Some(0)])
                .with_data_type(DataType::Decimal128(30, 0)),
        );
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 0, 0]));
        let averages = divided(&sums, &counts, &DataType::Float64).unwrap();
        let averages = averages.as_any().downcast_ref::<Float64Array>().unwrap();
        let wanted = [Some((1_i64 << 60) as f64), Some(-3.5), None, None];
        assert_eq!(averages.iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn divides_to_the_places_of_the_result() {
        let sums = [Some(100), Some(-200), Some(0), None, Some(10_i128.pow(37))];
        let sums = Decimal128Array::from_iter(sums).with_data_type(DataType::Decimal128(38, 2));
        let counts = Int64Array::from(vec![3, 3, 7, 0, 1]);
        let average = |result: DataType| {
            let sums: ArrayRef = Arc::new(sums.clone());
            divided(&sums, &(Arc::new(counts.clone()) as ArrayRef), &result)
        };
        assert!(average(DataType::Decimal128(16, 6)).is_err(), "10^35 has no place");
        let sums = sums.slice(0, 4);
        let counts = counts.slice(0, 4);
        let averages = divided(
            &(Arc::new(sums) as ArrayRef),
            &(Arc::new(counts) as ArrayRef),
            &DataType::Decimal128(16, 6),
        );
        let averages = averages.unwrap();
        let averages = averages.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>();
        // 1.00 / 3 = 0.333333, and -2.00 / 3 = -0.666667: rounded.
        assert_eq!(averages, [Some(333_333), Some(-666_667), Some(0), None]);
    }
}
