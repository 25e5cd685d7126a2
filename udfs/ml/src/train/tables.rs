//! What is kept of the rows of training and of what was measured on them.

use maru_core::Result;
use maru_ml_kernels::evaluate::{Group, Point, Ranked, calibration, confusion, tenths, thresholds};
use maru_ml_kernels::model::{Prediction, Target};
use maru_ml_kernels::profile::Profile;
use maru_ml_kernels::transform::{Literal, extremes, finite_moments};
use maru_ml_kernels::{Column, Frame, Task};

use crate::manifest::{CurvePoint, FeatureFacts, ScoreGroup};

/// Points of a curve that are kept.
const CURVE_MAX: usize = 200;

/// Rows that profiles look at.
const PROFILED_ROWS: usize = 200_000;

/// Writes a value as a user would.
pub fn show(value: &Literal) -> String {
    match value {
        Literal::Null => "NULL".to_owned(),
        Literal::Boolean(flag) => flag.to_string(),
        Literal::Number(number) => maru_ml_kernels::frame::number_text(*number),
        Literal::Text(text) => text.clone(),
        Literal::List(list) => {
            format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(", "))
        }
    }
}

pub(super) fn named(metrics: Vec<(&'static str, f64)>) -> Vec<(String, Option<f64>)> {
    metrics
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.is_finite().then_some(value)))
        .collect()
}

/// Leaves so many points that the curve can be drawn.
pub fn thinned(ranked: &Ranked) -> Vec<CurvePoint> {
    let n_points = ranked.points().count();
    let step = n_points.div_ceil(CURVE_MAX).max(1);
    let kept =
        ranked.points().enumerate().filter(|(index, _)| index % step == 0 || index + 1 == n_points);
    kept.map(|(_, point)| kept_point(&point)).collect()
}

fn kept_point(p: &Point) -> CurvePoint {
    let threshold = p.threshold.is_finite().then_some(p.threshold);
    (threshold, p.true_positives, p.false_positives, p.true_negatives, p.false_negatives)
}

/// Returns points as they are kept.
pub fn points(points: &[Point]) -> Vec<CurvePoint> {
    points.iter().map(kept_point).collect()
}

/// Returns groups of rows as they are kept.
pub fn groups(groups: &[Group]) -> Vec<ScoreGroup> {
    let one = |g: &Group| ScoreGroup {
        low: g.low,
        high: g.high,
        n_rows: g.n_rows,
        n_positive: g.n_positive,
        mean_score: g.mean_score,
    };
    groups.iter().map(one).collect()
}

/// What is kept of the measuring of a classifier.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) curve: Vec<CurvePoint>,
    pub(super) confusion: Vec<(String, String, u64)>,
    pub(super) thresholds: Vec<CurvePoint>,
    pub(super) lift: Vec<ScoreGroup>,
    pub(super) calibration: Vec<ScoreGroup>,
}

impl Measured {
    pub(super) fn new(
        prediction: Option<&Prediction>,
        target: &Target,
        ranked: Option<&Ranked>,
        classes: &[String],
        threshold: f64,
    ) -> Self {
        let (Some(Prediction::Probabilities(p)), Target::Classes { codes, .. }) =
            (prediction, target)
        else {
            return Self::default();
        };
        let class = |code: u32| classes.get(code as usize).cloned().unwrap_or_default();
        let counts = confusion(p, codes, threshold).into_iter();
        let mut measured = Self {
            confusion: counts
                .map(|((label, predicted), n)| (class(label), class(predicted), n))
                .collect(),
            ..Self::default()
        };
        if let ([_, second], Some(ranked)) = (p.as_slice(), ranked) {
            measured.curve = thinned(ranked);
            measured.thresholds = points(&thresholds(ranked));
            measured.lift = groups(&tenths(ranked));
            measured.calibration = groups(&calibration(second, |row| codes[row] == 1));
        }
        measured
    }
}

/// Looks at the columns of the query in the rows of training: what later rows are compared with.
pub(super) fn profiles(leaves: &Frame, train: &[u32], task: &Task) -> Result<Vec<Profile>> {
    // Distances are known to one in two hundred: so many rows tell as much as all of them; their order is that of their hashes.
    let rows = &train[..train.len().min(PROFILED_ROWS)];
    let frame = leaves.select(rows, task)?;
    task.map(frame.columns.len(), |index| {
        let (name, column) = &frame.columns[index];
        Ok(Profile::of(name, column))
    })
}

pub(super) fn facts(frame: &Frame, task: &Task) -> Result<Vec<FeatureFacts>> {
    let one = |(name, column): &(String, Column)| match column {
        Column::Number(values) => {
            let (n, mean, squares) = finite_moments(values);
            let (min, max) = extremes(values, |_| true);
            let n_null = values.iter().map(|value| u64::from(value.is_nan())).sum::<u64>();
            let finite = |value: f64| value.is_finite().then_some(value);
            // With infinity among the values there is neither mean nor deviation.
            let all = n > 0.0 && n as u64 + n_null == values.len() as u64;
            FeatureFacts {
                name: name.clone(),
                min: finite(min),
                max: finite(max),
                mean: all.then_some(mean),
                stddev: Some((squares / (n - 1.0)).sqrt()).filter(|_| all && n > 1.0),
                n_null,
                n_categories: None,
            }
        }
        Column::Text(values) => {
            let distinct = values.iter().flatten().collect::<std::collections::HashSet<_>>().len();
            FeatureFacts {
                name: name.clone(),
                min: None,
                max: None,
                mean: None,
                stddev: None,
                n_null: arrow::array::Array::null_count(values) as u64,
                n_categories: Some(distinct as u64),
            }
        }
    };
    task.map(frame.columns.len(), |index| Ok(one(&frame.columns[index])))
}
