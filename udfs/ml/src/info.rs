//! What versions tell of themselves, as rows: metrics, curves, weights, trials.

mod forecast;
mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::evaluate::Point;
use maru_ml_kernels::model::{Model, Problem};

use crate::manifest::{CurvePoint, Metric, Version};
use crate::measure::What;
pub use forecast::forecast;
pub use groups::groups;

/// Columns under construction.
#[derive(Default)]
pub(crate) struct Table {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Table {
    pub(crate) fn add(mut self, name: &str, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, array.data_type().clone(), true));
        self.arrays.push(array);
        self
    }

    pub(crate) fn text<T: Into<String>>(
        self,
        name: &str,
        values: impl Iterator<Item = Option<T>>,
    ) -> Self {
        let array = StringArray::from_iter(values.map(|v| v.map(Into::into)));
        self.add(name, Arc::new(array))
    }

    pub(crate) fn number(self, name: &str, values: impl Iterator<Item = Option<f64>>) -> Self {
        let array = Float64Array::from_iter(values.map(|v| v.filter(|v| v.is_finite())));
        self.add(name, Arc::new(array))
    }

    pub(crate) fn count(self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        self.add(
            name,
            Arc::new(Int64Array::from_iter_values(
                values.map(|v| i64::try_from(v).unwrap_or(i64::MAX)),
            )),
        )
    }

    pub(crate) fn rows(self) -> Result<StructArray> {
        StructArray::try_new(self.fields.into(), self.arrays, None)
            .map_err(|error| Error::internal("rows do not fit together").with_cause(error))
    }
}

fn wrong_kind(version: &Version, what: &str, has: &str) -> Error {
    Error::new(ErrorKind::WrongObjectType, format!("model \"{}\" has no {what}", version.name))
        .with_detail(format!("It is a {}; {has}.", version.artifact.model_type))
}

/// Returns the columns that a measure of a query has.
pub fn measured_fields(version: &Version, what: What) -> Fields {
    let empty = match what {
        What::Evaluate => metrics(version, &version.manifest.metrics),
        What::Confusion => confusion(version, &[]),
        What::Roc | What::PrecisionRecall | What::Thresholds => curve(version, what, &[]),
        What::Lift | What::Calibration => groups(what, &[]),
    };
    empty.map_or_else(|_| Fields::empty(), |rows| rows.fields().clone())
}

/// One row with a column for each metric.
pub fn metrics(version: &Version, values: &[Metric]) -> Result<StructArray> {
    if values.is_empty() && version.artifact.problem == Problem::Reduction {
        return explained(version);
    }
    if values.is_empty() {
        return Err(wrong_kind(version, "metrics", "there is nothing to measure it by"));
    }
    let table = values
        .iter()
        .fold(Table::default(), |table, (name, value)| table.number(name, std::iter::once(*value)));
    table.rows()
}

fn explained(version: &Version) -> Result<StructArray> {
    let Model::Pca { pca } = &version.artifact.model else {
        return Err(wrong_kind(version, "metrics", "there is nothing to measure it by"));
    };
    let total = pca.explained_variance_ratio.iter().sum();
    Table::default().number("total_explained_variance_ratio", std::iter::once(Some(total))).rows()
}

/// Checks that a version has classes, for the functions about them.
pub fn require_classes(version: &Version, what: &str, two: bool) -> Result<()> {
    if version.artifact.problem != Problem::Classification {
        return Err(wrong_kind(version, what, "only classifiers have one"));
    }
    if two && version.artifact.classes.len() != 2 {
        return Err(wrong_kind(version, what, "only classifiers of two classes have one"));
    }
    Ok(())
}

