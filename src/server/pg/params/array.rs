//! Array parameters (`id = ANY($1)`): one dimension, text and binary.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::Error;
use pgwire::api::Type;

use super::{BAD_BINARY, from_binary as element_from_binary, from_text as element_from_text};
use crate::server::pg::errors::WireError;
use crate::server::pg::types::parameter_type;
use crate::value_text::{Item, Zone, parse_array};

fn element_type(element: &Type) -> Result<DataType, WireError> {
    parameter_type(element).ok_or_else(|| super::unsupported(element))
}

/// Makes a list whose items are all of one type; numbers of different scale are brought to the widest.
fn list(element: &Type, items: Vec<ScalarValue>) -> Result<ScalarValue, WireError> {
    let mut data_type = element_type(element)?;
    if data_type.is_decimal() {
        let (mut whole, mut scale) = (1, 0);
        for item in &items {
            if let DataType::Decimal128(p, s) | DataType::Decimal256(p, s) = item.data_type()
                && !item.is_null()
            {
                whole = whole.max(i16::from(p) - i16::from(s));
                scale = scale.max(i16::from(s));
            }
        }
        data_type = if whole + scale <= 38 {
            DataType::Decimal128((whole + scale).max(1) as u8, scale as i8)
        } else {
            DataType::Decimal256((whole + scale).min(76) as u8, scale as i8)
        };
    }
    let items = items
        .into_iter()
        .map(|item| match item {
            item if item.is_null() => ScalarValue::try_from(&data_type),
            item if item.data_type() == data_type => Ok(item),
            item => item.cast_to(&data_type),
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| WireError::from(Error::from(error)))?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, &data_type)))
}

fn one_dimension() -> WireError {
    WireError::from(Error::unsupported("cannot take an array of more than one dimension"))
}

/// Reads `{1,2,NULL,"a b"}`.
pub(super) fn from_text(element: &Type, text: &str, zone: &Zone) -> Result<ScalarValue, WireError> {
    let items = parse_array(text).map_err(WireError::from)?;
    let items = items.into_iter().map(|item| match item {
        Item::Null => Ok(ScalarValue::Null),
        Item::Text(item) => element_from_text(element, &item, zone),
        Item::Array(_) => Err(one_dimension()),
    });
    list(element, items.collect::<Result<Vec<_>, _>>()?)
}

/// Reads the binary form: dimensions, flags, element type, then each item with its length.
pub(super) fn from_binary(element: &Type, bytes: &[u8]) -> Result<ScalarValue, WireError> {
    let bad = || WireError::new(BAD_BINARY, "incorrect binary data format for an array");
    let mut rest = bytes;
    let mut word = || {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(i32::from_be_bytes(*head))
    };
    let dimensions = word().ok_or_else(bad)?;
    let _has_nulls = word().ok_or_else(bad)?;
    let sent = word().ok_or_else(bad)? as u32;
    if sent != element.oid() && sent != 0 {
        return Err(WireError::new("42804", "wrong element type in an array parameter"));
    }
    match dimensions {
        0 => return list(element, Vec::new()),
        1 => {}
        _ => return Err(one_dimension()),
    }
    let count = word().ok_or_else(bad)?;
    let _lower_bound = word().ok_or_else(bad)?;
    let mut items = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        rest = tail;
        let length = i32::from_be_bytes(*head);
        if length < 0 {
            items.push(ScalarValue::Null);
            continue;
        }
        let (item, tail) = rest.split_at_checked(length as usize).ok_or_else(bad)?;
        rest = tail;
        items.push(element_from_binary(element, item)?);
    }
    if rest.is_empty() { list(element, items) } else { Err(bad()) }
}
