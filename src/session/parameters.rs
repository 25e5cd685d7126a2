//! What a client is told of a statement before it runs: the types of its parameters, the columns of its result.

mod operands;
mod places;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use maru_core::{Error, ErrorKind, Result};

pub(super) use self::operands::Operands;
use super::rewrite::shown;

/// Returns the types of `$1` … in order; what the statement does not tell is taken from what the client declared.
pub(super) fn parameter_types(
    plan: &LogicalPlan,
    declared: &[Option<DataType>],
) -> Result<Vec<Option<DataType>>> {
    let number = |id: &str| id.trim_start_matches('$').parse::<usize>().ok().filter(|n| *n > 0);
    let mut n_parameters = declared.len();
    for id in plan.get_parameter_names()? {
        let Some(number) = number(&id) else {
            return Err(Error::new(
                ErrorKind::UndefinedParameter,
                format!("parameter {id} is not a number"),
            )
            .with_hint("Write parameters as $1, $2, …"));
        };
        n_parameters = n_parameters.max(number);
    }
    let mut types = declared.to_vec();
    types.resize(n_parameters, None);
    let mut told = vec![false; n_parameters];
    for place in places::of(plan)? {
        let index = number(&place.id).map_or(usize::MAX, |number| number - 1);
        let (Some(slot), Some(told)) = (types.get_mut(index), told.get_mut(index)) else {
            continue;
        };
        if *told || place.yields && slot.is_some() {
            continue;
        }
        *slot = Some(place.data_type);
        *told = true;
    }
    Ok(types)
}

/// Tells the types of result columns that are parameters and nothing else: what the client declared, or text, as in
/// PostgreSQL. Returns the columns, and the types of the parameters.
pub(super) fn settle(
    plan: &LogicalPlan,
    types: Vec<Option<DataType>>,
) -> Result<(SchemaRef, Vec<Option<DataType>>)> {
    let schema = plan.schema().as_arrow();
    let open = schema.fields().iter().any(|field| is_open(field.data_type()));
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

/// Returns whether nothing is known of a type, or of that of an array's items.
fn is_open(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_open(item.data_type())
        }
        other => other.is_null(),
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