/// A row for each label and predicted class.
pub fn confusion(version: &Version, counts: &[(String, String, u64)]) -> Result<StructArray> {
    let classes = &version.artifact.classes;
    let find = |label: &String, predicted: &String| {
        let found = counts.iter().find(|(l, p, _)| l == label && p == predicted);
        found.map_or(0, |(_, _, n)| *n)
    };
    // Of many classes only those pairs that occur.
    let pairs: Vec<(String, String, u64)> = match classes.len() {
        n if n <= 50 => {
            let pair = |l: &String| {
                classes.iter().map(|p| (l.clone(), p.clone(), find(l, p))).collect::<Vec<_>>()
            };
            classes.iter().flat_map(pair).collect()
        }
        _ => counts.to_vec(),
    };
    Table::default()
        .text("expected_label", pairs.iter().map(|p| Some(p.0.as_str())))
        .text("predicted_label", pairs.iter().map(|p| Some(p.1.as_str())))
        .count("rows", pairs.iter().map(|p| p.2))
        .rows()
}

/// A row for each threshold.
pub fn curve(_: &Version, what: What, points: &[CurvePoint]) -> Result<StructArray> {
    let points = points.iter().map(|(threshold, tp, fp, tn, fn_)| Point {
        threshold: threshold.unwrap_or(f64::INFINITY),
        true_positives: *tp,
        false_positives: *fp,
        true_negatives: *tn,
        false_negatives: *fn_,
    });
    let points = points.collect::<Vec<_>>();
    let table = Table::default().number("threshold", points.iter().map(|p| Some(p.threshold)));
    let table = match what {
        What::Thresholds => table
            .number("precision", points.iter().map(|p| Some(p.precision())))
            .number("recall", points.iter().map(|p| Some(p.recall())))
            .number("f1_score", points.iter().map(|p| Some(p.f1())))
            .number("accuracy", points.iter().map(|p| Some(p.accuracy())))
            .number("false_positive_rate", points.iter().map(|p| Some(p.false_positive_rate()))),
        What::PrecisionRecall => table
            .number("precision", points.iter().map(|p| Some(p.precision())))
            .number("recall", points.iter().map(|p| Some(p.recall())))
            .number("f1_score", points.iter().map(|p| Some(p.f1())))
            .number("accuracy", points.iter().map(|p| Some(p.accuracy()))),
        _ => table
            .number("recall", points.iter().map(|p| Some(p.recall())))
            .number("false_positive_rate", points.iter().map(|p| Some(p.false_positive_rate()))),
    };
    table
        .count("true_positives", points.iter().map(|p| p.true_positives))
        .count("false_positives", points.iter().map(|p| p.false_positives))
        .count("true_negatives", points.iter().map(|p| p.true_negatives))
        .count("false_negatives", points.iter().map(|p| p.false_negatives))
        .rows()
}

/// The weights of a linear model: a row for each feature, and for each class if there are more than two.
pub fn weights(version: &Version) -> Result<StructArray> {
    let features = &version.artifact.features;
    let mut rows = Vec::<(Option<String>, &str, f64, Option<f64>)>::new();
    // Where the variance of the residuals is estimated, what the weights are divided by is uncertain too.
    let mut freedom = None;
    match &version.artifact.model {
        Model::Linear(linear) => {
            let shown = version.manifest.options.get("fit_intercept");
            let intercept = shown.is_none_or(|flag| flag != "false");
            let n_weights = linear.weights.len() as f64 + f64::from(u8::from(intercept));
            freedom = Some(version.manifest.n_train as f64 - n_weights);
            let errors = linear.standard_errors.as_ref();
            for (index, weight) in linear.weights.iter().enumerate() {
                rows.push((None, &features[index], *weight, errors.map(|e| e[index])));
            }
            rows.push((None, "__INTERCEPT__", linear.intercept, None));
        }
        Model::Logistic(_) | Model::Svm(_) => {
            let (planes, intercepts, errors) = match &version.artifact.model {
                Model::Svm(svm) => (&svm.weights, &svm.intercepts, None),
                Model::Logistic(one) => {
                    (&one.weights, &one.intercepts, one.standard_errors.as_ref())
                }
                _ => return Err(Error::internal("a model changed its kind")),
            };
            for (class, (weights, intercept)) in planes.iter().zip(intercepts).enumerate() {
                let nth = if planes.len() == 1 { 1 } else { class };
                let class = version.artifact.classes.get(nth).cloned();
                for (index, weight) in weights.iter().enumerate() {
                    rows.push((class.clone(), &features[index], *weight, errors.map(|e| e[index])));
                }
                rows.push((class, "__INTERCEPT__", *intercept, None));
            }
        }
        _ => return Err(wrong_kind(version, "weights", "only linear models have them")),
    }
    let z = |row: &(Option<String>, &str, f64, Option<f64>)| {
        row.3.filter(|e| *e > 0.0).map(|error| row.2 / error)
    };
    Table::default()
        .text("class", rows.iter().map(|row| row.0.clone()))
        .text("processed_input", rows.iter().map(|row| Some(row.1)))
        .number("weight", rows.iter().map(|row| Some(row.2)))
        .number("standard_error", rows.iter().map(|row| row.3))
        .number(
            "p_value",
            rows.iter()
                .map(|row| z(row).map(|z| freedom.map_or_else(|| two_sided(z), |n| student(z, n)))),
        )
        .rows()
}

