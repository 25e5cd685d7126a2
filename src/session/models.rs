//! Models among the tables of a query: `ML.PREDICT(MODEL m, TABLE t)` and its kin, planned as projections and aggregates.
//!
//! A version is found while planning and stays in the plan: a deployment in between changes no running statement. Scoring is a
//! projection, so that filters and columns go below it like below any other.

mod above;
mod asked;
mod call;
mod profile;
mod scalar;

use std::sync::{Arc, Weak};

use arrow::array::StructArray;
use arrow::datatypes::SchemaRef;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result as DfResult;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::sql::parser::Statement as DfStatement;
use maru_core::{Error, ErrorKind, Result};
use maru_ml::measure::{Measure, What};
use maru_ml::score::{Gives, Score};
use maru_ml::taken::Taken;
use maru_ml::{Policy, Version, info};
use maru_ml_kernels::Task;
use maru_ml_kernels::model::Problem;
use maru_sql::ast::{self, ObjectNamePart, SelectItem, SetExpr, TableFactor};
use maru_sql::model::{PROFILE, TABLE_FUNCTIONS};
use maru_sql::{Name, Statement};

pub(super) use above::ScoresAboveFilters;
pub(super) use asked::parameters_of;
use call::Call;
pub(super) use call::argument_type;
pub(crate) use scalar::asked as asked_version;
pub(super) use scalar::{register, scored};

use super::rewrite::rewrite;
use super::{Kind, Prepared, Session, StatementText};
use crate::access::{Object, Privilege};
use crate::catalog::BUILTIN;
use crate::models::undefined;
use crate::output::Output;

/// The column that a prediction is in until it is taken apart.
const WHOLE: &str = "__ml";

/// Returns whether a name in FROM is one of our functions.
pub(super) fn is_function(name: &str) -> bool {
    name == PROFILE || name.strip_prefix("ml_").is_some_and(|name| TABLE_FUNCTIONS.contains(&name))
}

/// Says where a function of ours stands that was called as an ordinary one.
pub(super) fn hint(function: &str) -> Option<String> {
    let name = function.to_lowercase();
    match name.strip_prefix("ml_") {
        Some(known) if is_function(&name) => {
            Some(format!("It gives rows: SELECT * FROM ML.{}(MODEL …).", known.to_uppercase()))
        }
        _ => name.starts_with("ml.").then(|| {
            "Transforms stand in CREATE MODEL … TRANSFORM (…); ML.TRANSFORM(MODEL …, TABLE …) gives what they make of rows.".to_owned()
        }),
    }
}

/// Returns the function of ours that a name in FROM means.
pub(super) fn function_in(name: &ast::ObjectName) -> Option<&str> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if is_function(&name.value) => Some(&name.value),
        _ => None,
    }
}

/// Plans the functions for one session.
#[derive(Debug)]
pub(super) struct ModelFunctions(pub(super) Weak<Session>);

