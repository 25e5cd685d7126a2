//! The imputer: a value in the place of NULL.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::{Array, StringArray};
use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::quantile::quantiles;
use super::scale::{finite_moments, moments};
use super::{Apply, Context, Given, Literal};
use crate::frame::{Column, Frame};
use crate::task::Task;

/// A value for each column, in place of NULL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impute {
    pub values: Vec<Fill>,
    /// Whether each column is followed by one that says where there was NULL.
    pub indicator: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fill {
    Number(f64),
    Text(String),
}

impl Impute {
    pub(super) fn fit(given: &Given<'_>, input: &Frame, context: &Context<'_>) -> Result<Self> {
        let strategy = given.word("strategy")?.unwrap_or_else(|| "mean".to_owned());
        let indicator = given.flag("add_indicator")?;
        let values = context.task.map(input.columns.len(), |index| {
            let (name, column) = &input.columns[index];
            let empty = || {
                Error::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "column \"{name}\" is NULL in every row, ML.IMPUTER cannot learn from it"
                    ),
                )
                .with_hint("Leave the column out, or use strategy 'constant' with a fill_value.")
            };
            match (strategy.as_str(), column, given.get("fill_value")) {
                ("constant", Column::Number(_), Some(Literal::Number(fill))) => {
                    Ok(Fill::Number(*fill))
                }
                ("constant", Column::Number(_), Some(Literal::Boolean(fill))) => {
                    Ok(Fill::Number(f64::from(u8::from(*fill))))
                }
                ("constant", Column::Number(_), None) => Ok(Fill::Number(0.0)),
                ("constant", Column::Text(_), Some(Literal::Text(fill))) => {
                    Ok(Fill::Text(fill.clone()))
                }
                ("constant", ..) => {
                    Err(given.invalid("fill_value has another type than the column"))
                }
                ("mean", Column::Number(values), _) => {
                    if values.iter().any(|value| value.is_infinite()) {
                        // The mean with infinity in it is none; what is said of it is said where it is met.
                        let (_, mean, _) = moments(values.iter().copied().filter(|v| !v.is_nan()));
                        return Ok(Fill::Number(mean));
                    }
                    match finite_moments(values) {
                        (0.0, ..) => Err(empty()),
                        (_, mean, _) => Ok(Fill::Number(mean)),
                    }
                }
                ("median", Column::Number(values), _) => {
                    let known = values.iter().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>();
                    if known.is_empty() {
                        return Err(empty());
                    }
                    Ok(Fill::Number(quantiles(known, &[0.5])[0]))
                }
                // Of text there is no mean; what is most frequent stands for it.
                ("mode" | "most_frequent", ..) | ("mean" | "median", Column::Text(_), _) => {
                    most_frequent(column).ok_or_else(empty)
                }
                _ => Err(given.invalid(&format!(
                    "strategy '{strategy}' is none of mean, median, most_frequent (mode), constant"
                ))),
            }
        })?;
        Ok(Self { values, indicator })
    }

    /// Learns the mean of numbers and the most frequent text, where a column has NULL and has anything else.
    pub fn default_for(column: &Column) -> Fill {
        match column {
            Column::Number(values) => Fill::Number(finite_moments(values).1),
            Column::Text(_) => most_frequent(column).unwrap_or_else(|| Fill::Text(String::new())),
        }
    }
}

/// Of values as frequent the least, as in scikit-learn.
fn most_frequent(column: &Column) -> Option<Fill> {
    match column {
        Column::Number(values) => {
            let mut known = values.iter().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>();
            known.sort_unstable_by(f64::total_cmp);
            let runs = known.chunk_by(|a, b| a == b);
            let best = runs.max_by(|a, b| {
                (a.len(), b[0]).partial_cmp(&(b.len(), a[0])).unwrap_or(std::cmp::Ordering::Equal)
            })?;
            Some(Fill::Number(best[0]))
        }
        Column::Text(values) => {
            let mut counts = BTreeMap::<&str, usize>::new();
            values.iter().flatten().for_each(|text| *counts.entry(text).or_default() += 1);
            let best = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
            Some(Fill::Text(best.0.to_owned()))
        }
    }
}

impl Apply for Impute {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let columns = task.map(input.columns.len().min(self.values.len()), |index| {
            let ((name, column), fill) = (&input.columns[index], &self.values[index]);
            let missing = |row| column.text(row).is_none();
            let indicator = self.indicator.then(|| {
                let flags = (0..column.len()).map(|row| f64::from(u8::from(missing(row))));
                (format!("{name}_missing"), Column::number(flags.collect()))
            });
            let filled = match (column, fill) {
                (Column::Number(values), Fill::Number(fill)) => {
                    if values.iter().any(|value| value.is_nan()) {
                        let fill = |value: &f64| if value.is_nan() { *fill } else { *value };
                        Column::number(values.iter().map(fill).collect())
                    } else {
                        column.clone()
                    }
                }
                (Column::Text(values), Fill::Text(fill)) if values.null_count() > 0 => {
                    let filled = values.iter().map(|value| Some(value.unwrap_or(fill)));
                    Column::Text(StringArray::from_iter(filled.map(|v| v.map(Cow::Borrowed))))
                }
                _ => column.clone(),
            };
            Ok((Some((name.clone(), filled)), indicator))
        })?;
        let columns =
            columns.into_iter().flat_map(|(filled, flags)| filled.into_iter().chain(flags));
        Ok(Frame { n_rows: input.n_rows, columns: columns.collect() })
    }
}
