//! Dates and timestamps that are written otherwise than `2024-01-05`: `2024/01/05`, `2024.1.5`, `01/05/2024`, `Jan 5, 2024`,
//! `5-Jan-2024`, as PostgreSQL reads them with its own `DateStyle`, `ISO, MDY`.
//!
//! What is written in the statement is rewritten there, so that conditions on it go on to sources. Texts in columns are tried
//! as ISO 8601 has them first, and those that are something else once more.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use chrono::{Month, Weekday};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Cast;
use maru_core::Result;

use crate::session::rewrite::add_seconds;

/// Writes the text of a cast to a date or timestamp as the cast reads it.
pub(super) fn as_iso(expr: Expr) -> Transformed<Expr> {
    let (inner, target) = match &expr {
        Expr::Cast(Cast { expr, field }) => (expr, field.data_type()),
        Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
        _ => return Transformed::no(expr),
    };
    let is_moment = is_moment(target);
    let Expr::Literal(value, _) = inner.as_ref() else { return Transformed::no(expr) };
    let text = value.try_as_str().flatten().filter(|_| is_moment);
    let Some(mut text) = text.and_then(iso) else { return Transformed::no(expr) };
    if *target != DataType::Date32 {
        add_seconds(&mut text);
    }
    let literal = Box::new(Expr::Literal(ScalarValue::Utf8(Some(text)), None));
    Transformed::yes(match expr {
        Expr::Cast(cast) => Expr::Cast(Cast { expr: literal, ..cast }),
        Expr::TryCast(mut cast) => {
            cast.expr = literal;
            Expr::TryCast(cast)
        }
        other => other,
    })
}

/// Returns whether texts are read as this type in all these forms.
pub(super) fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// Reads texts as dates or timestamps. With `try_cast` those that are none are NULL.
///
/// # Errors
/// 22007 for the first that is none, 22008 for one whose fields are out of range.
pub(super) fn moments(texts: &ArrayRef, target: &DataType, try_cast: bool) -> Result<ArrayRef> {
    let tolerant = CastOptions { safe: true, ..CastOptions::default() };
    let found = cast_with_options(texts, target, &tolerant)?;
    let n_null = texts.logical_nulls().map_or(0, |nulls| nulls.null_count());
    if found.null_count() == n_null {
        return Ok(found);
    }
    let texts = cast_with_options(texts, &DataType::Utf8, &tolerant)?;
    let written = texts.as_string::<i32>().iter().enumerate().map(|(row, text)| {
        let text = text?;
        if found.is_valid(row) {
            return Some(text.to_owned());
        }
        let mut text = iso(text).unwrap_or_else(|| text.to_owned());
        if *target != DataType::Date32 {
            add_seconds(&mut text);
        }
        Some(text)
    });
    let written: ArrayRef = std::sync::Arc::new(written.collect::<StringArray>());
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    Ok(cast_with_options(&written, target, &options)?)
}

/// Returns `YYYY-MM-DD` and what follows; `None` for what is written like that, or is none of the forms above.
fn iso(text: &str) -> Option<String> {
    let mut rest = text.trim();
    let mut fields = Vec::new();
    let mut separators = String::new();
    while fields.len() < 3 {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        // `5Jan2024` and `20240105T10` are one word, and stay what they are.
        let (word, behind) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        rest = behind;
        let is_day = fields.is_empty() && word.parse::<Weekday>().is_ok();
        if !is_day {
            fields.push(word);
        }
        if fields.len() < 3 {
            let start = rest.find(|letter| !" ,-/.".contains(letter)).unwrap_or(rest.len());
            separators.push_str(&rest[..start]);
            rest = &rest[start..];
        }
    }
    let [a, b, c] = <[&str; 3]>::try_from(fields).ok()?;
    let number = |word: &str| word.parse::<u32>().ok();
    let (year, month, day) = match (month(a), month(b)) {
        (Some(month), _) => (c, month, number(b)?),
        // `5 Jan 2024`, `2024-Jan-05`.
        (None, Some(month)) if a.len() > 2 => (a, month, number(c)?),
        (None, Some(month)) => (c, month, number(a)?),
        (None, None) if separators == "--" && a.len() > 2 => return None,
        (None, None) if separators.contains([' ', ',']) => return None,
        (None, None) if a.len() > 2 => (a, number(b)?, number(c)?),
        (None, None) => (c, number(a)?, number(b)?),
    };
    let year = match (year.len(), number(year)?) {
        (1 | 2, year @ 0..70) => 2000 + year,
        (1 | 2, year) => 1900 + year,
        (3.., year) => year,
        _ => return None,
    };
    let possible = (1..=12).contains(&month) && (1..=31).contains(&day);
    possible.then(|| format!("{year:04}-{month:02}-{day:02}{rest}"))
}

/// Returns the number of a month by its English name, or the first three letters of it.
fn month(word: &str) -> Option<u32> {
    let word = if word.eq_ignore_ascii_case("sept") { "sep" } else { word };
    word.parse::<Month>().ok().map(|month| month.number_from_month())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_postgresql_reads() {
        for (text, expected) in [
            ("2024/01/05", "2024-01-05"),
            ("2024.1.5", "2024-01-05"),
            (" 2024/01/05 10:20:30+09 ", "2024-01-05 10:20:30+09"),
            ("01/05/2024", "2024-01-05"),
            ("1-5-2024", "2024-01-05"),
            ("1/5/69", "2069-01-05"),
            ("1/5/70", "1970-01-05"),
            ("Jan 5 2024", "2024-01-05"),
            ("January 5, 2024", "2024-01-05"),
            ("sept 30 2024", "2024-09-30"),
            ("5 Jan 2024", "2024-01-05"),
            ("05-Jan-2024 10:20", "2024-01-05 10:20"),
            ("2024-Jan-05", "2024-01-05"),
            ("Fri Jan 05 2024", "2024-01-05"),
        ] {
            assert_eq!(iso(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "2024-01-05",
            "2024-01-05 10:20",
            "20240105",
            "infinity",
            "today",
            "",
            "10 20 30",
            "13/05/2024",
            "ja 5 2024",
            "2024/01",
            "5Jan2024",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }
}
