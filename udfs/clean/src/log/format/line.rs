//! How a line is taken apart, once its format is known.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate};

use super::super::columns::{Kind, Part};
use super::{IisField, Meaning, Piece};

impl Meaning {
    /// Reads a text that is not `-`; `None` if it has another form.
    fn part(self, text: Cow<'_, str>) -> Option<Part<'_>> {
        Some(match self {
            Self::Plain(Kind::Text) | Self::Request => Part::Text(text),
            Self::Plain(Kind::Short) => Part::Integer(i64::from(text.parse::<i32>().ok()?)),
            Self::Plain(Kind::Long | Kind::Time) => Part::Integer(text.parse().ok()?),
            Self::Plain(Kind::Number) => Part::Number(text.parse().ok()?),
            Self::LocalTime => Part::Integer(local_time(&text)?),
            Self::IsoTime => {
                Part::Integer(DateTime::parse_from_rfc3339(&text).ok()?.timestamp_micros())
            }
        })
    }
}

/// Reads what stands between literals; `None` for a line of another form.
pub(super) fn read_pieces<'a>(
    pieces: &[Piece],
    line: &'a str,
    parts: &mut Vec<Part<'a>>,
) -> Option<()> {
    let mut rest = line;
    let mut quoted = false;
    let mut at = 0;
    while at < pieces.len() {
        match &pieces[at] {
            Piece::Literal(text) => {
                rest = rest.strip_prefix(text.as_str())?;
                quoted = text.ends_with('"');
                at += 1;
            }
            Piece::Value(meaning) => {
                let end = match pieces.get(at + 1) {
                    Some(Piece::Literal(next)) if quoted && next.starts_with('"') => {
                        end_of_quoted(rest, next)?
                    }
                    Some(Piece::Literal(next)) => find(rest, next)?,
                    _ => rest.len(),
                };
                let text = &rest[..end];
                rest = &rest[end..];
                at += 1;
                // Without quotes something must stand there.
                if text.is_empty() && !quoted {
                    return None;
                }
                if *meaning == Meaning::Request {
                    request(unescape(text), parts);
                } else if text == "-" || text.is_empty() {
                    parts.push(Part::Null);
                } else {
                    let text = if quoted { unescape(text) } else { Cow::Borrowed(text) };
                    parts.push(meaning.part(text)?);
                }
            }
        }
    }
    rest.is_empty().then_some(())
}

/// Finds a literal, which is short and begins with what stands nowhere else as a rule: to prepare a search costs more than it.
fn find(text: &str, literal: &str) -> Option<usize> {
    let (text, literal) = (text.as_bytes(), literal.as_bytes());
    let first = *literal.first()?;
    memchr::memchr_iter(first, text).find(|at| text[*at..].starts_with(literal))
}

/// Finds the quote that ends a value: `\"` is one inside of it, and so is one that is not followed by what must come.
fn end_of_quoted(text: &str, next: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'"', b'\\', bytes.get(from..)?) {
        let at = from + at;
        if bytes[at] == b'\\' {
            from = at + 2;
        } else if bytes[at..].starts_with(next.as_bytes()) {
            return Some(at);
        } else {
            from = at + 1;
        }
    }
    None
}

