//! Aggregates of an order: `percentile_cont`, `percentile_disc` and `mode`, each `WITHIN GROUP (ORDER BY …)`.
//!
//! DataFusion has the first, whose weights it rounds to a millionth. These keep the values of a group until it ends, in memory
//! that counts. NULLs are left out; without a value the result is NULL. Of an array of fractions it is an array.
//!
//! Source: PostgreSQL 16, table 9.61 and `orderedsetaggs.c` (`float8_lerp`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{SortOptions, concat, filter, is_not_null, partition, sort};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, DocSection, Documentation,
    Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;

/// Registers the functions.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for kind in [Kind::Continuous, Kind::Discrete, Kind::Mode] {
        let signature = Signature::user_defined(Volatility::Immutable);
        // DataFusion's function goes by this name, too, and a state that is built anew from another would have either.
        let aliases = match kind {
            Kind::Continuous => vec!["quantile_cont".to_owned()],
            Kind::Discrete | Kind::Mode => Vec::new(),
        };
        let function = OrderedSet { kind, signature, aliases, documentation: kind.documentation() };
        state.register_udaf(Arc::new(AggregateUDF::from(function)))?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Between the two values nearest to the fraction.
    Continuous,
    /// The first value at or behind the fraction.
    Discrete,
    /// The most frequent value; of several the first one.
    Mode,
}

