//! Models that the format has no operator of its own for, made of plain ones.

use maru_core::Result;

use super::proto::{Attribute, DOUBLE, INT64, doubles};
use super::{Graph, Value, trees};
use crate::artifact::Artifact;
use crate::model::tree::{LEAF, Tree};
use crate::model::{Dbscan, Mixture, NaiveBayes, Neighbours, Svm};
use crate::transform::{IsolationForest, Scale, Transform};

/// Features a value has, as squares or distances of rows by others are made of them one after the other.
fn columns_of(graph: &mut Graph, x: &Value) -> Vec<String> {
    let one = |graph: &mut Graph, index: usize| {
        let at = graph.whole(&[1], &[index as i64]);
        graph.node("", "Gather", &[&x.name, &at], &[("axis", Attribute::Int(1))])
    };
    (0..x.width).map(|index| one(graph, index)).collect()
}

/// Returns squared distances, rows by known rows; features are added in order, as Maru adds them.
fn squares(graph: &mut Graph, x: &Value, known: &[Vec<f64>]) -> Result<String> {
    let columns = columns_of(graph, x);
    let mut sum: Option<String> = None;
    for (column, known) in columns.iter().zip(known) {
        let known = graph.row(known);
        let off = graph.op("Sub", &[&known, column]);
        let square = graph.op("Mul", &[&off, &off]);
        sum = Some(match sum {
            None => square,
            Some(sum) => graph.op("Add", &[&sum, &square]),
        });
    }
    sum.ok_or_else(|| maru_core::Error::internal("distances over no features"))
}

fn scaled(graph: &mut Graph, x: &Value, scale: Option<&Scale>) -> Result<Value> {
    match scale {
        Some(scale) => graph.transform(&Transform::Scale(scale.clone()), vec![x.clone()]),
        None => Ok(x.clone()),
    }
}

fn total(graph: &mut Graph, of: &str) -> String {
    let axis = graph.whole(&[1], &[1]);
    graph.op("ReduceSum", &[of, &axis])
}

impl Graph {
    pub(super) fn svm(&mut self, artifact: &Artifact, svm: &Svm, x: &Value) {
        let product = self.product(x, &svm.weights);
        let constant = self.row(&svm.intercepts);
        let values = self.op("Add", &[&product.name, &constant]);
        let (a, b): (Vec<f64>, Vec<f64>) = svm.sigmoids.iter().copied().unzip();
        let (a, b) = (self.row(&a), self.row(&b));
        let values = self.op("Mul", &[&values, &a]);
        let values = self.op("Add", &[&values, &b]);
        let p = self.op("Sigmoid", &[&values]);
        let one = self.row(&[1.0]);
        let p = match svm.weights.len() {
            1 => {
                let first = self.op("Sub", &[&one, &p]);
                self.node("", "Concat", &[&first, &p], &[("axis", Attribute::Int(1))])
            }
            n => {
                let total = total(self, &p);
                let (zero, even) = (self.row(&[0.0]), self.row(&[1.0 / n as f64]));
                let some = self.op("Greater", &[&total, &zero]);
                let shares = self.op("Div", &[&p, &total]);
                self.op("Where", &[&some, &shares, &even])
            }
        };
        self.classes(artifact, &p);
    }

    pub(super) fn bayes(&mut self, artifact: &Artifact, bayes: &NaiveBayes, x: &Value) {
        let mut logits = Vec::new();
        let classes = bayes.log_shares.iter().zip(bayes.means.iter().zip(&bayes.variances));
        for (share, (means, variances)) in classes {
            let constants = variances.iter().map(|v| -0.5 * (std::f64::consts::TAU * v).ln());
            let constant = self.row(&[share + constants.sum::<f64>()]);
            let means = self.row(means);
            let halves = self.row(&variances.iter().map(|v| -0.5 / v).collect::<Vec<_>>());
            let off = self.op("Sub", &[&x.name, &means]);
            let square = self.op("Mul", &[&off, &off]);
            let weighed = self.op("Mul", &[&square, &halves]);
            let sum = total(self, &weighed);
            logits.push(self.op("Add", &[&sum, &constant]));
        }
        let logits = logits.iter().map(String::as_str).collect::<Vec<_>>();
        let logits = self.node("", "Concat", &logits, &[("axis", Attribute::Int(1))]);
        let p = self.softmax(&logits);
        self.classes(artifact, &p);
    }

    pub(super) fn mixture(&mut self, mixture: &Mixture, x: &Value) {
        let d = x.width;
        let mut logs = Vec::new();
        for (share, (mean, lower)) in
            mixture.shares.iter().zip(mixture.means.iter().zip(&mixture.factors))
        {
            let determinant = (0..d).map(|i| lower[i * d + i].ln()).sum::<f64>();
            let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
            let start = self.row(&[share.max(1e-300).ln() - constant - determinant]);
            let mean = self.row(mean);
            let name = self.op("Sub", &[&x.name, &mean]);
            let off = self.product(&Value { name, ..x.clone() }, &inverse(lower, d));
            let square = self.op("Mul", &[&off.name, &off.name]);
            let sum = total(self, &square);
            let half = self.row(&[-0.5]);
            let half = self.op("Mul", &[&sum, &half]);
            logs.push(self.op("Add", &[&half, &start]));
        }
        let k = logs.len();
        let logs = logs.iter().map(String::as_str).collect::<Vec<_>>();
        let logs = self.node("", "Concat", &logs, &[("axis", Attribute::Int(1))]);
        let p = self.softmax(&logs);
        let axis = self.whole(&[1], &[1]);
        let density = self.op("ReduceLogSumExp", &[&logs, &axis]);
        let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
        let nearest = self.node("", "ArgMax", &[&p], &attributes);
        let one = self.whole(&[], &[1]);
        let cluster = self.op("Add", &[&nearest, &one]);
        self.output("cluster", &cluster, INT64, None);
        self.output("probabilities", &p, DOUBLE, Some(k));
        self.output("log_density", &density, DOUBLE, Some(1));
    }

