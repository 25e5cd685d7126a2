//! Logistic regression with two or more classes, by Newton's method; by limited-memory BFGS where its matrix would be large.

mod descent;

use maru_core::Result;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::linear::{coordinate_descent, shares};
use super::{Data, Diary, Fit, Model, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::linalg::{Cholesky, Products, Square, add_scaled, dot, gram, means, sum, symmetric};
use crate::task::{Task, blocks};

/// Unknowns up to which Newton's matrix is made.
const NEWTON_MAX: usize = 600;

/// Minimises `Σ w·loss + ½·l2·|β|² + l1·|β|₁`, scikit-learn's with `C = 1 / l2`. Intercepts are not penalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// For two classes one row: the log odds of the second one. Else a row for each class.
    pub weights: Vec<Vec<f64>>,
    pub intercepts: Vec<f64>,
    /// Of the weights, for two classes without penalties.
    pub standard_errors: Option<Vec<f64>>,
    pub deviations: Vec<f64>,
    /// The mean of each feature, which attributions are measured from; empty in models of before 2026-11.
    #[serde(default)]
    pub means: Vec<f64>,
}

/// The data as the solvers see it. Unknowns are, for each logit, a weight per column brought to mean 0 and deviation 1, and
/// the intercept last.
struct Problem<'a> {
    x: &'a Matrix,
    codes: &'a [u32],
    row_weights: Option<&'a [f64]>,
    n_logits: usize,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    /// Penalties by unknown.
    l1: Vec<f64>,
    l2: Vec<f64>,
    intercept: bool,
    task: &'a Task,
}

/// What the loss is like at a place.
struct At {
    loss: f64,
    gradient: Vec<f64>,
    hessian: Option<Square>,
}

/// Second derivatives of one logit, block by block.
struct Curve<'a> {
    /// Of the rows of the block, which the products are weighted by.
    weights: Vec<f64>,
    products: Products<'a>,
    /// Of each column, and of nothing.
    firsts: Vec<f64>,
    total: f64,
}

impl<'a> Curve<'a> {
    fn new(problem: &'a Problem<'_>) -> Self {
        let products = Products::new(problem.x, &problem.mean);
        let firsts = vec![0.0; problem.x.n_columns()];
        Self { weights: Vec::new(), products, firsts, total: 0.0 }
    }

    fn add(&mut self, x: &Matrix, block: std::ops::Range<usize>) -> Result<()> {
        for (first, column) in self.firsts.iter_mut().zip(&x.columns) {
            *first += dot(&column[block.clone()], &self.weights);
        }
        self.total += sum(&self.weights);
        self.products.add(block, Some(&self.weights))
    }

    fn finish(self) -> (Array2<f64>, Vec<f64>, f64) {
        (self.products.into_total(), self.firsts, self.total)
    }
}

/// Makes residuals of the logits of a block, by class; returns its loss.
fn many_classes(logits: &mut [Vec<f64>], codes: &[u32], weights: Option<&[f64]>) -> f64 {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let own = codes.iter().enumerate().map(|(row, code)| logits[*code as usize][row]);
    let own = own.collect::<Vec<_>>();
    let norms = softmax(logits, codes.len());
    let mut loss = 0.0;
    for (row, code) in codes.iter().enumerate() {
        loss += weight(row) * (norms[row] - own[row]);
        logits[*code as usize][row] -= 1.0;
    }
    if let Some(weights) = weights {
        for class in logits {
            class.iter_mut().zip(weights).for_each(|(residual, weight)| *residual *= weight);
        }
    }
    loss
}

pub(super) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// Turns logits, by class, into probabilities, each row against its own greatest. Returns the logarithms of the sums.
pub(super) fn softmax(logits: &mut [Vec<f64>], rows: usize) -> Vec<f64> {
    let mut norms = vec![f64::NEG_INFINITY; rows];
    for class in logits.iter() {
        norms.iter_mut().zip(class).for_each(|(norm, z)| *norm = norm.max(*z));
    }
    let mut sums = vec![0.0; rows];
    for class in logits.iter_mut() {
        for ((z, norm), sum) in class.iter_mut().zip(&norms).zip(&mut sums) {
            *z = (*z - norm).exp();
            *sum += *z;
        }
    }
    for class in logits.iter_mut() {
        class.iter_mut().zip(&sums).for_each(|(z, sum)| *z /= sum);
    }
    norms.iter().zip(&sums).map(|(norm, sum)| norm + sum.ln()).collect()
}

