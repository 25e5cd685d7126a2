//! Numbers of texts, the same that PostgreSQL has: programs name advisory locks by them, and share rows out.
//!
//! Source: PostgreSQL 16, what `hashtext` and `hashtextextended` give; Bob Jenkins, "A hash function for hash table lookup" (2006).

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::{Kind, RowFunction};

pub(super) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "hashtext",
        forms: &[&[Kind::Text]],
        returns: |_| DataType::Int32,
        compute: |row| {
            let (_, low) = hashed(row.text(0).as_bytes(), 0);
            Ok(ScalarValue::Int32(Some(low.cast_signed())))
        },
        syntax: "hashtext(text)",
        description: "Returns a number that texts rarely share, the same as in PostgreSQL.",
        ..RowFunction::BASE
    },
    RowFunction {
        name: "hashtextextended",
        forms: &[&[Kind::Text, Kind::Whole]],
        returns: |_| DataType::Int64,
        compute: |row| {
            let (high, low) = hashed(row.text(0).as_bytes(), row.whole(1).cast_unsigned());
            let number = (u64::from(high) << 32) | u64::from(low);
            Ok(ScalarValue::Int64(Some(number.cast_signed())))
        },
        syntax: "hashtextextended(text, seed)",
        description: "Returns a number of 64 bits that texts rarely share, other ones for each seed.",
        ..RowFunction::BASE
    },
];

/// The three numbers that bytes are mixed into.
type State = [u32; 3];

/// Returns the upper and the lower half of a text's number.
fn hashed(bytes: &[u8], seed: u64) -> (u32, u32) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut state = [0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095); 3];
    if seed != 0 {
        let mut block = [0; 12];
        let halves = seed.rotate_left(32);
        for (to, from) in block.iter_mut().zip(halves.to_le_bytes()) {
            *to = from;
        }
        state = mixed(added(state, &block));
    }
    let (blocks, rest) = bytes.as_chunks::<12>();
    for block in blocks {
        state = mixed(added(state, block));
    }
    let mut last = [0; 12];
    // The lowest byte of the third number is that of the length.
    let places = (0..8).chain(9..12);
    for (place, byte) in places.zip(rest) {
        last[place] = *byte;
    }
    let [_, high, low] = finished(added(state, &last));
    (high, low)
}

fn added(mut state: State, block: &[u8; 12]) -> State {
    let (words, _) = block.as_chunks::<4>();
    for (number, word) in state.iter_mut().zip(words) {
        *number = number.wrapping_add(u32::from_le_bytes(*word));
    }
    state
}

fn mixed([mut a, mut b, mut c]: State) -> State {
    for [first, second, third] in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

fn finished([mut a, mut b, mut c]: State) -> State {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_postgresql() {
        for (text, number) in [
            ("", -1_477_818_771),
            ("a", 1_075_015_857),
            ("abcdefgh", -1_960_928_205),
            ("abcdefghijk", -1_483_803_693),
            ("abcdefghijkl", -1_586_087_212),
            ("abcdefghijklm", 405_849_808),
            ("한국어 텍스트", 775_413_834),
        ] {
            assert_eq!(hashed(text.as_bytes(), 0).1.cast_signed(), number, "{text}");
        }
        for (text, seed, number) in [
            ("", 0, -6_939_563_903_564_495_251_i64),
            ("a", 1, 3_325_245_193_489_759_299),
            ("abcdefghijklmnop", -5, -2_873_342_517_011_128_273),
            ("한국", 1 << 40, -5_767_910_372_442_457_921),
        ] {
            let (high, low) = hashed(text.as_bytes(), i64::cast_unsigned(seed));
            let found = (u64::from(high) << 32) | u64::from(low);
            assert_eq!(found.cast_signed(), number, "{text} {seed}");
        }
    }
}
