//! JSON, which is text whose field says so: `json` as it was written, `jsonb` as PostgreSQL writes its value.
//!
//! Texts of `jsonb` are canonical wherever they come from (`value.rs`), so that GROUP BY, DISTINCT, joins and IN compare values by
//! comparing texts. What is marked neither way is text, and stands in JSON in quotes; functions and operators of JSON read it all the
//! same.
//!
//! Source: PostgreSQL 15, section 9.16.

mod change;
mod contain;
mod describe;
mod get;
mod make;
mod path;
mod read;
mod rows;
mod value;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::text::text;
use super::{Row, RowFunction};
use crate::value_text::{Item, parse_array};

use value::Json;
use write::quoted;
pub(crate) use write::{Style, put_json};

/// The functions of all files.
pub(super) const TABLES: &[&[RowFunction]] = &[
    change::FUNCTIONS,
    contain::FUNCTIONS,
    describe::FUNCTIONS,
    get::FUNCTIONS,
    make::FUNCTIONS,
    path::FUNCTIONS,
    rows::FUNCTIONS,
];

const EXTENSION_KEY: &str = "ARROW:extension:name";
const JSON: &str = "arrow.json";
/// Tells `jsonb` from `json`: Arrow's mark has no room for it.
pub(crate) const TYPE_KEY: &str = "pg.type";
const JSONB: &str = "jsonb";

/// What marks a result has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Gives {
    /// No JSON.
    Other,
    Json,
    Jsonb,
    /// What the first argument is; `json` if that is text.
    AsFirst,
    /// What the first argument is, be it JSON or not.
    Same,
}

/// Returns which JSON values of a column are; `None` for other values.
pub(crate) fn style_of(field: &Field) -> Option<Style> {
    let metadata = field.metadata();
    if metadata.get(EXTENSION_KEY).is_none_or(|name| name != JSON) {
        return None;
    }
    let is_jsonb = metadata.get(TYPE_KEY).is_some_and(|name| name == JSONB);
    Some(if is_jsonb { Style::Jsonb } else { Style::Json })
}

/// Returns what says of a column that its text is JSON.
pub(crate) fn mark(style: Style) -> HashMap<String, String> {
    let mut metadata = HashMap::from([(EXTENSION_KEY.to_owned(), JSON.to_owned())]);
    if style == Style::Jsonb {
        metadata.insert(TYPE_KEY.to_owned(), JSONB.to_owned());
    }
    metadata
}

/// Marks the result of a function.
pub(super) fn marked(field: Field, gives: Gives, first: Option<&Field>) -> Field {
    let style = match gives {
        Gives::Other => return field,
        Gives::Json => Style::Json,
        Gives::Jsonb => Style::Jsonb,
        Gives::Same => match first.and_then(style_of) {
            Some(style) => style,
            None => return field,
        },
        Gives::AsFirst => first.and_then(style_of).unwrap_or(Style::Json),
    };
    field.with_metadata(mark(style))
}

impl Row<'_> {
    /// Reads an argument as `jsonb`.
    fn json(&self, at: usize) -> Result<Json> {
        Json::parse(self.text(at))
    }

    /// Returns an argument as the text of `jsonb`.
    fn jsonb_text(&self, at: usize) -> Result<Cow<'_, str>> {
        let is_jsonb = self.fields.get(at).is_some_and(|f| style_of(f) == Some(Style::Jsonb));
        match is_jsonb {
            true => Ok(Cow::Borrowed(self.text(at))),
            false => value::canonical(self.text(at)).map(Cow::Owned),
        }
    }

    /// Returns an argument that is an array of texts, or the text of one.
    fn texts(&self, at: usize) -> Result<Vec<Option<String>>> {
        match &self.values[at] {
            ScalarValue::Utf8(Some(written)) => items(parse_array(written)?, written),
            ScalarValue::List(list) => text_items(list),
            _ => Ok(Vec::new()),
        }
    }

    /// Returns a truth; `otherwise` where there is no such argument.
    fn truth(&self, at: usize, otherwise: bool) -> bool {
        match self.values.get(at) {
            Some(ScalarValue::Boolean(Some(truth))) => *truth,
            _ => otherwise,
        }
    }
}

fn items(items: Vec<Item>, written: &str) -> Result<Vec<Option<String>>> {
    let one = |item| match item {
        Item::Null => Ok(None),
        Item::Text(text) => Ok(Some(text)),
        Item::Array(_) => {
            Err(Error::new(ErrorKind::ArraySubscript, "wrong number of array subscripts")
                .with_detail(format!("{written} has several dimensions.")))
        }
    };
    items.into_iter().map(one).collect()
}

fn text_items(list: &Arc<ListArray>) -> Result<Vec<Option<String>>> {
    let items = list.value(0);
    if items.data_type().is_nested() {
        return Err(Error::new(ErrorKind::ArraySubscript, "wrong number of array subscripts"));
    }
    let items = arrow::compute::cast(&items, &DataType::Utf8)?;
    Ok(items.as_string::<i32>().iter().map(|item| item.map(str::to_owned)).collect())
}

/// The type of arrays of texts.
fn text_list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// Makes an array of texts.
fn list_of(items: impl IntoIterator<Item = Option<String>>) -> ScalarValue {
    let items = items.into_iter().map(ScalarValue::Utf8).collect::<Vec<_>>();
    ScalarValue::List(ScalarValue::new_list(&items, &DataType::Utf8, true))
}

fn jsonb(value: &Json) -> ScalarValue {
    text(value.text())
}