impl Problem<'_> {
    fn width(&self) -> usize {
        self.x.n_columns() + 1
    }

    fn n(&self) -> usize {
        self.n_logits * self.width()
    }

    /// Returns weights on the columns as they are, and the intercept, of one logit.
    fn plain(&self, unknowns: &[f64], logit: usize) -> (Vec<f64>, f64) {
        let d = self.x.n_columns();
        let at = &unknowns[logit * (d + 1)..(logit + 1) * (d + 1)];
        let weights = at[..d].iter().zip(&self.deviation).map(|(u, s)| u / s).collect::<Vec<_>>();
        let intercept = at[d] - dot(&weights, &self.mean);
        (weights, intercept)
    }

    fn logits(&self, plain: &[(Vec<f64>, f64)], block: std::ops::Range<usize>) -> Vec<Vec<f64>> {
        let one = |(weights, intercept): &(Vec<f64>, f64)| {
            let mut z = vec![*intercept; block.len()];
            for (column, weight) in self.x.columns.iter().zip(weights) {
                if *weight != 0.0 {
                    add_scaled(&mut z, *weight, &column[block.clone()]);
                }
            }
            z
        };
        plain.iter().map(one).collect()
    }

    /// Returns the loss without the l1 penalty and its gradient, in one pass over the rows.
    fn loss_and_gradient(&self, unknowns: &[f64]) -> Result<(f64, Vec<f64>)> {
        self.pass(unknowns, false).map(|at| (at.loss, at.gradient))
    }

    /// The same; for one logit with the second derivatives, if they are `wanted`: the rows are in the nearest cache then.
    fn pass(&self, unknowns: &[f64], wanted: bool) -> Result<At> {
        let wanted = wanted && self.n_logits == 1;
        let d = self.x.n_columns();
        let plain = (0..self.n_logits).map(|k| self.plain(unknowns, k)).collect::<Vec<_>>();
        let n_bytes = if wanted { d * d * 8 } else { self.n() * 8 };
        let parts = self.task.map_rows(self.x.n_rows, n_bytes, |range| {
            let mut loss = 0.0;
            let mut gradient = vec![0.0; self.n()];
            let mut curve = wanted.then(|| Curve::new(self));
            for block in blocks(range) {
                self.task.check()?;
                let mut logits = self.logits(&plain, block.clone());
                let codes = &self.codes[block.clone()];
                let weights = self.row_weights.map(|weights| &weights[block.clone()]);
                loss += match &mut logits[..] {
                    [z] => self.two_classes(z, codes, weights, curve.as_mut(), block.clone())?,
                    _ => many_classes(&mut logits, codes, weights),
                };
                for (k, residuals) in logits.iter().enumerate() {
                    let gradient = &mut gradient[k * (d + 1)..(k + 1) * (d + 1)];
                    for (gradient, column) in gradient.iter_mut().zip(&self.x.columns) {
                        *gradient += dot(&column[block.clone()], residuals);
                    }
                    gradient[d] += sum(residuals);
                }
            }
            Ok((loss, gradient, curve.map(Curve::finish)))
        })?;
        let mut loss = 0.0;
        let mut gradient = vec![0.0; self.n()];
        let mut curves = Vec::new();
        for (part, parts, curve) in parts {
            loss += part;
            add_scaled(&mut gradient, 1.0, &parts);
            curves.extend(curve);
        }
        for k in 0..self.n_logits {
            let gradient = &mut gradient[k * (d + 1)..(k + 1) * (d + 1)];
            let total = gradient[d];
            for (index, value) in gradient[..d].iter_mut().enumerate() {
                *value = (*value - self.mean[index] * total) / self.deviation[index];
            }
            if !self.intercept {
                gradient[d] = 0.0;
            }
        }
        for ((value, unknown), l2) in gradient.iter_mut().zip(unknowns).zip(&self.l2) {
            *value += l2 * unknown;
            loss += 0.5 * l2 * unknown * unknown;
        }
        let hessian = wanted.then(|| {
            let (mut firsts, mut total) = (vec![0.0; d], 0.0);
            for (_, first, sum) in &curves {
                add_scaled(&mut firsts, 1.0, first);
                total += sum;
            }
            let products = symmetric(d, curves.into_iter().map(|(products, ..)| products));
            let mut hessian = Square::zeros(self.n());
            self.block(&mut hessian, (0, 0), &products, &firsts, total);
            self.with_penalty(hessian)
        });
        Ok(At { loss, gradient, hessian })
    }

    /// Makes residuals of the logits of a block; returns its loss.
    fn two_classes(
        &self,
        logits: &mut [f64],
        codes: &[u32],
        weights: Option<&[f64]>,
        mut curve: Option<&mut Curve<'_>>,
        block: std::ops::Range<usize>,
    ) -> Result<f64> {
        /// As many factors between 1 and 2 have a product that is a number.
        const FACTORS: usize = 512;
        let (mut loss, mut product) = (0.0, 1.0);
        if let Some(curve) = &mut curve {
            curve.weights.clear();
        }
        for (row, (z, code)) in logits.iter_mut().zip(codes).enumerate() {
            let y = f64::from(*code);
            let weight = weights.map_or(1.0, |weights| weights[row]);
            // `ln(1 + e^z)` and `1 / (1 + e^-z)` of one exponential, which cannot overflow.
            let small = (-z.abs()).exp();
            let p = if *z >= 0.0 { 1.0 } else { small } / (1.0 + small);
            let linear = z.max(0.0) - y * *z;
            match weights {
                Some(_) => loss += weight * (linear + small.ln_1p()),
                None => {
                    // One logarithm for many rows.
                    loss += linear;
                    product *= 1.0 + small;
                    if row % FACTORS == FACTORS - 1 {
                        loss += f64::ln(product);
                        product = 1.0;
                    }
                }
            }
            *z = weight * (p - y);
            if let Some(curve) = &mut curve {
                curve.weights.push(weight * p * (1.0 - p));
            }
        }
        if let Some(curve) = curve {
            curve.add(self.x, block)?;
        }
        Ok(loss + f64::ln(product))
    }

    fn l1_loss(&self, unknowns: &[f64]) -> f64 {
        unknowns.iter().zip(&self.l1).map(|(u, l1)| l1 * u.abs()).sum()
    }

    /// Returns the second derivatives.
    fn hessian(&self, unknowns: &[f64]) -> Result<Square> {
        if let Some(hessian) = self.pass(unknowns, true)?.hessian {
            return Ok(hessian);
        }
        let d = self.x.n_columns();
        let p = self.probabilities(unknowns)?;
        let mut hessian = Square::zeros(self.n());
        for a in 0..self.n_logits {
            for b in a..self.n_logits {
                let (left, right) = (&p[a], &p[b]);
                let curve = |row: usize| match a == b {
                    true => left[row] * (1.0 - left[row]),
                    false => -left[row] * right[row],
                };
                let weights = match self.row_weights {
                    None => (0..self.x.n_rows).map(curve).collect::<Vec<_>>(),
                    Some(w) => (0..self.x.n_rows).map(|row| curve(row) * w[row]).collect(),
                };
                let products = gram(self.x, &self.mean, Some(&weights), self.task)?;
                let firsts = self.task.map(d, |i| Ok(dot(&self.x.columns[i], &weights)))?;
                self.block(&mut hessian, (a, b), &products, &firsts, sum(&weights));
            }
        }
        Ok(self.with_penalty(hessian))
    }

    fn with_penalty(&self, mut hessian: Square) -> Square {
        let (d, width) = (self.x.n_columns(), self.width());
        for index in 0..self.n() {
            *hessian.at_mut(index, index) += self.l2[index];
            if !self.intercept && index % width == d {
                for other in 0..self.n() {
                    *hessian.at_mut(index, other) = 0.0;
                    *hessian.at_mut(other, index) = 0.0;
                }
            }
        }
        hessian
    }

    /// Fills the part of two logits in: of the weighted products of the columns less their means, the weighted sums of the columns
    /// as they are, and the sum of the weights.
    fn block(
        &self,
        hessian: &mut Square,
        (a, b): (usize, usize),
        products: &Square,
        firsts: &[f64],
        total: f64,
    ) {
        let (d, width) = (self.x.n_columns(), self.width());
        let first = |i: usize| (firsts[i] - self.mean[i] * total) / self.deviation[i];
        let value = |row: usize, column: usize| match (row < d, column < d) {
            (true, true) => {
                products.at(row, column) / (self.deviation[row] * self.deviation[column])
            }
            (true, false) => first(row),
            (false, true) => first(column),
            (false, false) => total,
        };
        for row in 0..width {
            for column in 0..width {
                let value = value(row, column);
                *hessian.at_mut(a * width + row, b * width + column) = value;
                *hessian.at_mut(b * width + column, a * width + row) = value;
            }
        }
    }

    /// Returns the probability of each logit's class by row.
    fn probabilities(&self, unknowns: &[f64]) -> Result<Vec<Vec<f64>>> {
        let plain = (0..self.n_logits).map(|k| self.plain(unknowns, k)).collect::<Vec<_>>();
        self.task.fill(self.x.n_rows, self.n_logits, |range, out| {
            let start = range.start;
            for block in blocks(range) {
                let within = block.start - start..block.end - start;
                let mut logits = self.logits(&plain, block);
                match self.n_logits {
                    1 => logits[0].iter_mut().for_each(|z| *z = sigmoid(*z)),
                    _ => {
                        let rows = logits[0].len();
                        softmax(&mut logits, rows);
                    }
                }
                for (out, logits) in out.iter_mut().zip(&logits) {
                    out[within.clone()].copy_from_slice(logits);
                }
            }
            Ok(())
        })
    }

    /// Newton's method with steps halved until they help; with an l1 penalty each step minimises the quadratic with it.
    fn newton(
        &self,
        unknowns: &mut Vec<f64>,
        max_iterations: usize,
        diary: &mut Diary,
    ) -> Result<bool> {
        let rows = (self.x.n_rows as f64).max(1.0);
        let with_l1 = self.l1.iter().any(|l1| *l1 > 0.0);
        let At { mut loss, mut gradient, hessian: mut known } = self.pass(unknowns, true)?;
        for _ in 0..max_iterations {
            let mut hessian = match known.take() {
                Some(hessian) => hessian,
                None => self.hessian(unknowns)?,
            };
            // Adding one constant to all logits of a softmax changes nothing: a little weight keeps the matrix regular.
            let largest = (0..hessian.n).map(|i| hessian.at(i, i)).fold(0.0, f64::max);
            if self.n_logits > 1 || largest < 1e-9 * rows {
                for index in 0..hessian.n {
                    let small = 1e-10 * hessian.at(index, index).max(largest * 1e-3) + 1e-300;
                    *hessian.at_mut(index, index) += small;
                }
            }
            let target = if with_l1 {
                let right = (0..hessian.n).map(|row| {
                    dot(&hessian.values[row * hessian.n..(row + 1) * hessian.n], unknowns)
                        - gradient[row]
                });
                let right = right.collect::<Vec<_>>();
                let mut target = unknowns.clone();
                coordinate_descent(&hessian, &right, &self.l1, &mut target, 1000, self.task)?;
                target
            } else {
                let step = match Cholesky::new(&hessian) {
                    Ok(cholesky) => cholesky.solve(&gradient),
                    Err(error) if diary.iterations.is_empty() => return Err(error),
                    // A plane separates the classes but for rows that lie on it: weights grow until the other rows curve nothing.
                    Err(_) => return Ok(false),
                };
                unknowns.iter().zip(&step).map(|(u, s)| u - s).collect()
            };
            let step = target.iter().zip(&*unknowns).map(|(t, u)| t - u).collect::<Vec<_>>();
            let promised = dot(&gradient, &step) + self.l1_loss(&target) - self.l1_loss(unknowns);
            let whole = loss + self.l1_loss(unknowns);
            let mut length = 1.0;
            let (mut next, mut at);
            loop {
                next = unknowns.clone();
                add_scaled(&mut next, length, &step);
                at = self.pass(&next, true)?;
                let lower = at.loss + self.l1_loss(&next)
                    <= whole + 1e-4 * length * promised + 1e-14 * whole.abs();
                if lower || length < 1e-6 {
                    break;
                }
                length *= 0.5;
            }
            let change = step.iter().map(|s| (s * length).abs()).fold(0.0, f64::max);
            let size = next.iter().map(|u| u.abs()).fold(1.0, f64::max);
            *unknowns = next;
            At { loss, gradient, hessian: known } = at;
            diary.note((loss + self.l1_loss(unknowns)) / rows, Some(change));
            if change <= 1e-10 * size || -promised <= 1e-15 * (1.0 + whole.abs()) {
                return Ok(true);
            }
            // Classes that a plane separates have no best weights: the loss goes to nothing while they grow.
            if loss / rows < 1e-9 {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

impl Logistic {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let (codes, n_classes) = data.classes()?;
        let x = &data.x;
        let d = x.n_columns();
        let n_logits = if n_classes == 2 { 1 } else { n_classes };
        let mean = means(x, task)?;
        let deviation = task.map(d, |index| {
            let values = &x.columns[index];
            let squares = values.iter().map(|v| (v - mean[index]) * (v - mean[index])).sum::<f64>();
            let deviation = (squares / x.n_rows as f64).sqrt();
            let constant = deviation <= 1e-13 * mean[index].abs();
            Ok(if constant || deviation == 0.0 { 0.0 } else { deviation })
        })?;
        let divisor = deviation.iter().map(|s| if *s > 0.0 { *s } else { 1.0 }).collect::<Vec<_>>();
        let intercept = parameters.flag_or("fit_intercept", true);
        let middle = mean.clone();
        let mean = if intercept { mean } else { vec![0.0; d] };
        let l1 = parameters.number("l1_reg")?.unwrap_or(0.0);
        let l2 = parameters.number("l2_reg")?.unwrap_or(0.0);
        let penalty = |by_column: &dyn Fn(f64) -> f64| {
            let one = divisor.iter().map(|s| by_column(*s)).chain([0.0]).collect::<Vec<_>>();
            one.repeat(n_logits)
        };
        let problem = Problem {
            x,
            codes,
            row_weights: data.weights.as_ref().map(|w| w.as_slice()),
            n_logits,
            l1: penalty(&|s| l1 / s),
            l2: penalty(&|s| l2 / (s * s)),
            mean,
            deviation: divisor,
            intercept,
            task,
        };
        let max_iterations = parameters.count("max_iterations")?.unwrap_or(1000);
        let mut diary = Diary::new(task);
        let mut unknowns = vec![0.0; problem.n()];
        let converged = match problem.n() <= NEWTON_MAX {
            true => problem.newton(&mut unknowns, max_iterations, &mut diary)?,
            false => descent::lbfgs(&problem, &mut unknowns, max_iterations, &mut diary)?,
        };
        let mut standard_errors = None;
        if n_logits == 1
            && l1 == 0.0
            && l2 == 0.0
            && converged
            && let Ok(hessian) = Cholesky::new(&problem.hessian(&unknowns)?)
        {
            let inverse = hessian.inverse_diagonal();
            let errors = inverse.iter().zip(&problem.deviation).map(|(v, s)| v.sqrt() / s);
            standard_errors = (!hessian.is_flat()).then(|| errors.collect());
        }
        let (mut weights, mut intercepts): (Vec<_>, Vec<_>) =
            (0..n_logits).map(|logit| problem.plain(&unknowns, logit)).unzip();
        for weights in &mut weights {
            for (weight, deviation) in weights.iter_mut().zip(&deviation) {
                if *deviation == 0.0 {
                    *weight = 0.0;
                }
            }
        }
        if n_logits > 1 {
            // Of all that give the same probabilities, those whose intercepts add up to 0.
            let middle = sum(&intercepts) / n_logits as f64;
            intercepts.iter_mut().for_each(|b| *b -= middle);
        }
        let model =
            Self { weights, intercepts, standard_errors, deviations: deviation, means: middle };
        Ok(Fit { model: Model::Logistic(model), iterations: diary.iterations, converged })
    }
}

impl Predict for Logistic {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let rows = self.weights.iter().zip(&self.intercepts);
        let logits = rows.map(|(w, b)| super::linear::linear_values(x, w, *b, task));
        let mut logits = logits.collect::<Result<Vec<_>>>()?;
        if let [z] = logits.as_mut_slice() {
            let both = task.fill(x.n_rows, 2, |range, both| {
                let [negative, positive] = both else { return Ok(()) };
                for ((z, negative), positive) in
                    z[range].iter().zip(&mut **negative).zip(&mut **positive)
                {
                    // Both of one exponential.
                    let small = (-z.abs()).exp();
                    let (less, more) = (small / (1.0 + small), 1.0 / (1.0 + small));
                    (*negative, *positive) = if *z >= 0.0 { (less, more) } else { (more, less) };
                }
                Ok(())
            })?;
            return Ok(Prediction::Probabilities(both));
        }
        softmax(&mut logits, x.n_rows);
        Ok(Prediction::Probabilities(logits))
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let d = self.deviations.len();
        let size = |i: usize| self.weights.iter().map(|w| (w[i] * self.deviations[i]).abs()).sum();
        Some(shares((0..d).map(size)))
    }
}
