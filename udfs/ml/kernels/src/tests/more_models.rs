//! Support vector machines, clusters by density and by distributions, words, early stop and folds, beside scikit-learn.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::anomaly::is_outlier;
use crate::evaluate::{Ranked, measure};
use crate::model::{Model, NOISE};
use crate::pipeline::{Plan, apply_all, learn_all};
use crate::split::{Folding, fold_parts};
use crate::transform::{self, Arguments, Context};

fn cancer() -> Data {
    Data { x: matrix(&standardized("cancer.x")), target: classes("cancer.y"), weights: None }
}

#[test]
fn linear_svm_with_two_and_more_classes() {
    for case in 0..3 {
        let path = |name: &str| format!("svm.{case}.{name}");
        let mut data = cancer();
        let y = numbers("cancer.y");
        if fixture(&path("balanced")).as_bool().unwrap() {
            let ones = y.iter().sum::<f64>();
            let weight = |y: &f64| if *y > 0.5 { 150.0 / ones } else { 150.0 / (300.0 - ones) };
            data.weights = Some(Arc::new(y.iter().map(weight).collect()));
        }
        let l2 = fixture(&path("l2")).as_f64().unwrap();
        let fitted = fit("linear_svm", &[("l2_reg", l2)], &data);
        let Model::Svm(svm) = &fitted.model else { panic!() };
        near(&svm.weights[0], &numbers(&path("weights")), 1e-5);
        near(&svm.intercepts, &[fixture(&path("intercept")).as_f64().unwrap()], 1e-5);
        assert!(fitted.converged);
        let p = probabilities(&fitted, &data.x);
        let positive = y.iter().map(|y| *y > 0.5).collect::<Vec<_>>();
        let auc = Ranked::new(&p[1], |row| positive[row]).roc_auc();
        near(&[auc], &[fixture(&path("roc_auc")).as_f64().unwrap()], 1e-4);
        // Probabilities that mean something: among those of 0.8 and more at least seven in ten are right.
        let sure = (0..300).filter(|row| p[1][*row] >= 0.8).collect::<Vec<_>>();
        let right = sure.iter().filter(|row| positive[**row]).count();
        assert!(right as f64 > 0.7 * sure.len() as f64 && sure.len() > 50);
    }
    let data = Data { x: matrix(&rows("iris.x")), target: classes("iris.y"), weights: None };
    let fitted = fit("linear_svm", &[], &data);
    let Model::Svm(svm) = &fitted.model else { panic!() };
    for (found, wanted) in svm.weights.iter().zip(rows("svm_iris.weights")) {
        near(found, &wanted, 1e-5);
    }
    let p = probabilities(&fitted, &data.x);
    (0..150).for_each(|row| near(&[p.iter().map(|c| c[row]).sum()], &[1.0], 1e-12));
    assert!(fitted.model.importance().is_some());
}

#[test]
fn dbscan_finds_the_same_core_rows_and_noise() {
    let data = cancer();
    let pairs = [("epsilon", 1.0), ("min_samples", 6.0)];
    let mut given = parameters(&pairs);
    given.0.insert("standardize_features".to_owned(), Literal::Boolean(false));
    let spec = model::spec("dbscan").unwrap();
    let fitted = model::fit(spec, &given, &data, 7, &Task::single()).unwrap();
    let Prediction::Clusters { nearest, .. } =
        fitted.model.predict(&data.x, &Task::single()).unwrap()
    else {
        panic!()
    };
    let labels = numbers("dbscan.labels");
    let core = numbers("dbscan.core").into_iter().map(|row| row as usize).collect::<Vec<_>>();
    let mut same = BTreeMap::new();
    for row in 0..300 {
        // A row at the edge of two clusters may go to either; noise is noise.
        assert_eq!(nearest[row] == NOISE, labels[row] < 0.0, "{row}");
    }
    for row in core {
        let known = *same.entry(labels[row] as i64).or_insert(nearest[row]);
        assert_eq!(known, nearest[row], "{row}");
    }
    let distinct = same.values().collect::<HashSet<_>>();
    assert_eq!(distinct.len(), same.len());
    let prediction = fitted.model.predict(&data.x, &Task::single()).unwrap();
    let metrics = measure(&prediction, &data.target, 0.5).unwrap();
    let noise = labels.iter().filter(|label| **label < 0.0).count() as f64 / 300.0;
    near(&[metrics[1].1], &[noise], 1e-12);
}

