//! Parameters of a pipeline: `:name` in a step, and what stands there when it runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use maru_core::{Error, ErrorKind, Result, did_you_mean, quote_literal};
use maru_sql::MaruDialect;
use maru_sql::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// What every run with an interval has.
pub(crate) const INTERVAL_START: &str = "interval_start";
pub(crate) const INTERVAL_END: &str = "interval_end";

/// The kinds of type that have literals of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    /// `real` and `double precision`: a plain literal would be one of another type, and divide as an integer.
    Float,
    Boolean,
    Text,
    Date,
    Timestamp,
    TimestampTz,
    Interval,
    Other,
}

pub(crate) fn kind_of(data_type: &str) -> Kind {
    let name = data_type.to_lowercase();
    let name = name.split('(').next().unwrap_or_default().trim();
    let zoned = data_type.to_lowercase().contains("with time zone");
    match name {
        "int" | "integer" | "smallint" | "bigint" | "int2" | "int4" | "int8" => Kind::Integer,
        "real" | "double" | "double precision" | "float" | "float4" | "float8" => Kind::Float,
        "bool" | "boolean" => Kind::Boolean,
        "text" | "varchar" | "char" | "character varying" | "character" | "string" => Kind::Text,
        "date" => Kind::Date,
        "timestamptz" => Kind::TimestampTz,
        name if name.starts_with("timestamp") && zoned => Kind::TimestampTz,
        name if name.starts_with("timestamp") => Kind::Timestamp,
        name if name.starts_with("interval") => Kind::Interval,
        _ => Kind::Other,
    }
}

/// Returns a value as SQL; `None` is NULL.
pub(crate) fn literal(data_type: &str, value: Option<&str>) -> String {
    let Some(text) = value else { return format!("CAST(NULL AS {data_type})") };
    let quoted = quote_literal(text);
    match kind_of(data_type) {
        Kind::Integer if text.parse::<i64>().is_ok_and(|n| n < 0) => format!("({text})"),
        Kind::Integer if text.parse::<i64>().is_ok() => text.to_owned(),
        Kind::Boolean if text == "true" || text == "t" => "TRUE".to_owned(),
        Kind::Boolean if text == "false" || text == "f" => "FALSE".to_owned(),
        Kind::Text => quoted,
        Kind::Date => format!("DATE {quoted}"),
        Kind::Timestamp => format!("TIMESTAMP {quoted}"),
        Kind::TimestampTz => format!("TIMESTAMP WITH TIME ZONE {quoted}"),
        // A literal reads all forms of it.
        Kind::Interval => format!("INTERVAL {quoted}"),
        _ => format!("CAST({quoted} AS {data_type})"),
    }
}

/// Returns a value of a type, for checking a step before it has values.
pub(crate) fn example(data_type: &str) -> String {
    match kind_of(data_type) {
        Kind::Integer => "1".to_owned(),
        Kind::Float => literal(data_type, Some("1")),
        Kind::Boolean => "TRUE".to_owned(),
        Kind::Text => "''".to_owned(),
        Kind::Date => literal(data_type, Some("2000-01-01")),
        Kind::Timestamp => literal(data_type, Some("2000-01-01 00:00:00")),
        Kind::TimestampTz => literal(data_type, Some("2000-01-01 00:00:00+00")),
        Kind::Interval => literal(data_type, Some("1 day")),
        Kind::Other => literal(data_type, None),
    }
}

/// Returns a moment as SQL.
pub(crate) fn moment(time: DateTime<Utc>) -> String {
    literal("timestamptz", Some(&time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string()))
}

