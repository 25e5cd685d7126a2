//! Principal components.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Apply, Context, Given, frame, numbers};
use crate::frame::{Frame, Matrix};
use crate::linalg::{add_scaled, eigen, gram, means};
use crate::task::{Task, blocks};

/// Columns beyond this make the matrix of their products too large.
const COLUMNS_MAX: usize = 2000;

/// The directions of greatest variance. A direction's sign is such that its largest part is positive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pca {
    pub names: Vec<String>,
    pub mean: Vec<f64>,
    /// For each component, its part of each column.
    pub components: Vec<Vec<f64>>,
    /// Variance along each component, with `n − 1`.
    pub explained_variance: Vec<f64>,
    /// The same as a share of the variance of all columns.
    pub explained_variance_ratio: Vec<f64>,
    pub whiten: bool,
}

impl Pca {
    pub(super) fn fit(given: &Given<'_>, x: &Matrix, context: &Context<'_>) -> Result<Self> {
        let wanted = given.number("n_components")?;
        let whiten = given.flag("whiten")?;
        let d = x.n_columns();
        let ok = |k: f64| (0.0 < k && k < 1.0) || (k >= 1.0 && k.fract() == 0.0 && k <= d as f64);
        if wanted.is_some_and(|k| !ok(k)) {
            return Err(given.invalid(&format!(
                "n_components is a whole number from 1 to {d}, or the share of the variance to keep"
            )));
        }
        Self::learn(x, wanted, whiten, context.task)
    }

    /// `wanted`: how many components, or what share of the variance they keep; `None`: all.
    ///
    /// # Errors
    /// 22003 for values that are not finite or whose squares are not, 54000 for more than 2000 columns, 22023 for fewer than two rows.
    pub fn learn(x: &Matrix, wanted: Option<f64>, whiten: bool, task: &Task) -> Result<Self> {
        let d = x.n_columns();
        if d > COLUMNS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "too many columns for ML.PCA")
                .with_detail(format!("It is given {d}, the limit is {COLUMNS_MAX}.")));
        }
        if x.n_rows < 2 {
            return Err(Error::new(ErrorKind::InvalidParameter, "ML.PCA needs at least two rows")
                .with_detail(format!("It is given {}.", x.n_rows)));
        }
        x.require_finite(task)?;
        let mean = means(x, task)?;
        let products = gram(x, &mean, None, task)?;
        let (values, vectors) = eigen(&products, task)?;
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        if !finite(&mean) || !finite(&values) || !vectors.iter().all(|vector| finite(vector)) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "values are too large for ML.PCA: their squares are beyond double precision",
            )
            .with_hint("Scale them first: ML.STANDARD_SCALER or ML.MIN_MAX_SCALER."));
        }
        let n = x.n_rows as f64 - 1.0;
        let variances = values.iter().map(|value| value.max(0.0) / n).collect::<Vec<_>>();
        let total = variances.iter().sum::<f64>();
        let ratio = |variance: &f64| if total > 0.0 { variance / total } else { 0.0 };
        let ratios = variances.iter().map(ratio).collect::<Vec<_>>();
        let most = d.min(x.n_rows);
        let k = match wanted {
            None => most,
            Some(k) if k >= 1.0 => (k as usize).min(most),
            Some(share) => {
                let mut kept = 0.0;
                let enough = ratios.iter().position(|ratio| {
                    kept += ratio;
                    kept > share
                });
                enough.map_or(most, |index| index + 1)
            }
        };
        let signed = |vector: &Vec<f64>| {
            let largest = vector
                .iter()
                .copied()
                .fold(0.0_f64, |a, b| if b.abs() > a.abs() * (1.0 + 1e-12) { b } else { a });
            vector.iter().map(|part| part * largest.signum()).collect::<Vec<_>>()
        };
        Ok(Self {
            names: x.names.clone(),
            mean,
            components: vectors[..k].iter().map(signed).collect(),
            explained_variance: variances[..k].to_vec(),
            explained_variance_ratio: ratios[..k].to_vec(),
            whiten,
        })
    }

    /// Returns the weights of each component as they are applied.
    pub fn weights(&self) -> Vec<Vec<f64>> {
        let scale = |index: usize| match self.whiten {
            true => 1.0 / self.explained_variance[index].sqrt().max(1e-12),
            false => 1.0,
        };
        let numbered = self.components.iter().enumerate();
        numbered.map(|(k, row)| row.iter().map(|part| part * scale(k)).collect()).collect()
    }

    pub fn project(&self, x: &Matrix, task: &Task) -> Result<Vec<Vec<f64>>> {
        let weights = self.weights();
        let offset = |row: &Vec<f64>| -crate::linalg::dot(row, &self.mean);
        let offsets = weights.iter().map(offset).collect::<Vec<_>>();
        task.fill(x.n_rows, weights.len(), |range, out| {
            let start = range.start;
            for block in blocks(range) {
                task.check()?;
                let within = block.start - start..block.end - start;
                for ((out, weights), offset) in out.iter_mut().zip(&weights).zip(&offsets) {
                    let out = &mut out[within.clone()];
                    out.fill(*offset);
                    for (column, weight) in x.columns.iter().zip(weights) {
                        add_scaled(out, *weight, &column[block.clone()]);
                    }
                }
            }
            Ok(())
        })
    }
}

impl Apply for Pca {
    fn apply(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let columns = self.project(&numbers("pca", input)?, task)?;
        let named = columns.into_iter().enumerate();
        Ok(frame(input.n_rows, named.map(|(k, c)| (format!("pc{}", k + 1), c)).collect()))
    }
}
