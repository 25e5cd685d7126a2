//! Trials: several at once over the same data, the best of them kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::Task;
use maru_ml_kernels::evaluate::measure;
use maru_ml_kernels::model::{self, Data, Fit, Parameters, Target};
use maru_ml_kernels::transform::Literal;
use maru_ml_kernels::tune::{Search, Seen};

use super::Progress;
use super::tables::{named, show};
use crate::manifest::{Metric, Trial};
use crate::options::TrainingOptions;

pub(super) fn with_class_weights(
    parameters: &Parameters,
    weights: Option<Vec<f64>>,
    target: &Target,
    classes: &[String],
) -> Result<Option<Vec<f64>>> {
    let Target::Classes { codes, n_classes } = target else { return Ok(weights) };
    let by_class = match parameters.0.get("class_weights") {
        Some(Literal::List(pairs)) => {
            let mut by_class = vec![1.0; *n_classes];
            for pair in pairs {
                let Literal::List(pair) = pair else { continue };
                let (Some(class), Some(Literal::Number(weight))) = (pair.first(), pair.get(1))
                else {
                    continue;
                };
                let text = show(class);
                let index = classes.iter().position(|known| *known == text).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidParameter,
                        format!("class_weights names a class that the label does not have: {text}"),
                    )
                    .with_detail(format!(
                        "It has {}.",
                        classes.iter().take(20).cloned().collect::<Vec<_>>().join(", ")
                    ))
                })?;
                by_class[index] = *weight;
            }
            by_class
        }
        _ if parameters.flag("auto_class_weights") => {
            // A row of weight 2 counts as two rows.
            let own = |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
            let mut counts = vec![0.0_f64; *n_classes];
            codes.iter().enumerate().for_each(|(row, code)| counts[*code as usize] += own(row));
            let n = counts.iter().sum::<f64>();
            counts
                .iter()
                .map(|count| if *count > 0.0 { n / (*n_classes as f64 * count) } else { 0.0 })
                .collect()
        }
        _ => return Ok(weights),
    };
    let own = |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
    let weighted = codes.iter().enumerate().map(|(row, code)| by_class[*code as usize] * own(row));
    Ok(Some(weighted.collect()))
}

/// One trial with what it has learnt.
struct Tried {
    trial: Trial,
    goodness: Option<f64>,
    fit: Option<Fit>,
    error: Option<Error>,
}

/// Runs the trials, several at once over the same data, and gives the best; without tuning, the one model there is.
pub(super) fn search(
    options: &TrainingOptions,
    data: &Data,
    evaluate: &Data,
    classes: &[String],
    task: &Task,
    progress: &dyn Progress,
) -> Result<(Fit, Parameters, Vec<Trial>)> {
    if options.space.is_empty() {
        let fit = model::fit(options.spec, &options.parameters, data, options.seed, task)?;
        return Ok((fit, options.parameters.clone(), Vec::new()));
    }
    let search = Search {
        space: options.space.clone(),
        algorithm: options.algorithm,
        n_trials: options.n_trials,
        seed: options.seed,
    };
    let mut seen = Vec::<Seen>::new();
    let mut trials = Vec::<Trial>::new();
    let mut best: Option<(f64, usize, Fit, Parameters)> = None;
    let mut first_error = None;
    let shares = search.shares();
    let n_runs = match shares.len() {
        1 => options.n_trials,
        n => (0..n).map(|round| options.n_trials.div_ceil(3_usize.pow(round as u32))).sum(),
    };
    let done = std::sync::atomic::AtomicUsize::new(0);
    let run = |chosen: &[(usize, BTreeMap<String, Literal>)], data: &Data| {
        // Trials share the threads: more of them at once than there are threads take turns.
        let at_once = options.parallel.min(chosen.len()).max(1);
        let inner = task.unwatched().with_threads((task.n_threads() / at_once).max(1));
        task.with_threads(at_once).map(chosen.len(), |index| {
            let (number, given) = &chosen[index];
            let tried = run_trial(options, given, *number, data, evaluate, classes, &inner)?;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            // Of successive halving each run counts as its share of the trials.
            progress.trial(&tried.trial, done * options.n_trials / n_runs.max(1), options.n_trials);
            Ok(tried)
        })
    };
    loop {
        let next = search.next(&seen)?;
        if next.is_empty() {
            break;
        }
        let first = trials.len();
        let mut running = (first..).zip(next.iter().cloned()).collect::<Vec<_>>();
        let mut tried = Vec::<Option<Tried>>::new();
        tried.resize_with(next.len(), || None);
        for (round, share) in shares.iter().enumerate() {
            let part = match *share < 1.0 {
                true => Some(sample(data, *share, task)?),
                false => None,
            };
            for one in run(&running, part.as_ref().unwrap_or(data))? {
                let place = one.trial.trial_id as usize - 1 - first;
                tried[place] = Some(one);
            }
            if round + 1 == shares.len() {
                break;
            }
            let goodness = |number: usize| tried[number - first].as_ref().and_then(|t| t.goodness);
            running.sort_by(|(a, _), (b, _)| {
                let (x, y) = (goodness(*a), goodness(*b));
                y.unwrap_or(f64::MIN).total_cmp(&x.unwrap_or(f64::MIN)).then(a.cmp(b))
            });
            let stopped = running.split_off(running.len().div_ceil(3));
            for (number, _) in stopped {
                if let Some(one) = tried[number - first].as_mut().filter(|one| one.error.is_none())
                {
                    one.trial.state = "stopped".to_owned();
                    (one.fit, one.goodness) = (None, None);
                }
            }
            running.sort_by_key(|(number, _)| *number);
        }
        for (given, one) in next.into_iter().zip(tried.into_iter().flatten()) {
            if let (Some(goodness), Some(fit)) = (one.goodness, one.fit)
                && best.as_ref().is_none_or(|(most, ..)| goodness > *most)
            {
                let mut parameters = options.parameters.clone();
                parameters.0.extend(given.clone());
                best = Some((goodness, trials.len(), fit, parameters));
            }
            first_error = first_error.or(one.error);
            trials.push(one.trial);
            seen.push(Seen { parameters: given, goodness: one.goodness });
        }
    }
    match best {
        Some((_, index, fit, parameters)) => {
            trials[index].is_best = true;
            Ok((fit, parameters, trials))
        }
        None => Err(first_error.unwrap_or_else(|| {
            Error::new(ErrorKind::InvalidParameter, format!("no trial has a value of {}", options.objective))
                .with_hint("The rows to evaluate on may be of one class: use data_split_method = 'stratified'.")
        })),
    }
}