/// Returns what a parameter without a value gets from the begin of the run's interval, by the clocks of the zone; `None` if its
/// type is no time.
pub(crate) fn from_interval(data_type: &str, start: DateTime<Utc>, zone: Tz) -> Option<String> {
    let local = start.with_timezone(&zone);
    match kind_of(data_type) {
        Kind::Date => Some(local.format("%Y-%m-%d").to_string()),
        Kind::Timestamp => Some(local.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
        Kind::TimestampTz => Some(start.format("%Y-%m-%d %H:%M:%S%.f+00").to_string()),
        _ => None,
    }
}

/// A text with values in the places of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Substituted {
    pub text: String,
    /// Begin and length of each value in it, and what it stands for in the original; in characters.
    pub(crate) values: Vec<[usize; 4]>,
}

impl Substituted {
    /// Returns where in the original a place of the text comes from.
    pub(crate) fn original(&self, place: usize) -> usize {
        let mut shift = 0_isize;
        for [start, length, old_start, old_length] in &self.values {
            if place < *start {
                break;
            }
            if place < start + length {
                return *old_start;
            }
            shift = (old_start + old_length) as isize - (start + length) as isize;
        }
        place.saturating_add_signed(shift)
    }
}

/// Puts values into a text. Names that stand in it and have none are looked at by `missing`.
///
/// # Errors
/// 42P02 with its place for a name without a value.
pub(crate) fn substitute(sql: &str, values: &BTreeMap<String, String>) -> Result<Substituted> {
    let tokens = Tokenizer::new(&MaruDialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| {
        Error::new(ErrorKind::Syntax, error.message)
            .with_line_column(error.location.line as usize, error.location.column as usize)
    })?;
    let chars = sql.chars().collect::<Vec<_>>();
    let mut lines = vec![0];
    lines.extend(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(i, _)| i + 1));
    let place = |token: &TokenWithSpan| {
        let at = token.span.start;
        let line = (at.line as usize).saturating_sub(1);
        lines.get(line).copied().unwrap_or(0) + (at.column as usize).saturating_sub(1)
    };
    let mut done = Substituted { text: String::new(), values: Vec::new() };
    let (mut copied, mut n_written) = (0, 0);
    for (index, token) in tokens.iter().enumerate() {
        if token.token != Token::Colon {
            continue;
        }
        let Some(next) = tokens.get(index + 1) else { continue };
        // `:name`, and for a script `:'name'` and `:"name"`, which have values of their own.
        let (name, written) = match &next.token {
            Token::Word(word) if word.quote_style.is_some() => {
                let quoted = format!("\"{}\"", word.value.to_lowercase());
                let known = values.contains_key(&quoted);
                (if known { quoted } else { word.value.clone() }, word.to_string())
            }
            Token::Word(word) => (word.value.to_lowercase(), word.to_string()),
            // That of `{'a':'b'}` is none.
            Token::SingleQuotedString(text)
                if !text.contains('\'') && !is_key(&tokens[..index]) =>
            {
                (format!("'{}'", text.to_lowercase()), format!("'{text}'"))
            }
            _ => continue,
        };
        if is_slice(&tokens[..index]) {
            continue;
        }
        let start = place(token);
        let Some(value) = values.get(&name) else {
            let error = Error::new(
                ErrorKind::UndefinedParameter,
                format!("parameter \":{name}\" does not exist"),
            )
            .with_line_column(token.span.start.line as usize, token.span.start.column as usize);
            return Err(match did_you_mean(&name, values.keys().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \":{near}\"?")),
                None if name == INTERVAL_START || name == INTERVAL_END => error.with_hint(
                    "Only runs of a pipeline with a SCHEDULE have an interval; others take interval_start => '…', interval_end => '…'.",
                ),
                None => error.with_hint("Declare it: CREATE PIPELINE name (parameter type, …)."),
            });
        };
        let length = 1 + written.chars().count();
        let before = chars[copied..start].iter().collect::<String>();
        n_written += before.chars().count();
        done.text.push_str(&before);
        let value_length = value.chars().count();
        done.values.push([n_written, value_length, start, length]);
        done.text.push_str(value);
        n_written += value_length;
        copied = start + length;
    }
    done.text.extend(&chars[copied..]);
    Ok(done)
}