#[test]
fn mixtures_come_to_the_same_likelihood() {
    let data = Data { x: matrix(&rows("iris.x")), target: Target::None, weights: None };
    for kind in ["full", "diag", "spherical"] {
        let path = |name: &str| format!("mixture_{kind}.{name}");
        let mut given = parameters(&[("num_clusters", 3.0), ("max_iterations", 20_000.0)]);
        given.0.insert("covariance_type".to_owned(), Literal::Text(kind.to_owned()));
        given.0.insert("tolerance".to_owned(), Literal::Number(1e-9));
        let spec = model::spec("gaussian_mixture").unwrap();
        let fitted = model::fit(spec, &given, &data, 7, &Task::single()).unwrap();
        let Model::Mixture(mixture) = &fitted.model else { panic!() };
        let wanted = fixture(&path("log_likelihood")).as_f64().unwrap();
        near(&[mixture.log_likelihood], &[wanted], 1e-6);
        near(&mixture.shares, &numbers(&path("shares")), 1e-3);
        for (found, wanted) in mixture.means.iter().zip(rows(&path("means"))) {
            near(found, &wanted, 1e-3);
        }
        let Prediction::Mixture { probabilities, .. } =
            fitted.model.predict(&data.x, &Task::single()).unwrap()
        else {
            panic!()
        };
        for (row, wanted) in rows(&path("p")).iter().enumerate() {
            let found = probabilities.iter().map(|p| p[row]).collect::<Vec<_>>();
            near(&found, wanted, 1e-3);
        }
    }
}

fn texts() -> Frame {
    let values = fixture("text.documents").as_array().unwrap();
    let values = values.iter().map(|v| Some(v.as_str().unwrap())).collect();
    Frame::new(vec![("t".to_owned(), Column::Text(values))])
}

#[test]
fn words_count_and_weigh_as_scikit_learn_does() {
    let ngrams = |least: f64, most: f64| {
        let range = Literal::List(vec![Literal::Number(least), Literal::Number(most)]);
        Plan::Call {
            name: "ngrams".to_owned(),
            arguments: Arguments { positional: vec![range], named: Vec::new() },
            inputs: vec![Plan::Input(0)],
        }
    };
    let task = Task::single();
    let context = Context { task: &task, seed: 1, target: None };
    for (path, name, input) in [
        ("tf_idf", "tf_idf", Plan::Input(0)),
        ("tf_idf_pairs", "tf_idf", ngrams(1.0, 2.0)),
        ("bag_of_pairs", "bag_of_words", ngrams(2.0, 2.0)),
    ] {
        let call = Plan::Call {
            name: name.to_owned(),
            arguments: Arguments::default(),
            inputs: vec![input],
        };
        let plans = [("t".to_owned(), call)];
        let (outputs, learnt) = learn_all(&plans, &texts(), &context).unwrap();
        let applied = apply_all(&outputs, &texts(), &task).unwrap();
        for frame in [&learnt[0].1, &applied[0].1] {
            let terms = fixture(&format!("text.{path}.terms")).as_array().unwrap();
            let values = rows(&format!("text.{path}.values"));
            assert_eq!(frame.columns.len(), terms.len(), "{path}");
            for (index, term) in terms.iter().enumerate() {
                let wanted = format!("t_{}", term.as_str().unwrap());
                let (_, column) = frame.columns.iter().find(|(name, _)| *name == wanted).unwrap();
                let Column::Number(column) = column else { panic!() };
                near(column, &values.iter().map(|row| row[index]).collect::<Vec<_>>(), 1e-12);
            }
        }
    }
}

#[test]
fn text_that_says_nothing_is_refused() {
    let nothing = Frame::new(vec![(
        "t".to_owned(),
        Column::Text(vec![None, Some(" .. ")].into_iter().collect()),
    )]);
    let task = Task::single();
    let context = Context { task: &task, seed: 1, target: None };
    let fit = |name: &str, frame: &Frame, positional: Vec<Literal>| {
        let arguments = Arguments { positional, named: Vec::new() };
        transform::fit(name, &arguments, frame.clone(), &context).unwrap_err().report()
    };
    assert!(fit("tf_idf", &nothing, vec![]).contains("no words"));
    assert!(fit("ngrams", &nothing, vec![]).contains("ARRAY[least, most]"));
    let upside = Literal::List(vec![Literal::Number(3.0), Literal::Number(2.0)]);
    assert!(fit("ngrams", &nothing, vec![upside]).contains("ARRAY[least, most]"));
    let number = frame(&[vec![1.0], vec![2.0]]);
    assert!(fit("tf_idf", &number, vec![]).contains("takes text"));
}

