//! Values as PostgreSQL writes them, for its wire, for `COPY` and for casts to text.

mod array;
mod array_literal;
mod bytes_text;

use std::fmt::Write as _;

pub use array::{has_text, interval_parts, put_value, texts, timestamp_micros};
pub use array_literal::{Item, parse_array};
pub use bytes_text::read_bytea;

use arrow::array::timezone::Tz;
use bytes::{BufMut, BytesMut};
use chrono::{NaiveDateTime, Offset, TimeZone};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub const EPOCH_DAYS: i64 = 10_957;
/// Microseconds of the same distance.
pub const EPOCH_MICROS: i64 = EPOCH_DAYS * DAY_MICROS;
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Text goes straight into the message; writing to memory cannot fail.
struct Out<'a>(&'a mut BytesMut);

impl std::fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.put_slice(text.as_bytes());
        Ok(())
    }
}

macro_rules! put {
    ($out:expr, $($part:tt)*) => {{
        let _ = write!(Out($out), $($part)*);
    }};
}

/// Proleptic Gregorian date of a day counted from 1970-01-01, for every `i64` day there is.
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u32, day as u32)
}

/// Two digits of a number below 100, which stand in the way of formatting far more often than anything else.
fn two(number: i64) -> [u8; 2] {
    let number = number.rem_euclid(100) as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

/// Writes `YYYY-MM-DD`; years before 1 as `… BC` by the caller.
fn put_date(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil(days);
    let (shown, before_christ) = if year <= 0 { (1 - year, true) } else { (year, false) };
    let ([m, n], [d, e]) = (two(i64::from(month)), two(i64::from(day)));
    if shown < 10_000 {
        let ([a, b], [c, y]) = (two(shown / 100), two(shown));
        out.put_slice(&[a, b, c, y, b'-', m, n, b'-', d, e]);
    } else {
        put_integer(shown, out);
        out.put_slice(&[b'-', m, n, b'-', d, e]);
    }
    before_christ
}

/// Writes a whole number.
pub fn put_integer(number: impl itoa::Integer, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a decimal, whose unscaled value is given, with all digits of its scale.
pub fn put_decimal(value: i128, scale: i8, out: &mut BytesMut) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.put_u8(b'-');
    }
    let Some(scale) = usize::try_from(scale).ok().filter(|scale| *scale > 0) else {
        out.put_slice(digits);
        // A scale below 0 counts zeros before the point.
        if value != 0 {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    };
    match digits.len().checked_sub(scale).filter(|whole| *whole > 0) {
        Some(whole) => {
            out.put_slice(&digits[..whole]);
            out.put_u8(b'.');
            out.put_slice(&digits[whole..]);
        }
        None => {
            out.put_slice(b"0.");
            out.put_bytes(b'0', scale - digits.len());
            out.put_slice(digits);
        }
    }
}

pub fn date(days: i64, out: &mut BytesMut) {
    if put_date(days, out) {
        out.put_slice(b" BC");
    }
}

/// Microseconds of a day as `HH:MM:SS[.ffffff]`.
pub fn time(micros: i64, out: &mut BytesMut) {
    clock(micros / 1_000_000, out);
    fraction(micros % 1_000_000, out);
}

/// Writes seconds as `HH:MM:SS`; an interval may have more than 99 hours.
fn clock(seconds: i64, out: &mut BytesMut) {
    let hours = seconds / 3600;
    match hours < 100 {
        true => out.put_slice(&two(hours)),
        false => put_integer(hours, out),
    }
    let ([m, n], [s, t]) = (two(seconds / 60 % 60), two(seconds % 60));
    out.put_slice(&[b':', m, n, b':', s, t]);
}

fn fraction(micros: i64, out: &mut BytesMut) {
    if micros != 0 {
        let ([a, b], [c, d], [e, f]) = (two(micros / 10_000), two(micros / 100), two(micros));
        let digits = [b'.', a, b, c, d, e, f];
        let n_zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        out.put_slice(&digits[..digits.len() - n_zeros]);
    }
}

/// Microseconds from 1970 without a zone.
pub fn timestamp(micros: i64, out: &mut BytesMut) {
    let before_christ = put_date(micros.div_euclid(DAY_MICROS), out);
    out.put_u8(b' ');
    time(micros.rem_euclid(DAY_MICROS), out);
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// An instant in microseconds from 1970 UTC, shown in `zone` with its offset.
pub fn timestamptz(micros: i64, zone: &Zone, out: &mut BytesMut) {
    let offset = zone.offset_seconds(micros);
    let local = micros.saturating_add(i64::from(offset) * 1_000_000);
    let before_christ = put_date(local.div_euclid(DAY_MICROS), out);
    out.put_u8(b' ');
    time(local.rem_euclid(DAY_MICROS), out);
    let (sign, offset) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    put!(out, "{sign}{:02}", offset / 3600);
    if offset % 3600 != 0 {
        put!(out, ":{:02}", offset / 60 % 60);
        if offset % 60 != 0 {
            put!(out, ":{:02}", offset % 60);
        }
    }
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// The time zone of a session; none is UTC.
#[derive(Debug, Clone, Copy)]
pub struct Zone(Option<Tz>);

impl Zone {
    /// Reads a time zone setting: a name (`Asia/Seoul`) or an offset (`+09:00`). What is neither counts as UTC; the
    /// setting itself takes no such value.
    pub fn parse(text: &str) -> Self {
        Self(text.parse().ok().filter(|_| text != "UTC"))
    }

    pub fn offset_seconds(&self, micros: i64) -> i32 {
        let instant = chrono::DateTime::from_timestamp_micros(micros);
        self.0.zip(instant).map_or(0, |(zone, instant)| {
            zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()
        })
    }

    /// Returns the instant that a clock in this zone shows as `local`; the later one where there are two, as PostgreSQL has it.
    pub fn instant(&self, local: NaiveDateTime) -> Option<i64> {
        let utc = match &self.0 {
            Some(zone) => zone.from_local_datetime(&local).latest()?.naive_utc(),
            None => local,
        };
        Some(utc.and_utc().timestamp_micros())
    }
}

/// An interval in PostgreSQL's own style: `1 year 2 mons -3 days 04:05:06.7`.
pub fn interval(months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    let start = out.len();
    let mut negative_before = false;
    let mut unit = |count: i64, one: &str, many: &str, out: &mut BytesMut| {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            // A positive part after a negative one carries its sign, as PostgreSQL does.
            let plus = if negative_before && count > 0 { "+" } else { "" };
            put!(out, "{space}{plus}{count} {}", if count == 1 { one } else { many });
            negative_before = count < 0;
        }
    };
    unit(i64::from(months / 12), "year", "years", out);
    unit(i64::from(months % 12), "mon", "mons", out);
    unit(i64::from(days), "day", "days", out);
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.put_u8(b' ');
        }
        if micros < 0 {
            out.put_u8(b'-');
        } else if negative_before {
            out.put_u8(b'+');
        }
        let micros = micros.unsigned_abs();
        clock((micros / 1_000_000) as i64, out);
        fraction((micros % 1_000_000) as i64, out);
    }
}

