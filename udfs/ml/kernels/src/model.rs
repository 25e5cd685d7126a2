//! Models: what they are called and take, how they learn, what they predict.
//!
//! [`MODELS`] is the list. [`fit`] learns one with given parameters; what comes out is a [`Model`], whose serialised form is kept.

pub mod boost;
mod cluster;
mod density;
mod gaussian;
mod linear;
mod list;
mod logistic;
mod mixture;
mod neighbours;
pub mod options;
mod svm;
pub mod tree;

use std::sync::Arc;
use std::time::Instant;

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::frame::Matrix;
use crate::imported::Imported;
use crate::seasonal::Forecasts;
use crate::task::Task;
use crate::transform::{IsolationForest, Pca};

pub use boost::Boosted;
pub use cluster::KMeans;
pub use density::Dbscan;
pub use gaussian::Mixture;
pub use linear::Linear;
pub use list::{MODELS, ModelSpec, spec};
pub use logistic::Logistic;
pub use mixture::NaiveBayes;
pub use neighbours::Neighbours;
pub use options::{OptionKind, OptionSpec, Parameters};
pub use svm::Svm;
pub use tree::Forest;

/// What a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    Regression,
    Classification,
    Clustering,
    /// Principal components.
    Reduction,
    /// How far out rows lie.
    Anomaly,
    /// How series of values go on.
    Forecast,
    /// No model: the transforms alone.
    Transform,
    /// What a model of others says.
    Imported,
}

impl Problem {
    pub fn has_label(self) -> bool {
        matches!(self, Self::Regression | Self::Classification)
    }
}

/// What is to be predicted.
#[derive(Debug, Clone)]
pub enum Target {
    None,
    Numbers(Arc<Vec<f64>>),
    /// The number of each row's class.
    Classes {
        codes: Arc<Vec<u32>>,
        n_classes: usize,
    },
}

/// What a model learns from. All have as many rows.
#[derive(Debug, Clone)]
pub struct Data {
    pub x: Matrix,
    pub target: Target,
    pub weights: Option<Arc<Vec<f64>>>,
}

impl Data {
    pub fn select(&self, rows: &[u32], task: &Task) -> Result<Self> {
        let pick = |values: &Arc<Vec<f64>>| {
            Arc::new(rows.iter().map(|row| values[*row as usize]).collect::<Vec<_>>())
        };
        let target = match &self.target {
            Target::None => Target::None,
            Target::Numbers(values) => Target::Numbers(pick(values)),
            Target::Classes { codes, n_classes } => Target::Classes {
                codes: Arc::new(rows.iter().map(|row| codes[*row as usize]).collect()),
                n_classes: *n_classes,
            },
        };
        let weights = self.weights.as_ref().map(pick);
        Ok(Self { x: self.x.select(rows, task)?, target, weights })
    }

    fn numbers(&self) -> Result<&Arc<Vec<f64>>> {
        match &self.target {
            Target::Numbers(values) => Ok(values),
            _ => Err(Error::internal("a regression has no numbers to learn")),
        }
    }

    fn classes(&self) -> Result<(&Arc<Vec<u32>>, usize)> {
        match &self.target {
            Target::Classes { codes, n_classes } => Ok((codes, *n_classes)),
            _ => Err(Error::internal("a classification has no classes to learn")),
        }
    }
}

/// One step of learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    pub iteration: usize,
    /// What is minimised, by row.
    pub loss: f64,
    /// How much it changes the model, where that means something.
    pub change: Option<f64>,
    pub duration_ms: u64,
}

/// Notes the steps of learning.
pub(crate) struct Diary {
    start: Instant,
    watch: Option<crate::task::Watch>,
    pub iterations: Vec<Iteration>,
}

impl Diary {
    pub(crate) fn new(task: &Task) -> Self {
        Self { start: Instant::now(), watch: task.watch(), iterations: Vec::new() }
    }

    /// Returns a diary that nobody reads along.
    pub(crate) fn unread() -> Self {
        Self { start: Instant::now(), watch: None, iterations: Vec::new() }
    }

