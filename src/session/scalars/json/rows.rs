//! The arrays whose elements are the rows of `json_array_elements`, `json_each` and `json_object_keys`; `rewrite/json_rows.rs` makes
//! tables and rows of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use maru_core::Result;

use super::super::{Kind as Takes, Row, RowFunction, invalid};
use super::get::{member, plain};
use super::read::{self, Kind, unquoted};
use super::{list_of, text, text_list};

const LIST: RowFunction =
    RowFunction { forms: &[&[Takes::Text]], returns: |_| text_list(), ..RowFunction::BASE };

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "json_elements",
        compute: |row| elements(Cow::Borrowed(row.text(0)), "json_array_elements"),
        syntax: "json_array_elements(json)",
        description: "Returns the elements of an array, of which json_array_elements makes rows.",
        ..LIST
    },
    RowFunction {
        name: "jsonb_elements",
        compute: |row| elements(row.jsonb_text(0)?, "jsonb_array_elements"),
        syntax: "jsonb_array_elements(jsonb)",
        description: "Returns the elements of an array, of which jsonb_array_elements makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_elements_text",
        compute: |row| texts(row.text(0), "json_array_elements_text"),
        syntax: "json_array_elements_text(json)",
        description: "Returns the elements of an array as text, of which json_array_elements_text makes rows.",
        ..LIST
    },
    RowFunction {
        name: "jsonb_elements_text",
        compute: |row| texts(&row.jsonb_text(0)?, "jsonb_array_elements_text"),
        syntax: "jsonb_array_elements_text(jsonb)",
        description: "Returns the elements of an array as text, of which jsonb_array_elements_text makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_keys",
        compute: |row| keys(row.text(0), "json_object_keys"),
        syntax: "json_object_keys(json)",
        description: "Returns the keys of an object, of which json_object_keys makes rows.",
        ..LIST
    },
    RowFunction {
        name: "jsonb_keys",
        compute: |row| keys(&row.jsonb_text(0)?, "jsonb_object_keys"),
        syntax: "jsonb_object_keys(jsonb)",
        description: "Returns the keys of an object, of which jsonb_object_keys makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_values",
        compute: |row| values(row.text(0), "json_each"),
        syntax: "json_each(json)",
        description: "Returns the values of an object, of which json_each makes rows.",
        ..LIST
    },
    RowFunction {
        name: "jsonb_values",
        compute: |row| values(&row.jsonb_text(0)?, "jsonb_each"),
        syntax: "jsonb_each(jsonb)",
        description: "Returns the values of an object, of which jsonb_each makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_values_text",
        compute: |row| values_text(row.text(0), "json_each_text"),
        syntax: "json_each_text(json)",
        description: "Returns the values of an object as text, of which json_each_text makes rows.",
        ..LIST
    },
    RowFunction {
        name: "jsonb_values_text",
        compute: |row| values_text(&row.jsonb_text(0)?, "jsonb_each_text"),
        syntax: "jsonb_each_text(jsonb)",
        description: "Returns the values of an object as text, of which jsonb_each_text makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_ordinals",
        forms: &[&[Takes::Array]],
        returns: |_| DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
        compute: |row| {
            let ScalarValue::List(list) = &row.values[0] else { return Ok(ScalarValue::Null) };
            let numbers = (1..=list.value_length(0)).map(|n| ScalarValue::Int64(Some(n.into())));
            let numbers = numbers.collect::<Vec<_>>();
            Ok(ScalarValue::List(ScalarValue::new_list(&numbers, &DataType::Int64, true)))
        },
        syntax: "WITH ORDINALITY",
        description: "Returns the numbers of the elements of an array.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_records",
        compute: |row| {
            let of = row.text(0);
            for item in array(of, "json_to_recordset")? {
                if read::whole(item)?.0 != Kind::Object {
                    return Err(invalid(
                        "argument of json_to_recordset must be an array of objects",
                    ));
                }
            }
            elements(Cow::Borrowed(of), "json_to_recordset")
        },
        syntax: "json_to_recordset(json)",
        description: "Returns the elements of an array of objects, of which json_to_recordset makes rows.",
        ..LIST
    },
    RowFunction {
        name: "json_record",
        compute: |row| match read::whole(row.text(0))? {
            (Kind::Object, of) => Ok(list_of([Some(of.to_owned())])),
            (kind, _) => Err(invalid(format!(
                "cannot call json_to_record on {}",
                if kind.is_scalar() { "a scalar" } else { "an array" }
            ))),
        },
        syntax: "json_to_record(json)",
        description: "Returns an object as an array of one, of which json_to_record makes a row.",
        ..LIST
    },
    RowFunction {
        name: "json_field",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| match member(row.text(0), row.text(1))? {
            Some("null") | None => Ok(ScalarValue::Null),
            Some(value) => Ok(text(value)),
        },
        syntax: "json_to_record(json) AS t (name json)",
        description: "Returns the value of a key, NULL for null, for a column of JSON.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_field_array",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: field_array,
        syntax: "json_to_record(json) AS t (name integer[])",
        description: "Returns the array of a key as the text of an array of SQL.",
        ..RowFunction::BASE
    },
];

