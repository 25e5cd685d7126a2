//! The list of models: what they are called and take.

use maru_core::{Error, ErrorKind, Result, did_you_mean};

use super::Problem;
use super::options::{self, OptionSpec};

/// A kind of model.
#[derive(Debug)]
pub struct ModelSpec {
    /// As in `model_type = '…'`.
    pub name: &'static str,
    pub problem: Problem,
    pub options: &'static [&'static [OptionSpec]],
    /// One sentence.
    pub doc: &'static str,
}

/// Every kind of model, in alphabetical order.
pub static MODELS: &[ModelSpec] = &[
    ModelSpec {
        name: "boosted_tree_classifier",
        problem: Problem::Classification,
        options: &[options::BOOSTED, options::CLASSES],
        doc: "Gradient-boosted trees on histograms, for classes.",
    },
    ModelSpec {
        name: "boosted_tree_regressor",
        problem: Problem::Regression,
        options: &[options::BOOSTED],
        doc: "Gradient-boosted trees on histograms, for numbers.",
    },
    ModelSpec {
        name: "dbscan",
        problem: Problem::Clustering,
        options: &[options::DENSITY],
        doc: "Clusters where rows lie dense; rows apart from all of them are noise.",
    },
    ModelSpec {
        name: "decision_tree_classifier",
        problem: Problem::Classification,
        options: &[options::TREE, options::CLASSES],
        doc: "One decision tree, by Gini's impurity.",
    },
    ModelSpec {
        name: "decision_tree_regressor",
        problem: Problem::Regression,
        options: &[options::TREE],
        doc: "One regression tree, by squared error.",
    },
    ModelSpec {
        name: "gaussian_mixture",
        problem: Problem::Clustering,
        options: &[options::MIXTURE],
        doc: "Clusters as normal distributions, with the probability of each.",
    },
    ModelSpec {
        name: "holt_winters",
        problem: Problem::Forecast,
        options: &[options::SERIES],
        doc: "Time series by exponential smoothing of level, trend and season, for ML.FORECAST.",
    },
    ModelSpec {
        name: "isolation_forest",
        problem: Problem::Anomaly,
        options: &[options::ISOLATION],
        doc: "Scores rows by how few random cuts set them apart.",
    },
    ModelSpec {
        name: "kmeans",
        problem: Problem::Clustering,
        options: &[options::KMEANS],
        doc: "Clusters around means, started by k-means++.",
    },
    ModelSpec {
        name: "knn_classifier",
        problem: Problem::Classification,
        options: &[options::NEIGHBOURS],
        doc: "The classes of the nearest rows of training.",
    },
    ModelSpec {
        name: "knn_regressor",
        problem: Problem::Regression,
        options: &[options::NEIGHBOURS],
        doc: "The mean of the nearest rows of training.",
    },
    ModelSpec {
        name: "linear_reg",
        problem: Problem::Regression,
        options: &[options::PENALTIES, options::ITERATIONS],
        doc: "Linear regression: least squares, ridge, lasso, elastic net.",
    },
    ModelSpec {
        name: "linear_svm",
        problem: Problem::Classification,
        options: &[options::SVM, options::CLASSES],
        doc: "A linear support vector machine by the squared hinge loss; of more classes each against the others.",
    },
    ModelSpec {
        name: "logistic_reg",
        problem: Problem::Classification,
        options: &[options::PENALTIES, options::ITERATIONS, options::CLASSES],
        doc: "Logistic regression with two or more classes.",
    },
    ModelSpec {
        name: "naive_bayes",
        problem: Problem::Classification,
        options: &[options::BAYES, options::CLASSES],
        doc: "Naive Bayes with normally distributed features.",
    },
    ModelSpec {
        name: "onnx",
        problem: Problem::Imported,
        options: &[],
        doc: "A model that others have made, as an ONNX file.",
    },
    ModelSpec {
        name: "pca",
        problem: Problem::Reduction,
        options: &[options::COMPONENTS],
        doc: "Principal components as a model of their own.",
    },
    ModelSpec {
        name: "random_forest_classifier",
        problem: Problem::Classification,
        options: &[options::FOREST, options::TREE, options::CLASSES],
        doc: "Many trees, each from a sample of rows and of features at each split.",
    },
    ModelSpec {
        name: "random_forest_regressor",
        problem: Problem::Regression,
        options: &[options::FOREST, options::TREE],
        doc: "Many regression trees, each from a sample of rows and of features at each split.",
    },
    ModelSpec {
        name: "transform_only",
        problem: Problem::Transform,
        options: &[],
        doc: "The transforms alone, to be applied with ML.TRANSFORM.",
    },
];

/// Finds a kind of model.
///
/// # Errors
/// 22023 with the nearest name.
pub fn spec(name: &str) -> Result<&'static ModelSpec> {
    MODELS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let error = Error::new(ErrorKind::InvalidParameter, format!("unknown model_type '{name}'"));
        let names = MODELS.iter().map(|spec| spec.name);
        let error = error
            .with_detail(format!("There are {}.", names.clone().collect::<Vec<_>>().join(", ")));
        match did_you_mean(name, names) {
            Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
            None => error,
        }
    })
}

impl ModelSpec {
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().flat_map(|group| group.iter()).find(|option| option.name == name)
    }
}
