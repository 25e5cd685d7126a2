//! Quantiles, and the buckets between them.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::{Apply, Context, Given, Literal, frame, numbers};
use crate::frame::{Frame, Matrix};
use crate::task::Task;

/// Returns the quantiles of values, between neighbours in proportion, as NumPy does; 0 for no values at all.
pub fn quantiles(mut values: Vec<f64>, at: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return vec![0.0; at.len()];
    }
    let last = values.len() - 1;
    let one = |quantile: &f64, values: &mut Vec<f64>| {
        let place = quantile.clamp(0.0, 1.0) * last as f64;
        let below = place.floor() as usize;
        let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
        let low = *low;
        let high = above.iter().copied().fold(f64::INFINITY, f64::min);
        if below == last { low } else { low + (high - low) * (place - below as f64) }
    };
    at.iter().map(|quantile| one(quantile, &mut values)).collect()
}

/// The number of the bucket: how many of the points are at or below the value, plus 1. NULL is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucketize {
    /// For each column, ascending.
    pub points: Vec<Vec<f64>>,
}

impl Bucketize {
    pub(super) fn fit(given: &Given<'_>, x: &Matrix, context: &Context<'_>) -> Result<Self> {
        if given.name() == "bucketize" {
            let invalid = || given.invalid("split_points is ARRAY[number, …], ascending");
            let Some(Literal::List(points)) = given.get("split_points") else {
                return Err(invalid());
            };
            let points = points.iter().map(|point| match point {
                Literal::Number(number) => Ok(*number),
                _ => Err(invalid()),
            });
            let points = points.collect::<Result<Vec<_>>>()?;
            if points.is_empty() || !points.is_sorted() {
                return Err(invalid());
            }
            return Ok(Self { points: vec![points; x.n_columns()] });
        }
        let n = given.count("n_buckets", 2..=10_000)?.unwrap_or(10);
        let at = (1..n).map(|index| index as f64 / n as f64).collect::<Vec<_>>();
        let points = context.task.map(x.n_columns(), |index| {
            let known = x.columns[index].iter().copied().filter(|value| value.is_finite());
            let mut points = quantiles(known.collect(), &at);
            points.dedup();
            Ok(points)
        })?;
        Ok(Self { points })
    }
}

impl Apply for Bucketize {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let x = numbers("bucketize", input)?;
        let columns = task.map(x.n_columns(), |index| {
            let points = &self.points[index];
            let bucket = |value: &f64| match value.is_nan() {
                true => 0.0,
                false => points.partition_point(|point| point <= value) as f64 + 1.0,
            };
            Ok((x.names[index].clone(), x.columns[index].iter().map(bucket).collect::<Vec<_>>()))
        })?;
        Ok(frame(input.n_rows, columns))
    }
}
