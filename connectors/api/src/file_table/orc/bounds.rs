//! Numbers of a stream that are looked at before they are used.
//!
//! orc-rust makes room for as many items of a list as the lengths say before it looks for the first one: bytes that are not
//! what they were could ask for more memory than there is, which ends the process. And it takes a fraction of a second that is
//! negative (Apache Arrow writes such for times before 1970, see `negative.rs`) for a very large one. Source: Apache ORC specification v1, "Integer
//! Run Length Encoding", versions 1 and 2.

use std::io::{BufReader, Read};

use bytes::Bytes;
use orc_rust::compression::{Compression, Decompressor};
use orc_rust::proto::column_encoding::Kind as Encoding;

/// Items that the lists of one column may have in a stripe.
const ITEMS_MAX: u64 = 1 << 28;
/// A billion nanoseconds, as they are coded.
const FRACTION_END: u64 = 1_000_000_000 << 3;

/// What numbers may not go beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// They are lengths of lists, and add up to no more than there can be.
    Items,
    /// They are fractions of a second.
    Fraction,
}

/// Widths of packed numbers by their code, from 24 on.
const WIDTHS: [u32; 8] = [26, 28, 30, 32, 40, 48, 56, 64];

/// Checks the numbers of a stream.
pub(super) fn check(
    bytes: Bytes,
    packing: Option<Compression>,
    encoding: Encoding,
    bound: Bound,
) -> Result<(), String> {
    let bytes = BufReader::new(Decompressor::new(bytes, packing, Vec::new()));
    let mut runs = Runs::new(bytes);
    loop {
        let Some(head) = runs.next_byte() else { return Ok(()) };
        let run = match encoding {
            Encoding::Direct | Encoding::Dictionary => runs.version_1(head),
            Encoding::DirectV2 | Encoding::DictionaryV2 => runs.version_2(head),
        };
        if bound == Bound::Items && runs.sum > ITEMS_MAX {
            return Err(format!("lists of more than {ITEMS_MAX} items in one stripe"));
        }
        if bound == Bound::Fraction && runs.most >= FRACTION_END {
            return Err("a time whose fraction of a second is none".to_owned());
        }
        // The decoder finds the same end in the middle of a run, and says so.
        if run.is_none() {
            return Ok(());
        }
    }
}

/// The runs of a stream, and what was found in them.
pub(super) struct Runs<R> {
    bytes: R,
    sum: u64,
    most: u64,
}

impl<R: Read> Runs<R> {
    pub(super) fn new(bytes: R) -> Self {
        Self { bytes, sum: 0, most: 0 }
    }

