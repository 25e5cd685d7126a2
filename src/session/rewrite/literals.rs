//! Literals that PostgreSQL reads and the engine underneath does not, or not alike.

use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast::{
    CastKind, CharacterLength, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Value,
};

use super::literal;
use crate::session::arithmetic::{parse_bytes, spelled_interval};
use crate::session::like_pattern::{self, escaped};

/// Changes one literal, or what stands around it.
pub(super) fn expression(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::TypedString(typed) if is_timestamp(&typed.data_type) => {
            if let Value::SingleQuotedString(text) = &mut typed.value.value {
                add_seconds(text);
            }
        }
        Expr::Value(value) => {
            if let Value::UnicodeStringLiteral(text) = &mut value.value {
                // The parser has put the characters in the place of their numbers.
                value.value = Value::SingleQuotedString(std::mem::take(text));
            } else if let Value::Number(text, _) = &value.value
                && is_beyond_numeric(text)
            {
                if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                    return Err(Error::new(
                        ErrorKind::OutOfRange,
                        format!("number {text} is out of range"),
                    )
                    .with_detail(
                        "It has more digits than a numeric and is beyond double precision.",
                    ));
                }
                let text = Expr::value(Value::SingleQuotedString(text.clone()));
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(text),
                    data_type: DataType::DoublePrecision,
                    array: false,
                    format: None,
                };
            }
        }
        Expr::Interval(interval) if interval.leading_field.is_none() => {
            if let Expr::Value(value) = interval.value.as_mut()
                && let Value::SingleQuotedString(text) = &mut value.value
            {
                spell_interval(text);
            }
        }
        Expr::Cast { expr: inner, data_type, .. } if is_timestamp(data_type) => {
            if let Expr::Value(value) = inner.as_mut()
                && let Value::SingleQuotedString(text) = &mut value.value
            {
                add_seconds(text);
            }
        }
        Expr::Cast { expr: inner, data_type: DataType::Bytea, kind, .. } => {
            // One that is tried gives NULL for what is none.
            let is_tried = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
            if !is_tried && let Some(text) = literal(inner) {
                let mut hex = String::new();
                for byte in parse_bytes(text)? {
                    hex.push_str(&format!("{byte:02x}"));
                }
                *expr = Expr::value(Value::HexStringLiteral(hex));
            }
        }
        Expr::Cast { expr: inner, data_type: data_type @ DataType::Uuid, .. } => {
            *data_type = DataType::Text;
            *expr = match literal(inner) {
                Some(text) => Expr::value(Value::SingleQuotedString(uuid(text)?)),
                None => call("to_uuid", vec![expr.clone()]),
            };
        }
        Expr::Cast { data_type, .. } => {
            if let Some(length) = characters(data_type) {
                let is_padded = matches!(data_type, DataType::Character(_) | DataType::Char(_));
                *data_type = DataType::Text;
                let text = call("left", vec![expr.clone(), number(length)]);
                // Blanks at the end of a `char(n)` do not count, and columns come without them.
                let blank = Expr::value(Value::SingleQuotedString(" ".to_owned()));
                *expr = if is_padded { call("rtrim", vec![text, blank]) } else { text };
            }
        }
        Expr::Like { pattern, escape_char: escape @ Some(_), .. }
        | Expr::ILike { pattern, escape_char: escape @ Some(_), .. } => {
            let mark = escape.as_ref().and_then(|value| match &value.value {
                Value::SingleQuotedString(text) => text.chars().next(),
                _ => None,
            });
            if mark != Some('\\') {
                **pattern = match literal(pattern) {
                    Some(text) => Expr::value(Value::SingleQuotedString(escaped(text, mark))),
                    None => {
                        let mark = mark.map(String::from).unwrap_or_default();
                        let mark = Expr::value(Value::SingleQuotedString(mark));
                        call(like_pattern::FUNCTION, vec![(**pattern).clone(), mark])
                    }
                };
                *escape = None;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns a uuid as it is written in columns: in lower case, with hyphens.
///
/// # Errors
/// 22P02 for a text that is none.
pub(in crate::session) fn uuid(text: &str) -> Result<String> {
    text.parse::<uuid::Uuid>().map(|uuid| uuid.to_string()).map_err(|_| {
        Error::new(
            ErrorKind::InvalidText,
            format!("invalid input syntax for type uuid: \"{text}\""),
        )
    })
}

/// Digits that a numeric of the engine has room for.
const NUMERIC_DIGITS_MAX: i64 = 76;

/// Returns whether a number such as `1e300` has more digits than a numeric, so that it has to be a float.
fn is_beyond_numeric(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    let Ok(exponent) = exponent.parse::<i64>() else { return true };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let before = (whole.len() as i64).saturating_add(exponent).max(0);
    let after = (fraction.len() as i64).saturating_sub(exponent).max(0);
    before.saturating_add(after) > NUMERIC_DIGITS_MAX
}

/// Returns a call of a function.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments
        .into_iter()
        .map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)))
        .collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn number(number: u64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::TimestampNtz(_))
}

