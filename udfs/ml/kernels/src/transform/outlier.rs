//! Scores that tell how far out a row lies.

pub mod forest;

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::scale::moments;
use super::{Apply, Context, Given, Pca, frame, numbers, quantiles};
use crate::frame::{Frame, Matrix};
use crate::task::Task;
use forest::IsolationForest;

/// A way to score rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Outlier {
    /// The greatest of `|x − center| / scale` over the columns: z-score and MAD.
    Distance {
        center: Vec<f64>,
        scale: Vec<f64>,
    },
    /// How many ranges between the quartiles a value lies beyond the nearer one, the greatest over the columns; 0 within.
    Iqr {
        low: Vec<f64>,
        high: Vec<f64>,
    },
    /// Mahalanobis' distance from the mean, by whitened components.
    Mahalanobis {
        pca: Pca,
    },
    /// The distance from what the kept components make of a row.
    Pca {
        pca: Pca,
    },
    IsolationForest(IsolationForest),
}

impl Outlier {
    pub(super) fn fit(given: &Given<'_>, x: &Matrix, context: &Context<'_>) -> Result<Self> {
        let method = given.word("method")?.unwrap_or_else(|| "isolation_forest".to_owned());
        let task = context.task;
        if x.n_rows == 0 {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "ML.OUTLIER_SCORE has no rows to learn from",
            ));
        }
        x.require_finite(task)?;
        let each = |learn: &(dyn Fn(&[f64]) -> (f64, f64) + Sync)| {
            task.map(x.n_columns(), |index| Ok(learn(&x.columns[index])))
                .map(|pairs| pairs.into_iter().unzip())
        };
        Ok(match method.as_str() {
            "isolation_forest" => {
                let seed = given.number("seed")?.map_or(context.seed, |seed| seed as u64);
                let n_trees = given.count("n_trees", 1..=10_000)?.unwrap_or(100);
                let sample = given.count("sample_size", 2..=1_000_000)?.unwrap_or(256);
                Self::IsolationForest(IsolationForest::learn(x, n_trees, sample, seed, task)?)
            }
            "z_score" | "z" => {
                let (center, scale) = each(&mean_and_deviation)?;
                Self::Distance { center, scale }
            }
            "mad" => {
                let (center, scale) = each(&median_and_deviation)?;
                Self::Distance { center, scale }
            }
            "iqr" => {
                let (low, high) = each(&quartiles)?;
                Self::Iqr { low, high }
            }
            "mahalanobis" => Self::Mahalanobis { pca: Pca::learn(x, None, false, task)? },
            "pca" => Self::Pca { pca: Pca::learn(x, Some(0.9), false, task)? },
            _ => {
                return Err(given.invalid(&format!(
                    "method '{method}' is none of isolation_forest, z_score, mad, iqr, mahalanobis, pca"
                )));
            }
        })
    }

    pub fn score(&self, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
        let mut scores = vec![0.0_f64; x.n_rows];
        match self {
            Self::Distance { center, scale } => {
                for ((column, center), scale) in x.columns.iter().zip(center).zip(scale) {
                    for (score, value) in scores.iter_mut().zip(column.iter()) {
                        *score = greater(*score, deviations(*value, *center, *scale));
                    }
                }
            }
            Self::Iqr { low, high } => {
                for ((column, low), high) in x.columns.iter().zip(low).zip(high) {
                    for (score, value) in scores.iter_mut().zip(column.iter()) {
                        *score = greater(*score, ranges_beyond(*value, *low, *high));
                    }
                }
            }
            Self::Mahalanobis { pca } => {
                let least = pca.explained_variance.first().copied().unwrap_or(0.0) * 1e-12;
                for (part, variance) in pca.project(x, task)?.iter().zip(&pca.explained_variance) {
                    if *variance > least {
                        let parts = scores.iter_mut().zip(part);
                        parts.for_each(|(score, part)| *score += part * part / variance);
                    }
                }
                scores.iter_mut().for_each(|score| *score = score.sqrt());
            }
            Self::Pca { pca } => {
                for (column, mean) in x.columns.iter().zip(&pca.mean) {
                    let values = scores.iter_mut().zip(column.iter());
                    values.for_each(|(score, value)| *score += (value - mean) * (value - mean));
                }
                for part in pca.project(x, task)? {
                    scores.iter_mut().zip(part).for_each(|(score, part)| *score -= part * part);
                }
                scores.iter_mut().for_each(|score| {
                    *score = if score.is_nan() { f64::NAN } else { score.max(0.0).sqrt() }
                });
            }
            Self::IsolationForest(forest) => return forest.score(x, task),
        }
        Ok(scores)
    }
}

/// Returns the mean and the standard deviation of values that are all there, as of a whole population.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let (n, mean, squares) = moments(values.iter().copied());
    (mean, (squares / n).sqrt())
}

/// Returns the median and the median deviation from it, which 1.4826 makes the standard deviation of what is normally distributed.
pub fn median_and_deviation(values: &[f64]) -> (f64, f64) {
    let median = quantiles(values.to_vec(), &[0.5])[0];
    let off = values.iter().map(|value| (value - median).abs()).collect();
    (median, quantiles(off, &[0.5])[0] * 1.482_602_218_505_602)
}

/// Returns the first and the third quartile.
pub fn quartiles(values: &[f64]) -> (f64, f64) {
    let at = quantiles(values.to_vec(), &[0.25, 0.75]);
    (at[0], at[1])
}

/// Returns how many deviations a value lies from the center. Where all values are one, any other is infinitely far out.
pub fn deviations(value: f64, center: f64, scale: f64) -> f64 {
    let off = (value - center).abs();
    if off == 0.0 { 0.0 } else { off / scale }
}

/// Returns how many ranges between the quartiles a value lies beyond the nearer one, 0 within.
pub fn ranges_beyond(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() {
        return f64::NAN;
    }
    let off = (low - value).max(value - high).max(0.0);
    if off == 0.0 { 0.0 } else { off / (high - low) }
}

/// The greater one; NULL if one of them is.
fn greater(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

impl Apply for Outlier {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let scores = self.score(&numbers("outlier_score", input)?, task)?;
        Ok(frame(input.n_rows, vec![("outlier_score".to_owned(), scores)]))
    }
}
