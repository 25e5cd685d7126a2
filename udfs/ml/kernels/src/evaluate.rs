//! How good predictions are: metrics by the kind of problem, and the curves behind them.

mod ranked;
mod tables;

use std::collections::BTreeMap;

use maru_core::{Error, ErrorKind, Result};

use crate::anomaly::is_outlier;
use crate::model::{NOISE, Prediction, Target};

pub use ranked::Ranked;
pub use tables::{Group, calibration, tenths, thresholds};

/// Names and values in the order they are shown.
pub type Metrics = Vec<(&'static str, f64)>;

/// One threshold of a two-class model: rows from it on count as the second class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub threshold: f64,
    pub true_positives: u64,
    pub false_positives: u64,
    pub true_negatives: u64,
    pub false_negatives: u64,
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Point {
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives as f64, (self.true_positives + self.false_negatives) as f64)
    }

    pub fn false_positive_rate(&self) -> f64 {
        ratio(self.false_positives as f64, (self.false_positives + self.true_negatives) as f64)
    }

    pub fn precision(&self) -> f64 {
        ratio(self.true_positives as f64, (self.true_positives + self.false_positives) as f64)
    }

    pub fn accuracy(&self) -> f64 {
        let all =
            self.true_positives + self.false_positives + self.true_negatives + self.false_negatives;
        ratio((self.true_positives + self.true_negatives) as f64, all as f64)
    }

    pub fn f1(&self) -> f64 {
        let twice = 2.0 * self.true_positives as f64;
        ratio(twice, twice + (self.false_positives + self.false_negatives) as f64)
    }
}

/// Returns the number of the class that is predicted.
pub fn predicted_class(probabilities: &[Vec<f64>], row: usize, threshold: f64) -> u32 {
    if let [_, second] = probabilities {
        return u32::from(second[row] >= threshold);
    }
    let mut best = 0;
    for (class, values) in probabilities.iter().enumerate() {
        if values[row] > probabilities[best][row] {
            best = class;
        }
    }
    best as u32
}

/// Counts rows by label and predicted class.
pub fn confusion(
    probabilities: &[Vec<f64>],
    codes: &[u32],
    threshold: f64,
) -> BTreeMap<(u32, u32), u64> {
    if let [_, second] = probabilities {
        let mut counts = [[0_u64; 2]; 2];
        for (code, p) in codes.iter().zip(second) {
            counts[(*code).min(1) as usize][usize::from(*p >= threshold)] += 1;
        }
        let pairs = (0..2).flat_map(|label| (0..2).map(move |predicted| (label, predicted)));
        let counted = pairs.map(|(l, p)| ((l, p), counts[l as usize][p as usize]));
        return counted.filter(|(_, n)| *n > 0).collect();
    }
    let mut counts = BTreeMap::new();
    for (row, code) in codes.iter().enumerate() {
        let predicted = predicted_class(probabilities, row, threshold);
        *counts.entry((*code, predicted)).or_default() += 1;
    }
    counts
}

/// Measures predictions against what was to be predicted.
///
/// # Errors
/// 22023 if there are no rows.
pub fn measure(prediction: &Prediction, target: &Target, threshold: f64) -> Result<Metrics> {
    let ranked = ranked(prediction, target);
    measure_ranked(prediction, target, threshold, ranked.as_ref())
}

/// Orders the rows of a model of two classes by their scores; `None` for other models.
pub fn ranked(prediction: &Prediction, target: &Target) -> Option<Ranked> {
    match (prediction, target) {
        (Prediction::Probabilities(p), Target::Classes { codes, .. }) => match p.as_slice() {
            [_, second] => Some(Ranked::new(second, |row| codes[row] == 1)),
            _ => None,
        },
        _ => None,
    }
}

/// The same as [`measure`], with what [`ranked`] has given.
///
/// # Errors
/// As [`measure`].
pub fn measure_ranked(
    prediction: &Prediction,
    target: &Target,
    threshold: f64,
    ranked: Option<&Ranked>,
) -> Result<Metrics> {
    match (prediction, target) {
        (Prediction::Probabilities(p), Target::Classes { codes, .. }) if !codes.is_empty() => {
            Ok(classification(p, codes, threshold, ranked))
        }
        (Prediction::Numbers(p), Target::Numbers(y)) if !y.is_empty() => Ok(regression(p, y)),
        (Prediction::Clusters { nearest, distances, noise }, _) if !nearest.is_empty() => {
            let own = nearest.iter().enumerate().filter(|(_, c)| **c != NOISE);
            let own = own.map(|(row, c)| distances[*c as usize][row].powi(2)).collect::<Vec<_>>();
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            let mut metrics = vec![("mean_squared_distance", mean)];
            if *noise {
                metrics.push(("noise_share", 1.0 - own.len() as f64 / nearest.len() as f64));
            }
            Ok(metrics)
        }
        (Prediction::Mixture { log_density, .. }, _) if !log_density.is_empty() => {
            let mean = log_density.iter().sum::<f64>() / log_density.len() as f64;
            Ok(vec![("mean_log_likelihood", mean)])
        }
        (Prediction::Scores(scores), _) if !scores.is_empty() => {
            let outliers = scores.iter().filter(|score| is_outlier(**score, threshold)).count();
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            Ok(vec![("mean_score", mean), ("outlier_share", outliers as f64 / scores.len() as f64)])
        }
        (Prediction::Components(_), _) => Ok(Vec::new()),
        _ => Err(Error::new(
            ErrorKind::InvalidParameter,
            "there are no rows with a label to evaluate on",
        )),
    }
}

