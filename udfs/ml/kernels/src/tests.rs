//! Tests over the crate: beside scikit-learn (`udfs/ml/fixtures/make.py`), and on bad data.

mod bad_data;
mod explain;
mod models;
mod more_models;
mod transforms;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::frame::{Column, Frame, Matrix};
use crate::model::{self, Data, Fit, Parameters, Prediction, Target};
use crate::task::Task;
use crate::transform::Literal;

static FIXTURES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../fixtures/sklearn.json")).unwrap());

fn fixture(path: &str) -> &'static Value {
    path.split('.').fold(&*FIXTURES, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[key],
    })
}

fn numbers(path: &str) -> Vec<f64> {
    fixture(path).as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rows(path: &str) -> Vec<Vec<f64>> {
    let row = |row: &Value| row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    fixture(path).as_array().unwrap().iter().map(row).collect()
}

fn matrix(rows: &[Vec<f64>]) -> Matrix {
    let d = rows[0].len();
    let column = |index: usize| Arc::new(rows.iter().map(|row| row[index]).collect::<Vec<_>>());
    Matrix::new((0..d).map(|i| format!("x{i}")).collect(), (0..d).map(column).collect())
}

fn frame(rows: &[Vec<f64>]) -> Frame {
    let matrix = matrix(rows);
    Frame::new(
        matrix.names.into_iter().zip(matrix.columns.into_iter().map(Column::Number)).collect(),
    )
}

fn classes(path: &str) -> Target {
    let codes = numbers(path).into_iter().map(|v| v as u32).collect::<Vec<_>>();
    let n_classes = codes.iter().max().map_or(0, |most| *most as usize + 1);
    Target::Classes { codes: Arc::new(codes), n_classes }
}

fn standardized(path: &str) -> Vec<Vec<f64>> {
    let x = rows(path);
    let (d, n) = (x[0].len(), x.len() as f64);
    let mut out = x.clone();
    for column in 0..d {
        let mean = x.iter().map(|r| r[column]).sum::<f64>() / n;
        let deviation = (x.iter().map(|r| (r[column] - mean).powi(2)).sum::<f64>() / n).sqrt();
        out.iter_mut().for_each(|r| r[column] = (r[column] - mean) / deviation);
    }
    out
}

fn parameters(pairs: &[(&str, f64)]) -> Parameters {
    let pair = |(name, value): &(&str, f64)| ((*name).to_owned(), Literal::Number(*value));
    Parameters(pairs.iter().map(pair).collect::<BTreeMap<_, _>>())
}

fn fit(name: &str, pairs: &[(&str, f64)], data: &Data) -> Fit {
    let spec = model::spec(name).unwrap();
    model::fit(spec, &parameters(pairs), data, 7, &Task::single()).unwrap()
}

fn probabilities(fit: &Fit, x: &Matrix) -> Vec<Vec<f64>> {
    match fit.model.predict(x, &Task::single()).unwrap() {
        Prediction::Probabilities(p) => p,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn near(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (index, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f - w).abs() <= tolerance * w.abs().max(1.0), "{index}: {f} is not {w}");
    }
}
