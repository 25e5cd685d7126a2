//! `jsonb`: JSON by its value. Its text is the one that PostgreSQL writes, so that texts of equal values are equal, but for numbers
//! of one value with more zeros or less behind the point, which [`equality_key`] makes one.
//!
//! Keys stand in order, shorter ones first, each once with its last value; numbers keep their digits and are written without an
//! exponent.

use std::cmp::Ordering;

use maru_core::{Error, ErrorKind, Result};

use super::read::{DEPTH_MAX, Kind, Reader, too_deep, unquoted};
use super::write::put_quoted;

/// Digits that PostgreSQL's numeric has before and behind the point.
const WHOLE_MAX: i64 = 131_072;
const SCALE_MAX: i64 = 16_383;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Boolean(bool),
    /// As numeric writes it.
    Number(String),
    String(String),
    Array(Vec<Self>),
    /// In order.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// # Errors
    /// 22P02 for what is no JSON, 22P05 for `\u0000`, 22003 for a number beyond numeric.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader::new(text);
        let value = Self::read(&mut reader, 0)?;
        reader.end()?;
        Ok(value)
    }

    fn read(reader: &mut Reader, depth: usize) -> Result<Self> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        Ok(match reader.peek()? {
            Kind::Object => {
                let mut members = Vec::new();
                reader.object(|reader, key| {
                    members.push((unquoted(key)?, Self::read(reader, depth + 1)?));
                    Ok(())
                })?;
                Self::object(members)
            }
            Kind::Array => {
                let mut items = Vec::new();
                reader.array(|reader| {
                    items.push(Self::read(reader, depth + 1)?);
                    Ok(())
                })?;
                Self::Array(items)
            }
            Kind::String => Self::String(unquoted(reader.scalar()?)?),
            Kind::Number => Self::Number(numeric(reader.scalar()?)?),
            Kind::Boolean => Self::Boolean(reader.scalar()? == "true"),
            Kind::Null => {
                reader.scalar()?;
                Self::Null
            }
        })
    }

    /// Puts members in order; of several of one key the last counts.
    pub(super) fn object(mut members: Vec<(String, Self)>) -> Self {
        members.sort_by(|(a, _), (b, _)| key_order(a, b));
        let mut kept: Vec<(String, Self)> = Vec::with_capacity(members.len());
        for member in members {
            match kept.last_mut() {
                Some(last) if last.0 == member.0 => *last = member,
                _ => kept.push(member),
            }
        }
        Self::Object(kept)
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Boolean(_) => Kind::Boolean,
            Self::Number(_) => Kind::Number,
            Self::String(_) => Kind::String,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let at = members.binary_search_by(|(known, _)| key_order(known, key)).ok()?;
        Some(&members[at].1)
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(true) => out.push_str("true"),
            Self::Boolean(false) => out.push_str("false"),
            Self::Number(number) => out.push_str(number),
            Self::String(text) => put_quoted(text, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    put_quoted(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Lays it out with a line for each value.
    pub(super) fn pretty(&self, depth: usize, out: &mut String) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.push_str(&" ".repeat(depth * 4));
        };
        match self {
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(out, depth + 1);
                    item.pretty(depth + 1, out);
                }
                line(out, depth);
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(out, depth + 1);
                    put_quoted(key, out);
                    out.push_str(": ");
                    value.pretty(depth + 1, out);
                }
                line(out, depth);
                out.push('}');
            }
            scalar => scalar.write(out),
        }
    }

    /// Returns whether two values are equal; 1.0 and 1.00 are.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => shortest(a) == shortest(b),
            (Self::Array(a), Self::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((x, a), (y, b))| x == y && a.equals(b))
            }
            (a, b) => a == b,
        }
    }

    fn shorten(&mut self) {
        match self {
            Self::Number(number) => number.truncate(shortest(number).len()),
            Self::Array(items) => items.iter_mut().for_each(Self::shorten),
            Self::Object(members) => members.iter_mut().for_each(|(_, value)| value.shorten()),
            _ => {}
        }
    }
}

/// Shorter keys come first.
fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Takes away the zeros at the end of a fraction.
fn shortest(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

/// Returns the text of `jsonb` that is the same for all texts of equal values.
///
/// # Errors
/// As [`Json::parse`].
pub(super) fn equality_key(text: &str) -> Result<String> {
    if !text.contains(".") {
        return Ok(text.to_owned());
    }
    let mut value = Json::parse(text)?;
    value.shorten();
    Ok(value.text())
}

/// Returns the text of `jsonb` for any JSON.
///
/// # Errors
/// As [`Json::parse`].
pub(super) fn canonical(text: &str) -> Result<String> {
    Ok(Json::parse(text)?.text())
}

/// Writes a number of JSON as PostgreSQL's numeric: without an exponent, with as many digits behind the point as it says.
///
/// # Errors
/// 22003 for one that is no numeric.
pub(super) fn numeric(number: &str) -> Result<String> {
    let beyond = || Error::new(ErrorKind::OutOfRange, "value overflows numeric format");
    let (negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| beyond())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').len() as i64;
    let scale = (fraction.len() as i64).checked_sub(exponent).ok_or_else(beyond)?.max(0);
    let is_zero = significant == 0;
    let whole_digits = significant - fraction.len() as i64 + exponent;
    if scale > SCALE_MAX || (!is_zero && whole_digits > WHOLE_MAX) {
        return Err(beyond());
    }
    let scale = scale as usize;
    // As a whole number of units of the last place.
    let mut units = if is_zero { String::new() } else { digits.trim_start_matches('0').to_owned() };
    let raised = exponent - fraction.len() as i64 + scale as i64;
    if !is_zero && raised > 0 {
        units.push_str(&"0".repeat(raised as usize));
    }
    if units.len() <= scale {
        units.insert_str(0, &"0".repeat(scale + 1 - units.len()));
    }
    let point = units.len() - scale;
    let sign = if negative && !is_zero { "-" } else { "" };
    let (whole, fraction) = units.split_at(point);
    let dot = if scale > 0 { "." } else { "" };
    Ok(format!("{sign}{whole}{dot}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_numeric() {
        for (json, expected) in [
            ("1e2", "100"),
            ("1.50e1", "15.0"),
            ("1E-3", "0.001"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0e5", "0"),
            ("12.50", "12.50"),
            ("123e-2", "1.23"),
            ("-1.5e3", "-1500"),
            ("0.00", "0.00"),
        ] {
            assert_eq!(numeric(json).unwrap(), expected, "{json}");
        }
        assert!(numeric("1e131073").is_err());
        assert!(numeric("1e-99999999999").is_err());
    }

    #[test]
    fn text_is_canonical() {
        let text = canonical(r#" {"bb":1 ,"a":[1.0,{"x":null}],"bb":"\u00e9\n"}"#).unwrap();
        assert_eq!(text, r#"{"a": [1.0, {"x": null}], "bb": "é\n"}"#);
        assert_eq!(equality_key(&text).unwrap(), r#"{"a": [1, {"x": null}], "bb": "é\n"}"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "01", "1.", "nul", "nullx", "{a:1}", "\"\u{1}\"", "1 2"] {
            assert!(canonical(text).is_err(), "{text}");
        }
        assert!(canonical(r#""\ud800""#).is_err());
        assert!(canonical(&"[".repeat(5000)).is_err());
    }
}
