//! Filters in the small language that sources understand, lowered from the engine's expressions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// A comparison of a column with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl CompareOp {
    /// Returns the operator as SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        }
    }

    /// Returns the operator with its sides swapped.
    pub(crate) fn swapped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::NotEq => Self::NotEq,
            Self::Lt => Self::Gt,
            Self::LtEq => Self::GtEq,
            Self::Gt => Self::Lt,
            Self::GtEq => Self::LtEq,
        }
    }
}

/// A condition on the columns of one table, with SQL's three-valued logic. Values have the column's own type, are
/// never NULL, and columns are indexes into the table's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    Compare {
        column: usize,
        op: CompareOp,
        value: ScalarValue,
    },
    In {
        column: usize,
        values: Vec<ScalarValue>,
        negated: bool,
    },
    IsNull {
        column: usize,
        negated: bool,
    },
    /// `column LIKE pattern`, `\` escapes, case matters.
    Like {
        column: usize,
        pattern: String,
        negated: bool,
    },
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
}

impl Predicate {
    /// Lowers one conjunct of a `WHERE` clause; `None` if it says more than this language can.
    ///
    /// Nothing is rounded on the way: a comparison whose value had to be cast to another type than the column's is
    /// not lowered.
    pub fn lower(expr: &Expr, schema: &Schema) -> Option<Self> {
        match expr {
            Expr::BinaryExpr(binary) => Self::lower_binary(binary, schema),
            Expr::Between(Between { expr, negated, low, high }) => {
                let column = column_of(expr, schema)?;
                let low = value_of(low, column, schema)?;
                let high = value_of(high, column, schema)?;
                let within = Self::And(vec![
                    Self::Compare { column, op: CompareOp::GtEq, value: low },
                    Self::Compare { column, op: CompareOp::LtEq, value: high },
                ]);
                Some(if *negated { Self::Not(Box::new(within)) } else { within })
            }
            Expr::InList(InList { expr, list, negated }) => {
                let column = column_of(expr, schema)?;
                let values = list
                    .iter()
                    .map(|item| value_of(item, column, schema))
                    .collect::<Option<Vec<_>>>()?;
                Some(Self::In { column, values, negated: *negated })
            }
            Expr::IsNull(inner) => {
                Some(Self::IsNull { column: column_of(inner, schema)?, negated: false })
            }
            Expr::IsNotNull(inner) => {
                Some(Self::IsNull { column: column_of(inner, schema)?, negated: true })
            }
            Expr::Like(Like {
                negated,
                expr,
                pattern,
                escape_char: None,
                case_insensitive: false,
            }) => {
                let column = column_of(expr, schema)?;
                match value_of(pattern, column, schema)? {
                    ScalarValue::Utf8(Some(pattern))
                    | ScalarValue::LargeUtf8(Some(pattern))
                    | ScalarValue::Utf8View(Some(pattern)) => {
                        Some(Self::Like { column, pattern, negated: *negated })
                    }
                    _ => None,
                }
            }
            Expr::Not(inner) => Some(Self::Not(Box::new(Self::lower(inner, schema)?))),
            // A boolean column alone is a condition.
            Expr::Column(_) => {
                let column = column_of(expr, schema)?;
                (schema.field(column).data_type() == &DataType::Boolean).then(|| Self::Compare {
                    column,
                    op: CompareOp::Eq,
                    value: ScalarValue::Boolean(Some(true)),
                })
            }
            _ => None,
        }
    }

    fn lower_binary(binary: &BinaryExpr, schema: &Schema) -> Option<Self> {
        let op = match binary.op {
            Operator::And => {
                return Some(Self::And(vec![
                    Self::lower(&binary.left, schema)?,
                    Self::lower(&binary.right, schema)?,
                ]));
            }
            Operator::Or => {
                return Some(Self::Or(vec![
                    Self::lower(&binary.left, schema)?,
                    Self::lower(&binary.right, schema)?,
                ]));
            }
            Operator::Eq => CompareOp::Eq,
            Operator::NotEq => CompareOp::NotEq,
            Operator::Lt => CompareOp::Lt,
            Operator::LtEq => CompareOp::LtEq,
            Operator::Gt => CompareOp::Gt,
            Operator::GtEq => CompareOp::GtEq,
            _ => return None,
        };
        if let Some(column) = column_of(&binary.left, schema) {
            let value = value_of(&binary.right, column, schema)?;
            return Some(Self::Compare { column, op, value });
        }
        let column = column_of(&binary.right, schema)?;
        let value = value_of(&binary.left, column, schema)?;
        Some(Self::Compare { column, op: op.swapped(), value })
    }

    /// Returns the columns the predicate reads.
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Self::Compare { column, .. }
            | Self::In { column, .. }
            | Self::IsNull { column, .. }
            | Self::Like { column, .. } => vec![*column],
            Self::And(parts) | Self::Or(parts) => {
                let mut columns = parts.iter().flat_map(Self::columns).collect::<Vec<_>>();
                columns.sort_unstable();
                columns.dedup();
                columns
            }
            Self::Not(inner) => inner.columns(),
        }
    }
}

fn column_of(expr: &Expr, schema: &Schema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of(&column.name).ok(),
        _ => None,
    }
}

