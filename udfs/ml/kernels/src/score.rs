//! Scoring in one dot product: a chain of shifts, scales and projections before a linear model is itself a linear model.

use std::sync::Arc;

use maru_core::Result;

use crate::artifact::Artifact;
use crate::frame::{Column, Frame, Matrix};
use crate::model::{Linear, Logistic, Model, Predict, Prediction};
use crate::pipeline::{Feature, Node};
use crate::task::Task;
use crate::transform::{Fill, Transform};

/// A column of the input, with what stands in the place of NULL in it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Variable {
    input: usize,
    fill: Option<f64>,
}

/// A sum of variables with weights.
#[derive(Debug, Clone, Default)]
struct Affine {
    terms: Vec<(usize, f64)>,
    constant: f64,
}

impl Affine {
    fn scaled(&self, by: f64) -> Self {
        let terms = self.terms.iter().map(|(variable, weight)| (*variable, weight * by)).collect();
        Self { terms, constant: self.constant * by }
    }

    fn add(&mut self, by: f64, other: &Self) {
        self.constant += by * other.constant;
        for (variable, weight) in &other.terms {
            match self.terms.iter_mut().find(|(own, _)| own == variable) {
                Some((_, own)) => *own += by * weight,
                None => self.terms.push((*variable, by * weight)),
            }
        }
    }
}

/// A linear model on the columns as they come.
#[derive(Debug, Clone)]
pub struct Fused {
    variables: Vec<Variable>,
    /// The columns that the chain takes, those without a weight among them.
    inputs: Vec<usize>,
    model: Model,
}

struct Collector {
    variables: Vec<Variable>,
}

impl Collector {
    fn variable(&mut self, variable: Variable) -> usize {
        match self.variables.iter().position(|known| *known == variable) {
            Some(index) => index,
            None => {
                self.variables.push(variable);
                self.variables.len() - 1
            }
        }
    }

    fn node(&mut self, node: &Node, outputs: &[Vec<Affine>]) -> Option<Vec<Affine>> {
        match node {
            Node::Input(input) => {
                let variable = self.variable(Variable { input: *input, fill: None });
                Some(vec![Affine { terms: vec![(variable, 1.0)], constant: 0.0 }])
            }
            Node::Output(index) => outputs.get(*index).cloned(),
            Node::Step { transform, inputs } => match transform {
                Transform::Impute(impute) if !impute.indicator => {
                    let filled =
                        inputs.iter().zip(&impute.values).map(|(node, fill)| match (node, fill) {
                            (Node::Input(input), Fill::Number(fill)) => {
                                let variable =
                                    self.variable(Variable { input: *input, fill: Some(*fill) });
                                Some(Affine { terms: vec![(variable, 1.0)], constant: 0.0 })
                            }
                            _ => None,
                        });
                    // One column for each node, or else the values do not belong to the nodes.
                    if inputs.len() != impute.values.len() {
                        return None;
                    }
                    filled.collect()
                }
                Transform::Scale(scale) => {
                    let columns = self.nodes(inputs, outputs)?;
                    let pairs = scale.center.iter().zip(&scale.scale);
                    let scaled = columns.iter().zip(pairs).map(|(column, (center, by))| {
                        let mut scaled = column.scaled(1.0 / by);
                        scaled.constant -= center / by;
                        scaled
                    });
                    Some(scaled.collect())
                }
                Transform::Pca(pca) => {
                    let columns = self.nodes(inputs, outputs)?;
                    let project = |weights: &Vec<f64>| {
                        let mut sum = Affine::default();
                        for ((column, weight), mean) in columns.iter().zip(weights).zip(&pca.mean) {
                            sum.add(*weight, column);
                            sum.constant -= weight * mean;
                        }
                        sum
                    };
                    Some(pca.weights().iter().map(project).collect())
                }
                _ => None,
            },
        }
    }

    fn nodes(&mut self, nodes: &[Node], outputs: &[Vec<Affine>]) -> Option<Vec<Affine>> {
        let mut all = Vec::new();
        for node in nodes {
            all.extend(self.node(node, outputs)?);
        }
        Some(all)
    }
}

