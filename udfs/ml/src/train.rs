//! Training: rows, split, transforms, outliers, trials, the best model, its metrics. Blocking: it belongs on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::artifact::Artifact;
use maru_ml_kernels::evaluate::{confusion, curve, measure};
use maru_ml_kernels::model::{self, Data, Fit, Parameters, Prediction, Problem, Target};
use maru_ml_kernels::pipeline::{Features, Kind, Pipeline, apply_all, learn_all};
use maru_ml_kernels::split::{Parts, Split};
use maru_ml_kernels::transform::{Context, Literal};
use maru_ml_kernels::tune::{Search, Seen};
use maru_ml_kernels::{Column, Frame, Task};

use crate::lower::Lowered;
use crate::manifest::{CurvePoint, FeatureFacts, LabelType, Manifest, Metric, Trial};
use crate::options::{SplitMethod, TrainingOptions};

/// Points of a curve that are kept.
const CURVE_MAX: usize = 200;

/// Says which rows of a batch the condition of TRAIN WHERE keeps.
pub type Filter = Box<dyn Fn(&RecordBatch) -> Result<Vec<bool>> + Send + Sync>;

/// What is told while training goes on.
pub trait Progress: Send + Sync {
    /// A trial is over.
    fn trial(&self, trial: &Trial, done: usize, of: usize);
}

/// What is to be trained.
pub struct Request {
    pub options: TrainingOptions,
    pub lowered: Lowered,
    /// Of the leaves.
    pub kinds: Vec<Kind>,
    pub label_type: Option<DataType>,
    pub filter: Option<Filter>,
    pub query: String,
    pub created_by: String,
}

/// What training gives.
#[derive(Debug)]
pub struct Trained {
    pub artifact: Artifact,
    pub manifest: Manifest,
}

/// The rows of the query: leaves first, then label, weight and split where there are these.
struct Rows {
    leaves: Frame,
    label: Option<Column>,
    weights: Option<Vec<f64>>,
    evaluates: Option<Vec<bool>>,
    hashes: Vec<u64>,
}

impl Rows {
    fn new(request: &Request, frame: Frame, task: &Task) -> Result<Self> {
        let (mut frame, hashes) = frame.canonical(task)?;
        let mut rest = frame.columns.split_off(request.lowered.leaves.len()).into_iter();
        let mut next = |wanted: bool| -> Result<Option<Column>> {
            match wanted {
                true => rest
                    .next()
                    .map(|(_, column)| Some(column))
                    .ok_or_else(|| Error::internal("a column of training is missing")),
                false => Ok(None),
            }
        };
        let options = &request.options;
        let label = next(options.label.is_some())?;
        let weights = match next(options.weight.is_some())? {
            None => None,
            Some(Column::Number(values)) if values.iter().all(|w| w.is_finite() && *w >= 0.0) => {
                Some(values.as_ref().clone())
            }
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "weights of rows are numbers from 0 on, none of them NULL",
                ));
            }
        };
        let evaluates = match next(options.split_column.is_some())? {
            None => None,
            Some(Column::Number(values)) => Some(values.iter().map(|v| *v > 0.0).collect()),
            Some(Column::Text(_)) => {
                return Err(Error::new(
                    ErrorKind::TypeMismatch,
                    "data_split_col is a boolean column",
                ));
            }
        };
        Ok(Self { leaves: frame, label, weights, evaluates, hashes })
    }

    fn labelled(&self) -> Vec<u32> {
        let all = 0..self.leaves.n_rows as u32;
        match &self.label {
            None => all.collect(),
            Some(label) => all.filter(|row| label.text(*row as usize).is_some()).collect(),
        }
    }
}

/// The label by row as the model learns it, and the classes.
fn target(problem: Problem, label: Option<&Column>, name: &str) -> Result<(Target, Vec<String>)> {
    let Some(label) = label.filter(|_| problem.has_label()) else {
        return Ok((Target::None, Vec::new()));
    };
    if problem == Problem::Regression {
        return match label {
            Column::Number(values) => Ok((Target::Numbers(Arc::clone(values)), Vec::new())),
            Column::Text(_) => Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("the label \"{name}\" is text, a regression predicts numbers"),
            )
            .with_hint("Cast it, or use a classifier such as model_type = 'logistic_reg'.")),
        };
    }
    const CLASSES_MAX: usize = 10_000;
    let mut known = BTreeMap::<String, u32>::new();
    for row in 0..label.len() {
        if let Some(text) = label.text(row)
            && !known.contains_key(text.as_ref())
        {
            known.insert(text.into_owned(), 0);
            if known.len() > CLASSES_MAX {
                return Err(Error::new(ErrorKind::LimitExceeded, format!("the label \"{name}\" has more than {CLASSES_MAX} classes"))
                    .with_hint("If it is a number to be estimated, use a regression such as model_type = 'linear_reg'."));
            }
        }
    }
    let mut classes = known.keys().cloned().collect::<Vec<_>>();
    if classes.iter().all(|class| class.parse::<f64>().is_ok()) {
        let number = |class: &String| class.parse::<f64>().unwrap_or(f64::NAN);
        classes.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    for (code, class) in classes.iter().enumerate() {
        known.insert(class.clone(), code as u32);
    }
    let code = |row: usize| {
        label.text(row).and_then(|text| known.get(text.as_ref()).copied()).unwrap_or(0)
    };
    let codes = Arc::new((0..label.len()).map(code).collect());
    Ok((Target::Classes { codes, n_classes: classes.len() }, classes))
}

