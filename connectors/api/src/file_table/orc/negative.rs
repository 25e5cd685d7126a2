//! Times before 1970 of the C++ library.
//!
//! A time is a number of seconds and a fraction of one. Apache Arrow hands the library fractions below zero for times before 1970,
//! and they are written as they are; whoever reads such a file by the same library gets the sum of both. orc-rust takes fractions
//! for numbers above zero, so the two streams are written anew for it. Source: Apache ORC specification v1, "Timestamp Columns"
//! and "Integer Run Length Encoding"; ORC-763 for the second that readers take off before 1970.

use std::io::{BufReader, Read};
use std::iter::repeat_n;

use bytes::Bytes;
use orc_rust::compression::{Compression, Decompressor};
use orc_rust::proto::column_encoding::Kind as Encoding;

use super::bounds::{Runs, width};

/// Times that one column may have in a stripe to be written anew.
const TIMES_MAX: usize = 1 << 24;
/// 1 January 2015 in UTC, from which the seconds are counted.
const BASE: i64 = 1_420_070_400;
const NANOS: i64 = 1_000_000_000;
/// Up to so many nanoseconds readers take no second off.
const KEPT_NANOS: i64 = 999_999;

/// Returns the streams of seconds and of fractions with the same times, and no fraction below zero.
///
/// # Errors
/// A text for streams that do not fit together, or that hold fractions of more than a second.
pub(super) fn mend(
    seconds: Bytes,
    fractions: Bytes,
    packing: Option<Compression>,
    encoding: Encoding,
) -> Result<(Bytes, Bytes), String> {
    let mut seconds = numbers(seconds, packing, encoding, true)?;
    let mut fractions = numbers(fractions, packing, encoding, false)?;
    if seconds.len() != fractions.len() {
        return Err(format!("{} seconds and {} fractions", seconds.len(), fractions.len()));
    }
    for (second, fraction) in seconds.iter_mut().zip(&mut fractions) {
        if *fraction < 0 {
            (*second, *fraction) = positive(*second, *fraction)?;
        }
    }
    let packed = packing.is_some();
    Ok((written(&seconds, encoding, true, packed), written(&fractions, encoding, false, packed)))
}

/// Says a time with a fraction below zero so that a reader finds the same one.
fn positive(second: i64, fraction: i64) -> Result<(i64, i64), String> {
    // The last three bits count zeros that were left out, less one.
    let mut nanos = fraction >> 3;
    for _ in 0..(fraction & 7) + i64::from(fraction & 7 != 0) {
        nanos = nanos.saturating_mul(10);
    }
    if nanos <= -NANOS {
        return Err("a time whose fraction of a second is none".to_owned());
    }
    let since_1970 = second.saturating_add(BASE);
    let nanos = nanos + NANOS;
    let (second, nanos) = match since_1970 {
        // The reader takes a second off, and this is the one that needs two.
        0 => (second - 1, nanos + NANOS),
        ..0 if nanos > KEPT_NANOS => (second, nanos),
        _ => (second.saturating_sub(1), nanos),
    };
    Ok((second, nanos << 3))
}

/// Reads the numbers of a stream.
fn numbers(
    bytes: Bytes,
    packing: Option<Compression>,
    encoding: Encoding,
    signed: bool,
) -> Result<Vec<i64>, String> {
    let bytes = BufReader::new(Decompressor::new(bytes, packing, Vec::new()));
    let mut runs = Runs::new(bytes);
    let mut numbers = Vec::new();
    while let Some(head) = runs.next_byte() {
        let run = match encoding {
            Encoding::Direct | Encoding::Dictionary => {
                version_1(&mut runs, head, signed, &mut numbers)
            }
            Encoding::DirectV2 | Encoding::DictionaryV2 => {
                version_2(&mut runs, head, signed, &mut numbers)
            }
        };
        if run.is_none() {
            return Err("a stream of times that ends in the middle of a run".to_owned());
        }
        if numbers.len() > TIMES_MAX {
            return Err(format!("more than {TIMES_MAX} times before 1970 in one stripe"));
        }
    }
    Ok(numbers)
}

fn number(coded: u64, signed: bool) -> i64 {
    match signed {
        true => (coded >> 1) as i64 ^ -((coded & 1) as i64),
        false => coded as i64,
    }
}

