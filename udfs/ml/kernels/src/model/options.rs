//! The options that models take, and their values.

use std::collections::BTreeMap;

use maru_core::{Error, ErrorKind, Result};

use crate::transform::Literal;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionKind {
    Number {
        least: f64,
        most: f64,
    },
    Count {
        least: usize,
        most: usize,
    },
    Flag,
    Word(&'static [&'static str]),
    /// `ARRAY[('class', weight), …]` as a list of pairs.
    ClassWeights,
}

/// An option of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionSpec {
    pub name: &'static str,
    pub kind: OptionKind,
    /// As it would be written; empty for none.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

const fn number(
    name: &'static str,
    least: f64,
    most: f64,
    default: &'static str,
    doc: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Number { least, most }, default, doc }
}

const fn count(
    name: &'static str,
    least: usize,
    most: usize,
    default: &'static str,
    doc: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Count { least, most }, default, doc }
}

const fn flag(name: &'static str, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Flag, default, doc }
}

pub const PENALTIES: &[OptionSpec] = &[
    number(
        "l1_reg",
        0.0,
        1e12,
        "0",
        "Adds this times the sum of the absolute weights to the loss.",
    ),
    number(
        "l2_reg",
        0.0,
        1e12,
        "0",
        "Adds half of this times the sum of the squared weights to the loss; scikit-learn's 1/C.",
    ),
    flag("fit_intercept", "true", "Whether there is a constant."),
];

pub const ITERATIONS: &[OptionSpec] =
    &[count("max_iterations", 1, 100_000, "1000", "Steps of learning at most.")];

pub const CLASSES: &[OptionSpec] = &[
    flag("auto_class_weights", "false", "Weights classes inversely to how frequent they are."),
    OptionSpec {
        name: "class_weights",
        kind: OptionKind::ClassWeights,
        default: "",
        doc: "A weight for each class: ARRAY[ROW('bad', 5.0), ROW('good', 1.0)].",
    },
];

pub const TREE: &[OptionSpec] = &[
    count(
        "max_tree_depth",
        1,
        64,
        "",
        "Levels of a tree at most; without it, until leaves are pure (boosted trees: 6).",
    ),
    count("min_samples_leaf", 1, 1_000_000_000, "1", "Rows of a leaf at least."),
    number("min_split_loss", 0.0, 1e12, "0", "A split has to lower the loss by more than this."),
    number(
        "colsample_bynode",
        0.0,
        1.0,
        "",
        "The share of features that a split may choose from; forests for classes: the root of their number.",
    ),
];

pub const FOREST: &[OptionSpec] = &[
    count("num_parallel_tree", 1, 10_000, "100", "How many trees."),
    number(
        "subsample",
        0.0,
        1.0,
        "1",
        "The share of rows, drawn with replacement, that a tree learns from.",
    ),
];

pub const BOOSTED: &[OptionSpec] = &[
    count("max_iterations", 1, 10_000, "100", "How many rounds, each a tree for each class."),
    number("learn_rate", 0.0, 10.0, "0.3", "How much of each tree is taken."),
    number("l2_reg", 0.0, 1e12, "1", "Shrinks the values of leaves."),
    number(
        "min_tree_child_weight",
        0.0,
        1e12,
        "1",
        "The sum of second derivatives that a leaf has at least.",
    ),
    number("subsample", 0.0, 1.0, "1", "The share of rows that a tree learns from."),
    number("colsample_bytree", 0.0, 1.0, "1", "The share of features that a tree learns from."),
    count("max_tree_depth", 1, 64, "6", "Levels of a tree at most."),
    number("min_split_loss", 0.0, 1e12, "0", "A split has to lower the loss by more than this."),
    count("min_samples_leaf", 1, 1_000_000_000, "1", "Rows of a leaf at least."),
    flag(
        "early_stop",
        "false",
        "Whether a tenth of the rows is kept apart, and learning ends after ten rounds that do not better it.",
    ),
];

pub const KMEANS: &[OptionSpec] = &[
    count(
        "num_clusters",
        1,
        10_000,
        "",
        "How many clusters; without it, log10 of the number of rows, at least 2.",
    ),
    count("max_iterations", 1, 10_000, "100", "Steps of learning at most."),
    flag(
        "standardize_features",
        "true",
        "Whether features are brought to mean 0 and deviation 1 first.",
    ),
];

pub const SVM: &[OptionSpec] = &[
    number(
        "l2_reg",
        0.0,
        1e12,
        "1",
        "Adds half of this times the sum of the squared weights to the loss; scikit-learn's 1/C.",
    ),
    flag("fit_intercept", "true", "Whether there is a constant."),
    count("max_iterations", 1, 100_000, "1000", "Steps of learning at most."),
];

