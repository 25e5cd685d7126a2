//! JSON checked, described and laid out: casts to `json` and `jsonb`, `json_typeof`, `json_array_length`, `jsonb_pretty`,
//! `json_strip_nulls`, and numbers and truths of `jsonb` for casts.

use std::fmt::Write as _;
use std::str::FromStr;

use arrow::datatypes::DataType;
use bigdecimal::{BigDecimal, RoundingMode};
use datafusion::common::ScalarValue;
use maru_core::{Error, Result};

use super::super::{Kind as Takes, Row, RowFunction, invalid};
use super::read::{self, Kind};
use super::{Gives, Json, jsonb, text};

const OF_JSON: RowFunction = RowFunction { forms: &[&[Takes::Text]], ..RowFunction::BASE };

/// Of other types there is no cast, which is told once they are known.
const CAST: &[&[Takes]] = &[&[Takes::Text], &[Takes::Any]];

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "json",
        forms: CAST,
        json: Gives::Json,
        compute: |row| {
            read::whole(row.text(0))?;
            Ok(text(row.text(0)))
        },
        syntax: "CAST(text AS json)",
        description: "Returns the text as json; 22P02 if it is none.",
        ..OF_JSON
    },
    RowFunction {
        name: "jsonb",
        forms: CAST,
        json: Gives::Jsonb,
        compute: |row| Ok(text(row.jsonb_text(0)?)),
        syntax: "CAST(text AS jsonb)",
        description: "Returns the value of a text as jsonb; 22P02 if it is no JSON.",
        ..OF_JSON
    },
    RowFunction {
        name: "json_mark",
        json: Gives::Json,
        compute: |row| Ok(text(row.text(0))),
        syntax: "json",
        description: "Says of a text that is JSON that it is.",
        ..OF_JSON
    },
    RowFunction {
        name: "jsonb_mark",
        json: Gives::Jsonb,
        compute: |row| Ok(text(row.text(0))),
        syntax: "jsonb",
        description: "Says of a text that is jsonb that it is.",
        ..OF_JSON
    },
    RowFunction {
        name: "json_row_value",
        forms: &[&[Takes::Text, Takes::Text]],
        json: Gives::Same,
        compute: |row| Ok(text(row.text(0))),
        syntax: "json_array_elements(json) AS name",
        description: "Returns the value of a row that is called by the name of its table.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "json_plain",
        compute: |row| Ok(text(row.text(0))),
        syntax: "CAST(json AS text)",
        description: "Returns the text of JSON as a text.",
        ..OF_JSON
    },
    RowFunction {
        name: "json_typeof",
        aliases: &["jsonb_typeof"],
        compute: |row| Ok(text(read::whole(row.text(0))?.0.name())),
        syntax: "json_typeof(json)",
        description: "Returns object, array, string, number, boolean or null.",
        ..OF_JSON
    },
    RowFunction {
        name: "json_array_length",
        aliases: &["jsonb_array_length"],
        returns: |_| DataType::Int32,
        compute: length,
        syntax: "json_array_length(json)",
        description: "Returns the number of elements of a JSON array; 22023 of anything else.",
        ..OF_JSON
    },
    RowFunction {
        name: "jsonb_pretty",
        compute: |row| {
            let mut out = String::new();
            row.json(0)?.pretty(0, &mut out);
            Ok(text(out))
        },
        syntax: "jsonb_pretty(json)",
        description: "Returns JSON with a line for each value, indented.",
        ..OF_JSON
    },
    RowFunction {
        name: "json_strip_nulls",
        json: Gives::Json,
        compute: |row| {
            let mut out = String::new();
            strip_written(row.text(0), &mut out)?;
            Ok(text(out))
        },
        syntax: "json_strip_nulls(json)",
        description: "Returns JSON without the members of objects that are null.",
        ..OF_JSON
    },
    RowFunction {
        name: "jsonb_strip_nulls",
        json: Gives::Jsonb,
        compute: |row| Ok(jsonb(&strip(row.json(0)?))),
        syntax: "jsonb_strip_nulls(jsonb)",
        description: "Returns JSON without the members of objects that are null.",
        ..OF_JSON
    },
    RowFunction {
        name: "jsonb_number",
        forms: &[&[Takes::Text, Takes::Text]],
        compute: |row| match row.json(0)? {
            Json::Number(number) if WHOLE.contains(&row.text(1)) => Ok(text(rounded(&number)?)),
            Json::Number(number) => Ok(text(number)),
            other => Err(no_cast(&other, row.text(1))),
        },
        syntax: "CAST(jsonb AS numeric)",
        description: "Returns the number that a value is; 22023 if it is none.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "jsonb_truth",
        forms: &[&[Takes::Text, Takes::Text]],
        returns: |_| DataType::Boolean,
        compute: |row| match row.json(0)? {
            Json::Boolean(truth) => Ok(ScalarValue::Boolean(Some(truth))),
            other => Err(no_cast(&other, row.text(1))),
        },
        syntax: "CAST(jsonb AS boolean)",
        description: "Returns the truth that a value is; 22023 if it is none.",
        ..RowFunction::BASE
    },
];

const WHOLE: &[&str] = &["smallint", "integer", "bigint"];

/// Away from zero at the half.
fn rounded(number: &str) -> Result<String> {
    let number = BigDecimal::from_str(number)
        .map_err(|error| Error::internal("a number of jsonb is none").with_cause(error))?;
    Ok(number.with_scale_round(0, RoundingMode::HalfUp).to_plain_string())
}

fn no_cast(value: &Json, to: &str) -> Error {
    let what = match value.kind() {
        kind @ (Kind::Array | Kind::Object) => format!("array or object ({})", kind.name()),
        kind => kind.name().to_owned(),
    };
    invalid(format!("cannot cast jsonb {what} to type {to}"))
}

fn length(row: &Row) -> Result<ScalarValue> {
    match read::whole(row.text(0))? {
        (Kind::Array, items) => {
            let length = i32::try_from(read::elements(items)?.len());
            Ok(ScalarValue::Int32(length.ok()))
        }
        (Kind::Object, _) => Err(invalid("cannot get array length of a non-array")),
        _ => Err(invalid("cannot get array length of a scalar")),
    }
}

fn strip(value: Json) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.into_iter().map(strip).collect()),
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(key, value)| (key, strip(value))).collect())
        }
        scalar => scalar,
    }
}

/// Without blanks, as PostgreSQL writes it.
fn strip_written(of: &str, out: &mut String) -> Result<()> {
    let (kind, of) = read::whole(of)?;
    match kind {
        Kind::Array => {
            out.push('[');
            for (at, item) in read::elements(of)?.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                strip_written(item, out)?;
            }
            out.push(']');
        }
        Kind::Object => {
            out.push('{');
            let members = read::members(of)?;
            let kept = members.into_iter().filter(|(_, value)| *value != "null");
            for (at, (key, value)) in kept.enumerate() {
                let comma = if at > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{}:", super::quoted(&read::unquoted(key)?));
                strip_written(value, out)?;
            }
            out.push('}');
        }
        Kind::String => out.push_str(&super::quoted(&read::unquoted(of)?)),
        _ => out.push_str(of),
    }
    Ok(())
}
