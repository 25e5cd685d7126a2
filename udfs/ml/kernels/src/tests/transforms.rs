//! Transforms beside scikit-learn's, and chains of them.

use super::*;
use crate::artifact::Artifact;
use crate::model::Problem;
use crate::pipeline::{Features, Kind, Pipeline, Plan, learn_all};
use crate::score::Fused;
use crate::transform::{self, Arguments, Context};

fn apply(name: &str, positional: Vec<Literal>, input: &Frame) -> Vec<Vec<f64>> {
    let task = Task::single();
    let context = Context { task: &task, seed: 1, target: None };
    let arguments = Arguments { positional, named: Vec::new() };
    let (_, out) = transform::fit(name, &arguments, input.clone(), &context).unwrap();
    columns(&out)
}

fn columns(frame: &Frame) -> Vec<Vec<f64>> {
    let column = |(_, column): &(String, Column)| match column {
        Column::Number(values) => values.as_ref().clone(),
        Column::Text(_) => panic!("text"),
    };
    frame.columns.iter().map(column).collect()
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).collect()).collect()
}

fn text(values: &[Option<&str>]) -> Frame {
    Frame::new(vec![("t".to_owned(), Column::Text(values.iter().copied().collect()))])
}

#[test]
fn scalers() {
    for name in ["min_max_scaler", "standard_scaler", "max_abs_scaler", "robust_scaler"] {
        let found = apply(name, vec![], &frame(&rows("cancer.x")[..5]));
        for (found, wanted) in found.iter().zip(transposed(&rows(&format!("scalers.{name}")))) {
            near(found, &wanted, 1e-12);
        }
    }
    let three = rows("cancer.x")[..5].iter().map(|row| row[..3].to_vec()).collect::<Vec<_>>();
    let found = apply("polynomial_expand", vec![], &frame(&three));
    let wanted = transposed(&rows("scalers.polynomial_expand"));
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(&wanted).for_each(|(found, wanted)| near(found, wanted, 1e-12));
    // A constant column is not divided by nothing.
    assert_eq!(apply("min_max_scaler", vec![], &frame(&[vec![5.0], vec![5.0]])), [[0.0, 0.0]]);
    assert_eq!(
        apply("standard_scaler", vec![], &frame(&[vec![0.1], vec![0.1], vec![0.1]])),
        [[0.0; 3]]
    );
}

