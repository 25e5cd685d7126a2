//! Dates and timestamps that are written otherwise than `2024-01-05`: `2024/01/05`, `2024.1.5`, `01/05/2024`, `Jan 5, 2024`,
//! `5-Jan-2024`, as PostgreSQL reads them with its own `DateStyle`, `ISO, MDY`.
//!
//! What is written in the statement is rewritten there, so that conditions on it go on to sources. Texts in columns are tried
//! as ISO 8601 has them first, and those that are something else once more.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{Month, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Weekday};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Cast;
use maru_core::Result;

use crate::session::timezone;

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
    let Some(Cow::Owned(text)) = text.map(|text| spelled(text, target)) else {
        return Transformed::no(expr);
    };
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
    let texts = cast_with_options(texts, &DataType::Utf8, &tolerant)?;
    let texts = texts.as_string::<i32>();
    // The cast would count from a zone that a type without one passes over.
    let passes_over = matches!(target, DataType::Timestamp(_, None));
    let is_right = |row: usize, text: &str| {
        found.is_valid(row)
            && !(passes_over && text.get(11..).is_some_and(may_have_zone))
            && !is_rounded(text, target)
    };
    if texts.iter().enumerate().all(|(row, text)| text.is_none_or(|text| is_right(row, text))) {
        return Ok(found);
    }
    let written = texts.iter().enumerate().map(|(row, text)| {
        text.map(
            |text| if is_right(row, text) { Cow::Borrowed(text) } else { spelled(text, target) },
        )
    });
    let written: ArrayRef = Arc::new(written.collect::<StringArray>());
    let options = CastOptions { safe: try_cast, ..CastOptions::default() };
    Ok(cast_with_options(&written, target, &options)?)
}

/// Returns whether a text says more than microseconds to a type of them: the cast would cut that off.
fn is_rounded(text: &str, target: &DataType) -> bool {
    let digits = |fraction: &str| fraction.bytes().take_while(u8::is_ascii_digit).count();
    matches!(target, DataType::Timestamp(TimeUnit::Microsecond, _))
        && text.rsplit_once('.').is_some_and(|(_, fraction)| digits(fraction) > 6)
}

/// Rounds a fraction such as `.1234567` to microseconds, as PostgreSQL does it; tells whether that makes a whole second.
fn rounded(fraction: &str) -> Option<(String, bool)> {
    let micros = (format!("0{fraction}").parse::<f64>().ok()? * 1e6).round_ties_even();
    Some(if micros < 1e6 { (format!(".{micros:06}"), false) } else { (String::new(), true) })
}

fn may_have_zone(clock: &str) -> bool {
    clock.contains(|letter: char| letter.is_ascii_alphabetic() || "+-".contains(letter))
}

/// Returns a date or timestamp as casts to `target` read it: by ISO 8601, with seconds, and without a zone if the type has none.
/// PostgreSQL passes over that one: `timestamp '2024-01-05 10:00+09'` is ten o'clock. A text that is neither stays as it is.
pub(crate) fn spelled<'t>(text: &'t str, target: &DataType) -> Cow<'t, str> {
    let iso = iso(text).map_or(Cow::Borrowed(text), Cow::Owned);
    let spelled = match with_clock(&iso, target).filter(|spelled| *spelled != iso) {
        Some(spelled) => Cow::Owned(spelled),
        None => iso,
    };
    match with_offset(&spelled, target) {
        Some(spelled) => Cow::Owned(spelled),
        None => spelled,
    }
}

/// Adds the offset of the target's zone to what its clocks show twice or never, which the cast refuses without one.
fn with_offset(text: &str, target: &DataType) -> Option<String> {
    let DataType::Timestamp(_, Some(zone)) = target else { return None };
    let zone = Some(zone).filter(|zone| timezone::may_change(zone))?.parse::<Tz>().ok()?;
    let text = text.trim().replacen('T', " ", 1);
    let wall = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok();
    let midnight = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN));
    let wall = wall.or_else(midnight)?;
    if zone.offset_from_local_datetime(&wall).single().is_some() {
        return None;
    }
    let offset = timezone::offset_at(zone, wall)?;
    Some(format!("{}{offset}", wall.format("%Y-%m-%d %H:%M:%S%.f")))
}

