//! A model with its transforms as an ONNX graph, which other runtimes score as Maru does.
//!
//! One input for each column, of rows by 1: `double`, NaN for NULL, or `string`. Outputs are `label` and `probabilities` of a
//! classifier, `variable` of a regression, `cluster` and `distances` of clusters, `components` of PCA. Numbers are doubles but for
//! the sums of trees, which the format has as floats.

mod models;
mod proto;
mod trees;

use maru_core::{Error, Result};

use crate::anomaly::SLACK;
use crate::artifact::Artifact;
use crate::model::Model;
use crate::pipeline::{Feature, Kind, Node};
use crate::transform::{Encode, Encoding, Fill, Outlier, Transform};
use proto::{
    Attribute, BOOL, DOUBLE, INT64, Message, STRING, attribute, doubles, integers, strings,
    value_info,
};

/// The graph under construction. A value is known by its name.
#[derive(Default)]
struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    outputs: Vec<Message>,
    n_names: usize,
}

/// A value of rows by `width`.
#[derive(Debug, Clone)]
struct Value {
    name: String,
    width: usize,
    text: bool,
}

fn cannot(what: &str) -> Error {
    Error::unsupported(format!("{what} cannot be written as ONNX"))
        .with_hint("EXPORT MODEL … (format = 'native') writes it in Maru's own form.")
}

impl Graph {
    fn name(&mut self) -> String {
        self.n_names += 1;
        format!("v{}", self.n_names)
    }

    fn node(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let name = self.name();
        self.named(domain, operator, inputs, attributes, &[&name]);
        name
    }

    fn named(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        outputs: &[&str],
    ) {
        let message = inputs.iter().fold(Message::default(), |m, input| m.text(1, input));
        let message = outputs.iter().fold(message, |m, output| m.text(2, output));
        let message = message.text(3, &format!("n{}", self.nodes.len())).text(4, operator);
        let message = attributes
            .iter()
            .fold(message, |m, (name, value)| m.message(5, &attribute(name, value)));
        let message = if domain.is_empty() { message } else { message.text(7, domain) };
        self.nodes.push(message);
    }

    fn op(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.node("", operator, inputs, &[])
    }

    fn row(&mut self, values: &[f64]) -> String {
        let name = self.name();
        self.constants.push(doubles(&name, &[1, values.len()], values));
        name
    }

    fn matrix(&mut self, rows: usize, columns: usize, values: &[f64]) -> String {
        let name = self.name();
        self.constants.push(doubles(&name, &[rows, columns], values));
        name
    }

    fn whole(&mut self, dims: &[usize], values: &[i64]) -> String {
        let name = self.name();
        self.constants.push(integers(&name, dims, values));
        name
    }

    fn concat(&mut self, parts: Vec<Value>) -> Result<Value> {
        if parts.len() == 1 {
            return parts.into_iter().next().ok_or_else(|| Error::internal("nothing to join"));
        }
        if parts.iter().any(|part| part.text) {
            return Err(cannot("a transform of several text columns"));
        }
        let names = parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>();
        let name = self.node("", "Concat", &names, &[("axis", Attribute::Int(1))]);
        Ok(Value { name, width: parts.iter().map(|part| part.width).sum(), text: false })
    }

    fn filled(&mut self, x: &Value, fills: &[f64]) -> Value {
        let missing = self.op("IsNaN", &[&x.name]);
        let fills = self.row(fills);
        let name = self.op("Where", &[&missing, &fills, &x.name]);
        Value { name, ..x.clone() }
    }

    fn product(&mut self, x: &Value, weights: &[Vec<f64>]) -> Value {
        // By row of x and column of the result.
        let by_input =
            (0..x.width).flat_map(|i| weights.iter().map(move |row| row[i])).collect::<Vec<_>>();
        let matrix = self.matrix(x.width, weights.len(), &by_input);
        let name = self.op("MatMul", &[&x.name, &matrix]);
        Value { name, width: weights.len(), text: false }
    }

