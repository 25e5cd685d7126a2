//! Casts of text to arrays: `'{1,2}'::int[]`. The engine underneath would make an array of one element, the whole text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, ListArray, StringArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Field, FieldRef};
use maru_core::{Error, ErrorKind, Result};

use super::parse_bytes;
use crate::value_text::{Item, parse_array};

/// Returns whether a type is one of arrays.
pub(super) fn is_array(data_type: &DataType) -> bool {
    item_field(data_type).is_some()
}

fn item_field(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}

/// Reads texts as arrays of a type. With `safe`, what is no such array gives NULL.
///
/// # Errors
/// 22P02 for what is no array, or has elements that are none of their type; 0A000 for more dimensions than the type has.
pub(super) fn arrays(texts: &ArrayRef, target: &DataType, safe: bool) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let texts = cast_with_options(texts, &DataType::Utf8, &strict)?;
    let texts = texts.as_string::<i32>();
    if !safe {
        return read(texts.iter(), target);
    }
    let one_by_one = texts.iter().map(|text| {
        read(std::iter::once(text), target).unwrap_or_else(|_| new_null_array(target, 1))
    });
    let one_by_one = one_by_one.collect::<Vec<_>>();
    if one_by_one.is_empty() {
        return Ok(new_null_array(target, 0));
    }
    Ok(concat(&one_by_one.iter().map(|array| array.as_ref()).collect::<Vec<_>>())?)
}

fn read<'a>(texts: impl Iterator<Item = Option<&'a str>>, target: &DataType) -> Result<ArrayRef> {
    let rows = texts.map(|text| text.map(parse_array).transpose()).collect::<Result<Vec<_>>>()?;
    list(rows, target)
}

fn list(rows: Vec<Option<Vec<Item>>>, target: &DataType) -> Result<ArrayRef> {
    let Some(field) = item_field(target) else {
        return Err(Error::internal(format!("{target} is no array")));
    };
    let nulls = NullBuffer::from(rows.iter().map(Option::is_some).collect::<Vec<_>>());
    let offsets =
        OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let items = rows.into_iter().flatten().flatten();
    let values = match item_field(field.data_type()) {
        Some(_) => {
            let rows = items.map(|item| match item {
                Item::Null => Ok(None),
                Item::Array(items) => Ok(Some(items)),
                Item::Text(text) => {
                    let message = format!("malformed array literal: \"{text}\"");
                    Err(Error::new(ErrorKind::InvalidText, message)
                        .with_detail("The array has fewer dimensions than its type."))
                }
            });
            list(rows.collect::<Result<Vec<_>>>()?, field.data_type())?
        }
        None => {
            let texts = items.map(|item| match item {
                Item::Null => Ok(None),
                Item::Text(text) => Ok(Some(text)),
                Item::Array(_) => Err(Error::unsupported("the text is an array of arrays")
                    .with_hint("Name a type with as many dimensions, such as bigint[][].")),
            });
            elements(texts.collect::<Result<Vec<_>>>()?, field.data_type())?
        }
    };
    let item = Arc::new(Field::new(field.name(), field.data_type().clone(), true));
    let lists: ArrayRef = Arc::new(ListArray::try_new(item, offsets, values, Some(nulls))?);
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    Ok(match lists.data_type() == target {
        true => lists,
        false => cast_with_options(&lists, target, &strict)?,
    })
}

/// Reads elements as a cast reads their text; spaces around other values than text do not count.
fn elements(texts: Vec<Option<String>>, data_type: &DataType) -> Result<ArrayRef> {
    if data_type.is_binary() {
        let bytes = texts.iter().map(|text| text.as_deref().map(parse_bytes).transpose());
        let bytes = bytes.collect::<Result<Vec<_>>>()?;
        let bytes: ArrayRef =
            Arc::new(BinaryArray::from_iter(bytes.iter().map(|bytes| bytes.as_deref())));
        return Ok(cast_with_options(&bytes, data_type, &CastOptions::default())?);
    }
    let texts = match data_type.is_string() {
        true => texts.into_iter().collect::<StringArray>(),
        false => texts.iter().map(|text| text.as_deref().map(str::trim)).collect(),
    };
    let texts: ArrayRef = Arc::new(texts);
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(&texts, data_type, &strict)?)
}