pub fn bytea(bytes: &[u8], out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + bytes.len() * 2);
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(HEX[usize::from(byte >> 4)]);
        out.put_u8(HEX[usize::from(byte & 15)]);
    }
}

pub fn uuid(bytes: &[u8], out: &mut BytesMut) {
    match uuid::Uuid::from_slice(bytes) {
        Ok(uuid) => put!(out, "{uuid}"),
        Err(_) => bytea(bytes, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float_text::write_float;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn dates_and_times_as_postgresql_writes_them() {
        assert_eq!(shown(|o| date(0, o)), "1970-01-01");
        assert_eq!(shown(|o| date(-1, o)), "1969-12-31");
        assert_eq!(shown(|o| date(20_780, o)), "2026-11-23");
        assert_eq!(shown(|o| date(-719_163, o)), "0001-12-31 BC");
        assert_eq!(shown(|o| date(-719_529, o)), "0002-12-31 BC");
        assert_eq!(shown(|o| date(i64::from(i32::MAX), o)), "5881580-07-11");
        assert_eq!(shown(|o| time(25_689_500_000, o)), "07:08:09.5");
        assert_eq!(shown(|o| timestamp(-1, o)), "1969-12-31 23:59:59.999999");
        let seoul = Zone::parse("Asia/Seoul");
        assert_eq!(shown(|o| timestamptz(0, &seoul, o)), "1970-01-01 09:00:00+09");
        let kolkata = Zone::parse("+05:30");
        assert_eq!(shown(|o| timestamptz(0, &kolkata, o)), "1970-01-01 05:30:00+05:30");
        assert_eq!(shown(|o| timestamptz(0, &Zone::parse("-03"), o)), "1969-12-31 21:00:00-03");
    }

    #[test]
    fn decimals_have_all_digits_of_their_scale() {
        for (value, scale, text) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 1, "-0.5"),
            (12_345, 2, "123.45"),
            (-100, 2, "-1.00"),
            (7, -3, "7000"),
            (0, -3, "0"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
        ] {
            assert_eq!(shown(|o| put_decimal(value, scale, o)), text);
        }
    }

    #[test]
    fn intervals_carry_their_signs() {
        assert_eq!(shown(|o| interval(0, 0, 0, o)), "00:00:00");
        assert_eq!(
            shown(|o| interval(14, 3, 14_706_700_000, o)),
            "1 year 2 mons 3 days 04:05:06.7"
        );
        assert_eq!(shown(|o| interval(-1, 1, 0, o)), "-1 mons +1 day");
        assert_eq!(shown(|o| interval(0, -1, 1_000_000, o)), "-1 days +00:00:01");
        assert_eq!(shown(|o| interval(0, 0, -360_000_000_100, o)), "-100:00:00.0001");
    }

    #[test]
    fn floats_change_to_exponents_where_postgresql_does() {
        let double = |value: f64| shown(|o| write_float(o, value, value, 15));
        assert_eq!(double(0.0), "0");
        assert_eq!(double(-0.0), "-0");
        assert_eq!(double(0.1), "0.1");
        assert_eq!(double(-2.5), "-2.5");
        assert_eq!(double(123_456.0), "123456");
        assert_eq!(double(1e14), "100000000000000");
        assert_eq!(double(1e15), "1e+15");
        assert_eq!(double(1.5e-7), "1.5e-07");
        assert_eq!(double(0.0001), "0.0001");
        assert_eq!(double(f64::NAN), "NaN");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
        let single = 1.1_f32;
        assert_eq!(shown(|o| write_float(o, f64::from(single), single, 6)), "1.1");
    }
}
