//! Why a model says what it says of a row: what each feature adds to the score, from a baseline on.
//!
//! For linear models what a feature adds is its weight times how far it lies from its mean, which is exact. For trees it is the
//! Shapley value over the paths of the tree (Lundberg and others, Consistent Individualized Feature Attribution for Tree
//! Ensembles, 2018), where a feature that is not known goes both ways, by the weight of the rows of training. In both cases the
//! baseline and all attributions add up to the score.

use maru_core::{Error, ErrorKind, Result};

use crate::frame::Matrix;
use crate::model::tree::{LEAF, Tree};
use crate::model::{Model, Prediction};
use crate::task::Task;

/// What features add to the score of each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributions {
    /// By row, the score without any feature.
    pub baseline: Vec<f64>,
    pub score: Vec<f64>,
    /// By feature, then by row.
    pub values: Vec<Vec<f64>>,
}

/// Says whether there is a way to explain what a model says.
pub fn explains(model: &Model) -> bool {
    match model {
        Model::Linear(one) => !one.means.is_empty(),
        Model::Logistic(one) => !one.means.is_empty(),
        Model::Svm(_) => true,
        Model::Forest(one) => one.trees.iter().all(|tree| !tree.cover.is_empty()),
        Model::Boosted(one) => one.trees.iter().all(|tree| !tree.cover.is_empty()),
        _ => false,
    }
}

/// Explains the scores of rows: numbers of a regression; of classes `classes[row]` the log odds (logistic regression, boosted
/// trees), the distance from the plane (linear SVM) or the probability (forests).
///
/// # Errors
/// 42809 for models that there is no way to explain.
pub fn attributions(
    model: &Model,
    x: &Matrix,
    classes: &[u32],
    task: &Task,
) -> Result<Attributions> {
    if !explains(model) {
        return Err(Error::new(
            ErrorKind::WrongObjectType,
            "there is no way to explain what this model says",
        )
        .with_detail("Linear models, linear_svm, decision trees, random forests and boosted trees can be explained.")
        .with_hint("A model of these kinds that was trained by an older version has to be trained again."));
    }
    match model {
        Model::Linear(one) => {
            // Numbers have no other side.
            linear(x, std::slice::from_ref(&one.weights), &[one.intercept], &one.means, &[])
        }
        Model::Logistic(one) => linear(x, &one.weights, &one.intercepts, &one.means, classes),
        Model::Svm(one) => linear(x, &one.weights, &one.intercepts, &one.means, classes),
        Model::Forest(one) => {
            let share = 1.0 / one.trees.len().max(1) as f64;
            let speaks = |_: usize, class: u32| match one.classifies {
                true => Some((class as usize, share)),
                false => Some((0, share)),
            };
            trees(x, &one.trees, one.n_outputs, classes, &|_| 0.0, &speaks, task)
        }
        Model::Boosted(one) => {
            let k = one.base.len();
            let sign = |class: u32| if k == 1 && one.classifies && class == 0 { -1.0 } else { 1.0 };
            let speaks = |tree: usize, class: u32| match k {
                1 => Some((0, sign(class))),
                _ => (tree % k == class as usize).then_some((0, 1.0)),
            };
            let base = |class: u32| match k {
                1 => one.base[0] * sign(class),
                _ => one.base[class as usize],
            };
            trees(x, &one.trees, 1, classes, &base, &speaks, task)
        }
        _ => Err(Error::internal("a model that can be explained has no code for it")),
    }
}

fn linear(
    x: &Matrix,
    weights: &[Vec<f64>],
    intercepts: &[f64],
    means: &[f64],
    classes: &[u32],
) -> Result<Attributions> {
    // With one row of weights, the first class is the other side of the plane.
    let of = |row: usize| match (weights.len(), classes.get(row)) {
        (1, Some(0)) => (0, -1.0),
        (1, _) | (_, None) => (0, 1.0),
        (_, Some(class)) => (*class as usize, 1.0),
    };
    let value = |feature: usize, row: usize| {
        let (plane, sign) = of(row);
        sign * weights[plane][feature] * (x.columns[feature][row] - means[feature])
    };
    let values = (0..x.n_columns())
        .map(|feature| (0..x.n_rows).map(|row| value(feature, row)).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    let bases = weights.iter().zip(intercepts).map(|(weights, intercept)| {
        intercept + weights.iter().zip(means).map(|(w, m)| w * m).sum::<f64>()
    });
    let bases = bases.collect::<Vec<_>>();
    let baseline = (0..x.n_rows).map(of).map(|(plane, sign)| sign * bases[plane]);
    let baseline = baseline.collect::<Vec<_>>();
    let score = |row: usize| baseline[row] + values.iter().map(|column| column[row]).sum::<f64>();
    let score = (0..x.n_rows).map(score).collect();
    Ok(Attributions { baseline, score, values })
}

/// One feature of a path: the share of rows that would go this way without knowing it, whether the row does, and the weight of
/// the subsets of features of this size.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: u32,
    zero: f64,
    one: f64,
    weight: f64,
}

fn extend(path: &mut Vec<Step>, zero: f64, one: f64, feature: u32) {
    let depth = path.len();
    path.push(Step { feature, zero, one, weight: f64::from(u8::from(depth == 0)) });
    let n = (depth + 1) as f64;
    for at in (0..depth).rev() {
        path[at + 1].weight += one * path[at].weight * (at + 1) as f64 / n;
        path[at].weight = zero * path[at].weight * (depth - at) as f64 / n;
    }
}

