//! The aggregate behind `ML.EVALUATE`, `ML.CONFUSION_MATRIX` and `ML.ROC_CURVE` of a query: predictions beside labels.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::evaluate::{Ranked, calibration, confusion, measure, tenths, thresholds};
use maru_ml_kernels::model::{Model, NOISE, Prediction, Problem, Target};
use maru_ml_kernels::pipeline::Kind;
use maru_ml_kernels::{Column, Task};

use crate::columns::{check_types, column};
use crate::info;
use crate::manifest::Version;
use crate::score::{frame, predict};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Evaluate,
    Confusion,
    Roc,
    PrecisionRecall,
    Thresholds,
    Lift,
    Calibration,
}

/// Takes the columns of a version and the label, gives the rows of a table as one list.
#[derive(Debug, Clone)]
pub struct Measure {
    version: Arc<Version>,
    what: What,
    threshold: f64,
    name: String,
    signature: Signature,
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.version, &other.version)
            && self.what == other.what
            && self.threshold.to_bits() == other.threshold.to_bits()
    }
}

impl Eq for Measure {}

impl Hash for Measure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Measure {
    pub fn new(version: Arc<Version>, what: What, threshold: Option<f64>) -> Self {
        let threshold = threshold.unwrap_or(version.artifact.threshold);
        let name = format!("ml_{what:?}[{}.{} v{}]", version.schema, version.name, version.version)
            .to_lowercase();
        Self {
            version,
            what,
            threshold,
            name,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }

    /// Returns the columns of the rows.
    pub fn fields(&self) -> Fields {
        info::measured_fields(&self.version, self.what)
    }
}

fn item(fields: Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields), true))
}

impl AggregateUDFImpl for Measure {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let version = &self.version;
        check_types(&version.artifact.pipeline.inputs, &version.manifest.input_types, types)?;
        Ok(DataType::List(item(self.fields())))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered { of: self.clone(), values: Vec::new(), labels: Vec::new() }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("values", DataType::Binary, true)),
            Arc::new(Field::new("labels", DataType::Binary, true)),
        ])
    }
}

/// Predictions, row by row, `width` numbers for each, and labels as numbers: of classes the code, −1 for an unknown one.
#[derive(Debug)]
struct Gathered {
    of: Measure,
    values: Vec<f64>,
    labels: Vec<f64>,
}

fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| f64::from_le_bytes(*chunk))
}

impl Gathered {
    fn width(&self) -> usize {
        match self.of.version.artifact.problem {
            Problem::Classification => self.of.version.artifact.classes.len(),
            Problem::Clustering => match &self.of.version.artifact.model {
                Model::KMeans(kmeans) => kmeans.centroids.len(),
                Model::Dbscan(dbscan) => dbscan.n_clusters,
                _ => 1,
            },
            _ => 1,
        }
    }