/// Returns the first rows, which are a sample: their order is that of their hashes.
fn sample(data: &Data, share: f64, task: &Task) -> Result<Data> {
    let n = ((data.x.n_rows as f64 * share).ceil() as usize).max(20).min(data.x.n_rows);
    data.select(&(0..n as u32).collect::<Vec<_>>(), task)
}

fn run_trial(
    options: &TrainingOptions,
    given: &BTreeMap<String, Literal>,
    index: usize,
    data: &Data,
    evaluate: &Data,
    classes: &[String],
    task: &Task,
) -> Result<Tried> {
    let start = Instant::now();
    let mut parameters = options.parameters.clone();
    parameters.0.extend(given.clone());
    let result = (|| -> Result<(Fit, Vec<Metric>)> {
        let mut data = data.clone();
        // Weights that the statement gives classes are in those of the rows already.
        let tuned = given.contains_key("auto_class_weights")
            && !options.parameters.0.contains_key("class_weights");
        if tuned {
            let own = data.weights.as_ref().map(|weights| weights.to_vec());
            let weights = with_class_weights(&parameters, own, &data.target, classes)?;
            data.weights = weights.map(Arc::new);
        }
        let fit = model::fit(options.spec, &parameters, &data, options.seed, task)?;
        let prediction = fit.model.predict(&evaluate.x, task)?;
        let metrics = named(measure(&prediction, &evaluate.target, options.threshold)?);
        Ok((fit, metrics))
    })();
    let (n_rows, n_columns) = (data.x.n_rows, data.x.n_columns());
    let n_bytes = model::memory_estimate(options.spec, n_rows, n_columns, classes.len());
    let mut trial = Trial {
        trial_id: index as u64 + 1,
        parameters: given.iter().map(|(name, value)| (name.clone(), show(value))).collect(),
        metrics: Vec::new(),
        state: "succeeded".to_owned(),
        error: None,
        duration_ms: 0,
        is_best: false,
        n_rows: n_rows as u64,
        n_bytes: n_bytes as u64,
    };
    let tried = match result {
        Ok((fit, metrics)) => {
            let value = metrics.iter().find(|(name, _)| *name == options.objective);
            let goodness = value.and_then(|(_, value)| *value).map(|value| options.goodness(value));
            trial.metrics = metrics;
            Tried { trial, goodness, fit: Some(fit), error: None }
        }
        // A cancelled training is over; one that cannot learn with these parameters is one trial less.
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            trial.state = "failed".to_owned();
            trial.error = Some(error.message());
            Tried { trial, goodness: None, fit: None, error: Some(error) }
        }
    };
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Tried { trial: Trial { duration_ms, ..tried.trial }, ..tried })
}