impl RelationPlanner for ModelFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let call = match &relation {
            TableFactor::Table { name, args: Some(arguments), alias, .. } => function_in(name)
                .map(|name| (name.to_owned(), arguments.args.clone(), alias.clone())),
            _ => None,
        };
        let Some((name, arguments, alias)) = call else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let session = self
            .0
            .upgrade()
            .ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))?;
        let call = Call::new(&name, &arguments)?;
        let plan = call.plan(&session, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

impl Call<'_> {
    fn plan(
        self,
        session: &Arc<Session>,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let mut inputs = Vec::new();
        // The model is looked for first: without it there is no use in reading what stands beside it.
        let version = match self.model.is_empty() {
            true => None,
            false => match session.model(&self.model) {
                Err(error)
                    if self.name == "training_info"
                        && error.kind() == ErrorKind::UndefinedObject =>
                {
                    return match session.training(&self.model) {
                        Some(steps) => rows_of(self.name, info::steps(&steps)?),
                        None => Err(error),
                    };
                }
                found => Some(found?),
            },
        };
        if let Some(version) = version.as_ref().filter(|version| version.runtime.is_some())
            && !matches!(self.name, "predict" | "feature_info")
        {
            return Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("model \"{}\" was imported", version.name),
            )
            .with_detail(format!(
                "ML.{} tells of models that Maru has trained.",
                self.name.to_uppercase()
            ))
            .with_hint("Use ML.PREDICT(MODEL …, TABLE …), and SQL over what it gives."));
        }
        if let Some(version) =
            version.as_ref().filter(|one| one.artifact.problem == Problem::Forecast)
            && matches!(self.name, "predict" | "explain_predict" | "detect_anomalies" | "transform")
        {
            return Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("model \"{}\" tells how series go on, it predicts no rows", version.name),
            )
            .with_hint("Use ML.FORECAST(MODEL …, horizon => 30)."));
        }
        let what = match self.name {
            "evaluate" => Some(What::Evaluate),
            "confusion_matrix" => Some(What::Confusion),
            "roc_curve" => Some(What::Roc),
            "precision_recall_curve" => Some(What::PrecisionRecall),
            "thresholds" => Some(What::Thresholds),
            "lift" => Some(What::Lift),
            "calibration" => Some(What::Calibration),
            _ => None,
        };
        if let (Some(what), Some(version)) = (what, &version) {
            match what {
                What::Evaluate => {}
                What::Confusion => info::require_classes(version, "confusion matrix", false)?,
                _ => info::require_classes(version, "curve", true)?,
            }
        }
        for query in self.inputs {
            let factor = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query),
                alias: None,
                sample: None,
            };
            inputs.push(context.plan(factor)?);
        }
        let mut inputs = inputs.into_iter();
        let (version, input) = match (version, inputs.next(), inputs.next()) {
            (None, Some(base), Some(study)) => return profile::drift(base, study, self.threshold),
            (None, Some(input), None) => return profile::describe(input),
            (Some(version), None, _) if self.name == "forecast" => {
                let task = Task::single();
                let rows = info::forecast(&version, self.horizon, self.confidence_level, &task)?;
                return rows_of(self.name, rows);
            }
            (Some(_), None, _) if self.threshold.is_some() => {
                return Err(threshold_of_nothing(self.name));
            }
            (Some(version), None, _) => return table(&version, self.name, what),
            (Some(version), Some(input), _) => {
                let input = asked::typed(&version, input)?;
                (version, input)
            }
            (None, None, _) => return Err(Error::internal("a function of nothing")),
        };
        let mut columns = Vec::new();
        for leaf in leaves(&version)? {
            columns.push(context.sql_to_expr(leaf, input.schema())?);
        }
        let gives = match (what, self.name) {
            (None, "transform") => Gives::Transformed,
            (None, "explain_predict") => Gives::Explanations { top: self.top_k_features },
            (None, "detect_anomalies") => Gives::Anomalies { share: self.contamination },
            (None, "validate_data_skew") => {
                return profile::skew(&version, input, columns, self.threshold);
            }
            (None, _) => Gives::Predictions,
            (Some(what), _) => {
                if let Some(label) = version
                    .artifact
                    .label
                    .as_deref()
                    .filter(|_| version.artifact.problem.has_label())
                {
                    let label = ast::Expr::Identifier(ast::Ident::with_quote('"', label));
                    columns.push(context.sql_to_expr(label, input.schema())?);
                }
                return measure(&version, input, columns, what, self.threshold);
            }
        };
        score(&version, input, columns, self.threshold, gives, self.policy)
    }
}

/// What training has counted of the rows kept apart, it has counted at its own threshold.
fn threshold_of_nothing(name: &str) -> Error {
    let name = name.to_uppercase();
    Error::unsupported(format!("ML.{name} takes a threshold only with rows to measure"))
        .with_detail("What it tells of the rows that training kept apart goes by the threshold of the model.")
        .with_hint(format!(
            "Write ML.{name}(MODEL model, TABLE table, threshold => …), or use ML.THRESHOLDS(MODEL model)."
        ))
}

