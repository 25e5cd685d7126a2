//! What is believed of a column's values, for the order of joins. Never used to answer: it is not shown to the engine's own
//! rules, some of which take bounds for proofs.

use datafusion::common::ScalarValue;

/// Facts of one column as its source once counted or sampled them. They may be old or wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnEstimate {
    /// Different values, NULL aside.
    pub n_distinct: Option<usize>,
    /// The share of rows that are NULL, from 0 to 1.
    pub null_fraction: Option<f64>,
    /// About the least value, of the column's type.
    pub min: Option<ScalarValue>,
    /// About the greatest value, of the column's type.
    pub max: Option<ScalarValue>,
}

impl ColumnEstimate {
    /// Returns the estimate of a column with so many different values.
    pub fn distinct(n_distinct: usize) -> Self {
        Self { n_distinct: Some(n_distinct), ..Self::default() }
    }
}