    /// The number of each row's category from 1 on, 0 for others.
    fn codes(&mut self, x: &Value, categories: &[String]) -> Result<String> {
        if x.text {
            let attributes = [
                ("keys_strings", Attribute::Texts(categories.to_vec())),
                ("values_int64s", Attribute::Ints((1..=categories.len() as i64).collect())),
                ("default_int64", Attribute::Int(0)),
            ];
            return Ok(self.node("ai.onnx.ml", "LabelEncoder", &[&x.name], &attributes));
        }
        let numbers = categories.iter().map(|text| text.parse::<f64>());
        let numbers = numbers
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| cannot("an encoder of mixed values"))?;
        let known = self.row(&numbers);
        let same = self.op("Equal", &[&x.name, &known]);
        let same = self.node("", "Cast", &[&same], &[("to", Attribute::Int(INT64))]);
        let order =
            self.whole(&[1, numbers.len()], &(1..=numbers.len() as i64).collect::<Vec<_>>());
        let numbered = self.op("Mul", &[&same, &order]);
        let axis = self.whole(&[1], &[1]);
        Ok(self.op("ReduceSum", &[&numbered, &axis]))
    }

    fn encode(&mut self, encode: &Encode, index: usize, x: &Value) -> Result<Value> {
        let categories = &encode.categories[index];
        if matches!(encode.encoding, Encoding::Hash { .. }) {
            return Err(cannot("ML.HASH_BUCKETIZE"));
        }
        let codes = self.codes(x, categories)?;
        match &encode.encoding {
            Encoding::OneHot { other } => {
                let mut wanted = (1..=categories.len() as i64).collect::<Vec<_>>();
                wanted.extend(other[index].then_some(0));
                let width = wanted.len();
                let wanted = self.whole(&[1, width], &wanted);
                let same = self.op("Equal", &[&codes, &wanted]);
                let name = self.node("", "Cast", &[&same], &[("to", Attribute::Int(DOUBLE))]);
                Ok(Value { name, width, text: false })
            }
            Encoding::Value { values, other } => {
                let mut table = vec![other[index]];
                table.extend(&values[index]);
                let name = self.name();
                self.constants.push(doubles(&name, &[table.len()], &table));
                let name = self.op("Gather", &[&name, &codes]);
                Ok(Value { name, width: 1, text: false })
            }
            _ => {
                let name = self.node("", "Cast", &[&codes], &[("to", Attribute::Int(DOUBLE))]);
                Ok(Value { name, width: 1, text: false })
            }
        }
    }

    fn transform(&mut self, transform: &Transform, parts: Vec<Value>) -> Result<Value> {
        match transform {
            Transform::Encode(encode) => {
                let encoded =
                    parts.iter().enumerate().map(|(index, part)| self.encode(encode, index, part));
                let encoded = encoded.collect::<Result<Vec<_>>>()?;
                self.concat(encoded)
            }
            Transform::Impute(impute) if !impute.indicator => {
                let fills = impute.values.iter().map(|fill| match fill {
                    Fill::Number(fill) => Ok(*fill),
                    Fill::Text(_) => Err(cannot("ML.IMPUTER of text")),
                });
                let fills = fills.collect::<Result<Vec<_>>>()?;
                let x = self.concat(parts)?;
                Ok(self.filled(&x, &fills))
            }
            Transform::Scale(scale) => {
                let x = self.concat(parts)?;
                let (center, by) = (self.row(&scale.center), self.row(&scale.scale));
                let off = self.op("Sub", &[&x.name, &center]);
                let name = self.op("Div", &[&off, &by]);
                Ok(Value { name, ..x })
            }
            Transform::Pca(pca) => {
                let x = self.concat(parts)?;
                let mean = self.row(&pca.mean);
                let name = self.op("Sub", &[&x.name, &mean]);
                Ok(self.product(&Value { name, ..x }, &pca.weights()))
            }
            Transform::Bucketize(bucketize) => {
                let mut columns = Vec::new();
                for (part, points) in parts.iter().zip(&bucketize.points) {
                    if part.width != 1 {
                        return Err(cannot("a bucketizer of several columns"));
                    }
                    let points = self.row(points);
                    let beyond = self.op("GreaterOrEqual", &[&part.name, &points]);
                    let beyond =
                        self.node("", "Cast", &[&beyond], &[("to", Attribute::Int(DOUBLE))]);
                    let axis = self.whole(&[1], &[1]);
                    let count = self.op("ReduceSum", &[&beyond, &axis]);
                    let (one, zero) = (self.row(&[1.0]), self.row(&[0.0]));
                    let bucket = self.op("Add", &[&count, &one]);
                    let missing = self.op("IsNaN", &[&part.name]);
                    let name = self.op("Where", &[&missing, &zero, &bucket]);
                    columns.push(Value { name, width: 1, text: false });
                }
                self.concat(columns)
            }
            Transform::Polynomial(polynomial) => {
                let x = self.concat(parts)?;
                let mut columns = Vec::new();
                for product in &polynomial.products {
                    let mut name: Option<String> = None;
                    for column in product {
                        let at = self.whole(&[1], &[*column as i64]);
                        let factor = self.node(
                            "",
                            "Gather",
                            &[&x.name, &at],
                            &[("axis", Attribute::Int(1))],
                        );
                        name = Some(match name {
                            None => factor,
                            Some(name) => self.op("Mul", &[&name, &factor]),
                        });
                    }
                    let name = name.ok_or_else(|| Error::internal("a product of nothing"))?;
                    columns.push(Value { name, width: 1, text: false });
                }
                self.concat(columns)
            }
            Transform::Impute(impute) => {
                let mut columns = Vec::new();
                for (part, fill) in parts.iter().zip(&impute.values) {
                    let (Fill::Number(fill), 1) = (fill, part.width) else {
                        return Err(cannot(
                            "ML.IMPUTER of text, or of a transform of several columns, with an indicator",
                        ));
                    };
                    let missing = self.op("IsNaN", &[&part.name]);
                    let name =
                        self.node("", "Cast", &[&missing], &[("to", Attribute::Int(DOUBLE))]);
                    columns.push(self.filled(part, &[*fill]));
                    columns.push(Value { name, width: 1, text: false });
                }
                self.concat(columns)
            }
            Transform::Normalize(normalize) => {
                let x = self.concat(parts)?;
                let size = self.op("Abs", &[&x.name]);
                let axis = self.whole(&[1], &[1]);
                let norm = match normalize.p {
                    None => self.op("ReduceMax", &[&size, &axis]),
                    Some(p) => {
                        let (by, root) = (self.row(&[p]), self.row(&[1.0 / p]));
                        let power = match p {
                            2.0 => self.op("Mul", &[&size, &size]),
                            _ => self.op("Pow", &[&size, &by]),
                        };
                        let sum = self.op("ReduceSum", &[&power, &axis]);
                        match p {
                            2.0 => self.op("Sqrt", &[&sum]),
                            _ => self.op("Pow", &[&sum, &root]),
                        }
                    }
                };
                let zero = self.row(&[0.0]);
                let some = self.op("Greater", &[&norm, &zero]);
                let divided = self.op("Div", &[&x.name, &norm]);
                let name = self.op("Where", &[&some, &divided, &x.name]);
                Ok(Value { name, ..x })
            }
            Transform::Cross(cross) => {
                if parts.iter().any(|part| !part.text) {
                    return Err(cannot("ML.FEATURE_CROSS of numbers"));
                }
                let separator = self.name();
                let text = std::iter::once(cross.separator.as_str());
                self.constants.push(strings(&separator, &[1, 1], text));
                let mut joined: Option<String> = None;
                for part in &parts {
                    joined = Some(match joined {
                        None => part.name.clone(),
                        Some(joined) => {
                            let joined = self.op("StringConcat", &[&joined, &separator]);
                            self.op("StringConcat", &[&joined, &part.name])
                        }
                    });
                }
                let name = joined.ok_or_else(|| Error::internal("a cross of nothing"))?;
                Ok(Value { name, width: 1, text: true })
            }
            Transform::Outlier(Outlier::IsolationForest(forest)) => {
                let x = self.concat(parts)?;
                let score = self.isolation(forest, &x);
                // A row with NULL has no score.
                let missing = self.op("IsNaN", &[&x.name]);
                let missing = self.node("", "Cast", &[&missing], &[("to", Attribute::Int(DOUBLE))]);
                let axis = self.whole(&[1], &[1]);
                let missing = self.op("ReduceSum", &[&missing, &axis]);
                let (zero, nothing) = (self.row(&[0.0]), self.row(&[f64::NAN]));
                let some = self.op("Greater", &[&missing, &zero]);
                let name = self.op("Where", &[&some, &nothing, &score]);
                Ok(Value { name, width: 1, text: false })
            }
            Transform::Words(_) => Err(cannot("ML.TF_IDF and ML.BAG_OF_WORDS")),
            Transform::Ngrams(_) => Err(cannot("ML.NGRAMS")),
            Transform::Named(_) => self.concat(parts),
            Transform::Outlier(_) => {
                Err(cannot("ML.OUTLIER_SCORE as a feature, but for 'isolation_forest',"))
            }
        }
    }

    fn chain(&mut self, node: &Node, inputs: &[Value], outputs: &[Value]) -> Result<Value> {
        match node {
            Node::Input(index) => Ok(inputs[*index].clone()),
            Node::Output(index) => Ok(outputs[*index].clone()),
            Node::Step { transform, inputs: nodes } => {
                let parts = nodes.iter().map(|node| self.chain(node, inputs, outputs));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                self.transform(transform, parts)
            }
        }
    }

    fn output(&mut self, name: &str, from: &str, data_type: i64, width: Option<usize>) {
        self.named("", "Identity", &[from], &[], &[name]);
        self.outputs.push(value_info(name, data_type, width));
    }

    /// Ends a classifier: probabilities of rows by class, and the class.
    fn classes(&mut self, artifact: &Artifact, probabilities: &str) {
        let n = artifact.classes.len();
        let code = if n == 2 {
            let at = self.whole(&[], &[1]);
            let second =
                self.node("", "Gather", &[probabilities, &at], &[("axis", Attribute::Int(1))]);
            let threshold = self.name();
            self.constants.push(doubles(&threshold, &[], &[artifact.threshold]));
            let reached = self.op("GreaterOrEqual", &[&second, &threshold]);
            self.node("", "Cast", &[&reached], &[("to", Attribute::Int(INT64))])
        } else {
            let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
            self.node("", "ArgMax", &[probabilities], &attributes)
        };
        let names = self.name();
        self.constants.push(strings(&names, &[n], artifact.classes.iter().map(String::as_str)));
        let label = self.op("Gather", &[&names, &code]);
        self.output("label", &label, STRING, None);
        self.output("probabilities", probabilities, DOUBLE, Some(n));
    }

    /// Makes the probabilities of two classes from the log odds of the second.
    fn two(&mut self, odds: &str) -> String {
        let negative = self.op("Neg", &[odds]);
        let (first, second) = (self.op("Sigmoid", &[&negative]), self.op("Sigmoid", &[odds]));
        self.node("", "Concat", &[&first, &second], &[("axis", Attribute::Int(1))])
    }

    fn softmax(&mut self, scores: &str) -> String {
        self.node("", "Softmax", &[scores], &[("axis", Attribute::Int(1))])
    }

    fn model(&mut self, artifact: &Artifact, x: &Value) -> Result<()> {
        match &artifact.model {
            Model::Linear(linear) => {
                let product = self.product(x, std::slice::from_ref(&linear.weights));
                let constant = self.row(&[linear.intercept]);
                let value = self.op("Add", &[&product.name, &constant]);
                self.output("variable", &value, DOUBLE, Some(1));
            }
            Model::Logistic(logistic) => {
                let product = self.product(x, &logistic.weights);
                let constant = self.row(&logistic.intercepts);
                let odds = self.op("Add", &[&product.name, &constant]);
                let p =
                    if logistic.weights.len() == 1 { self.two(&odds) } else { self.softmax(&odds) };
                self.classes(artifact, &p);
            }
            Model::Forest(forest) => {
                let share = 1.0 / forest.trees.len().max(1) as f64;
                let n = forest.n_outputs;
                let said =
                    trees::ensemble(self, x, &forest.trees, n, |_| 0..n, share, &vec![0.0; n]);
                match forest.classifies {
                    true => self.classes(artifact, &said),
                    false => self.output("variable", &said, DOUBLE, Some(1)),
                }
            }
            Model::Boosted(boosted) => {
                let n = boosted.base.len();
                let said = trees::ensemble(
                    self,
                    x,
                    &boosted.trees,
                    n,
                    |tree| tree % n..tree % n + 1,
                    1.0,
                    &boosted.base,
                );
                match (boosted.classifies, n) {
                    (false, _) => self.output("variable", &said, DOUBLE, Some(1)),
                    (true, 1) => {
                        let p = self.two(&said);
                        self.classes(artifact, &p);
                    }
                    (true, _) => {
                        let p = self.softmax(&said);
                        self.classes(artifact, &p);
                    }
                }
            }
            Model::Pca { pca } => {
                let mean = self.row(&pca.mean);
                let name = self.op("Sub", &[&x.name, &mean]);
                let projected = self.product(&Value { name, ..x.clone() }, &pca.weights());
                self.output("components", &projected.name, DOUBLE, Some(projected.width));
            }
            Model::KMeans(kmeans) => {
                let (x, centres) = match &kmeans.scale {
                    None => (x.clone(), kmeans.centroids.clone()),
                    Some(scale) => {
                        let scaled =
                            self.transform(&Transform::Scale(scale.clone()), vec![x.clone()])?;
                        let centre = |centre: &Vec<f64>| {
                            let both = scale.center.iter().zip(&scale.scale);
                            centre
                                .iter()
                                .zip(both)
                                .map(|(at, (center, by))| (at - center) / by)
                                .collect()
                        };
                        (scaled, kmeans.centroids.iter().map(centre).collect())
                    }
                };
                let axis = self.whole(&[1], &[1]);
                let wide = self.op("Unsqueeze", &[&x.name, &axis]);
                let flat = centres.concat();
                let name = self.name();
                self.constants.push(doubles(&name, &[1, centres.len(), x.width], &flat));
                let off = self.op("Sub", &[&wide, &name]);
                let last = self.whole(&[1], &[2]);
                let square = self.op("Mul", &[&off, &off]);
                let sum = self.node(
                    "",
                    "ReduceSum",
                    &[&square, &last],
                    &[("keepdims", Attribute::Int(0))],
                );
                let distances = self.op("Sqrt", &[&sum]);
                let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
                let nearest = self.node("", "ArgMin", &[&distances], &attributes);
                let one = self.whole(&[], &[1]);
                let cluster = self.op("Add", &[&nearest, &one]);
                self.output("cluster", &cluster, INT64, None);
                self.output("distances", &distances, DOUBLE, Some(centres.len()));
            }
            Model::Imported(_) => {
                return Err(Error::internal("an imported model has its own file"));
            }
            Model::Forecasts(_) => return Err(cannot("holt_winters")),
            Model::Svm(svm) => self.svm(artifact, svm, x),
            Model::Dbscan(dbscan) => self.dbscan(dbscan, x)?,
            Model::Mixture(mixture) => self.mixture(mixture, x),
            Model::NaiveBayes(bayes) => self.bayes(artifact, bayes, x),
            Model::Neighbours(neighbours) => self.neighbours(artifact, neighbours, x)?,
            Model::IsolationForest(forest) => {
                let score = self.isolation(forest, x);
                let threshold = self.row(&[artifact.threshold + SLACK]);
                let far = self.op("Greater", &[&score, &threshold]);
                self.output("is_anomaly", &far, BOOL, Some(1));
                self.output("anomaly_score", &score, DOUBLE, Some(1));
            }
            Model::Transform => self.output("features", &x.name, DOUBLE, Some(x.width)),
        }
        Ok(())
    }
}

