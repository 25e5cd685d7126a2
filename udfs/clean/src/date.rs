//! Dates and times as people write them. What could mean two days is NULL, unless the order is said.

use std::sync::Arc;

use arrow::array::{Date32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use maru_core::{Error, ErrorKind, Result};

use crate::function::{Spec, Texts};
use crate::text::clean;

pub(crate) const FUNCTIONS: &[Spec] = &[
    Spec {
        name: "parse_date",
        syntax: "parse_date(text [, 'ymd'|'dmy'|'mdy'])",
        doc: "Reads a date in one of many forms (2026-11-22, 2026.11.22, 20261122, 2026년 11월 22일, 22 Nov 2026); NULL for what is none, or could be two unless the order is said.",
        takes: (1, 2),
        gives: |_| Ok(DataType::Date32),
        run: |texts| {
            let order = order(texts)?;
            let days = texts.map(|text| {
                let (date, _) = read(text, order)?;
                i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
            });
            Ok(Arc::new(days.collect::<Date32Array>()))
        },
    },
    Spec {
        name: "parse_timestamp",
        syntax: "parse_timestamp(text [, 'ymd'|'dmy'|'mdy'])",
        doc: "Reads a date with a time (2026-11-22T10:20:30, 2026년 11월 22일 오후 3시 20분, 22/Nov/2026:13:55:36) as the clock shows it; a zone is passed over.",
        takes: (1, 2),
        gives: |_| Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        run: |texts| {
            let order = order(texts)?;
            let micros = texts.map(|text| {
                let (date, time) = read(text, order)?;
                let at = NaiveDateTime::new(date, time.unwrap_or_default());
                Some(at.and_utc().timestamp_micros())
            });
            Ok(Arc::new(micros.collect::<TimestampMicrosecondArray>()))
        },
    },
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Ymd,
    Dmy,
    Mdy,
}

fn order(texts: &Texts) -> Result<Option<Order>> {
    match texts.constant(1, "the order")?.map(str::to_lowercase).as_deref() {
        None => Ok(None),
        Some("ymd") => Ok(Some(Order::Ymd)),
        Some("dmy") => Ok(Some(Order::Dmy)),
        Some("mdy") => Ok(Some(Order::Mdy)),
        Some(other) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("'{other}' is no order of year, month and day"),
        )
        .with_hint("The orders are 'ymd', 'dmy' and 'mdy'.")),
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const FULL_MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A piece of the text; separators of one kind are one piece.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(String),
    Word(String),
    Sign(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for c in text.chars() {
        match (found.last_mut(), c) {
            (Some(Token::Number(number)), '0'..='9') => number.push(c),
            (_, '0'..='9') => found.push(Token::Number(c.to_string())),
            (Some(Token::Word(word)), c) if c.is_alphabetic() => word.push(c),
            (_, c) if c.is_alphabetic() => found.push(Token::Word(c.to_string())),
            (Some(Token::Sign(' ')), ' ') => {}
            (_, c) => found.push(Token::Sign(c)),
        }
    }
    found
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn skip(&mut self, signs: &[char]) -> bool {
        let mut any = false;
        while let Some(Token::Sign(sign)) = self.peek()
            && signs.contains(sign)
        {
            self.at += 1;
            any = true;
        }
        any
    }

    fn word(&mut self, words: &[&str]) -> Option<usize> {
        let Some(Token::Word(word)) = self.peek() else { return None };
        let found = words.iter().position(|known| known == word)?;
        self.at += 1;
        Some(found)
    }

    fn number(&mut self) -> Option<String> {
        let Some(Token::Number(number)) = self.peek() else { return None };
        let number = number.clone();
        self.at += 1;
        Some(number)
    }

    fn month(&mut self) -> Option<u32> {
        let found = self
            .word(&MONTHS)
            .or_else(|| self.word(&FULL_MONTHS))
            .or_else(|| self.word(&["sept"]).map(|_| 8))?;
        u32::try_from(found + 1).ok()
    }

    /// A day of the week, in brackets or not.
    fn weekday(&mut self) -> bool {
        let start = self.at;
        let bracket = self.skip(&['(', ' ']);
        let Some(Token::Word(word)) = self.peek() else {
            self.at = start;
            return false;
        };
        let english = word.len() >= 3
            && DAYS.iter().any(|day| word.starts_with(day))
            && (word.len() == 3 || word.ends_with("day"));
        let korean = word.ends_with("요일")
            || bracket && ["월", "화", "수", "목", "금", "토", "일"].contains(&word.as_str());
        let is_one = english || korean;
        match is_one {
            true => {
                self.at += 1;
                self.skip(&[')', ',', ' ']);
            }
            false => self.at = start,
        }
        is_one
    }
}

fn small(text: &str) -> Option<u32> {
    (text.len() <= 2).then(|| text.parse().ok()).flatten()
}

/// Two digits are 1969 to 2068, as in POSIX. There is no year 0.
fn year_of(text: &str) -> Option<i32> {
    let number = text.parse::<i32>().ok()?;
    match text.len() {
        4 => Some(number).filter(|year| *year > 0),
        2 => Some(if number < 69 { 2000 + number } else { 1900 + number }),
        _ => None,
    }
}

/// Returns whether a text is a date in a form that has one reading, without a time of day.
pub(crate) fn is_date(text: &str) -> bool {
    read(text, None).is_some_and(|(_, time)| time.is_none())
}

/// Returns whether a text is a date in such a form, with a time of day or without.
pub(crate) fn is_timestamp(text: &str) -> bool {
    read(text, None).is_some()
}

fn read(text: &str, order: Option<Order>) -> Option<(NaiveDate, Option<NaiveTime>)> {
    let tokens = tokens(&clean(text).to_lowercase());
    let mut reader = Reader { tokens: &tokens, at: 0 };
    reader.skip(&[' ', '\'', '"']);
    reader.weekday();
    let (date, packed) = date(&mut reader, order)?;
    reader.skip(&['.']);
    let weekday = reader.weekday();
    if packed.is_some() {
        reader.skip(&[' ', '\'', '"']);
        return (reader.at == tokens.len()).then_some((date, packed));
    }
    let time = if reader.skip(&[' ', ':', ',']) | reader.word(&["t"]).is_some() | weekday {
        if reader.peek().is_none() { None } else { Some(time(&mut reader)?) }
    } else {
        None
    };
    zone(&mut reader)?;
    (reader.at == tokens.len()).then_some((date, time))
}

fn date(reader: &mut Reader<'_>, order: Option<Order>) -> Option<(NaiveDate, Option<NaiveTime>)> {
    const BETWEEN: [char; 5] = ['-', '.', '/', ' ', ','];
    if let Some(month) = reader.month() {
        reader.skip(&BETWEEN);
        let day = small(&reader.number()?)?;
        reader.word(&["st", "nd", "rd", "th"]);
        reader.skip(&BETWEEN);
        let year = reader.number().filter(|year| year.len() == 4)?;
        return Some((NaiveDate::from_ymd_opt(year_of(&year)?, month, day)?, None));
    }
    let first = reader.number()?;
    if [8, 12, 14].contains(&first.len()) {
        let part = |range: std::ops::Range<usize>| first.get(range)?.parse::<u32>().ok();
        let year = year_of(first.get(..4)?)?;
        let date = NaiveDate::from_ymd_opt(year, part(4..6)?, part(6..8)?)?;
        let time = match first.len() {
            8 => None,
            12 => Some(NaiveTime::from_hms_opt(part(8..10)?, part(10..12)?, 0)?),
            _ => Some(NaiveTime::from_hms_opt(part(8..10)?, part(10..12)?, part(12..14)?)?),
        };
        return Some((date, time));
    }
    let named = reader.word(&["년"]).is_some();
    reader.word(&["st", "nd", "rd", "th"]);
    reader.skip(&BETWEEN);
    if let Some(month) = reader.month() {
        reader.skip(&BETWEEN);
        let year = reader.number().filter(|year| year.len() == 4)?;
        return Some((NaiveDate::from_ymd_opt(year_of(&year)?, month, small(&first)?)?, None));
    }
    let second = reader.number()?;
    reader.word(&["월"]);
    reader.skip(&BETWEEN);
    let third = reader.number()?;
    reader.word(&["일"]);
    let ymd = |year: &str, month: &str, day: &str| {
        NaiveDate::from_ymd_opt(year_of(year)?, small(month)?, small(day)?)
    };
    let date = if first.len() == 4 || named {
        ymd(&first, &second, &third)
    } else {
        let order = match order {
            Some(order) => order,
            None if third.len() == 4 => {
                // One of them tells which it is if it cannot be a month.
                match (small(&first)?, small(&second)?) {
                    (day, 1..=12) if day > 12 => Order::Dmy,
                    (1..=12, day) if day > 12 => Order::Mdy,
                    (day, month) if day == month => Order::Dmy,
                    _ => return None,
                }
            }
            None => return None,
        };
        match order {
            Order::Ymd if third.len() == 4 => None,
            Order::Ymd => ymd(&first, &second, &third),
            Order::Dmy => ymd(&third, &second, &first),
            Order::Mdy => ymd(&third, &first, &second),
        }
    };
    Some((date?, None))
}

fn time(reader: &mut Reader<'_>) -> Option<NaiveTime> {
    const HALVES: [&str; 4] = ["오전", "오후", "am", "pm"];
    let before = reader.word(&HALVES);
    reader.skip(&[' ']);
    let mut hour = small(&reader.number()?)?;
    let (mut minute, mut second, mut micros) = (0, 0, 0);
    if reader.word(&["시"]).is_some() {
        reader.skip(&[' ']);
        if let Some(Token::Number(_)) = reader.peek() {
            minute = small(&reader.number()?)?;
            reader.word(&["분"])?;
            reader.skip(&[' ']);
            if let Some(Token::Number(_)) = reader.peek() {
                second = small(&reader.number()?)?;
                reader.word(&["초"])?;
            }
        }
    } else if reader.skip(&[':']) {
        minute = small(&reader.number()?)?;
        if reader.skip(&[':']) {
            second = small(&reader.number()?)?;
            if reader.skip(&['.', ',']) {
                let fraction = reader.number()?;
                micros = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
            }
        }
    } else if before.is_none() && !matches!(reader.peek(), Some(Token::Sign(' ') | Token::Word(_)))
    {
        return None;
    }
    let start = reader.at;
    reader.skip(&[' ']);
    let after = reader.word(&HALVES);
    if after.is_none() {
        reader.at = start;
    }
    if let Some(half) = before.or(after) {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half % 2 == 1 { 12 } else { 0 };
    }
    NaiveTime::from_hms_micro_opt(hour, minute, second, micros)
}

/// Passes over a zone: Z, +09:00, KST.
fn zone(reader: &mut Reader<'_>) -> Option<()> {
    reader.skip(&[' ']);
    if reader.word(&["z", "utc", "gmt", "kst"]).is_some() || reader.peek().is_none() {
        return Some(());
    }
    if reader.skip(&['+', '-']) {
        let hours = reader.number()?;
        if !matches!(hours.len(), 2 | 4) {
            return None;
        }
        if reader.skip(&[':']) {
            small(&reader.number()?)?;
        }
        return Some(());
    }
    reader.skip(&['\'', '"']);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, order: Option<Order>) -> Option<String> {
        read(text, order).map(|(date, time)| match time {
            Some(time) => format!("{date} {time}"),
            None => date.to_string(),
        })
    }

    #[test]
    fn reads_dates() {
        for (given, date) in [
            ("2026-11-22", "2026-11-22"),
            ("2026.11.22", "2026-11-22"),
            ("2026. 11. 2.", "2026-11-02"),
            ("2026/1/2", "2026-01-02"),
            ("20261122", "2026-11-22"),
            ("2026년 11월 22일", "2026-11-22"),
            ("２０２６년１１월２２일(일)", "2026-11-22"),
            ("2026년 11월 22일(일) 오후 3시 20분", "2026-11-22 15:20:00"),
            ("22 Nov 2026", "2026-11-22"),
            ("Nov 22, 2026", "2026-11-22"),
            ("Sunday, November 22nd, 2026", "2026-11-22"),
            ("22-Nov-2026", "2026-11-22"),
            ("22/11/2026", "2026-11-22"),
            ("11/22/2026", "2026-11-22"),
            ("2026-11-22T10:20:30.5+09:00", "2026-11-22 10:20:30.500"),
            ("2026-11-22 10:20", "2026-11-22 10:20:00"),
            ("2026년 11월 22일 오후 3시 20분", "2026-11-22 15:20:00"),
            ("2026-11-22 12:05 AM", "2026-11-22 00:05:00"),
            ("22/Nov/2026:13:55:36 -0700", "2026-11-22 13:55:36"),
            ("20261122102030", "2026-11-22 10:20:30"),
            ("2026-11-22 10:20:30 KST", "2026-11-22 10:20:30"),
        ] {
            assert_eq!(text(given, None).as_deref(), Some(date), "{given}");
        }
        for given in [
            "",
            "2026-13-01",
            "2026-02-30",
            "01/02/2026",
            "26.11.22",
            "2026-11",
            "어제",
            "2026-11-22 25:00",
            "2026-11-22 x",
            "0000-01-01",
            "00000101",
        ] {
            assert_eq!(text(given, None), None, "{given}");
        }
        assert_eq!(text("01/02/2026", Some(Order::Dmy)).as_deref(), Some("2026-02-01"));
        assert_eq!(text("01/02/2026", Some(Order::Mdy)).as_deref(), Some("2026-01-02"));
        assert_eq!(text("26.11.22", Some(Order::Ymd)).as_deref(), Some("2026-11-22"));
    }
}
