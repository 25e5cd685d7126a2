//! Templates of `to_date` and `to_timestamp`. PostgreSQL's say `YYYY-MM-DD`, DataFusion's `%Y-%m-%d` as strftime does; both are
//! taken, told apart by the percent sign. Those of `to_char` are read as it runs.
//!
//! Source: PostgreSQL 16, table 9.27.

use maru_core::{Error, Result};
use maru_sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, TimezoneInfo, Value,
};

use super::literal;

/// PostgreSQL's patterns, longer ones first, and what chrono calls them; `None`: known, but there is no such thing.
const PATTERNS: &[(&str, Option<&str>)] = &[
    ("YYYY", Some("%Y")),
    ("IYYY", Some("%G")),
    ("Y,YYY", None),
    ("YYY", None),
    ("YY", Some("%y")),
    ("HH24", Some("%H")),
    ("HH12", Some("%I")),
    ("HH", Some("%I")),
    ("MI", Some("%M")),
    ("SSSSS", None),
    ("SSSS", None),
    ("SS", Some("%S")),
    ("MS", Some("%3f")),
    ("US", Some("%6f")),
    ("FF3", Some("%3f")),
    ("FF6", Some("%6f")),
    ("FF", None),
    ("AM", Some("%p")),
    ("PM", Some("%p")),
    ("am", Some("%P")),
    ("pm", Some("%P")),
    ("A.M.", None),
    ("P.M.", None),
    ("Month", None),
    ("MONTH", None),
    ("month", None),
    ("FMMonth", Some("%B")),
    ("Mon", Some("%b")),
    ("MON", None),
    ("mon", None),
    ("MM", Some("%m")),
    ("FMMM", Some("%-m")),
    ("Day", None),
    ("DAY", None),
    ("day", None),
    ("FMDay", Some("%A")),
    ("Dy", Some("%a")),
    ("DY", None),
    ("dy", None),
    ("DDD", Some("%j")),
    ("IDDD", None),
    ("DD", Some("%d")),
    ("FMDD", Some("%-d")),
    ("FMHH24", Some("%-H")),
    ("FMHH12", Some("%-I")),
    ("FMMI", Some("%-M")),
    ("FMSS", Some("%-S")),
    ("FM", None),
    ("FX", None),
    ("IW", Some("%V")),
    ("ID", Some("%u")),
    ("WW", None),
    ("CC", None),
    ("TZH", None),
    ("TZM", None),
    ("TZ", Some("%Z")),
    ("tz", None),
    ("OF", None),
    ("RM", None),
    ("BC", None),
    ("AD", None),
    ("TH", None),
    ("th", None),
    ("Y", None),
    ("W", None),
    ("D", None),
    ("J", None),
    ("Q", None),
];

/// The functions that read a text by a template.
const FUNCTIONS: &[&str] = &["to_date", "to_timestamp"];

/// Puts chrono's format in the place of PostgreSQL's template.
///
/// # Errors
/// 0A000 for a template that is no literal, or that has a pattern chrono lacks.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = expr else { return Ok(()) };
    let name = function.name.to_string().to_lowercase();
    if !FUNCTIONS.contains(&name.as_str()) {
        return Ok(());
    }
    let Some(template) = template(function) else { return Ok(()) };
    let Some(text) = literal(template) else {
        return Err(Error::unsupported(format!("{name} takes its template as a text literal")));
    };
    if text.contains('%') {
        return Ok(());
    }
    let mut format = Format::read(text)?;
    // Of an hour alone no time can be read either: it is the first minute.
    let lacks_minutes = format.has_time && !format.has_minutes;
    if lacks_minutes {
        format.text.push_str(" %M");
    }
    *template = Expr::value(Value::SingleQuotedString(format.text));
    if lacks_minutes && let Some(text) = text_read(function) {
        let minutes = Expr::value(Value::SingleQuotedString(" 00".to_owned()));
        let read = Expr::Nested(Box::new(text.clone()));
        *text = Expr::BinaryOp {
            left: Box::new(read),
            op: BinaryOperator::StringConcat,
            right: Box::new(minutes),
        };
    }
    // Of a day alone no instant can be read: it is the day's first.
    if name == "to_timestamp" && !format.has_time {
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("to_date"))]);
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(expr.clone()),
            data_type: DataType::Timestamp(None, TimezoneInfo::Tz),
            array: false,
            format: None,
        };
    }
    Ok(())
}

/// Returns the first of two arguments.
fn text_read(function: &mut Function) -> Option<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.as_mut_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(text)), _] => Some(text),
        _ => None,
    }
}

/// Returns the second of two arguments.
fn template(function: &mut Function) -> Option<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.as_mut_slice() {
        [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(template))] => Some(template),
        _ => None,
    }
}

/// A format of chrono's.
#[derive(Debug, PartialEq, Eq)]
struct Format {
    text: String,
    has_time: bool,
    has_minutes: bool,
}

impl Format {
    fn read(template: &str) -> Result<Self> {
        let mut format = Self { text: String::new(), has_time: false, has_minutes: false };
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let (quoted, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
                format.text.push_str(quoted);
                rest = after;
                continue;
            }
            let found = PATTERNS
                .iter()
                .filter(|(pattern, _)| starts_with(rest, pattern))
                .max_by_key(|(pattern, _)| pattern.len());
            match found {
                Some((pattern, Some(chrono))) => {
                    format.has_time |= pattern.contains("HH");
                    format.has_minutes |= pattern.contains("MI");
                    format.text.push_str(chrono);
                    rest = &rest[pattern.len()..];
                }
                Some((pattern, None)) => {
                    return Err(Error::unsupported(format!(
                        "pattern \"{pattern}\" of a date template is not supported"
                    ))
                    .with_hint("Use a format of strftime instead, such as '%Y-%m-%d %H:%M:%S'."));
                }
                None => {
                    format.text.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        Ok(format)
    }
}

/// Patterns of figures are read in any case, names are written in the case of their pattern.
fn starts_with(text: &str, pattern: &str) -> bool {
    const CASED: &[&str] = &["mon", "day", "dy", "am", "pm", "a.m.", "p.m.", "th", "tz"];
    let lower = pattern.trim_start_matches("FM").to_lowercase();
    let cased = CASED.iter().any(|word| lower.starts_with(word));
    if cased {
        return text.starts_with(pattern);
    }
    text.get(..pattern.len()).is_some_and(|start| start.eq_ignore_ascii_case(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_formats() {
        for (template, format, has_time) in [
            ("YYYY-MM-DD HH24:MI:SS", "%Y-%m-%d %H:%M:%S", true),
            ("yyyymmdd", "%Y%m%d", false),
            ("YYYY-MM-DD\"T\"HH24:MI:SS.MS", "%Y-%m-%dT%H:%M:%S.%3f", true),
            ("HH12:MI AM", "%I:%M %p", true),
            ("Dy, FMDD Mon YYYY", "%a, %-d %b %Y", false),
            ("YYYY년 MM월", "%Y년 %m월", false),
        ] {
            let read = Format::read(template).unwrap();
            assert_eq!((read.text.as_str(), read.has_time), (format, has_time), "{template}");
        }
    }

    #[test]
    fn refuses_what_chrono_lacks() {
        for template in ["Q", "MONTH", "WW", "FMYYYY", "SSSS"] {
            let error = Format::read(template).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{template}");
        }
    }
}
