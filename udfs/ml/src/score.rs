//! The function behind `ML.PREDICT`: columns of a query in, what a version says of them out.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, nullif, take};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, Result};
use maru_ml_kernels::anomaly::is_outlier;
use maru_ml_kernels::evaluate::predicted_class;
use maru_ml_kernels::model::{Model, NOISE, Prediction, Problem};
use maru_ml_kernels::{Column, Frame, Task};
use parking_lot::Mutex;

use crate::columns::{check_types, column};
use crate::explain;
use crate::manifest::Version;
use crate::policy::{Policy, merge};

/// What is given of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gives {
    Predictions,
    /// What the transforms make.
    Transformed,
    /// Predictions with what so many features add to them, the most first.
    Explanations {
        top: usize,
    },
    /// Whether rows lie farther out than all but this share of the rows of training.
    Anomalies {
        share: f64,
    },
}

/// Predicts with one version. Its name tells the version and the kernel, so that EXPLAIN does.
#[derive(Debug, Clone)]
pub struct Score {
    version: Arc<Version>,
    threshold: f64,
    gives: Gives,
    policy: Policy,
    name: String,
    signature: Signature,
    fields: Fields,
    /// The classes, once for each row of a batch: the same for every batch of as many rows.
    names: Arc<Mutex<Option<(usize, ArrayRef)>>>,
}

/// Puts the values of columns beside one another, row by row.
fn row_by_row(columns: &[Vec<f64>], n_rows: usize) -> Vec<f64> {
    if let [first, second] = columns {
        return first.iter().zip(second).flat_map(|(a, b)| [*a, *b]).collect();
    }
    let mut values = vec![0.0; n_rows * columns.len()];
    for (k, column) in columns.iter().enumerate() {
        let places = values[k..].iter_mut().step_by(columns.len());
        places.zip(column).for_each(|(place, value)| *place = *value);
    }
    values
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.version, &other.version)
            && self.threshold.to_bits() == other.threshold.to_bits()
            && self.gives == other.gives
            && self.policy == other.policy
    }
}

impl Eq for Score {}

impl Hash for Score {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.threshold.to_bits().hash(state);
        self.policy.hash(state);
    }
}

impl Score {
    /// # Errors
    /// 42809 for a version that cannot give this, 0A000 for a policy that it cannot keep.
    pub fn new(
        version: Arc<Version>,
        threshold: Option<f64>,
        gives: Gives,
        policy: Policy,
    ) -> Result<Self> {
        policy.check(&version)?;
        let of = format!("{}.{} v{}", version.schema, version.name, version.version);
        let (name, fields) = match gives {
            Gives::Transformed => (format!("ml_transform[{of}]"), transformed_fields(&version)),
            Gives::Predictions => {
                let name = format!("ml_predict[{of}, {}]", version.kernel());
                (name, predicted_fields(&version))
            }
            Gives::Explanations { top } => {
                (format!("ml_explain_predict[{of}, top {top}]"), explain::fields(&version)?)
            }
            Gives::Anomalies { share } => {
                (format!("ml_detect_anomalies[{of}, {share}]"), anomaly_fields(&version)?)
            }
        };
        if let Some(runtime) = &version.runtime {
            // What is missing is told before the first row is read.
            runtime.open()?;
        }
        let threshold = threshold.unwrap_or(version.artifact.threshold);
        Ok(Self {
            version,
            threshold,
            gives,
            policy,
            name,
            signature: Signature::variadic_any(Volatility::Immutable),
            fields,
            names: Arc::default(),
        })
    }

    /// Returns the classes `n_rows` times over.
    fn class_names(&self, classes: &ArrayRef, n_rows: usize) -> Result<ArrayRef> {
        let mut known = self.names.lock();
        if let Some((_, names)) = known.as_ref().filter(|(rows, _)| *rows == n_rows) {
            return Ok(Arc::clone(names));
        }
        let codes = (0..n_rows).flat_map(|_| 0..classes.len() as u64);
        let codes = arrow::array::UInt64Array::from_iter_values(codes);
        let names = take(classes, &codes, None).map_err(|error| {
            Error::internal("predictions do not fit together").with_cause(error)
        })?;
        *known = Some((n_rows, Arc::clone(&names)));
        Ok(names)
    }

    /// Returns the name of the version, as lineage shows it: `maru.schema.model@2`.
    pub fn model(&self) -> String {
        let version = &self.version;
        format!("maru.{}.{}@{}", version.schema, version.name, version.version)
    }

