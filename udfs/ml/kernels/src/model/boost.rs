//! Gradient-boosted trees: each tree takes a step down the loss of those before it.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::linear::shares;
use super::logistic::{sigmoid, softmax};
use super::tree::grow::{Binned, Grow, Limits};
use super::tree::{Tree, sums};
use super::{Data, Diary, Fit, Model, ModelSpec, Parameters, Predict, Prediction, Problem, Target};
use crate::frame::Matrix;
use crate::random::Random;
use crate::task::Task;

/// Trees in the order they were made; with more than two classes, one for each class in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boosted {
    /// Where each output starts from.
    pub base: Vec<f64>,
    /// Leaves hold values with the learning rate in them.
    pub trees: Vec<Tree>,
    pub n_features: usize,
    pub classifies: bool,
}

/// Rounds that do not better the rows kept apart, after which learning ends early.
const PATIENCE: usize = 10;

/// Chooses the tenth of the rows that is kept apart to see when to end.
fn held_out(n_rows: usize, seed: u64) -> Vec<bool> {
    let mut random = Random::new(seed, 0xea51);
    (0..n_rows).map(|_| random.next_f64() < 0.1).collect()
}

/// The loss of some of the rows.
#[derive(Default)]
struct Losses {
    loss: f64,
    /// Of rows that are kept apart.
    apart: f64,
}

/// Loss, slope and curve of a row of two classes at log odds `z`, of one exponential.
fn binary(z: f64, positive: bool) -> (f64, f64, f64) {
    let small = (-z.abs()).exp();
    let p = if z >= 0.0 { 1.0 } else { small } / (1.0 + small);
    let loss = small.ln_1p() + if positive { (-z).max(0.0) } else { z.max(0.0) };
    (loss, f64::from(u8::from(positive)) - p, p * (1.0 - p))
}