/// Reads the expressions that a version's chains begin with, as PostgreSQL means them.
fn leaves(version: &Version) -> Result<Vec<ast::Expr>> {
    if version.manifest.leaves.is_empty() {
        return Ok(Vec::new());
    }
    let items = version.manifest.leaves.iter().map(|(_, sql)| sql.as_str()).collect::<Vec<_>>();
    let Statement::Query { mut statement, .. } =
        maru_sql::parse(&format!("SELECT {}", items.join(", ")))?
    else {
        return Err(Error::internal("the columns of a model are no query"));
    };
    rewrite(&mut statement)?;
    let DfStatement::Statement(inner) = *statement else {
        return Err(Error::internal("the columns of a model are no query"));
    };
    let ast::Statement::Query(query) = *inner else {
        return Err(Error::internal("the columns of a model are no query"));
    };
    let SetExpr::Select(select) = *query.body else {
        return Err(Error::internal("the columns of a model are no query"));
    };
    let exprs = select.projection.into_iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Ok(expr),
        other => Err(Error::internal(format!("a column of a model is {other}"))),
    });
    exprs.collect()
}

fn columns(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// Predictions first, then what came in.
fn score(
    version: &Arc<Version>,
    input: LogicalPlan,
    inputs: Vec<Expr>,
    threshold: Option<f64>,
    gives: Gives,
    policy: Policy,
) -> Result<LogicalPlan> {
    let transform = gives == Gives::Transformed;
    let score = Score::new(Arc::clone(version), threshold, gives, policy)?;
    let fields = score.fields().clone();
    if fields.is_empty() {
        return Err(Error::new(
            ErrorKind::WrongObjectType,
            format!("model \"{}\" predicts nothing", version.name),
        )
        .with_detail("It holds transforms alone.")
        .with_hint("Use ML.TRANSFORM(MODEL …, TABLE …)."));
    }
    let passed = columns(input.schema());
    for field in &fields {
        if input.schema().has_column_with_unqualified_name(field.name()) && !transform {
            return Err(Error::new(
                ErrorKind::DuplicateColumn,
                format!("the rows to predict have a column \"{}\" already", field.name()),
            )
            .with_hint("Leave it out in the query, or give it another name there."));
        }
    }
    // A transform gives what it makes; of what came in only columns of other names.
    let passed_on = passed.iter().filter(|expr| match expr {
        Expr::Column(column) => {
            !transform || !fields.iter().any(|field| *field.name() == column.name)
        }
        _ => true,
    });
    let passed_on = passed_on.cloned().collect::<Vec<_>>();
    let whole = ScalarUDF::from(score).call(inputs).alias(WHOLE);
    let taken = fields.iter().enumerate().map(|(index, field)| {
        let one = ScalarUDF::from(Taken::new(index, field));
        one.call(vec![Expr::Column(Column::new_unqualified(WHOLE))]).alias(field.name())
    });
    let taken = taken.chain(passed_on).collect::<Vec<_>>();
    let plan = LogicalPlanBuilder::from(input)
        .project(passed.into_iter().chain([whole]))?
        .project(taken)?
        .build()?;
    Ok(plan)
}

/// Rows that an aggregate over the input gives.
fn measure(
    version: &Arc<Version>,
    input: LogicalPlan,
    inputs: Vec<Expr>,
    what: What,
    threshold: Option<f64>,
) -> Result<LogicalPlan> {
    let measure = Measure::new(Arc::clone(version), what, threshold);
    let fields = measure.fields();
    let whole = AggregateUDF::from(measure).call(inputs).alias(WHOLE);
    let taken = fields.iter().map(|field| {
        get_field(Expr::Column(Column::new_unqualified(WHOLE)), field.name().as_str())
            .alias(field.name())
    });
    let taken = taken.collect::<Vec<_>>();
    let plan = LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), [whole])?
        .unnest_column(Column::new_unqualified(WHOLE))?
        .project(taken)?
        .build()?;
    Ok(plan)
}

