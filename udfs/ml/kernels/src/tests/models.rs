//! Models beside scikit-learn's.

use super::*;
use crate::evaluate::{Ranked, measure};
use crate::gather::Ordered;
use crate::model::Model;

fn cancer() -> Data {
    Data { x: matrix(&standardized("cancer.x")), target: classes("cancer.y"), weights: None }
}

fn diabetes() -> Data {
    let target = Target::Numbers(Arc::new(numbers("diabetes.y")));
    Data { x: matrix(&rows("diabetes.x")), target, weights: None }
}

#[test]
fn logistic_with_two_classes() {
    for case in 0..4 {
        let path = |name: &str| format!("logistic.{case}.{name}");
        let mut data = cancer();
        if fixture(&path("balanced")).as_bool().unwrap() {
            let y = numbers("cancer.y");
            let ones = y.iter().sum::<f64>();
            let weight = |y: &f64| {
                y.mul_add(0.5 / ones, (1.0 - y) * 0.5 / (y.mul_add(0.0, 300.0) - ones)) * 300.0
            };
            data.weights = Some(Arc::new(y.iter().map(weight).collect()));
        }
        let l2 = fixture(&path("l2")).as_f64().unwrap();
        let fitted = fit("logistic_reg", &[("l2_reg", l2)], &data);
        let Model::Logistic(model) = &fitted.model else { panic!() };
        near(&model.weights[0], &numbers(&path("weights")), 1e-6);
        near(&model.intercepts, &[fixture(&path("intercept")).as_f64().unwrap()], 1e-6);
        assert!(fitted.converged);
        let p = probabilities(&fitted, &data.x);
        near(&p[1], &numbers(&path("p")), 1e-6);
        let metrics = measure(&Prediction::Probabilities(p), &data.target, 0.5).unwrap();
        for name in ["roc_auc", "pr_auc", "log_loss", "mcc"] {
            let found = metrics.iter().find(|(metric, _)| *metric == name).unwrap().1;
            near(&[found], &[fixture(&path(name)).as_f64().unwrap()], 1e-6);
        }
    }
}

#[test]
fn probabilities_with_the_same_weights() {
    let model = Model::Logistic(model::Logistic {
        weights: vec![numbers("logistic.0.weights")],
        intercepts: vec![fixture("logistic.0.intercept").as_f64().unwrap()],
        standard_errors: None,
        deviations: Vec::new(),
        means: Vec::new(),
    });
    let fitted = Fit { model, iterations: Vec::new(), converged: true };
    near(&probabilities(&fitted, &cancer().x)[1], &numbers("logistic.0.p"), 1e-8);
}

#[test]
fn logistic_with_l1_and_elastic_net() {
    for (path, pairs) in [
        ("logistic_l1", vec![("l1_reg", 10.0)]),
        ("logistic_elastic", vec![("l1_reg", 5.0), ("l2_reg", 5.0)]),
    ] {
        let fitted = fit("logistic_reg", &pairs, &cancer());
        let Model::Logistic(model) = &fitted.model else { panic!() };
        near(&model.weights[0], &numbers(&format!("{path}.weights")), 1e-6);
        near(&model.intercepts, &[fixture(&format!("{path}.intercept")).as_f64().unwrap()], 1e-6);
    }
}

#[test]
fn logistic_with_more_classes() {
    let data = Data { x: matrix(&rows("iris.x")), target: classes("iris.y"), weights: None };
    let fitted = fit("logistic_reg", &[("l2_reg", 1.0)], &data);
    let Model::Logistic(model) = &fitted.model else { panic!() };
    for (found, wanted) in model.weights.iter().zip(rows("multinomial.weights")) {
        near(found, &wanted, 1e-6);
    }
    near(&model.intercepts, &numbers("multinomial.intercepts"), 1e-6);
    let p = probabilities(&fitted, &data.x);
    let metrics = measure(&Prediction::Probabilities(p), &data.target, 0.5).unwrap();
    for name in ["roc_auc", "log_loss"] {
        let found = metrics.iter().find(|(metric, _)| *metric == name).unwrap().1;
        near(&[found], &[fixture(&format!("multinomial.{name}")).as_f64().unwrap()], 1e-6);
    }
    let fitted = fit("logistic_reg", &[("l1_reg", 1.0)], &data);
    let p = probabilities(&fitted, &data.x);
    for (row, wanted) in rows("multinomial_l1.p").iter().enumerate() {
        near(&[p[0][row], p[1][row], p[2][row]], wanted, 1e-5);
    }
}

