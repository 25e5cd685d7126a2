//! Linear regression by the products of columns: least squares, ridge, lasso, elastic net.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::{Data, Diary, Fit, Model, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::linalg::{Cholesky, Square, add_scaled, dot, gram, means, sum};
use crate::task::{Task, blocks};

/// Minimises `½ Σ w·(y − b − x·β)² + ½·l2·|β|² + l1·|β|₁`. scikit-learn's Ridge has `alpha = l2`, its Lasso `alpha = l1 / n`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    pub weights: Vec<f64>,
    pub intercept: f64,
    /// Standard errors of weights and intercept, without penalties only.
    pub standard_errors: Option<Vec<f64>>,
    /// The spread of each feature, for how much it matters.
    pub deviations: Vec<f64>,
    /// The mean of each feature, which attributions are measured from; empty in models of before 2026-11.
    #[serde(default)]
    pub means: Vec<f64>,
}

impl Linear {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let l1 = parameters.number("l1_reg")?.unwrap_or(0.0);
        let l2 = parameters.number("l2_reg")?.unwrap_or(0.0);
        let intercept = parameters.flag_or("fit_intercept", true);
        let max_iterations = parameters.count("max_iterations")?.unwrap_or(1000);
        let mut diary = Diary::new(task);
        let x = &data.x;
        let d = x.n_columns();
        // The label is one more column of the products.
        let mut all = x.clone();
        all.columns.push(std::sync::Arc::clone(data.numbers()?));
        all.names.push("label".to_owned());
        let weights = data.weights.as_ref().map(|w| w.as_slice());
        let center = match (intercept, weights) {
            (false, _) => vec![0.0; d + 1],
            (true, None) => means(&all, task)?,
            (true, Some(weights)) => {
                let total = sum(weights).max(f64::MIN_POSITIVE);
                task.map(d + 1, |index| Ok(dot(&all.columns[index], weights) / total))?
            }
        };
        let products = gram(&all, &center, weights, task)?;
        let deviation = |index| {
            let spread = products.at(index, index).sqrt();
            let floor = 1e-13 * center[index].abs() * (x.n_rows as f64).sqrt();
            if spread > floor { spread } else { 0.0 }
        };
        let deviations = (0..d).map(deviation).collect::<Vec<f64>>();
        // Unit columns: the limits of the factorisation are then those of the data, not of its units.
        let unit = |index: usize| if deviations[index] > 0.0 { deviations[index] } else { 1.0 };
        let mut matrix = Square::zeros(d);
        for row in 0..d {
            for column in 0..d {
                let used = deviations[row] > 0.0 && deviations[column] > 0.0;
                let scaled = products.at(row, column) / (unit(row) * unit(column));
                *matrix.at_mut(row, column) = if used { scaled } else { 0.0 };
            }
            *matrix.at_mut(row, row) += l2 / (unit(row) * unit(row));
        }
        let right = (0..d).map(|index| match deviations[index] > 0.0 {
            true => products.at(index, d) / unit(index),
            false => 0.0,
        });
        let right = right.collect::<Vec<f64>>();
        let mut converged = true;
        let mut factor = None;
        let mut scaled = if l1 > 0.0 {
            let penalty = (0..d).map(|index| l1 / unit(index)).collect::<Vec<_>>();
            let mut solved = vec![0.0; d];
            converged =
                coordinate_descent(&matrix, &right, &penalty, &mut solved, max_iterations, task)?;
            solved
        } else {
            let cholesky = Cholesky::new(&matrix)?;
            let solved = cholesky.solve(&right);
            factor = Some(cholesky);
            solved
        };
        let residuals = |scaled: &[f64]| -> Result<Vec<f64>> {
            let model = Self::from_scaled(scaled, &unit, &center, d);
            let predicted = model.values(x, task)?;
            Ok(all.columns[d].iter().zip(&predicted).map(|(y, p)| y - p).collect())
        };
        let mut rest = residuals(&scaled)?;
        if let Some(cholesky) = &factor {
            // What rounding left over in the products is solved for once more.
            let left = task.map(d, |index| {
                if deviations[index] == 0.0 {
                    return Ok(0.0);
                }
                let column = &x.columns[index];
                let products = column.iter().zip(&rest).enumerate().map(|(row, (x, r))| {
                    (x - center[index]) * r * weights.map_or(1.0, |weights| weights[row])
                });
                Ok(products.sum::<f64>() / unit(index)
                    - l2 * scaled[index] / (unit(index) * unit(index)))
            })?;
            add_scaled(&mut scaled, 1.0, &cholesky.solve(&left));
            rest = residuals(&scaled)?;
        }
        let weighted = |row: usize, r: f64| r * r * weights.map_or(1.0, |weights| weights[row]);
        let squares = rest.iter().enumerate().map(|(row, r)| weighted(row, *r)).sum::<f64>();
        let mut model = Self::from_scaled(&scaled, &unit, &center, d);
        let free = x.n_rows as f64 - d as f64 - f64::from(u8::from(intercept));
        if let (Some(cholesky), true) = (&factor, l2 == 0.0 && free > 0.0)
            && !cholesky.is_flat()
        {
            let variance = squares / free;
            let inverse = cholesky.inverse_diagonal();
            let error = |index: usize| (variance * inverse[index]).sqrt() / unit(index);
            model.standard_errors = Some((0..d).map(error).collect());
        }
        let n = (x.n_rows as f64).max(1.0);
        model.deviations = deviations.iter().map(|spread| spread / n.sqrt()).collect();
        model.means = match intercept {
            true => center[..d].to_vec(),
            false => means(x, task)?,
        };
        diary.note(squares / n, None);
        Ok(Fit { model: Model::Linear(model), iterations: diary.iterations, converged })
    }

    fn from_scaled(scaled: &[f64], unit: &impl Fn(usize) -> f64, center: &[f64], d: usize) -> Self {
        let weights = (0..d).map(|index| scaled[index] / unit(index)).collect::<Vec<_>>();
        let intercept = center[d] - dot(&weights, &center[..d]);
        Self {
            weights,
            intercept,
            standard_errors: None,
            deviations: Vec::new(),
            means: Vec::new(),
        }
    }

    fn values(&self, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
        linear_values(x, &self.weights, self.intercept, task)
    }
}