fn version_1<R: Read>(
    runs: &mut Runs<R>,
    head: u8,
    signed: bool,
    numbers: &mut Vec<i64>,
) -> Option<()> {
    let head = head as i8;
    if head < 0 {
        for _ in 0..-i32::from(head) {
            numbers.push(number(runs.varint()?, signed));
        }
        return Some(());
    }
    let step = i64::from(runs.next_byte()? as i8);
    let first = number(runs.varint()?, signed);
    let count = i64::from(head) + 3;
    numbers.extend((0..count).map(|at| first.wrapping_add(step.wrapping_mul(at))));
    Some(())
}

fn version_2<R: Read>(
    runs: &mut Runs<R>,
    head: u8,
    signed: bool,
    numbers: &mut Vec<i64>,
) -> Option<()> {
    if head >> 6 == 0 {
        let (n_bytes, count) = (u32::from(head >> 3 & 7) + 1, usize::from(head & 7) + 3);
        numbers.extend(repeat_n(number(runs.big_endian(n_bytes)?, signed), count));
        return Some(());
    }
    let code = head >> 1 & 0x1f;
    let count = (u64::from(head & 1) << 8 | u64::from(runs.next_byte()?)) + 1;
    match head >> 6 {
        1 => runs.packed(count, width(code), |_, coded| numbers.push(number(coded, signed))),
        2 => {
            let (base, values) = runs.patches(count, width(code))?;
            // Its first bit is its sign, also where the numbers have none.
            let (base, n_bytes) = base;
            let sign = 1_u64 << (n_bytes * 8 - 1);
            let size = (base & !sign) as i64;
            let base = if base & sign == 0 { size } else { -size };
            numbers.extend(values.into_iter().map(|value| base.wrapping_add(value as i64)));
            Some(())
        }
        _ => delta(runs, count, if code == 0 { 0 } else { width(code) }, signed, numbers),
    }
}

fn delta<R: Read>(
    runs: &mut Runs<R>,
    count: u64,
    width: u32,
    signed: bool,
    numbers: &mut Vec<i64>,
) -> Option<()> {
    let first = number(runs.varint()?, signed);
    let step = number(runs.varint()?, true);
    if width == 0 {
        let at = |at: u64| first.wrapping_add(step.wrapping_mul(at as i64));
        numbers.extend((0..count).map(at));
        return Some(());
    }
    let mut value = first.wrapping_add(step);
    numbers.extend([first, value]);
    runs.packed(count.checked_sub(2)?, width, |_, change| {
        value = match step < 0 {
            true => value.wrapping_sub(change as i64),
            false => value.wrapping_add(change as i64),
        };
        numbers.push(value);
    })
}

