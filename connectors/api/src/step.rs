//! What a source may do with rows before it sends them: group them, or keep the first ones of an order.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef};

use crate::{Computation, Predicate, ScanRequest};

/// An aggregate over the rows of a group. NULLs are passed over, as SQL has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateFunction {
    /// Rows, or values that are not NULL; never NULL itself.
    Count,
    /// NULL for a group without values, as the other two are.
    Sum,
    Min,
    Max,
}

impl AggregateFunction {
    /// Returns the function's name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// Returns the type of the result over values of a type; `None` where a source is not asked. Sums of floats depend on the
    /// order of rows, and floats have two zeros and NaN, which databases order otherwise.
    pub fn result_type(self, input: &DataType) -> Option<DataType> {
        match self {
            Self::Count => Some(DataType::Int64),
            Self::Sum => match input {
                DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(DataType::Int64),
                DataType::Int64 => Some(DataType::Decimal128(30, 0)),
                DataType::Decimal128(precision, scale) => Some(DataType::Decimal128(
                    (*precision + 10).min(DECIMAL128_MAX_PRECISION),
                    *scale,
                )),
                _ => None,
            },
            Self::Min | Self::Max => {
                (!input.is_floating() && !input.is_nested()).then(|| input.clone())
            }
        }
    }
}

/// One aggregate of a table's column, or of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    pub function: AggregateFunction,
    /// By index into the table's schema; `None` for `count(*)`.
    pub column: Option<usize>,
    /// Which rows of a group it is about (`FILTER`); supported by the table.
    pub filter: Option<Predicate>,
}

/// One column of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortBy {
    /// By index into the table's schema.
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A step that a source takes before rows travel. Columns are indexes into the table's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One row for each group of equal keys; without keys one row, also of no rows. The result has the keys, then the
    /// aggregates.
    Aggregate { keys: Vec<usize>, aggregates: Vec<Aggregate> },
    /// Numbers beside what the input asks for: the result has its columns, then the numbers.
    Compute { numbers: Vec<Computation> },
    /// The first rows of an order; which of equal rows is open. The result has the columns that the input asks for.
    TopN { by: Vec<SortBy>, rows: usize },
}

impl Step {
    /// Returns the columns of the table that the step reads, its input's filters aside.
    pub fn columns(&self, input: &ScanRequest) -> Vec<usize> {
        match self {
            Self::Aggregate { keys, aggregates } => {
                let arguments = aggregates.iter().filter_map(|aggregate| aggregate.column);
                let filters = aggregates.iter().filter_map(|aggregate| aggregate.filter.as_ref());
                let filtered = filters.flat_map(Predicate::columns);
                keys.iter().copied().chain(arguments).chain(filtered).collect()
            }
            Self::Compute { numbers } => {
                let numbers = numbers.iter().flat_map(|computed| computed.number.columns());
                input.projection.iter().copied().chain(numbers).collect()
            }
            Self::TopN { by, .. } => {
                let by = by.iter().map(|by| by.column);
                input.projection.iter().copied().chain(by).collect()
            }
        }
    }

    /// Returns the columns of the result, each with a name of its own; `None` for an aggregate that no source is asked.
    pub fn schema(&self, table: &SchemaRef, input: &ScanRequest) -> Option<SchemaRef> {
        let mut fields = Vec::new();
        match self {
            Self::Aggregate { keys, aggregates } => {
                for key in keys {
                    fields.push(table.fields().get(*key)?.as_ref().clone());
                }
                for Aggregate { function, column, .. } in aggregates {
                    let input = match column {
                        Some(column) => table.fields().get(*column)?.data_type(),
                        None => &DataType::Null,
                    };
                    let nullable = *function != AggregateFunction::Count;
                    let result = function.result_type(input)?;
                    fields.push(Field::new(function.sql(), result, nullable));
                }
            }
            Self::Compute { numbers } => {
                fields = asked(table, input)?;
                for Computation { number, data_type } in numbers {
                    let columns = number.columns().into_iter();
                    let columns = columns.map(|column| table.fields().get(column));
                    let columns = columns.collect::<Option<Vec<_>>>()?;
                    let nullable = columns.iter().any(|column| column.is_nullable());
                    fields.push(Field::new("number", data_type.clone(), nullable));
                }
            }
            Self::TopN { .. } => fields = asked(table, input)?,
        }
        Some(unique(fields))
    }
}