    /// Returns the columns that it gives.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }
}

pub(crate) fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)))
}

fn probability_fields(label: &DataType) -> Fields {
    vec![Field::new("label", label.clone(), true), Field::new("prob", DataType::Float64, true)]
        .into()
}

fn distance_fields() -> Fields {
    vec![
        Field::new("centroid_id", DataType::Int64, true),
        Field::new("distance", DataType::Float64, true),
    ]
    .into()
}

fn mixture_fields() -> Fields {
    vec![
        Field::new("centroid_id", DataType::Int64, true),
        Field::new("prob", DataType::Float64, true),
    ]
    .into()
}

fn anomaly_fields(version: &Version) -> Result<Fields> {
    if version.manifest.anomaly_scores.is_empty() {
        let error = maru_core::Error::new(
            maru_core::ErrorKind::WrongObjectType,
            format!("model \"{}\" tells no anomalies", version.name),
        )
        .with_detail("Models of isolation_forest, kmeans, gaussian_mixture and pca do.");
        return Err(match maru_ml_kernels::anomaly::scores_rows(&version.artifact.model) {
            true => error.with_hint("An older version of Maru has trained it: train it again."),
            false => error,
        });
    }
    Ok(vec![
        Field::new("is_anomaly", DataType::Boolean, true),
        Field::new("anomaly_score", DataType::Float64, true),
    ]
    .into())
}

pub(crate) fn predicted_fields(version: &Version) -> Fields {
    let label = version.artifact.label.as_deref().unwrap_or("label");
    let class = version.manifest.label_type.data_type();
    match version.artifact.problem {
        Problem::Regression => {
            vec![Field::new(format!("predicted_{label}"), DataType::Float64, true)]
        }
        Problem::Classification => vec![
            Field::new(format!("predicted_{label}"), class.clone(), true),
            Field::new(
                format!("predicted_{label}_probs"),
                list_of(probability_fields(&class)),
                true,
            ),
        ],
        Problem::Clustering => match &version.artifact.model {
            Model::Mixture(_) => vec![
                Field::new("centroid_id", DataType::Int64, true),
                Field::new("centroid_probs", list_of(mixture_fields()), true),
                Field::new("log_density", DataType::Float64, true),
            ],
            _ => vec![
                Field::new("centroid_id", DataType::Int64, true),
                Field::new("nearest_centroids_distance", list_of(distance_fields()), true),
            ],
        },
        Problem::Reduction => {
            let n = match &version.artifact.model {
                Model::Pca { pca } => pca.components.len(),
                _ => 0,
            };
            (1..=n)
                .map(|k| Field::new(format!("principal_component_{k}"), DataType::Float64, true))
                .collect()
        }
        Problem::Anomaly => vec![
            Field::new("is_anomaly", DataType::Boolean, true),
            Field::new("anomaly_score", DataType::Float64, true),
        ],
        Problem::Imported => match &version.artifact.model {
            Model::Imported(imported) => return crate::imported::fields(imported),
            _ => Vec::new(),
        },
        Problem::Forecast | Problem::Transform => Vec::new(),
    }
    .into()
}

fn transformed_fields(version: &Version) -> Fields {
    let steps = version.artifact.pipeline.features.steps.iter();
    let mut names = std::collections::HashSet::new();
    steps
        .map(|(given, feature)| {
            let text = matches!(feature, maru_ml_kernels::pipeline::Feature::Text(_));
            // Category "b_c" of column "a" is called as category "c" of column "a_b" is.
            let mut name = given.clone();
            for number in 2.. {
                if names.insert(name.clone()) {
                    break;
                }
                name = format!("{given}_{number}");
            }
            Field::new(name, if text { DataType::Utf8 } else { DataType::Float64 }, true)
        })
        .collect::<Vec<_>>()
        .into()
}

/// Reads the columns that a version's chains begin with.
pub fn frame(version: &Version, arrays: &[ArrayRef], n_rows: usize) -> Result<Frame> {
    let inputs = &version.artifact.pipeline.inputs;
    let mut columns = Vec::with_capacity(inputs.len());
    for ((name, kind), array) in inputs.iter().zip(arrays) {
        columns.push((name.clone(), column(name, array, *kind)?));
    }
    Ok(Frame { n_rows, columns })
}