/// Returns how many characters a type of text takes; a cast cuts off the rest.
fn characters(data_type: &DataType) -> Option<u64> {
    let length = match data_type {
        DataType::Character(None) | DataType::Char(None) => return Some(1),
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length)
        | DataType::Character(length)
        | DataType::Char(length) => length.as_ref()?,
        _ => return None,
    };
    match length {
        CharacterLength::IntegerLength { length, .. } => Some(*length),
        CharacterLength::Max => None,
    }
}

/// `2026-11-03 14:05` lacks its seconds.
fn add_seconds(text: &mut String) {
    let is_minute = |bytes: &[u8]| {
        bytes.len() >= 16
            && bytes[10..16].iter().zip(b" 00:00").all(|(found, shape)| match shape {
                b'0' => found.is_ascii_digit(),
                b' ' => matches!(found, b' ' | b'T'),
                other => found == other,
            })
            && !matches!(bytes.get(16), Some(b':' | b'0'..=b'9'))
    };
    if is_minute(text.as_bytes()) {
        text.insert_str(16, ":00");
    }
}

/// Writes the text of an interval in words where it is not.
pub(super) fn spell_interval(text: &mut String) {
    match spelled_interval(text).or_else(|| iso_interval(text)) {
        Some(spelled) => *text = spelled,
        None => spell_time(text),
    }
}

/// `P1Y2M3DT4H5M6.5S`, by ISO 8601, in words; `None` for another text.
fn iso_interval(text: &str) -> Option<String> {
    let mut rest = text.trim().strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let mut spelled = String::new();
    let mut is_time = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            (is_time, rest) = (true, time);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))?;
        let (number, unit) = rest.split_at(end);
        number.parse::<f64>().ok()?;
        let unit = match (is_time, unit.chars().next()?) {
            (false, 'Y') => "years",
            (false, 'M') => "months",
            (false, 'W') => "weeks",
            (false, 'D') => "days",
            (true, 'H') => "hours",
            (true, 'M') => "minutes",
            (true, 'S') => "seconds",
            _ => return None,
        };
        spelled.push_str(&format!("{number} {unit} "));
        rest = &rest[end + 1..];
    }
    (!spelled.is_empty()).then(|| spelled.trim_end().to_owned())
}

/// `1 day 04:05:06` becomes `1 day 4 hours 5 minutes 6 seconds`.
fn spell_time(text: &mut String) {
    let (before, last) = text.trim_end().rsplit_once(' ').unwrap_or(("", text.trim()));
    let (sign, time) = match last.strip_prefix('-') {
        Some(time) => ("-", time),
        None => ("", last.trim_start_matches('+')),
    };
    let parts = time.split(':').collect::<Vec<_>>();
    let is_number = |part: &&str| !part.is_empty() && part.parse::<f64>().is_ok();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_number) {
        return;
    }
    let seconds = parts.get(2).copied().unwrap_or("0");
    *text = format!(
        "{before} {sign}{} hours {sign}{} minutes {sign}{seconds} seconds",
        parts[0], parts[1]
    )
    .trim_start()
    .to_owned();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_get_seconds_and_times_are_spelled() {
        for (text, changed) in [
            ("2026-11-03 14:05", "2026-11-03 14:05:00"),
            ("2026-11-03T14:05+09", "2026-11-03T14:05:00+09"),
            ("2026-11-03 14:05:06", "2026-11-03 14:05:06"),
            ("2026-11-03", "2026-11-03"),
        ] {
            let mut text = text.to_owned();
            add_seconds(&mut text);
            assert_eq!(text, changed);
        }
        for (text, changed) in [
            ("1 day 04:05:06.5", "1 day 04 hours 05 minutes 06.5 seconds"),
            ("-01:30", "-01 hours -30 minutes -0 seconds"),
            ("1 day", "1 day"),
        ] {
            let mut text = text.to_owned();
            spell_time(&mut text);
            assert_eq!(text, changed);
        }
        let iso = |text| iso_interval(text);
        let all = "1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds";
        assert_eq!(iso("P1Y2M3DT4H5M6.5S").as_deref(), Some(all));
        assert_eq!(iso("P-1W").as_deref(), Some("-1 weeks"));
        assert_eq!([iso("P"), iso("P1X"), iso("1 day"), iso("PT")], [None, None, None, None]);
    }

    #[test]
    fn patterns_are_escaped_by_backslashes() {
        assert_eq!(escaped("50!%!!", Some('!')), "50\\%\\!");
        assert_eq!(escaped("a\\b%", Some('!')), "a\\\\b%");
        assert_eq!(escaped("a\\b", None), "a\\\\b");
    }
}
