//! Chains of transforms, from the columns of a query to the matrix that a model learns from.

use maru_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::frame::{Column, Frame, Matrix};
use crate::task::Task;
use crate::transform::{Apply, Arguments, Context, Encode, Impute, Transform, Unseen, fit};

/// A chain as it is written, before it has learnt.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The column of that number.
    Input(usize),
    /// What an output before this one gives.
    Output(usize),
    Call {
        name: String,
        arguments: Arguments,
        inputs: Vec<Plan>,
    },
}

/// A chain that has learnt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    Input(usize),
    Output(usize),
    Step { transform: Transform, inputs: Vec<Node> },
}

/// What one output takes its columns from, and what it is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Output {
    pub name: String,
    pub node: Node,
}

/// Whether a column holds numbers or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Number,
    Text,
}

/// Chains that have learnt, and how their columns become a matrix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pipeline {
    /// The columns it takes, in order.
    pub inputs: Vec<(String, Kind)>,
    pub outputs: Vec<Output>,
    pub features: Features,
}

/// How columns become a matrix: numbers get their mean in the place of NULL, text a column for each value.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Features {
    pub steps: Vec<(String, Feature)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Number { fill: f64 },
    Text(Encode),
}

/// Names what an output gives.
fn named(name: &str, frame: Frame) -> Vec<(String, Column)> {
    match <[(String, Column); 1]>::try_from(frame.columns) {
        Ok([(_, column)]) => vec![(name.to_owned(), column)],
        Err(columns) => {
            let has_name = |inner: &str| {
                // `pc` of an analysis of principal components is pc1, pc2, …; a word that only begins alike is not named.
                inner.strip_prefix(name).is_some_and(|rest| {
                    rest.starts_with('_') || rest.bytes().all(|byte| byte.is_ascii_digit())
                })
            };
            let full = |inner: String| match has_name(&inner) {
                true => inner,
                false => format!("{name}_{inner}"),
            };
            columns.into_iter().map(|(inner, column)| (full(inner), column)).collect()
        }
    }
}

impl Node {
    fn apply(&self, input: &Frame, outputs: &[Frame], task: &Task) -> Result<Frame> {
        match self {
            Self::Input(index) => {
                Ok(Frame { n_rows: input.n_rows, columns: vec![input.columns[*index].clone()] })
            }
            Self::Output(index) => Ok(outputs[*index].clone()),
            Self::Step { transform, inputs } => {
                let parts = inputs.iter().map(|node| node.apply(input, outputs, task));
                transform.apply_owned(side_by_side(input.n_rows, parts)?, task)
            }
        }
    }
}

impl Node {
    /// Marks rows with a category that an encoder within does not know.
    fn mark_unseen(
        &self,
        input: &Frame,
        outputs: &[Frame],
        task: &Task,
        unseen: &mut Unseen,
    ) -> Result<()> {
        let Self::Step { transform, inputs } = self else { return Ok(()) };
        for node in inputs {
            node.mark_unseen(input, outputs, task, unseen)?;
        }
        if let Transform::Encode(encode) = transform {
            let parts = inputs.iter().map(|node| node.apply(input, outputs, task));
            let given = side_by_side(input.n_rows, parts)?;
            for (index, (name, column)) in given.columns.iter().enumerate() {
                encode.mark_unseen(index, name, column, unseen);
            }
        }
        Ok(())
    }
}

fn side_by_side(n_rows: usize, parts: impl Iterator<Item = Result<Frame>>) -> Result<Frame> {
    let mut columns = Vec::new();
    for part in parts {
        columns.extend(part?.columns);
    }
    Ok(Frame { n_rows, columns })
}

fn learn(
    plan: &Plan,
    input: &Frame,
    outputs: &[Frame],
    context: &Context<'_>,
) -> Result<(Node, Frame)> {
    match plan {
        Plan::Input(index) => {
            let node = Node::Input(*index);
            let frame = node.apply(input, outputs, context.task)?;
            Ok((node, frame))
        }
        Plan::Output(index) => Ok((Node::Output(*index), outputs[*index].clone())),
        Plan::Call { name, arguments, inputs } => {
            let mut nodes = Vec::with_capacity(inputs.len());
            let mut frames = Vec::with_capacity(inputs.len());
            for inner in inputs {
                let (node, frame) = learn(inner, input, outputs, context)?;
                nodes.push(node);
                frames.push(Ok(frame));
            }
            let frame = side_by_side(input.n_rows, frames.into_iter())?;
            let (transform, out) = fit(name, arguments, frame, context)?;
            Ok((Node::Step { transform, inputs: nodes }, out))
        }
    }
}

/// What chains gave while they learnt: for each output its name and columns.
pub type Learnt = Vec<(String, Frame)>;

