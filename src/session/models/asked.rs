//! Parameters among the columns that a model is asked about have the types that it has learnt from:
//! `ML.PREDICT(MODEL m, (SELECT $1 AS temp, $2 AS line))`, `ml_predict(MODEL m, $1, $2)`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, cast};
use maru_core::Result;
use maru_ml::Version;
use maru_ml::imported::input_type;
use maru_ml::manifest::InputType;
use maru_ml_kernels::model::Model;

use super::scalar::version_of;

/// Returns the type that a parameter in the place of a column of the version is read as.
fn learnt(version: &Version, column: usize) -> Option<DataType> {
    if let Model::Imported(imported) = &version.artifact.model {
        return input_type(imported, column);
    }
    match version.manifest.input_types.get(column)? {
        InputType::Number => Some(DataType::Float64),
        InputType::Text => Some(DataType::Utf8),
        InputType::Date => Some(DataType::Date32),
        // Whether it had a zone is not known.
        InputType::Timestamp | InputType::Time | InputType::Unknown => None,
    }
}

fn open(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => Some(&placeholder.id),
        _ => None,
    }
}

/// Casts parameters that are columns of the rows to predict. What a client declares them as counts more, as of any cast.
pub(super) fn typed(version: &Version, input: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = &input else { return Ok(input) };
    let is_open = |expr: &Expr| matches!(expr, Expr::Alias(alias) if open(&alias.expr).is_some());
    if !projection.expr.iter().any(is_open) {
        return Ok(input);
    }
    let exprs = projection.expr.iter().map(|expr| {
        let Expr::Alias(alias) = expr else { return expr.clone() };
        if open(&alias.expr).is_none() {
            return expr.clone();
        }
        let leaves = &version.manifest.leaves;
        let column = leaves.iter().position(|(name, _)| *name == alias.name);
        match column.and_then(|column| learnt(version, column)) {
            Some(data_type) => cast(alias.expr.as_ref().clone(), data_type).alias(&alias.name),
            None => expr.clone(),
        }
    });
    let exprs = exprs.collect::<Vec<_>>();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&projection.input))?))
}

/// Returns the parameters among the columns of a call of `ml_predict`, with their types.
pub(in crate::session) fn parameters_of(call: &ScalarFunction) -> Vec<(String, DataType)> {
    let Some((version, columns)) = version_of(call) else { return Vec::new() };
    let columns = columns.iter().enumerate();
    let typed =
        columns.filter_map(|(at, column)| Some((open(column)?.to_owned(), learnt(&version, at)?)));
    typed.collect()
}