/// Writes numbers in the plainest runs that an encoding has.
fn written(numbers: &[i64], encoding: Encoding, signed: bool, packed: bool) -> Bytes {
    let mut bytes = Vec::with_capacity(numbers.len() * 9);
    let coded = |value: i64| match signed {
        true => ((value << 1) ^ (value >> 63)) as u64,
        false => value as u64,
    };
    match encoding {
        Encoding::Direct | Encoding::Dictionary => {
            for run in numbers.chunks(128) {
                bytes.push((run.len() as u8).wrapping_neg());
                for value in run {
                    let mut left = coded(*value);
                    while left > 0x7f {
                        bytes.push(left as u8 | 0x80);
                        left >>= 7;
                    }
                    bytes.push(left as u8);
                }
            }
        }
        Encoding::DirectV2 | Encoding::DictionaryV2 => {
            for run in numbers.chunks(512) {
                // Numbers of 64 bits, and how many they are, less one.
                let head = 0x7e00 | (run.len() - 1) as u16;
                bytes.extend_from_slice(&head.to_be_bytes());
                for value in run {
                    bytes.extend_from_slice(&coded(*value).to_be_bytes());
                }
            }
        }
    }
    if !packed {
        return Bytes::from(bytes);
    }
    // Chunks that are kept as they are.
    let mut chunks = Vec::with_capacity(bytes.len() + bytes.len() / 1024 + 3);
    for chunk in bytes.chunks(1 << 18) {
        chunks.extend_from_slice(&((chunk.len() as u32) << 1 | 1).to_le_bytes()[..3]);
        chunks.extend_from_slice(chunk);
    }
    Bytes::from(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Encoding; 2] = [Encoding::Direct, Encoding::DirectV2];

    #[test]
    fn reads_what_it_writes() {
        let values = [0, 1, -1, i64::MAX, i64::MIN, 1 << 40, -33];
        let many = (0..1500).map(|n| n * n - 700_000).collect::<Vec<i64>>();
        for encoding in BOTH {
            for signed in [true, false] {
                for values in [&values[..], &many[..]] {
                    let bytes = written(values, encoding, signed, false);
                    assert_eq!(numbers(bytes, None, encoding, signed).unwrap(), values);
                }
            }
        }
    }

    /// The examples of the specification.
    #[test]
    fn reads_runs() {
        let read = |bytes: &'static [u8], encoding, signed| {
            numbers(Bytes::from_static(bytes), None, encoding, signed).unwrap()
        };
        let plain = read(&[0x61, 0x00, 0x07], Encoding::Direct, false);
        assert_eq!(plain, vec![7; 100]);
        let falling = read(&[0x61, 0xff, 0x64], Encoding::Direct, false);
        assert_eq!(falling, (1..=100).rev().collect::<Vec<_>>());
        assert_eq!(read(&[0x0a, 0x27, 0x10], Encoding::DirectV2, false), [10000; 5]);
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        let delta = numbers(Bytes::copy_from_slice(&delta), None, Encoding::DirectV2, false);
        assert_eq!(delta.unwrap(), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        let patched = [
            0x8e, 0x13, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46,
            0x50, 0x5a, 0x64, 0x6e, 0x78, 0x82, 0x8c, 0x96, 0xa0, 0xaa, 0xb4, 0xbe, 0xfc, 0xe8,
        ];
        let patched = numbers(Bytes::copy_from_slice(&patched), None, Encoding::DirectV2, true);
        let mut wanted = vec![2030, 2000, 2020, 1_000_000];
        wanted.extend((0..16).map(|n| 2040 + 10 * n));
        assert_eq!(patched.unwrap(), wanted);
    }

    /// As a reader has it, in nanoseconds since 1970.
    fn time(second: i64, fraction: i64) -> i64 {
        let nanos = fraction >> 3;
        let second = second + BASE;
        let off = i64::from(second < 0 && nanos > KEPT_NANOS);
        (second - off) * NANOS + nanos
    }

    #[test]
    fn keeps_times_what_they_are() {
        // -5 with seven zeros and one: half a second.
        let half = (-5 << 3) | 7;
        for (since_1970, fraction, wanted) in [
            (-1, half, -1_500_000_000),
            (0, half, -500_000_000),
            (0, -1 << 3, -1),
            (0, -999_999_999 << 3, -999_999_999),
            (-7, -999_999_999 << 3, -7_999_999_999),
            (-7, -999_000_001 << 3, -7_999_000_001),
            (-7, -999_000_000 << 3, -7_999_000_000),
            (3, half, 2_500_000_000),
        ] {
            let (second, fraction) = positive(since_1970 - BASE, fraction).unwrap();
            assert_eq!(time(second, fraction), wanted, "{since_1970}");
        }
        assert!(positive(-BASE, -1_000_000_000 << 3).is_err());
        assert!(positive(-BASE, i64::MIN).is_err());
    }

    #[test]
    fn leaves_other_times_alone() {
        let seconds = [5 - BASE, -9 - BASE, 0];
        let fractions = [8, (-5 << 3) | 7, 0];
        for encoding in BOTH {
            let bytes = |numbers: &[i64], signed| written(numbers, encoding, signed, false);
            let mended = mend(bytes(&seconds, true), bytes(&fractions, false), None, encoding);
            let (seconds, fractions) = mended.unwrap();
            assert_eq!(numbers(seconds, None, encoding, true).unwrap(), [5 - BASE, -9 - BASE, 0]);
            assert_eq!(
                numbers(fractions, None, encoding, false).unwrap(),
                [8, 500_000_000 << 3, 0]
            );
        }
        let short = mend(
            Bytes::new(),
            written(&fractions, Encoding::Direct, false, false),
            None,
            Encoding::Direct,
        );
        assert!(short.is_err());
    }
}