fn classification(
    p: &[Vec<f64>],
    codes: &[u32],
    threshold: f64,
    ranked: Option<&Ranked>,
) -> Metrics {
    let n = codes.len() as f64;
    let counts = confusion(p, codes, threshold);
    let n_classes = p.len();
    let count = |label: usize, predicted: usize| {
        counts.get(&(label as u32, predicted as u32)).copied().unwrap_or(0) as f64
    };
    let right = (0..n_classes).map(|class| count(class, class)).sum::<f64>();
    let of_class = |class: usize| {
        let predicted = (0..n_classes).map(|label| count(label, class)).sum();
        let labelled = (0..n_classes).map(|other| count(class, other)).sum();
        let (precision, recall) =
            (ratio(count(class, class), predicted), ratio(count(class, class), labelled));
        let f1 = ratio(2.0 * count(class, class), predicted + labelled);
        (precision, recall, f1, labelled > 0.0 || predicted > 0.0)
    };
    let (precision, recall, f1) = if n_classes == 2 {
        let (precision, recall, f1, _) = of_class(1);
        (precision, recall, f1)
    } else {
        // The plain mean over classes that occur.
        let each = (0..n_classes).map(of_class).filter(|one| one.3).collect::<Vec<_>>();
        let mean = |pick: fn(&(f64, f64, f64, bool)) -> f64| {
            each.iter().map(pick).sum::<f64>() / (each.len() as f64).max(1.0)
        };
        (mean(|one| one.0), mean(|one| one.1), mean(|one| one.2))
    };
    let log_loss = codes.iter().enumerate().map(|(row, code)| {
        // A certain error would be infinitely bad.
        -p[*code as usize][row].clamp(f64::EPSILON, 1.0).ln()
    });
    // Without the sign of nothing.
    let log_loss = log_loss.sum::<f64>() / n + 0.0;
    let against_rest = |class: usize| {
        let ranked = Ranked::new(&p[class], |row| codes[row] as usize == class);
        ranked.has_both().then_some(ranked)
    };
    let mut metrics = vec![
        ("precision", precision),
        ("recall", recall),
        ("accuracy", right / n),
        ("f1_score", f1),
        ("log_loss", log_loss),
    ];
    if n_classes == 2 {
        let ranked = ranked.filter(|ranked| ranked.has_both());
        metrics.push(("roc_auc", ranked.map_or(f64::NAN, Ranked::roc_auc)));
        metrics.push(("pr_auc", ranked.map_or(f64::NAN, Ranked::average_precision)));
        let (tp, fp, tn, fn_) = (count(1, 1), count(0, 1), count(0, 0), count(1, 0));
        let whole = ((tp + fp) * (tp + fn_) * (tn + fp) * (tn + fn_)).sqrt();
        metrics.push(("mcc", ratio(tp * tn - fp * fn_, whole)));
    } else {
        let areas = (0..n_classes).filter_map(against_rest).map(|ranked| ranked.roc_auc());
        let areas = areas.collect::<Vec<_>>();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        metrics.push(("roc_auc", mean));
    }
    metrics
}

fn regression(p: &[f64], y: &[f64]) -> Metrics {
    let n = y.len() as f64;
    let off = p.iter().zip(y).map(|(p, y)| y - p).collect::<Vec<_>>();
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n;
    let absolute = mean(&mut off.iter().map(|o| o.abs()));
    let squared = mean(&mut off.iter().map(|o| o * o));
    let y_mean = mean(&mut y.iter().copied());
    let spread = mean(&mut y.iter().map(|y| (y - y_mean) * (y - y_mean)));
    let off_mean = mean(&mut off.iter().copied());
    let off_spread = mean(&mut off.iter().map(|o| (o - off_mean) * (o - off_mean)));
    let median = crate::transform::quantiles(off.iter().map(|o| o.abs()).collect(), &[0.5])[0];
    let part = |rest: f64| if spread > 0.0 { 1.0 - rest / spread } else { f64::NAN };
    let log = |values: &[f64]| values.iter().map(|v| v.ln_1p()).collect::<Vec<_>>();
    let logs = log(p).into_iter().zip(log(y)).map(|(p, y)| (p - y) * (p - y));
    vec![
        ("mean_absolute_error", absolute),
        ("mean_squared_error", squared),
        ("mean_squared_log_error", logs.sum::<f64>() / n),
        ("median_absolute_error", median),
        ("r2_score", part(squared)),
        ("explained_variance", part(off_spread)),
    ]
}

/// Says whether more of a metric is better.
pub fn more_is_better(metric: &str) -> bool {
    !matches!(
        metric,
        "log_loss"
            | "mean_absolute_error"
            | "mean_squared_error"
            | "mean_squared_log_error"
            | "median_absolute_error"
            | "mean_squared_distance"
            | "noise_share"
    )
}
