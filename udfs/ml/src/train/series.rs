//! Training of time series: rows by series and time, gaps filled, one model for each series.

use std::collections::BTreeMap;
use std::time::Instant;

use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::artifact::Artifact;
use maru_ml_kernels::model::{Iteration, Model};
use maru_ml_kernels::pipeline::{Features, Pipeline};
use maru_ml_kernels::seasonal::{Forecasts, HoltWinters, Season, Series, Shape, Step, TimeUnit};
use maru_ml_kernels::transform::Literal;
use maru_ml_kernels::{Column, Frame, Task};

use super::{Request, Trained, show};
use crate::manifest::{LabelType, Manifest};

/// More series than this are no series.
const SERIES_MAX: usize = 100_000;

/// Trains a model of every series. Leaves are the time and, if there is one, the column that names the series; then comes the
/// value.
pub(super) fn train(request: &Request, frame: Frame, task: &Task) -> Result<Trained> {
    let start = Instant::now();
    let n_all = frame.n_rows as u64;
    let named = request.options.series.is_some();
    let invalid = |what: String| Error::new(ErrorKind::InvalidParameter, what);
    let numbers = |at: usize| match frame.columns.get(at) {
        Some((_, Column::Number(values))) => Ok(values),
        Some((name, Column::Text(_))) => Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("column \"{name}\" of a time series is text"),
        )
        .with_hint("The time is a date, a timestamp or a number, the value a number.")),
        None => Err(Error::internal("a column of training is missing")),
    };
    let (times, values) = (numbers(0)?, numbers(1 + usize::from(named))?);
    // Rows whose name is NULL are a series of their own, as they are a group of their own.
    let mut series = BTreeMap::<Option<String>, Vec<(f64, f64)>>::new();
    let mut n_unlabelled = 0;
    for row in 0..frame.n_rows {
        if times[row].is_nan() || values[row].is_nan() {
            n_unlabelled += 1;
            continue;
        }
        let name = match named {
            true => frame.columns[1].1.text(row).map(|text| text.into_owned()),
            false => None,
        };
        series.entry(name).or_default().push((times[row], values[row]));
        if series.len() > SERIES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "there are too many time series")
                .with_detail(format!("The limit is {SERIES_MAX}.")));
        }
    }
    if series.is_empty() {
        return Err(invalid("the query gives no rows to train on".to_owned()));
    }
    let unit = request.time_unit.unwrap_or(TimeUnit::Number);
    let series = series.into_iter().collect::<Vec<_>>();
    let learnt = task.map(series.len(), |index| {
        let (name, points) = &series[index];
        one(request, points, unit, task)
            .map(|(step, last, model)| Series { name: name.clone(), last, step, model })
            .map_err(|error| match named && error.kind() != ErrorKind::Cancelled {
                true => {
                    let detail = error.detail().unwrap_or_default().to_owned();
                    let of = match name {
                        Some(name) => format!("series \"{name}\""),
                        None => "the series without a name".to_owned(),
                    };
                    error
                        .with_detail(format!("In {of}: {detail}").trim_end_matches(": ").to_owned())
                }
                false => error,
            })
    })?;
    let n_values = learnt.iter().map(|one| one.model.n_values).sum::<usize>() as f64;
    let squares = learnt.iter().map(|one| one.model.squares).sum::<f64>();
    let aic = learnt.iter().map(|one| one.model.aic).sum::<f64>();
    let options = &request.options;
    let inputs = request.lowered.leaves.iter().zip(&request.kinds);
    let artifact = Artifact {
        model_type: options.spec.name.to_owned(),
        problem: options.spec.problem,
        label: options.label.clone(),
        classes: Vec::new(),
        pipeline: Pipeline {
            inputs: inputs.map(|((name, _), kind)| (name.clone(), *kind)).collect(),
            outputs: Vec::new(),
            features: Features::default(),
        },
        features: Vec::new(),
        model: Model::Forecasts(Forecasts { unit, series: learnt }),
        threshold: 0.5,
    };
    let mut shown = options.shown.clone();
    for (name, value) in &options.parameters.0 {
        shown.insert(name.clone(), show(value));
    }
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let manifest = Manifest {
        model_type: options.spec.name.to_owned(),
        label_type: LabelType::Float,
        leaves: request
            .lowered
            .leaves
            .iter()
            .map(|(name, expr)| (name.clone(), expr.to_string()))
            .collect(),
        options: shown,
        metrics: vec![
            ("mean_squared_error".to_owned(), Some(squares / n_values)),
            ("aic".to_owned(), Some(aic)),
        ],
        curve: Vec::new(),
        confusion: Vec::new(),
        trials: Vec::new(),
        iterations: vec![Iteration {
            iteration: 1,
            loss: squares / n_values,
            change: None,
            duration_ms,
        }],
        converged: true,
        features: Vec::new(),
        n_rows: n_all,
        n_train: n_all - n_unlabelled,
        n_evaluate: 0,
        n_outliers: 0,
        n_unlabelled,
        seed: options.seed,
        query: request.query.clone(),
        created_us: 0,
        created_by: request.created_by.clone(),
        duration_ms,
        remarks: Vec::new(),
        thresholds: Vec::new(),
        lift: Vec::new(),
        calibration: Vec::new(),
        folds: Vec::new(),
        attributions: Vec::new(),
        profiles: Vec::new(),
        anomaly_scores: Vec::new(),
        statement: request.statement.clone(),
        sources: request.sources.clone(),
        input_types: request.input_types.clone(),
    };
    Ok(Trained { artifact, manifest })
}

