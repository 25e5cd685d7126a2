//! One column of what [`crate::score::Score`] gives of a row.
//!
//! The engine's own `get_field` is taken for something cheap: the optimizer moves it below filters, and computes what it takes a field of once
//! for each field. A prediction is neither cheap nor to be made twice.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::Error;

/// Takes the column of that number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Taken {
    name: String,
    index: usize,
    data_type: DataType,
    signature: Signature,
}

impl Taken {
    /// `field` is the column, `index` its place among the columns of the score.
    pub fn new(index: usize, field: &Field) -> Self {
        Self {
            name: format!("take[{}]", field.name()),
            index,
            data_type: field.data_type().clone(),
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Taken {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let whole = args.args.first().map(|value| value.to_array(args.number_rows)).transpose()?;
        let taken = whole
            .as_ref()
            .and_then(|whole| whole.as_struct_opt())
            .and_then(|whole| whole.columns().get(self.index))
            .filter(|column| *column.data_type() == self.data_type)
            .ok_or_else(|| Error::internal("a score has not the columns that it says"))?;
        Ok(ColumnarValue::Array(Arc::clone(taken)))
    }
}