/// Returns whether the colon after these tokens stands behind a text.
fn is_key(before: &[TokenWithSpan]) -> bool {
    matches!(before.last().map(|token| &token.token), Some(Token::SingleQuotedString(_)))
}

/// Returns whether the colon after these tokens is that of `a[1:n]`.
fn is_slice(before: &[TokenWithSpan]) -> bool {
    let mut back = before.iter().rev().filter(|t| !matches!(t.token, Token::Whitespace(_)));
    let (last, earlier) = (back.next(), back.next());
    match last.map(|token| &token.token) {
        Some(Token::Number(..) | Token::RParen | Token::RBracket) => true,
        // ARRAY[:a] has a parameter, a[:n] a slice.
        Some(Token::LBracket) => !matches!(earlier.map(|token| &token.token),
            Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("array")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("target".to_owned(), "DATE '2026-11-22'".to_owned()),
            ("n".to_owned(), "7".to_owned()),
        ])
    }

    #[test]
    fn values_stand_where_parameters_stood() {
        for (sql, expected) in [
            (
                "SELECT ':n', a::text FROM t WHERE dt = :target -- :n",
                "SELECT ':n', a::text FROM t WHERE dt = DATE '2026-11-22' -- :n",
            ),
            (
                "SELECT a[1:2], ARRAY[:n, :N], b[:n] FROM t",
                "SELECT a[1:2], ARRAY[7, 7], b[:n] FROM t",
            ),
            ("SELECT :n::text", "SELECT 7::text"),
            ("가 = :n", "가 = 7"),
        ] {
            assert_eq!(substitute(sql, &values()).unwrap().text, expected);
        }
        let forms = [("t", "'a b'"), ("'t'", "'a b'"), ("\"t\"", "\"a b\"")];
        let forms = forms.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let done = substitute("SELECT :'T', :t FROM :\"t\"", &BTreeMap::from(forms)).unwrap();
        assert_eq!(done.text, "SELECT 'a b', 'a b' FROM \"a b\"");
        assert_eq!(substitute("SELECT :'t'", &values()).unwrap_err().sqlstate(), "42P02");
        let error = substitute("SELECT\n :targt", &values()).unwrap_err();
        assert_eq!((error.sqlstate(), error.hint()), ("42P02", Some("Did you mean \":target\"?")));
    }

    #[test]
    fn places_lead_back_to_the_original() {
        let sql = "SELECT :target, x, :n, y";
        let done = substitute(sql, &values()).unwrap();
        for word in ["x", "y"] {
            let place = done.text.find(word).unwrap();
            assert_eq!(done.original(place), sql.find(word).unwrap(), "{word}");
        }
        assert_eq!(done.original(9), 7);
    }

    #[test]
    fn literals_are_of_their_type() {
        for (data_type, value, expected) in [
            ("INT", Some("-3"), "(-3)"),
            ("INT", Some("1; DROP"), "CAST('1; DROP' AS INT)"),
            ("DOUBLE PRECISION", Some("5"), "CAST('5' AS DOUBLE PRECISION)"),
            ("REAL", Some("NaN"), "CAST('NaN' AS REAL)"),
            ("VARCHAR(3)", Some("a'b"), "'a''b'"),
            ("DATE", None, "CAST(NULL AS DATE)"),
            (
                "TIMESTAMP WITH TIME ZONE",
                Some("2026-01-01"),
                "TIMESTAMP WITH TIME ZONE '2026-01-01'",
            ),
            ("BOOLEAN", Some("true"), "TRUE"),
            ("INTERVAL", Some("1 day 02:00:00"), "INTERVAL '1 day 02:00:00'"),
            ("NUMERIC(5,2)", Some("1.5"), "CAST('1.5' AS NUMERIC(5,2))"),
        ] {
            assert_eq!(literal(data_type, value), expected);
        }
    }
}