    pub(crate) fn note(&mut self, loss: f64, change: Option<f64>) {
        let elapsed = self.start.elapsed();
        self.start = Instant::now();
        let iteration = Iteration {
            iteration: self.iterations.len() + 1,
            loss,
            change,
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(watch) = &self.watch {
            watch(&iteration);
        }
        self.iterations.push(iteration);
    }
}

/// What learning gives.
#[derive(Debug, Clone)]
pub struct Fit {
    pub model: Model,
    pub iterations: Vec<Iteration>,
    /// False if it stopped at the limit of iterations.
    pub converged: bool,
}

/// A model that has learnt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Model {
    Linear(Linear),
    Logistic(Logistic),
    Forest(Forest),
    Boosted(Boosted),
    KMeans(KMeans),
    Pca { pca: Pca },
    NaiveBayes(NaiveBayes),
    Neighbours(Neighbours),
    IsolationForest(IsolationForest),
    Svm(Svm),
    Dbscan(Dbscan),
    Mixture(Mixture),
    Forecasts(Forecasts),
    Imported(Imported),
    Transform,
}

/// Stands for the cluster of a row that belongs to none.
pub const NOISE: u32 = u32::MAX;

/// What a model says of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    Numbers(Vec<f64>),
    /// For each class, the probability by row.
    Probabilities(Vec<Vec<f64>>),
    /// The nearest cluster from 0 on or [`NOISE`], and for each cluster the distance by row; `noise`: whether a row may
    /// belong to none.
    Clusters {
        nearest: Vec<u32>,
        distances: Vec<Vec<f64>>,
        noise: bool,
    },
    /// For each distribution its probability by row, and the logarithm of the density there.
    Mixture {
        probabilities: Vec<Vec<f64>>,
        log_density: Vec<f64>,
    },
    /// For each component, the value by row.
    Components(Vec<Vec<f64>>),
    Scores(Vec<f64>),
}

/// What each kind of model does.
pub trait Predict {
    /// Says what it makes of rows, whose columns are those of training.
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction>;

    /// Returns how much each feature matters, adding up to 1; `None` if the model cannot tell.
    fn importance(&self) -> Option<Vec<f64>> {
        None
    }
}

impl Model {
    fn inner(&self) -> Result<&dyn Predict> {
        Ok(match self {
            Self::Linear(one) => one,
            Self::Logistic(one) => one,
            Self::Forest(one) => one,
            Self::Boosted(one) => one,
            Self::KMeans(one) => one,
            Self::Pca { pca } => pca,
            Self::NaiveBayes(one) => one,
            Self::Neighbours(one) => one,
            Self::IsolationForest(one) => one,
            Self::Svm(one) => one,
            Self::Dbscan(one) => one,
            Self::Mixture(one) => one,
            Self::Forecasts(_) => {
                return Err(Error::new(
                    ErrorKind::WrongObjectType,
                    "a model of time series predicts no rows",
                )
                .with_hint("Use ML.FORECAST(MODEL …, horizon => 30)."));
            }
            Self::Imported(_) => {
                return Err(Error::new(
                    ErrorKind::WrongObjectType,
                    "an imported model says what it says, and no more",
                )
                .with_hint("Use ML.PREDICT(MODEL …, TABLE …)."));
            }
            Self::Transform => {
                return Err(Error::new(
                    ErrorKind::WrongObjectType,
                    "a model of transforms alone predicts nothing",
                )
                .with_hint("Use ML.TRANSFORM(MODEL …, TABLE …)."));
            }
        })
    }

    pub fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        task.check()?;
        self.inner()?.predict(x, task)
    }

    pub fn importance(&self) -> Option<Vec<f64>> {
        self.inner().ok()?.importance()
    }
}

impl Predict for Pca {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        self.project(x, task).map(Prediction::Components)
    }
}

impl Predict for IsolationForest {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        self.score(x, task).map(Prediction::Scores)
    }
}

