//! Types that DataFusion changes its mind about: a client is told the types of columns before its rules have run.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Union, Values,
};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::{float, moments};
use crate::session::open_texts::{are_left_alone, numeric};

/// Gives the sides of a `UNION` one type now. Of `numeric(12,2)` and `numeric(38,10)`, the first would be told.
pub(super) fn unions(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Union(union) => {
            let union = with_parameters(union)?;
            let types = |plan: &LogicalPlan| {
                plan.schema().fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>()
            };
            let mut sides = union.inputs.iter().map(|input| types(input));
            let first = sides.next();
            if sides.all(|side| Some(side) == first) {
                return Ok(Transformed::no(LogicalPlan::Union(union)));
            }
            let union = with_settled(union)?;
            Ok(Transformed::yes(TypeCoercionRewriter::coerce_union(union)?))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Tells the types of a `UNION` anew whose sides have become of others; of any other node, its columns.
///
/// # Errors
/// What the planner says of sides that have no type in common.
pub(super) fn told_anew(node: LogicalPlan) -> DfResult<LogicalPlan> {
    let LogicalPlan::Union(union) = node else { return node.recompute_schema() };
    let is_told = |side: &Arc<LogicalPlan>| {
        let mut fields = side.schema().fields().iter().zip(union.schema.fields());
        fields.all(|(field, told)| field.data_type() == told.data_type())
    };
    if union.inputs.iter().all(is_told) {
        return LogicalPlan::Union(union).recompute_schema();
    }
    let union = with_settled(Union::try_new_with_loose_types(union.inputs)?)?;
    TypeCoercionRewriter::coerce_union(union)
}

/// Gives a parameter, and a text without a type, that is the whole value of a column the type that the column has in the other queries.
fn with_parameters(union: Union) -> DfResult<Union> {
    let of = |side: &LogicalPlan, at: usize| side.schema().field(at).data_type().clone();
    let is_text = |side: &LogicalPlan, at: usize| match side {
        LogicalPlan::Projection(columns) => columns.expr.get(at).and_then(text_of).is_some(),
        _ => false,
    };
    let n_columns = union.inputs.iter().map(|side| side.schema().fields().len()).min().unwrap_or(0);
    let types = (0..n_columns).map(|at| {
        let known = |with_texts: bool| {
            let mut sides = union.inputs.iter().filter(|side| with_texts || !is_text(side, at));
            sides.find_map(|side| Some(of(side, at)).filter(|data_type| !data_type.is_null()))
        };
        (known(false), known(true))
    });
    let types = types.collect::<Vec<_>>();
    let is_open = |expr: &Expr| matches!(expr, Expr::Placeholder(it) if it.field.is_none());
    let mut changed = false;
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let LogicalPlan::Projection(projection) = input.as_ref() else {
            inputs.push(Arc::clone(input));
            continue;
        };
        let columns = projection.expr.iter().zip(&types).map(|(expr, (typed, known))| {
            let Expr::Alias(alias) = expr else { return expr.clone() };
            let value = match (typed, known) {
                (_, Some(known)) if is_open(&alias.expr) => {
                    let data_type = typed.as_ref().unwrap_or(known).clone();
                    Some(Expr::Cast(Cast::new(alias.expr.clone(), data_type)))
                }
                (Some(typed), _) => read_as(expr, typed),
                _ => None,
            };
            let Some(value) = value else { return expr.clone() };
            changed = true;
            value.alias_qualified(alias.relation.clone(), alias.name.clone())
        });
        let columns = columns.collect::<Vec<_>>();
        let side = Projection::try_new(columns, Arc::clone(&projection.input))?;
        inputs.push(Arc::new(LogicalPlan::Projection(side)));
    }
    if !changed {
        return Ok(union);
    }
    Union::try_new_with_loose_types(inputs)
}

/// Returns the text that a column of a query is, if it was written without a type.
fn text_of(column: &Expr) -> Option<&str> {
    let Expr::Alias(alias) = column else { return None };
    match alias.expr.as_ref() {
        Expr::Literal(value, None) if !are_left_alone() => value.try_as_str().flatten(),
        _ => None,
    }
}

/// Reads such a text as a value of another type, a number with all its places.
fn read_as(column: &Expr, data_type: &DataType) -> Option<Expr> {
    let (text, Expr::Alias(alias)) = (text_of(column)?, column) else { return None };
    if data_type.is_decimal() {
        if let Some(number) = numeric(text) {
            return Some(Expr::Literal(number, None));
        }
        // A cast would round it.
        if text.trim().parse::<f64>().is_ok() {
            return None;
        }
    }
    let is_read = data_type.is_numeric()
        || data_type.is_temporal()
        || matches!(data_type, DataType::Boolean | DataType::List(_));
    is_read.then(|| Expr::Cast(Cast::new(alias.expr.clone(), data_type.clone())))
}

/// Makes floats of the numbers that stand in one column with floats, and moments of dates beside them.
fn with_settled(union: Union) -> DfResult<Union> {
    let n_columns = union.inputs.iter().map(|side| side.schema().fields().len()).min().unwrap_or(0);
    let targets = (0..n_columns)
        .map(|at| {
            let of = |side: &Arc<LogicalPlan>| side.schema().field(at).data_type().clone();
            let types = union.inputs.iter().map(of).collect::<Vec<_>>();
            float::common(&types).or_else(|| moments::common(&types))
        })
        .collect::<Vec<_>>();
    if targets.iter().all(Option::is_none) {
        return Ok(union);
    }
    let inputs = union.inputs.into_iter().map(|side| {
        let columns = side.schema().columns().into_iter().zip(side.schema().fields());
        let columns = columns.zip(&targets).map(|((column, field), target)| {
            let known = field.data_type();
            let target = target.as_ref().filter(|target| {
                let is_meant = known.is_numeric() || known.is_temporal();
                is_meant && known != *target
            });
            let (relation, name) = (column.relation.clone(), column.name.clone());
            let column = Expr::Column(column);
            match target {
                Some(target) => Expr::Cast(Cast::new(Box::new(column), target.clone()))
                    .alias_qualified(relation, name),
                None => column,
            }
        });
        let columns = columns.collect::<Vec<_>>();
        let side = LogicalPlanBuilder::from(side).project(columns)?;
        Ok(Arc::new(side.build()?))
    });
    Union::try_new_with_loose_types(inputs.collect::<DfResult<Vec<_>>>()?)
}

/// Makes floats of `VALUES` that stand in one column with floats, and moments of dates. The planner has made numerics of the floats,
/// and nanoseconds of all moments.
pub(super) fn values(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Values(values) => Ok(settled_values(values)),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn settled_values(mut values: Values) -> Transformed<LogicalPlan> {
    let empty = DFSchema::empty();
    let mut fields = values.schema.fields().iter().cloned().collect::<Vec<_>>();
    let mut changed = false;
    for (at, field) in fields.iter_mut().enumerate() {
        let is_moment = matches!(field.data_type(), DataType::Timestamp(..));
        if !field.data_type().is_decimal() && !is_moment {
            continue;
        }
        // What was written, without the planner's cast to the type of the column.
        let written = |row: &Vec<Expr>| match row.get(at) {
            Some(Expr::Cast(cast)) if cast.field.data_type() == field.data_type() => {
                Some(cast.expr.as_ref().clone())
            }
            other => other.cloned(),
        };
        let written = values.values.iter().map(written).collect::<Option<Vec<_>>>();
        let Some(written) = written else { continue };
        let type_of = |expr: &Expr| expr.get_type(&empty).unwrap_or(DataType::Null);
        let types = written.iter().map(type_of).collect::<Vec<_>>();
        let target = match is_moment {
            true => moments::common(&types),
            false => float::common(&types),
        };
        let Some(target) = target else { continue };
        for (row, expr) in values.values.iter_mut().zip(written) {
            row[at] = Expr::Cast(Cast::new(Box::new(expr), target.clone()));
        }
        *field = Arc::new(field.as_ref().clone().with_data_type(target));
        changed = true;
    }
    let schema = DFSchema::from_unqualified_fields(fields.into(), values.schema.metadata().clone());
    match schema {
        Ok(schema) if changed => {
            values.schema = Arc::new(schema);
            Transformed::yes(LogicalPlan::Values(values))
        }
        _ => Transformed::no(LogicalPlan::Values(values)),
    }
}

/// Gives `round(numeric, 1)` its number of digits in the type that the function wants. Under a cast it is no literal for a
/// while, and the result has another type until it is one again. One that is a parameter has no value yet: the result is of the
/// type that a client is told before.
pub(super) fn digits(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(mut call)
            if matches!(call.name(), "round" | "trunc") && call.args.len() == 2 =>
        {
            let digits = match call.args.get(1) {
                Some(Expr::Literal(ScalarValue::Int64(Some(digits)), _)) => {
                    i32::try_from(*digits).ok()
                }
                _ => None,
            };
            if let (Some(digits), Some(arg)) = (digits, call.args.get_mut(1)) {
                *arg = Expr::Literal(ScalarValue::Int32(Some(digits)), None);
                return Transformed::yes(Expr::ScalarFunction(call));
            }
            let is_open = call.args.get(1).is_some_and(has_parameter);
            let call = Expr::ScalarFunction(call);
            match call.get_type(schema) {
                Ok(told) if is_open && told.is_decimal() => {
                    Transformed::yes(Expr::Cast(Cast::new(Box::new(call), told)))
                }
                _ => Transformed::no(call),
            }
        }
        other => Transformed::no(other),
    }
}

fn has_parameter(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_)))).unwrap_or(false)
}