/// Learns one series.
fn one(
    request: &Request,
    points: &[(f64, f64)],
    unit: TimeUnit,
    task: &Task,
) -> Result<(Step, f64, HoltWinters)> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidParameter, what.to_owned());
    if points.len() < 2 {
        return Err(invalid("the series is too short")
            .with_detail("It has 1 value; a series takes at least 3.")
            .with_hint("Give the query more rows of it, or leave it out there."));
    }
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    if points.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(invalid("a time series has several values at one time")
            .with_hint("Add them up first: SELECT day, sum(x) … GROUP BY day. Series side by side are told apart by time_series_id_col."));
    }
    let times = points.iter().map(|point| point.0).collect::<Vec<_>>();
    let step = Step::of(&times, unit).ok_or_else(|| {
        invalid("the times of a series are not at equal steps").with_hint(
            "Bring them to days, hours or months first: date_trunc('day', …) and GROUP BY.",
        )
    })?;
    let mut y = vec![points[0].1];
    for pair in points.windows(2) {
        // Steps without a value lie on the line between their neighbours.
        let n = step.between(pair[0].0, pair[1].0, unit).max(1);
        for at in 1..=n {
            y.push(pair[0].1 + (pair[1].1 - pair[0].1) * at as f64 / n as f64);
        }
        if y.len() > 10_000_000 {
            return Err(invalid("the times of a series lie too far apart for their step"));
        }
    }
    let parameters = &request.options.parameters;
    let (trend, damped) = (parameters.flag_or("trend", true), parameters.flag("damped"));
    let season = match parameters.0.get("season_type") {
        Some(Literal::Text(text)) if text == "multiplicative" => Season::Multiplicative,
        _ => Season::Additive,
    };
    let shape = |period: usize| match period {
        0 | 1 => Shape { trend, damped, season: Season::None, period: 1 },
        period => Shape { trend, damped, season, period },
    };
    let model = match parameters.count("seasonality")? {
        Some(period) => HoltWinters::fit(&y, &shape(period), task)?,
        None => {
            // Of no season and the usual one for the step, the likelier.
            let plain = HoltWinters::fit(&y, &shape(1), task)?;
            match step.usual_season(unit).filter(|period| y.len() >= 3 * period) {
                Some(period) => {
                    let seasonal = HoltWinters::fit(&y, &shape(period), task)?;
                    if seasonal.aic < plain.aic { seasonal } else { plain }
                }
                None => plain,
            }
        }
    };
    let last = points.last().map_or(0.0, |point| point.0);
    Ok((step, last, model))
}