#[test]
fn boosting_ends_early_and_keeps_the_best() {
    let data = cancer();
    let mut given = parameters(&[("max_iterations", 400.0), ("max_tree_depth", 3.0)]);
    given.0.insert("early_stop".to_owned(), Literal::Boolean(true));
    let spec = model::spec("boosted_tree_classifier").unwrap();
    let fitted = model::fit(spec, &given, &data, 7, &Task::single()).unwrap();
    let Model::Boosted(boosted) = &fitted.model else { panic!() };
    assert!(fitted.iterations.len() < 200 && !boosted.trees.is_empty());
    assert!(boosted.trees.len() < fitted.iterations.len());
    let p = probabilities(&fitted, &data.x);
    let positive = numbers("cancer.y").iter().map(|y| *y > 0.5).collect::<Vec<_>>();
    assert!(Ranked::new(&p[1], |row| positive[row]).roc_auc() > 0.98);
}

#[test]
fn degenerate_rows_cluster_or_are_refused() {
    let same = Data { x: matrix(&vec![vec![1.0, 2.0]; 8]), target: Target::None, weights: None };
    let fitted = fit("dbscan", &[], &same);
    let Model::Dbscan(dbscan) = &fitted.model else { panic!() };
    assert_eq!((dbscan.n_clusters, dbscan.n_noise), (1, 0));
    let fitted = fit("gaussian_mixture", &[], &same);
    let Prediction::Mixture { probabilities: shares, log_density } =
        fitted.model.predict(&same.x, &Task::single()).unwrap()
    else {
        panic!()
    };
    assert!(shares.iter().flatten().chain(&log_density).all(|v| v.is_finite()));
    let fitted = fit("isolation_forest", &[], &same);
    let Prediction::Scores(scores) = fitted.model.predict(&same.x, &Task::single()).unwrap() else {
        panic!()
    };
    assert!(scores.iter().all(|score| !is_outlier(*score, 0.5)), "{scores:?}");
    let far = Data { x: matrix(&[vec![0.0], vec![1e6]]), target: Target::None, weights: None };
    let fitted = fit("dbscan", &[("min_samples", 2.0)], &far);
    let Model::Dbscan(dbscan) = &fitted.model else { panic!() };
    assert_eq!((dbscan.n_clusters, dbscan.n_noise), (0, 2));
    let few = Target::Classes { codes: Arc::new(vec![0, 0, 1, 1, 1]), n_classes: 2 };
    let x =
        matrix(&[vec![1.0, 7.0], vec![2.0, 7.0], vec![9.0, 7.0], vec![10.0, 7.0], vec![11.0, 7.0]]);
    let fitted = fit("linear_svm", &[], &Data { x: x.clone(), target: few, weights: None });
    let p = probabilities(&fitted, &x);
    assert!(p.iter().flatten().all(|p| p.is_finite()) && p[1][4] > 0.5 && p[1][0] < 0.5);
}

#[test]
fn folds_keep_to_their_kind() {
    let n = 1000_usize;
    let hashes = (0..n as u64).map(crate::random::mix).collect::<Vec<_>>();
    let codes = (0..n).map(|row| u32::from(row % 10 == 0)).collect::<Vec<_>>();
    let keys = (0..n).map(|row| (row / 7) as f64).collect::<Vec<_>>();
    for how in [Folding::Random, Folding::Stratified, Folding::Group, Folding::Time] {
        let folds = fold_parts(how, 5, 1, &hashes, Some(&codes), Some(&keys));
        assert_eq!(folds.len(), 5, "{how:?}");
        for parts in &folds {
            let train = parts.train.iter().collect::<HashSet<_>>();
            assert!(parts.evaluate.iter().all(|row| !train.contains(row)));
            let key = |row: &u32| keys[*row as usize] as i64;
            match how {
                Folding::Stratified => {
                    let ones = parts.evaluate.iter().filter(|row| codes[**row as usize] == 1);
                    assert_eq!(ones.count(), 20);
                }
                Folding::Group => {
                    let groups = parts.train.iter().map(key).collect::<HashSet<_>>();
                    assert!(parts.evaluate.iter().all(|row| !groups.contains(&key(row))));
                }
                Folding::Time => {
                    let last = parts.train.iter().map(key).max();
                    assert!(last < parts.evaluate.iter().map(key).min());
                }
                Folding::Random => assert_eq!(parts.evaluate.len(), 200),
            }
        }
        if how != Folding::Time {
            assert_eq!(folds.iter().map(|parts| parts.evaluate.len()).sum::<usize>(), n);
        }
    }
}

