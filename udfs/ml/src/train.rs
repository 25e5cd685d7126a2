//! Training: rows, split, transforms, outliers, trials, the best model, its metrics. Blocking: it belongs on a thread of its own.

mod rows;
mod search;
mod series;
mod tables;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::artifact::Artifact;
use maru_ml_kernels::evaluate::{measure, measure_ranked, ranked};
use maru_ml_kernels::gather::Ordered;
use maru_ml_kernels::model::{self, Data, Parameters, Prediction, Problem, Target};
use maru_ml_kernels::pipeline::{Features, Kind, Output, Pipeline, Plan, apply_all, learn_all};
use maru_ml_kernels::seasonal::TimeUnit;
use maru_ml_kernels::transform::Context;
use maru_ml_kernels::{Frame, Matrix, Task};

use crate::columns::as_given;
use crate::lower::Lowered;
use crate::manifest::{FeatureFacts, Fold, InputType, LabelType, Manifest, Trial};
use crate::options::TrainingOptions;
use rows::{Rows, folds, pick_target, split, target};
use search::{search, with_class_weights};
use tables::{Measured, facts, named, profiles};
pub use tables::{groups, points, show, thinned};

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
    /// Of the leaves that prediction needs.
    pub input_types: Vec<InputType>,
    /// Of all leaves, as the query gives them.
    pub leaf_types: Vec<DataType>,
    pub label_type: Option<DataType>,
    pub filter: Option<Filter>,
    /// What the times of a series count.
    pub time_unit: Option<TimeUnit>,
    pub query: String,
    /// The whole statement, for RETRAIN MODEL.
    pub statement: String,
    /// The tables that the query reads.
    pub sources: Vec<String>,
    pub created_by: String,
}

/// What training gives.
#[derive(Debug)]
pub struct Trained {
    pub artifact: Artifact,
    pub manifest: Manifest,
}