fn pick_target(target: &Target, rows: &[u32]) -> Target {
    match target {
        Target::None => Target::None,
        Target::Numbers(values) => {
            Target::Numbers(Arc::new(rows.iter().map(|r| values[*r as usize]).collect()))
        }
        Target::Classes { codes, n_classes } => {
            let codes = Arc::new(rows.iter().map(|r| codes[*r as usize]).collect());
            Target::Classes { codes, n_classes: *n_classes }
        }
    }
}

/// Trains as the request says, on the columns that [`crate::Collector`] has gathered.
///
/// # Errors
/// 22023 and 22003 for data that leaves nothing to learn; 57014 if the task is cancelled; what trials fail with, if all do.
pub fn train(
    request: &Request,
    frame: Frame,
    task: &Task,
    progress: &dyn Progress,
) -> Result<Trained> {
    let start = Instant::now();
    let options = &request.options;
    let spec = options.spec;
    let n_all = frame.n_rows;
    if n_all == 0 {
        return Err(Error::new(ErrorKind::InvalidParameter, "the query gives no rows to train on"));
    }
    let rows = Rows::new(request, frame, task)?;
    let label_name = options.label.clone().unwrap_or_default();
    let labelled = rows.labelled();
    if labelled.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("the label \"{label_name}\" is NULL in every row"),
        ));
    }
    let (all_target, classes) = target(spec.problem, rows.label.as_ref(), &label_name)?;
    let parts = split(options, &rows, &labelled, &all_target);
    if parts.train.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "the split leaves no rows to train on",
        ));
    }
    // Transforms learn from the rows of training alone: what they know of the others would flatter the model.
    let train_frame = match parts.train.len() == rows.leaves.n_rows {
        true => rows.leaves.clone(),
        false => rows.leaves.select(&parts.train, task)?,
    };
    let mut train_target = pick_target(&all_target, &parts.train);
    let as_numbers = match &train_target {
        Target::Numbers(values) => Some(values.as_ref().clone()),
        Target::Classes { codes, n_classes: 2 } => {
            Some(codes.iter().map(|code| f64::from(*code)).collect())
        }
        _ => None,
    };
    let context = Context { task, seed: options.seed, target: as_numbers.as_deref() };
    let lowered = &request.lowered;
    let (outputs, learnt) = learn_all(&lowered.plans, &train_frame, &context)?;
    let mut gathered = gather(&learnt, train_frame.n_rows);
    let mut weights = rows
        .weights
        .as_ref()
        .map(|w| parts.train.iter().map(|r| w[*r as usize]).collect::<Vec<_>>());
    let mut n_outliers = 0;
    if let Some(filter) = &request.filter {
        let mut plans = lowered.plans.clone();
        plans.extend(lowered.scores.iter().cloned());
        let (_, scored) = learn_all(&plans, &train_frame, &context)?;
        let kept = keep(filter, &scored[lowered.plans.len()..])?;
        n_outliers = kept.iter().filter(|keep| !**keep).count();
        let kept = (0..kept.len() as u32).filter(|row| kept[*row as usize]).collect::<Vec<_>>();
        if kept.is_empty() {
            return Err(Error::new(ErrorKind::InvalidParameter, "TRAIN WHERE leaves no rows to train on")
                .with_hint("Scores of ML.OUTLIER_SCORE with 'isolation_forest' lie between 0 and 1, most of them below 0.5."));
        }
        gathered = gathered.select(&kept, task)?;
        train_target = pick_target(&train_target, &kept);
        weights = weights.map(|w| kept.iter().map(|r| w[*r as usize]).collect());
    }
    let features = Features::learn(&gathered)?;
    let x = features.matrix(&gathered, task)?;
    let facts = facts(&gathered);
    drop(gathered);
    let weights = with_class_weights(&options.parameters, weights, &train_target, &classes)?;
    let data = Data { x, target: train_target, weights: weights.map(Arc::new) };
    let evaluate = match parts.evaluate == parts.train {
        true if n_outliers == 0 => data.clone(),
        _ => {
            let frame = rows.leaves.select(&parts.evaluate, task)?;
            let gathered = gather(&apply_all(&outputs, &frame, task)?, frame.n_rows);
            let x = features.matrix(&gathered, task)?;
            Data { x, target: pick_target(&all_target, &parts.evaluate), weights: None }
        }
    };
    drop(rows);
    let (fit, parameters, trials) = search(options, &data, &evaluate, &classes, task, progress)?;
    let mut threshold = options.threshold;
    let prediction = match spec.problem {
        Problem::Transform => None,
        _ => Some(fit.model.predict(&evaluate.x, task)?),
    };
    if let Some(Prediction::Scores(scores)) = &prediction
        && let Some(share) = parameters.number("contamination")?
    {
        threshold = maru_ml_kernels::transform::quantiles(scores.clone(), &[1.0 - share])[0];
    }
    let metrics = match &prediction {
        Some(prediction) if evaluate.x.n_rows > 0 => {
            named(measure(prediction, &evaluate.target, threshold)?)
        }
        _ => Vec::new(),
    };
    let (points, table) = match (&prediction, &evaluate.target) {
        (Some(Prediction::Probabilities(p)), Target::Classes { codes, .. }) => {
            let counts = confusion(p, codes, threshold).into_iter();
            let class = |code: u32| classes.get(code as usize).cloned().unwrap_or_default();
            let table =
                counts.map(|((label, predicted), n)| (class(label), class(predicted), n)).collect();
            let points = match p.as_slice() {
                [_, second] => {
                    let positive = codes.iter().map(|code| *code == 1).collect::<Vec<_>>();
                    thinned(&curve(second, &positive))
                }
                _ => Vec::new(),
            };
            (points, table)
        }
        _ => (Vec::new(), Vec::new()),
    };
    let mut remarks = Vec::new();
    if !fit.converged {
        remarks.push("Training stopped before the model came to rest: raise max_iterations, or give l2_reg a value if the classes can be told apart perfectly.".to_owned());
    }
    let inputs =
        lowered.leaves.iter().zip(&request.kinds).map(|((name, _), kind)| (name.clone(), *kind));
    let artifact = Artifact {
        model_type: spec.name.to_owned(),
        problem: spec.problem,
        label: options.label.clone(),
        classes,
        pipeline: Pipeline { inputs: inputs.collect(), outputs, features },
        features: data.x.names.clone(),
        model: fit.model,
        threshold,
    };
    let mut shown = options.shown.clone();
    for (name, value) in &parameters.0 {
        shown.insert(name.clone(), show(value));
    }
    let manifest = Manifest {
        model_type: spec.name.to_owned(),
        label_type: request.label_type.as_ref().map_or(LabelType::Text, LabelType::of),
        leaves: lowered
            .leaves
            .iter()
            .map(|(name, expr)| (name.clone(), expr.to_string()))
            .collect(),
        options: shown,
        metrics,
        curve: points,
        confusion: table,
        trials,
        iterations: fit.iterations,
        converged: fit.converged,
        features: facts,
        n_rows: n_all as u64,
        n_train: data.x.n_rows as u64,
        n_evaluate: parts.evaluate.len() as u64,
        n_outliers: n_outliers as u64,
        n_unlabelled: (n_all - labelled.len()) as u64,
        seed: options.seed,
        query: request.query.clone(),
        created_us: 0,
        created_by: request.created_by.clone(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        remarks,
    };
    Ok(Trained { artifact, manifest })
}

