//! Mixtures of normal distributions, by expectation and maximisation.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::logistic::softmax;
use super::{Data, Diary, Fit, KMeans, Model, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::linalg::{Cholesky, Square, dot, gram, sum};
use crate::task::Task;
use crate::transform::Literal;

/// Distributions with their shares; scikit-learn's `GaussianMixture`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    pub shares: Vec<f64>,
    pub means: Vec<Vec<f64>>,
    /// The lower triangle `L` of each covariance `L·Lᵀ`, row by row.
    pub factors: Vec<Vec<f64>>,
    /// By row of training.
    pub log_likelihood: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Full,
    Diagonal,
    Spherical,
}

impl Mixture {
    pub(super) fn fit(parameters: &Parameters, data: &Data, seed: u64, task: &Task) -> Result<Fit> {
        let x = &data.x;
        let (n, d) = (x.n_rows, x.n_columns());
        let k = parameters.count("num_clusters")?.unwrap_or(2);
        if k > n {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "num_clusters is greater than the number of rows",
            )
            .with_detail(format!("There are {n} rows to train on.")));
        }
        let shape = match parameters.0.get("covariance_type") {
            Some(Literal::Text(text)) if text == "diag" => Shape::Diagonal,
            Some(Literal::Text(text)) if text == "spherical" => Shape::Spherical,
            _ => Shape::Full,
        };
        let floor = parameters.number("reg_covar")?.unwrap_or(1e-6);
        let tolerance = parameters.number("tolerance")?.unwrap_or(1e-6);
        let max_iterations = parameters.count("max_iterations")?.unwrap_or(500);
        // From the clusters of k-means, several times; the most likely end is kept.
        let mut best: Option<(Self, Vec<super::Iteration>, bool)> = None;
        for start in 0..parameters.count("num_starts")?.unwrap_or(5) as u64 {
            let plain = Parameters(
                [
                    ("num_clusters".to_owned(), Literal::Number(k as f64)),
                    ("standardize_features".to_owned(), Literal::Boolean(start % 2 == 1)),
                ]
                .into(),
            );
            let clusters = KMeans::fit(&plain, data, seed.wrapping_add(start), &task.unwatched())?;
            let Prediction::Clusters { nearest, .. } = clusters.model.predict(x, task)? else {
                return Err(Error::internal("k-means gives no clusters"));
            };
            let one = |cluster: usize| {
                nearest.iter().map(|c| f64::from(u8::from(*c as usize == cluster))).collect()
            };
            let mut parts = (0..k).map(one).collect::<Vec<Vec<f64>>>();
            let mut diary = Diary::new(task);
            let mut model = Self::of_parts(x, &parts, shape, floor, task)?;
            let mut last = f64::NEG_INFINITY;
            let mut converged = false;
            for _ in 0..max_iterations {
                let (logs, density) = model.log_densities(x, task)?;
                parts = logs;
                let mean = sum(&density) / n as f64;
                let change = mean - last;
                diary.note(-mean, last.is_finite().then_some(change.abs()));
                model.log_likelihood = mean;
                if change.abs() <= tolerance * 1e-3 {
                    converged = true;
                    break;
                }
                last = mean;
                let known = mean;
                model = Self::of_parts(x, &parts, shape, floor, task)?;
                model.log_likelihood = known;
            }
            if best
                .as_ref()
                .is_none_or(|(other, ..)| model.log_likelihood > other.log_likelihood + 1e-12)
            {
                best = Some((model, diary.iterations, converged));
            }
        }
        let (mut model, iterations, converged) =
            best.ok_or_else(|| Error::internal("a mixture was not started"))?;
        // The order of the distributions is that of their means, whatever they were started from.
        let mut order = (0..k).collect::<Vec<_>>();
        order.sort_by(|a, b| {
            let pairs = model.means[*a].iter().zip(&model.means[*b]);
            pairs.map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(a.cmp(b))
        });
        model.shares = order.iter().map(|i| model.shares[*i]).collect();
        model.means = order.iter().map(|i| model.means[*i].clone()).collect();
        model.factors = order.iter().map(|i| model.factors[*i].clone()).collect();
        debug_assert!(model.factors.iter().all(|factor| factor.len() == d * d));
        Ok(Fit { model: Model::Mixture(model), iterations, converged })
    }

    /// Makes distributions of the share that each has in each row.
    fn of_parts(
        x: &Matrix,
        parts: &[Vec<f64>],
        shape: Shape,
        floor: f64,
        task: &Task,
    ) -> Result<Self> {
        let (n, d) = (x.n_rows as f64, x.n_columns());
        let mut model = Self {
            shares: Vec::new(),
            means: Vec::new(),
            factors: Vec::new(),
            log_likelihood: f64::NEG_INFINITY,
        };
        for weights in parts {
            let total = sum(weights) + 10.0 * f64::EPSILON;
            let mean = task.map(d, |index| Ok(dot(&x.columns[index], weights) / total))?;
            let mut covariance = match shape {
                Shape::Full => gram(x, &mean, Some(weights), task)?,
                _ => {
                    let mut diagonal = Square::zeros(d);
                    let spreads = task.map(d, |index| {
                        let rows = x.columns[index].iter().zip(weights);
                        Ok(rows
                            .map(|(v, w)| w * (v - mean[index]) * (v - mean[index]))
                            .sum::<f64>())
                    })?;
                    let all = sum(&spreads) / d as f64;
                    for (index, spread) in spreads.into_iter().enumerate() {
                        let own = if shape == Shape::Spherical { all } else { spread };
                        *diagonal.at_mut(index, index) = own;
                    }
                    diagonal
                }
            };
            covariance.values.iter_mut().for_each(|value| *value /= total);
            (0..d).for_each(|index| *covariance.at_mut(index, index) += floor);
            let lower = Cholesky::new(&covariance).map_err(|_| {
                Error::new(ErrorKind::OutOfRange, "a cluster has come down to one place")
                    .with_hint("Raise reg_covar, or use fewer clusters.")
            })?;
            model.shares.push(total / n);
            model.means.push(mean);
            model.factors.push(lower.into_lower());
        }
        let all = model.shares.iter().sum::<f64>();
        model.shares.iter_mut().for_each(|share| *share /= all);
        Ok(model)
    }

    /// Returns the probability of each distribution by row, and the logarithm of the density there.
    fn log_densities(&self, x: &Matrix, task: &Task) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
        let d = x.n_columns();
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        let parts = task.map_rows(x.n_rows, 8 * (self.shares.len() + d), |range| {
            task.check()?;
            let mut logs = vec![Vec::with_capacity(range.len()); self.shares.len()];
            let mut off = vec![0.0; d];
            for ((logs, share), (mean, lower)) in
                logs.iter_mut().zip(&self.shares).zip(self.means.iter().zip(&self.factors))
            {
                let determinant = (0..d).map(|i| lower[i * d + i].ln()).sum::<f64>();
                let start = share.max(1e-300).ln() - constant - determinant;
                for row in range.clone() {
                    let mut squares = 0.0;
                    for index in 0..d {
                        let done = dot(&lower[index * d..index * d + index], &off[..index]);
                        let value = x.columns[index][row] - mean[index];
                        off[index] = (value - done) / lower[index * d + index];
                        squares += off[index] * off[index];
                    }
                    logs.push(start - 0.5 * squares);
                }
            }
            let density = softmax(&mut logs, range.len());
            Ok((logs, density))
        })?;
        let mut all = vec![Vec::with_capacity(x.n_rows); self.shares.len()];
        let mut densities = Vec::with_capacity(x.n_rows);
        for (logs, density) in parts {
            all.iter_mut().zip(logs).for_each(|(all, some)| all.extend(some));
            densities.extend(density);
        }
        Ok((all, densities))
    }
}

impl Predict for Mixture {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let (probabilities, log_density) = self.log_densities(x, task)?;
        Ok(Prediction::Mixture { probabilities, log_density })
    }
}
