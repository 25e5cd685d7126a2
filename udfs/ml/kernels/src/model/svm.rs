//! Linear support vector machines by Newton's method on the squared hinge loss; probabilities by Platt's sigmoid.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::linear::{linear_values, shares};
use super::logistic::sigmoid;
use super::{Data, Diary, Fit, Model, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::linalg::{Cholesky, add_scaled, dot, gram, means, sum};
use crate::task::Task;

/// Minimises `Σ w·max(0, 1 − y·z)² + ½·l2·|β|²` for each class against the others, scikit-learn's `LinearSVC` with
/// `C = 1 / l2`. Intercepts are not penalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Svm {
    /// For two classes one row, whose positive side is the second one. Else a row for each class.
    pub weights: Vec<Vec<f64>>,
    pub intercepts: Vec<f64>,
    /// For each row `a` and `b` of `1 / (1 + e^-(a·z + b))`.
    pub sigmoids: Vec<(f64, f64)>,
    pub deviations: Vec<f64>,
    #[serde(default)]
    pub means: Vec<f64>,
}

/// One class against the others, on columns brought to mean 0 and deviation 1.
struct Problem<'a> {
    x: &'a Matrix,
    /// 1 or −1.
    signs: Vec<f64>,
    row_weights: Option<&'a [f64]>,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    l2: f64,
    intercept: bool,
    task: &'a Task,
}

impl Problem<'_> {
    fn plain(&self, unknowns: &[f64]) -> (Vec<f64>, f64) {
        let d = self.mean.len();
        let weights = unknowns[..d].iter().zip(&self.deviation).map(|(u, s)| u / s);
        let weights = weights.collect::<Vec<_>>();
        let intercept = unknowns[d] - dot(&weights, &self.mean);
        (weights, intercept)
    }

    fn weight(&self, row: usize) -> f64 {
        self.row_weights.map_or(1.0, |weights| weights[row])
    }

    /// Returns the loss, and by row how far it falls short of the margin.
    fn loss(&self, unknowns: &[f64]) -> Result<(f64, Vec<f64>)> {
        let (weights, intercept) = self.plain(unknowns);
        let mut short = linear_values(self.x, &weights, intercept, self.task)?;
        short.iter_mut().zip(&self.signs).for_each(|(z, y)| *z = (1.0 - y * *z).max(0.0));
        let squares = short.iter().enumerate().map(|(row, s)| self.weight(row) * s * s);
        let squares = squares.collect::<Vec<_>>();
        let d = self.mean.len();
        let penalty = unknowns[..d].iter().zip(&self.deviation).map(|(u, s)| (u / s) * (u / s));
        Ok((sum(&squares) + 0.5 * self.l2 * penalty.sum::<f64>(), short))
    }

    fn solve(&self, max_iterations: usize, diary: &mut Diary) -> Result<(Vec<f64>, bool)> {
        let d = self.mean.len();
        let n_rows = (self.x.n_rows as f64).max(1.0);
        let penalty = |index: usize| self.l2 / (self.deviation[index] * self.deviation[index]);
        let mut unknowns = vec![0.0; d + 1];
        let (mut loss, mut short) = self.loss(&unknowns)?;
        for _ in 0..max_iterations {
            self.task.check()?;
            let rows = short.iter().zip(&self.signs).enumerate();
            let slopes = rows.map(|(row, (s, y))| -2.0 * self.weight(row) * y * s);
            let slopes = slopes.collect::<Vec<_>>();
            let curves = short.iter().enumerate().map(|(row, s)| match *s > 0.0 {
                true => 2.0 * self.weight(row),
                false => 0.0,
            });
            let curves = curves.collect::<Vec<_>>();
            let (all, curve) = (sum(&slopes), sum(&curves));
            let sums = self.task.map(d, |index| {
                let column = &self.x.columns[index];
                let slope = (dot(column, &slopes) - self.mean[index] * all) / self.deviation[index];
                let first =
                    (dot(column, &curves) - self.mean[index] * curve) / self.deviation[index];
                Ok((slope + penalty(index) * unknowns[index], first))
            })?;
            let mut gradient = sums.iter().map(|(slope, _)| *slope).collect::<Vec<_>>();
            gradient.push(if self.intercept { all } else { 0.0 });
            let products = gram(self.x, &self.mean, Some(&curves), self.task)?;
            let mut hessian = crate::linalg::Square::zeros(d + 1);
            for row in 0..d {
                for column in 0..d {
                    *hessian.at_mut(row, column) =
                        products.at(row, column) / (self.deviation[row] * self.deviation[column]);
                }
                // A little weight where no row falls short any more.
                *hessian.at_mut(row, row) += penalty(row) + 1e-12 * n_rows;
                let first = if self.intercept { sums[row].1 } else { 0.0 };
                *hessian.at_mut(row, d) = first;
                *hessian.at_mut(d, row) = first;
            }
            *hessian.at_mut(d, d) = if self.intercept { curve + 1e-12 * n_rows } else { 1.0 };
            let mut step = Cholesky::new(&hessian)?.solve(&gradient);
            step.iter_mut().for_each(|step| *step = -*step);
            let promised = dot(&gradient, &step);
            let mut length = 1.0;
            let (mut next, mut next_loss, mut next_short);
            loop {
                next = unknowns.clone();
                add_scaled(&mut next, length, &step);
                (next_loss, next_short) = self.loss(&next)?;
                if next_loss <= loss + 1e-4 * length * promised + 1e-14 * loss || length < 1e-8 {
                    break;
                }
                length *= 0.5;
            }
            let change = step.iter().map(|s| (s * length).abs()).fold(0.0, f64::max);
            let size = next.iter().map(|u| u.abs()).fold(1.0, f64::max);
            (unknowns, loss, short) = (next, next_loss, next_short);
            diary.note(loss / n_rows, Some(change));
            if change <= 1e-11 * size || -promised <= 1e-15 * (1.0 + loss) {
                return Ok((unknowns, true));
            }
        }
        Ok((unknowns, false))
    }
}