fn split(options: &TrainingOptions, rows: &Rows, labelled: &[u32], target: &Target) -> Parts {
    let n = labelled.len();
    if let (SplitMethod::Custom, Some(evaluates)) = (options.split, &rows.evaluates) {
        let (evaluate, train) = labelled.iter().copied().partition(|row| evaluates[*row as usize]);
        return Parts { train, evaluate };
    }
    let seed = options.seed;
    let how = match options.split {
        SplitMethod::Auto if n < 500 || !options.spec.problem.has_label() => Split::None,
        SplitMethod::Auto => Split::Random { share: options.share.min(10_000.0 / n as f64), seed },
        SplitMethod::Random => Split::Random { share: options.share, seed },
        SplitMethod::Stratified => Split::Stratified { share: options.share, seed },
        SplitMethod::None | SplitMethod::Custom => Split::None,
    };
    let hashes = labelled.iter().map(|row| rows.hashes[*row as usize]).collect::<Vec<_>>();
    let codes = match target {
        Target::Classes { codes, .. } => {
            Some(labelled.iter().map(|r| codes[*r as usize]).collect::<Vec<_>>())
        }
        _ => None,
    };
    let parts = how.parts(&hashes, codes.as_deref());
    let real = |rows: Vec<u32>| rows.into_iter().map(|row| labelled[row as usize]).collect();
    Parts { train: real(parts.train), evaluate: real(parts.evaluate) }
}

