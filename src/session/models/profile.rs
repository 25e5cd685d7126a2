//! Functions about data: what columns look like, and whether they have gone away from those of training.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use maru_core::{Error, ErrorKind, Result};
use maru_ml::columns::kind;
use maru_ml::profile::{Compares, Describe};
use maru_ml::{InputType, Version};

use super::WHOLE;

/// The column that tells the rows to compare with from the others.
const BASE: &str = "__base";

/// A row for each column that models can learn from.
pub(super) fn describe(input: LogicalPlan) -> Result<LogicalPlan> {
    let (mut names, mut inputs) = (Vec::new(), Vec::new());
    for (index, field) in input.schema().fields().iter().enumerate() {
        if kind(field.data_type()).is_some() {
            names.push(field.name().clone());
            inputs.push(Expr::Column(input.schema().columns()[index].clone()));
        }
    }
    rows(input, names, inputs, Compares::Nothing, None)
}

/// The columns that a version begins with, as they are in the input, beside those of training.
pub(super) fn skew(
    version: &Arc<Version>,
    input: LogicalPlan,
    inputs: Vec<Expr>,
    threshold: Option<f64>,
) -> Result<LogicalPlan> {
    let names = version.manifest.leaves.iter().map(|(name, _)| name.clone()).collect();
    rows(input, names, inputs, Compares::Training(Arc::clone(version)), threshold)
}

/// The columns that two inputs have in common.
pub(super) fn drift(
    base: LogicalPlan,
    study: LogicalPlan,
    threshold: Option<f64>,
) -> Result<LogicalPlan> {
    let mut names = Vec::new();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (index, field) in base.schema().fields().iter().enumerate() {
        let other = study.schema().fields().iter().position(|other| other.name() == field.name());
        let (Some(other), Some(_)) = (other, kind(field.data_type())) else { continue };
        let (mine, theirs) = (field.data_type(), study.schema().field(other).data_type());
        if kind(theirs).is_none() {
            continue;
        }
        let to = match mine == theirs {
            true => None,
            false if mine.is_numeric() && theirs.is_numeric() => Some(DataType::Float64),
            // Read as text, timestamps with and without a zone have nothing in common, nor have dates and timestamps.
            false if mine.is_temporal() && theirs.is_temporal() => {
                match InputType::of(mine) == InputType::of(theirs) {
                    true => Some(mine.clone()),
                    false => return Err(other_time(field.name())),
                }
            }
            false => Some(DataType::Utf8),
        };
        let expr = |plan: &LogicalPlan, at: usize| {
            let column = Expr::Column(plan.schema().columns()[at].clone());
            let column = to.clone().map_or(column.clone(), |to| cast(column, to));
            column.alias(field.name())
        };
        first.push(expr(&base, index));
        second.push(expr(&study, other));
        names.push(field.name().clone());
    }
    first.push(lit(true).alias(BASE));
    second.push(lit(false).alias(BASE));
    let first = LogicalPlanBuilder::from(base).project(first)?.build()?;
    let second = LogicalPlanBuilder::from(study).project(second)?.build()?;
    let both = LogicalPlanBuilder::from(first).union(second)?.build()?;
    let inputs = both.schema().columns().into_iter().map(Expr::Column).collect();
    rows(both, names, inputs, Compares::Halves, threshold)
}

fn other_time(column: &str) -> Error {
    Error::new(
        ErrorKind::TypeMismatch,
        format!(
            "column \"{column}\" is of one kind of time in one query and of another in the other"
        ),
    )
    .with_hint("Cast it in one of the queries: CAST(column AS date), or AS timestamp.")
}

fn rows(
    input: LogicalPlan,
    names: Vec<String>,
    inputs: Vec<Expr>,
    compares: Compares,
    threshold: Option<f64>,
) -> Result<LogicalPlan> {
    if names.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "there is no column to look at",
        )
        .with_detail("Numbers, booleans, text, dates and timestamps are looked at; of two queries the columns of the same name."));
    }
    let describe = Describe::new(names, compares, threshold)?;
    let fields = describe.fields();
    let whole = AggregateUDF::from(describe).call(inputs).alias(WHOLE);
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
