//! The binary form of `numeric`: groups of four decimal digits.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use crate::value_text::put_decimal;

const NUMERIC_NEGATIVE: u16 = 0x4000;

/// Writes a plain decimal number (`-12.340`) in the binary form of `numeric`: groups of four decimal digits.
pub(super) fn numeric_binary(text: &str, out: &mut BytesMut) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let scale = part.len();
    // Pad both sides of the point to whole groups.
    let lead = (4 - whole.len() % 4) % 4;
    let mut figures = "0".repeat(lead);
    figures.push_str(whole);
    let mut weight = (figures.len() / 4) as i16 - 1;
    figures.push_str(part);
    figures.push_str(&"0".repeat((4 - part.len() % 4) % 4));
    let mut groups: Vec<u16> = figures
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if negative && !groups.is_empty() { NUMERIC_NEGATIVE } else { 0 };
    out.put_u16(groups.len() as u16);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale as u16);
    groups.iter().for_each(|group| out.put_u16(*group));
}

/// Writes a decimal, whose unscaled value is given, in the same form; without its text in between, which nearly all fit.
pub(super) fn decimal_binary(value: i128, scale: i8, out: &mut BytesMut) {
    let digits = u32::from(scale.unsigned_abs());
    let (Ok(magnitude), true) = (u64::try_from(value.unsigned_abs()), (0..=15).contains(&scale))
    else {
        let mut text = BytesMut::new();
        put_decimal(value, scale, &mut text);
        return numeric_binary(std::str::from_utf8(&text).unwrap_or_default(), out);
    };
    let (mut whole, part) = (magnitude / 10_u64.pow(digits), magnitude % 10_u64.pow(digits));
    // Lowest group first. Behind the point they are filled up to four digits.
    let n_part = digits.div_ceil(4);
    let mut part = part * 10_u64.pow(n_part * 4 - digits);
    let (mut groups, mut count) = ([0_u16; 9], 0);
    let mut push = |group: u64| {
        groups[count] = group as u16;
        count += 1;
    };
    for _ in 0..n_part {
        push(part % 10_000);
        part /= 10_000;
    }
    while whole > 0 {
        push(whole % 10_000);
        whole /= 10_000;
    }
    let lowest = groups[..count].iter().take_while(|group| **group == 0).count();
    let above = groups[lowest..count].iter().rev().take_while(|group| **group == 0).count();
    let groups = &groups[lowest..count - above];
    let weight = (count - above) as i16 - n_part as i16 - 1;
    let negative = value < 0 && !groups.is_empty();
    out.put_u16(groups.len() as u16);
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if negative { NUMERIC_NEGATIVE } else { 0 });
    out.put_u16(digits as u16);
    groups.iter().rev().for_each(|group| out.put_u16(*group));
}

/// Reads the binary form of `numeric` as a plain decimal number; `None` if it is malformed, NaN or infinite.
pub(super) fn numeric_text(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)?, word(2)? as i16, word(4)?, word(6)?);
    if bytes.len() != 8 + usize::from(count) * 2 || (sign != 0 && sign != NUMERIC_NEGATIVE) {
        return None;
    }
    let group = |index: i32| -> Option<u16> {
        match usize::try_from(index) {
            Ok(index) if index < usize::from(count) => {
                word(8 + index * 2).filter(|group| *group < 10_000)
            }
            _ => Some(0),
        }
    };
    let mut text = String::new();
    if sign == NUMERIC_NEGATIVE {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for index in 0..=i32::from(weight) {
        let value = group(index)?;
        let _ = if index == 0 { write!(text, "{value}") } else { write!(text, "{value:04}") };
    }
    if scale > 0 {
        text.push('.');
        let mut part = String::new();
        let mut index = i32::from(weight) + 1;
        while part.len() < usize::from(scale) {
            let _ = write!(part, "{:04}", group(index)?);
            index += 1;
        }
        text.push_str(&part[..usize::from(scale)]);
    }
    Some(text)
}

/// Reads the same form as its digits and how many of them stand behind the point; `None` if it is malformed, NaN, infinite, or
/// has more digits than are counted here.
pub(super) fn numeric_digits(bytes: &[u8]) -> Option<(i128, i8)> {
    let (header, groups) = bytes.split_first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, weight, sign) = (word(0), word(2) as i16, word(4));
    let (groups, rest) = groups.as_chunks::<2>();
    let known = sign == 0 || sign == NUMERIC_NEGATIVE;
    if !known || groups.len() != usize::from(count) || !rest.is_empty() {
        return None;
    }
    let mut digits = 0_i128;
    for group in groups {
        let group = u16::from_be_bytes(*group);
        if group >= 10_000 {
            return None;
        }
        digits = digits.checked_mul(10_000)?.checked_add(group.into())?;
    }
    let behind = 4 * (i32::from(count) - 1 - i32::from(weight));
    if behind < 0 && digits != 0 {
        digits = digits.checked_mul(10_i128.checked_pow(behind.unsigned_abs())?)?;
    }
    let scale = i8::try_from(behind.max(0)).ok()?;
    Some((if sign == NUMERIC_NEGATIVE { -digits } else { digits }, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_goes_there_and_back() {
        for text in [
            "0",
            "1",
            "-1",
            "0.01",
            "-0.0100",
            "12345678.90",
            "10000",
            "99990000",
            "0.00010001",
            "-99999999999999999999999999999999999999",
            "0.000",
            "1.2300000",
        ] {
            let mut out = BytesMut::new();
            numeric_binary(text, &mut out);
            assert_eq!(numeric_text(&out).as_deref(), Some(text));
            let (digits, scale) = numeric_digits(&out).unwrap();
            let mut again = BytesMut::new();
            put_decimal(digits, scale, &mut again);
            let again = std::str::from_utf8(&again).unwrap();
            let number = |text: &str| text.parse::<bigdecimal::BigDecimal>().unwrap();
            assert_eq!(number(again), number(text));
        }
        for value in
            [0, 1, -1, 9999, 10_000, -12_345_678, 1_000_000_000_000, i64::MAX.into(), i128::MIN]
        {
            for scale in [0, 1, 2, 4, 5, 8, 15, 16, 38] {
                let (mut text, mut out, mut other) =
                    (BytesMut::new(), BytesMut::new(), BytesMut::new());
                put_decimal(value, scale, &mut text);
                numeric_binary(std::str::from_utf8(&text).unwrap(), &mut other);
                decimal_binary(value, scale, &mut out);
                assert_eq!(out, other, "{value} of scale {scale}");
            }
        }
        assert_eq!(numeric_text(&[0, 1, 0, 0, 0xC0, 0, 0, 0]), None);
        assert_eq!(numeric_text(&[0; 3]), None);
        for bytes in
            [&[0, 1, 0, 0, 0xC0, 0, 0, 0, 0, 1][..], &[0; 3], &[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]]
        {
            assert_eq!(numeric_digits(bytes), None);
        }
    }
}