impl Fused {
    /// Returns the one linear model that an artifact comes down to, if it does.
    pub fn new(artifact: &Artifact) -> Option<Self> {
        let rows: Vec<(&Vec<f64>, f64)> = match &artifact.model {
            Model::Linear(linear) => vec![(&linear.weights, linear.intercept)],
            Model::Logistic(logistic) => {
                logistic.weights.iter().zip(logistic.intercepts.iter().copied()).collect()
            }
            _ => return None,
        };
        let mut collector = Collector { variables: Vec::new() };
        let mut outputs = Vec::<Vec<Affine>>::new();
        for output in &artifact.pipeline.outputs {
            outputs.push(collector.node(&output.node, &outputs)?);
        }
        let mut features = outputs.into_iter().flatten().collect::<Vec<_>>();
        if features.len() != artifact.pipeline.features.steps.len() {
            return None;
        }
        for (affine, (_, feature)) in features.iter_mut().zip(&artifact.pipeline.features.steps) {
            let Feature::Number { fill } = feature else { return None };
            // A column on its own gets its mean where it is NULL; as a variable that is the value that gives it.
            if let [(variable, weight)] = affine.terms.as_mut_slice() {
                let known = collector.variables[*variable];
                if known.fill.is_none() && *weight != 0.0 {
                    let fill = Some((fill - affine.constant) / *weight);
                    *variable = collector.variable(Variable { input: known.input, fill });
                }
            }
        }
        let fused = rows.iter().map(|(weights, intercept)| {
            let mut sum = Affine { terms: Vec::new(), constant: *intercept };
            features.iter().zip(weights.iter()).for_each(|(feature, w)| sum.add(*w, feature));
            let mut dense = vec![0.0; collector.variables.len()];
            sum.terms.iter().for_each(|(variable, weight)| dense[*variable] = *weight);
            (dense, sum.constant)
        });
        let (mut weights, intercepts): (Vec<Vec<f64>>, Vec<f64>) = fused.unzip();
        // What no class looks at need not be read.
        let used = (0..collector.variables.len()).filter(|v| weights.iter().any(|w| w[*v] != 0.0));
        let used = used.collect::<Vec<_>>();
        for weights in &mut weights {
            *weights = used.iter().map(|variable| weights[*variable]).collect();
        }
        let mut inputs = collector.variables.iter().map(|one| one.input).collect::<Vec<_>>();
        inputs.sort_unstable();
        inputs.dedup();
        let variables = used.iter().map(|variable| collector.variables[*variable]).collect();
        let model = match &artifact.model {
            Model::Linear(_) => Model::Linear(Linear {
                weights: weights.swap_remove(0),
                intercept: intercepts[0],
                standard_errors: None,
                deviations: Vec::new(),
                means: Vec::new(),
            }),
            _ => Model::Logistic(Logistic {
                weights,
                intercepts,
                standard_errors: None,
                deviations: Vec::new(),
                means: Vec::new(),
            }),
        };
        Some(Self { variables, inputs, model })
    }

    /// Predicts; `None` if a row has NULL where the chain has no value for it, or infinity, which the chain itself must then deal
    /// with.
    pub fn predict(&self, input: &Frame, task: &Task) -> Result<Option<Prediction>> {
        for column in &self.inputs {
            let Column::Number(values) = &input.columns[*column].1 else { return Ok(None) };
            if values.iter().any(|value| value.is_infinite()) {
                return Ok(None);
            }
        }
        let mut columns = Vec::with_capacity(self.variables.len());
        for variable in &self.variables {
            let Column::Number(values) = &input.columns[variable.input].1 else { return Ok(None) };
            let has_null = values.iter().any(|value| value.is_nan());
            columns.push(match (has_null, variable.fill) {
                (false, _) => Arc::clone(values),
                (true, None) => return Ok(None),
                (true, Some(fill)) => {
                    Arc::new(values.iter().map(|v| if v.is_nan() { fill } else { *v }).collect())
                }
            });
        }
        let x = Matrix { n_rows: input.n_rows, names: Vec::new(), columns };
        match &self.model {
            Model::Linear(linear) => linear.predict(&x, task).map(Some),
            Model::Logistic(logistic) => logistic.predict(&x, task).map(Some),
            _ => Ok(None),
        }
    }
}
