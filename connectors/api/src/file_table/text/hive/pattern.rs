//! Rows by a pattern (RegexSerDe): the pattern must match the whole line, its groups are the columns.
//!
//! The patterns are Java's. They are translated piece by piece; what has no counterpart of the very same meaning is
//! refused, since a pattern that means something else finds other values.

use std::iter::Peekable;
use std::str::Chars;

use arrow::datatypes::DataType;
use maru_core::{Error, Result};
use regex::{Regex, RegexBuilder};

use super::column::Column;
use super::value::{self, Leaf};

/// Characters whose case other than ASCII's the library folds and Java does not.
const FOLDED_OTHERWISE: [char; 2] = ['\u{212a}', '\u{17f}'];

/// Reads rows into columns.
pub(super) struct PatternRows {
    pattern: Regex,
    ignore_case: bool,
    wanted: Vec<usize>,
}

impl PatternRows {
    pub(super) fn new(pattern: &str, ignore_case: bool, wanted: &[usize]) -> Result<Self> {
        Ok(Self { pattern: compile(pattern, ignore_case)?, ignore_case, wanted: wanted.to_vec() })
    }

    /// A line that does not match is a row of NULLs.
    pub(super) fn read(&self, line: &[u8], columns: &mut [Column]) -> Result<()> {
        let text = String::from_utf8_lossy(line);
        if self.ignore_case && text.contains(FOLDED_OTHERWISE) {
            return Err(Error::unsupported(
                "a line with a Kelvin sign or a long s cannot be matched without regard to case",
            ));
        }
        let captures = self.pattern.captures(&text);
        for (column, wanted) in columns.iter_mut().zip(&self.wanted) {
            let group = captures.as_ref().and_then(|captures| captures.get(wanted + 1));
            let value = match (captures.is_some(), column.data_type()) {
                (false, _) => None,
                // Java takes every other word for false, and no word, too.
                (true, DataType::Boolean) => Some(Leaf::Boolean(
                    group.is_some_and(|group| group.as_str().eq_ignore_ascii_case("true")),
                )),
                (true, data_type) => match group {
                    Some(group) if !is_cut_off(data_type, group.as_str()) => {
                        value::parse(data_type, group.as_str().as_bytes())?
                    }
                    _ => None,
                },
            };
            column.append(value)?;
        }
        Ok(())
    }
}

/// Returns whether the text is a number with a fraction, which Java does not take for an integer.
fn is_cut_off(data_type: &DataType, text: &str) -> bool {
    data_type.is_integer() && text.contains('.')
}

/// Checks that a pattern of Java's has a counterpart here.
///
/// # Errors
/// 0A000 with the part that has none.
pub(crate) fn compile(pattern: &str, ignore_case: bool) -> Result<Regex> {
    let translated = translate(pattern)
        .map_err(|why| refused(pattern).with_detail(format!("{why} is not known here.")))?;
    RegexBuilder::new(&format!("^(?:{translated})$")).case_insensitive(ignore_case).build().map_err(
        |error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            refused(pattern).with_detail(format!("{last}."))
        },
    )
}

fn refused(pattern: &str) -> Error {
    Error::unsupported(format!("the pattern \"{pattern}\" cannot be followed"))
}

fn translate(pattern: &str) -> std::result::Result<String, String> {
    let mut rest = pattern.chars().peekable();
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut n_brackets = 0_usize;
    while let Some(c) = rest.next() {
        match c {
            '\\' => out.push_str(&escape(&mut rest, n_brackets > 0)?),
            '[' => {
                n_brackets += 1;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if rest.peek() == Some(&']') {
                    return Err("A bracket at the start of a class".to_owned());
                }
            }
            ']' if n_brackets > 0 => {
                n_brackets -= 1;
                out.push(']');
            }
            // Two of these are operators of the library inside a class; Java knows `&&` alone.
            '-' | '~' | '&' if n_brackets > 0 => {
                if c != '-' && rest.peek() == Some(&c) || c == '-' && rest.peek() == Some(&'-') {
                    return Err(format!("\"{c}{c}\" in a class"));
                }
                out.push(c);
            }
            _ if n_brackets > 0 => out.push(c),
            '.' => out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            '(' if rest.peek() == Some(&'?') => {
                rest.next();
                if rest.next() != Some(':') {
                    return Err("A group that begins with \"(?\"".to_owned());
                }
                out.push_str("(?:");
            }
            '*' | '+' | '?' | '}' => {
                out.push(c);
                if rest.next_if_eq(&'?').is_some() {
                    out.push('?');
                }
                if matches!(rest.peek(), Some('+' | '*' | '?' | '{')) {
                    return Err("A repetition of a repetition".to_owned());
                }
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Translates what follows a backslash. Java's classes know ASCII only.
fn escape(rest: &mut Peekable<Chars<'_>>, in_class: bool) -> std::result::Result<String, String> {
    let class = |inner: &str, negated: bool| match (in_class, negated) {
        (true, false) => inner.to_owned(),
        (_, true) => format!("[^{inner}]"),
        (false, false) => format!("[{inner}]"),
    };
    Ok(match rest.next() {
        Some('d') => class("0-9", false),
        Some('D') => class("0-9", true),
        Some('w') => class("a-zA-Z0-9_", false),
        Some('W') => class("a-zA-Z0-9_", true),
        Some('s') => class(r" \t\n\x0B\f\r", false),
        Some('S') => class(r" \t\n\x0B\f\r", true),
        Some('t') => r"\t".to_owned(),
        Some('n') => r"\n".to_owned(),
        Some('r') => r"\r".to_owned(),
        Some('f') => r"\f".to_owned(),
        Some(c) if !c.is_alphanumeric() => format!(r"\x{{{:x}}}", u32::from(c)),
        Some(c) => return Err(format!("\"\\{c}\"")),
        None => return Err("A backslash at the end".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, line: &str) -> Option<Vec<Option<String>>> {
        let found = compile(pattern, false).unwrap().captures(line)?;
        Some(found.iter().skip(1).map(|g| g.map(|g| g.as_str().to_owned())).collect())
    }

    #[test]
    fn matches_whole_lines_as_java_does() {
        let log =
            r#"([^ ]*) ([^ ]*) ([^ ]*) (-|\[[^\]]*\]) ([^ "]*|"[^"]*") (-|[0-9]*)(?: (\S+))?"#;
        let line = "10.0.0.1 - 한글 [22/Nov/2026:10:00:00 +0900] \"GET /a b\" 200";
        let wanted =
            ["10.0.0.1", "-", "한글", "[22/Nov/2026:10:00:00 +0900]", "\"GET /a b\"", "200"];
        let found = groups(log, line).unwrap();
        assert_eq!(found.len(), 7);
        assert_eq!(found[..6], wanted.map(|text| Some(text.to_owned())));
        assert_eq!(found[6], None);
        assert_eq!(groups(r"(\d+)", "١٢"), None);
        assert_eq!(groups(r"(\d+)", "12x"), None);
        assert_eq!(groups(r"(a|ab)(c|bcd)?", "abcd").unwrap()[1].as_deref(), Some("bcd"));
        assert_eq!(groups(r"([\w\-]+)\.(.*?)", "a-b.c\u{85}"), None);
    }

    #[test]
    fn refuses_what_means_something_else() {
        for pattern in
            [r"(a)\1", "a*+", "(?i)a", "(?=a)a", r"\bA", r"\p{L}", "[a&&b]", "[]a]", "a\\", "("]
        {
            let error = compile(pattern, false).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{pattern}");
        }
        assert!(compile("(ABC)", true).unwrap().is_match("abc"));
    }
}
