//! The OPTIONS of `CREATE MODEL`: those of training and tuning here, those of each model in the kernels' list.

use std::collections::BTreeMap;

use maru_core::{Error, ErrorKind, Result, did_you_mean};
use maru_ml_kernels::evaluate::more_is_better;
use maru_ml_kernels::model::{self, ModelSpec, OptionKind, Parameters, Problem};
use maru_ml_kernels::split::Folding;
use maru_ml_kernels::transform::Literal;
use maru_ml_kernels::tune::{Algorithm, Range};
use maru_sql::ast::Expr;

use crate::lower::{arguments, literal};

/// Options that every model has: a name and a sentence.
pub const COMMON: &[(&str, &str)] = &[
    ("async", "Whether training goes on in the background, as a job (false)."),
    (
        "data_split_col",
        "With data_split_method = 'custom': the boolean column that is true for rows to evaluate on.",
    ),
    ("data_split_eval_fraction", "The share of rows to evaluate on (0.2)."),
    (
        "data_split_method",
        "auto_split (none below 500 rows, then the fraction, 10000 rows at most), random, stratified, custom or no_split.",
    ),
    ("fold_col", "With fold_method = 'group' or 'time': the column of the group, or of the time."),
    ("fold_method", "How num_folds deals rows out: random, stratified, group or time."),
    (
        "hparam_tuning_algorithm",
        "tpe (also vizier_default), random_search, grid_search or successive_halving.",
    ),
    ("hparam_tuning_objectives", "The metric that chooses the best trial, such as ['roc_auc']."),
    ("input_label_cols", "The column to predict, such as ['label']."),
    ("max_parallel_trials", "Trials that run at once (6)."),
    ("model_type", "The kind of model."),
    (
        "num_folds",
        "Folds of cross-validation, shown by ML.CROSS_VALIDATE; without it there is none.",
    ),
    (
        "num_trials",
        "Trials of tuning; needs a parameter with HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([…]).",
    ),
    ("seed", "Where random numbers start from (42); the same seed and rows give the same model."),
    ("set_default", "Whether the new version becomes the default (true)."),
    ("threshold", "From which probability on the second of two classes is predicted (0.5)."),
    ("time_series_data_col", "Of holt_winters: the column of the values."),
    ("time_series_id_col", "Of holt_winters: the column that tells series apart."),
    ("time_series_timestamp_col", "Of holt_winters: the column of the times."),
    ("weight_col", "A column with the weight of each row."),
];

/// How rows to evaluate on are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitMethod {
    Auto,
    Random,
    Stratified,
    Custom,
    None,
}

/// What OPTIONS say.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    pub spec: &'static ModelSpec,
    pub label: Option<String>,
    /// The columns of the time, and of the name of the series.
    pub time: Option<String>,
    pub series: Option<String>,
    pub weight: Option<String>,
    pub split_column: Option<String>,
    pub split: SplitMethod,
    pub share: f64,
    /// Folds of cross-validation; 0 for none.
    pub n_folds: usize,
    pub folding: Folding,
    pub fold_column: Option<String>,
    pub seed: u64,
    pub threshold: f64,
    pub parameters: Parameters,
    /// What is to be found by tuning.
    pub space: Vec<(String, Range)>,
    pub algorithm: Algorithm,
    pub n_trials: usize,
    pub parallel: usize,
    pub objective: String,
    pub in_background: bool,
    pub set_default: bool,
    /// As they were written, for lists.
    pub shown: BTreeMap<String, String>,
}

fn invalid(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("invalid value of option {name}"))
        .with_detail(format!("It takes {what}."))
}

fn text(name: &str, value: &Expr) -> Result<String> {
    match literal(value)? {
        Literal::Text(text) => Ok(text),
        _ => Err(invalid(name, "text")),
    }
}

fn column(name: &str, value: &Expr) -> Result<String> {
    match literal(value)? {
        Literal::Text(text) => Ok(text),
        Literal::List(list) => match list.as_slice() {
            [Literal::Text(text)] => Ok(text.clone()),
            _ => Err(invalid(name, "one column, such as ['label']")),
        },
        _ => Err(invalid(name, "one column, such as ['label']")),
    }
}

