//! A column of a Parquet file in the type of the table, where Arrow's cast would not do.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::lengths::TextLength;
use super::shape::Shape;

/// The input, brought into another type. Nothing can be told of it by bounds, which are of the file's type.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) input: Arc<dyn PhysicalExpr>,
    /// The table's name for the column.
    pub(super) column: String,
    pub(super) to: DataType,
    /// What its texts are brought to.
    pub(super) length: Option<TextLength>,
}

impl fmt::Display for Fitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fitted({}, {})", self.input, self.to)
    }
}

impl PartialEq for Fitted {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input)
            && self.column == other.column
            && self.to == other.to
            && self.length == other.length
    }
}

impl Eq for Fitted {}

impl Hash for Fitted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.column.hash(state);
        self.to.hash(state);
        self.length.hash(state);
    }
}

impl PhysicalExpr for Fitted {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.input.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        let from = values.data_type().clone();
        let fitted = Shape::default().fit(&values, &from, &self.to);
        let fitted = match self.length {
            Some(length) => fitted.and_then(|texts| length.fit(&texts)),
            None => fitted,
        };
        let fitted = fitted.map_err(|error| error.or_context("column", self.column.clone()))?;
        Ok(ColumnarValue::Array(fitted))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        let (column, to, length) = (self.column.clone(), self.to.clone(), self.length);
        Ok(Arc::new(Self { input, column, to, length }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