/// Finds the sigmoid that makes probabilities of decision values (Platt, 1999; Lin, Lin and Weng, 2007).
fn sigmoid_of(values: &[f64], positive: &[bool], weight: &dyn Fn(usize) -> f64) -> (f64, f64) {
    let (mut n_positive, mut n_negative) = (0.0, 0.0);
    for (row, positive) in positive.iter().enumerate() {
        *(if *positive { &mut n_positive } else { &mut n_negative }) += weight(row);
    }
    let (high, low) = ((n_positive + 1.0) / (n_positive + 2.0), 1.0 / (n_negative + 2.0));
    let target = |row: usize| if positive[row] { high } else { low };
    let loss = |a: f64, b: f64| {
        let one = |(row, value): (usize, &f64)| {
            let z = a * value + b;
            weight(row) * (z.max(0.0) + (-z.abs()).exp().ln_1p() - target(row) * z)
        };
        values.iter().enumerate().map(one).sum::<f64>()
    };
    let (mut a, mut b) = (1.0, ((n_positive + 1.0) / (n_negative + 1.0)).ln());
    let mut current = loss(a, b);
    for _ in 0..100 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for (row, value) in values.iter().enumerate() {
            let p = sigmoid(a * value + b);
            let (slope, curve) = (weight(row) * (p - target(row)), weight(row) * p * (1.0 - p));
            ga += slope * value;
            gb += slope;
            haa += curve * value * value;
            hab += curve * value;
            hbb += curve;
        }
        let determinant = haa * hbb - hab * hab;
        if determinant.abs() < 1e-300 {
            break;
        }
        let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
        let mut length = 1.0;
        let next = loop {
            let next = loss(a - length * da, b - length * db);
            if next <= current || length < 1e-8 {
                break next;
            }
            length *= 0.5;
        };
        (a, b) = (a - length * da, b - length * db);
        let done = (current - next).abs() <= 1e-14 * (1.0 + current.abs());
        current = next;
        if done {
            break;
        }
    }
    (a, b)
}

/// Folds that the values for the sigmoids come from: those of the rows themselves would be too sure.
const FOLDS: usize = 3;

