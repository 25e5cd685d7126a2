//! K-means: clusters around means.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Data, Diary, Fit, Model, Parameters, Predict, Prediction};
use crate::frame::{Column, Frame, Matrix};
use crate::random::Random;
use crate::task::{Task, blocks};
use crate::transform::{Apply, Scale};

/// Centres in the space of features as they are; distances are measured in that of `scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KMeans {
    /// For each cluster, its place on each feature.
    pub centroids: Vec<Vec<f64>>,
    /// Rows of training in each.
    pub sizes: Vec<u64>,
    pub scale: Option<Scale>,
}

/// Brings features to mean 0 and deviation 1.
pub(super) fn scaled(x: &Matrix, scale: Option<&Scale>, task: &Task) -> Result<Matrix> {
    let Some(scale) = scale else { return Ok(x.clone()) };
    let columns = x.names.iter().cloned().zip(x.columns.iter().cloned().map(Column::Number));
    let frame = scale.apply(&Frame { n_rows: x.n_rows, columns: columns.collect() }, task)?;
    crate::transform::numbers("scaler", &frame)
}

/// Returns squared distances to `centre`, of a block of rows.
fn distances(x: &Matrix, centre: &[f64], block: std::ops::Range<usize>, into: &mut [f64]) {
    into.fill(0.0);
    for (column, at) in x.columns.iter().zip(centre) {
        for (into, value) in into.iter_mut().zip(&column[block.clone()]) {
            *into += (value - at) * (value - at);
        }
    }
}

struct Assigned {
    sums: Vec<Vec<f64>>,
    sizes: Vec<u64>,
    nearest: Vec<u32>,
    squared: Vec<f64>,
}

fn assign(x: &Matrix, centres: &[Vec<f64>], task: &Task) -> Result<Assigned> {
    let (d, k) = (x.n_columns(), centres.len());
    let parts = task.map_rows(x.n_rows, d * k * 8, |range| {
        let mut part = Assigned {
            sums: vec![vec![0.0; d]; k],
            sizes: vec![0; k],
            nearest: Vec::with_capacity(range.len()),
            squared: Vec::with_capacity(range.len()),
        };
        for block in blocks(range) {
            task.check()?;
            let mut best = vec![f64::INFINITY; block.len()];
            let mut nearest = vec![0_u32; block.len()];
            let mut off = vec![0.0; block.len()];
            for (cluster, centre) in centres.iter().enumerate() {
                distances(x, centre, block.clone(), &mut off);
                for ((best, nearest), off) in best.iter_mut().zip(&mut nearest).zip(&off) {
                    if *off < *best {
                        (*best, *nearest) = (*off, cluster as u32);
                    }
                }
            }
            for (column, values) in x.columns.iter().enumerate() {
                for (value, cluster) in values[block.clone()].iter().zip(&nearest) {
                    part.sums[*cluster as usize][column] += value;
                }
            }
            nearest.iter().for_each(|cluster| part.sizes[*cluster as usize] += 1);
            part.nearest.extend(nearest);
            part.squared.extend(best);
        }
        Ok(part)
    })?;
    let mut all = Assigned {
        sums: vec![vec![0.0; d]; k],
        sizes: vec![0; k],
        nearest: Vec::new(),
        squared: Vec::new(),
    };
    for part in parts {
        for cluster in 0..k {
            crate::linalg::add_scaled(&mut all.sums[cluster], 1.0, &part.sums[cluster]);
            all.sizes[cluster] += part.sizes[cluster];
        }
        all.nearest.extend(part.nearest);
        all.squared.extend(part.squared);
    }
    Ok(all)
}

