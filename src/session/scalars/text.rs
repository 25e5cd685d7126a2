//! Text: quoting, regular expressions, encodings, counts of NULLs.
//!
//! Source: PostgreSQL 16, 9.1, 9.4, 9.5, 9.7.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};
use regex::Regex;

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
        name: "regexp_split_to_array",
        forms: &[&[Kind::Text, Kind::Text], &[Kind::Text, Kind::Text, Kind::Text]],
        returns: |_| DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        compute: split,
        syntax: "regexp_split_to_array(text, pattern [, flags])",
        description: "Returns the parts of a text between the matches of a regular expression.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "regexp_substr",
        forms: &[
            &[Kind::Text, Kind::Text],
            &[Kind::Text, Kind::Text, Kind::Whole],
            &[Kind::Text, Kind::Text, Kind::Whole, Kind::Whole],
            &[Kind::Text, Kind::Text, Kind::Whole, Kind::Whole, Kind::Text],
            &[Kind::Text, Kind::Text, Kind::Whole, Kind::Whole, Kind::Text, Kind::Whole],
        ],
        compute: substr,
        syntax: "regexp_substr(text, pattern [, start [, n [, flags [, group]]]])",
        description: "Returns the nth match of a regular expression, NULL if there is none.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "substring_of_pattern",
        forms: &[&[Kind::Text, Kind::Text]],
        compute: |row| {
            with_regex(row.text(1), "", |regex| {
                let found = regex.captures(row.text(0));
                // The first group, if there is one.
                let part = found
                    .and_then(|found| if found.len() > 1 { found.get(1) } else { found.get(0) });
                Ok(part.map_or(ScalarValue::Null, |part| text(part.as_str())))
            })
        },
        syntax: "substring(text FROM pattern)",
        description: "Returns the part of a text that a regular expression matches, or its first group.",
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

fn split(row: &Row) -> Result<ScalarValue> {
    let flags = if row.values.len() > 2 { row.text(2) } else { "" };
    with_regex(row.text(1), flags, |regex| {
        let whole = row.text(0);
        let mut parts = Vec::new();
        let mut start = 0;
        for found in regex.find_iter(whole) {
            // A match of nothing parts characters, but nothing stands before the first or behind the last.
            if found.is_empty() && (found.start() == 0 || found.start() == whole.len()) {
                continue;
            }
            parts.push(text(&whole[start..found.start()]));
            start = found.end();
        }
        parts.push(text(&whole[start..]));
        Ok(ScalarValue::List(ScalarValue::new_list(&parts, &DataType::Utf8, true)))
    })
}

fn substr(row: &Row) -> Result<ScalarValue> {
    let optional =
        |at: usize, default: i64| if row.values.len() > at { row.whole(at) } else { default };
    let (start, n, group) = (optional(2, 1), optional(3, 1), optional(5, 0));
    if start < 1 || n < 1 || group < 0 {
        return Err(invalid("start and n of regexp_substr count from 1, groups from 0"));
    }
    let flags = if row.values.len() > 4 { row.text(4) } else { "" };
    with_regex(row.text(1), flags, |regex| {
        let whole = row.text(0);
        let skipped =
            whole.char_indices().nth(start as usize - 1).map_or(whole.len(), |(at, _)| at);
        let found = regex.captures_iter(&whole[skipped..]).nth(n as usize - 1);
        let part =
            found.and_then(|found| found.get(group as usize).map(|part| part.as_str().to_owned()));
        Ok(part.map_or(ScalarValue::Null, text))
    })
}

thread_local! {
    /// The last expression that was compiled: of a column it is the same for each row.
    static LAST: RefCell<Option<(String, Regex)>> = const { RefCell::new(None) };
}

/// Compiles a pattern with PostgreSQL's flags and calls `act` with it.
///
/// # Errors
/// 2201B's place, 22023, for a pattern that is none or an unknown flag.
fn with_regex<T>(pattern: &str, flags: &str, act: impl FnOnce(&Regex) -> Result<T>) -> Result<T> {
    let mut set = String::new();
    for flag in flags.chars() {
        match flag {
            'i' => set.push('i'),
            'n' | 'm' => set.push('m'),
            's' => set.push('s'),
            'x' => set.push('x'),
            'g' | 'c' => {}
            other => {
                return Err(invalid(format!("invalid regular expression option: \"{other}\"")));
            }
        }
    }
    // Without a flag the point matches line ends, as in PostgreSQL.
    if !flags.contains(['n', 'm']) && !set.contains('s') {
        set.push('s');
    }
    let full = format!("(?{set}){pattern}");
    LAST.with_borrow_mut(|last| {
        let regex = match last.take() {
            Some((known, regex)) if known == full => regex,
            _ => Regex::new(&full).map_err(|error| {
                invalid(format!("invalid regular expression \"{pattern}\"")).with_cause(error)
            })?,
        };
        let result = act(&regex);
        *last = Some((full, regex));
        result
    })
}