/// Logits far apart in different rows must not disturb each other.
#[test]
fn each_row_is_normalised_by_itself() {
    let model = Model::Logistic(model::Logistic {
        weights: vec![vec![60.0, 1.0], vec![58.0, 0.5], vec![50.0, 0.0]],
        intercepts: vec![0.0; 3],
        standard_errors: None,
        deviations: Vec::new(),
        means: Vec::new(),
    });
    let x = matrix(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
    let p = probabilities(&Fit { model, iterations: Vec::new(), converged: true }, &x);
    near(&[p[0][1], p[1][1], p[2][1]], &[0.506_480_391, 0.307_195_886, 0.186_323_723], 1e-8);
}

#[test]
fn many_unknowns_go_another_way_to_the_same_place() {
    let wide = |data: &Data| {
        // Copies of the columns, shifted: more unknowns than Newton's method takes.
        let mut x = Matrix { n_rows: data.x.n_rows, ..Matrix::default() };
        for copy in 0..110 {
            for column in &data.x.columns {
                let shifted = column
                    .iter()
                    .enumerate()
                    .map(|(row, v)| v + (row * (copy + 3) % 17) as f64 * 0.1);
                x.columns.push(Arc::new(shifted.collect()));
                x.names.push(format!("x{}", x.columns.len()));
            }
        }
        Data { x, ..data.clone() }
    };
    let data = wide(&cancer());
    let loss = |pairs: &[(&str, f64)]| {
        let fitted = fit("logistic_reg", pairs, &data);
        assert!(fitted.converged, "{pairs:?}");
        fitted.iterations.last().unwrap().loss
    };
    assert!(loss(&[("l2_reg", 1.0)]) < 0.2);
    assert!(loss(&[("l1_reg", 1.0)]) < 0.2);
}

#[test]
fn linear_models() {
    let n = numbers("diabetes.y").len() as f64;
    for (path, pairs) in [
        ("linear", vec![]),
        ("ridge", vec![("l2_reg", 10.0)]),
        ("lasso", vec![("l1_reg", 0.5 * n)]),
        ("elastic", vec![("l1_reg", 0.25 * n), ("l2_reg", 0.25 * n)]),
    ] {
        let data = diabetes();
        let fitted = fit("linear_reg", &pairs, &data);
        let Model::Linear(model) = &fitted.model else { panic!() };
        near(&model.weights, &numbers(&format!("{path}.weights")), 1e-6);
        near(&[model.intercept], &[fixture(&format!("{path}.intercept")).as_f64().unwrap()], 1e-6);
        let prediction = fitted.model.predict(&data.x, &Task::single()).unwrap();
        let metrics = measure(&prediction, &data.target, 0.5).unwrap();
        let r2 = metrics.iter().find(|(name, _)| *name == "r2_score").unwrap().1;
        near(&[r2], &[fixture(&format!("{path}.r2")).as_f64().unwrap()], 1e-8);
    }
    let mut data = diabetes();
    data.weights = Some(Arc::new((0..n as usize).map(|row| 1.0 + (row % 3) as f64).collect()));
    let fitted = fit("linear_reg", &[], &data);
    let Model::Linear(model) = &fitted.model else { panic!() };
    near(&model.weights, &numbers("weighted.weights"), 1e-6);
}

#[test]
fn trees_split_where_scikit_learn_does() {
    let data = Data { x: matrix(&rows("cancer.x")), target: classes("cancer.y"), weights: None };
    // With as many distinct values the bins are coarser than scikit-learn's candidates: the same but at a few rows.
    let fitted = fit("decision_tree_classifier", &[("max_tree_depth", 4.0)], &data);
    let p = &probabilities(&fitted, &data.x)[1];
    let differ = p.iter().zip(numbers("tree.p")).filter(|(a, b)| (*a - b).abs() > 0.2).count();
    assert!(differ <= 15, "{differ} of 300 rows differ");
    let fitted = fit("decision_tree_regressor", &[("max_tree_depth", 3.0)], &diabetes());
    let Prediction::Numbers(found) = fitted.model.predict(&diabetes().x, &Task::single()).unwrap()
    else {
        panic!()
    };
    let wanted = numbers("regression_tree.p");
    let differ = found.iter().zip(&wanted).filter(|(a, b)| (*a - *b).abs() > 1e-6).count();
    assert!(differ <= 22, "{differ} of {} rows differ", wanted.len());
}

#[test]
fn ensembles_do_as_well() {
    let data = Data { x: matrix(&rows("cancer.x")), target: classes("cancer.y"), weights: None };
    let half = |rest: u32| (0..300).filter(|row| row % 2 == rest).collect::<Vec<u32>>();
    let (train, test) = (half(0), half(1));
    let task = Task::single();
    let (train, test) = (data.select(&train, &task).unwrap(), data.select(&test, &task).unwrap());
    // What scikit-learn has where nothing is said.
    let boosted = [
        ("learn_rate", 0.1),
        ("min_samples_leaf", 20.0),
        ("min_tree_child_weight", 0.001),
        ("l2_reg", 0.0),
    ];
    for (name, path, options) in [
        ("random_forest_classifier", "forest", [].as_slice()),
        ("boosted_tree_classifier", "boosted", &boosted),
    ] {
        let fitted = fit(name, options, &train);
        let Target::Classes { codes, .. } = &test.target else { panic!() };
        let positive = codes.iter().map(|c| *c == 1).collect::<Vec<_>>();
        let auc = Ranked::new(&probabilities(&fitted, &test.x)[1], |row| positive[row]).roc_auc();
        let wanted = fixture(&format!("{path}.roc_auc")).as_f64().unwrap();
        assert!(auc > wanted - 0.01, "{name}: {auc} beside {wanted}");
        let importance = fitted.model.importance().unwrap();
        near(&[importance.iter().sum::<f64>()], &[1.0], 1e-9);
    }
}

#[test]
fn neighbours_bayes_and_clusters() {
    let raw = Data { x: matrix(&rows("cancer.x")), target: classes("cancer.y"), weights: None };
    let fitted = fit("naive_bayes", &[], &raw);
    near(&probabilities(&fitted, &raw.x)[1], &numbers("naive_bayes.p"), 1e-8);
    let fitted = fit("knn_classifier", &[], &raw);
    near(&probabilities(&fitted, &raw.x)[1], &numbers("knn.p"), 1e-8);
    let fitted = fit("kmeans", &[("num_clusters", 3.0)], &raw);
    let inertia = fitted.iterations.last().unwrap().loss * 300.0;
    let wanted = fixture("kmeans.inertia").as_f64().unwrap();
    assert!(inertia <= wanted * 1.02, "{inertia} beside {wanted}");
}

#[test]
fn threads_and_the_order_of_rows_change_nothing() {
    let n = 20_000;
    let mut random = crate::random::Random::new(3, 0);
    let columns =
        (0..4).map(|_| (0..n).map(|_| random.normal()).collect::<Vec<_>>()).collect::<Vec<_>>();
    let y = (0..n).map(|row| f64::from(u8::from(columns[0][row] + 0.3 * random.normal() > 0.2)));
    let y = y.collect::<Vec<_>>();
    let learn = |reverse: bool, n_threads: usize, name: &str| {
        let task = Task::single().with_threads(n_threads);
        let order = |values: &Vec<f64>| match reverse {
            true => values.iter().rev().copied().collect(),
            false => values.clone(),
        };
        let mut all = columns.iter().map(order).collect::<Vec<Vec<f64>>>();
        all.push(order(&y));
        let named = all.into_iter().enumerate().map(|(i, c)| (format!("x{i}"), Column::number(c)));
        let frame = Ordered::new(&Frame::new(named.collect()), &task).unwrap().frame;
        let mut columns = frame.columns.into_iter().map(|(_, column)| match column {
            Column::Number(values) => values,
            Column::Text(_) => panic!(),
        });
        let columns = columns.by_ref().collect::<Vec<_>>();
        let codes = Arc::new(columns[4].iter().map(|v| *v as u32).collect());
        let x = Matrix::new((0..4).map(|i| format!("x{i}")).collect(), columns[..4].to_vec());
        let data = Data { x, target: Target::Classes { codes, n_classes: 2 }, weights: None };
        let pairs = [("num_parallel_tree", 5.0), ("max_iterations", 5.0), ("max_tree_depth", 4.0)];
        let fitted = model::fit(model::spec(name).unwrap(), &parameters(&pairs), &data, 1, &task);
        rmp_serde::to_vec_named(&fitted.unwrap().model).unwrap()
    };
    for name in ["logistic_reg", "random_forest_classifier", "boosted_tree_classifier", "kmeans"] {
        let first = learn(false, 1, name);
        assert!(first == learn(true, 2, name), "{name}");
        assert!(first == learn(false, 3, name), "{name}");
    }
}
