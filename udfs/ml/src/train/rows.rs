//! The rows of training: label, weight and split apart, which rows train and which evaluate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::gather::Ordered;
use maru_ml_kernels::model::{Problem, Target};
use maru_ml_kernels::split::{Folding, Parts, Split, fold_parts};
use maru_ml_kernels::{Column, Frame};

use super::Request;
use crate::options::{SplitMethod, TrainingOptions};

/// The rows of the query: leaves first, then label, weight and split where there are these.
pub(super) struct Rows {
    pub(super) leaves: Frame,
    pub(super) label: Option<Column>,
    pub(super) weights: Option<Vec<f64>>,
    pub(super) evaluates: Option<Vec<bool>>,
    pub(super) hashes: Vec<u64>,
    /// What folds go by: groups or times, as numbers.
    pub(super) keys: Option<Vec<f64>>,
}

impl Rows {
    pub(super) fn new(request: &Request, rows: Ordered) -> Result<Self> {
        let Ordered { mut frame, hashes } = rows;
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
                if values.iter().all(|weight| *weight == 0.0) {
                    return Err(Error::new(
                        ErrorKind::InvalidParameter,
                        "the weights of all rows are 0",
                    )
                    .with_hint("Nothing is learnt from a row of weight 0."));
                }
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
        let keys = match next(options.fold_column.is_some())? {
            None => None,
            Some(Column::Number(values)) => Some(values.as_ref().clone()),
            Some(Column::Text(values)) if options.folding == Folding::Group => {
                let mut known = BTreeMap::new();
                values.iter().for_each(|text| {
                    known.entry(text).or_insert(0.0);
                });
                known.values_mut().enumerate().for_each(|(at, number)| *number = at as f64);
                Some(values.iter().map(|text| known.get(&text).copied().unwrap_or(0.0)).collect())
            }
            Some(Column::Text(_)) => {
                return Err(Error::new(
                    ErrorKind::TypeMismatch,
                    "fold_col is a number, a date or a timestamp with fold_method = 'time'",
                ));
            }
        };
        Ok(Self { leaves: frame, label, weights, evaluates, hashes, keys })
    }

    pub(super) fn labelled(&self) -> Vec<u32> {
        let all = 0..self.leaves.n_rows as u32;
        match &self.label {
            None => all.collect(),
            Some(label) => all.filter(|row| label.text(*row as usize).is_some()).collect(),
        }
    }
}

/// Classes that a label may have.
const CLASSES_MAX: usize = 10_000;

/// Classes numbered as they are met. Few as a rule: those met last are looked at first.
#[derive(Default)]
struct Seen {
    known: BTreeMap<String, u32>,
    recent: VecDeque<(String, u32)>,
}

impl Seen {
    const RECENT: usize = 4;

    fn code(&mut self, text: &str, label: &str) -> Result<u32> {
        if let Some((_, code)) = self.recent.iter().find(|(known, _)| known == text) {
            return Ok(*code);
        }
        let code = match self.known.get(text) {
            Some(code) => *code,
            None if self.known.len() == CLASSES_MAX => {
                return Err(Error::new(ErrorKind::LimitExceeded, format!("the label \"{label}\" has more than {CLASSES_MAX} classes"))
                    .with_hint("If it is a number to be estimated, use a regression such as model_type = 'linear_reg'."));
            }
            None => {
                let code = self.known.len() as u32;
                self.known.insert(text.to_owned(), code);
                code
            }
        };
        if self.recent.len() == Self::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((text.to_owned(), code));
        Ok(code)
    }
}

