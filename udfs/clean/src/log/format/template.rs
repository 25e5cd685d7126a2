//! The servers' own ways to describe a line: `log_format` of nginx, `LogFormat` of Apache.

use maru_core::Result;

use super::super::columns::Kind;
use super::{Meaning, Piece, snake, variable, wrong};

fn literal(pieces: &mut Vec<(Piece, String)>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some((Piece::Literal(before), _)) => before.push_str(text),
        _ => pieces.push((Piece::Literal(text.to_owned()), String::new())),
    }
}

fn value(pieces: &mut Vec<(Piece, String)>, column: String, meaning: Meaning) -> Result<()> {
    if let Some((Piece::Value(_), _)) = pieces.last() {
        return Err(wrong("nothing stands between two values of the format".to_owned())
            .with_hint("Put a blank or another sign between them, or use a regular expression."));
    }
    pieces.push((Piece::Value(meaning), column));
    Ok(())
}

/// Reads `$remote_addr - [$time_local] …`.
pub(super) fn nginx(format: &str) -> Result<Vec<(Piece, String)>> {
    let mut pieces = Vec::new();
    let mut parts = format.split('$');
    literal(&mut pieces, parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some(both) => both,
            None => {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                part.split_at(end.unwrap_or(part.len()))
            }
        };
        if name.is_empty() {
            return Err(wrong("a $ in the format of a log is followed by no name".to_owned()));
        }
        let (column, meaning) = variable(name).unwrap_or((snake(name), Meaning::Plain(Kind::Text)));
        value(&mut pieces, column, meaning)?;
        literal(&mut pieces, rest);
    }
    Ok(pieces)
}

/// Reads `%h %l %u %t \"%r\" %>s %b …`.
pub(super) fn apache(format: &str) -> Result<Vec<(Piece, String)>> {
    let format = format.replace("\\\"", "\"");
    let mut pieces = Vec::new();
    let mut rest = format.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        literal(&mut pieces, before);
        if let Some(after) = after.strip_prefix('%') {
            literal(&mut pieces, "%");
            rest = after;
            continue;
        }
        let unknown = || {
            let shown = after.chars().take(12).collect::<String>();
            wrong(format!("the directive %{shown} of the format is not known"))
        };
        // %>s and %<s ask for the last or the first of several requests.
        let after_sign = after.trim_start_matches(['<', '>']);
        let end = match after_sign.strip_prefix('{') {
            Some(named) => named.find('}').ok_or_else(unknown)? + 2,
            None => 0,
        };
        let letter = after_sign[end..].chars().next().ok_or_else(unknown)?;
        let directive = &after_sign[..end + letter.len_utf8()];
        let name = match end {
            0 => directive.to_owned(),
            _ => directive.to_ascii_lowercase(),
        };
        let (column, meaning) = match variable(&name) {
            Some(known) => known,
            None if end > 0 => (snake(&name[1..end - 1]), Meaning::Plain(Kind::Text)),
            None if letter.is_ascii_alphabetic() => {
                (format!("directive_{letter}"), Meaning::Plain(Kind::Text))
            }
            None => return Err(unknown()),
        };
        let time = meaning == Meaning::LocalTime;
        if time {
            literal(&mut pieces, "[");
        }
        value(&mut pieces, column, meaning)?;
        if time {
            literal(&mut pieces, "]");
        }
        rest = &after_sign[directive.len()..];
    }
    literal(&mut pieces, rest);
    Ok(pieces)
}
