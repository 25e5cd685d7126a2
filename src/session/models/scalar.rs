//! `ml_predict(MODEL m, column, …)` as a value: what a model says of the row that it stands in.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result, quote_ident};
use maru_ml::score::{Gives, Score};
use maru_ml::taken::Taken;
use maru_ml::{Policy, Version};
use maru_ml_kernels::model::Problem;

use crate::session::Session;

/// Registers the function with the state of a session.
pub(in crate::session) fn register(state: &mut SessionState, session: &Weak<Session>) {
    let function = PredictOne {
        signature: Signature::variadic_any(Volatility::Stable),
        session: Weak::clone(session),
    };
    if let Err(error) = state.register_udf(Arc::new(ScalarUDF::from(function))) {
        tracing::error!(error = %error, "could not register function");
    }
}

/// Takes the name of a model and its columns, in their order. Before a statement runs, the function of the version takes its place.
#[derive(Debug)]
struct PredictOne {
    signature: Signature,
    session: Weak<Session>,
}

impl PartialEq for PredictOne {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.session, &other.session)
    }
}

impl Eq for PredictOne {}

impl Hash for PredictOne {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.session.as_ptr().hash(state);
    }
}

fn as_table(error: Error) -> Error {
    error.with_hint("Use it as a table: SELECT … FROM ML.PREDICT(MODEL model, TABLE table).")
}

/// Puts the functions of versions in the places of calls. In a view this is done as it is planned, with the rights of its owner.
///
/// # Errors
/// 42704 and 42501 of models.
pub(in crate::session) fn scored(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut has_calls = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            has_calls |= expr.exists(|part| Ok(predicts(part).is_some()))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if !has_calls {
        return Ok(plan);
    }
    let changed = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|part| {
                let Some((function, args)) = predicts(&part) else {
                    return Ok(Transformed::no(part));
                };
                Ok(match function.version(args)? {
                    Some(call) => Transformed::yes(call),
                    None => Transformed::no(part),
                })
            })?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    });
    changed.data()
}

/// Returns the version that a call of the function asks, as lineage shows it.
pub(crate) fn asked(expr: &Expr) -> Option<String> {
    let (function, args) = predicts(expr)?;
    let (Expr::Literal(model, _), columns) = args.split_first()? else { return None };
    Some(function.score(model.try_as_str().flatten(), columns.len()).ok()?.model())
}

/// Returns the version that a call of the function asks, and the columns it is given.
pub(super) fn version_of(call: &ScalarFunction) -> Option<(Arc<Version>, &[Expr])> {
    let function = call.func.inner().as_ref() as &dyn std::any::Any;
    let function = function.downcast_ref::<PredictOne>()?;
    let (Expr::Literal(model, _), columns) = call.args.split_first()? else { return None };
    let session = function.session.upgrade()?;
    Some((session.model(model.try_as_str().flatten()?).ok()?, columns))
}

/// Returns the function and what it is called with.
fn predicts(expr: &Expr) -> Option<(&PredictOne, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = call.func.inner().as_ref() as &dyn std::any::Any;
    Some((function.downcast_ref::<PredictOne>()?, call.args.as_slice()))
}

impl PredictOne {
    /// Returns the call of the version's own function; `None` if the model is not told yet.
    fn version(&self, args: &[Expr]) -> Result<Option<Expr>> {
        let Some((Expr::Literal(model, _), columns)) = args.split_first() else { return Ok(None) };
        let Some(model) = model.try_as_str().flatten() else { return Ok(None) };
        let score = self.score(Some(model), columns.len())?;
        let taken = Taken::new(0, score.fields().first().ok_or_else(nothing)?);
        let whole = ScalarUDF::from(score).call(columns.to_vec());
        Ok(Some(ScalarUDF::from(taken).call(vec![whole])))
    }

    /// Finds the version, and whether it gives one value of columns as they are.
    fn score(&self, model: Option<&str>, n_columns: usize) -> Result<Score> {
        let model = model.ok_or_else(|| {
            Error::new(
                ErrorKind::Syntax,
                "invalid call of ml_predict: the first argument is MODEL and its name",
            )
            .with_hint("Write ml_predict(MODEL model, column, …).")
        })?;
        let session = self
            .session
            .upgrade()
            .ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))?;
        let version = session.model(model)?;
        let score = Score::new(Arc::clone(&version), None, Gives::Predictions, Policy::default())?;
        let single = match version.artifact.problem {
            Problem::Regression
            | Problem::Classification
            | Problem::Clustering
            | Problem::Anomaly => true,
            Problem::Imported => score.fields().len() == 1,
            Problem::Reduction | Problem::Forecast | Problem::Transform => false,
        };
        if !single {
            return Err(as_table(Error::unsupported(format!(
                "ml_predict gives one value, model \"{}\" has none or several",
                version.name
            ))));
        }
        let leaves = &version.manifest.leaves;
        let plain = |(name, sql): &(String, String)| {
            sql.eq_ignore_ascii_case(name)
                || *sql == quote_ident(name)
                || *sql == format!("\"{}\"", name.replace('"', "\"\""))
        };
        if !leaves.iter().all(plain) {
            return Err(as_table(Error::unsupported(format!(
                "ml_predict takes columns, model \"{}\" computes them with SQL in TRANSFORM",
                version.name
            ))));
        }
        if leaves.len() != n_columns {
            let names = leaves.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            return Err(Error::new(
                ErrorKind::Syntax,
                format!(
                    "ml_predict is given {n_columns} columns, model \"{}\" takes {}",
                    version.name,
                    leaves.len()
                ),
            )
            .with_detail(format!("They are {}, in this order.", names.join(", "))));
        }
        Ok(score)
    }
}

fn nothing() -> Error {
    Error::internal("a model that gives one value gives none")
}

impl ScalarUDFImpl for PredictOne {
    fn name(&self) -> &str {
        "ml_predict"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Err(Error::internal("the type of a prediction goes by its model").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let model = args.scalar_arguments.first().copied().flatten();
        let model = model.and_then(|value| value.try_as_str().flatten());
        let types = args.arg_fields.iter().skip(1).map(|field| field.data_type().clone());
        let types = types.collect::<Vec<_>>();
        let score = self.score(model, types.len())?;
        // Looks at the types of the columns.
        score.return_type(&types)?;
        let given = score.fields().first().ok_or_else(nothing)?;
        Ok(Arc::new(Field::new(self.name(), given.data_type().clone(), true)))
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        Ok(match self.version(&args)? {
            Some(call) => ExprSimplifyResult::Simplified(call),
            None => ExprSimplifyResult::Original(args),
        })
    }

    /// Of constants alone, which are computed before anything is simplified.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let model = match args.args.first() {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten(),
            _ => None,
        };
        let score = self.score(model, args.args.len().saturating_sub(1))?;
        let n_rows = args.number_rows;
        let whole = score.invoke_with_args(ScalarFunctionArgs {
            args: args.args.iter().skip(1).cloned().collect(),
            arg_fields: args.arg_fields.iter().skip(1).cloned().collect(),
            number_rows: n_rows,
            return_field: Arc::clone(&args.return_field),
            config_options: Arc::clone(&args.config_options),
        })?;
        let whole = whole.into_array(n_rows)?;
        let given = whole.as_struct().columns().first().cloned().ok_or_else(nothing)?;
        Ok(ColumnarValue::Array(given))
    }
}