impl Svm {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let (codes, n_classes) = data.classes()?;
        let mut diary = Diary::new(task);
        let (mut model, converged) = Self::planes(parameters, data, task, &mut diary)?;
        let values = match data.x.n_rows >= 10 * FOLDS {
            true => {
                let mut values = vec![vec![0.0; data.x.n_rows]; model.weights.len()];
                let mut all = true;
                for fold in 0..FOLDS {
                    let rows = 0..data.x.n_rows as u32;
                    let (out, rest): (Vec<u32>, Vec<u32>) =
                        rows.partition(|row| *row as usize % FOLDS == fold);
                    let part = data.select(&rest, task)?;
                    let mut seen = vec![false; n_classes];
                    part.classes()?.0.iter().for_each(|code| seen[*code as usize] = true);
                    if seen.contains(&false) {
                        all = false;
                        break;
                    }
                    let (crossed, _) = Self::planes(parameters, &part, task, &mut Diary::unread())?;
                    let x = data.x.select(&out, task)?;
                    for (values, found) in values.iter_mut().zip(crossed.values(&x, task)?) {
                        out.iter()
                            .zip(found)
                            .for_each(|(row, value)| values[*row as usize] = value);
                    }
                }
                if all { values } else { model.values(&data.x, task)? }
            }
            false => model.values(&data.x, task)?,
        };
        let weight = |row: usize| data.weights.as_ref().map_or(1.0, |weights| weights[row]);
        model.sigmoids = task.map(values.len(), |index| {
            let class = if values.len() == 1 { 1 } else { index as u32 };
            let positive = codes.iter().map(|code| *code == class).collect::<Vec<_>>();
            Ok(sigmoid_of(&values[index], &positive, &weight))
        })?;
        Ok(Fit { model: Model::Svm(model), iterations: diary.iterations, converged })
    }

    fn planes(
        parameters: &Parameters,
        data: &Data,
        task: &Task,
        diary: &mut Diary,
    ) -> Result<(Self, bool)> {
        let (codes, n_classes) = data.classes()?;
        let x = &data.x;
        let d = x.n_columns();
        let mean = means(x, task)?;
        let deviations = task.map(d, |index| {
            let off = x.columns[index].iter().map(|v| (v - mean[index]) * (v - mean[index]));
            let deviation = (off.sum::<f64>() / x.n_rows as f64).sqrt();
            Ok(if deviation > 1e-13 * mean[index].abs() { deviation } else { 0.0 })
        })?;
        let intercept = parameters.flag_or("fit_intercept", true);
        let max_iterations = parameters.count("max_iterations")?.unwrap_or(1000);
        let n_planes = if n_classes == 2 { 1 } else { n_classes };
        let (mut weights, mut intercepts, mut converged) = (Vec::new(), Vec::new(), true);
        for plane in 0..n_planes {
            let class = if n_planes == 1 { 1 } else { plane as u32 };
            let sign = |code: &u32| if *code == class { 1.0 } else { -1.0 };
            let problem = Problem {
                x,
                signs: codes.iter().map(sign).collect(),
                row_weights: data.weights.as_ref().map(|w| w.as_slice()),
                mean: if intercept { mean.clone() } else { vec![0.0; d] },
                deviation: deviations.iter().map(|s| if *s > 0.0 { *s } else { 1.0 }).collect(),
                l2: parameters.number("l2_reg")?.unwrap_or(1.0),
                intercept,
                task,
            };
            let (unknowns, rests) = problem.solve(max_iterations, diary)?;
            converged &= rests;
            let (mut plain, constant) = problem.plain(&unknowns);
            for (weight, deviation) in plain.iter_mut().zip(&deviations) {
                *weight = if *deviation == 0.0 { 0.0 } else { *weight };
            }
            weights.push(plain);
            intercepts.push(constant);
        }
        let sigmoids = vec![(1.0, 0.0); n_planes];
        Ok((Self { weights, intercepts, sigmoids, deviations, means: mean }, converged))
    }

    /// Returns, for each plane, how far rows lie on its positive side.
    pub fn values(&self, x: &Matrix, task: &Task) -> Result<Vec<Vec<f64>>> {
        let planes = self.weights.iter().zip(&self.intercepts);
        planes.map(|(weights, intercept)| linear_values(x, weights, *intercept, task)).collect()
    }
}

impl Predict for Svm {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let mut p = self.values(x, task)?;
        for (values, (a, b)) in p.iter_mut().zip(&self.sigmoids) {
            values.iter_mut().for_each(|value| *value = sigmoid(a * *value + b));
        }
        if let [second] = p.as_slice() {
            let first = second.iter().map(|p| 1.0 - p).collect();
            return Ok(Prediction::Probabilities(vec![first, p.swap_remove(0)]));
        }
        for row in 0..x.n_rows {
            let total = p.iter().map(|class| class[row]).sum::<f64>();
            let n = p.len() as f64;
            p.iter_mut().for_each(|class| {
                class[row] = if total > 0.0 { class[row] / total } else { 1.0 / n };
            });
        }
        Ok(Prediction::Probabilities(p))
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let size = |i: usize| self.weights.iter().map(|w| (w[i] * self.deviations[i]).abs()).sum();
        Some(shares((0..self.deviations.len()).map(size)))
    }
}
