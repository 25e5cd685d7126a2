//! What is kept of a version beside the model itself, and a version ready for use.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use maru_core::{Error, ErrorKind, Result, ResultExt};
use maru_ml_kernels::artifact::Artifact;
use maru_ml_kernels::model::{Iteration, Model};
use maru_ml_kernels::profile::Profile;
use maru_ml_kernels::score::Fused;
use maru_ml_onnx::{Library, Runtime};
use serde::{Deserialize, Serialize};

/// The type that predicted classes have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    #[default]
    Text,
    Boolean,
    Integer,
    Float,
    Date,
    /// Without a time zone.
    Timestamp,
    Instant,
    Time,
}

impl LabelType {
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Instant,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            other if other.is_integer() => Self::Integer,
            other if other.is_numeric() => Self::Float,
            _ => Self::Text,
        }
    }

    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
        }
    }

    /// Returns whether classes are read as numbers; all others are read as text.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Float)
    }
}

/// What a column of training held: dates are learnt as days, timestamps as seconds, so that one cannot stand for the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// Of a column of NULL alone.
    #[default]
    Unknown,
    Number,
    Text,
    Date,
    /// With or without a time zone.
    Timestamp,
    Time,
}

impl InputType {
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Unknown,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            _ => Self::Number,
        }
    }
}

/// A metric; `None` where it has no value, such as the AUC of one class.
pub type Metric = (String, Option<f64>);

/// One trial of tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub trial_id: u64,
    pub parameters: BTreeMap<String, String>,
    pub metrics: Vec<Metric>,
    pub state: String,
    pub error: Option<String>,
    pub duration_ms: u64,
    pub is_best: bool,
    /// That it last learnt from.
    #[serde(default)]
    pub n_rows: u64,
    /// Memory that was set apart for it, beside the data that all trials share.
    #[serde(default)]
    pub n_bytes: u64,
}

/// What a model that was learnt without one fold says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    pub fold: u64,
    pub n_train: u64,
    pub n_evaluate: u64,
    pub metrics: Vec<Metric>,
}

/// Rows whose scores lie together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreGroup {
    pub low: f64,
    pub high: f64,
    pub n_rows: u64,
    pub n_positive: u64,
    pub mean_score: f64,
}

/// What the rows of training look like in one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureFacts {
    pub name: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
    pub stddev: Option<f64>,
    pub n_null: u64,
    pub n_categories: Option<u64>,
}

/// A threshold with the counts at it: threshold, true positives, false positives, true negatives, false negatives.
pub type CurvePoint = (Option<f64>, u64, u64, u64, u64);

/// All that a version tells of itself. The form is part of what is kept: fields are added with a default, never changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub model_type: String,
    pub label_type: LabelType,
    /// Names and SQL of the columns that prediction needs.
    pub leaves: Vec<(String, String)>,
    pub options: BTreeMap<String, String>,
    /// On the rows to evaluate on.
    pub metrics: Vec<Metric>,
    pub curve: Vec<CurvePoint>,
    /// Label, predicted class, rows.
    pub confusion: Vec<(String, String, u64)>,
    pub trials: Vec<Trial>,
    pub iterations: Vec<Iteration>,
    pub converged: bool,
    pub features: Vec<FeatureFacts>,
    /// Of the query, to train on after TRAIN WHERE, to evaluate on.
    pub n_rows: u64,
    pub n_train: u64,
    pub n_evaluate: u64,
    /// Rows that TRAIN WHERE left out, and that had no label.
    pub n_outliers: u64,
    pub n_unlabelled: u64,
    pub seed: u64,
    /// The whole statement's query.
    pub query: String,
    pub created_us: i64,
    pub created_by: String,
    pub duration_ms: u64,
    pub remarks: Vec<String>,
    /// Of two classes: counts at thresholds from 0 to 1, tenths of the rows by score, tenths of the probabilities.
    #[serde(default)]
    pub thresholds: Vec<CurvePoint>,
    #[serde(default)]
    pub lift: Vec<ScoreGroup>,
    #[serde(default)]
    pub calibration: Vec<ScoreGroup>,
    #[serde(default)]
    pub folds: Vec<Fold>,
    /// The mean of what each feature adds to scores, the most first.
    #[serde(default)]
    pub attributions: Vec<(String, f64)>,
    /// What the columns of the query looked like in the rows of training.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Of models that tell anomalies: how far out the rows of training lie, by thousandths.
    #[serde(default)]
    pub anomaly_scores: Vec<f64>,
    /// The statement that trained it.
    #[serde(default)]
    pub statement: String,
    /// The tables that its query read.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Of `leaves`; empty for models of others.
    #[serde(default)]
    pub input_types: Vec<InputType>,
}