/// Chooses rows far from each other (Arthur and Vassilvitskii, 2007), the best of a few drawn each time.
fn start(x: &Matrix, k: usize, random: &mut Random, task: &Task) -> Result<Vec<Vec<f64>>> {
    let mut row = Vec::new();
    x.row(random.below(x.n_rows), &mut row);
    let mut centres = vec![row.clone()];
    let mut squared = assign(x, &centres, task)?.squared;
    let tries = 2 + (k as f64).ln() as usize;
    while centres.len() < k {
        let total = squared.iter().sum::<f64>();
        let mut best: Option<(f64, Vec<f64>, Vec<f64>)> = None;
        for _ in 0..tries {
            let mut left = random.next_f64() * total;
            let drawn = squared.iter().position(|off| {
                left -= off;
                left < 0.0
            });
            x.row(drawn.unwrap_or(x.n_rows - 1), &mut row);
            let off = assign(x, std::slice::from_ref(&row), task)?.squared;
            let nearer =
                off.iter().zip(&squared).map(|(new, old)| new.min(*old)).collect::<Vec<_>>();
            let sum = nearer.iter().sum::<f64>();
            if best.as_ref().is_none_or(|(least, ..)| sum < *least) {
                best = Some((sum, nearer, row.clone()));
            }
        }
        if let Some((_, nearer, centre)) = best {
            squared = nearer;
            centres.push(centre);
        }
    }
    Ok(centres)
}

impl KMeans {
    pub(super) fn fit(parameters: &Parameters, data: &Data, seed: u64, task: &Task) -> Result<Fit> {
        let n_rows = data.x.n_rows;
        let default = ((n_rows as f64).log10() as usize).max(2);
        let k = parameters.count("num_clusters")?.unwrap_or(default);
        if k > n_rows {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "num_clusters is greater than the number of rows",
            )
            .with_detail(format!("There are {n_rows} rows to train on.")));
        }
        let scale = match parameters.flag_or("standardize_features", true) {
            true => Some(Scale::standard(&data.x, task)?),
            false => None,
        };
        let x = scaled(&data.x, scale.as_ref(), task)?;
        let mut random = Random::new(seed, 0);
        let mut centres = start(&x, k, &mut random, task)?;
        let spread = x.columns.iter().map(|c| crate::transform::moments(c.iter().copied()).2);
        let tolerance = 1e-8 * spread.sum::<f64>() / (n_rows * x.n_columns()) as f64;
        let mut diary = Diary::new(task);
        let mut converged = false;
        let mut sizes = Vec::new();
        for _ in 0..parameters.count("max_iterations")?.unwrap_or(100) {
            let assigned = assign(&x, &centres, task)?;
            let mut moved = 0.0;
            for (cluster, centre) in centres.iter_mut().enumerate() {
                let next = match assigned.sizes[cluster] {
                    // A cluster that has lost all its rows starts again at the row that lies farthest out.
                    0 => {
                        let squared = assigned.squared.iter().enumerate();
                        let farthest =
                            squared.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(row, _)| row);
                        let mut row = Vec::new();
                        x.row(farthest, &mut row);
                        row
                    }
                    n => assigned.sums[cluster].iter().map(|sum| sum / n as f64).collect(),
                };
                moved += centre.iter().zip(&next).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
                *centre = next;
            }
            sizes = assigned.sizes;
            diary.note(assigned.squared.iter().sum::<f64>() / n_rows as f64, Some(moved.sqrt()));
            if moved <= tolerance {
                converged = true;
                break;
            }
        }
        if let Some(scale) = &scale {
            for centre in &mut centres {
                for ((at, center), factor) in centre.iter_mut().zip(&scale.center).zip(&scale.scale)
                {
                    *at = *at * factor + center;
                }
            }
        }
        let model = Self { centroids: centres, sizes, scale };
        Ok(Fit { model: Model::KMeans(model), iterations: diary.iterations, converged })
    }
}

impl Predict for KMeans {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let x = scaled(x, self.scale.as_ref(), task)?;
        let centre = |centre: &Vec<f64>| match &self.scale {
            None => centre.clone(),
            Some(scale) => {
                let both = scale.center.iter().zip(&scale.scale);
                centre.iter().zip(both).map(|(at, (center, by))| (at - center) / by).collect()
            }
        };
        let centres = self.centroids.iter().map(centre).collect::<Vec<_>>();
        let nearest = assign(&x, &centres, task)?.nearest;
        let distances = task.map(centres.len(), |cluster| {
            let mut off = vec![0.0; x.n_rows];
            distances(&x, &centres[cluster], 0..x.n_rows, &mut off);
            off.iter_mut().for_each(|off| *off = off.sqrt());
            Ok(off)
        })?;
        Ok(Prediction::Clusters { nearest, distances, noise: false })
    }
}
