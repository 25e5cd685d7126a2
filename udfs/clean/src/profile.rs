//! What can be told of a column in one pass, over partitions alike: the parts that `profile(TABLE t)` is made of.
//!
//! A [`Sketch`] takes batches, is merged with those of other partitions through its text, and gives one value; each of the other
//! files is one of them. All are of bounded size, whatever the column holds.

mod guess_type;
mod histogram;
mod top_values;

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, DocSection, Documentation, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn functions() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(Summary::<histogram::Histogram>::new()),
        AggregateUDF::from(Summary::<top_values::TopValues>::new()),
        AggregateUDF::from(Summary::<guess_type::GuessType>::new()),
    ]
}

/// What is remembered of a column. NULLs are passed over.
trait Sketch: Default + Debug + Send + Sync + Serialize + DeserializeOwned + 'static {
    const NAME: &'static str;
    const SYNTAX: &'static str;
    /// One sentence.
    const DOC: &'static str;

    /// Returns the type that an argument is brought to; `None` for what the function does not take.
    fn takes(argument: &DataType) -> Option<DataType>;
    fn gives() -> DataType;
    fn add(&mut self, values: &ArrayRef);
    fn merge(&mut self, other: Self);
    /// The result; `argument` is the type of the column.
    fn value(&self, argument: &DataType) -> Result<ScalarValue>;
    fn size_bytes(&self) -> usize;
}

/// A [`Sketch`] as the engine knows aggregates.
struct Summary<S> {
    signature: Signature,
    documentation: Documentation,
    of: PhantomData<fn() -> S>,
}

impl<S: Sketch> Summary<S> {
    fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: Documentation::builder(DocSection::default(), S::DOC, S::SYNTAX).build(),
            of: PhantomData,
        }
    }
}

impl<S: Sketch> Debug for Summary<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(S::NAME)
    }
}

impl<S> PartialEq for Summary<S> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<S> Eq for Summary<S> {}

impl<S: Sketch> Hash for Summary<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        S::NAME.hash(state);
    }
}

impl<S: Sketch> AggregateUDFImpl for Summary<S> {
    fn name(&self) -> &str {
        S::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let taken = types.iter().map(|argument| S::takes(argument).unwrap_or(argument.clone()));
        Ok(taken.collect())
    }

    /// Refuses what does not fit: an error of [`Self::coerce_types`] would lose its SQLSTATE.
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [argument] if S::takes(argument).as_ref() == Some(argument) => Ok(S::gives()),
            _ => Err(Error::new(
                ErrorKind::UndefinedFunction,
                format!("function {} does not take these arguments", S::NAME),
            )
            .with_hint(format!("Write {}.", S::SYNTAX))
            .into()),
        }
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let argument = arguments.expr_fields.first().map(|field| field.data_type().clone());
        let argument = argument.ok_or_else(|| Error::internal("an aggregate of nothing"))?;
        Ok(Box::new(Summing { sketch: S::default(), argument }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", arguments.name), DataType::Utf8, true))])
    }
}

#[derive(Debug)]
struct Summing<S> {
    sketch: S,
    argument: DataType,
}

impl<S: Sketch> Accumulator for Summing<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        values.iter().for_each(|values| self.sketch.add(values));
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.sketch.value(&self.argument)?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sketch.size_bytes()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let text = serde_json::to_string(&self.sketch).map_err(not_a_sketch)?;
        Ok(vec![ScalarValue::Utf8(Some(text))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for text in states.iter().flat_map(|states| states.as_string::<i32>().iter()).flatten() {
            self.sketch.merge(serde_json::from_str(text).map_err(not_a_sketch)?);
        }
        Ok(())
    }
}

fn not_a_sketch(error: serde_json::Error) -> Error {
    Error::internal("what is told of a column is no text").with_cause(error)
}
