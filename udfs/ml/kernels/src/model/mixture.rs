//! Naive Bayes with normally distributed features.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::logistic::softmax;
use super::{Data, Fit, Model, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::task::Task;

/// Each class with its share, and the mean and variance of each feature in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NaiveBayes {
    pub log_shares: Vec<f64>,
    pub means: Vec<Vec<f64>>,
    pub variances: Vec<Vec<f64>>,
}

/// Means and variances of one column in each class, and its variance in all of them.
type Moments = (Vec<f64>, Vec<f64>, f64);

impl NaiveBayes {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let (codes, n_classes) = data.classes()?;
        let x = &data.x;
        let weight = |row: usize| data.weights.as_ref().map_or(1.0, |weights| weights[row]);
        let mut totals = vec![0.0; n_classes];
        codes.iter().enumerate().for_each(|(row, code)| totals[*code as usize] += weight(row));
        let moments = task.map(x.n_columns(), |index| {
            let values = &x.columns[index];
            let (mut means, mut variances) = (vec![0.0; n_classes], vec![0.0; n_classes]);
            for (row, value) in values.iter().enumerate() {
                means[codes[row] as usize] += weight(row) * value;
            }
            means
                .iter_mut()
                .zip(&totals)
                .for_each(|(mean, total)| *mean /= total.max(f64::MIN_POSITIVE));
            for (row, value) in values.iter().enumerate() {
                let class = codes[row] as usize;
                variances[class] += weight(row) * (value - means[class]) * (value - means[class]);
            }
            variances
                .iter_mut()
                .zip(&totals)
                .for_each(|(v, total)| *v /= total.max(f64::MIN_POSITIVE));
            let (n, _, squares) = crate::transform::moments(values.iter().copied());
            Ok((means, variances, squares / n))
        })?;
        for ((_, variances, variance), name) in moments.iter().zip(&x.names) {
            if !variance.is_finite() || variances.iter().any(|variance| !variance.is_finite()) {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("feature \"{name}\" has values too large for naive_bayes"),
                )
                .with_hint(
                    "Scale it first: ML.STANDARD_SCALER or ML.ROBUST_SCALER in TRANSFORM.",
                ));
            }
        }
        let largest = moments.iter().map(|(_, _, variance)| *variance).fold(0.0, f64::max);
        // Features that are all constant tell nothing: any spread will do, if it is the same for all classes.
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let smoothing = parameters.number("var_smoothing")?.unwrap_or(1e-9) * largest;
        let all = totals.iter().sum::<f64>();
        let by_class = |pick: &dyn Fn(&Moments, usize) -> f64| {
            let class = |class| moments.iter().map(|one| pick(one, class)).collect();
            (0..n_classes).map(class).collect::<Vec<Vec<f64>>>()
        };
        let model = Self {
            log_shares: totals.iter().map(|total| (total / all).ln()).collect(),
            means: by_class(&|one, class| one.0[class]),
            variances: by_class(&|one, class| (one.1[class] + smoothing).max(f64::MIN_POSITIVE)),
        };
        Ok(Fit { model: Model::NaiveBayes(model), iterations: Vec::new(), converged: true })
    }
}

impl Predict for NaiveBayes {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let mut logits = task.map(self.log_shares.len(), |class| {
            let mut z = vec![self.log_shares[class]; x.n_rows];
            let moments = self.means[class].iter().zip(&self.variances[class]);
            for (column, (mean, variance)) in x.columns.iter().zip(moments) {
                let constant = -0.5 * (std::f64::consts::TAU * variance).ln();
                for (z, value) in z.iter_mut().zip(column.iter()) {
                    *z += constant - 0.5 * (value - mean) * (value - mean) / variance;
                }
            }
            Ok(z)
        })?;
        // So far from all classes that no number tells how far: what is left is how frequent they are.
        for row in 0..x.n_rows {
            if logits.iter().all(|z| !z[row].is_finite()) {
                logits.iter_mut().zip(&self.log_shares).for_each(|(z, share)| z[row] = *share);
            }
        }
        softmax(&mut logits, x.n_rows);
        Ok(Prediction::Probabilities(logits))
    }
}
