//! DBSCAN: clusters where rows lie dense, found over a k-d tree; rows apart from all of them are noise.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::cluster::scaled;
use super::{Data, Fit, Model, NOISE, Parameters, Predict, Prediction};
use crate::frame::Matrix;
use crate::task::Task;
use crate::transform::Scale;

/// More values than this make a model that is a copy of the data.
const VALUES_MAX: usize = 20_000_000;
const CLUSTERS_MAX: usize = 10_000;
/// Rows of a leaf of the tree.
const LEAF_ROWS: usize = 16;

/// The core rows of training, each with its cluster. A row belongs to the cluster of the nearest core row within `epsilon`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dbscan {
    pub epsilon: f64,
    pub n_clusters: usize,
    /// Rows of training in each cluster, and apart from all.
    pub sizes: Vec<u64>,
    pub n_noise: u64,
    pub scale: Option<Scale>,
    /// Row by row, brought to scale.
    points: Vec<f64>,
    clusters: Vec<u32>,
    tree: Tree,
}

/// A k-d tree: nodes cut at the middle of the widest feature; leaves hold ranges of `order`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Tree {
    order: Vec<u32>,
    /// Feature, place of the cut, number of the right child (the left one is next); of a leaf `u32::MAX`, start and end.
    nodes: Vec<(u32, f64, u32, u32)>,
}

impl Tree {
    fn new(points: &[f64], d: usize, task: &Task) -> Result<Self> {
        let n = points.len() / d.max(1);
        let mut tree = Self { order: (0..n as u32).collect(), nodes: Vec::new() };
        let mut order = std::mem::take(&mut tree.order);
        tree.grow(points, d, &mut order, 0, task)?;
        tree.order = order;
        Ok(tree)
    }

    fn grow(
        &mut self,
        points: &[f64],
        d: usize,
        rows: &mut [u32],
        start: usize,
        task: &Task,
    ) -> Result<()> {
        task.check()?;
        let value = |row: u32, feature: usize| points[row as usize * d + feature];
        let widest = (0..d).map(|feature| {
            let (low, high) =
                rows.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), row| {
                    let v = value(*row, feature);
                    (l.min(v), h.max(v))
                });
            (feature, high - low)
        });
        let (feature, width) = widest.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        if rows.len() <= LEAF_ROWS || width <= 0.0 {
            self.nodes.push((u32::MAX, 0.0, start as u32, (start + rows.len()) as u32));
            return Ok(());
        }
        let middle = rows.len() / 2;
        let by =
            |a: &u32, b: &u32| value(*a, feature).total_cmp(&value(*b, feature)).then(a.cmp(b));
        rows.select_nth_unstable_by(middle, by);
        let cut = value(rows[middle], feature);
        let at = self.nodes.len();
        self.nodes.push((feature as u32, cut, 0, 0));
        let (left, right) = rows.split_at_mut(middle);
        self.grow(points, d, left, start, task)?;
        self.nodes[at].2 = self.nodes.len() as u32;
        self.grow(points, d, right, start + middle, task)
    }

    /// Calls `found` with each row within `radius` of a point, and its squared distance.
    fn within(&self, points: &[f64], point: &[f64], radius: f64, mut found: impl FnMut(u32, f64)) {
        let d = point.len();
        let mut open = vec![0_u32];
        while let Some(at) = open.pop() {
            let Some((feature, cut, right, end)) = self.nodes.get(at as usize).copied() else {
                return;
            };
            if feature != u32::MAX {
                let off = point[feature as usize] - cut;
                if off <= radius {
                    open.push(at + 1);
                }
                if off >= -radius {
                    open.push(right);
                }
                continue;
            }
            for row in &self.order[right as usize..end as usize] {
                let other = &points[*row as usize * d..(*row as usize + 1) * d];
                let off = other.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
                if off <= radius * radius {
                    found(*row, off);
                }
            }
        }
    }
}

fn row_by_row(x: &Matrix) -> Vec<f64> {
    let d = x.n_columns();
    let mut points = vec![0.0; x.n_rows * d];
    for (feature, column) in x.columns.iter().enumerate() {
        column.iter().enumerate().for_each(|(row, value)| points[row * d + feature] = *value);
    }
    points
}