fn number(name: &str, value: &Expr, least: f64, most: f64, whole: bool) -> Result<f64> {
    match literal(value)? {
        Literal::Number(v) if (least..=most).contains(&v) && (!whole || v.fract() == 0.0) => Ok(v),
        _ => {
            let kind = if whole { "whole number" } else { "number" };
            Err(invalid(name, &format!("a {kind} from {least} to {most}")))
        }
    }
}

fn flag(name: &str, value: &Expr) -> Result<bool> {
    match literal(value)? {
        Literal::Boolean(flag) => Ok(flag),
        _ => Err(invalid(name, "true or false")),
    }
}

/// The metrics that a kind of problem is tuned by, the usual one first.
fn metrics_of(problem: Problem) -> &'static [&'static str] {
    match problem {
        Problem::Classification => {
            &["roc_auc", "accuracy", "precision", "recall", "f1_score", "log_loss", "pr_auc", "mcc"]
        }
        Problem::Regression => &[
            "r2_score",
            "mean_squared_error",
            "mean_absolute_error",
            "median_absolute_error",
            "mean_squared_log_error",
            "explained_variance",
        ],
        Problem::Clustering => &["mean_squared_distance", "mean_log_likelihood", "noise_share"],
        _ => &[],
    }
}

/// Models to which one row counts as much as another.
const UNWEIGHTED: &[&str] = &[
    "kmeans",
    "knn_classifier",
    "knn_regressor",
    "dbscan",
    "gaussian_mixture",
    "pca",
    "isolation_forest",
    "holt_winters",
    "transform_only",
];

impl TrainingOptions {
    /// # Errors
    /// 22023 for an option that the model does not have, with the list, or a value that it cannot take.
    pub fn new(options: &[(String, Expr)]) -> Result<Self> {
        let model_type = options.iter().find(|(name, _)| name == "model_type");
        let Some((_, model_type)) = model_type else {
            let names = model::MODELS.iter().map(|spec| spec.name).collect::<Vec<_>>();
            return Err(Error::new(ErrorKind::InvalidParameter, "option model_type is missing")
                .with_hint(format!(
                    "OPTIONS (model_type = 'logistic_reg', …); there are {}.",
                    names.join(", ")
                )));
        };
        let spec = model::spec(&text("model_type", model_type)?.to_lowercase())?;
        if spec.problem == Problem::Imported {
            return Err(Error::internal("a model is imported by training it"));
        }
        let mut found = Self {
            spec,
            label: None,
            time: None,
            series: None,
            weight: None,
            split_column: None,
            split: SplitMethod::Auto,
            share: 0.2,
            n_folds: 0,
            folding: Folding::Random,
            fold_column: None,
            seed: 42,
            threshold: 0.5,
            parameters: Parameters::default(),
            space: Vec::new(),
            algorithm: Algorithm::Tpe,
            n_trials: 0,
            parallel: 6,
            objective: String::new(),
            in_background: false,
            set_default: true,
            shown: BTreeMap::new(),
        };
        for (name, value) in options {
            found.shown.insert(name.clone(), value.to_string());
            found.option(name, value)?;
        }
        found.check()?;
        Ok(found)
    }