    pub(super) fn next_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    fn add(&mut self, value: u64, count: u64) {
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
        self.most = self.most.max(value);
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for position in 0..10 {
            let byte = self.next_byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(7 * position).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        Some(u64::MAX)
    }

    pub(super) fn big_endian(&mut self, n_bytes: u32) -> Option<u64> {
        (0..n_bytes).try_fold(0_u64, |value, _| Some(value << 8 | u64::from(self.next_byte()?)))
    }

    /// Reads `count` packed numbers and hands each to `take`.
    pub(super) fn packed(
        &mut self,
        count: u64,
        width: u32,
        mut take: impl FnMut(&mut Self, u64),
    ) -> Option<()> {
        let (mut held, mut n_held) = (0_u128, 0_u32);
        for _ in 0..count {
            while n_held < width {
                held = held << 8 | u128::from(self.next_byte()?);
                n_held += 8;
            }
            n_held -= width;
            let value = (held >> n_held) as u64;
            held &= (1_u128 << n_held) - 1;
            take(self, value);
        }
        Some(())
    }

    fn version_1(&mut self, head: u8) -> Option<()> {
        let head = head as i8;
        if head < 0 {
            for _ in 0..-i32::from(head) {
                let value = self.varint()?;
                self.add(value, 1);
            }
            return Some(());
        }
        let count = head as u64 + 3;
        let step = i64::from(self.next_byte()? as i8);
        let first = self.varint()?;
        let last = first.saturating_add_signed(step.saturating_mul(count as i64 - 1));
        self.add(first.max(last), count);
        Some(())
    }

    fn version_2(&mut self, head: u8) -> Option<()> {
        if head >> 6 == 0 {
            let (n_bytes, count) = (u32::from(head >> 3 & 7) + 1, u64::from(head & 7) + 3);
            let value = self.big_endian(n_bytes)?;
            self.add(value, count);
            return Some(());
        }
        let code = head >> 1 & 0x1f;
        let count = (u64::from(head & 1) << 8 | u64::from(self.next_byte()?)) + 1;
        match head >> 6 {
            1 => self.packed(count, width(code), |runs, value| runs.add(value, 1)),
            2 => self.patched(count, width(code)),
            _ => self.delta(count, if code == 0 { 0 } else { width(code) }),
        }
    }

    fn patched(&mut self, count: u64, width_of: u32) -> Option<()> {
        let ((base, n_bytes), values) = self.patches(count, width_of)?;
        // A base below zero says so by its first bit.
        if base >> (n_bytes * 8 - 1) == 1 {
            self.most = u64::MAX;
        }
        for value in values {
            self.add(value.saturating_add(base), 1);
        }
        Some(())
    }

    /// Reads a run with patches: its base as it is written and in how many bytes, and the numbers on top of that.
    pub(super) fn patches(&mut self, count: u64, width_of: u32) -> Option<((u64, u32), Vec<u64>)> {
        let (third, fourth) = (self.next_byte()?, self.next_byte()?);
        let (n_base, patch) = (u32::from(third >> 5) + 1, width(third & 0x1f));
        let (gap, n_patches) = (u32::from(fourth >> 5) + 1, u64::from(fourth & 0x1f));
        let base = self.big_endian(n_base)?;
        let mut values = Vec::new();
        self.packed(count, width_of, |_, value| values.push(value))?;
        let mask = 1_u64.checked_shl(patch).map_or(u64::MAX, |bit| bit - 1);
        let mut at = 0;
        self.packed(n_patches, closest(gap + patch), |_, both| {
            at += both.checked_shr(patch).unwrap_or(0) as usize;
            if let Some(value) = values.get_mut(at) {
                *value = value.saturating_add((both & mask).saturating_mul(1 << width_of.min(63)));
            }
        })?;
        Some(((base, n_base), values))
    }

    fn delta(&mut self, count: u64, width: u32) -> Option<()> {
        let first = self.varint()?;
        let coded = self.varint()?;
        let step = (coded >> 1) as i64 ^ -((coded & 1) as i64);
        if width == 0 {
            let last = first.saturating_add_signed(step.saturating_mul(count as i64 - 1));
            self.add(first.max(last), count);
            return Some(());
        }
        let mut value = first.saturating_add_signed(step);
        self.add(first, 1);
        self.add(value, 1);
        self.packed(count.saturating_sub(2), width, |runs, change| {
            value = match step < 0 {
                true => value.saturating_sub(change),
                false => value.saturating_add(change),
            };
            runs.add(value, 1);
        })
    }
}

/// Returns the bits that a code of five bits stands for.
pub(super) fn width(code: u8) -> u32 {
    match code {
        0..=23 => u32::from(code) + 1,
        _ => WIDTHS[usize::from(code - 24) % WIDTHS.len()],
    }
}

/// Returns the least width there is a code for, of at least so many bits.
fn closest(bits: u32) -> u32 {
    match bits {
        0..=24 => bits.max(1),
        _ => WIDTHS.into_iter().find(|width| *width >= bits).unwrap_or(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(encoding: Encoding, bytes: &[u8]) -> u64 {
        let mut runs = Runs::new(bytes);
        while let Some(head) = runs.next_byte() {
            let run = match encoding {
                Encoding::Direct => runs.version_1(head),
                _ => runs.version_2(head),
            };
            run.unwrap();
        }
        runs.sum
    }

    /// The examples of the specification.
    #[test]
    fn adds_up_runs() {
        assert_eq!(sum(Encoding::Direct, &[0x61, 0x00, 0x07]), 700);
        assert_eq!(sum(Encoding::Direct, &[0xfb, 0x02, 0x03, 0x06, 0x07, 0x0b]), 29);
        assert_eq!(sum(Encoding::DirectV2, &[0x0a, 0x27, 0x10]), 50_000);
        let direct = [0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(sum(Encoding::DirectV2, &direct), 23713 + 43806 + 57005 + 48879);
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        assert_eq!(sum(Encoding::DirectV2, &delta), 2 + 3 + 5 + 7 + 11 + 13 + 17 + 19 + 23 + 29);
        let patched = [
            0x8e, 0x13, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46,
            0x50, 0x5a, 0x64, 0x6e, 0x78, 0x82, 0x8c, 0x96, 0xa0, 0xaa, 0xb4, 0xbe, 0xfc, 0xe8,
        ];
        let plain =
            [2030_u64, 2000, 2020, 1_000_000, 2040, 2050, 2060, 2070, 2080, 2090, 2100, 2110];
        let more = [2120, 2130, 2140, 2150, 2160, 2170, 2180, 2190];
        assert_eq!(sum(Encoding::DirectV2, &patched), plain.iter().chain(&more).sum::<u64>());
    }

    #[test]
    fn refuses_what_no_list_has() {
        let run = Bytes::from_static(&[0x38, 0x7f, 0, 0, 0, 0, 0, 0, 0]);
        assert!(check(run, None, Encoding::DirectV2, Bound::Items).is_err());
        // -5 as a fraction.
        let run = Bytes::from_static(&[0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd8]);
        assert!(check(run, None, Encoding::DirectV2, Bound::Fraction).is_err());
    }
}