/// The chance that a normally distributed number lies at least so far from 0.
fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The chance that a number of Student's distribution with so many degrees of freedom lies at least so far from 0: the incomplete
/// beta function I of n / (n + t²), by its continued fraction (DLMF 8.17.22).
fn student(t: f64, n: f64) -> f64 {
    let (a, b) = (n / 2.0, 0.5);
    let x = n / (n + t * t);
    let swapped = x >= (a + 1.0) / (a + b + 2.0);
    let (a, b, x, rest) = if swapped { (b, a, t * t / (n + t * t), x) } else { (a, b, x, 1.0 - x) };
    let scale =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * rest.ln();
    // Lentz's way of computing it from the front, which cannot divide by 0.
    let solid = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut d = 1.0 / solid(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut fraction) = (1.0, d);
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / solid(1.0 + term * d);
            c = solid(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-15 * fraction.abs() {
            break;
        }
    }
    let share = if x > 0.0 { scale.exp() * fraction / a } else { 0.0 };
    if swapped { 1.0 - share } else { share }
}

/// The complementary error function, by its series near 0 and its continued fraction beyond.
fn erfc(x: f64) -> f64 {
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let mut fraction = 0.0;
    for n in (1..60).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / (std::f64::consts::PI.sqrt() * (x + fraction))
}

/// How much each feature matters, the most first.
pub fn importance(version: &Version) -> Result<StructArray> {
    let shares = version.artifact.model.importance().ok_or_else(|| {
        wrong_kind(version, "feature importance", "trees and linear models have one")
    })?;
    let mut rows = version.artifact.features.iter().zip(shares).collect::<Vec<_>>();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    Table::default()
        .text("feature", rows.iter().map(|row| Some(row.0.as_str())))
        .number("importance", rows.iter().map(|row| Some(row.1)))
        .rows()
}

pub fn features(version: &Version) -> Result<StructArray> {
    let facts = &version.manifest.features;
    Table::default()
        .text("input", facts.iter().map(|f| Some(f.name.as_str())))
        .number("min", facts.iter().map(|f| f.min))
        .number("max", facts.iter().map(|f| f.max))
        .number("mean", facts.iter().map(|f| f.mean))
        .number("stddev", facts.iter().map(|f| f.stddev))
        .count("null_count", facts.iter().map(|f| f.n_null))
        .add(
            "category_count",
            Arc::new(Int64Array::from_iter(facts.iter().map(|f| f.n_categories.map(|n| n as i64)))),
        )
        .rows()
}