/// What a version tells of itself.
fn table(version: &Arc<Version>, name: &str, what: Option<What>) -> Result<LogicalPlan> {
    let manifest = &version.manifest;
    let rows: StructArray = match (what, name) {
        (Some(What::Evaluate), _) => info::metrics(version, &manifest.metrics)?,
        (Some(What::Confusion), _) => info::confusion(version, &manifest.confusion)?,
        (Some(What::Lift), _) => info::groups(What::Lift, &manifest.lift)?,
        (Some(What::Calibration), _) => info::groups(What::Calibration, &manifest.calibration)?,
        (Some(What::Thresholds), _) => {
            info::curve(version, What::Thresholds, &manifest.thresholds)?
        }
        (Some(what), _) => info::curve(version, what, &manifest.curve)?,
        (None, "cross_validate") => info::folds(version)?,
        (None, "global_explain") => info::attributions(version)?,
        (None, "weights" | "advanced_weights") => info::weights(version)?,
        (None, "feature_importance") => info::importance(version)?,
        (None, "feature_info") => info::features(version)?,
        (None, "trial_info") => info::trials(version)?,
        (None, "training_info") => info::iterations(version)?,
        (None, "principal_components") => info::components(version)?,
        (None, "principal_component_info") => info::component_variances(version)?,
        (None, "centroids") => info::centroids(version)?,
        (None, other) => return Err(Error::internal(format!("ML.{other} has no code"))),
    };
    rows_of(name, rows)
}

fn rows_of(name: &str, rows: StructArray) -> Result<LogicalPlan> {
    let batch = info::batch(rows);
    let provider = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let plan = LogicalPlanBuilder::scan(
        format!("ml_{name}"),
        provider_as_source(Arc::new(provider)),
        None,
    )?
    .build()?;
    Ok(plan)
}

impl Session {
    /// Returns whether a name in FROM is a function on a model.
    pub(crate) fn is_table_function(&self, name: &str) -> bool {
        is_function(name)
    }