/// From here on whole numbers are told apart no more: labels are read as double precision.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The label by row as the model learns it, and the classes. `label_type` is that of the query's column.
pub(super) fn target(
    problem: Problem,
    label: Option<&Column>,
    name: &str,
    label_type: Option<&DataType>,
) -> Result<(Target, Vec<String>)> {
    let Some(label) = label.filter(|_| problem.has_label()) else {
        return Ok((Target::None, Vec::new()));
    };
    if problem == Problem::Regression {
        return match label {
            // Rows without a label are left out, so NaN does no harm.
            Column::Number(values) if values.iter().any(|value| value.is_infinite()) => {
                Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("the label \"{name}\" has values that are infinite"),
                )
                .with_hint("Leave such rows out in the query, or limit the values there."))
            }
            Column::Number(values) => Ok((Target::Numbers(Arc::clone(values)), Vec::new())),
            Column::Text(_) => Err(not_a_number(name, label_type)),
        };
    }
    if let (Column::Number(values), Some(label_type)) = (label, label_type)
        && !label_type.is_floating()
        && values.iter().any(|value| value.abs() >= WHOLE_MAX)
    {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!(
                "the label \"{name}\" has numbers that are too large to be told apart as classes"
            ),
        )
        .with_detail(
            "Whole numbers are told apart below 9007199254740992, which is 2 to the power of 53.",
        )
        .with_hint("Make text of it in the query: CAST(column AS text)."));
    }
    let mut seen = Seen::default();
    let found = match label {
        Column::Text(values) => {
            let code = |text: Option<&str>| text.map_or(Ok(0), |text| seen.code(text, name));
            values.iter().map(code).collect::<Result<Vec<_>>>()?
        }
        Column::Number(_) => {
            let code = |row: usize| label.text(row).map_or(Ok(0), |text| seen.code(&text, name));
            (0..label.len()).map(code).collect::<Result<Vec<_>>>()?
        }
    };
    // Numbered as they were met; now in their order.
    let mut classes = seen.known.into_iter().collect::<Vec<_>>();
    if classes.iter().all(|(class, _)| class.parse::<f64>().is_ok()) {
        let number = |class: &String| class.parse::<f64>().unwrap_or(f64::NAN);
        classes.sort_by(|(a, _), (b, _)| number(a).total_cmp(&number(b)));
    }
    let mut code = vec![0; classes.len()];
    for (at, (_, met)) in classes.iter().enumerate() {
        code[*met as usize] = at as u32;
    }
    let classes = classes.into_iter().map(|(class, _)| class).collect::<Vec<_>>();
    let codes = found.into_iter().map(|met| code.get(met as usize).copied().unwrap_or(0)).collect();
    let codes = Arc::new(codes);
    Ok((Target::Classes { codes, n_classes: classes.len() }, classes))
}

/// The error for a regression of what was read as text: booleans and times are too, for classifiers.
fn not_a_number(name: &str, label_type: Option<&DataType>) -> Error {
    let (what, is_time) = match label_type {
        Some(DataType::Boolean) => ("a boolean", false),
        Some(DataType::Date32 | DataType::Date64) => ("a date", true),
        Some(DataType::Timestamp(..)) => ("a timestamp", true),
        Some(DataType::Time32(_) | DataType::Time64(_)) => ("a time", true),
        _ => ("text", false),
    };
    let error = Error::new(
        ErrorKind::TypeMismatch,
        format!("the label \"{name}\" is {what}, a regression predicts numbers"),
    );
    match is_time {
        true => error.with_hint("Make a number of it in the query, such as extract(epoch FROM column), or use a classifier such as model_type = 'logistic_reg'."),
        false => error.with_hint("Cast it, or use a classifier such as model_type = 'logistic_reg'."),
    }
}

pub(super) fn pick_target(target: &Target, rows: &[u32]) -> Target {
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

pub(super) fn split(
    options: &TrainingOptions,
    rows: &Rows,
    labelled: &[u32],
    target: &Target,
) -> Parts {
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

/// Returns the folds of cross-validation, over the rows with a label.
pub(super) fn folds(
    options: &TrainingOptions,
    rows: &Rows,
    labelled: &[u32],
    target: &Target,
) -> Vec<Parts> {
    let hashes = labelled.iter().map(|row| rows.hashes[*row as usize]).collect::<Vec<_>>();
    let codes = match target {
        Target::Classes { codes, .. } => {
            Some(labelled.iter().map(|row| codes[*row as usize]).collect::<Vec<_>>())
        }
        _ => None,
    };
    let keys = rows.keys.as_ref();
    let keys = keys.map(|keys| labelled.iter().map(|row| keys[*row as usize]).collect::<Vec<_>>());
    let (how, n, seed) = (options.folding, options.n_folds, options.seed);
    let parts = fold_parts(how, n, seed, &hashes, codes.as_deref(), keys.as_deref());
    let real = |rows: Vec<u32>| rows.into_iter().map(|row| labelled[row as usize]).collect();
    let real = |one: Parts| Parts { train: real(one.train), evaluate: real(one.evaluate) };
    parts.into_iter().map(real).collect()
}
