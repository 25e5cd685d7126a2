//! Rows of JSON as Hive's JsonSerDe reads them: one object in a line, names without regard to case.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Fields};
use maru_core::{Error, ErrorKind, Result};

use super::column::{Column, Values};
use super::json_text::{Json, parse};
use super::value::{self, Leaf};

/// Reads rows into columns.
pub(super) struct JsonRows {
    /// All columns of the table, since a name may say a column by its number.
    fields: Fields,
    wanted: Vec<usize>,
    /// Whether a fraction in a column of text is given as it is written; else it is refused.
    raw_fractions: bool,
}

impl JsonRows {
    pub(super) fn new(fields: &Fields, wanted: &[usize], raw_fractions: bool) -> Self {
        Self { fields: fields.clone(), wanted: wanted.to_vec(), raw_fractions }
    }

    pub(super) fn read(&self, line: &[u8], columns: &mut [Column]) -> Result<()> {
        let text = std::str::from_utf8(line).map_err(|_| bad("the line is not valid UTF-8"))?;
        let Json::Object(members) = parse(text).map_err(bad)? else {
            return Err(bad("the line is no JSON object"));
        };
        let places = places(&members, &self.fields);
        for (column, wanted) in columns.iter_mut().zip(&self.wanted) {
            let name = self.fields.get(*wanted).map(|field| field.name().as_str());
            let member = places.get(*wanted).copied().flatten();
            self.value(member.map(|at| &members[at].1), column)
                .map_err(|error| error.with_context("column", name.unwrap_or_default()))?;
        }
        Ok(())
    }

    fn value(&self, value: Option<&Json<'_>>, column: &mut Column) -> Result<()> {
        let value = match value {
            None | Some(Json::Null) => return column.append_null(),
            Some(value) => value,
        };
        match (&mut column.values, value) {
            (Values::Leaf(_), value) => {
                let value = self.leaf(column.data_type(), value)?;
                column.append(value)
            }
            (Values::List(list), Json::Array(items)) => {
                for item in items {
                    self.value(Some(item), &mut list.items)?;
                }
                list.close(true)
            }
            (Values::Struct(fields), Json::Object(members)) => {
                let places = places(members, &fields.fields);
                for (column, place) in fields.columns.iter_mut().zip(places) {
                    self.value(place.map(|at| &members[at].1), column)?;
                }
                fields.close(true);
                Ok(())
            }
            (Values::Map(map), Json::Object(members)) => {
                let mut entries: Vec<(Vec<u8>, Leaf<'_>, &Json<'_>)> = Vec::new();
                for (name, value) in members {
                    let key = value::parse(map.keys.data_type(), name.as_bytes())?;
                    let key = key.ok_or_else(|| bad(format!("\"{name}\" is no key of the map")))?;
                    let identity = key.identity();
                    // Of two keys that are the same the last one's value counts.
                    match entries.iter_mut().find(|(known, ..)| *known == identity) {
                        Some(entry) => entry.2 = value,
                        None => entries.push((identity, key, value)),
                    }
                }
                for (_, key, value) in entries {
                    map.keys.append(Some(key))?;
                    self.value(Some(value), &mut map.values)?;
                }
                map.close(true)
            }
            (_, other) => Err(misfit(other, column.data_type())),
        }
    }

    fn leaf<'a>(&self, data_type: &DataType, value: &'a Json<'a>) -> Result<Option<Leaf<'a>>> {
        let written = match value {
            Json::Text(text) => text.as_ref(),
            Json::Number(text) => text,
            Json::Boolean(true) => "true",
            Json::Boolean(false) => "false",
            Json::Null | Json::Array(_) | Json::Object(_) => return Err(misfit(value, data_type)),
        };
        let is_number = matches!(value, Json::Number(_));
        let has_fraction = written.contains(['.', 'e', 'E']);
        let fits = match data_type {
            DataType::Utf8 => !is_number || !has_fraction || self.raw_fractions,
            DataType::Boolean => !is_number,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                is_number && !has_fraction
            }
            DataType::Float32 | DataType::Float64 => is_number,
            DataType::Decimal128(..) => !matches!(value, Json::Boolean(_)),
            DataType::Date32 | DataType::Timestamp(..) => matches!(value, Json::Text(_)),
            _ => false,
        };
        if !fits {
            return Err(misfit(value, data_type));
        }
        match (data_type, value::parse(data_type, written.as_bytes())?) {
            // Hive keeps no decimal that is wider than its column.
            (DataType::Decimal128(..), parsed) => Ok(parsed),
            (_, None) => Err(misfit(value, data_type)),
            (_, parsed) => Ok(parsed),
        }
    }
}

/// Returns which member of an object each field has: the last of its name. `_col3` names the fourth column, as Hive's
/// own files have it.
fn places(members: &[(Cow<'_, str>, Json<'_>)], fields: &Fields) -> Vec<Option<usize>> {
    let mut places = vec![None; fields.len()];
    for (at, (name, _)) in members.iter().enumerate() {
        let named = fields.iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let named = named.or_else(|| {
            let lower = name.to_lowercase();
            fields.iter().position(|field| field.name().to_lowercase() == lower)
        });
        let numbered = || name.strip_prefix("_col").and_then(|number| number.parse().ok());
        if let Some(place) = named.or_else(numbered).and_then(|place: usize| places.get_mut(place))
        {
            *place = Some(at);
        }
    }
    places
}

fn misfit(value: &Json<'_>, data_type: &DataType) -> Error {
    let what = match value {
        Json::Null => "null".to_owned(),
        Json::Boolean(value) => value.to_string(),
        Json::Number(text) => (*text).to_owned(),
        Json::Text(text) => format!("\"{text}\""),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    };
    bad(format!("{what} is no {data_type}"))
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadFileFormat, what.into())
}