    /// Returns schema and name that a model's name means.
    ///
    /// # Errors
    /// 42601 for too many parts, 0A000 for another catalog than the built-in one.
    pub(crate) fn model_place(&self, name: &Name) -> Result<(String, String)> {
        let (catalog, schema, model) = match name.0.as_slice() {
            [model] => (None, None, model),
            [schema, model] => (None, Some(schema), model),
            [catalog, schema, model] => (Some(catalog), Some(schema), model),
            _ => {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    format!("improper qualified name (wrong number of parts): {name}"),
                ));
            }
        };
        if let Some(catalog) = catalog.filter(|catalog| *catalog != BUILTIN) {
            return Err(Error::unsupported(format!("catalog \"{catalog}\" holds no models"))
                .with_hint(format!("Models live in catalog \"{BUILTIN}\".")));
        }
        let models = &self.engine.inner.models;
        let schema = match schema {
            Some(schema) => schema.clone(),
            None => {
                let path = self.search_path();
                let found = path.iter().find(|schema| models.exists(schema, model));
                found.or(path.first()).cloned().unwrap_or_else(|| "public".to_owned())
            }
        };
        Ok((schema, model.clone()))
    }

    /// Returns the object of a model that shows.
    ///
    /// # Errors
    /// 42704 if there is none.
    pub(crate) fn require_model(&self, name: &Name) -> Result<(String, String, Object)> {
        let (schema, model) = self.model_place(name)?;
        let object = Object::model(BUILTIN, &schema, &model);
        let rights = self.rights();
        let models = &self.engine.inner.models;
        if !models.exists(&schema, &model) || !rights.sees(&object) {
            let seen = models
                .names()
                .into_iter()
                .filter(|(s, n)| rights.sees(&Object::model(BUILTIN, s, n)));
            return Err(undefined(&name.to_string(), seen.map(|(s, n)| format!("{s}.{n}"))));
        }
        Ok((schema, model, object))
    }

    /// Returns the steps of a training that goes on for a model that has no version yet.
    fn training(&self, text: &str) -> Option<Vec<maru_ml_kernels::model::Iteration>> {
        let name = self.model_name(text).ok()?;
        let (schema, model) = self.model_place(&name).ok()?;
        let rights = self.rights();
        let jobs = &self.engine.inner.models.jobs;
        jobs.steps_of(&schema, &model, |job| rights.may_signal(&job.user_name))
    }

    fn model_name(&self, name: &str) -> Result<Name> {
        let parsed = maru_sql::parse(&format!("DROP MODEL {name}")).map_err(|_| {
            Error::new(ErrorKind::Syntax, format!("\"{name}\" is no name of a model"))
        })?;
        if let Statement::Model(statement) = parsed
            && let maru_sql::ModelStatement::Drop(drop) = *statement
        {
            return Ok(drop.name);
        }
        Err(Error::internal("the name of a model is read as something else"))
    }

    /// Returns the version that `[schema.]model[@version]` means, for use.
    ///
    /// # Errors
    /// 42704 if it is not there, 42501 without EXECUTE on the model.
    fn model(&self, text: &str) -> Result<Arc<Version>> {
        let (name, which) = match text.rsplit_once('@') {
            Some((name, which)) => (name, Some(which)),
            None => (text, None),
        };
        let (schema, model, object) = self.require_model(&self.model_name(name)?)?;
        self.rights().require(Privilege::Execute, &object)?;
        self.engine.inner.models.version(&schema, &model, which)
    }

    /// Returns the columns that a query has.
    pub(crate) async fn columns_of(self: &Arc<Self>, sql: &str) -> Result<SchemaRef> {
        let prepared =
            self.prepare_boxed(StatementText::one(sql), Vec::new()).await.map_err(unplaced)?;
        prepared.schema.ok_or_else(|| Error::internal("a query has no columns"))
    }

    /// Returns the tables that a query reads, those of its views among them, by their full names.
    pub(crate) async fn tables_of(self: &Arc<Self>, sql: &str) -> Result<Vec<String>> {
        let prepared =
            self.prepare_boxed(StatementText::one(sql), Vec::new()).await.map_err(unplaced)?;
        let scanned = scanned(&prepared)?;
        let Statement::Query { mut statement, .. } = maru_sql::parse(sql)? else {
            return Err(Error::internal("what is read is no query"));
        };
        rewrite(&mut statement)?;
        Ok(Box::pin(crate::pipelines::full_names(self, &statement, &scanned)).await)
    }

    /// Runs a query that Maru has written itself, as a statement of its own in the history.
    pub(crate) async fn read(self: &Arc<Self>, sql: &str) -> Result<(SchemaRef, Output)> {
        let prepared: Prepared =
            self.prepare_boxed(StatementText::one(sql), Vec::new()).await.map_err(unplaced)?;
        if !matches!(prepared.kind, Kind::Query { .. }) {
            return Err(Error::internal("what is read is no query"));
        }
        if !prepared.parameters.is_empty() {
            return Err(Error::new(
                ErrorKind::UndefinedParameter,
                "a model is trained without parameters",
            )
            .with_hint("Write the values into the query."));
        }
        let schema =
            prepared.schema.clone().ok_or_else(|| Error::internal("a query has no columns"))?;
        let output = self.execute_boxed(prepared, Vec::new()).await.map_err(unplaced)?;
        Ok((schema, output))
    }

    /// Returns a test of rows by a condition over their columns.
    pub(crate) fn condition(self: &Arc<Self>, condition: &ast::Expr) -> maru_ml::Filter {
        let state = self.statement_state();
        let text = condition.to_string();
        Box::new(move |batch| {
            let schema = DFSchema::try_from(batch.schema().as_ref().clone())?;
            let expr = state.create_logical_expr(&text, &schema)?;
            let physical = state.create_physical_expr(expr, &schema)?;
            let value = physical.evaluate(batch)?.into_array(batch.num_rows())?;
            let kept =
                value.as_any().downcast_ref::<arrow::array::BooleanArray>().ok_or_else(|| {
                    Error::new(
                        ErrorKind::TypeMismatch,
                        "argument of TRAIN WHERE must be type boolean",
                    )
                })?;
            Ok(kept.iter().map(|keep| keep.unwrap_or(false)).collect())
        })
    }
}

/// Returns the tables that a query scans, as its plan names them.
fn scanned(prepared: &Prepared) -> Result<Vec<TableReference>> {
    let Kind::Query { plan, .. } = &prepared.kind else {
        return Err(Error::internal("what is read is no query"));
    };
    let mut names = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && !names.contains(&scan.table_name)
        {
            names.push(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}

/// Takes the place in a text that the user did not write off an error.
fn unplaced(error: Error) -> Error {
    let mut plain = Error::new(error.kind(), error.message());
    if let Some(detail) = error.detail() {
        plain = plain.with_detail(detail);
    }
    match error.hint() {
        Some(hint) => plain.with_hint(hint),
        None => plain,
    }
}
