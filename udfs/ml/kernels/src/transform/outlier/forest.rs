//! The isolation forest (Liu, Ting and Zhou, 2008): rows that few random cuts set apart are outliers.

use maru_core::Result;
use serde::{Deserialize, Serialize};

use crate::frame::Matrix;
use crate::random::Random;
use crate::task::{BLOCK_ROWS, Task};

/// Trees of random cuts, each through a sample of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IsolationForest {
    pub sample: usize,
    trees: Vec<Vec<Node>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Node {
    /// Rows at or below the value go to the left.
    Cut { column: u32, value: f64, left: u32, right: u32 },
    /// How many cuts it took, with those it would take to set apart the rows left over.
    Leaf { depth: f64 },
}

/// Returns how many cuts it takes on average to set one of `n` rows apart.
fn average_depth(n: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match n {
        n if n <= 1.0 => 0.0,
        2.0 => 1.0,
        n => 2.0 * ((n - 1.0).ln() + EULER) - 2.0 * (n - 1.0) / n,
    }
}

impl IsolationForest {
    pub fn learn(
        x: &Matrix,
        n_trees: usize,
        sample: usize,
        seed: u64,
        task: &Task,
    ) -> Result<Self> {
        let sample = sample.min(x.n_rows).max(1);
        let depth_max = (sample as f64).log2().ceil() as usize;
        let trees = task.map(n_trees, |tree| {
            let mut random = Random::new(seed, tree as u64);
            let rows = random.sample(x.n_rows, sample);
            let mut nodes = Vec::new();
            grow(x, rows, 0, depth_max, &mut random, &mut nodes);
            Ok(nodes)
        })?;
        Ok(Self { sample, trees })
    }

    /// Returns what the sum of the depths of all trees is divided by.
    pub(crate) fn scale(&self) -> f64 {
        average_depth(self.sample as f64) * self.trees.len() as f64
    }

    /// Returns for each tree its nodes: the cut as column, value, left and right child, `None` for a leaf, and a leaf's depth.
    pub(crate) fn cuts(
        &self,
    ) -> impl Iterator<Item = impl Iterator<Item = (Option<(u32, f64, u32, u32)>, f64)>> {
        self.trees.iter().map(|nodes| {
            nodes.iter().map(|node| match *node {
                Node::Cut { column, value, left, right } => {
                    (Some((column, value, left, right)), 0.0)
                }
                Node::Leaf { depth } => (None, depth),
            })
        })
    }

    /// Returns `2^(−mean depth ÷ average depth)`: near 1 for outliers, below 0.5 for the many. NULL for NULL.
    pub fn score(&self, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
        let scale = self.scale();
        let parts = task.map_rows(x.n_rows, 8, |range| {
            let mut depths = vec![0.0; range.len()];
            let start = range.start;
            for block in range.clone().step_by(BLOCK_ROWS) {
                task.check()?;
                let end = (block + BLOCK_ROWS).min(range.end);
                // A tree at a time: it stays in the cache for a block of rows.
                for tree in &self.trees {
                    for row in block..end {
                        depths[row - start] += depth(tree, x, row);
                    }
                }
            }
            for depth in &mut depths {
                *depth = if scale > 0.0 { (-*depth / scale).exp2() } else { 0.5 };
            }
            Ok(depths)
        })?;
        let mut scores = parts.concat();
        for column in &x.columns {
            for (score, value) in scores.iter_mut().zip(column.iter()) {
                if value.is_nan() {
                    *score = f64::NAN;
                }
            }
        }
        Ok(scores)
    }
}

fn depth(tree: &[Node], x: &Matrix, row: usize) -> f64 {
    let mut at = 0;
    loop {
        match &tree[at] {
            Node::Leaf { depth } => return *depth,
            Node::Cut { column, value, left, right } => {
                let goes_left = x.columns[*column as usize][row] <= *value;
                at = if goes_left { *left } else { *right } as usize;
            }
        }
    }
}

fn grow(
    x: &Matrix,
    rows: Vec<usize>,
    depth: usize,
    depth_max: usize,
    random: &mut Random,
    nodes: &mut Vec<Node>,
) -> u32 {
    let at = nodes.len();
    nodes.push(Node::Leaf { depth: depth as f64 + average_depth(rows.len() as f64) });
    if depth >= depth_max || rows.len() < 2 {
        return at as u32;
    }
    // Columns are tried in a random order until one has a spread here.
    for column in random.sample(x.n_columns(), x.n_columns()) {
        let values = &x.columns[column];
        let least = rows.iter().map(|row| values[*row]).fold(f64::INFINITY, f64::min);
        let most = rows.iter().map(|row| values[*row]).fold(f64::NEG_INFINITY, f64::max);
        if least >= most {
            continue;
        }
        let value = least + random.next_f64() * (most - least);
        // Rounding must not put all rows on one side.
        let value = if value >= most { least } else { value };
        let (low, high): (Vec<_>, Vec<_>) = rows.iter().partition(|row| values[**row] <= value);
        let left = grow(x, low, depth + 1, depth_max, random, nodes);
        let right = grow(x, high, depth + 1, depth_max, random, nodes);
        nodes[at] = Node::Cut { column: column as u32, value, left, right };
        break;
    }
    at as u32
}