/// The same for `YYYY-MM-DD`, a space or a `T`, and a clock; `None` for what is written otherwise.
fn with_clock(text: &str, target: &DataType) -> Option<String> {
    let text = text.trim();
    let (day, rest) = text.split_at_checked(10)?;
    let clock = rest.strip_prefix([' ', 'T'])?.trim_start();
    let end = clock.find(|letter: char| !letter.is_ascii_digit() && !":.".contains(letter));
    let (clock, zone) = clock.split_at(end.unwrap_or(clock.len()));
    let mut fields = clock.split(':');
    let (hours, minutes, seconds) = (fields.next()?, fields.next()?, fields.next().unwrap_or("0"));
    if fields.next().is_some() || hours.len() > 2 || minutes.len() != 2 {
        return None;
    }
    let (whole, fraction) = seconds
        .split_once('.')
        .map_or((seconds, ""), |(whole, _)| (whole, &seconds[whole.len()..]));
    let number = |field: &str| field.parse::<u32>().ok();
    let (mut hours, minutes, whole) = (number(hours)?, number(minutes)?, number(whole)?);
    if *target == DataType::Date32 {
        return Some(day.to_owned());
    }
    let mut day = day.to_owned();
    if (hours, minutes, whole) == (24, 0, 0) && fraction.trim_matches(['.', '0']).is_empty() {
        day = day.parse::<NaiveDate>().ok()?.succ_opt()?.to_string();
        hours = 0;
    }
    let (fraction, is_next) = match is_rounded(fraction, target) {
        true => rounded(fraction)?,
        false => (fraction.to_owned(), false),
    };
    let zone = match target {
        DataType::Timestamp(_, Some(_)) => {
            timezone::in_text(zone.trim()).unwrap_or_else(|| zone.to_owned())
        }
        _ if zone.is_empty() || is_zone(zone.trim()) => String::new(),
        _ => return None,
    };
    if is_next {
        let moment = day.parse::<NaiveDate>().ok()?.and_hms_opt(hours, minutes, whole)?;
        let moment = moment.checked_add_signed(TimeDelta::seconds(1))?;
        return Some(format!("{}{zone}", moment.format("%Y-%m-%d %H:%M:%S")));
    }
    Some(format!("{day} {hours:02}:{minutes:02}:{whole:02}{fraction}{zone}"))
}

fn is_zone(word: &str) -> bool {
    let is_offset = word.strip_prefix(['+', '-']).is_some_and(|digits| {
        digits.starts_with(|digit: char| digit.is_ascii_digit())
            && digits.chars().all(|letter| letter.is_ascii_digit() || letter == ':')
    });
    is_offset || word.parse::<Tz>().is_ok() || timezone::in_text(word).is_some()
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
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn clocks_are_spelled() {
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (text, as_plain, as_zoned) in [
            ("2024-01-05 10:20", "2024-01-05 10:20:00", "2024-01-05 10:20:00"),
            ("2024-01-05T9:05", "2024-01-05 09:05:00", "2024-01-05 09:05:00"),
            ("2024-01-05 10:20+09", "2024-01-05 10:20:00", "2024-01-05 10:20:00+09"),
            (
                "2024-01-05 10:20:30.25-03:30",
                "2024-01-05 10:20:30.25",
                "2024-01-05 10:20:30.25-03:30",
            ),
            ("2024-01-05T10:20:30Z", "2024-01-05 10:20:30", "2024-01-05 10:20:30+00:00"),
            (
                "2024-01-05 10:20:30 Asia/Seoul",
                "2024-01-05 10:20:30",
                "2024-01-05 10:20:30 Asia/Seoul",
            ),
            ("2024-02-28 24:00", "2024-02-29 00:00:00", "2024-02-29 00:00:00"),
            (
                "2024-01-05 10:20:30.1234567",
                "2024-01-05 10:20:30.123457",
                "2024-01-05 10:20:30.123457",
            ),
            ("2024-01-05 23:59:59.9999996+09", "2024-01-06 00:00:00", "2024-01-06 00:00:00+09"),
            ("Jan 5, 2024 24:00:00.0", "2024-01-06 00:00:00.0", "2024-01-06 00:00:00.0"),
        ] {
            assert_eq!(spelled(text, &plain), as_plain, "{text}");
            assert_eq!(spelled(text, &zoned), as_zoned, "{text}");
            let day = spelled(text, &DataType::Date32);
            assert!(
                day.len() == 10 && text.contains("24") && day.starts_with("2024-0"),
                "{text}: {day}"
            );
        }
        for text in [
            "2024-01-05",
            "",
            "2024-01-05 10",
            "2024-01-05 10:20:30 PM",
            "2024-01-05 24:30",
            "가나다라마 10:20",
            "2024-01-05 10:20:30:40",
        ] {
            let same = spelled(text, &plain);
            assert!(same == text || text.ends_with("24:30"), "{text}: {same}");
        }
    }

    #[test]
    fn columns_without_a_zone_pass_over_it() {
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some("1970-01-01 00:00:01+09"),
            None,
            Some("1970-01-01 00:00:02"),
        ]));
        let found = moments(&texts, &plain, false).unwrap();
        let found = found.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(1_000_000), None, Some(2_000_000)]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1970-01-01 00:00:00.0000016"]));
        let found = moments(&texts, &plain, false).unwrap();
        let found = found.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(2)]);
    }

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