    pub(super) fn neighbours(
        &mut self,
        artifact: &Artifact,
        model: &Neighbours,
        x: &Value,
    ) -> Result<()> {
        let x = scaled(self, x, model.scale.as_ref())?;
        let squares = squares(self, &x, model.columns())?;
        let k = self.whole(&[1], &[model.k as i64]);
        let (near, at) = (self.name(), self.name());
        // Of rows as near, the first ones, as Maru takes them.
        let attributes = [("axis", Attribute::Int(1)), ("largest", Attribute::Int(0))];
        self.named("", "TopK", &[&squares, &k], &attributes, &[&near, &at]);
        let share = self.row(&[1.0 / model.k as f64]);
        if let Some(numbers) = model.numbers() {
            let name = self.name();
            self.constants.push(doubles(&name, &[numbers.len()], numbers));
            let said = self.op("Gather", &[&name, &at]);
            let sum = total(self, &said);
            let mean = self.op("Mul", &[&sum, &share]);
            self.output("variable", &mean, DOUBLE, Some(1));
            return Ok(());
        }
        let codes = model.codes().iter().map(|code| i64::from(*code)).collect::<Vec<_>>();
        let codes = self.whole(&[codes.len()], &codes);
        let said = self.op("Gather", &[&codes, &at]);
        let last = self.whole(&[1], &[2]);
        let said = self.op("Unsqueeze", &[&said, &last]);
        let n = artifact.classes.len();
        let classes = self.whole(&[1, 1, n], &(0..n as i64).collect::<Vec<_>>());
        let same = self.op("Equal", &[&said, &classes]);
        let same = self.node("", "Cast", &[&same], &[("to", Attribute::Int(DOUBLE))]);
        let axis = self.whole(&[1], &[1]);
        let counts =
            self.node("", "ReduceSum", &[&same, &axis], &[("keepdims", Attribute::Int(0))]);
        let p = self.op("Mul", &[&counts, &share]);
        self.classes(artifact, &p);
        Ok(())
    }

    /// Cluster 0 stands for rows apart from all clusters.
    pub(super) fn dbscan(&mut self, model: &Dbscan, x: &Value) -> Result<()> {
        let zero = self.whole(&[], &[0]);
        if model.clusters().is_empty() {
            // No row of training was a core row: nothing belongs anywhere.
            let first = self.node(
                "",
                "ArgMin",
                &[&x.name],
                &[("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))],
            );
            let none = self.op("Mul", &[&first, &zero]);
            self.output("cluster", &none, INT64, None);
            return Ok(());
        }
        let x = scaled(self, x, model.scale.as_ref())?;
        let squares = squares(self, &x, &model.columns(x.width))?;
        let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
        let nearest = self.node("", "ArgMin", &[&squares], &attributes);
        let clusters = model.clusters().iter().map(|c| i64::from(*c) + 1).collect::<Vec<_>>();
        let clusters = self.whole(&[clusters.len()], &clusters);
        let cluster = self.op("Gather", &[&clusters, &nearest]);
        let axis = self.whole(&[1], &[1]);
        let least =
            self.node("", "ReduceMin", &[&squares, &axis], &[("keepdims", Attribute::Int(0))]);
        let limit = self.name();
        self.constants.push(doubles(&limit, &[], &[model.epsilon * model.epsilon]));
        let within = self.op("LessOrEqual", &[&least, &limit]);
        let cluster = self.op("Where", &[&within, &cluster, &zero]);
        self.output("cluster", &cluster, INT64, None);
        Ok(())
    }

    /// Rows by 1: near 1 for outliers.
    pub(super) fn isolation(&mut self, forest: &IsolationForest, x: &Value) -> String {
        let (trees, scale) = (forest.as_trees(), forest.scale());
        if scale <= 0.0 {
            let (zero, half) = (self.row(&[0.0]), self.row(&[0.5]));
            let none = self.op("Mul", &[&x.name, &zero]);
            let none = total(self, &none);
            return self.op("Add", &[&none, &half]);
        }
        let depth = trees::ensemble(self, x, &trees, 1, |_| 0..1, 1.0, &[0.0]);
        let by = self.row(&[-std::f64::consts::LN_2 / scale]);
        let power = self.op("Mul", &[&depth, &by]);
        self.op("Exp", &[&power])
    }
}

/// Inverts a lower triangle; gives its rows.
fn inverse(lower: &[f64], d: usize) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![0.0; d]; d];
    for column in 0..d {
        for row in column..d {
            let unit = f64::from(u8::from(row == column));
            let done = (column..row).map(|k| lower[row * d + k] * rows[k][column]).sum::<f64>();
            rows[row][column] = (unit - done) / lower[row * d + row];
        }
    }
    rows
}

impl IsolationForest {
    fn as_trees(&self) -> Vec<Tree> {
        self.cuts()
            .map(|cuts| {
                let mut tree = Tree::default();
                for (cut, depth) in cuts {
                    let (feature, threshold, left, right) = cut.unwrap_or((LEAF, 0.0, 0, 0));
                    tree.feature.push(feature);
                    tree.threshold.push(threshold);
                    tree.left.push(left);
                    tree.right.push(right);
                    tree.value.push(depth);
                }
                tree
            })
            .collect()
    }
}
