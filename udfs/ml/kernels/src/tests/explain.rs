//! Attributions beside Shapley values by their definition; drift beside values by hand.

use super::*;
use crate::explain::{attributions, predicted};
use crate::model::Model;
use crate::model::tree::{LEAF, Tree};
use crate::profile::Profile;

/// What a tree says when only some features are known: the others go both ways by the weight of the rows.
fn known(tree: &Tree, row: &[f64], set: usize, at: usize) -> f64 {
    let feature = tree.feature[at];
    if feature == LEAF {
        return tree.value[at];
    }
    let (left, right) = (tree.left[at] as usize, tree.right[at] as usize);
    if set >> feature & 1 == 1 {
        let goes_left = row[feature as usize] <= tree.threshold[at];
        return known(tree, row, set, if goes_left { left } else { right });
    }
    let (a, b) = (tree.cover[left], tree.cover[right]);
    (a * known(tree, row, set, left) + b * known(tree, row, set, right)) / (a + b)
}

fn shapley(tree: &Tree, row: &[f64], d: usize) -> Vec<f64> {
    let factorial = |n: usize| (1..=n).map(|v| v as f64).product::<f64>();
    let one = |feature: usize| {
        (0..1_usize << d)
            .filter(|set| set >> feature & 1 == 0)
            .map(|set| {
                let size = set.count_ones() as usize;
                let weight = factorial(size) * factorial(d - size - 1) / factorial(d);
                weight * (known(tree, row, set | 1 << feature, 0) - known(tree, row, set, 0))
            })
            .sum()
    };
    (0..d).map(one).collect()
}

#[test]
fn trees_are_explained_by_shapley_values() {
    let data = Data { x: matrix(&rows("cancer.x")), target: classes("cancer.y"), weights: None };
    let fitted = fit("boosted_tree_classifier", &[("max_iterations", 4.0)], &data);
    let Model::Boosted(boosted) = &fitted.model else { panic!() };
    let classes = vec![1; 300];
    let found = attributions(&fitted.model, &data.x, &classes, &Task::single()).unwrap();
    let p = probabilities(&fitted, &data.x);
    let mut row_values = Vec::new();
    for row in [0, 17, 299] {
        data.x.row(row, &mut row_values);
        let mut wanted = vec![0.0; 6];
        for tree in &boosted.trees {
            wanted.iter_mut().zip(shapley(tree, &row_values, 6)).for_each(|(sum, v)| *sum += v);
        }
        near(&found.values.iter().map(|c| c[row]).collect::<Vec<_>>(), &wanted, 1e-9);
        near(&[1.0 / (1.0 + (-found.score[row]).exp())], &[p[1][row]], 1e-9);
    }
}