/// Learns chains, each from the columns and the outputs before it.
///
/// # Errors
/// As [`fit`].
pub fn learn_all(
    plans: &[(String, Plan)],
    input: &Frame,
    context: &Context<'_>,
) -> Result<(Vec<Output>, Learnt)> {
    let mut outputs = Vec::new();
    let mut frames = Vec::<Frame>::new();
    for (name, plan) in plans {
        context.task.check()?;
        let (node, frame) = learn(plan, input, &frames, context)?;
        let columns = named(name, frame);
        frames.push(Frame { n_rows: input.n_rows, columns });
        outputs.push(Output { name: name.clone(), node });
    }
    let names = outputs.iter().map(|output| output.name.clone());
    let learnt = names.zip(frames).collect();
    Ok((outputs, learnt))
}

/// Applies chains to columns.
pub fn apply_all(outputs: &[Output], input: &Frame, task: &Task) -> Result<Learnt> {
    let mut frames = Vec::<Frame>::new();
    for output in outputs {
        let frame = output.node.apply(input, &frames, task)?;
        frames.push(Frame { n_rows: input.n_rows, columns: named(&output.name, frame) });
    }
    Ok(outputs.iter().map(|output| output.name.clone()).zip(frames).collect())
}

impl Features {
    /// Learns from the columns of training.
    ///
    /// # Errors
    /// 54000 for text of too many values.
    pub fn learn(frame: &Frame, task: &Task) -> Result<Self> {
        let steps = task.map(frame.columns.len(), |index| {
            let (name, column) = &frame.columns[index];
            let feature = match column {
                Column::Number(_) => match Impute::default_for(column) {
                    crate::transform::Fill::Number(fill) => Feature::Number { fill },
                    crate::transform::Fill::Text(_) => {
                        return Err(Error::internal("a number's mean is text"));
                    }
                },
                Column::Text(_) => {
                    Feature::Text(Encode::one_hot(&[(name.clone(), column.clone())])?)
                }
            };
            Ok((name.clone(), feature))
        })?;
        Ok(Self { steps })
    }

    /// Makes the matrix.
    pub fn matrix(&self, frame: &Frame, task: &Task) -> Result<Matrix> {
        if frame.columns.len() != self.steps.len() {
            return Err(Error::internal("the transforms gave other columns than in training"));
        }
        let parts = task.map(self.steps.len(), |index| {
            let (name, feature) = &self.steps[index];
            let column = &frame.columns[index].1;
            Ok(match (feature, column) {
                (Feature::Number { fill }, Column::Number(values)) => {
                    let filled = match values.iter().any(|value| value.is_nan()) {
                        true => std::sync::Arc::new(
                            values.iter().map(|v| if v.is_nan() { *fill } else { *v }).collect(),
                        ),
                        false => std::sync::Arc::clone(values),
                    };
                    vec![(name.clone(), filled)]
                }
                (Feature::Text(encode), Column::Text(_)) => {
                    let input = Frame::new(vec![(name.clone(), column.clone())]);
                    let encoded = encode.apply(&input, &task.with_threads(1))?;
                    let numbers =
                        encoded.columns.into_iter().filter_map(|(name, column)| match column {
                            Column::Number(values) => Some((name, values)),
                            Column::Text(_) => None,
                        });
                    numbers.collect()
                }
                _ => {
                    return Err(Error::new(
                        ErrorKind::TypeMismatch,
                        format!("column \"{name}\" has another type than in training"),
                    ));
                }
            })
        })?;
        let (names, columns) = parts.into_iter().flatten().unzip();
        Ok(Matrix { n_rows: frame.n_rows, names, columns })
    }
}

impl Pipeline {
    /// Returns what the chains give, side by side.
    pub fn transform(&self, input: &Frame, task: &Task) -> Result<Frame> {
        let outputs = apply_all(&self.outputs, input, task)?;
        side_by_side(input.n_rows, outputs.into_iter().map(|(_, frame)| Ok(frame)))
    }

    /// Returns which rows have a category that training did not see.
    pub fn unseen(&self, input: &Frame, task: &Task) -> Result<Unseen> {
        let mut unseen = Unseen { rows: vec![false; input.n_rows], example: None };
        let mut frames = Vec::<Frame>::new();
        for output in &self.outputs {
            output.node.mark_unseen(input, &frames, task, &mut unseen)?;
            let frame = output.node.apply(input, &frames, task)?;
            frames.push(Frame { n_rows: input.n_rows, columns: named(&output.name, frame) });
        }
        let columns = frames.iter().flat_map(|frame| &frame.columns);
        for ((name, feature), (_, column)) in self.features.steps.iter().zip(columns) {
            if let Feature::Text(encode) = feature {
                encode.mark_unseen(0, name, column, &mut unseen);
            }
        }
        Ok(unseen)
    }

    /// Returns the matrix for a model.
    pub fn matrix(&self, input: &Frame, task: &Task) -> Result<Matrix> {
        let frame = self.transform(input, task)?;
        self.features.matrix(&frame, task)
    }
}
