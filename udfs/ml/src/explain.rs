//! The columns of `ML.EXPLAIN_PREDICT`: what features add to the score of each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Fields};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::evaluate::predicted_class;
use maru_ml_kernels::explain::{attributions, explains};
use maru_ml_kernels::model::Prediction;
use maru_ml_kernels::{Matrix, Task};

use crate::manifest::Version;
use crate::score::{list, list_of, predicted_fields};

fn attribution_fields() -> Fields {
    vec![
        Field::new("feature", DataType::Utf8, true),
        Field::new("attribution", DataType::Float64, true),
    ]
    .into()
}

/// Returns the columns: the predictions', then attributions, baseline and score.
///
/// # Errors
/// 42809 for a model that there is no way to explain.
pub(crate) fn fields(version: &Version) -> Result<Fields> {
    if !explains(&version.artifact.model) {
        return Err(Error::new(
            ErrorKind::WrongObjectType,
            format!("there is no way to explain what model \"{}\" says", version.name),
        )
        .with_detail("Linear models, linear_svm, decision trees, random forests and boosted trees can be explained.")
        .with_hint("A model of these kinds that was trained by an older version has to be trained again."));
    }
    let mut fields = predicted_fields(version).iter().cloned().collect::<Vec<_>>();
    fields.push(Arc::new(Field::new(
        "top_feature_attributions",
        list_of(attribution_fields()),
        true,
    )));
    fields.push(Arc::new(Field::new("baseline_prediction_value", DataType::Float64, true)));
    fields.push(Arc::new(Field::new("prediction_value", DataType::Float64, true)));
    Ok(fields.into())
}

/// Returns the columns after the predictions.
pub(crate) fn columns(
    version: &Version,
    x: &Matrix,
    prediction: &Prediction,
    threshold: f64,
    top: usize,
    task: &Task,
) -> Result<Vec<ArrayRef>> {
    let classes = match prediction {
        Prediction::Probabilities(p) => {
            (0..x.n_rows).map(|row| predicted_class(p, row, threshold)).collect()
        }
        _ => vec![0; x.n_rows],
    };
    let found = attributions(&version.artifact.model, x, &classes, task)?;
    let each = top.min(x.n_columns());
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let mut order = (0..x.n_columns()).collect::<Vec<_>>();
    for row in 0..x.n_rows {
        let size = |feature: &usize| found.values[*feature][row].abs();
        order.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        for feature in &order[..each] {
            names.push(version.artifact.features[*feature].as_str());
            values.push(found.values[*feature][row]);
        }
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(names)), Arc::new(Float64Array::from(values))];
    let all: Vec<ArrayRef> = vec![
        list(attribution_fields(), columns, x.n_rows, each)?,
        Arc::new(Float64Array::from(found.baseline)),
        Arc::new(Float64Array::from(found.score)),
    ];
    Ok(all)
}
