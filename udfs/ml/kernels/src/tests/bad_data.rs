//! Data that leaves little or nothing to learn: a right model or a clear error.

use super::*;
use crate::artifact::Artifact;
use crate::model::Model;

fn two(x: Vec<Vec<f64>>, y: &[u32]) -> Data {
    let target = Target::Classes { codes: Arc::new(y.to_vec()), n_classes: 2 };
    Data { x: matrix(&x), target, weights: None }
}

fn refusal(name: &str, data: &Data) -> String {
    let spec = model::spec(name).unwrap();
    model::fit(spec, &Parameters::default(), data, 1, &Task::single()).unwrap_err().report()
}

#[test]
fn one_class_is_refused() {
    let report = refusal("logistic_reg", &two(vec![vec![1.0], vec![2.0], vec![3.0]], &[1, 1, 1]));
    assert!(report.contains("only one class"), "{report}");
}

#[test]
fn infinities_are_refused_by_name() {
    let report =
        refusal("boosted_tree_classifier", &two(vec![vec![1.0], vec![f64::INFINITY]], &[0, 1]));
    assert!(report.contains("feature \"x0\" has values that are infinite"), "{report}");
}

#[test]
fn five_rows_separated_and_constant_columns_learn() {
    let x = vec![vec![1.0, 7.0], vec![2.0, 7.0], vec![3.0, 7.0], vec![10.0, 7.0], vec![11.0, 7.0]];
    let data = two(x, &[0, 0, 0, 1, 1]);
    for name in [
        "logistic_reg",
        "decision_tree_classifier",
        "random_forest_classifier",
        "boosted_tree_classifier",
        "naive_bayes",
        "knn_classifier",
    ] {
        let fitted = fit(name, &[("min_tree_child_weight", 0.0), ("num_neighbors", 2.0)], &data);
        let p = probabilities(&fitted, &data.x);
        assert!(p.iter().flatten().all(|p| p.is_finite()), "{name}");
        assert!(p[1][0] < 0.5 && p[1][4] > 0.5, "{name}: {:?}", p[1]);
    }
}

#[test]
fn equal_columns_share_their_weight() {
    let x = (0..50).map(|i| vec![f64::from(i), f64::from(i), 3.0]).collect::<Vec<_>>();
    let y = Target::Numbers(Arc::new((0..50).map(|i| 4.0 * f64::from(i) + 1.0).collect()));
    let data = Data { x: matrix(&x), target: y, weights: None };
    let fitted = fit("linear_reg", &[], &data);
    let Model::Linear(model) = &fitted.model else { panic!() };
    near(&[model.weights[0] + model.weights[1], model.weights[2]], &[4.0, 0.0], 1e-6);
    let Prediction::Numbers(p) = fitted.model.predict(&data.x, &Task::single()).unwrap() else {
        panic!()
    };
    near(&p, &(0..50).map(|i| 4.0 * f64::from(i) + 1.0).collect::<Vec<_>>(), 1e-6);
}

#[test]
fn thousands_of_classes_learn() {
    let n = 4000_u32;
    let x = (0..n).map(|i| vec![f64::from(i)]).collect::<Vec<_>>();
    let codes = Arc::new((0..n).map(|i| i / 4).collect::<Vec<_>>());
    let data =
        Data { x: matrix(&x), target: Target::Classes { codes, n_classes: 1000 }, weights: None };
    let fitted = fit("naive_bayes", &[], &data);
    let p = probabilities(&fitted, &data.x);
    assert_eq!(p.len(), 1000);
    assert!(p.iter().flatten().all(|p| p.is_finite()));
}

#[test]
fn damaged_files_are_refused() {
    let report = |bytes: &[u8]| Artifact::decode(bytes).unwrap_err().report();
    assert!(report(b"").contains("too short"));
    assert!(report(b"PK\x03\x04 something else").contains("no model file"));
    assert!(report(b"MARUML\0\x01\0\0\0\0\0\0\0\0body").contains("checksum"));
    assert!(report(b"MARUML\0\x09\0\0\0\0\0\0\0\0body").contains("Another version"));
}
