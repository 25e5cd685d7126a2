//! Lists, structs and maps in a field of delimited text: JSON, as `COPY … TO` writes them; lists also as PostgreSQL does, `{1,2}`.

use std::borrow::Cow;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use maru_core::{Error, Result};

use super::column::Column;
use crate::file_table::text::json_text::Scanner;
use crate::file_table::type_name;
use crate::value_text::{Item, parse_array};

/// Reads texts as values of a nested type.
///
/// # Errors
/// 22P04 for what is no JSON, 22P02 and 22003 for values that are none of the type, 0A000 for arrays of more dimensions than the type.
pub(in crate::file_table::text) fn nested(
    texts: &StringArray,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let mut column = Column::new(data_type)?;
    for text in texts {
        let Some(text) = text else {
            column.append_null(0)?;
            continue;
        };
        let text = match data_type {
            DataType::List(_) if is_literal(text) => {
                let mut json = String::new();
                put(&parse_array(text)?, data_type, &mut json)?;
                Cow::Owned(json)
            }
            _ => Cow::Borrowed(text),
        };
        let mut scanner = Scanner::new(&text);
        let value = scanner.value()?;
        scanner.end()?;
        column.append(&text, value, 0)?;
    }
    column.finish().map_err(|(_, error)| error)
}

/// Tells `{1,2}` and `[1:2]={1,2}` from JSON, in which no colon follows a number of a list.
fn is_literal(text: &str) -> bool {
    let text = text.trim_start();
    let bounds = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    text.starts_with('{')
        || bounds.is_some_and(|(bound, _)| {
            bound.contains(':')
                && bound.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '-' | '+'))
        })
}

/// Writes an array as JSON, every value of it as a text.
fn put(items: &[Item], data_type: &DataType, json: &mut String) -> Result<()> {
    let DataType::List(field) = data_type else {
        let name = type_name(data_type);
        return Err(Error::unsupported(format!("an array of more dimensions than one of {name}")));
    };
    json.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        match item {
            Item::Null => json.push_str("null"),
            Item::Text(text) => json.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Item::Array(items) => put(items, field.data_type(), json)?,
        }
    }
    json.push(']');
    Ok(())
}