/// Trains as the request says, on the columns that [`crate::Collector`] has gathered.
///
/// # Errors
/// 22023 and 22003 for data that leaves nothing to learn; 57014 if the task is cancelled; what trials fail with, if all do.
pub fn train(
    request: &Request,
    rows: Ordered,
    task: &Task,
    progress: &dyn Progress,
) -> Result<Trained> {
    let start = Instant::now();
    let options = &request.options;
    let spec = options.spec;
    let n_all = rows.frame.n_rows;
    if n_all == 0 {
        return Err(Error::new(ErrorKind::InvalidParameter, "the query gives no rows to train on"));
    }
    if spec.problem == Problem::Forecast {
        return series::train(request, rows.frame, task);
    }
    let rows = Rows::new(request, rows)?;
    let label_name = options.label.clone().unwrap_or_default();
    let labelled = rows.labelled();
    if labelled.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("the label \"{label_name}\" is NULL in every row"),
        ));
    }
    let label_type = request.label_type.as_ref();
    let (all_target, classes) = target(spec.problem, rows.label.as_ref(), &label_name, label_type)?;
    let parts = split(options, &rows, &labelled, &all_target);
    if parts.train.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "the split leaves no rows to train on",
        ));
    }
    let learnt = Learnt::new(request, &rows, &all_target, &classes, &parts.train, task)?;
    if let Some(class) = learnt.lost.and_then(|lost| classes.get(lost)) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("TRAIN WHERE leaves no rows of class \"{class}\" to train on"),
        )
        .with_detail("Of a class that nothing is learnt of, predictions and metrics mean nothing.")
        .with_hint(
            "Leave its rows out in the query (AS SELECT … WHERE …), or let the condition keep some.",
        ));
    }
    let evaluate = match parts.evaluate == parts.train {
        true if learnt.n_outliers == 0 => learnt.data.clone(),
        _ => learnt.data_of(&rows, &all_target, &parts.evaluate, task)?,
    };
    let data = &learnt.data;
    let at_once = options.parallel.min(options.n_trials).max(1);
    let (n_rows, n_columns) = (data.x.n_rows, data.x.n_columns());
    task.claim(at_once * model::memory_estimate(spec, n_rows, n_columns, classes.len()))?;
    let (fit, parameters, trials) = search(options, data, &evaluate, &classes, task, progress)?;
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
    let target = &evaluate.target;
    let ranked = prediction.as_ref().and_then(|prediction| ranked(prediction, target));
    let metrics = match &prediction {
        Some(prediction) if evaluate.x.n_rows > 0 => {
            named(measure_ranked(prediction, target, threshold, ranked.as_ref())?)
        }
        _ => Vec::new(),
    };
    let measured = Measured::new(prediction.as_ref(), target, ranked.as_ref(), &classes, threshold);
    drop(ranked);
    let mut remarks = Vec::new();
    if !fit.converged {
        remarks.push("Training stopped before the model came to rest: raise max_iterations, or give l2_reg a value if the classes can be told apart perfectly.".to_owned());
    }
    if !options.space.is_empty() && parts.evaluate == parts.train {
        remarks.push("Trials were compared on the rows that they learnt from, which favours the one that fits these most closely: data_split_method = 'random' compares them on others.".to_owned());
    }
    let folds = match options.n_folds {
        0 => Vec::new(),
        _ => validate(
            request,
            &rows,
            &all_target,
            &classes,
            &labelled,
            &parameters,
            threshold,
            task,
        )?,
    };
    let attributions = attributed(&fit.model, &evaluate.x, task)?;
    let anomaly_scores = match maru_ml_kernels::anomaly::scores_rows(&fit.model) {
        true => {
            let scores = maru_ml_kernels::anomaly::scores(&fit.model, &data.x, task)?;
            let at = (0..=1000).map(|step| f64::from(step) / 1000.0).collect::<Vec<_>>();
            maru_ml_kernels::transform::quantiles(scores, &at)
        }
        false => Vec::new(),
    };
    let lowered = &request.lowered;
    // What only TRAIN WHERE looks at, prediction does without.
    let leaves = &lowered.leaves[..lowered.n_inputs];
    let inputs = leaves.iter().zip(&request.kinds).map(|((name, _), kind)| (name.clone(), *kind));
    let mut looked_at = rows.leaves.clone();
    looked_at.columns.truncate(lowered.n_inputs);
    let profiles = profiles(&looked_at, &parts.train, task)?;
    let n_train = data.x.n_rows as u64;
    let artifact = Artifact {
        model_type: spec.name.to_owned(),
        problem: spec.problem,
        label: options.label.clone(),
        classes,
        features: data.x.names.clone(),
        pipeline: Pipeline {
            inputs: inputs.collect(),
            outputs: learnt.outputs,
            features: learnt.features,
        },
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
        leaves: leaves.iter().map(|(name, expr)| (name.clone(), expr.to_string())).collect(),
        options: shown,
        metrics,
        curve: measured.curve,
        confusion: measured.confusion,
        trials,
        iterations: fit.iterations,
        converged: fit.converged,
        features: learnt.facts,
        n_rows: n_all as u64,
        n_train,
        n_evaluate: parts.evaluate.len() as u64,
        n_outliers: learnt.n_outliers as u64,
        n_unlabelled: (n_all - labelled.len()) as u64,
        seed: options.seed,
        query: request.query.clone(),
        created_us: 0,
        created_by: request.created_by.clone(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        remarks,
        thresholds: measured.thresholds,
        lift: measured.lift,
        calibration: measured.calibration,
        folds,
        attributions,
        profiles,
        anomaly_scores,
        statement: request.statement.clone(),
        sources: request.sources.clone(),
        input_types: request.input_types.clone(),
    };
    Ok(Trained { artifact, manifest })
}