/// Returns what weights would be without one step of the path.
fn unwound(path: &[Step], index: usize) -> Vec<f64> {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[index];
    let n = (depth + 1) as f64;
    let mut next = path[depth].weight;
    let mut weights = vec![0.0; depth];
    for at in (0..depth).rev() {
        if one != 0.0 {
            weights[at] = next * n / ((at + 1) as f64 * one);
            next = path[at].weight - weights[at] * zero * (depth - at) as f64 / n;
        } else {
            weights[at] = path[at].weight * n / (zero * (depth - at) as f64);
        }
    }
    weights
}

fn unwind(path: &mut Vec<Step>, index: usize) {
    let weights = unwound(path, index);
    path.remove(index);
    path.iter_mut().zip(weights).for_each(|(step, weight)| step.weight = weight);
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f64],
    width: usize,
    output: usize,
}

impl Walk<'_> {
    fn step(&self, node: usize, mut path: Vec<Step>, way: Step, values: &mut [f64]) {
        extend(&mut path, way.zero, way.one, way.feature);
        let tree = self.tree;
        let feature = tree.feature[node];
        if feature == LEAF {
            let says = tree.value[node * self.width + self.output];
            for index in 1..path.len() {
                let weight = unwound(&path, index).iter().sum::<f64>();
                let step = path[index];
                values[step.feature as usize] += weight * (step.one - step.zero) * says;
            }
            return;
        }
        let goes_left = self.row[feature as usize] <= tree.threshold[node];
        let (left, right) = (tree.left[node] as usize, tree.right[node] as usize);
        let (hot, cold) = if goes_left { (left, right) } else { (right, left) };
        let (mut zero, mut one) = (1.0, 1.0);
        if let Some(index) = path.iter().skip(1).position(|step| step.feature == feature) {
            (zero, one) = (path[index + 1].zero, path[index + 1].one);
            unwind(&mut path, index + 1);
        }
        let whole = tree.cover[node].max(f64::MIN_POSITIVE);
        let way = |child: usize, one: f64| Step {
            feature,
            zero: zero * tree.cover[child] / whole,
            one,
            weight: 0.0,
        };
        self.step(hot, path.clone(), way(hot, one), values);
        self.step(cold, path, way(cold, 0.0), values);
    }
}

/// The mean of what leaves say, by the weight of their rows.
fn expected(tree: &Tree, width: usize, output: usize, node: usize) -> f64 {
    if tree.feature[node] == LEAF {
        return tree.value[node * width + output];
    }
    let (left, right) = (tree.left[node] as usize, tree.right[node] as usize);
    let whole = (tree.cover[left] + tree.cover[right]).max(f64::MIN_POSITIVE);
    (tree.cover[left] * expected(tree, width, output, left)
        + tree.cover[right] * expected(tree, width, output, right))
        / whole
}

fn trees(
    x: &Matrix,
    trees: &[Tree],
    width: usize,
    classes: &[u32],
    base: &(dyn Fn(u32) -> f64 + Sync),
    // The output that a tree speaks of for a class, and what to multiply it with.
    speaks: &(dyn Fn(usize, u32) -> Option<(usize, f64)> + Sync),
    task: &Task,
) -> Result<Attributions> {
    let d = x.n_columns();
    let means = task.map(trees.len(), |index| {
        let tree = &trees[index];
        Ok((0..width).map(|output| expected(tree, width, output, 0)).collect::<Vec<_>>())
    })?;
    let rows = task.map(x.n_rows, |row| {
        let class = classes.get(row).copied().unwrap_or(0);
        let mut given = Vec::new();
        x.row(row, &mut given);
        let (mut values, mut baseline) = (vec![0.0; d], base(class));
        let mut one = vec![0.0; d];
        for (index, tree) in trees.iter().enumerate() {
            if index % 16 == 0 {
                task.check()?;
            }
            let Some((output, by)) = speaks(index, class) else { continue };
            baseline += by * means[index][output];
            one.fill(0.0);
            let walk = Walk { tree, row: &given, width, output };
            let start = Step { feature: LEAF, zero: 1.0, one: 1.0, weight: 0.0 };
            walk.step(0, Vec::new(), start, &mut one);
            values.iter_mut().zip(&one).for_each(|(sum, value)| *sum += by * value);
        }
        Ok((baseline, values))
    })?;
    let baseline = rows.iter().map(|(baseline, _)| *baseline).collect::<Vec<_>>();
    let score = rows.iter().map(|(baseline, values)| baseline + values.iter().sum::<f64>());
    let score = score.collect();
    let column = |feature: usize| rows.iter().map(|(_, values)| values[feature]).collect();
    Ok(Attributions { baseline, score, values: (0..d).map(column).collect() })
}

/// Returns the mean of the absolute attributions of each feature over rows, for the classes that are predicted.
///
/// # Errors
/// As [`attributions`].
pub fn global(model: &Model, x: &Matrix, task: &Task) -> Result<Vec<f64>> {
    let classes = predicted(&model.predict(x, task)?, x.n_rows);
    let found = attributions(model, x, &classes, task)?;
    let n = (x.n_rows as f64).max(1.0);
    Ok(found.values.iter().map(|column| column.iter().map(|v| v.abs()).sum::<f64>() / n).collect())
}

/// Returns the most probable class of each row; 0 where there are no classes.
pub fn predicted(prediction: &Prediction, n_rows: usize) -> Vec<u32> {
    let Prediction::Probabilities(p) = prediction else { return vec![0; n_rows] };
    (0..n_rows).map(|row| crate::evaluate::predicted_class(p, row, 0.5)).collect()
}