fn array<'a>(of: &'a str, function: &str) -> Result<Vec<&'a str>> {
    match read::whole(of)? {
        (Kind::Array, of) => read::elements(of),
        (Kind::Object, _) => Err(invalid("cannot extract elements from an object")
            .with_detail(format!("{function} takes an array."))),
        _ => Err(invalid("cannot extract elements from a scalar")
            .with_detail(format!("{function} takes an array."))),
    }
}

fn object<'a>(of: &'a str, function: &str) -> Result<Vec<(&'a str, &'a str)>> {
    match read::whole(of)? {
        (Kind::Object, of) => read::members(of),
        (Kind::Array, _) => Err(invalid(format!("cannot call {function} on an array"))),
        _ => Err(invalid(format!("cannot call {function} on a scalar"))),
    }
}

fn elements(of: Cow<str>, function: &str) -> Result<ScalarValue> {
    let items = array(&of, function)?;
    Ok(list_of(items.into_iter().map(|item| Some(item.to_owned()))))
}

fn texts(of: &str, function: &str) -> Result<ScalarValue> {
    let items = array(of, function)?.into_iter();
    let items = items.map(|item| Ok(plain(item)?.map(Cow::into_owned)));
    Ok(list_of(items.collect::<Result<Vec<_>>>()?))
}

fn keys(of: &str, function: &str) -> Result<ScalarValue> {
    let keys = object(of, function)?.into_iter().map(|(key, _)| unquoted(key).map(Some));
    Ok(list_of(keys.collect::<Result<Vec<_>>>()?))
}

fn values(of: &str, function: &str) -> Result<ScalarValue> {
    let members = object(of, function)?.into_iter();
    Ok(list_of(members.map(|(_, value)| Some(value.to_owned()))))
}

fn values_text(of: &str, function: &str) -> Result<ScalarValue> {
    let members = object(of, function)?.into_iter();
    let values = members.map(|(_, value)| Ok(plain(value)?.map(Cow::into_owned)));
    Ok(list_of(values.collect::<Result<Vec<_>>>()?))
}

fn field_array(row: &Row) -> Result<ScalarValue> {
    let Some(value) = member(row.text(0), row.text(1))? else { return Ok(ScalarValue::Null) };
    match read::whole(value)? {
        (Kind::Array, value) => Ok(text(array_literal(value)?)),
        (Kind::Null, _) => Ok(ScalarValue::Null),
        (Kind::String, value) => Ok(text(unquoted(value)?)),
        _ => Err(maru_core::Error::new(maru_core::ErrorKind::InvalidText, "expected JSON array")
            .with_hint(format!("See the value of key \"{}\".", row.text(1)))),
    }
}

/// `{1,"a",NULL}` of `[1, "a", null]`.
fn array_literal(of: &str) -> Result<String> {
    let mut out = String::from("{");
    for (at, item) in read::elements(of)?.into_iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        match read::whole(item)?.0 {
            Kind::Array => out.push_str(&array_literal(item)?),
            Kind::Null => out.push_str("NULL"),
            _ => {
                let item = plain(item)?.unwrap_or_default();
                let escaped = item.replace('\\', "\\\\").replace('"', "\\\"");
                out.push_str(&format!("\"{escaped}\""));
            }
        }
    }
    out.push('}');
    Ok(out)
}
