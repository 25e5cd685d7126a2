//! Quantiles, and the buckets between them.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::{Apply, Context, Given, Literal, frame, numbers};
use crate::frame::{Frame, Matrix};
use crate::task::Task;

/// Quantiles from which on values are sorted: each on its own looks at all of them.
const SORTED_FROM: usize = 5;

/// Returns the quantiles of values, between neighbours in proportion, as NumPy does; 0 for no values at all.
pub fn quantiles(mut values: Vec<f64>, at: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return vec![0.0; at.len()];
    }
    let last = values.len() - 1;
    let sorted = at.len() >= SORTED_FROM;
    if sorted {
        values.sort_unstable_by(f64::total_cmp);
    }
    let neighbours = |values: &mut Vec<f64>, below: usize| match sorted {
        true => (values[below], values[last.min(below + 1)]),
        false => {
            let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
            (*low, above.iter().copied().fold(f64::INFINITY, f64::min))
        }
    };
    let one = |quantile: &f64| {
        let place = quantile.clamp(0.0, 1.0) * last as f64;
        let below = place.floor() as usize;
        let (low, high) = neighbours(&mut values, below);
        let share = place - below as f64;
        // Beside an infinity, no part of the way to it is not a number.
        if below == last || share == 0.0 || low == high { low } else { low + (high - low) * share }
    };
    at.iter().map(one).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn many_quantiles_are_those_that_are_asked_for_one_by_one() {
        let mut random = Random::new(1, 0);
        for n in [1, 2, 7, 1000] {
            let values = (0..n).map(|_| random.next_f64() - 0.5).collect::<Vec<_>>();
            let at = (0..=100).map(|step| f64::from(step) / 100.0).collect::<Vec<_>>();
            let single = at.iter().map(|at| quantiles(values.clone(), &[*at])[0]);
            assert_eq!(quantiles(values.clone(), &at), single.collect::<Vec<_>>());
        }
    }
}