impl Kind {
    fn documentation(self) -> Documentation {
        let (description, syntax) = match self {
            Self::Continuous => (
                "Returns the percentile of numbers, between the two nearest values if needed.",
                "percentile_cont(fraction) WITHIN GROUP (ORDER BY expression)",
            ),
            Self::Discrete => (
                "Returns the first value whose place in the order is at or behind the fraction.",
                "percentile_disc(fraction) WITHIN GROUP (ORDER BY expression)",
            ),
            Self::Mode => (
                "Returns the most frequent value, the first one of several.",
                "mode() WITHIN GROUP (ORDER BY expression)",
            ),
        };
        Documentation::builder(DocSection::default(), description, syntax).build()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    kind: Kind,
    signature: Signature,
    aliases: Vec<String>,
    documentation: Documentation,
}

impl OrderedSet {
    fn refused(&self, types: &[DataType]) -> Error {
        let types = types.iter().map(sql_name).collect::<Vec<_>>().join(", ");
        let what = format!("function {}({types}) does not exist", self.name());
        let form = match self.kind {
            Kind::Mode => "mode() WITHIN GROUP (ORDER BY column)",
            Kind::Continuous => "percentile_cont(0.5) WITHIN GROUP (ORDER BY number)",
            Kind::Discrete => "percentile_disc(0.5) WITHIN GROUP (ORDER BY column)",
        };
        Error::new(ErrorKind::UndefinedFunction, what).with_hint(format!("Write {form}."))
    }
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Continuous => "percentile_cont",
            Kind::Discrete => "percentile_disc",
            Kind::Mode => "mode",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let number = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
        match (self.kind, types) {
            (Kind::Continuous, [value, fraction]) if number(value) && number(fraction) => {
                Ok(vec![DataType::Float64; 2])
            }
            (Kind::Continuous, [value, DataType::List(fraction)])
                if number(value) && number(fraction.data_type()) =>
            {
                Ok(vec![DataType::Float64, list(DataType::Float64)])
            }
            (Kind::Discrete, [value, fraction]) if number(fraction) => {
                Ok(vec![value.clone(), DataType::Float64])
            }
            (Kind::Discrete, [value, DataType::List(fraction)]) if number(fraction.data_type()) => {
                Ok(vec![value.clone(), list(DataType::Float64)])
            }
            (Kind::Mode, [value]) => Ok(vec![value.clone()]),
            _ => Err(self.refused(types).into()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [value, DataType::List(_)] if self.kind != Kind::Mode => Ok(list(value.clone())),
            [value, ..] => Ok(value.clone()),
            [] => Err(self.refused(types).into()),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let value =
            args.input_fields.first().map_or(args.return_field.data_type(), |f| f.data_type());
        let name = format!("{}[values]", args.name);
        Ok(vec![Arc::new(Field::new(name, list(value.clone()), true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if args.is_distinct {
            let what = format!("DISTINCT is not supported in {}", self.name());
            return Err(Error::unsupported(what).into());
        }
        let wanted = match args.exprs.get(1) {
            Some(fraction) if self.kind != Kind::Mode => constant(fraction)?,
            _ => Wanted::One(Some(0.0)),
        };
        let options = args.order_bys.first().map(|by| by.options).unwrap_or_default();
        let value =
            args.expr_fields.first().map_or(args.return_field.data_type(), |f| f.data_type());
        Ok(Box::new(Collected {
            kind: self.kind,
            wanted,
            descending: options.descending,
            data_type: value.clone(),
            values: Vec::new(),
        }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, true)))
}

/// The fractions, of which NULL has NULL for its percentile.
#[derive(Debug)]
enum Wanted {
    One(Option<f64>),
    /// An array, whose result is one of as many.
    Several(Option<Vec<Option<f64>>>),
}

/// Returns the fractions, the same for all rows.
fn constant(expr: &Arc<dyn PhysicalExpr>) -> Result<Wanted> {
    let none = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(none, Vec::new(), &options)?;
    let not_constant = || {
        Error::unsupported("a percentile has to be a constant")
            .with_hint("Write percentile_cont(0.5) WITHIN GROUP (ORDER BY x).")
    };
    let value = expr.evaluate(&row).map_err(|_| not_constant())?;
    let value = match value {
        ColumnarValue::Scalar(value) => value,
        // An array of constants is made by a function.
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0)?,
    };
    match value {
        ScalarValue::Float64(fraction) => fraction_of(fraction).map(Wanted::One),
        ScalarValue::List(fractions) if fractions.is_null(0) => Ok(Wanted::Several(None)),
        ScalarValue::List(fractions) => {
            let fractions = fractions.value(0);
            let fractions = fractions.as_primitive::<Float64Type>().iter().map(fraction_of);
            Ok(Wanted::Several(Some(fractions.collect::<Result<_>>()?)))
        }
        _ => Err(not_constant()),
    }
}

fn fraction_of(fraction: Option<f64>) -> Result<Option<f64>> {
    match fraction {
        Some(fraction) if !(0.0..=1.0).contains(&fraction) => Err(Error::new(
            ErrorKind::OutOfRange,
            format!("percentile value {fraction} is not between 0 and 1"),
        )),
        fraction => Ok(fraction),
    }
}

#[derive(Debug)]
struct Collected {
    kind: Kind,
    wanted: Wanted,
    descending: bool,
    /// Of the values.
    data_type: DataType,
    /// Without NULLs.
    values: Vec<ArrayRef>,
}

impl Collected {
    fn all(&self) -> DfResult<ArrayRef> {
        let parts = self.values.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>();
        Ok(if parts.is_empty() { new_empty_array(&self.data_type) } else { concat(&parts)? })
    }

    fn add(&mut self, values: &ArrayRef) -> DfResult<()> {
        let values = match values.null_count() {
            0 => Arc::clone(values),
            _ => filter(values, &is_not_null(values)?)?,
        };
        if !values.is_empty() {
            self.values.push(values);
        }
        Ok(())
    }
}

impl Collected {
    /// Returns what stands at a fraction of sorted values.
    fn at(&self, sorted: &ArrayRef, fraction: Option<f64>) -> DfResult<ScalarValue> {
        let (Some(fraction), false) = (fraction, sorted.is_empty()) else {
            return ScalarValue::try_new_null(&self.data_type);
        };
        let last = sorted.len() - 1;
        match self.kind {
            Kind::Continuous => {
                let values = sorted.as_primitive::<Float64Type>();
                let place = fraction * last as f64;
                let low = place.floor() as usize;
                let (low, high) = (low.min(last), (place.ceil() as usize).min(last));
                let (below, above) = (values.value(low), values.value(high));
                let between = match low == high {
                    true => below,
                    false => below + (place - low as f64) * (above - below),
                };
                Ok(ScalarValue::Float64(Some(between)))
            }
            Kind::Discrete => {
                let place = (fraction * sorted.len() as f64).ceil() as usize;
                ScalarValue::try_from_array(sorted, place.clamp(1, sorted.len()) - 1)
            }
            Kind::Mode => {
                let runs = partition(std::slice::from_ref(sorted))?.ranges();
                // The first of the longest ones.
                let longest = runs.iter().rev().max_by_key(|run| run.len());
                ScalarValue::try_from_array(sorted, longest.map_or(0, |run| run.start))
            }
        }
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        values.iter().take(1).try_for_each(|values| self.add(values))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let list = SingleRowListArrayBuilder::new(self.all()?).build_list_scalar();
        Ok(vec![list])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let Some(lists) = states.first().and_then(|states| states.as_list_opt::<i32>()) else {
            return Err(Error::internal("values of a group are no list").into());
        };
        lists.iter().flatten().try_for_each(|values| self.add(&values))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let all = self.all()?;
        let order = SortOptions { descending: self.descending, nulls_first: false };
        let sorted = sort(&all, Some(order))?;
        match &self.wanted {
            Wanted::One(fraction) => self.at(&sorted, *fraction),
            Wanted::Several(Some(fractions)) if !sorted.is_empty() => {
                let found = fractions.iter().map(|fraction| self.at(&sorted, *fraction));
                let found = found.collect::<DfResult<Vec<_>>>()?;
                Ok(ScalarValue::List(ScalarValue::new_list(&found, &self.data_type, true)))
            }
            Wanted::Several(_) => ScalarValue::try_new_null(&list(self.data_type.clone())),
        }
    }

    fn size(&self) -> usize {
        let values = self.values.iter().map(|values| values.get_array_memory_size());
        size_of_val(self) + values.sum::<usize>()
    }
}