    fn option(&mut self, name: &str, value: &Expr) -> Result<()> {
        match name {
            "model_type" => {}
            "input_label_cols" | "label" => self.label = Some(column(name, value)?),
            "time_series_timestamp_col" => self.time = Some(column(name, value)?),
            "time_series_data_col" => self.label = Some(column(name, value)?),
            "time_series_id_col" => self.series = Some(column(name, value)?),
            "weight_col" => self.weight = Some(column(name, value)?),
            "data_split_col" => self.split_column = Some(column(name, value)?),
            "data_split_method" => {
                self.split = match text(name, value)?.to_lowercase().as_str() {
                    "auto_split" => SplitMethod::Auto,
                    "random" => SplitMethod::Random,
                    "stratified" => SplitMethod::Stratified,
                    "custom" => SplitMethod::Custom,
                    "no_split" => SplitMethod::None,
                    _ => {
                        return Err(invalid(
                            name,
                            "auto_split, random, stratified, custom or no_split",
                        ));
                    }
                }
            }
            "data_split_eval_fraction" => self.share = number(name, value, 0.0, 0.95, false)?,
            "num_folds" => self.n_folds = number(name, value, 2.0, 100.0, true)? as usize,
            "fold_col" => self.fold_column = Some(column(name, value)?),
            "fold_method" => {
                self.folding = match text(name, value)?.to_lowercase().as_str() {
                    "random" => Folding::Random,
                    "stratified" => Folding::Stratified,
                    "group" => Folding::Group,
                    "time" => Folding::Time,
                    _ => return Err(invalid(name, "random, stratified, group or time")),
                }
            }
            "seed" => self.seed = number(name, value, 0.0, 9e15, true)? as u64,
            "threshold" => self.threshold = number(name, value, 0.0, 1.0, false)?,
            "num_trials" => self.n_trials = number(name, value, 1.0, 1000.0, true)? as usize,
            "max_parallel_trials" => self.parallel = number(name, value, 1.0, 64.0, true)? as usize,
            "hparam_tuning_algorithm" => {
                self.algorithm = match text(name, value)?.to_lowercase().as_str() {
                    "tpe" | "vizier_default" => Algorithm::Tpe,
                    "random_search" | "random" => Algorithm::Random,
                    "grid_search" | "grid" => Algorithm::Grid,
                    "successive_halving" | "halving" => Algorithm::Halving,
                    _ => {
                        return Err(invalid(
                            name,
                            "tpe, random_search, grid_search or successive_halving",
                        ));
                    }
                }
            }
            "hparam_tuning_objectives" => self.objective = column(name, value)?.to_lowercase(),
            "async" => self.in_background = flag(name, value)?,
            "set_default" => self.set_default = flag(name, value)?,
            _ => return self.of_model(name, value),
        }
        Ok(())
    }