#[test]
fn imputers() {
    let gaps = frame(&[vec![1.0], vec![f64::NAN], vec![2.0], vec![2.0], vec![9.0]]);
    let filled =
        |strategy: &str| apply("imputer", vec![Literal::Text(strategy.to_owned())], &gaps)[0][1];
    assert_eq!(filled("mean"), 3.5);
    assert_eq!(filled("median"), 2.0);
    assert_eq!(filled("most_frequent"), 2.0);
    assert_eq!(filled("constant"), 0.0);
    let constant =
        vec![Literal::Text("constant".into()), Literal::Number(-1.0), Literal::Boolean(true)];
    let found = apply("imputer", constant, &gaps);
    assert_eq!(found[0][1], -1.0);
    assert_eq!(found[1], [0.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn encoders() {
    let t = text(&[Some("b"), Some("a"), None, Some("b")]);
    assert_eq!(apply("label_encoder", vec![], &t), [[2.0, 1.0, 0.0, 2.0]]);
    assert_eq!(
        apply("one_hot_encoder", vec![], &t),
        [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    );
    let most = vec![Literal::Text("most_frequent".into())];
    assert_eq!(apply("one_hot_encoder", most, &t), [[0.0, 1.0, 0.0, 0.0]]);
    assert_eq!(apply("frequency_encoder", vec![], &t), [[0.5, 0.25, 0.0, 0.5]]);
    let buckets = vec![Literal::List(vec![Literal::Number(0.0), Literal::Number(10.0)])];
    let numbers = frame(&[vec![-1.0], vec![0.0], vec![99.0], vec![f64::NAN]]);
    assert_eq!(apply("bucketize", buckets, &numbers), [[1.0, 2.0, 3.0, 0.0]]);
}

#[test]
fn others_are_called_unlike_every_category() {
    let task = Task::single();
    let context = Context { task: &task, seed: 1, target: None };
    let names = |values: &[Option<&str>]| {
        let arguments = Arguments::default();
        let (_, out) =
            transform::fit("one_hot_encoder", &arguments, text(values), &context).unwrap();
        out.columns.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[Some("a"), None]), ["t_a", "t_other"]);
    assert_eq!(names(&[Some("a"), Some("other"), None]), ["t_a", "t_other", "t_other_"]);
}

#[test]
fn crossed_categories_can_be_taken_apart() {
    let task = Task::single();
    let context = Context { task: &task, seed: 1, target: None };
    let cross = |pairs: &[(&str, &str)],
                 separator: Option<&str>|
     -> maru_core::Result<Vec<String>> {
        let column = |values: Vec<&str>| Column::Text(values.into_iter().map(Some).collect());
        let input = Frame::new(vec![
            ("a".to_owned(), column(pairs.iter().map(|pair| pair.0).collect())),
            ("b".to_owned(), column(pairs.iter().map(|pair| pair.1).collect())),
        ]);
        let positional = separator.map(|text| Literal::Text(text.to_owned())).into_iter().collect();
        let arguments = Arguments { positional, named: Vec::new() };
        let (_, out) = transform::fit("feature_cross", &arguments, input, &context)?;
        let texts = (0..pairs.len()).map(|row| out.columns[0].1.text(row).map(|t| t.into_owned()));
        Ok(texts.flatten().collect())
    };
    assert_eq!(cross(&[("x", "y"), ("x", "z")], None).unwrap(), ["x_y", "x_z"]);
    assert_eq!(cross(&[("a_b", "c"), ("a", "b_c")], None).unwrap(), ["a_b|c", "a|b_c"]);
    assert_eq!(cross(&[("a_b", "|"), ("a", "b")], None).unwrap(), ["a_b\u{1f}|", "a\u{1f}b"]);
    // Two of them overlap.
    let report = cross(&[("a-", "b")], Some("--")).unwrap_err().report();
    assert!(report.contains("hold its separator"), "{report}");
}

#[test]
fn an_imputer_puts_booleans_in_the_place_of_null() {
    let gaps = frame(&[vec![0.0], vec![f64::NAN]]);
    let constant = vec![Literal::Text("constant".into()), Literal::Boolean(true)];
    assert_eq!(apply("imputer", constant, &gaps), [[0.0, 1.0]]);
}

#[test]
fn principal_components() {
    let x = frame(&standardized("cancer.x"));
    let same = |found: &[Vec<f64>], wanted: &[Vec<f64>]| {
        for (found, wanted) in found.iter().zip(wanted) {
            let sign = (found[0] * wanted[0]).signum();
            let found = found[..wanted.len()].iter().map(|v| v * sign).collect::<Vec<_>>();
            near(&found, wanted, 1e-9);
        }
    };
    let found = apply("pca", vec![Literal::Number(3.0)], &x);
    same(&found, &transposed(&rows("pca.projected")));
    let found = apply("pca", vec![Literal::Number(3.0), Literal::Boolean(true)], &x);
    same(&found, &transposed(&rows("pca.whitened")));
    let found = apply("pca", vec![Literal::Number(0.9)], &x);
    assert_eq!(found.len() as u64, fixture("pca.kept_for_90").as_u64().unwrap());
    let pca = transform::Pca::learn(
        &matrix(&standardized("cancer.x")),
        Some(3.0),
        false,
        &Task::single(),
    )
    .unwrap();
    same(&pca.components, &rows("pca.components"));
    near(&pca.explained_variance, &numbers("pca.variance"), 1e-9);
    near(&pca.explained_variance_ratio, &numbers("pca.ratio"), 1e-9);
}

#[test]
fn outliers() {
    let x = frame(&standardized("cancer.x"));
    let scores = apply("outlier_score", vec![], &x).swap_remove(0);
    let wanted = numbers("isolation.scores");
    // Random forests agree on the order of rows, not on digits.
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (a, b) = (mean(&scores), mean(&wanted));
    let both = scores.iter().zip(&wanted).map(|(x, y)| (x - a) * (y - b)).sum::<f64>();
    let own = |values: &[f64], m: f64| values.iter().map(|v| (v - m).powi(2)).sum::<f64>().sqrt();
    let correlation = both / own(&scores, a) / own(&wanted, b);
    assert!(correlation > 0.98, "{correlation}");
    assert!((a - b).abs() < 0.02, "{a} {b}");
    let line = frame(&(0..9).map(|v| vec![f64::from(v)]).chain([vec![100.0]]).collect::<Vec<_>>());
    for method in ["z_score", "mad", "iqr", "mahalanobis", "isolation_forest"] {
        let scores =
            apply("outlier_score", vec![Literal::Text(method.into())], &line).swap_remove(0);
        assert!(scores[..9].iter().all(|score| *score < scores[9]), "{method}: {scores:?}");
    }
}

#[test]
fn a_linear_chain_is_one_dot_product() {
    let task = Task::single();
    let mut x = rows("cancer.x");
    x[3][1] = f64::NAN;
    let input = frame(&x);
    let call = |name: &str, positional: Vec<Literal>, inputs: Vec<Plan>| Plan::Call {
        name: name.to_owned(),
        arguments: Arguments { positional, named: Vec::new() },
        inputs,
    };
    let all = (0..6).map(Plan::Input).collect();
    let chain = call(
        "pca",
        vec![Literal::Number(4.0)],
        vec![call("min_max_scaler", vec![], vec![call("imputer", vec![], all)])],
    );
    let context = Context { task: &task, seed: 1, target: None };
    let plans = [("pc".to_owned(), chain), ("raw".to_owned(), Plan::Input(5))];
    let (outputs, learnt) = learn_all(&plans, &input, &context).unwrap();
    let columns = learnt.into_iter().flat_map(|(_, frame)| frame.columns).collect();
    let gathered = Frame { n_rows: input.n_rows, columns };
    let features = Features::learn(&gathered, &Task::single()).unwrap();
    let x = features.matrix(&gathered, &task).unwrap();
    assert_eq!(x.names, ["pc1", "pc2", "pc3", "pc4", "raw"]);
    let data = Data { x, target: classes("cancer.y"), weights: None };
    let fitted = fit("logistic_reg", &[("l2_reg", 0.1)], &data);
    let inputs = (0..6).map(|i| (format!("x{i}"), Kind::Number)).collect();
    let artifact = Artifact {
        model_type: "logistic_reg".into(),
        problem: Problem::Classification,
        label: Some("y".into()),
        classes: vec!["0".into(), "1".into()],
        pipeline: Pipeline { inputs, outputs, features },
        features: data.x.names.clone(),
        model: fitted.model,
        threshold: 0.5,
    };
    let artifact = Artifact::decode(&artifact.encode().unwrap()).unwrap();
    let Prediction::Probabilities(slow) = artifact.predict(&input, &task).unwrap() else {
        panic!()
    };
    let fused = Fused::new(&artifact).unwrap();
    let Some(Prediction::Probabilities(fast)) = fused.predict(&input, &task).unwrap() else {
        panic!()
    };
    near(&fast[1], &slow[1], 1e-10);
}
