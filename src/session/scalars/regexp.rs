//! Regular expressions: `regexp_matches`, `regexp_replace` from a place on, `regexp_split_to_array`, `regexp_substr`.
//!
//! The language is that of the `regex` crate: without references back and without looking around.
//!
//! Source: PostgreSQL 16, section 9.7.3.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use maru_core::Result;
use regex::{Captures, Regex};

use super::text::text;
use super::{Kind, Row, RowFunction, invalid};

fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "regexp_split_to_array",
        forms: &[&[Kind::Text, Kind::Text], &[Kind::Text, Kind::Text, Kind::Text]],
        returns: |_| texts(),
        compute: split,
        syntax: "regexp_split_to_array(text, pattern [, flags])",
        description: "Returns the parts of a text between the matches of a regular expression.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "regexp_matches",
        forms: &[&[Kind::Text, Kind::Text], &[Kind::Text, Kind::Text, Kind::Text]],
        returns: |_| DataType::List(Arc::new(Field::new_list_field(texts(), true))),
        compute: matches,
        syntax: "regexp_matches(text, pattern [, flags])",
        description: "Returns a row for the match of a regular expression, with the flag g for each: an array of its groups, or of all of it.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "regexp_replace_from",
        forms: &[
            &[Kind::Text, Kind::Text, Kind::Text],
            &[Kind::Text, Kind::Text, Kind::Text, Kind::Text],
            &[Kind::Text, Kind::Text, Kind::Text, Kind::Whole],
            &[Kind::Text, Kind::Text, Kind::Text, Kind::Whole, Kind::Whole],
            &[Kind::Text, Kind::Text, Kind::Text, Kind::Whole, Kind::Whole, Kind::Text],
        ],
        compute: replace,
        syntax: "regexp_replace(text, pattern, replacement [, start [, n]] [, flags])",
        description: "Returns a text with the nth match of a regular expression replaced, with n = 0 or the flag g all of them, from a character on.",
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
];

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

fn matches(row: &Row) -> Result<ScalarValue> {
    let flags = if row.values.len() > 2 { row.text(2) } else { "" };
    let found = with_regex(row.text(1), flags, |regex| {
        let most = if flags.contains('g') { usize::MAX } else { 1 };
        let groups = |found: Captures| {
            let first = usize::from(found.len() > 1);
            let groups = found.iter().skip(first).map(|group| match group {
                Some(group) => text(group.as_str()),
                None => ScalarValue::Utf8(None),
            });
            let groups = groups.collect::<Vec<_>>();
            ScalarValue::List(ScalarValue::new_list(&groups, &DataType::Utf8, true))
        };
        Ok(regex.captures_iter(row.text(0)).take(most).map(groups).collect::<Vec<_>>())
    })?;
    Ok(ScalarValue::List(ScalarValue::new_list(&found, &texts(), true)))
}

fn replace(row: &Row) -> Result<ScalarValue> {
    let given = |at: usize| row.values.len() > at;
    let from_a_place = matches!(row.values.get(3), Some(ScalarValue::Int64(_)));
    let (flags, start) = match from_a_place {
        true => (if given(5) { row.text(5) } else { "" }, row.whole(3)),
        false => (row.text(3), 1),
    };
    // Without a number the first match is replaced.
    let n = match from_a_place {
        true if given(4) => row.whole(4),
        true => 1,
        false => i64::from(!flags.contains('g')),
    };
    if start < 1 || n < 0 {
        return Err(invalid("start of regexp_replace counts from 1, n from 0"));
    }
    with_regex(row.text(1), flags, |regex| {
        let whole = row.text(0);
        let mut written = whole[..skip(whole, start)].to_owned();
        let rest = &whole[written.len()..];
        let mut copied = 0;
        for (at, found) in regex.captures_iter(rest).enumerate() {
            let meant = n == 0 || at as i64 + 1 == n;
            let Some(all) = found.get(0).filter(|_| meant) else { continue };
            written.push_str(&rest[copied..all.start()]);
            put_replacement(row.text(2), &found, &mut written);
            copied = all.end();
        }
        written.push_str(&rest[copied..]);
        Ok(text(written))
    })
}

/// Writes a replacement, in which `\\1` stands for a group, `\\&` for the match and `\\` for a backslash.
fn put_replacement(replacement: &str, found: &Captures, out: &mut String) {
    let group = |at: usize| found.get(at).map_or("", |group| group.as_str());
    let mut characters = replacement.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('&') => out.push_str(group(0)),
                Some(digit @ '1'..='9') => out.push_str(group(digit as usize - '0' as usize)),
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            },
            character => out.push(character),
        }
    }
}

/// Returns where the character stands that is the `start`th, counted from 1.
fn skip(whole: &str, start: i64) -> usize {
    let at = usize::try_from(start - 1).unwrap_or(usize::MAX);
    whole.char_indices().nth(at).map_or(whole.len(), |(at, _)| at)
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
        let found = regex.captures_iter(&whole[skip(whole, start)..]).nth(n as usize - 1);
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
pub(super) fn with_regex<T>(
    pattern: &str,
    flags: &str,
    act: impl FnOnce(&Regex) -> Result<T>,
) -> Result<T> {
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