/// Writes a model as ONNX. `name` is that of the graph.
///
/// # Errors
/// 0A000 for a transform or a model that the format has no operators for.
pub fn export(artifact: &Artifact, name: &str) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    let mut inputs = Vec::new();
    let mut infos = Vec::new();
    for (name, kind) in &artifact.pipeline.inputs {
        let text = *kind == Kind::Text;
        infos.push(value_info(name, if text { STRING } else { DOUBLE }, Some(1)));
        inputs.push(Value { name: name.clone(), width: 1, text });
    }
    let mut outputs = Vec::<Value>::new();
    for output in &artifact.pipeline.outputs {
        let value = graph.chain(&output.node, &inputs, &outputs)?;
        outputs.push(value);
    }
    let mut features = Vec::new();
    let mut steps = artifact.pipeline.features.steps.iter();
    for value in outputs {
        let own = steps.by_ref().take(value.width).collect::<Vec<_>>();
        if let [(_, Feature::Text(encode))] = own.as_slice() {
            features.push(graph.encode(encode, 0, &value)?);
            continue;
        }
        let fills = own.iter().map(|(_, feature)| match feature {
            Feature::Number { fill } => Ok(*fill),
            Feature::Text(_) => Err(cannot("text among several columns of a transform")),
        });
        let fills = fills.collect::<Result<Vec<_>>>()?;
        features.push(graph.filled(&value, &fills));
    }
    let x = graph.concat(features)?;
    graph.model(artifact, &x)?;
    let body =
        graph.nodes.iter().fold(Message::default(), |m, node| m.message(1, node)).text(2, name);
    let body = graph.constants.iter().fold(body, |m, constant| m.message(5, constant));
    let body = infos.iter().fold(body, |m, info| m.message(11, info));
    let body = graph.outputs.iter().fold(body, |m, info| m.message(12, info));
    let opset = |domain: &str, version| Message::default().text(1, domain).int(2, version);
    let model = Message::default().int(1, 9).text(2, "maru").message(7, &body);
    Ok(model.message(8, &opset("", 20)).message(8, &opset("ai.onnx.ml", 3)).0)
}