/// A row for each trial: its parameters, its metrics, how long it took.
pub fn trials(version: &Version) -> Result<StructArray> {
    let trials = &version.manifest.trials;
    if trials.is_empty() {
        return Err(wrong_kind(version, "trials", "it was trained without tuning"));
    }
    let table = Table::default().count("trial_id", trials.iter().map(|t| t.trial_id));
    let parameters = |t: &BTreeMap<String, String>| {
        let pairs = t.iter().map(|(name, value)| format!("{name} = {value}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let mut table =
        table.text("hyperparameters", trials.iter().map(|t| Some(parameters(&t.parameters))));
    let mut names = Vec::<&str>::new();
    for (name, _) in trials.iter().flat_map(|t| &t.metrics) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let value = |metrics: &Vec<Metric>| {
            metrics.iter().find(|(known, _)| known == name).and_then(|(_, v)| *v)
        };
        table = table.number(name, trials.iter().map(|t| value(&t.metrics)));
    }
    table
        .add("is_best", Arc::new(BooleanArray::from_iter(trials.iter().map(|t| Some(t.is_best)))))
        .text("state", trials.iter().map(|t| Some(t.state.as_str())))
        .text("error", trials.iter().map(|t| t.error.as_deref()))
        .count("duration_ms", trials.iter().map(|t| t.duration_ms))
        .count("rows", trials.iter().map(|t| t.n_rows))
        .count("memory_bytes", trials.iter().map(|t| t.n_bytes))
        .rows()
}

/// A row for each fold of cross-validation.
pub fn folds(version: &Version) -> Result<StructArray> {
    let folds = &version.manifest.folds;
    if folds.is_empty() {
        return Err(wrong_kind(version, "folds", "it was trained without num_folds"));
    }
    let mut table = Table::default()
        .count("fold", folds.iter().map(|fold| fold.fold))
        .count("train_rows", folds.iter().map(|fold| fold.n_train))
        .count("evaluate_rows", folds.iter().map(|fold| fold.n_evaluate));
    for (name, _) in &folds[0].metrics {
        let value = |metrics: &Vec<Metric>| {
            metrics.iter().find(|(known, _)| known == name).and_then(|(_, v)| *v)
        };
        table = table.number(name, folds.iter().map(|fold| value(&fold.metrics)));
    }
    table.rows()
}

/// How much each feature adds to scores, on the average of the rows that training kept apart; the most first.
pub fn attributions(version: &Version) -> Result<StructArray> {
    let found = &version.manifest.attributions;
    if found.is_empty() {
        return Err(wrong_kind(
            version,
            "explanation",
            "linear models, linear_svm, trees and forests have one, if this version of Maru has trained them",
        ));
    }
    Table::default()
        .text("feature", found.iter().map(|(name, _)| Some(name.as_str())))
        .number("attribution", found.iter().map(|(_, value)| Some(*value)))
        .rows()
}

pub fn iterations(version: &Version) -> Result<StructArray> {
    steps(&version.manifest.iterations)
}

/// A row for each step of learning.
pub fn steps(steps: &[maru_ml_kernels::model::Iteration]) -> Result<StructArray> {
    Table::default()
        .count("iteration", steps.iter().map(|s| s.iteration as u64))
        .number("loss", steps.iter().map(|s| Some(s.loss)))
        .number("change", steps.iter().map(|s| s.change))
        .count("duration_ms", steps.iter().map(|s| s.duration_ms))
        .rows()
}

/// The components of a PCA model: a row for each component and feature.
pub fn components(version: &Version) -> Result<StructArray> {
    let Model::Pca { pca } = &version.artifact.model else {
        return Err(wrong_kind(version, "principal components", "model_type 'pca' has them"));
    };
    let rows = pca.components.iter().enumerate().flat_map(|(k, row)| {
        row.iter().zip(&pca.names).map(move |(value, name)| (k, name, *value))
    });
    let rows = rows.collect::<Vec<_>>();
    Table::default()
        .count("principal_component_id", rows.iter().map(|r| r.0 as u64 + 1))
        .text("feature", rows.iter().map(|r| Some(r.1.as_str())))
        .number("value", rows.iter().map(|r| Some(r.2)))
        .number("explained_variance", rows.iter().map(|r| Some(pca.explained_variance[r.0])))
        .number(
            "explained_variance_ratio",
            rows.iter().map(|r| Some(pca.explained_variance_ratio[r.0])),
        )
        .rows()
}

/// A row for each principal component: its variance, and the share that it and those before it have.
pub fn component_variances(version: &Version) -> Result<StructArray> {
    let Model::Pca { pca } = &version.artifact.model else {
        return Err(wrong_kind(version, "principal components", "model_type 'pca' has them"));
    };
    let ratios = &pca.explained_variance_ratio;
    let sums = ratios.iter().scan(0.0, |sum, ratio| {
        *sum += ratio;
        Some(Some(*sum))
    });
    Table::default()
        .count("principal_component_id", (1..=ratios.len()).map(|k| k as u64))
        .number("eigenvalue", pca.explained_variance.iter().map(|value| Some(*value)))
        .number("explained_variance_ratio", ratios.iter().map(|ratio| Some(*ratio)))
        .number("cumulative_explained_variance_ratio", sums)
        .rows()
}

/// The centres of clusters: a row for each cluster and feature.
pub fn centroids(version: &Version) -> Result<StructArray> {
    let Model::KMeans(kmeans) = &version.artifact.model else {
        return Err(wrong_kind(version, "centroids", "model_type 'kmeans' has them"));
    };
    let rows = kmeans.centroids.iter().enumerate().flat_map(|(k, row)| {
        row.iter().zip(&version.artifact.features).map(move |(value, name)| (k, name, *value))
    });
    let rows = rows.collect::<Vec<_>>();
    Table::default()
        .count("centroid_id", rows.iter().map(|r| r.0 as u64 + 1))
        .text("feature", rows.iter().map(|r| Some(r.1.as_str())))
        .number("numerical_value", rows.iter().map(|r| Some(r.2)))
        .count("rows", rows.iter().map(|r| kmeans.sizes.get(r.0).copied().unwrap_or(0)))
        .rows()
}

/// Makes a batch of rows.
pub fn batch(rows: StructArray) -> RecordBatch {
    RecordBatch::from(rows)
}

/// Returns the schema of rows.
pub fn schema(fields: &Fields) -> Schema {
    Schema::new(fields.clone())
}

/// The type of a list of rows.
pub fn list_type(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDENT: &[(f64, f64, f64)] = &[
        (0.0, 5.0, 1.0),
        (1.0, 1.0, 0.5),
        (2.570_581_835_636_314, 5.0, 0.05),
        (6.0, 5.0, 0.001_846_138_289_594_014_3),
        (0.3, 7.0, 0.772_890_050_402_134_2),
        (1.96, 1000.0, 0.050_273_184_955_748_736),
        (5.0, 1000.0, 6.767_256_364_648_635e-7),
        (40.0, 30.0, 1.372_604_519_440_641_7e-27),
    ];

    #[test]
    fn p_values_are_those_of_tables() {
        for (z, p) in [
            (0.0, 1.0),
            (1.0, 0.317_310_507_862_914),
            (1.959_963_984_540_054, 0.05),
            (4.0, 6.334_248_366_623_996e-5),
        ] {
            assert!((two_sided(z) - p).abs() < 1e-12, "{z}: {}", two_sided(z));
        }
    }

    /// As `2 * scipy.stats.t.sf(t, n)` of SciPy 1.17.1 has them.
    #[test]
    fn p_values_of_few_rows_are_students() {
        for &(t, n, p) in STUDENT {
            assert!((student(t, n) / p - 1.0).abs() < 1e-10, "{t} {n}: {}", student(t, n));
        }
    }
}