/// Returns how many bytes learning holds besides the data, at most.
pub fn memory_estimate(
    spec: &ModelSpec,
    n_rows: usize,
    n_columns: usize,
    n_classes: usize,
) -> usize {
    let k = n_classes.max(1);
    let d = n_columns + 1;
    let sums = |one: usize| (64_usize << 20).min(one * n_rows.div_ceil(4096)).max(4 * one);
    match spec.name {
        // Sums of products are held once for each part of the rows, 64 MiB of them at most, and a few times after.
        "logistic_reg" => {
            let unknowns = (k * d).min(600);
            n_rows * 8 * (2 * k + 2) + sums(d * d * 8) + unknowns * unknowns * 24
        }
        "linear_svm" => n_rows * (32 + d * 6 + 8 * k) + sums(d * d * 8) + d * d * 24,
        "linear_reg" => n_rows * 24 + sums(d * d * 8) + d * d * 24,
        "pca" => sums(d * d * 8) + d * d * 32,
        "knn_classifier" | "knn_regressor" => n_rows * (2 * d * 8 + 8 * k),
        "dbscan" => n_rows * (3 * d * 8 + 32),
        "kmeans" | "gaussian_mixture" => n_rows * (d + 12 + 2 * k) * 8 + sums(d * d * 8),
        "isolation_forest" => n_rows * 16 + (1 << 20),
        "naive_bayes" => n_rows * 8 * k + k * d * 48,
        "boosted_tree_classifier" | "boosted_tree_regressor" => {
            // Of each level the sums of the other child are kept.
            n_rows * (d + 40 + 24 * k) + 256 * d * 3 * 8 * 12
        }
        name if name.contains("tree") || name.contains("forest") => {
            // Each thread has the targets of its own, and the sums of a path.
            n_rows * (d + 8 * k) + 2 * (n_rows * (8 * k + 24) + 256 * d * (k + 2) * 8 * 4)
        }
        _ => n_rows * 8 * (k + 4),
    }
}

/// Learns a model.
///
/// # Errors
/// 22023 for data that leaves nothing to learn, 22003 for values that are not finite, 57014 if the task is cancelled.
pub fn fit(
    spec: &ModelSpec,
    parameters: &Parameters,
    data: &Data,
    seed: u64,
    task: &Task,
) -> Result<Fit> {
    let too_few = |n: usize| {
        Error::new(ErrorKind::InvalidParameter, "too few rows to train on").with_detail(format!(
            "There are {}, a {} takes at least {n}.",
            data.x.n_rows, spec.name
        ))
    };
    if spec.problem == Problem::Transform {
        return Ok(Fit { model: Model::Transform, iterations: Vec::new(), converged: true });
    }
    if data.x.n_columns() == 0 {
        return Err(Error::new(ErrorKind::InvalidParameter, "there is no feature to learn from")
            .with_hint("The query has to give columns besides the label."));
    }
    if data.x.n_rows < 2 {
        return Err(too_few(2));
    }
    data.x.require_finite(task)?;
    if let Target::Classes { codes, n_classes } = &data.target {
        let mut seen = vec![false; *n_classes];
        codes.iter().for_each(|code| seen[*code as usize] = true);
        if seen.iter().filter(|seen| **seen).count() < 2 {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "the label has only one class in the rows to train on",
            )
            .with_hint("Give the query rows of at least two classes."));
        }
    }
    match spec.name {
        "linear_reg" => Linear::fit(parameters, data, task),
        "logistic_reg" => Logistic::fit(parameters, data, task),
        "decision_tree_classifier"
        | "decision_tree_regressor"
        | "random_forest_classifier"
        | "random_forest_regressor" => Forest::fit(spec, parameters, data, seed, task),
        "boosted_tree_classifier" | "boosted_tree_regressor" => {
            Boosted::fit(spec, parameters, data, seed, task)
        }
        "kmeans" => KMeans::fit(parameters, data, seed, task),
        "knn_classifier" | "knn_regressor" => Neighbours::fit(parameters, data, task),
        "linear_svm" => Svm::fit(parameters, data, task),
        "dbscan" => Dbscan::fit(parameters, data, task),
        "gaussian_mixture" => Mixture::fit(parameters, data, seed, task),
        "naive_bayes" => NaiveBayes::fit(parameters, data, task),
        "pca" => {
            let wanted = match parameters.count("num_principal_components")? {
                Some(n) => Some(n as f64),
                // All of the variance is all components, and no number of them.
                None => {
                    parameters.number("pca_explained_variance_ratio")?.filter(|share| *share < 1.0)
                }
            };
            if wanted.is_some_and(|k| k > data.x.n_columns() as f64) {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "num_principal_components is greater than the number of features",
                )
                .with_detail(format!("There are {} features.", data.x.n_columns())));
            }
            let pca = Pca::learn(&data.x, wanted, parameters.flag("whiten"), task)?;
            Ok(Fit { model: Model::Pca { pca }, iterations: Vec::new(), converged: true })
        }
        "isolation_forest" => {
            let n_trees = parameters.count("num_trees")?.unwrap_or(100);
            let sample = parameters.count("sample_size")?.unwrap_or(256);
            let forest = IsolationForest::learn(&data.x, n_trees, sample, seed, task)?;
            let model = Model::IsolationForest(forest);
            Ok(Fit { model, iterations: Vec::new(), converged: true })
        }
        other => Err(Error::internal(format!("model type {other} has no code"))),
    }
}