impl Dbscan {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let n_values = data.x.n_rows * data.x.n_columns();
        if n_values > VALUES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "too much data for dbscan")
                .with_detail(format!("There are {n_values} values, the limit is {VALUES_MAX}."))
                .with_hint("Train on a sample, or use kmeans or gaussian_mixture."));
        }
        let epsilon = parameters.number("epsilon")?.unwrap_or(0.5);
        let least = parameters.count("min_samples")?.unwrap_or(5);
        let scale = match parameters.flag_or("standardize_features", true) {
            true => Some(Scale::standard(&data.x, task)?),
            false => None,
        };
        let x = scaled(&data.x, scale.as_ref(), task)?;
        let (n, d) = (x.n_rows, x.n_columns());
        let points = row_by_row(&x);
        let tree = Tree::new(&points, d, task)?;
        let near = |row: usize, found: &mut dyn FnMut(u32, f64)| {
            tree.within(&points, &points[row * d..(row + 1) * d], epsilon, found);
        };
        let parts = task.map_rows(n, 8, |range| {
            range
                .map(|row| {
                    if row % 64 == 0 {
                        task.check()?;
                    }
                    let mut count = 0_usize;
                    near(row, &mut |_, _| count += 1);
                    Ok(count >= least)
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let core = parts.concat();
        // Core rows within reach of each other are one cluster; numbered by their first row.
        let mut cluster_of = vec![NOISE; n];
        let mut n_clusters = 0_u32;
        for first in 0..n {
            if !core[first] || cluster_of[first] != NOISE {
                continue;
            }
            if n_clusters as usize >= CLUSTERS_MAX {
                return Err(Error::new(ErrorKind::LimitExceeded, "dbscan finds too many clusters")
                    .with_detail(format!("The limit is {CLUSTERS_MAX}."))
                    .with_hint("Raise epsilon or min_samples."));
            }
            cluster_of[first] = n_clusters;
            let mut open = vec![first];
            while let Some(row) = open.pop() {
                task.check()?;
                near(row, &mut |other, _| {
                    let other = other as usize;
                    if core[other] && cluster_of[other] == NOISE {
                        cluster_of[other] = n_clusters;
                        open.push(other);
                    }
                });
            }
            n_clusters += 1;
        }
        let kept = (0..n).filter(|row| core[*row]).collect::<Vec<_>>();
        let core_points =
            kept.iter().flat_map(|row| points[row * d..(row + 1) * d].iter().copied());
        let core_points = core_points.collect::<Vec<_>>();
        let mut model = Self {
            epsilon,
            n_clusters: n_clusters as usize,
            sizes: vec![0; n_clusters as usize],
            n_noise: 0,
            scale,
            tree: Tree::new(&core_points, d, task)?,
            points: core_points,
            clusters: kept.iter().map(|row| cluster_of[*row]).collect(),
        };
        if let Prediction::Clusters { nearest, .. } = model.predict(&data.x, task)? {
            for cluster in nearest {
                match model.sizes.get_mut(cluster as usize) {
                    Some(size) => *size += 1,
                    None => model.n_noise += 1,
                }
            }
        }
        Ok(Fit { model: Model::Dbscan(model), iterations: Vec::new(), converged: true })
    }
}

impl Dbscan {
    /// Returns the cluster of each core row.
    pub(crate) fn clusters(&self) -> &[u32] {
        &self.clusters
    }

    /// Returns the core rows by feature, brought to scale.
    pub(crate) fn columns(&self, d: usize) -> Vec<Vec<f64>> {
        let column = |j: usize| self.points.iter().skip(j).step_by(d.max(1)).copied().collect();
        (0..d).map(column).collect()
    }
}

impl Predict for Dbscan {
    /// Distances are those to the nearest core row of each cluster, infinite beyond `epsilon`.
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let x = scaled(x, self.scale.as_ref(), task)?;
        let parts = task.map_rows(x.n_rows, 8 * self.n_clusters.max(1), |range| {
            let mut nearest = Vec::with_capacity(range.len());
            let mut distances = vec![vec![f64::INFINITY; range.len()]; self.n_clusters];
            let mut point = Vec::new();
            for (at, row) in range.enumerate() {
                if at % 64 == 0 {
                    task.check()?;
                }
                x.row(row, &mut point);
                self.tree.within(&self.points, &point, self.epsilon, |core, off| {
                    let known = &mut distances[self.clusters[core as usize] as usize][at];
                    *known = known.min(off.sqrt());
                });
                let best = (0..self.n_clusters)
                    .filter(|cluster| distances[*cluster][at].is_finite())
                    .min_by(|a, b| distances[*a][at].total_cmp(&distances[*b][at]));
                nearest.push(best.map_or(NOISE, |cluster| cluster as u32));
            }
            Ok((nearest, distances))
        })?;
        let mut nearest = Vec::with_capacity(x.n_rows);
        let mut distances = vec![Vec::with_capacity(x.n_rows); self.n_clusters];
        for (some, off) in parts {
            nearest.extend(some);
            distances.iter_mut().zip(off).for_each(|(all, some)| all.extend(some));
        }
        Ok(Prediction::Clusters { nearest, distances, noise: true })
    }
}
