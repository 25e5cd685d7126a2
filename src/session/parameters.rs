//! What a client is told of a statement before it runs: the types of its parameters, the columns of its result.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use maru_core::{Error, ErrorKind, Result};

use super::rewrite::shown;
use super::{named_objects, quantified};

/// Returns the types of `$1` … in order; what the statement does not tell is taken from what the client declared.
pub(super) fn parameter_types(
    plan: &LogicalPlan,
    declared: &[Option<DataType>],
) -> Result<Vec<Option<DataType>>> {
    let found = plan.get_parameter_types()?;
    let number = |id: &str| id.trim_start_matches('$').parse::<usize>().ok().filter(|n| *n > 0);
    let n_parameters = found.keys().filter_map(|id| number(id)).max().unwrap_or(0);
    let mut types = vec![None; n_parameters.max(declared.len())];
    for (slot, declared) in types.iter_mut().zip(declared) {
        slot.clone_from(declared);
    }
    for (id, data_type) in found {
        let Some(number) = number(&id) else {
            return Err(Error::new(
                ErrorKind::UndefinedParameter,
                format!("parameter {id} is not a number"),
            )
            .with_hint("Write parameters as $1, $2, …"));
        };
        if data_type.is_some() {
            types[number - 1] = data_type;
        }
    }
    for (id, data_type) in cast_parameters(plan)? {
        if let Some(slot @ None) = number(&id).and_then(|number| types.get_mut(number - 1)) {
            *slot = Some(data_type);
        }
    }
    Ok(types)
}

/// Returns the parameters that stand right under a cast: `$1::bigint` is a bigint, as in PostgreSQL. The first cast of
/// a parameter counts. Beside `ANY` and `ALL` it is an array of what it is compared with.
fn cast_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if node.inputs().is_empty() {
            schema.merge(node.schema());
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::Cast(cast) => {
                        if let Expr::Placeholder(placeholder) = cast.expr.as_ref() {
                            let data_type = cast.field.data_type().clone();
                            found.push((placeholder.id.clone(), data_type));
                        }
                    }
                    Expr::ScalarFunction(call) => {
                        if let (named_objects::OIDS, [Expr::Placeholder(placeholder)]) =
                            (call.name(), call.args.as_slice())
                        {
                            found.push((placeholder.id.clone(), named_objects::oids()));
                        }
                        found.extend(quantified::parameter_type(call, &schema));
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Tells the types of result columns that are parameters and nothing else: what the client declared, or text, as in
/// PostgreSQL. Returns the columns, and the types of the parameters.
pub(super) fn settle(
    plan: &LogicalPlan,
    types: Vec<Option<DataType>>,
) -> Result<(SchemaRef, Vec<Option<DataType>>)> {
    let schema = plan.schema().as_arrow();
    let open = schema.fields().iter().any(|field| field.data_type().is_null());
    if types.is_empty() || !open {
        return Ok((client_schema(schema), types));
    }
    let settled = types
        .iter()
        .map(|data_type| data_type.clone().unwrap_or(DataType::Utf8))
        .collect::<Vec<_>>();
    let nulls = settled.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>, _>>()?;
    match plan.clone().replace_params_with_values(&ParamValues::from(nulls)) {
        Ok(bound) => {
            let types = settled.into_iter().map(Some).collect();
            Ok((client_schema(bound.schema().as_arrow()), types))
        }
        // Text does not fit where the parameter stands; the values will tell.
        Err(_) => Ok((client_schema(schema), types)),
    }
}

/// Every column may hold NULL as far as a client is told, since a physical plan may know less than the logical one. Of what else
/// is known of a column, it is told what makes another type of it: JSON, a UUID, an object's number.
fn client_schema(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| {
            let kept = field.metadata().iter().filter(|(key, _)| {
                key.starts_with("ARROW:extension:")
                    || ["pg.oid_alias", super::TYPE_KEY].contains(&key.as_str())
            });
            let kept = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
            Field::new(shown(field.name()), field.data_type().clone(), true).with_metadata(kept)
        })
        .collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}
