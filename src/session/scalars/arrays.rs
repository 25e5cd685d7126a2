//! Arrays: `array_dims`, `array_fill`, `array_kept`, `array_remove`, `trim_array`, and whether two have an element in common.
//!
//! Source: PostgreSQL 16, 9.19.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use maru_core::{Error, Result};

use super::text::text;
use super::{Kind, Row, RowFunction, invalid};

/// Elements that `array_fill` makes at most, as PostgreSQL's MaxArraySize.
const ELEMENTS_MAX: i64 = 134_217_727;

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "array_dims",
        aliases: &["list_dims"],
        forms: &[&[Kind::Array]],
        compute: dims,
        syntax: "array_dims(array)",
        description: "Returns the bounds of an array's dimensions as text, such as [1:2][1:3]; NULL of an empty one.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "array_fill",
        forms: &[&[Kind::Any, Kind::Array]],
        strict: false,
        returns: |types| {
            let item = types.first().cloned().unwrap_or(DataType::Null);
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        },
        compute: fill,
        syntax: "array_fill(value, ARRAY[length])",
        description: "Returns an array of so many copies of a value.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "array_kept",
        forms: &[&[Kind::Array, Kind::Text, Kind::Any]],
        strict: false,
        returns: |types| types.first().cloned().unwrap_or(DataType::Null),
        compute: kept,
        syntax: "array_kept(array, operator, value)",
        description: "Returns the elements of an array that compare so with a value, as ARRAY(SELECT x FROM unnest(array) AS x WHERE x > value) does.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "array_remove",
        // Without it the engine's own would come back under this name.
        aliases: &["list_remove"],
        forms: &[&[Kind::Array, Kind::Any]],
        strict: false,
        returns: |types| types.first().cloned().unwrap_or(DataType::Null),
        compute: remove,
        syntax: "array_remove(array, value)",
        description: "Returns an array without the elements that are a value, or NULL.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "trim_array",
        forms: &[&[Kind::Array, Kind::Whole]],
        returns: |types| types.first().cloned().unwrap_or(DataType::Null),
        compute: trim,
        syntax: "trim_array(array, n)",
        description: "Returns an array without its last n elements.",
        ..RowFunction::BASE
    },
];

fn elements(row: &Row, at: usize) -> Result<ArrayRef> {
    match &row.values[at] {
        ScalarValue::List(list) => Ok(list.value(0)),
        _ => Err(Error::internal("an array is expected")),
    }
}

fn dims(row: &Row) -> Result<ScalarValue> {
    let mut shown = String::new();
    let mut inner = elements(row, 0)?;
    loop {
        if inner.is_empty() {
            break;
        }
        shown.push_str(&format!("[1:{}]", inner.len()));
        inner = match inner.as_any().downcast_ref::<arrow::array::ListArray>() {
            Some(list) => list.value(0),
            None => break,
        };
    }
    Ok(if shown.is_empty() { ScalarValue::Null } else { text(shown) })
}

fn fill(row: &Row) -> Result<ScalarValue> {
    if row.values[1].is_null() {
        return Err(invalid("dimension array or low bound array cannot be null"));
    }
    let lengths = elements(row, 1)?;
    if lengths.len() != 1 {
        return Err(Error::unsupported("array_fill makes arrays of one dimension"));
    }
    let length = match ScalarValue::try_from_array(&lengths, 0)?.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(length @ 0..=ELEMENTS_MAX)) => length as usize,
        _ => return Err(invalid("the length of array_fill is out of range")),
    };
    let value = &row.values[0];
    let items = vec![value.clone(); length];
    Ok(ScalarValue::List(ScalarValue::new_list(&items, &value.data_type(), true)))
}

/// None of no array: it has no rows.
fn kept(row: &Row) -> Result<ScalarValue> {
    let DataType::List(item) = row.returns else {
        return Err(Error::internal("an array is expected"));
    };
    let mut found = Vec::new();
    if !row.values.iter().any(ScalarValue::is_null) {
        let value = row.values[2].cast_to(item.data_type())?;
        let elements = elements(row, 0)?;
        for at in 0..elements.len() {
            let element = ScalarValue::try_from_array(&elements, at)?;
            let order = element.partial_cmp(&value).filter(|_| !element.is_null());
            let holds = order.is_some_and(|order| match row.text(1) {
                "=" => order.is_eq(),
                "<>" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            });
            found.extend(holds.then_some(element));
        }
    }
    let list = ScalarValue::List(ScalarValue::new_list(&found, item.data_type(), true));
    Ok(list.cast_to(row.returns)?)
}

/// NULL is an element like others, and no array is none.
fn remove(row: &Row) -> Result<ScalarValue> {
    let [array, value] = row.values else {
        return Err(Error::internal("array_remove takes two arguments"));
    };
    if array.is_null() {
        return Ok(ScalarValue::Null);
    }
    let elements = elements(row, 0)?;
    // A value that the elements have no room for is none of them.
    let gone = match value.cast_to(elements.data_type()) {
        Ok(gone) => gone,
        Err(_) if value.data_type().is_numeric() => return Ok(array.clone()),
        Err(error) => return Err(error.into()),
    };
    if !value.is_null() && gone.cast_to(&value.data_type())? != *value {
        return Ok(array.clone());
    }
    let stays = (0..elements.len()).map(|at| {
        let element = ScalarValue::try_from_array(&elements, at)?;
        Ok(Some(element != gone))
    });
    let stays = stays.collect::<Result<BooleanArray>>()?;
    let kept = filter(&elements, &stays)?;
    let list = SingleRowListArrayBuilder::new(kept).build_list_scalar();
    Ok(list.cast_to(&array.data_type())?)
}

fn trim(row: &Row) -> Result<ScalarValue> {
    let (array, n) = (elements(row, 0)?, row.whole(1));
    let kept = usize::try_from(n).ok().and_then(|n| array.len().checked_sub(n));
    let kept = kept.ok_or_else(|| {
        invalid(format!("number of elements to trim must be between 0 and {}", array.len()))
    })?;
    let kept = array.slice(0, kept);
    let list = SingleRowListArrayBuilder::new(kept).build_list_scalar();
    Ok(list.cast_to(&row.values[0].data_type())?)
}