impl Manifest {
    /// # Errors
    /// 22003 for numbers that could not be read again: JSON has neither NaN nor infinity, and null would stand for them.
    pub fn encode(&self) -> Result<String> {
        let text = serde_json::to_string(self)
            .or_error(ErrorKind::Internal, || "could not write a model's manifest".to_owned())?;
        if Self::decode(&text).is_err() {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "training gives numbers that are not finite",
            )
            .with_hint("Look for infinite or huge values (such as 1e300) in the columns; leave these rows out, or scale the columns."));
        }
        Ok(text)
    }

    /// # Errors
    /// XX001 for text that is no manifest.
    pub fn decode(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .or_error(ErrorKind::DataCorrupted, || "a model's manifest is damaged".to_owned())
    }
}

/// A version of a model, ready to predict.
#[derive(Debug)]
pub struct Version {
    pub schema: String,
    pub name: String,
    pub version: i64,
    pub manifest: Manifest,
    pub artifact: Artifact,
    pub fused: Option<Fused>,
    /// What runs a model of others.
    pub runtime: Option<Runtime>,
}

impl Version {
    pub fn new(
        schema: &str,
        name: &str,
        version: i64,
        manifest: Manifest,
        mut artifact: Artifact,
        library: &Arc<Library>,
    ) -> Arc<Self> {
        let fused = Fused::new(&artifact);
        let runtime = match &mut artifact.model {
            Model::Imported(imported) => {
                // The file is held once, by the one who runs it.
                let file = std::mem::take(&mut imported.file);
                Some(Runtime::new(Arc::clone(library), file.into(), &imported.provider))
            }
            _ => None,
        };
        Arc::new(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            version,
            manifest,
            artifact,
            fused,
            runtime,
        })
    }

    /// Returns what computes predictions, as EXPLAIN names it.
    pub fn kernel(&self) -> &'static str {
        match (&self.fused, &self.artifact.model) {
            (Some(_), _) => "fused-linear",
            (None, Model::Linear(_) | Model::Logistic(_) | Model::Svm(_)) => "linear",
            (None, Model::Dbscan(_)) => "dbscan",
            (None, Model::Mixture(_)) => "gaussian-mixture",
            (None, Model::Forest(_)) => "forest",
            (None, Model::Boosted(_)) => "boosted-trees",
            (None, Model::KMeans(_)) => "kmeans",
            (None, Model::Pca { .. }) => "pca",
            (None, Model::NaiveBayes(_)) => "naive-bayes",
            (None, Model::Neighbours(_)) => "neighbours",
            (None, Model::IsolationForest(_)) => "isolation-forest",
            (None, Model::Forecasts(_)) => "forecast",
            (None, Model::Imported(imported)) => match imported.provider.as_str() {
                "cuda" => "ort-cuda",
                "tensorrt" => "ort-tensorrt",
                "openvino" => "ort-openvino",
                "coreml" => "ort-coreml",
                _ => "ort-cpu",
            },
            (None, Model::Transform) => "transform",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let of = |value: f64| Manifest { anomaly_scores: vec![0.5, value], ..Manifest::default() };
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(of(value).encode().unwrap_err().kind(), ErrorKind::OutOfRange);
        }
        let most = of(1e300);
        assert_eq!(Manifest::decode(&most.encode().unwrap()).unwrap(), most);
    }
}
