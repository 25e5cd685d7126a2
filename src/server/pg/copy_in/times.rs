//! Dates and times in the form that programs write them; other forms are left to the slower reader.

use crate::value_text::DAY_MICROS;

/// Reads `count` digits from the start.
fn number(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })?;
    Some((value, rest))
}

fn then(text: &[u8], byte: u8) -> Option<&[u8]> {
    text.split_first().filter(|(first, _)| **first == byte).map(|(_, rest)| rest)
}

/// Reads `YYYY-MM-DD` as days since 1970.
fn day(text: &[u8]) -> Option<(i32, &[u8])> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(then(rest, b'-')?, 2)?;
    let (day, rest) = number(then(rest, b'-')?, 2)?;
    // There is no year 0 in PostgreSQL.
    let year = i32::try_from(year).ok().filter(|year| *year > 0)?;
    let date = chrono::NaiveDate::from_ymd_opt(year, month as u32, day as u32)?;
    let since = date.signed_duration_since(chrono::NaiveDate::default());
    Some((i32::try_from(since.num_days()).ok()?, rest))
}

/// Reads a date; `None` if it is written otherwise, or is none.
pub(super) fn date(text: &str) -> Option<i32> {
    day(text.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(days, _)| days)
}

/// Reads `YYYY-MM-DD HH:MM:SS[.ffffff]`, with an offset `±HH[:MM]` or `Z` if `with_offset`, as microseconds since 1970.
pub(super) fn timestamp(text: &str, with_offset: bool) -> Option<i64> {
    let (days, rest) = day(text.as_bytes())?;
    let rest = then(rest, b' ').or_else(|| then(rest, b'T'))?;
    let (hours, rest) = number(rest, 2)?;
    let (minutes, rest) = number(then(rest, b':')?, 2)?;
    let (seconds, mut rest) = number(then(rest, b':')?, 2)?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000;
    if let Some(part) = then(rest, b'.') {
        let count = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (value, after) = number(part, count).filter(|_| (1..=6).contains(&count))?;
        micros += value * 10_i64.pow(6 - count as u32);
        rest = after;
    }
    if with_offset {
        let (sign, after) = rest.split_first()?;
        rest = match sign {
            b'Z' => after,
            b'+' | b'-' => {
                let (hours, mut after) = number(after, 2)?;
                let mut offset = hours * 60;
                if let Some(more) = then(after, b':') {
                    let (minutes, end) = number(more, 2)?;
                    (offset, after) = (offset + minutes, end);
                }
                let offset = offset * 60_000_000;
                micros -= if *sign == b'-' { -offset } else { offset };
                after
            }
            _ => return None,
        };
    }
    rest.is_empty().then(|| i64::from(days) * DAY_MICROS + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_forms_are_read() {
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        for other in ["1970-1-2", "1970-02-30", "0000-01-01", "1970-01-02 ", "infinity", ""] {
            assert_eq!(date(other), None, "{other}");
        }
        assert_eq!(timestamp("1970-01-01 00:00:01.5", false), Some(1_500_000));
        assert_eq!(timestamp("1969-12-31T23:59:59", false), Some(-1_000_000));
        assert_eq!(timestamp("1970-01-01 09:00:00+09", true), Some(0));
        assert_eq!(timestamp("1970-01-01 00:00:00-01:30", true), Some(5_400_000_000));
        for other in ["1970-01-01", "1970-01-01 24:00:00", "1970-01-01 00:00:00.1234567"] {
            assert_eq!(timestamp(other, false), None, "{other}");
        }
        assert_eq!(timestamp("1970-01-01 00:00:00", true), None, "its zone is the session's");
        assert_eq!(timestamp("1970-01-01 00:00:00+00", false), None);
    }
}