    fn of_model(&mut self, name: &str, value: &Expr) -> Result<()> {
        let Some(spec) = self.spec.option(name) else {
            let known = self.spec.options.iter().flat_map(|group| group.iter().map(|one| one.name));
            let mut known = known.chain(COMMON.iter().map(|(name, _)| *name)).collect::<Vec<_>>();
            known.sort_unstable();
            known.dedup();
            let error = Error::new(
                ErrorKind::InvalidParameter,
                format!("model_type '{}' has no option \"{name}\"", self.spec.name),
            )
            .with_detail(format!("It has {}.", known.join(", ")));
            return Err(match did_you_mean(name, known.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error,
            });
        };
        if let Expr::Function(function) = value {
            let call = function.name.to_string().to_lowercase();
            let given = arguments(function).into_iter().map(literal).collect::<Result<Vec<_>>>();
            match call.as_str() {
                "hparam_range" => {
                    let given = given?;
                    let [Literal::Number(low), Literal::Number(high)] = given.as_slice() else {
                        return Err(invalid(name, "HPARAM_RANGE(low, high)"));
                    };
                    for end in &given {
                        spec.check(end)?;
                    }
                    let whole = match spec.kind {
                        OptionKind::Count { .. } => true,
                        OptionKind::Number { .. } => false,
                        _ => return Err(invalid(name, "HPARAM_CANDIDATES([…]): it is no number")),
                    };
                    if low > high {
                        return Err(invalid(name, "HPARAM_RANGE(low, high), the lower one first"));
                    }
                    let range = Range::Between { low: *low, high: *high, whole };
                    self.space.push((name.to_owned(), range));
                    return Ok(());
                }
                "hparam_candidates" => {
                    let Ok([Literal::List(candidates)]) = given.as_deref() else {
                        return Err(invalid(name, "HPARAM_CANDIDATES([value, …])"));
                    };
                    if candidates.is_empty() {
                        return Err(invalid(
                            name,
                            "HPARAM_CANDIDATES([value, …]) with at least one value",
                        ));
                    }
                    for candidate in candidates {
                        spec.check(candidate)?;
                    }
                    self.space.push((name.to_owned(), Range::Among(candidates.clone())));
                    return Ok(());
                }
                _ => {}
            }
        }
        let value = literal(value)?;
        spec.check(&value)?;
        self.parameters.0.insert(name.to_owned(), value);
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        let problem = self.spec.problem;
        match (&self.label, problem.has_label()) {
            (None, true) => {
                // BigQuery takes a column of this name where none is named.
                self.label = Some("label".to_owned());
            }
            (Some(_), false) if problem == Problem::Forecast && self.time.is_some() => {}
            (_, _) if problem == Problem::Forecast => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "a time series needs the columns of its times and of its values",
                )
                .with_hint("OPTIONS (…, time_series_timestamp_col = 'day', time_series_data_col = 'sales')."));
            }
            (Some(label), false) => {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("model_type '{}' has no label", self.spec.name),
                )
                .with_hint(format!(
                    "Leave input_label_cols out; \"{label}\" would be learnt from as a feature."
                )));
            }
            _ => {}
        }
        if problem != Problem::Forecast && (self.time.is_some() || self.series.is_some()) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("model_type '{}' takes no time_series columns", self.spec.name),
            )
            .with_hint("model_type = 'holt_winters' does."));
        }
        if self.weight.is_some() && UNWEIGHTED.contains(&self.spec.name) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("model_type '{}' gives rows no weight", self.spec.name),
            )
            .with_hint("Leave weight_col out."));
        }
        if self.split == SplitMethod::Custom && self.split_column.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "data_split_method 'custom' needs data_split_col",
            ));
        }
        if self.split_column.is_some() && self.split != SplitMethod::Custom {
            self.split = SplitMethod::Custom;
        }
        let goes_by = matches!(self.folding, Folding::Group | Folding::Time);
        if goes_by != self.fold_column.is_some() || (goes_by && self.n_folds == 0) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "fold_method 'group' and 'time' go with fold_col and num_folds, and with nothing else",
            )
            .with_hint("OPTIONS (…, num_folds = 5, fold_method = 'time', fold_col = 'day')."));
        }
        if self.n_folds > 0 && metrics_of(problem).is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("model_type '{}' has no metric to measure folds by", self.spec.name),
            ));
        }
        if !self.space.is_empty() && self.n_trials == 0 {
            self.n_trials = 10 * self.space.len();
        }
        if self.space.is_empty() && self.n_trials > 1 {
            return Err(Error::new(ErrorKind::InvalidParameter, "there is nothing to tune in num_trials trials")
                .with_hint("Give a parameter a range: l2_reg = HPARAM_RANGE(0.0, 10.0), or HPARAM_CANDIDATES([…])."));
        }
        let metrics = metrics_of(problem);
        if self.objective.is_empty() {
            let usual = match self.spec.name {
                "gaussian_mixture" => Some(&"mean_log_likelihood"),
                _ => metrics.first(),
            };
            self.objective = usual.map_or_else(String::new, |metric| (*metric).to_owned());
        } else if !metrics.contains(&self.objective.as_str()) {
            return Err(invalid(
                "hparam_tuning_objectives",
                &format!("one of {}", metrics.join(", ")),
            ));
        }
        if !self.space.is_empty() && metrics.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("model_type '{}' has no metric to tune by", self.spec.name),
            ));
        }
        Ok(())
    }

    /// Returns how good a value of the objective is: more is better.
    pub fn goodness(&self, value: f64) -> f64 {
        if more_is_better(&self.objective) { value } else { -value }
    }

    /// Returns the columns to learn from, of those of the query.
    pub fn features(&self, columns: &[String]) -> Vec<String> {
        match self.spec.problem {
            Problem::Forecast => {
                [&self.time, &self.series].into_iter().flatten().cloned().collect()
            }
            _ => columns.to_vec(),
        }
    }

    /// Returns the columns that are no features.
    pub fn apart(&self) -> Vec<String> {
        let known = [&self.label, &self.weight, &self.split_column, &self.fold_column];
        known.into_iter().flatten().cloned().collect()
    }
}
