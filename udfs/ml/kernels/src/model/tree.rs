//! Decision trees on histograms, alone and as random forests.

pub(super) mod grow;

use maru_core::Result;
use serde::{Deserialize, Serialize};

use super::linear::shares;
use super::{Data, Diary, Fit, Model, ModelSpec, Parameters, Predict, Prediction, Problem, Target};
use crate::frame::Matrix;
use crate::random::Random;
use crate::task::{BLOCK_ROWS, Task};
use grow::{Binned, Grow, Limits};

/// Marks a node without a split.
pub const LEAF: u32 = u32::MAX;

/// A tree, its nodes numbered from the root, 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The feature that splits, or [`LEAF`].
    pub feature: Vec<u32>,
    /// Rows at or below it go to the left.
    pub threshold: Vec<f64>,
    pub left: Vec<u32>,
    pub right: Vec<u32>,
    /// How much the split lowers the loss.
    pub gain: Vec<f64>,
    /// What the node says, `n_outputs` numbers for each.
    pub value: Vec<f64>,
    /// The weight of the rows of training that came there; empty in models of before 2026-11.
    #[serde(default)]
    pub cover: Vec<f64>,
}

impl Tree {
    /// Returns the leaf that a row comes to.
    pub fn leaf(&self, x: &Matrix, row: usize) -> usize {
        let mut at = 0;
        while self.feature[at] != LEAF {
            let goes_left = x.columns[self.feature[at] as usize][row] <= self.threshold[at];
            at = if goes_left { self.left[at] } else { self.right[at] } as usize;
        }
        at
    }

    pub(super) fn add_gains(&self, gains: &mut [f64]) {
        for (feature, gain) in self.feature.iter().zip(&self.gain) {
            if *feature != LEAF {
                gains[*feature as usize] += gain;
            }
        }
    }
}

/// The mean of trees: numbers, or the probabilities of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    pub trees: Vec<Tree>,
    pub n_features: usize,
    /// For numbers 1, else that of the classes.
    pub n_outputs: usize,
    pub classifies: bool,
}

impl Forest {
    pub(super) fn fit(
        spec: &ModelSpec,
        parameters: &Parameters,
        data: &Data,
        seed: u64,
        task: &Task,
    ) -> Result<Fit> {
        let many = spec.name.starts_with("random_forest");
        let classifies = spec.problem == Problem::Classification;
        let x = &data.x;
        let n_rows = x.n_rows;
        let d = x.n_columns();
        let n_outputs = match &data.target {
            Target::Classes { n_classes, .. } => *n_classes,
            _ => 1,
        };
        // Squared error of indicators is Gini's impurity, so one way of growing does for both.
        let of_row = |row: usize, into: &mut [f64]| match &data.target {
            Target::Classes { codes, .. } => into[codes[row] as usize] = 1.0,
            Target::Numbers(values) => into[0] = values[row],
            Target::None => {}
        };
        let mut targets = vec![0.0; n_rows * n_outputs];
        for (row, into) in targets.chunks_mut(n_outputs).enumerate() {
            of_row(row, into);
        }
        let default_share = match (many, classifies) {
            (true, true) => (d as f64).sqrt().floor().max(1.0) / d as f64,
            _ => 1.0,
        };
        let share = parameters.number("colsample_bynode")?.unwrap_or(default_share);
        let limits = Limits {
            depth: parameters.count("max_tree_depth")?.unwrap_or(64),
            rows: parameters.count("min_samples_leaf")?.unwrap_or(1),
            weight: 0.0,
            gain: parameters.number("min_split_loss")?.unwrap_or(0.0),
            l2: 0.0,
            features: ((share * d as f64).round() as usize).clamp(1, d),
        };
        let binned = Binned::new(x, task)?;
        let n_trees = if many { parameters.count("num_parallel_tree")?.unwrap_or(100) } else { 1 };
        let subsample = parameters.number("subsample")?.unwrap_or(1.0);
        let inner = if many { task.with_threads(1) } else { task.clone() };
        let mut diary = Diary::new(task);
        let trees = task.map(n_trees, |index| {
            let mut random = Random::new(seed, index as u64);
            let mut weights = match &data.weights {
                Some(weights) => weights.as_ref().clone(),
                None => vec![1.0; n_rows],
            };
            if many {
                let mut drawn = vec![0_u32; n_rows];
                let n_drawn = ((n_rows as f64 * subsample).round() as usize).max(1);
                (0..n_drawn).for_each(|_| drawn[random.below(n_rows)] += 1);
                weights.iter_mut().zip(&drawn).for_each(|(w, n)| *w *= f64::from(*n));
            }
            let rows = (0..n_rows as u32).filter(|row| weights[*row as usize] > 0.0).collect();
            let mut gradients = targets.clone();
            for (gradients, weight) in gradients.chunks_mut(n_outputs).zip(&weights) {
                gradients.iter_mut().for_each(|g| *g *= weight);
            }
            let grow = Grow {
                binned: &binned,
                gradients: &gradients,
                hessians: &weights,
                n_outputs,
                limits: &limits,
                columns: None,
                task: &inner,
            };
            grow.tree(rows, &mut random, &mut Vec::new())
        })?;
        diary.note(0.0, None);
        let model = Self { trees, n_features: d, n_outputs, classifies };
        Ok(Fit { model: Model::Forest(model), iterations: Vec::new(), converged: true })
    }
}

impl Predict for Forest {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let k = self.n_outputs;
        let mut out = sums(&self.trees, x, k, |_| 0..k, task)?;
        let share = 1.0 / self.trees.len().max(1) as f64;
        out.iter_mut().flatten().for_each(|value| *value *= share);
        Ok(match self.classifies {
            true => Prediction::Probabilities(out),
            false => Prediction::Numbers(out.swap_remove(0)),
        })
    }

    fn importance(&self) -> Option<Vec<f64>> {
        let mut gains = vec![0.0; self.n_features];
        self.trees.iter().for_each(|tree| tree.add_gains(&mut gains));
        Some(shares(gains.into_iter()))
    }
}

/// Adds up what trees say, by output and row; `outputs` tells which ones a tree speaks of.
pub(super) fn sums(
    trees: &[Tree],
    x: &Matrix,
    n_outputs: usize,
    outputs: impl Fn(usize) -> std::ops::Range<usize> + Sync,
    task: &Task,
) -> Result<Vec<Vec<f64>>> {
    let parts = task.map_rows(x.n_rows, 8 * n_outputs, |range| {
        let mut out = vec![vec![0.0; range.len()]; n_outputs];
        for block in range.clone().step_by(BLOCK_ROWS) {
            task.check()?;
            let end = (block + BLOCK_ROWS).min(range.end);
            for (index, tree) in trees.iter().enumerate() {
                let spoken = outputs(index);
                let width = spoken.len();
                for row in block..end {
                    let leaf = tree.leaf(x, row);
                    for (nth, output) in spoken.clone().enumerate() {
                        out[output][row - range.start] += tree.value[leaf * width + nth];
                    }
                }
            }
        }
        Ok(out)
    })?;
    let join = |k: usize| parts.iter().flat_map(|part| part[k].iter().copied()).collect();
    Ok((0..n_outputs).map(join).collect())
}