#[test]
fn series_go_on_as_in_statsmodels() {
    use crate::seasonal::{HoltWinters, Season, Shape};
    let y = numbers("series.y");
    let task = Task::single();
    for (name, trend, damped, season) in [
        ("none", false, false, Season::None),
        ("trend", true, false, Season::None),
        ("damped", true, true, Season::None),
        ("additive", true, false, Season::Additive),
        ("multiplicative", true, false, Season::Multiplicative),
    ] {
        let shape = Shape { trend, damped, season, period: 12 };
        let fitted = HoltWinters::fit(&y, &shape, &task).unwrap();
        let wanted = fixture(&format!("series.{name}.squares")).as_f64().unwrap();
        assert!(fitted.squares <= wanted * 1.0001, "{name}: {} {wanted}", fitted.squares);
        let ahead = fitted.ahead(24, 1, &task).unwrap();
        if fitted.squares >= wanted * 0.9999 {
            let values = ahead.iter().map(|one| one.value).collect::<Vec<_>>();
            let wanted = numbers(&format!("series.{name}.ahead"));
            for (step, (found, wanted)) in values.iter().zip(&wanted).enumerate() {
                // For each twelfth step statsmodels takes the season as it was before the last value.
                if season == Season::None || step % 12 != 11 {
                    near(&[*found], &[*wanted], 1e-2);
                }
            }
        }
        // Where the season is a factor, what is far off is so by the season's measure.
        if season != Season::Multiplicative {
            assert!(ahead.windows(2).all(|pair| pair[1].deviation >= pair[0].deviation * 0.9));
        }
        assert!(ahead[0].deviation > 0.0);
    }
    let refused = |y: &[f64], season, period| {
        let shape = Shape { trend: true, damped: false, season, period };
        HoltWinters::fit(y, &shape, &task).unwrap_err().report()
    };
    assert!(refused(&y[..20], Season::Additive, 12).contains("too short"));
    assert!(refused(&[1.0, f64::NAN, 2.0], Season::None, 1).contains("infinite or missing"));
    assert!(refused(&[1.0, -1.0, 2.0, 4.0], Season::Multiplicative, 2).contains("above 0"));
    // The level falls below 0 before the season is over.
    let fallen = [1000.0, 1000.0, 1000.0, 1000.0, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001];
    let report = refused(&fallen, Season::Multiplicative, 4);
    assert!(report.contains("no multiplicative season fits"), "{report}");
    // How far ahead is asked for changes nothing of the first steps.
    let shape = Shape { trend: true, damped: false, season: Season::Multiplicative, period: 12 };
    let fitted = HoltWinters::fit(&y, &shape, &task).unwrap();
    let (few, many) = (fitted.ahead(3, 1, &task).unwrap(), fitted.ahead(24, 1, &task).unwrap());
    assert_eq!(few[..], many[..3]);
    near(&[few[0].deviation], &[few[0].value * fitted.deviation], 1e-12);
    // Down to nothing: from there on there is no forecast.
    let falling = HoltWinters { level: 10.0, trend: -4.0, phi: 1.0, ..fitted };
    let ahead = falling.ahead(4, 1, &task).unwrap();
    assert!(ahead[1].value > 0.0 && ahead[2].value.is_nan() && ahead[3].deviation.is_nan());
    let flat = HoltWinters::fit(
        &[5.0; 30],
        &Shape { trend: true, damped: false, season: Season::Additive, period: 7 },
        &task,
    );
    near(&[flat.unwrap().ahead(9, 1, &task).unwrap()[8].value], &[5.0], 1e-6);
}