impl Boosted {
    pub(super) fn fit(
        spec: &ModelSpec,
        parameters: &Parameters,
        data: &Data,
        seed: u64,
        task: &Task,
    ) -> Result<Fit> {
        let x = &data.x;
        let (n_rows, d) = (x.n_rows, x.n_columns());
        let classifies = spec.problem == Problem::Classification;
        let n_outputs = match &data.target {
            Target::Classes { n_classes, .. } if *n_classes > 2 => *n_classes,
            _ => 1,
        };
        let rounds = parameters.count("max_iterations")?.unwrap_or(100);
        let rate = parameters.number("learn_rate")?.unwrap_or(0.3);
        let subsample = parameters.number("subsample")?.unwrap_or(1.0);
        let by_tree = parameters.number("colsample_bytree")?.unwrap_or(1.0);
        let limits = Limits {
            depth: parameters.count("max_tree_depth")?.unwrap_or(6),
            rows: parameters.count("min_samples_leaf")?.unwrap_or(1),
            weight: parameters.number("min_tree_child_weight")?.unwrap_or(1.0),
            gain: parameters.number("min_split_loss")?.unwrap_or(0.0),
            l2: parameters.number("l2_reg")?.unwrap_or(1.0),
            features: d,
        };
        let weight = |row: usize| data.weights.as_ref().map_or(1.0, |weights| weights[row]);
        let total = (0..n_rows).map(weight).sum::<f64>().max(f64::MIN_POSITIVE);
        let base = match &data.target {
            Target::Classes { codes, n_classes } => {
                let mut shares = vec![0.0; *n_classes];
                codes
                    .iter()
                    .enumerate()
                    .for_each(|(row, code)| shares[*code as usize] += weight(row) / total);
                match n_outputs {
                    1 => vec![(shares[1].max(1e-15) / shares[0].max(1e-15)).ln()],
                    _ => shares.iter().map(|share| share.max(1e-15).ln()).collect(),
                }
            }
            Target::Numbers(values) => {
                vec![values.iter().enumerate().map(|(row, y)| y * weight(row)).sum::<f64>() / total]
            }
            Target::None => vec![0.0],
        };
        let binned = Binned::new(x, task)?;
        let mut scores = base.iter().map(|base| vec![*base; n_rows]).collect::<Vec<_>>();
        let mut trees = Vec::with_capacity(rounds * n_outputs);
        let apart = parameters.flag("early_stop").then(|| held_out(n_rows, seed));
        let apart = apart.filter(|apart| apart.contains(&true) && apart.contains(&false));
        let learns = |row: usize| apart.as_ref().is_none_or(|apart| !apart[row]);
        let (mut best, mut best_trees) = (f64::INFINITY, 0);
        let mut diary = Diary::new(task);
        let (mut gradients, mut hessians) = (vec![0.0; n_rows], vec![0.0; n_rows]);
        for round in 0..rounds {
            task.check()?;
            let mut random = Random::new(seed, round as u64);
            let rows = match subsample < 1.0 {
                true => {
                    let n = ((n_rows as f64 * subsample).round() as usize).max(1);
                    let mut rows = random.sample(n_rows, n);
                    rows.sort_unstable();
                    rows.into_iter().map(|row| row as u32).collect::<Vec<_>>()
                }
                false => (0..n_rows as u32).collect(),
            };
            let rows = match &apart {
                None => rows,
                Some(apart) => rows.into_iter().filter(|row| !apart[*row as usize]).collect(),
            };
            let columns = (by_tree < 1.0).then(|| {
                let mut columns = random.sample(d, ((d as f64 * by_tree).round() as usize).max(1));
                columns.sort_unstable();
                columns
            });
            let mut probabilities = match n_outputs {
                1 => Vec::new(),
                _ => scores.clone(),
            };
            if n_outputs > 1 {
                softmax(&mut probabilities, n_rows);
            }
            let (mut loss, mut apart_loss) = (0.0, 0.0);
            for output in 0..n_outputs {
                let slopes = vec![gradients.as_mut_slice(), hessians.as_mut_slice()];
                let parts = task.fill_in(slopes, |range, slopes| {
                    task.check()?;
                    let mut part = Losses::default();
                    let [gradients, hessians] = slopes else { return Ok(part) };
                    for (at, row) in range.enumerate() {
                        let (loss, gradient, hessian) = match &data.target {
                            Target::Classes { codes, .. } if n_outputs == 1 => {
                                binary(scores[0][row], codes[row] == 1)
                            }
                            Target::Classes { codes, .. } => {
                                let p = probabilities[output][row];
                                let y = f64::from(u8::from(codes[row] as usize == output));
                                // Twice the diagonal of the matrix, as others take it.
                                (-y * p.max(1e-300).ln(), y - p, 2.0 * p * (1.0 - p))
                            }
                            Target::Numbers(values) => {
                                let off = values[row] - scores[0][row];
                                (off * off, off, 1.0)
                            }
                            Target::None => (0.0, 0.0, 0.0),
                        };
                        let w = weight(row);
                        *if learns(row) { &mut part.loss } else { &mut part.apart } += w * loss;
                        gradients[at] = w * gradient;
                        hessians[at] = w * hessian.max(1e-16);
                    }
                    Ok(part)
                })?;
                for part in parts {
                    loss += part.loss;
                    apart_loss += part.apart;
                }
                let grow = Grow {
                    binned: &binned,
                    gradients: &gradients,
                    hessians: &hessians,
                    n_outputs: 1,
                    limits: &limits,
                    columns: columns.as_deref(),
                    task,
                };
                let mut leaves = Vec::new();
                let mut tree = grow.tree(rows.clone(), &mut random, &mut leaves)?;
                tree.value.iter_mut().for_each(|value| *value *= rate);
                if rows.len() == n_rows {
                    // The rows of each leaf are known; only rows that took no part have to go down the tree.
                    for (leaf, rows) in leaves {
                        let value = tree.value[leaf as usize];
                        rows.iter().for_each(|row| scores[output][*row as usize] += value);
                    }
                } else {
                    let added = sums(std::slice::from_ref(&tree), x, 1, |_| 0..1, task)?;
                    scores[output].iter_mut().zip(&added[0]).for_each(|(score, add)| *score += add);
                }
                trees.push(tree);
            }
            diary.note(loss / total, None);
            if apart.is_some() {
                // What is measured is the state before this round's trees.
                if apart_loss < best * (1.0 - 1e-7) {
                    (best, best_trees) = (apart_loss, round * n_outputs);
                } else if round * n_outputs >= best_trees + PATIENCE * n_outputs {
                    trees.truncate(best_trees.max(n_outputs));
                    break;
                }
            }
        }
        let model = Self { base, trees, n_features: d, classifies };
        Ok(Fit { model: Model::Boosted(model), iterations: diary.iterations, converged: true })
    }
}

impl Predict for Boosted {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let k = self.base.len();
        let mut scores = sums(&self.trees, x, k, |tree| tree % k..tree % k + 1, task)?;
        for (scores, base) in scores.iter_mut().zip(&self.base) {
            scores.iter_mut().for_each(|score| *score += base);
        }
        if !self.classifies {
            return Ok(Prediction::Numbers(scores.swap_remove(0)));
        }
        if k == 1 {
            let positive = scores[0].iter().map(|z| sigmoid(*z)).collect::<Vec<_>>();
            let negative = scores[0].iter().map(|z| sigmoid(-*z)).collect();
            return Ok(Prediction::Probabilities(vec![negative, positive]));
        }
        softmax(&mut scores, x.n_rows);
        Ok(Prediction::Probabilities(scores))
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let mut gains = vec![0.0; self.n_features];
        self.trees.iter().for_each(|tree| tree.add_gains(&mut gains));
        Some(shares(gains.into_iter()))
    }
}
