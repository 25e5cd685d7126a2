//! How many items lists and maps have, added up before anything is reserved for them.
//!
//! orc-rust makes room for as many items as the lengths say before it looks for the first one. Bytes that are not what they
//! were could so ask for more memory than there is, which ends the process. Source: Apache ORC specification v1, "Integer
//! Run Length Encoding", versions 1 and 2.

use std::io::{BufReader, Read};

use bytes::Bytes;
use orc_rust::compression::{Compression, Decompressor};
use orc_rust::proto::column_encoding::Kind as Encoding;

/// Items that the lists of one column may have in a stripe.
const ITEMS_MAX: u64 = 1 << 28;

/// Widths of packed numbers by their code, from 24 on.
const WIDTHS: [u32; 8] = [26, 28, 30, 32, 40, 48, 56, 64];

/// Checks that the lengths in a stream are not beyond all measure.
pub(super) fn check(
    bytes: Bytes,
    packing: Option<Compression>,
    encoding: Encoding,
) -> Result<(), String> {
    let mut runs =
        Runs { bytes: BufReader::new(Decompressor::new(bytes, packing, Vec::new())), sum: 0 };
    loop {
        let Some(head) = runs.next_byte() else { return Ok(()) };
        let run = match encoding {
            Encoding::Direct | Encoding::Dictionary => runs.version_1(head),
            Encoding::DirectV2 | Encoding::DictionaryV2 => runs.version_2(head),
        };
        if runs.sum > ITEMS_MAX {
            return Err(format!("lists of more than {ITEMS_MAX} items in one stripe"));
        }
        // The decoder finds the same end in the middle of a run, and says so.
        if run.is_none() {
            return Ok(());
        }
    }
}

struct Runs<R> {
    bytes: R,
    /// Never less than the lengths add up to.
    sum: u64,
}

impl<R: Read> Runs<R> {
    fn next_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    fn add(&mut self, value: u64, count: u64) {
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
    }

    fn varint(&mut self) -> Option<u64> {
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

    fn big_endian(&mut self, n_bytes: u32) -> Option<u64> {
        (0..n_bytes).try_fold(0_u64, |value, _| Some(value << 8 | u64::from(self.next_byte()?)))
    }

    /// Reads `count` packed numbers and hands each to `take`.
    fn packed(
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
        let (third, fourth) = (self.next_byte()?, self.next_byte()?);
        let (n_base, patch) = (u32::from(third >> 5) + 1, width(third & 0x1f));
        let (gap, n_patches) = (u32::from(fourth >> 5) + 1, u64::from(fourth & 0x1f));
        let base = self.big_endian(n_base)?;
        self.add(base, count);
        self.packed(count, width_of, |runs, value| runs.add(value, 1))?;
        let mask = 1_u64.checked_shl(patch).map_or(u64::MAX, |bit| bit - 1);
        self.packed(n_patches, closest(gap + patch), |runs, value| {
            runs.add(
                (value & mask).saturating_mul(1_u64.checked_shl(width_of).unwrap_or(u64::MAX)),
                1,
            );
        })
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
fn width(code: u8) -> u32 {
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
        let mut runs = Runs { bytes, sum: 0 };
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
        assert!(check(run, None, Encoding::DirectV2).is_err());
    }
}
