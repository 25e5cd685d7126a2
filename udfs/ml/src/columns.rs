//! Arrow columns as the kernels' columns: numbers, or text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::gather::{Gatherer, Ordered};
use maru_ml_kernels::pipeline::Kind;
use maru_ml_kernels::{Column, Task};

use crate::manifest::InputType;

/// Says whether a type is learnt from as numbers or as text; `None` if it cannot be.
pub fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
        DataType::Dictionary(_, values) => kind(values),
        DataType::Boolean | DataType::Null => Some(Kind::Number),
        DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::Time32(_)
        | DataType::Time64(_) => Some(Kind::Number),
        other if other.is_numeric() => Some(Kind::Number),
        _ => None,
    }
}

/// # Errors
/// 42804 for a type that no model learns from.
pub fn require_kind(name: &str, data_type: &DataType) -> Result<Kind> {
    kind(data_type).ok_or_else(|| {
        Error::new(
            ErrorKind::TypeMismatch,
            format!("column \"{name}\" has a type that models do not learn from: {data_type}"),
        )
        .with_hint("Numbers, booleans, text, dates and timestamps can be learnt from. Leave the column out, or cast it.")
    })
}

/// Checks the types of the columns that a version is given against those that it has learnt from. `learnt` may be shorter than
/// `inputs`: what is not known of an older model is not checked.
///
/// # Errors
/// 42804 for text where there were numbers, for dates where there were timestamps and the like, and for types that no model
/// learns from.
pub fn check_types(
    inputs: &[(String, Kind)],
    learnt: &[InputType],
    types: &[DataType],
) -> Result<()> {
    for (index, ((name, kind), data_type)) in inputs.iter().zip(types).enumerate() {
        require_kind(name, data_type)?;
        if *kind == Kind::Text {
            // A number or a date would be read as text too, and be a category that training did not see.
            match InputType::of(data_type) {
                InputType::Unknown | InputType::Text => continue,
                given => {
                    return Err(Error::new(
                        ErrorKind::TypeMismatch,
                        format!(
                            "column \"{name}\" is {}, the model has learnt from text",
                            shown(given)
                        ),
                    )
                    .with_hint("Cast it in the query: CAST(column AS text)."));
                }
            }
        }
        let learnt = learnt.get(index).copied().unwrap_or_default();
        let given = InputType::of(data_type);
        let differs = match (given, learnt) {
            (InputType::Unknown, _) => false,
            (InputType::Text, _) => true,
            (_, InputType::Unknown) => false,
            (given, learnt) => given != learnt,
        };
        if !differs {
            continue;
        }
        let is = shown(given);
        let (were, hint) = match learnt {
            InputType::Date => ("dates", "Cast it in the query: CAST(column AS date)."),
            InputType::Timestamp => {
                ("timestamps", "Cast it in the query: CAST(column AS timestamp).")
            }
            InputType::Time => ("times", "Cast it in the query: CAST(column AS time)."),
            _ if given == InputType::Text => {
                ("numbers", "Cast it in the query: CAST(column AS double precision).")
            }
            _ => ("numbers", "Make the same number of it in the query that training was given."),
        };
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("column \"{name}\" is {is}, the model has learnt from {were}"),
        )
        .with_hint(hint));
    }
    Ok(())
}

fn shown(given: InputType) -> &'static str {
    match given {
        InputType::Unknown => "NULL",
        InputType::Number => "a number",
        InputType::Text => "text",
        InputType::Date => "a date",
        InputType::Timestamp => "a timestamp",
        InputType::Time => "a time",
    }
}