/// Returns a literal that has the column's type and is not NULL. Text types count as one.
fn value_of(expr: &Expr, column: usize, schema: &Schema) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    if value.is_null() {
        return None;
    }
    let wanted = schema.field(column).data_type();
    let given = value.data_type();
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    (&given == wanted || (text(&given) && text(wanted))).then(|| value.clone())
}

/// Evaluates predicates on batches: for the reference connector, for partition values, and for tests that compare a
/// pushed filter with the engine's own.
pub mod evaluate {
    use super::{Arc, CompareOp, Predicate, ScalarValue, Schema};
    use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
    use arrow::compute::{is_not_null, is_null, kernels};
    use maru_core::Result;

    /// Returns for every row whether the predicate is true, false or unknown (NULL).
    pub fn rows(predicate: &Predicate, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = |index: usize| -> &ArrayRef { batch.column(index) };
        Ok(match predicate {
            Predicate::Compare { column: index, op, value } => compare(column(*index), *op, value)?,
            Predicate::In { column: index, values, negated } => {
                let mut any = BooleanArray::from(vec![false; batch.num_rows()]);
                for value in values {
                    let equal = compare(column(*index), CompareOp::Eq, value)?;
                    any = kernels::boolean::or_kleene(&any, &equal)?;
                }
                if *negated { kernels::boolean::not(&any)? } else { any }
            }
            Predicate::IsNull { column: index, negated: false } => is_null(column(*index))?,
            Predicate::IsNull { column: index, negated: true } => is_not_null(column(*index))?,
            Predicate::Like { column: index, pattern, negated } => {
                let pattern = text_like(column(*index), pattern)?;
                let pattern = arrow::array::Scalar::new(pattern);
                if *negated {
                    kernels::comparison::nlike(column(*index), &pattern)?
                } else {
                    kernels::comparison::like(column(*index), &pattern)?
                }
            }
            Predicate::And(parts) => {
                let mut all = BooleanArray::from(vec![true; batch.num_rows()]);
                for part in parts {
                    all = kernels::boolean::and_kleene(&all, &rows(part, batch)?)?;
                }
                all
            }
            Predicate::Or(parts) => {
                let mut any = BooleanArray::from(vec![false; batch.num_rows()]);
                for part in parts {
                    any = kernels::boolean::or_kleene(&any, &rows(part, batch)?)?;
                }
                any
            }
            Predicate::Not(inner) => kernels::boolean::not(&rows(inner, batch)?)?,
        })
    }

    /// Returns whether the predicate holds for one row of values; unknown counts as no.
    pub fn holds(
        predicate: &Predicate,
        schema: &Arc<Schema>,
        values: &[ScalarValue],
    ) -> Result<bool> {
        let columns = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
        let rows = rows(predicate, &batch)?;
        Ok(rows.is_valid(0) && rows.value(0))
    }

    fn compare(column: &ArrayRef, op: CompareOp, value: &ScalarValue) -> Result<BooleanArray> {
        let value = value.cast_to(column.data_type())?.to_scalar()?;
        Ok(match op {
            CompareOp::Eq => kernels::cmp::eq(column, &value)?,
            CompareOp::NotEq => kernels::cmp::neq(column, &value)?,
            CompareOp::Lt => kernels::cmp::lt(column, &value)?,
            CompareOp::LtEq => kernels::cmp::lt_eq(column, &value)?,
            CompareOp::Gt => kernels::cmp::gt(column, &value)?,
            CompareOp::GtEq => kernels::cmp::gt_eq(column, &value)?,
        })
    }

    fn text_like(column: &ArrayRef, pattern: &str) -> Result<ArrayRef> {
        let value = ScalarValue::Utf8(Some(pattern.to_owned())).cast_to(column.data_type())?;
        Ok(value.to_array()?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::prelude::{col, lit};

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ])
    }

    #[test]
    fn lowers_a_comparison_either_way_round() {
        let wanted =
            Predicate::Compare { column: 0, op: CompareOp::Gt, value: ScalarValue::Int64(Some(5)) };
        assert_eq!(Predicate::lower(&col("id").gt(lit(5_i64)), &schema()), Some(wanted.clone()));
        assert_eq!(Predicate::lower(&lit(5_i64).lt(col("id")), &schema()), Some(wanted));
    }

    #[test]
    fn leaves_alone_what_would_need_a_cast_or_is_null() {
        assert_eq!(Predicate::lower(&col("id").gt(lit(5.5_f64)), &schema()), None);
        assert_eq!(Predicate::lower(&col("id").eq(lit(ScalarValue::Int64(None))), &schema()), None);
        let half = col("id").eq(lit(1_i64)).or(col("name").eq(col("id")));
        assert_eq!(Predicate::lower(&half, &schema()), None);
    }

    #[test]
    fn not_in_with_a_null_row_is_unknown() {
        let batch = arrow::array::RecordBatch::try_new(
            Arc::new(schema()),
            vec![
                Arc::new(arrow::array::Int64Array::from(vec![1, 2])),
                Arc::new(arrow::array::StringArray::from(vec![None, Some("b")])),
            ],
        )
        .unwrap();
        let predicate = Predicate::In {
            column: 1,
            values: vec![ScalarValue::Utf8(Some("a".into()))],
            negated: true,
        };
        let rows = evaluate::rows(&predicate, &batch).unwrap();
        assert_eq!(rows.iter().collect::<Vec<_>>(), vec![None, Some(true)]);
    }
}