/// Transforms that have learnt from some of the rows, and what they make of these.
struct Learnt {
    outputs: Vec<Output>,
    features: Features,
    data: Data,
    facts: Vec<FeatureFacts>,
    n_outliers: usize,
    /// A class of which TRAIN WHERE has left no row.
    lost: Option<usize>,
}

impl Learnt {
    /// Transforms learn from the rows of training alone: what they know of the others would flatter the model.
    fn new(
        request: &Request,
        rows: &Rows,
        target: &Target,
        classes: &[String],
        chosen: &[u32],
        task: &Task,
    ) -> Result<Self> {
        let options = &request.options;
        let frame = match chosen.len() == rows.leaves.n_rows {
            true => rows.leaves.clone(),
            false => rows.leaves.select(chosen, task)?,
        };
        let mut target = pick_target(target, chosen);
        let as_numbers = match &target {
            Target::Numbers(values) => Some(values.as_ref().clone()),
            Target::Classes { codes, n_classes: 2 } => {
                Some(codes.iter().map(|code| f64::from(*code)).collect())
            }
            _ => None,
        };
        let context = Context { task, seed: options.seed, target: as_numbers.as_deref() };
        let lowered = &request.lowered;
        // What TRAIN WHERE looks at comes after the outputs, which it may name.
        let plans = lowered.plans.iter().chain(&lowered.scores).cloned().collect::<Vec<_>>();
        let (mut outputs, mut learnt) = learn_all(&plans, &frame, &context)?;
        let scored = learnt.split_off(lowered.plans.len());
        outputs.truncate(lowered.plans.len());
        let mut gathered = gather(&learnt, frame.n_rows);
        drop(learnt);
        let weights = rows.weights.as_ref();
        let mut weights =
            weights.map(|w| chosen.iter().map(|row| w[*row as usize]).collect::<Vec<_>>());
        let mut n_outliers = 0;
        let mut lost = None;
        if let Some(filter) = &request.filter {
            let kept = keep(filter, &scored, request)?;
            n_outliers = kept.iter().filter(|keep| !**keep).count();
            let kept = (0..kept.len() as u32).filter(|row| kept[*row as usize]).collect::<Vec<_>>();
            if kept.is_empty() {
                return Err(Error::new(ErrorKind::InvalidParameter, "TRAIN WHERE leaves no rows to train on")
                    .with_hint("Scores of ML.OUTLIER_SCORE with 'isolation_forest' lie between 0 and 1, most of them below 0.5."));
            }
            gathered = gathered.select(&kept, task)?;
            let picked = pick_target(&target, &kept);
            lost = lost_class(&target, &picked);
            target = picked;
            weights = weights.map(|w| kept.iter().map(|row| w[*row as usize]).collect());
        }
        let features = Features::learn(&gathered, task)?;
        let x = features.matrix(&gathered, task)?;
        let facts = facts(&gathered, task)?;
        let weights = with_class_weights(&options.parameters, weights, &target, classes)?;
        let data = Data { x, target, weights: weights.map(Arc::new) };
        Ok(Self { outputs, features, data, facts, n_outliers, lost })
    }

    /// Makes of other rows what the transforms have learnt to.
    fn data_of(&self, rows: &Rows, target: &Target, chosen: &[u32], task: &Task) -> Result<Data> {
        let frame = rows.leaves.select(chosen, task)?;
        let gathered = gather(&apply_all(&self.outputs, &frame, task)?, frame.n_rows);
        let x = self.features.matrix(&gathered, task)?;
        Ok(Data { x, target: pick_target(target, chosen), weights: None })
    }
}