/// Turns an array into a column: booleans are 0 and 1, dates days and timestamps seconds since 1970, NULL is NaN.
///
/// # Errors
/// 42804 for other types.
pub fn column(name: &str, array: &ArrayRef, kind: Kind) -> Result<Column> {
    let failed = |error: arrow::error::ArrowError| {
        Error::internal(format!("could not read column \"{name}\"")).with_cause(error)
    };
    match kind {
        Kind::Text => {
            let array = cast(array, &DataType::Utf8).map_err(failed)?;
            Ok(Column::Text(array.as_string::<i32>().clone()))
        }
        Kind::Number => {
            let (array, divisor) = match array.data_type() {
                DataType::Boolean => (cast(array, &DataType::Int8).map_err(failed)?, 1.0),
                DataType::Date32 => (cast(array, &DataType::Int32).map_err(failed)?, 1.0),
                DataType::Date64 => {
                    let days = cast(array, &DataType::Date32).map_err(failed)?;
                    (cast(&days, &DataType::Int32).map_err(failed)?, 1.0)
                }
                DataType::Timestamp(unit, _) | DataType::Time64(unit) | DataType::Time32(unit) => {
                    let divisor = match unit {
                        TimeUnit::Second => 1.0,
                        TimeUnit::Millisecond => 1e3,
                        TimeUnit::Microsecond => 1e6,
                        TimeUnit::Nanosecond => 1e9,
                    };
                    let whole = match array.data_type() {
                        DataType::Time32(_) => DataType::Int32,
                        _ => DataType::Int64,
                    };
                    (cast(array, &whole).map_err(failed)?, divisor)
                }
                _ => (Arc::clone(array), 1.0),
            };
            let numbers = cast(&array, &DataType::Float64).map_err(|_| {
                Error::new(
                    ErrorKind::TypeMismatch,
                    format!(
                        "column \"{name}\" is {}, the model has learnt from numbers",
                        array.data_type()
                    ),
                )
            })?;
            let numbers = numbers.as_primitive::<Float64Type>();
            let mut values = numbers.values().to_vec();
            for row in nulls(numbers) {
                values[row] = f64::NAN;
            }
            if divisor != 1.0 {
                values.iter_mut().for_each(|value| *value /= divisor);
            }
            Ok(Column::number(values))
        }
    }
}

/// Turns a column back into an array of the type that the query gave it, as far as it is one of booleans, times and whole numbers;
/// without a type it stays what it is.
pub(crate) fn as_given(column: &Column, data_type: Option<&DataType>) -> Result<ArrayRef> {
    let values = match column {
        Column::Text(values) => return Ok(Arc::new(values.clone())),
        Column::Number(values) => values,
    };
    let known = || values.iter().map(|value| (!value.is_nan()).then_some(*value));
    let whole = |by: f64| -> ArrayRef {
        Arc::new(Int64Array::from_iter(known().map(|v| v.map(|v| (v * by).round() as i64))))
    };
    let array = match data_type {
        Some(DataType::Boolean) => {
            return Ok(Arc::new(BooleanArray::from_iter(known().map(|v| v.map(|v| v != 0.0)))));
        }
        // Days are counted in 32 bits.
        Some(DataType::Date32 | DataType::Date64) => {
            cast(&whole(1.0), &DataType::Int32).and_then(|days| cast(&days, &DataType::Date32))
        }
        Some(DataType::Timestamp(_, zone)) => {
            let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            cast(&whole(1e6), &to)
        }
        Some(DataType::Time32(_) | DataType::Time64(_)) => {
            cast(&whole(1e6), &DataType::Time64(TimeUnit::Microsecond))
        }
        Some(other) if other.is_integer() && values.iter().all(|v| !v.is_infinite()) => {
            return Ok(whole(1.0));
        }
        _ => return Ok(Arc::new(Float64Array::from_iter(known()))),
    };
    array.map_err(|error| Error::internal("could not give a column its type").with_cause(error))
}

/// Returns the rows that are NULL.
fn nulls(array: &Float64Array) -> Vec<usize> {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => (!nulls.inner()).set_indices().collect(),
        None => Vec::new(),
    }
}

/// Gathers the batches of a query as columns, so that they need not be kept beside them.
#[derive(Debug)]
pub struct Collector {
    columns: Vec<(String, Kind)>,
    rows: Gatherer,
    n_bytes: usize,
}

impl Collector {
    /// `columns` are names and kinds, in the order of the batches.
    pub fn new(columns: Vec<(String, Kind)>) -> Self {
        Self { rows: Gatherer::new(columns.clone()), columns, n_bytes: 0 }
    }

    /// # Errors
    /// As [`column`] and [`Gatherer::push`].
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((name, kind), array) in self.columns.iter().zip(batch.columns()) {
            let column = column(name, array, *kind)?;
            self.n_bytes += match &column {
                Column::Number(values) => values.len() * 8,
                Column::Text(values) => values.get_array_memory_size(),
            };
            columns.push(column);
        }
        self.rows.push(&columns)
    }

    /// Returns how much memory training on what is here takes before any model: the columns, once more in order, and
    /// what transforms make of them.
    pub fn bytes_needed(&self) -> usize {
        self.n_bytes * 3
    }

    pub fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    /// Takes what another one of the same columns has gathered.
    ///
    /// # Errors
    /// As [`Gatherer::append`].
    pub fn append(&mut self, other: Self) -> Result<()> {
        self.n_bytes += other.n_bytes;
        self.rows.append(other.rows)
    }

    /// Returns the rows in an order of their own.
    ///
    /// # Errors
    /// As [`Gatherer::finish`].
    pub fn finish(self, task: &Task) -> Result<Ordered> {
        self.rows.finish(task)
    }
}