fn asked(table: &SchemaRef, input: &ScanRequest) -> Option<Vec<Field>> {
    let column = |column: &usize| Some(table.fields().get(*column)?.as_ref().clone());
    input.projection.iter().map(column).collect()
}

/// A join of two tables of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub kind: JoinKind,
    /// Pairs of columns that are equal, by index into each table's schema. NULL equals nothing.
    pub on: Vec<(usize, usize)>,
}

/// Which rows a join keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// The left rows that equal some right row, once each; the result has the left columns alone, as that of the next has.
    Semi,
    /// The left rows that equal no right row, those with NULL among them.
    Anti,
}

impl JoinKind {
    /// Returns the words of SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Inner => "JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full => "FULL JOIN",
            Self::Semi => "EXISTS",
            Self::Anti => "NOT EXISTS",
        }
    }

    /// Returns whether the result has left rows alone.
    pub fn keeps_left_only(self) -> bool {
        matches!(self, Self::Semi | Self::Anti)
    }
}

impl Join {
    /// Returns the columns of the result: those asked of the left table, then those asked of the right one.
    pub fn schema(
        &self,
        left: (&SchemaRef, &ScanRequest),
        right: (&SchemaRef, &ScanRequest),
    ) -> Option<SchemaRef> {
        let missing_left = matches!(self.kind, JoinKind::Right | JoinKind::Full);
        let missing_right = matches!(self.kind, JoinKind::Left | JoinKind::Full);
        let mut fields = Vec::new();
        let sides = [(left, missing_left), (right, missing_right)];
        let n_sides = if self.kind.keeps_left_only() { 1 } else { 2 };
        for ((schema, input), may_miss) in sides.into_iter().take(n_sides) {
            for column in &input.projection {
                let field = schema.fields().get(*column)?.as_ref().clone();
                let nullable = field.is_nullable() || may_miss;
                fields.push(field.with_nullable(nullable));
            }
        }
        Some(unique(fields))
    }
}

/// Gives columns whose name another one has already a name of their own.
fn unique(fields: Vec<Field>) -> SchemaRef {
    let mut named: Vec<Field> = Vec::with_capacity(fields.len());
    for field in fields {
        let taken = |name: &str| named.iter().any(|other| other.name().eq_ignore_ascii_case(name));
        let mut name = field.name().clone();
        let mut number = 1;
        while taken(&name) {
            number += 1;
            name = format!("{}_{number}", field.name());
        }
        named.push(field.with_name(name));
    }
    Arc::new(Schema::new(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_result_have_names_of_their_own() {
        let table = Arc::new(Schema::new(vec![
            Field::new("count", DataType::Int32, true),
            Field::new("Count_2", DataType::Utf8, false),
        ]));
        let count = |column| Aggregate { function: AggregateFunction::Count, column, filter: None };
        let step =
            Step::Aggregate { keys: vec![0, 1], aggregates: vec![count(None), count(Some(0))] };
        let schema = step.schema(&table, &ScanRequest::all(&table)).unwrap();
        let names = schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["count", "Count_2", "count_3", "count_4"]);
        assert!(schema.field(0).is_nullable() && !schema.field(2).is_nullable());
    }

    #[test]
    fn floats_are_not_summed_or_ordered_elsewhere() {
        use AggregateFunction::{Count, Max, Sum};
        assert_eq!(Sum.result_type(&DataType::Float64), None);
        assert_eq!(Max.result_type(&DataType::Float32), None);
        assert_eq!(Count.result_type(&DataType::Float64), Some(DataType::Int64));
        assert_eq!(Sum.result_type(&DataType::Int64), Some(DataType::Decimal128(30, 0)));
    }
}