#[test]
fn attributions_add_up_for_every_model_that_has_them() {
    let two = Data { x: matrix(&rows("cancer.x")), target: classes("cancer.y"), weights: None };
    let three = Data { x: matrix(&rows("iris.x")), target: classes("iris.y"), weights: None };
    let target = Target::Numbers(Arc::new(numbers("diabetes.y")));
    let regression = Data { x: matrix(&rows("diabetes.x")), target, weights: None };
    let few = [("max_iterations", 5.0), ("num_parallel_tree", 5.0), ("max_tree_depth", 4.0)];
    let task = Task::single();
    for (name, data, pairs) in [
        ("linear_reg", &regression, [].as_slice()),
        ("boosted_tree_regressor", &regression, &few),
        ("random_forest_regressor", &regression, &few),
        ("logistic_reg", &two, &[("l2_reg", 1.0)]),
        ("logistic_reg", &three, &[("l2_reg", 1.0)]),
        ("linear_svm", &three, &[]),
        ("boosted_tree_classifier", &three, &few),
        ("decision_tree_classifier", &three, &few),
        ("random_forest_classifier", &two, &few),
    ] {
        let fitted = fit(name, pairs, data);
        let prediction = fitted.model.predict(&data.x, &task).unwrap();
        let classes = predicted(&prediction, data.x.n_rows);
        let found = attributions(&fitted.model, &data.x, &classes, &task).unwrap();
        for row in 0..data.x.n_rows {
            let sum = found.baseline[row] + found.values.iter().map(|c| c[row]).sum::<f64>();
            near(&[sum], &[found.score[row]], 1e-9);
            match (&prediction, name) {
                (Prediction::Numbers(y), _) => near(&[found.score[row]], &[y[row]], 1e-9),
                (
                    Prediction::Probabilities(p),
                    "decision_tree_classifier" | "random_forest_classifier",
                ) => {
                    near(&[found.score[row]], &[p[classes[row] as usize][row]], 1e-9);
                }
                (Prediction::Probabilities(p), "logistic_reg") if p.len() == 2 => {
                    let own = p[classes[row] as usize][row];
                    near(&[found.score[row]], &[(own / (1.0 - own)).ln()], 1e-6);
                }
                _ => {}
            }
        }
        // On the average rows add nothing to a linear score.
        if name == "linear_reg" {
            let mean = found.values[0].iter().sum::<f64>() / data.x.n_rows as f64;
            near(&[mean], &[0.0], 1e-9);
        }
        let shares = crate::explain::global(&fitted.model, &data.x, &task).unwrap();
        assert!(shares.iter().all(|share| *share >= 0.0) && shares.iter().sum::<f64>() > 0.0);
    }
    let fitted = fit("naive_bayes", &[], &two);
    let error = attributions(&fitted.model, &two.x, &[], &task).unwrap_err().report();
    assert!(error.contains("no way to explain"), "{error}");
}

#[test]
fn drift_is_nothing_for_the_same_and_grows_with_the_shift() {
    let mut random = crate::random::Random::new(5, 0);
    let values = (0..20_000).map(|_| random.normal()).collect::<Vec<_>>();
    let base = Profile::of("x", &Column::number(values.clone()));
    let same = base.drift(&base.like(&Column::number(values)).unwrap()).unwrap();
    near(&[same.psi, same.ks.unwrap(), same.jensen_shannon], &[0.0; 3], 1e-12);
    let shifted = (0..20_000).map(|_| random.normal() + 1.0).collect::<Vec<_>>();
    let drift = base.drift(&base.like(&Column::number(shifted)).unwrap()).unwrap();
    // Two normal distributions a deviation apart: 2·Φ(½) − 1.
    near(&[drift.ks.unwrap()], &[0.382_924_9], 0.02);
    assert!(drift.psi > 0.7 && drift.psi < 1.2, "{drift:?}");
    assert!(drift.jensen_shannon > 0.1 && drift.jensen_shannon < 0.2, "{drift:?}");
    let text = |words: &[&str]| Column::Text(words.iter().map(|w| Some(*w)).collect());
    let base = Profile::of("c", &text(&["a", "a", "b", "b"]));
    let other = base.like(&text(&["a", "a", "a", "z"])).unwrap();
    let drift = base.drift(&other).unwrap();
    near(&[drift.l_infinity.unwrap()], &[0.5], 1e-12);
    // By hand: shares (½, ½, 0) and (¾, 0, ¼).
    let part = |p: f64, m: f64| if p > 0.0 { p * (p / m).log2() } else { 0.0 };
    let wanted =
        0.5 * (part(0.5, 0.625) + part(0.5, 0.25)) + 0.5 * (part(0.75, 0.625) + part(0.25, 0.125));
    near(&[drift.jensen_shannon], &[wanted], 1e-12);
    let empty = Profile::of("x", &Column::number(vec![f64::NAN; 3]));
    assert_eq!(empty.n_null, 3);
    assert!(empty.drift(&empty).unwrap().psi.abs() < 1e-12);
    assert!(base.like(&Column::number(vec![1.0])).is_none());
}
