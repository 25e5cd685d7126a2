//! `jsonb` changed: `||`, `-`, `#-`, `jsonb_set`, `jsonb_set_lax`, `jsonb_insert`.
//!
//! Source: PostgreSQL 15, `jsonfuncs.c`: `IteratorConcat`, `setPath`.

use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::super::{Kind as Takes, Row, RowFunction, invalid};
use super::{Gives, Json, jsonb};

const CHANGED: RowFunction = RowFunction { json: Gives::Jsonb, ..RowFunction::BASE };

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "jsonb_concat",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| Ok(jsonb(&joined(row.json(0)?, row.json(1)?))),
        syntax: "jsonb || jsonb",
        description: "Returns two values as one, which || calls.",
        ..CHANGED
    },
    RowFunction {
        name: "jsonb_delete",
        forms: &[
            &[Takes::Text, Takes::Whole],
            &[Takes::Text, Takes::Text],
            &[Takes::Text, Takes::Array],
        ],
        compute: delete,
        syntax: "jsonb - key",
        description: "Returns a value without a key or an element, which - calls.",
        ..CHANGED
    },
    RowFunction {
        name: "jsonb_delete_path",
        forms: &[&[Takes::Text, Takes::Path]],
        compute: |row| {
            let of = row.json(0)?;
            if of.kind().is_scalar() {
                return Err(invalid("cannot delete path in scalar"));
            }
            Ok(jsonb(&change(of, &row.texts(1)?, &Change::Delete)?))
        },
        syntax: "jsonb #- '{a,b}'",
        description: "Returns a value without what stands at the end of a path, which #- calls.",
        ..CHANGED
    },
    RowFunction {
        name: "jsonb_set",
        forms: &[
            &[Takes::Text, Takes::Path, Takes::Text],
            &[Takes::Text, Takes::Path, Takes::Text, Takes::Truth],
        ],
        compute: |row| set(row, row.json(2)?, row.truth(3, true)),
        syntax: "jsonb_set(jsonb, path, value [, create])",
        description: "Returns a value in which another one stands at the end of a path.",
        ..CHANGED
    },
    RowFunction {
        name: "jsonb_set_lax",
        strict: false,
        forms: &[
            &[Takes::Text, Takes::Path, Takes::Text],
            &[Takes::Text, Takes::Path, Takes::Text, Takes::Truth],
            &[Takes::Text, Takes::Path, Takes::Text, Takes::Truth, Takes::Text],
        ],
        compute: set_lax,
        syntax: "jsonb_set_lax(jsonb, path, value [, create [, treatment of NULL]])",
        description: "Returns a value in which another one, which may be NULL, stands at the end of a path.",
        ..CHANGED
    },
    RowFunction {
        name: "jsonb_insert",
        forms: &[
            &[Takes::Text, Takes::Path, Takes::Text],
            &[Takes::Text, Takes::Path, Takes::Text, Takes::Truth],
        ],
        compute: |row| {
            let of = row.json(0)?;
            let after = row.truth(3, false);
            if of.kind().is_scalar() {
                return Err(invalid("cannot set path in scalar"));
            }
            let path = row.texts(1)?;
            Ok(jsonb(&change(of, &path, &Change::Insert { value: row.json(2)?, after })?))
        },
        syntax: "jsonb_insert(jsonb, path, value [, after])",
        description: "Returns a value into which another one is put at the end of a path.",
        ..CHANGED
    },
];

/// Objects become one, the right one's values count; everything else is joined as arrays.
fn joined(left: Json, right: Json) -> Json {
    match (left, right) {
        (Json::Object(mut members), Json::Object(more)) => {
            members.extend(more);
            Json::object(members)
        }
        (left, right) => {
            let items = |value| match value {
                Json::Array(items) => items,
                other => vec![other],
            };
            let mut all = items(left);
            all.extend(items(right));
            Json::Array(all)
        }
    }
}

fn delete(row: &Row) -> Result<ScalarValue> {
    let of = row.json(0)?;
    if of.kind().is_scalar() {
        return Err(invalid("cannot delete from scalar"));
    }
    let keys = match &row.values[1] {
        ScalarValue::Int64(Some(index)) => return without(of, *index),
        ScalarValue::Utf8(Some(key)) => vec![Some(key.clone())],
        _ => row.texts(1)?,
    };
    let is_meant = |key: &str| keys.iter().flatten().any(|meant| meant == key);
    Ok(jsonb(&match of {
        Json::Object(mut members) => {
            members.retain(|(key, _)| !is_meant(key));
            Json::Object(members)
        }
        Json::Array(mut items) => {
            items.retain(|item| !matches!(item, Json::String(text) if is_meant(text)));
            Json::Array(items)
        }
        scalar => scalar,
    }))
}

fn without(of: Json, index: i64) -> Result<ScalarValue> {
    let Json::Array(mut items) = of else {
        return Err(invalid("cannot delete from object using integer index"));
    };
    let at = if index < 0 { index + items.len() as i64 } else { index };
    if let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) {
        items.remove(at);
    }
    Ok(jsonb(&Json::Array(items)))
}

