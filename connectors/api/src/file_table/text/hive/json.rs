//! Rows of JSON as Hive's JsonSerDe reads them: one object in a line, names without regard to case.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Fields};
use maru_core::{Error, Result};

use super::column::{Column, Values};
use super::value::{self, Leaf};
use crate::file_table::text::json_text::{Kind, Scanner, Value, bad};

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
        let mut scanner = Scanner::new(text);
        let members = members(text, &mut scanner)?;
        scanner.end()?;
        let row = Row { text, raw_fractions: self.raw_fractions };
        let places = places(&members, &self.fields);
        for (column, wanted) in columns.iter_mut().zip(&self.wanted) {
            let name = self.fields.get(*wanted).map(|field| field.name().as_str());
            row.value(places.get(*wanted).copied().flatten(), column)
                .map_err(|error| error.with_context("column", name.unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// One line, whose values are places in its text.
struct Row<'a> {
    text: &'a str,
    raw_fractions: bool,
}

impl Row<'_> {
    fn value(&self, value: Option<Value>, column: &mut Column) -> Result<()> {
        let value = match value {
            None => return column.append_null(),
            Some(value) if value.kind == Kind::Null => return column.append_null(),
            Some(value) => value,
        };
        let mut inside = Scanner::inside(self.text, value);
        match (&mut column.values, value.kind) {
            (Values::Leaf(_), _) => {
                let written = value.characters(self.text)?;
                let leaf = self.leaf(column.data_type(), value, &written)?;
                column.append(leaf)
            }
            (Values::List(list), Kind::Array) => {
                inside.items(|item| self.value(Some(item), &mut list.items))?;
                list.close(true)
            }
            (Values::Struct(fields), Kind::Object) => {
                let members = members(self.text, &mut inside)?;
                let places = places(&members, &fields.fields);
                for (column, place) in fields.columns.iter_mut().zip(places) {
                    self.value(place, column)?;
                }
                fields.close(true);
                Ok(())
            }
            (Values::Map(map), Kind::Object) => {
                let members = members(self.text, &mut inside)?;
                let mut entries: Vec<(Vec<u8>, Leaf<'_>, Value)> = Vec::new();
                for (name, value) in &members {
                    let key = value::parse(map.keys.data_type(), name.as_bytes())?;
                    let key = key.ok_or_else(|| bad(format!("\"{name}\" is no key of the map")))?;
                    let identity = key.identity();
                    // Of two keys that are the same the last one's value counts.
                    match entries.iter_mut().find(|(known, ..)| *known == identity) {
                        Some(entry) => entry.2 = *value,
                        None => entries.push((identity, key, *value)),
                    }
                }
                for (_, key, value) in entries {
                    map.keys.append(Some(key))?;
                    self.value(Some(value), &mut map.values)?;
                }
                map.close(true)
            }
            _ => Err(self.misfit(value, column.data_type())),
        }
    }

    /// Reads a value that is neither NULL, array nor object, of which `written` are the characters.
    fn leaf<'b>(
        &self,
        data_type: &DataType,
        value: Value,
        written: &'b str,
    ) -> Result<Option<Leaf<'b>>> {
        let is_number = value.kind == Kind::Number;
        let is_boolean = matches!(value.kind, Kind::True | Kind::False);
        let is_whole = is_number && !written.contains(['.', 'e', 'E']);
        let fits = match data_type {
            _ if matches!(value.kind, Kind::Array | Kind::Object) => false,
            DataType::Utf8 => !is_number || is_whole || self.raw_fractions,
            DataType::Boolean => !is_number,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => is_whole,
            DataType::Float32 | DataType::Float64 => is_number,
            DataType::Decimal128(..) => !is_boolean,
            DataType::Date32 | DataType::Timestamp(..) => value.is_text(),
            _ => false,
        };
        if !fits {
            return Err(self.misfit(value, data_type));
        }
        match (data_type, value::parse(data_type, written.as_bytes())?) {
            // Hive keeps no decimal that is wider than its column.
            (DataType::Decimal128(..), parsed) => Ok(parsed),
            (_, None) => Err(self.misfit(value, data_type)),
            (_, parsed) => Ok(parsed),
        }
    }

    fn misfit(&self, value: Value, data_type: &DataType) -> Error {
        let written = value.written(self.text);
        let what = match value.kind {
            Kind::Array => "an array".to_owned(),
            Kind::Object => "an object".to_owned(),
            _ if value.is_text() => format!("\"{written}\""),
            _ => written.to_owned(),
        };
        bad(format!("{what} is no {data_type}"))
    }
}

/// The members of the object that begins at the scanner, in their order.
fn members<'a>(text: &'a str, scanner: &mut Scanner<'a>) -> Result<Vec<(Cow<'a, str>, Value)>> {
    let mut members = Vec::new();
    scanner.members(|name, value| {
        members.push((name.characters(text)?, value));
        Ok(())
    })?;
    Ok(members)
}

/// Returns the member of an object that each field has: the last of its name. `_col3` names the fourth column, as
/// Hive's own files have it.
fn places(members: &[(Cow<'_, str>, Value)], fields: &Fields) -> Vec<Option<Value>> {
    let mut places = vec![None; fields.len()];
    for (name, value) in members {
        let named = fields.iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let named = named.or_else(|| {
            let lower = name.to_lowercase();
            fields.iter().position(|field| field.name().to_lowercase() == lower)
        });
        let numbered = || name.strip_prefix("_col").and_then(|number| number.parse().ok());
        if let Some(place) = named.or_else(numbered).and_then(|place: usize| places.get_mut(place))
        {
            *place = Some(*value);
        }
    }
    places
}