/// Learns anew without each fold, transforms and all, and measures on the fold.
#[allow(clippy::too_many_arguments)]
fn validate(
    request: &Request,
    rows: &Rows,
    target: &Target,
    classes: &[String],
    labelled: &[u32],
    parameters: &Parameters,
    threshold: f64,
    task: &Task,
) -> Result<Vec<Fold>> {
    let options = &request.options;
    let task = task.unwatched();
    let parts = folds(options, rows, labelled, target);
    let mut done = Vec::with_capacity(parts.len());
    for (index, parts) in parts.into_iter().enumerate() {
        let learnt = Learnt::new(request, rows, target, classes, &parts.train, &task)?;
        let data = learnt.data_of(rows, target, &parts.evaluate, &task)?;
        let fit = model::fit(options.spec, parameters, &learnt.data, options.seed, &task);
        let fit = fit.map_err(|error| {
            let hint = error.hint().map(str::to_owned);
            let error = error.with_detail(format!("So it is without fold {}.", index + 1));
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint("Fewer folds (num_folds), or fold_method = 'stratified', leave more to learn from."),
            }
        })?;
        let prediction = fit.model.predict(&data.x, &task)?;
        let metrics = named(measure(&prediction, &data.target, threshold)?);
        done.push(Fold {
            fold: index as u64 + 1,
            n_train: learnt.data.x.n_rows as u64,
            n_evaluate: data.x.n_rows as u64,
            metrics,
        });
    }
    Ok(done)
}

/// Rows that the attributions of the whole model are the means of: enough for two digits.
const EXPLAINED_ROWS: usize = 1000;

fn attributed(model: &model::Model, x: &Matrix, task: &Task) -> Result<Vec<(String, f64)>> {
    if !maru_ml_kernels::explain::explains(model) || x.n_rows == 0 {
        return Ok(Vec::new());
    }
    // The order of the rows is that of their hashes: the first ones are a sample.
    let n = x.n_rows.min(match model {
        model::Model::Forest(_) | model::Model::Boosted(_) => EXPLAINED_ROWS / 4,
        _ => EXPLAINED_ROWS,
    });
    let x = x.select(&(0..n as u32).collect::<Vec<_>>(), task)?;
    let means = maru_ml_kernels::explain::global(model, &x, task)?;
    let mut pairs = x.names.iter().cloned().zip(means).collect::<Vec<_>>();
    pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(pairs)
}

fn gather(learnt: &[(String, Frame)], n_rows: usize) -> Frame {
    let columns = learnt.iter().flat_map(|(_, frame)| frame.columns.iter().cloned());
    Frame { n_rows, columns: columns.collect() }
}

/// Returns the first class that some rows have, and none of those that are left.
fn lost_class(before: &Target, after: &Target) -> Option<usize> {
    let (Target::Classes { codes: before, n_classes }, Target::Classes { codes: after, .. }) =
        (before, after)
    else {
        return None;
    };
    let has = |codes: &[u32]| {
        let mut has = vec![false; *n_classes];
        codes.iter().for_each(|code| has[*code as usize] = true);
        has
    };
    has(before).into_iter().zip(has(after)).position(|(before, after)| before && !after)
}

/// Asks the condition of TRAIN WHERE of the scores. Columns that it takes as they are, it sees with the type that the query gave them.
fn keep(filter: &Filter, scored: &[(String, Frame)], request: &Request) -> Result<Vec<bool>> {
    let mut fields = Vec::new();
    let mut arrays = Vec::<ArrayRef>::new();
    for ((name, frame), (_, plan)) in scored.iter().zip(&request.lowered.scores) {
        let [(_, column)] = frame.columns.as_slice() else {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "TRAIN WHERE looks at a transform of several columns",
            )
            .with_hint("Score them with ML.OUTLIER_SCORE(…) OVER (), and compare the score."));
        };
        let plan = match plan {
            Plan::Output(index) => request.lowered.plans.get(*index).map_or(plan, |(_, of)| of),
            _ => plan,
        };
        let data_type = match plan {
            Plan::Input(index) => request.leaf_types.get(*index),
            _ => None,
        };
        let array = as_given(column, data_type)?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Error::internal("scores do not fit together").with_cause(error))?;
    filter(&batch)
}
