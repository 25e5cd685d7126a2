//! A call of one of the functions as it is written: `ML.PREDICT(MODEL m, TABLE t, threshold => 0.7)`.

use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, Result};
use maru_ml::{Policy, Treatment};
use maru_ml_kernels::transform::Literal;
use maru_sql::ast::{self, FunctionArg, FunctionArgExpr};

/// A call. What it lacks and what it has too much of is refused already.
pub(super) struct Call<'a> {
    /// Without `ml_`.
    pub(super) name: &'a str,
    /// Empty for functions of data alone.
    pub(super) model: String,
    pub(super) inputs: Vec<ast::Query>,
    pub(super) threshold: Option<f64>,
    pub(super) top_k_features: usize,
    pub(super) contamination: f64,
    pub(super) horizon: usize,
    pub(super) confidence_level: f64,
    pub(super) policy: Policy,
}

/// What a function takes: whether a model, and how many queries at least and at most.
fn takes(name: &str) -> (bool, usize, usize) {
    match name {
        "predict" | "transform" | "explain_predict" | "detect_anomalies" | "validate_data_skew" => {
            (true, 1, 1)
        }
        "evaluate"
        | "confusion_matrix"
        | "roc_curve"
        | "precision_recall_curve"
        | "thresholds"
        | "lift"
        | "calibration" => (true, 0, 1),
        "describe_data" => (false, 1, 1),
        "validate_data_drift" => (false, 2, 2),
        _ => (true, 0, 0),
    }
}

/// The named arguments of a function, with the range of each.
fn options(name: &str) -> &'static [(&'static str, f64, f64)] {
    match name {
        "explain_predict" => &[("top_k_features", 1.0, 10_000.0), ("threshold", 0.0, 1.0)],
        "forecast" => &[("horizon", 1.0, 100_000.0), ("confidence_level", 0.0, 0.999_999)],
        "detect_anomalies" => &[("contamination", 0.0, 0.5)],
        "validate_data_skew" | "validate_data_drift" => &[("threshold", 0.0, 1e9)],
        "predict" | "evaluate" | "confusion_matrix" => &[("threshold", 0.0, 1.0)],
        _ => &[],
    }
}

/// Returns the type of a named argument, of `ml_predict` and the others; `None` if the function has none of the name.
pub(in crate::session) fn argument_type(function: &str, argument: &str) -> Option<DataType> {
    let function = function.strip_prefix("ml_").unwrap_or(function);
    if has_policy(function) && POLICIES.contains(&argument) {
        return Some(DataType::Utf8);
    }
    let (name, ..) = options(function).iter().find(|(known, ..)| *known == argument)?;
    Some(match *name {
        "top_k_features" | "horizon" => DataType::Int64,
        _ => DataType::Float64,
    })
}

/// What rows are that a model does not know.
const POLICIES: [&str; 2] = ["on_null", "on_unseen"];

/// Whether a function can be told what becomes of rows with NULL and with categories that training did not see.
fn has_policy(name: &str) -> bool {
    matches!(name, "predict" | "explain_predict" | "detect_anomalies")
}

/// A query is planned with the values of these; what else holds one has none at that time.
fn is_parameter(value: &ast::Expr) -> bool {
    match value {
        ast::Expr::Nested(inner) => is_parameter(inner),
        ast::Expr::Value(value) => matches!(value.value, ast::Value::Placeholder(_)),
        _ => false,
    }
}

fn parameter(name: &str) -> Error {
    let name = name.to_uppercase();
    Error::unsupported(format!("in this statement ML.{name} takes no parameter as an argument"))
        .with_detail("Queries alone are planned with the values of such parameters.")
        .with_hint("Write the value into the statement.")
}

impl<'a> Call<'a> {
    /// # Errors
    /// 42601 for arguments that the function does not take.
    pub(super) fn new(name: &'a str, arguments: &[FunctionArg]) -> Result<Self> {
        let name = name.strip_prefix("ml_").unwrap_or(name);
        let (with_model, least, most) = takes(name);
        let wrong = |why: &str| {
            let name = name.to_uppercase();
            let hint = match (with_model, most) {
                (true, 0) => format!("Write ML.{name}(MODEL model)."),
                (true, _) => format!(
                    "Write ML.{name}(MODEL model, TABLE table) or ML.{name}(MODEL model, (SELECT …))."
                ),
                (false, 1) => format!("Write ML.{name}(TABLE table) or ML.{name}((SELECT …))."),
                (false, _) => format!(
                    "Write ML.{name}(TABLE base, TABLE study), or (SELECT …) in their place."
                ),
            };
            Error::new(ErrorKind::Syntax, format!("invalid call of ML.{name}: {why}"))
                .with_hint(hint)
        };
        let mut call = Self {
            name,
            model: String::new(),
            inputs: Vec::new(),
            threshold: None,
            top_k_features: 5,
            contamination: 0.05,
            horizon: 30,
            confidence_level: 0.95,
            policy: Policy::default(),
        };
        for argument in arguments {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(query)))
                    if with_model != call.model.is_empty() && call.inputs.len() < most =>
                {
                    call.inputs.push(query.as_ref().clone());
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(value)))
                    if with_model && call.model.is_empty() =>
                {
                    match &value.value {
                        ast::Value::SingleQuotedString(text) => call.model = text.clone(),
                        _ => return Err(wrong("the first argument is MODEL and its name")),
                    }
                }
                FunctionArg::Named { name: option, arg: FunctionArgExpr::Expr(value), .. }
                | FunctionArg::ExprNamed {
                    name: ast::Expr::Identifier(option),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => {
                    let option = option.value.to_lowercase();
                    if is_parameter(value) && argument_type(name, &option).is_some() {
                        return Err(parameter(name));
                    }
                    if has_policy(name) && POLICIES.contains(&option.as_str()) {
                        let treatment = match maru_ml::lower::literal(value)? {
                            Literal::Text(text) => Treatment::named(&text),
                            _ => None,
                        };
                        let treatment = treatment.ok_or_else(|| {
                            wrong(&format!("{option} is 'fill', 'null' or 'error'"))
                        })?;
                        match option.as_str() {
                            "on_null" => call.policy.on_null = treatment,
                            _ => call.policy.on_unseen = treatment,
                        }
                        continue;
                    }
                    let known = options(name).iter().find(|(known, ..)| *known == option);
                    let Some((_, low, high)) = known else {
                        return Err(wrong(&format!("it has no argument \"{option}\"")));
                    };
                    let number = match maru_ml::lower::literal(value)? {
                        Literal::Number(number) if (*low..=*high).contains(&number) => number,
                        _ => {
                            return Err(wrong(&format!(
                                "{option} is a number from {low} to {high}"
                            )));
                        }
                    };
                    match option.as_str() {
                        "threshold" => call.threshold = Some(number),
                        "horizon" => call.horizon = number as usize,
                        "confidence_level" => call.confidence_level = number,
                        "contamination" => call.contamination = number,
                        _ => call.top_k_features = number as usize,
                    }
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(_)))
                    if most == 0 && !call.model.is_empty() =>
                {
                    return Err(wrong("it takes a model and nothing else"));
                }
                other => return Err(wrong(&format!("it cannot take {other}"))),
            }
        }
        if with_model && call.model.is_empty() {
            return Err(wrong("the first argument is MODEL and its name"));
        }
        if call.inputs.len() < least {
            return Err(wrong(match (with_model, least) {
                (true, _) => "the second argument is a table or a query",
                (false, 1) => "its argument is a table or a query",
                (false, _) => "its arguments are two tables or queries",
            }));
        }
        Ok(call)
    }
}