fn gather(learnt: &[(String, Frame)], n_rows: usize) -> Frame {
    let columns = learnt.iter().flat_map(|(_, frame)| frame.columns.iter().cloned());
    Frame { n_rows, columns: columns.collect() }
}

/// Asks the condition of TRAIN WHERE of the scores.
fn keep(filter: &Filter, scored: &[(String, Frame)]) -> Result<Vec<bool>> {
    let mut fields = Vec::new();
    let mut arrays = Vec::<ArrayRef>::new();
    for (name, frame) in scored {
        let [(_, column)] = frame.columns.as_slice() else {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "TRAIN WHERE looks at a transform of several columns",
            )
            .with_hint("Score them with ML.OUTLIER_SCORE(…) OVER (), and compare the score."));
        };
        let array: ArrayRef = match column {
            Column::Number(values) => Arc::new(Float64Array::from_iter(
                values.iter().map(|v| (!v.is_nan()).then_some(*v)),
            )),
            Column::Text(values) => Arc::new(values.clone()),
        };
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Error::internal("scores do not fit together").with_cause(error))?;
    filter(&batch)
}

fn with_class_weights(
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
            let mut counts = vec![0.0_f64; *n_classes];
            codes.iter().for_each(|code| counts[*code as usize] += 1.0);
            let n = codes.len() as f64;
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

fn named(metrics: Vec<(&'static str, f64)>) -> Vec<(String, Option<f64>)> {
    metrics
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.is_finite().then_some(value)))
        .collect()
}

/// Leaves so many points that the curve can be drawn.
pub fn thinned(points: &[maru_ml_kernels::evaluate::Point]) -> Vec<CurvePoint> {
    let step = points.len().div_ceil(CURVE_MAX).max(1);
    let kept = points
        .iter()
        .enumerate()
        .filter(|(index, _)| index % step == 0 || index + 1 == points.len());
    kept.map(|(_, p)| {
        let threshold = p.threshold.is_finite().then_some(p.threshold);
        (threshold, p.true_positives, p.false_positives, p.true_negatives, p.false_negatives)
    })
    .collect()
}

fn facts(frame: &Frame) -> Vec<FeatureFacts> {
    let one = |(name, column): &(String, Column)| match column {
        Column::Number(values) => {
            let known = values.iter().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>();
            let n = known.len() as f64;
            let mean = known.iter().sum::<f64>() / n;
            let spread = known.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
            let finite = |value: f64| value.is_finite().then_some(value);
            FeatureFacts {
                name: name.clone(),
                min: known.iter().copied().reduce(f64::min).and_then(finite),
                max: known.iter().copied().reduce(f64::max).and_then(finite),
                mean: finite(mean),
                stddev: finite(spread.sqrt()),
                n_null: (values.len() - known.len()) as u64,
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
    frame.columns.iter().map(one).collect()
}

/// One trial with what it has learnt.
struct Tried {
    trial: Trial,
    goodness: Option<f64>,
    fit: Option<Fit>,
    error: Option<Error>,
}

/// Runs the trials, several at once over the same data, and gives the best; without tuning, the one model there is.
fn search(
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
    loop {
        let next = search.next(&seen)?;
        if next.is_empty() {
            break;
        }
        let first = trials.len();
        // Trials share the threads: more of them at once than there are threads take turns.
        let at_once = options.parallel.min(next.len()).max(1);
        let inner = task.with_threads((task.n_threads() / at_once).max(1));
        let outer = task.with_threads(at_once);
        let done = std::sync::atomic::AtomicUsize::new(first);
        let tried = outer.map(next.len(), |index| {
            let tried =
                run_trial(options, &next[index], first + index, data, evaluate, classes, &inner)?;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress.trial(&tried.trial, done, options.n_trials);
            Ok(tried)
        })?;
        for (given, one) in next.into_iter().zip(tried) {
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
        if given.contains_key("auto_class_weights") {
            let weights = with_class_weights(&parameters, None, &data.target, classes)?;
            data.weights = weights.map(Arc::new);
        }
        let fit = model::fit(options.spec, &parameters, &data, options.seed, task)?;
        let prediction = fit.model.predict(&evaluate.x, task)?;
        let metrics = named(measure(&prediction, &evaluate.target, options.threshold)?);
        Ok((fit, metrics))
    })();
    let mut trial = Trial {
        trial_id: index as u64 + 1,
        parameters: given.iter().map(|(name, value)| (name.clone(), show(value))).collect(),
        metrics: Vec::new(),
        state: "succeeded".to_owned(),
        error: None,
        duration_ms: 0,
        is_best: false,
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