fn set(row: &Row, value: Json, create: bool) -> Result<ScalarValue> {
    let of = row.json(0)?;
    if of.kind().is_scalar() {
        return Err(invalid("cannot set path in scalar"));
    }
    Ok(jsonb(&change(of, &row.texts(1)?, &Change::Set { value, create })?))
}

fn set_lax(row: &Row) -> Result<ScalarValue> {
    let is_null = |at: usize| row.values.get(at).is_some_and(ScalarValue::is_null);
    if is_null(0) || is_null(1) || is_null(3) {
        return Ok(ScalarValue::Null);
    }
    if is_null(4) {
        return Err(invalid(TREATMENT));
    }
    let treatment = if row.values.len() > 4 { row.text(4) } else { "use_json_null" };
    let create = row.truth(3, true);
    if !is_null(2) {
        return set(row, row.json(2)?, create);
    }
    match treatment {
        "use_json_null" => set(row, Json::Null, create),
        "return_target" => Ok(jsonb(&row.json(0)?)),
        "delete_key" => {
            let of = row.json(0)?;
            if of.kind().is_scalar() {
                return Err(invalid("cannot delete path in scalar"));
            }
            Ok(jsonb(&change(of, &row.texts(1)?, &Change::Delete)?))
        }
        "raise_exception" => {
            Err(Error::new(ErrorKind::NullNotAllowed, "JSON value must not be null").with_detail(
                "Exception was raised because null_value_treatment is \"raise_exception\".",
            ))
        }
        _ => Err(invalid(TREATMENT)),
    }
}

const TREATMENT: &str = "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"";

/// What is done at the end of a path.
enum Change {
    Delete,
    Set { value: Json, create: bool },
    Insert { value: Json, after: bool },
}

impl Change {
    /// Returns what is put where nothing stands yet.
    fn created(&self) -> Option<&Json> {
        match self {
            Self::Set { value, create: true } | Self::Insert { value, .. } => Some(value),
            _ => None,
        }
    }
}

fn change(of: Json, path: &[Option<String>], change: &Change) -> Result<Json> {
    if path.is_empty() {
        return Ok(of);
    }
    if let (Json::Object(members), None) = (&of, change.created())
        && members.is_empty()
    {
        return Ok(of);
    }
    step(of, path, 0, change)
}

fn step(of: Json, path: &[Option<String>], level: usize, change: &Change) -> Result<Json> {
    let key = || {
        path[level].as_deref().ok_or_else(|| {
            let what = format!("path element at position {} is null", level + 1);
            Error::new(ErrorKind::NullNotAllowed, what)
        })
    };
    let is_last = level + 1 == path.len();
    match of {
        Json::Object(mut members) => {
            let key = key()?;
            let found = members.iter().position(|(known, _)| known == key);
            match (found, is_last, change) {
                (Some(at), false, _) => {
                    let value = std::mem::replace(&mut members[at].1, Json::Null);
                    members[at].1 = step(value, path, level + 1, change)?;
                }
                (Some(at), true, Change::Delete) => drop(members.remove(at)),
                (Some(at), true, Change::Set { value, .. }) => members[at].1 = value.clone(),
                (Some(_), true, Change::Insert { .. }) => {
                    return Err(invalid("cannot replace existing key")
                        .with_hint("Try using the function jsonb_set to replace key value."));
                }
                (None, true, change) => {
                    if let Some(value) = change.created() {
                        members.push((key.to_owned(), value.clone()));
                        return Ok(Json::object(members));
                    }
                }
                (None, false, _) => {}
            }
            Ok(Json::Object(members))
        }
        Json::Array(mut items) => {
            let key = key()?;
            let index = key.trim().parse::<i32>().map_err(|_| {
                let what =
                    format!("path element at position {} is not an integer: \"{key}\"", level + 1);
                Error::new(ErrorKind::InvalidText, what)
            })?;
            let from_start =
                if index < 0 { i64::from(index) + items.len() as i64 } else { index.into() };
            let found = usize::try_from(from_start).ok().filter(|at| *at < items.len());
            match (found, is_last, change) {
                (Some(at), false, _) => {
                    let value = std::mem::replace(&mut items[at], Json::Null);
                    items[at] = step(value, path, level + 1, change)?;
                }
                (Some(at), true, Change::Delete) => drop(items.remove(at)),
                (Some(at), true, Change::Set { value, .. }) => items[at] = value.clone(),
                (Some(at), true, Change::Insert { value, after }) => {
                    items.insert(at + usize::from(*after), value.clone());
                }
                // Beyond an end is at that end.
                (None, true, change) => {
                    if let Some(value) = change.created() {
                        let at = if from_start < 0 { 0 } else { items.len() };
                        items.insert(at, value.clone());
                    }
                }
                (None, false, _) => {}
            }
            Ok(Json::Array(items))
        }
        scalar => Ok(scalar),
    }
}
