//! A column of a file whose values are counted anew before anything looks at them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::Old;

/// The input, recounted. It has the input's type, and nothing can be told of it by bounds.
#[derive(Debug)]
pub(in crate::file_table) struct Recounted {
    pub(in crate::file_table) input: Arc<dyn PhysicalExpr>,
    /// The file's name for the column.
    pub(in crate::file_table) column: String,
    pub(in crate::file_table) old: Arc<Old>,
}

impl fmt::Display for Recounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recounted({})", self.input)
    }
}

impl PartialEq for Recounted {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.column == other.column && self.old == other.old
    }
}

impl Eq for Recounted {}

impl Hash for Recounted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.column.hash(state);
        self.old.hash(state);
    }
}

impl PhysicalExpr for Recounted {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.input.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.input.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(self.old.recount(&values, &self.column)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        let (column, old) = (self.column.clone(), Arc::clone(&self.old));
        Ok(Arc::new(Self { input, column, old }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
