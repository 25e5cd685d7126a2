//! K nearest neighbours: what the nearest rows of training say.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::cluster::scaled;
use super::{Data, Fit, Model, Parameters, Predict, Prediction, Target};
use crate::frame::Matrix;
use crate::task::Task;
use crate::transform::Scale;

/// More values than this make a model that is a copy of the data.
const VALUES_MAX: usize = 20_000_000;

/// The rows of training, and what they say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    pub k: usize,
    pub scale: Option<Scale>,
    /// By feature, brought to scale.
    columns: Vec<Vec<f64>>,
    answers: Answers,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answers {
    Numbers(Vec<f64>),
    Classes { codes: Vec<u32>, n_classes: usize },
}

impl Neighbours {
    pub(super) fn fit(parameters: &Parameters, data: &Data, task: &Task) -> Result<Fit> {
        let k = parameters.count("num_neighbors")?.unwrap_or(5);
        let n_values = data.x.n_rows * data.x.n_columns();
        if n_values > VALUES_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "too much data to keep for nearest neighbours",
            )
            .with_detail(format!("There are {n_values} values, the limit is {VALUES_MAX}."))
            .with_hint("Train on a sample, or use a model that does not keep its rows."));
        }
        let k = k.min(data.x.n_rows);
        let scale = match parameters.flag_or("standardize_features", true) {
            true => Some(Scale::standard(&data.x, task)?),
            false => None,
        };
        let x = scaled(&data.x, scale.as_ref(), task)?;
        let answers = match &data.target {
            Target::Numbers(values) => Answers::Numbers(values.as_ref().clone()),
            Target::Classes { codes, n_classes } => {
                Answers::Classes { codes: codes.as_ref().clone(), n_classes: *n_classes }
            }
            Target::None => return Err(Error::internal("neighbours have nothing to say")),
        };
        let columns = x.columns.iter().map(|column| column.as_ref().clone()).collect();
        let model = Self { k, scale, columns, answers };
        Ok(Fit { model: Model::Neighbours(model), iterations: Vec::new(), converged: true })
    }
}

impl Neighbours {
    /// Returns the rows of training by feature, brought to scale.
    pub(crate) fn columns(&self) -> &[Vec<f64>] {
        &self.columns
    }

    /// Returns the numbers that the rows say.
    pub(crate) fn numbers(&self) -> Option<&[f64]> {
        match &self.answers {
            Answers::Numbers(values) => Some(values),
            Answers::Classes { .. } => None,
        }
    }

    /// Returns the classes that the rows say.
    pub(crate) fn codes(&self) -> &[u32] {
        match &self.answers {
            Answers::Numbers(_) => &[],
            Answers::Classes { codes, .. } => codes,
        }
    }
}

impl Predict for Neighbours {
    fn predict(&self, x: &Matrix, task: &Task) -> Result<Prediction> {
        let x = scaled(x, self.scale.as_ref(), task)?;
        let n_known = self.columns.first().map_or(0, Vec::len);
        let parts = task.map_rows(x.n_rows, 8, |range| {
            let mut off = vec![0.0; n_known];
            let mut said = Vec::with_capacity(range.len());
            for row in range {
                task.check()?;
                off.fill(0.0);
                for (known, column) in self.columns.iter().zip(&x.columns) {
                    let at = column[row];
                    off.iter_mut().zip(known).for_each(|(off, v)| *off += (v - at) * (v - at));
                }
                let mut order = (0..n_known).collect::<Vec<_>>();
                // Of rows as near, the first ones: their order is that of training, which depends on values alone.
                let nearer = |a: &usize, b: &usize| off[*a].total_cmp(&off[*b]).then(a.cmp(b));
                if self.k < n_known {
                    order.select_nth_unstable_by(self.k - 1, nearer);
                    order.truncate(self.k);
                }
                said.push(match &self.answers {
                    Answers::Numbers(values) => {
                        vec![order.iter().map(|row| values[*row]).sum::<f64>() / order.len() as f64]
                    }
                    Answers::Classes { codes, n_classes } => {
                        let mut shares = vec![0.0; *n_classes];
                        let share = 1.0 / order.len() as f64;
                        order.iter().for_each(|row| shares[codes[*row] as usize] += share);
                        shares
                    }
                });
            }
            Ok(said)
        })?;
        let rows = parts.concat();
        let column = |k: usize| rows.iter().map(|row| row[k]).collect::<Vec<_>>();
        Ok(match &self.answers {
            Answers::Numbers(_) => Prediction::Numbers(column(0)),
            Answers::Classes { n_classes, .. } => {
                Prediction::Probabilities((0..*n_classes).map(column).collect())
            }
        })
    }
}