pub const DENSITY: &[OptionSpec] = &[
    number("epsilon", 1e-12, 1e12, "0.5", "How far apart neighbours are at most."),
    count(
        "min_samples",
        1,
        1_000_000,
        "5",
        "Neighbours that make a row a core row, itself among them.",
    ),
    flag(
        "standardize_features",
        "true",
        "Whether features are brought to mean 0 and deviation 1 first.",
    ),
];

pub const MIXTURE: &[OptionSpec] = &[
    count("num_clusters", 1, 1000, "2", "How many distributions."),
    OptionSpec {
        name: "covariance_type",
        kind: OptionKind::Word(&["full", "diag", "spherical"]),
        default: "full",
        doc: "The shape of a distribution: any, along the features, or a ball.",
    },
    number("reg_covar", 0.0, 1e12, "1e-6", "Is added to each variance."),
    count("max_iterations", 1, 100_000, "500", "Steps of learning at most."),
    number(
        "tolerance",
        0.0,
        1.0,
        "1e-6",
        "Learning ends when the likelihood gains less than a thousandth of this.",
    ),
    count(
        "num_starts",
        1,
        100,
        "5",
        "How often learning starts anew; the most likely end is kept.",
    ),
];

pub const SERIES: &[OptionSpec] = &[
    count(
        "seasonality",
        1,
        100_000,
        "",
        "Steps of a season, 1 for none; without it the usual one of the step, if that is likelier than none.",
    ),
    OptionSpec {
        name: "season_type",
        kind: OptionKind::Word(&["additive", "multiplicative"]),
        default: "additive",
        doc: "Whether a season is added to the level, or multiplies it.",
    },
    flag("trend", "true", "Whether the level moves on from step to step."),
    flag("damped", "false", "Whether the trend becomes less with each step."),
];

pub const NEIGHBOURS: &[OptionSpec] = &[
    count("num_neighbors", 1, 10_000, "5", "How many rows are asked."),
    flag(
        "standardize_features",
        "true",
        "Whether features are brought to mean 0 and deviation 1 first.",
    ),
];

pub const BAYES: &[OptionSpec] = &[number(
    "var_smoothing",
    0.0,
    1.0,
    "1e-9",
    "The share of the greatest variance that is added to all.",
)];

pub const COMPONENTS: &[OptionSpec] = &[
    count("num_principal_components", 1, 2000, "", "How many components; without it, all."),
    number(
        "pca_explained_variance_ratio",
        0.0,
        1.0,
        "",
        "The share of the variance to keep, in place of a number.",
    ),
    flag("whiten", "false", "Whether components are brought to deviation 1."),
];

pub const ISOLATION: &[OptionSpec] = &[
    count("num_trees", 1, 10_000, "100", "How many trees."),
    count("sample_size", 2, 1_000_000, "256", "Rows that each tree cuts."),
    number(
        "contamination",
        0.0,
        0.5,
        "",
        "The share of rows of training that count as outliers; without it, scores above 0.5 do.",
    ),
];

impl OptionSpec {
    /// Checks a value.
    ///
    /// # Errors
    /// 22023 that says what the option takes.
    pub fn check(&self, value: &Literal) -> Result<()> {
        let ok = match (self.kind, value) {
            (OptionKind::Number { least, most }, Literal::Number(v)) => (least..=most).contains(v),
            (OptionKind::Count { least, most }, Literal::Number(v)) => {
                v.fract() == 0.0 && (least as f64..=most as f64).contains(v)
            }
            (OptionKind::Flag, Literal::Boolean(_)) => true,
            (OptionKind::Word(words), Literal::Text(text)) => words.contains(&text.as_str()),
            (OptionKind::ClassWeights, Literal::List(pairs)) => pairs.iter().all(|pair| {
                matches!(pair, Literal::List(pair) if matches!(pair.as_slice(), [_, Literal::Number(w)] if *w >= 0.0))
            }),
            _ => false,
        };
        if ok {
            return Ok(());
        }
        let takes = match self.kind {
            OptionKind::Number { least, most } => format!("a number from {least} to {most}"),
            OptionKind::Count { least, most } => format!("a whole number from {least} to {most}"),
            OptionKind::Flag => "true or false".to_owned(),
            OptionKind::Word(words) => format!("one of {}", words.join(", ")),
            OptionKind::ClassWeights => "ARRAY[ROW('class', weight), …]".to_owned(),
        };
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid value of option {}", self.name),
        )
        .with_detail(format!("It takes {takes}."))
        .with_hint(self.doc))
    }
}

/// The values of options, checked already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(pub BTreeMap<String, Literal>);

impl Parameters {
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.0.get(name) {
            None | Some(Literal::Null) => Ok(None),
            Some(Literal::Number(value)) => Ok(Some(*value)),
            Some(_) => Err(Error::internal(format!("option {name} is no number"))),
        }
    }

    pub fn count(&self, name: &str) -> Result<Option<usize>> {
        Ok(self.number(name)?.map(|value| value as usize))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        match self.0.get(name) {
            Some(Literal::Boolean(flag)) => *flag,
            _ => default,
        }
    }
}
