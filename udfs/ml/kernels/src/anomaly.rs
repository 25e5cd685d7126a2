//! How far rows lie from what a model of rows without labels has learnt.

use maru_core::{Error, ErrorKind, Result};

use crate::frame::Matrix;
use crate::linalg::dot;
use crate::model::{Model, Prediction};
use crate::task::{Task, blocks};
use crate::transform::Pca;

/// Returns a score by row; more is farther out. Isolation forests give their own score, k-means the distance to the nearest
/// centre, principal components the mean squared error of the row made again from them, mixtures minus the logarithm of the
/// density.
///
/// # Errors
/// 42809 for other models.
pub fn scores(model: &Model, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
    if let Model::Pca { pca } = model {
        return reconstruction(pca, x, task);
    }
    match (model, model.predict(x, task)?) {
        (Model::IsolationForest(_), Prediction::Scores(scores)) => Ok(scores),
        (Model::KMeans(_), Prediction::Clusters { nearest, distances, .. }) => {
            Ok(nearest.iter().enumerate().map(|(row, c)| distances[*c as usize][row]).collect())
        }
        (_, Prediction::Mixture { log_density, .. }) => {
            Ok(log_density.into_iter().map(|log| -log).collect())
        }
        _ => Err(Error::new(ErrorKind::WrongObjectType, "this model tells no anomalies")
            .with_detail("Models of isolation_forest, kmeans, gaussian_mixture and pca do.")),
    }
}

/// What scores of rows that are alike may differ by: they are sums over trees.
pub const SLACK: f64 = 1e-9;

/// Says whether an isolation forest's score is that of an outlier: as in scikit-learn it lies above the threshold, not at it. So rows
/// that are all alike (0.5 each) are none, and a share of `contamination` is not exceeded.
pub fn is_outlier(score: f64, threshold: f64) -> bool {
    score > threshold + SLACK
}

/// Says whether [`scores`] has an answer.
pub fn scores_rows(model: &Model) -> bool {
    matches!(
        model,
        Model::Pca { .. } | Model::IsolationForest(_) | Model::KMeans(_) | Model::Mixture(_)
    )
}

fn reconstruction(pca: &Pca, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
    let d = x.n_columns();
    let parts = task.map_rows(x.n_rows, 8, |range| {
        let mut out = Vec::with_capacity(range.len());
        let mut off = vec![0.0; d];
        for block in blocks(range) {
            task.check()?;
            for row in block {
                for (index, column) in x.columns.iter().enumerate() {
                    off[index] = column[row] - pca.mean[index];
                }
                let kept = pca.components.iter().map(|c| dot(c, &off).powi(2)).sum::<f64>();
                out.push((dot(&off, &off) - kept).max(0.0) / d as f64);
            }
        }
        Ok(out)
    })?;
    Ok(parts.concat())
}