/// Servers write `\"`, `\\`, `\n` and `\xHH` for bytes that could end a line or a value.
fn unescape(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match (bytes[at], next, digit(at + 2), digit(at + 3)) {
            (b'\\', Some(b'x'), Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 4;
            }
            (b'\\', Some(c @ (b'"' | b'\\')), ..) => {
                out.push(c);
                at += 2;
            }
            (b'\\', Some(c @ (b'n' | b't' | b'r')), ..) => {
                out.push(match c {
                    b'n' => b'\n',
                    b't' => b'\t',
                    _ => b'\r',
                });
                at += 2;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Takes `GET /a?b=1 HTTP/1.1` apart; what is no request at all stands in `url` as it is.
fn request<'a>(text: Cow<'a, str>, parts: &mut Vec<Part<'a>>) {
    let split = |text: &str| {
        let (method, rest) = text.split_once(' ')?;
        let (url, protocol) = match rest.rsplit_once(' ') {
            Some((url, protocol)) if protocol.starts_with("HTTP/") => (url, Some(protocol.len())),
            _ => (rest, None),
        };
        let is_method =
            !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        (is_method && !url.is_empty()).then_some((method.len(), url.len(), protocol))
    };
    match (text.as_ref(), split(&text)) {
        ("" | "-", _) => parts.extend([Part::Null, Part::Null, Part::Null]),
        (_, None) => parts.extend([Part::Null, Part::Text(text), Part::Null]),
        (_, Some((method, url, protocol))) => {
            let cut = |from: usize, len: usize| match &text {
                Cow::Borrowed(text) => Part::Text(Cow::Borrowed(&text[from..from + len])),
                Cow::Owned(text) => Part::Text(Cow::Owned(text[from..from + len].to_owned())),
            };
            let protocol = protocol.map_or(Part::Null, |len| cut(text.len() - len, len));
            parts.extend([cut(0, method), cut(method + 1, url), protocol]);
        }
    }
}

/// Reads what stands between blanks; `None` for a line of another form.
pub(super) fn read_blanks<'a>(
    fields: &[IisField],
    line: &'a str,
    parts: &mut Vec<Part<'a>>,
) -> Option<()> {
    let mut values = line.trim_end().split(' ');
    let (mut date, mut clock, mut place) = (None, None, None);
    for field in fields {
        let text = values.next().filter(|text| !text.is_empty())?;
        let known = text != "-";
        match field {
            IisField::Date | IisField::Time => {
                if place.is_none() {
                    place = Some(parts.len());
                    parts.push(Part::Null);
                }
                let part = if *field == IisField::Date { &mut date } else { &mut clock };
                *part = Some(text);
            }
            _ if !known => parts.push(Part::Null),
            IisField::Header => {
                let text = match text.contains('+') {
                    true => Cow::Owned(text.replace('+', " ")),
                    false => Cow::Borrowed(text),
                };
                parts.push(Part::Text(text));
            }
            IisField::Value(meaning) => parts.push(meaning.part(Cow::Borrowed(text))?),
        }
    }
    if values.next().is_some() {
        return None;
    }
    if let (Some(place), Some(date), Some(clock)) = (place, date, clock) {
        let both = format!("{date}T{clock}Z");
        parts[place] = Part::Integer(DateTime::parse_from_rfc3339(&both).ok()?.timestamp_micros());
    }
    Some(())
}

/// Reads `10/Oct/2000:13:55:36 -0700`, in microseconds since 1970.
fn local_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| {
        let digits = bytes.get(from..from + len)?;
        digits
            .iter()
            .try_fold(0_u32, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
    };
    let sign = |at: usize, sign: u8| (bytes.get(at) == Some(&sign)).then_some(());
    let month = match bytes.get(3..6)? {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    sign(2, b'/')?;
    sign(6, b'/')?;
    sign(11, b':')?;
    sign(14, b':')?;
    sign(17, b':')?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(7, 4)?).ok()?, month, number(0, 2)?)?;
    // A leap second is the last one before it.
    let second = number(18, 2)?.min(if number(18, 2)? == 60 { 59 } else { u32::MAX });
    let time = date.and_hms_opt(number(12, 2)?, number(15, 2)?, second)?;
    let offset = match bytes.get(20..) {
        Some([]) | None => 0,
        Some([b' ', direction @ (b'+' | b'-'), _, _, _, _]) => {
            let minutes = i64::from(number(22, 2)?) * 60 + i64::from(number(24, 2)?);
            if *direction == b'-' { -minutes } else { minutes }
        }
        Some(_) => return None,
    };
    Some((time.and_utc().timestamp() - offset * 60) * 1_000_000)
}