/// Says what a version makes of rows: by the fused kernel where there is one. With it come the rows that no model can tell anything
/// of, as features of them are infinite.
pub fn predict(
    version: &Version,
    frame: &Frame,
    task: &Task,
) -> Result<(Prediction, Option<Vec<bool>>)> {
    if let Some(fused) = &version.fused
        && let Some(prediction) = fused.predict(frame, task)?
    {
        return Ok((prediction, None));
    }
    let x = version.artifact.pipeline.matrix(frame, task)?;
    Ok((version.artifact.model.predict(&x, task)?, x.rows_not_finite()))
}

/// Puts NULL into rows.
fn without(columns: Vec<ArrayRef>, rows: Option<Vec<bool>>) -> Result<Vec<ArrayRef>> {
    let Some(rows) = rows else { return Ok(columns) };
    let rows = BooleanArray::from(rows);
    let emptied = columns.iter().map(|column| nullif(column, &rows));
    emptied
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::internal("predictions do not fit together").with_cause(error))
}

/// Returns the classes of a version as an array of the label's type.
pub fn classes(version: &Version) -> Result<ArrayRef> {
    let texts = StringArray::from_iter_values(&version.artifact.classes);
    cast(&texts, &version.manifest.label_type.data_type()).map_err(|error| {
        Error::internal("classes have another type than the label").with_cause(error)
    })
}

impl Score {
    fn evaluate(&self, arrays: &[ArrayRef], n_rows: usize) -> Result<StructArray> {
        let task = Task::single();
        let version = &self.version;
        let failed = |error: arrow::error::ArrowError| {
            Error::internal("predictions do not fit together").with_cause(error)
        };
        if let Model::Imported(imported) = &version.artifact.model {
            let left_out = self.policy.left_out_of_arrays(version, arrays)?;
            let columns = crate::imported::predict(version, imported, arrays, n_rows)?;
            let columns = without(columns, left_out)?;
            return StructArray::try_new_with_length(self.fields.clone(), columns, None, n_rows)
                .map_err(failed);
        }
        let frame = frame(version, arrays, n_rows)?;
        let mut left_out = self.policy.left_out(version, &frame, &task)?;
        let columns: Vec<ArrayRef> = match self.gives {
            Gives::Transformed => {
                let out = version.artifact.pipeline.transform(&frame, &task)?;
                out.columns.into_iter().map(|(_, column)| array(&column)).collect()
            }
            Gives::Predictions => {
                let (prediction, infinite) = predict(version, &frame, &task)?;
                // An isolation forest takes infinity for what lies beyond all splits.
                if !matches!(prediction, Prediction::Scores(_)) {
                    merge(&mut left_out, infinite.unwrap_or_default());
                }
                self.predicted(prediction, n_rows)?
            }
            Gives::Explanations { top } => {
                let x = version.artifact.pipeline.matrix(&frame, &task)?;
                merge(&mut left_out, x.rows_not_finite().unwrap_or_default());
                let prediction = version.artifact.model.predict(&x, &task)?;
                let explained =
                    explain::columns(version, &x, &prediction, self.threshold, top, &task)?;
                let mut columns = self.predicted(prediction, n_rows)?;
                columns.extend(explained);
                columns
            }
            Gives::Anomalies { share } => {
                let x = version.artifact.pipeline.matrix(&frame, &task)?;
                // Nothing lies farther out than infinity.
                let infinite = x.rows_not_finite().unwrap_or_default();
                let beyond = |row: usize| infinite.get(row).copied().unwrap_or(false);
                let scores = maru_ml_kernels::anomaly::scores(&version.artifact.model, &x, &task)?;
                let known = &version.manifest.anomaly_scores;
                let at = (1.0 - share) * (known.len() - 1) as f64;
                let (low, high) = (known[at.floor() as usize], known[at.ceil() as usize]);
                let limit = low + (high - low) * at.fract();
                let far = scores.iter().enumerate().map(|(row, score)| match beyond(row) {
                    true => Some(true),
                    false => (!score.is_nan()).then_some(*score > limit),
                });
                vec![Arc::new(BooleanArray::from_iter(far)), array(&Column::number(scores))]
            }
        };
        let columns = without(columns, left_out)?;
        StructArray::try_new_with_length(self.fields.clone(), columns, None, n_rows).map_err(failed)
    }

