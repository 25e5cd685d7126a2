//! The binary form of `numeric`: groups of four decimal digits.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

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
        }
        assert_eq!(numeric_text(&[0, 1, 0, 0, 0xC0, 0, 0, 0]), None);
        assert_eq!(numeric_text(&[0; 3]), None);
    }
}