/// Returns `b + x·β` by row.
pub(super) fn linear_values(
    x: &Matrix,
    weights: &[f64],
    intercept: f64,
    task: &Task,
) -> Result<Vec<f64>> {
    let mut filled = task.fill(x.n_rows, 1, |range, out| {
        let start = range.start;
        for block in blocks(range) {
            let out = &mut out[0][block.start - start..block.end - start];
            out.fill(intercept);
            for (column, weight) in x.columns.iter().zip(weights) {
                if *weight != 0.0 {
                    add_scaled(out, *weight, &column[block.clone()]);
                }
            }
        }
        Ok(())
    })?;
    Ok(filled.pop().unwrap_or_default())
}

/// Minimises `½ xᵀAx − bᵀx + Σ penalty·|x|`, one coordinate at a time. Returns whether it came to rest.
pub(super) fn coordinate_descent(
    matrix: &Square,
    right: &[f64],
    penalty: &[f64],
    x: &mut [f64],
    max_iterations: usize,
    task: &Task,
) -> Result<bool> {
    let n = matrix.n;
    // The gradient without the penalty, kept up to date.
    let mut gradient = (0..n)
        .map(|row| dot(&matrix.values[row * n..(row + 1) * n], x) - right[row])
        .collect::<Vec<_>>();
    for _ in 0..max_iterations.max(1000) {
        task.check()?;
        let mut largest = 0.0_f64;
        for index in 0..n {
            let curve = matrix.at(index, index);
            if curve <= 0.0 {
                continue;
            }
            let wanted = x[index] * curve - gradient[index];
            let shrunk = wanted.signum() * (wanted.abs() - penalty[index]).max(0.0) / curve;
            let step = shrunk - x[index];
            if step != 0.0 {
                x[index] = shrunk;
                add_scaled(&mut gradient, step, &matrix.values[index * n..(index + 1) * n]);
                largest = largest.max(step.abs() * curve.sqrt());
            }
        }
        let size = x.iter().enumerate().map(|(i, x)| x.abs() * matrix.at(i, i).max(0.0).sqrt());
        if largest <= 1e-12 * size.fold(0.0, f64::max) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Predict for Linear {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        self.values(x, task).map(Prediction::Numbers)
    }

    fn importance(&self) -> Option<Vec<f64>> {
        Some(shares(self.weights.iter().zip(&self.deviations).map(|(w, s)| (w * s).abs())))
    }
}

/// Brings values to a sum of 1.
pub(super) fn shares(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values = values.collect::<Vec<_>>();
    let total = values.iter().sum::<f64>();
    values.iter().map(|value| if total > 0.0 { value / total } else { 0.0 }).collect()
}
