//! Text: quoting, encodings, counts of NULLs.
//!
//! Source: PostgreSQL 16, 9.1, 9.4, 9.5, 9.7.

use arrow::datatypes::DataType;
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use super::{Kind, Row, RowFunction, invalid};
use crate::session::rewrite::uuid;
use crate::value_text::{Zone, put_value};

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "quote_literal",
        forms: &[&[Kind::Any]],
        compute: |row| Ok(text(quoted_literal(&text_of(&row.values[0], row.zone)?))),
        syntax: "quote_literal(value)",
        description: "Returns a value as a text literal of SQL.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "quote_nullable",
        forms: &[&[Kind::Any]],
        strict: false,
        compute: |row| match &row.values[0] {
            value if value.is_null() => Ok(text("NULL")),
            value => Ok(text(quoted_literal(&text_of(value, row.zone)?))),
        },
        syntax: "quote_nullable(value)",
        description: "Returns a value as a text literal of SQL, NULL as the word.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "chr",
        forms: &[&[Kind::Whole]],
        compute: |row| character(row.whole(0)).map(|letter| text(letter.to_string())),
        syntax: "chr(number)",
        description: "Returns the character of a number in Unicode; there is none for zero.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "to_uuid",
        forms: &[&[Kind::Text]],
        compute: |row| uuid(row.text(0)).map(text),
        syntax: "CAST(text AS uuid)",
        description: "Returns the text of a uuid as it is written in columns; 22P02 if it is none.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "convert_from",
        forms: &[&[Kind::Bytes, Kind::Text]],
        compute: |row| {
            is_utf8(row.text(1))?;
            let found = String::from_utf8(bytes(row, 0)?.to_vec());
            found.map(text).map_err(|_| {
                Error::new(ErrorKind::InvalidText, "invalid byte sequence for encoding \"UTF8\"")
            })
        },
        syntax: "convert_from(bytea, encoding)",
        description: "Returns bytes as text. The encoding is UTF8.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "convert_to",
        forms: &[&[Kind::Text, Kind::Text]],
        returns: |_| DataType::Binary,
        compute: |row| {
            is_utf8(row.text(1))?;
            Ok(ScalarValue::Binary(Some(row.text(0).as_bytes().to_vec())))
        },
        syntax: "convert_to(text, encoding)",
        description: "Returns the bytes of a text. The encoding is UTF8.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "get_byte",
        forms: &[&[Kind::Bytes, Kind::Whole]],
        returns: |_| DataType::Int32,
        compute: |row| {
            let (of, at) = (bytes(row, 0)?, row.whole(1));
            let byte = usize::try_from(at).ok().and_then(|at| of.get(at));
            let byte = byte.ok_or_else(|| {
                invalid(format!("index {at} out of valid range, 0..{}", of.len() as i64 - 1))
            })?;
            Ok(ScalarValue::Int32(Some(i32::from(*byte))))
        },
        syntax: "get_byte(bytea, n)",
        description: "Returns the nth byte, counted from 0.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "num_nulls",
        forms: &[&[Kind::Any]],
        variadic: true,
        strict: false,
        returns: |_| DataType::Int32,
        compute: |row| Ok(count(row, true)),
        syntax: "num_nulls(value, …)",
        description: "Returns how many arguments are NULL.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "num_nonnulls",
        forms: &[&[Kind::Any]],
        variadic: true,
        strict: false,
        returns: |_| DataType::Int32,
        compute: |row| Ok(count(row, false)),
        syntax: "num_nonnulls(value, …)",
        description: "Returns how many arguments are not NULL.",
        ..RowFunction::BASE
    },
];

/// Returns a character by its number.
///
/// # Errors
/// 54000, as PostgreSQL has it.
fn character(number: i64) -> Result<char> {
    let why = match number {
        ..0 => {
            let why = "character number must be positive";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        }
        0 => "null character not permitted".to_owned(),
        1..=0x10_FFFF => {
            let letter = u32::try_from(number).ok().and_then(char::from_u32);
            return letter.ok_or_else(|| {
                let what = format!("requested character not valid for encoding: {number}");
                Error::new(ErrorKind::LimitExceeded, what)
            });
        }
        _ => format!("requested character too large for encoding: {number}"),
    };
    Err(Error::new(ErrorKind::LimitExceeded, why))
}

pub(super) fn text(text: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(text.into()))
}

/// Returns a value that is not NULL as the wire has it.
pub(super) fn text_of(value: &ScalarValue, zone: &Zone) -> Result<String> {
    if let ScalarValue::Utf8(Some(text)) = value {
        return Ok(text.clone());
    }
    let mut out = BytesMut::new();
    put_value(&value.to_array()?, 0, zone, &mut out)?;
    String::from_utf8(out.to_vec())
        .map_err(|error| Error::internal("text is not UTF-8").with_cause(error))
}

pub(super) fn quoted_literal(text: &str) -> String {
    let inner = text.replace('\'', "''");
    match inner.contains('\\') {
        true => format!("E'{}'", inner.replace('\\', "\\\\")),
        false => format!("'{inner}'"),
    }
}

fn count(row: &Row, of_nulls: bool) -> ScalarValue {
    let n = row.values.iter().filter(|value| value.is_null() == of_nulls).count();
    ScalarValue::Int32(Some(n as i32))
}

fn bytes<'a>(row: &'a Row, at: usize) -> Result<&'a [u8]> {
    match row.values.get(at) {
        Some(ScalarValue::Binary(Some(bytes))) => Ok(bytes),
        _ => Err(Error::internal("bytes are expected")),
    }
}

fn is_utf8(encoding: &str) -> Result<()> {
    match encoding.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(Error::unsupported(format!("encoding \"{encoding}\" is not supported"))
            .with_hint("All text is UTF8.")),
    }
}