    /// Makes columns of what a version says.
    fn predicted(&self, prediction: Prediction, n_rows: usize) -> Result<Vec<ArrayRef>> {
        let version = &self.version;
        let failed = |error: arrow::error::ArrowError| {
            Error::internal("predictions do not fit together").with_cause(error)
        };
        let columns: Vec<ArrayRef> = match prediction {
            Prediction::Numbers(values) => vec![Arc::new(Float64Array::from(values))],
            Prediction::Probabilities(p) => {
                let predicted =
                    (0..n_rows).map(|row| u64::from(predicted_class(&p, row, self.threshold)));
                let predicted = arrow::array::UInt64Array::from_iter_values(predicted);
                let classes = classes(version)?;
                let label = take(&classes, &predicted, None).map_err(failed)?;
                let k = p.len();
                let names = self.class_names(&classes, n_rows)?;
                let values = Float64Array::from(row_by_row(&p, n_rows));
                let fields = probability_fields(classes.data_type());
                vec![label, list(fields, vec![names, Arc::new(values)], n_rows, k)?]
            }
            Prediction::Clusters { nearest, distances, .. } => {
                let k = distances.len();
                let id = |c: &u32| (*c != NOISE).then_some(i64::from(*c) + 1);
                let ids = Int64Array::from_iter(nearest.iter().map(id));
                let names =
                    Int64Array::from_iter_values((0..n_rows * k).map(|at| (at % k) as i64 + 1));
                let known = |off: f64| off.is_finite().then_some(off);
                let values = Float64Array::from_iter(
                    (0..n_rows * k).map(|at| known(distances[at % k][at / k])),
                );
                vec![
                    Arc::new(ids),
                    list(distance_fields(), vec![Arc::new(names), Arc::new(values)], n_rows, k)?,
                ]
            }
            Prediction::Mixture { probabilities: p, log_density } => {
                let k = p.len();
                let best = |row: usize| {
                    let most = (0..k).max_by(|a, b| p[*a][row].total_cmp(&p[*b][row]));
                    most.map_or(0, |cluster| cluster as i64) + 1
                };
                let ids = Int64Array::from_iter_values((0..n_rows).map(best));
                let names =
                    Int64Array::from_iter_values((0..n_rows * k).map(|at| (at % k) as i64 + 1));
                let values = Float64Array::from(row_by_row(&p, n_rows));
                let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(values)];
                vec![
                    Arc::new(ids),
                    list(mixture_fields(), columns, n_rows, k)?,
                    Arc::new(Float64Array::from(log_density)),
                ]
            }
            Prediction::Components(columns) => {
                columns.into_iter().map(|c| Arc::new(Float64Array::from(c)) as ArrayRef).collect()
            }
            Prediction::Scores(scores) => {
                let far = scores
                    .iter()
                    .map(|score| (!score.is_nan()).then(|| is_outlier(*score, self.threshold)));
                vec![Arc::new(BooleanArray::from_iter(far)), array(&Column::number(scores))]
            }
        };
        Ok(columns)
    }
}

/// Returns a column as an array; NaN is NULL.
pub fn array(column: &Column) -> ArrayRef {
    match column {
        Column::Number(values) => {
            Arc::new(Float64Array::from_iter(values.iter().map(|v| (!v.is_nan()).then_some(*v))))
        }
        Column::Text(values) => Arc::new(values.clone()),
    }
}

pub(crate) fn list(
    fields: Fields,
    columns: Vec<ArrayRef>,
    n_rows: usize,
    each: usize,
) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| {
        Error::internal("a list does not fit together").with_cause(error)
    };
    let values = StructArray::try_new(fields.clone(), columns, None).map_err(failed)?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(each, n_rows));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(values), None).map_err(failed)?))
}

impl ScalarUDFImpl for Score {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let artifact = &self.version.artifact;
        match &artifact.model {
            Model::Imported(imported) => {
                crate::imported::check_types(imported, &artifact.pipeline.inputs, types)?;
            }
            _ => check_types(&artifact.pipeline.inputs, &self.version.manifest.input_types, types)?,
        }
        Ok(DataType::Struct(self.fields.clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let n_rows = args.number_rows;
        let arrays = args.args.into_iter().map(|value| value.into_array(n_rows));
        let arrays = arrays.collect::<DfResult<Vec<_>>>()?;
        Ok(ColumnarValue::Array(Arc::new(self.evaluate(&arrays, n_rows)?)))
    }
}