    fn add(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let version = Arc::clone(&self.of.version);
        let n_inputs = version.artifact.pipeline.inputs.len();
        let n_rows = arrays.first().map_or(0, |array| array.len());
        let frame = frame(&version, &arrays[..n_inputs.min(arrays.len())], n_rows)?;
        let (prediction, infinite) = predict(&version, &frame, &Task::single())?;
        if infinite.is_some() {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "the rows to evaluate on have features that are infinite",
            )
            .with_hint("Leave such rows out in the query, or limit the values there."));
        }
        let labels = match (arrays.get(n_inputs), version.artifact.problem) {
            (Some(label), Problem::Regression) => match column("label", label, Kind::Number)? {
                Column::Number(values) => values.as_ref().clone(),
                Column::Text(_) => Vec::new(),
            },
            (Some(label), Problem::Classification) => {
                // Classes are named as training has named them.
                let kind = match version.manifest.label_type.is_number() {
                    true => Kind::Number,
                    false => Kind::Text,
                };
                let label = column("label", label, kind)?;
                let code = |row: usize| match label.text(row) {
                    None => f64::NAN,
                    Some(text) => {
                        let found =
                            version.artifact.classes.iter().position(|class| *class == text);
                        found.map_or(-1.0, |code| code as f64)
                    }
                };
                (0..n_rows).map(code).collect()
            }
            _ => vec![0.0; n_rows],
        };
        let columns: Vec<Vec<f64>> = match prediction {
            Prediction::Numbers(values) | Prediction::Scores(values) => vec![values],
            Prediction::Probabilities(columns) | Prediction::Components(columns) => columns,
            Prediction::Clusters { distances, .. } => distances,
            Prediction::Mixture { log_density, .. } => vec![log_density],
        };
        for row in 0..n_rows {
            // Rows without a label tell nothing.
            if labels[row].is_nan() {
                continue;
            }
            if labels[row] < 0.0 && version.artifact.problem == Problem::Classification {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "the rows to evaluate on have a class that training did not see",
                )
                .with_detail(format!(
                    "The model knows {}.",
                    version
                        .artifact
                        .classes
                        .iter()
                        .take(20)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
                .with_hint("Leave these rows out, or train again with them."));
            }
            self.labels.push(labels[row]);
            self.values.extend(columns.iter().map(|column| column[row]));
        }
        Ok(())
    }

    fn rows(&self) -> Result<StructArray> {
        let width = self.width();
        let by_column = |k: usize| {
            self.values.iter().skip(k).step_by(width.max(1)).copied().collect::<Vec<_>>()
        };
        let columns = (0..width).map(by_column).collect::<Vec<_>>();
        let version = &self.of.version;
        let problem = version.artifact.problem;
        let codes = || Arc::new(self.labels.iter().map(|label| *label as u32).collect::<Vec<_>>());
        let (prediction, target) = match problem {
            Problem::Classification => {
                let target = Target::Classes { codes: codes(), n_classes: width };
                (Prediction::Probabilities(columns), target)
            }
            Problem::Clustering if matches!(version.artifact.model, Model::Mixture(_)) => {
                let (probabilities, log_density) = (Vec::new(), columns.concat());
                (Prediction::Mixture { probabilities, log_density }, Target::None)
            }
            Problem::Clustering => {
                let nearest = |row: usize| {
                    let best = (0..width)
                        .filter(|cluster| columns[*cluster][row].is_finite())
                        .min_by(|a, b| columns[*a][row].total_cmp(&columns[*b][row]));
                    best.map_or(NOISE, |cluster| cluster as u32)
                };
                let nearest = (0..self.labels.len()).map(nearest).collect();
                let noise = matches!(version.artifact.model, Model::Dbscan(_));
                (Prediction::Clusters { nearest, distances: columns, noise }, Target::None)
            }
            Problem::Anomaly => (Prediction::Scores(columns.concat()), Target::None),
            _ => (
                Prediction::Numbers(columns.concat()),
                Target::Numbers(Arc::new(self.labels.clone())),
            ),
        };
        let ranked = |scores: &[f64]| Ranked::new(scores, |row| self.labels[row] == 1.0);
        match (self.of.what, &prediction) {
            (What::Evaluate, _) => {
                let metrics = measure(&prediction, &target, self.of.threshold)?;
                let metrics = metrics
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.is_finite().then_some(value)));
                info::metrics(version, &metrics.collect::<Vec<_>>())
            }
            (What::Confusion, Prediction::Probabilities(p)) => {
                let counts = confusion(p, &codes(), self.of.threshold).into_iter();
                let class = |code: u32| {
                    version.artifact.classes.get(code as usize).cloned().unwrap_or_default()
                };
                let table =
                    counts.map(|((label, predicted), n)| (class(label), class(predicted), n));
                info::confusion(version, &table.collect::<Vec<_>>())
            }
            (What::Roc | What::PrecisionRecall, Prediction::Probabilities(p)) if p.len() == 2 => {
                let points = crate::train::thinned(&ranked(&p[1]));
                info::curve(version, self.of.what, &points)
            }
            (What::Thresholds, Prediction::Probabilities(p)) if p.len() == 2 => {
                let points = thresholds(&ranked(&p[1]));
                info::curve(version, What::Thresholds, &crate::train::points(&points))
            }
            (What::Lift | What::Calibration, Prediction::Probabilities(p)) if p.len() == 2 => {
                let groups = match self.of.what {
                    What::Lift => tenths(&ranked(&p[1])),
                    _ => calibration(&p[1], |row| self.labels[row] == 1.0),
                };
                info::groups(self.of.what, &crate::train::groups(&groups))
            }
            _ => Err(Error::internal("a measure does not fit its model")),
        }
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        Ok(self.add(values)?)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let rows = self.rows()?;
        let builder =
            SingleRowListArrayBuilder::new(Arc::new(rows)).with_field(&item(self.of.fields()));
        Ok(ScalarValue::List(Arc::new(builder.build_list_array())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + (self.values.capacity() + self.labels.capacity()) * 8
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Binary(Some(bytes(&self.values))),
            ScalarValue::Binary(Some(bytes(&self.labels))),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let [values, labels] = states else {
            return Err(Error::internal("a measure has another state").into());
        };
        let parts = |array: &ArrayRef| -> BinaryArray { array.as_binary::<i32>().clone() };
        for part in parts(values).iter().flatten() {
            self.values.extend(numbers(part));
        }
        for part in parts(labels).iter().flatten() {
            self.labels.extend(numbers(part));
        }
        Ok(())
    }
}
