//! Deletion vectors: the positions of rows of a file that no longer count, as a bitmap in base 85 or in a file.

use std::ops::Range;

use bytes::Bytes;
use maru_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::action::Vector;
use super::{corrupt, refused};

/// The number that a bitmap of 64-bit positions begins with.
const MAGIC: u32 = 1_681_511_377;

/// The first byte of a file of vectors.
const FILE_VERSION: u8 = 1;

/// The digits of base 85, as ZeroMQ has them.
const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Containers of more values than this are bitmaps.
const ARRAY_MAX: usize = 4096;

/// Bitmaps of fewer containers with runs have no table of offsets.
const OFFSETS_FROM: usize = 4;

/// Reads the vector of one file: positions in order, as ranges that do not touch.
///
/// # Errors
/// XX001 for bytes that are no such vector, 58P01 if its file is gone, 0A000 for one outside of the table.
pub(super) async fn read(
    store: &dyn ObjectStore,
    table: &Path,
    vector: &Vector,
) -> Result<Vec<Range<u64>>> {
    let (bytes, place) = match vector.storage_type.as_str() {
        "i" => (inline(vector), table.clone()),
        "u" => {
            let (path, offset) = match file(table, vector) {
                Some(path) => (path, vector.offset.unwrap_or(1)),
                None => return Err(corrupt(table, "the name of a deletion vector")),
            };
            let end = offset.saturating_add(vector.size_in_bytes).saturating_add(8);
            let first = part(store, &path, 0..1, end).await?;
            if first.first() != Some(&FILE_VERSION) {
                return Err(refused(table, "an unknown version of deletion vectors"));
            }
            (checked(part(store, &path, offset..end, end).await?, vector), path)
        }
        "p" => return Err(refused(table, "deletion vectors outside of its directory")),
        other => return Err(refused(table, format!("deletion vectors of kind \"{other}\""))),
    };
    let ranges = bytes.as_deref().and_then(bitmap);
    let ranges = ranges.ok_or_else(|| corrupt(&place, "a deletion vector"))?;
    let count = ranges.iter().map(|range| range.end - range.start).sum::<u64>();
    if count != vector.cardinality {
        let what = format!("a deletion vector of {count} rows instead of {}", vector.cardinality);
        return Err(corrupt(&place, what));
    }
    Ok(ranges)
}

/// Reads a part of a file that should have `end` bytes at least.
async fn part(store: &dyn ObjectStore, path: &Path, range: Range<u64>, end: u64) -> Result<Bytes> {
    match store.get_range(path, range).await {
        Ok(bytes) => Ok(bytes),
        // Each store has its own error for a range that is not there.
        Err(error) => Err(match store.head(path).await {
            Ok(meta) if meta.size < end => {
                corrupt(path, format!("a deletion vector that ends at {end}: the file is cut off"))
            }
            _ => Error::from(error),
        }),
    }
}

fn inline(vector: &Vector) -> Option<Bytes> {
    let mut bytes = base85(vector.path_or_inline_dv.as_bytes())?;
    bytes.truncate(usize::try_from(vector.size_in_bytes).ok()?);
    Some(Bytes::from(bytes))
}

/// The file's name is a number in base 85, after the name of a folder if there is one.
pub(super) fn file(table: &Path, vector: &Vector) -> Option<Path> {
    let text = &vector.path_or_inline_dv;
    let at = text.len().checked_sub(20)?;
    let (folder, digits) = (text.get(..at)?, text.get(at..)?);
    let number = base85(digits.as_bytes())?;
    let hex = number.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let name = format!(
        "deletion_vector_{}-{}-{}-{}-{}.bin",
        hex.get(..8)?,
        hex.get(8..12)?,
        hex.get(12..16)?,
        hex.get(16..20)?,
        hex.get(20..)?
    );
    let folder = if folder.is_empty() { table.clone() } else { table.clone().join(folder) };
    Some(folder.join(name))
}

/// Takes the size before the bytes and the checksum after them away.
fn checked(bytes: Bytes, vector: &Vector) -> Option<Bytes> {
    let size = usize::try_from(vector.size_in_bytes).ok()?;
    let end = size.checked_add(4)?;
    let head = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let sum = u32::from_be_bytes(bytes.get(end..end + 4)?.try_into().ok()?);
    let data = bytes.slice(4..end);
    (head as usize == size && crc32(&data) == sum).then_some(data)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

fn base85(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    if !text.len().is_multiple_of(5) {
        return None;
    }
    for five in text.chunks(5) {
        let mut number = 0_u32;
        for digit in five {
            let value = DIGITS.iter().position(|known| known == digit)?;
            number = number.checked_mul(85)?.checked_add(u32::try_from(value).ok()?)?;
        }
        bytes.extend(number.to_be_bytes());
    }
    Some(bytes)
}

/// Reads bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// Ranges that are put together in order.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds positions after all that are there; `None` if they are not.
    fn push(&mut self, range: Range<u64>) -> Option<()> {
        match self.0.last_mut() {
            Some(last) if range.start < last.end => return None,
            Some(last) if range.start == last.end => last.end = range.end,
            _ => self.0.push(range),
        }
        Some(())
    }
}

/// Reads Roaring bitmaps of 32 bits, one for each upper half of the positions; `None` if they are not.
fn bitmap(bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let mut reader = Reader(bytes);
    if reader.u32()? != MAGIC {
        return None;
    }
    let mut ranges = Ranges::default();
    for _ in 0..reader.u64()? {
        let upper = u64::from(reader.u32()?) << 32;
        roaring(&mut reader, upper, &mut ranges)?;
    }
    reader.0.is_empty().then_some(ranges.0)
}

/// Reads one bitmap in the portable format of Roaring.
fn roaring(reader: &mut Reader<'_>, upper: u64, ranges: &mut Ranges) -> Option<()> {
    const WITH_RUNS: u32 = 12347;
    const WITHOUT_RUNS: u32 = 12346;
    let cookie = reader.u32()?;
    let (n, runs) = if cookie & 0xFFFF == WITH_RUNS {
        let n = (cookie >> 16) as usize + 1;
        (n, Some(reader.take(n.div_ceil(8))?))
    } else if cookie == WITHOUT_RUNS {
        (reader.u32()? as usize, None)
    } else {
        return None;
    };
    let mut head = Reader(reader.take(n.checked_mul(4)?)?);
    if runs.is_none() || n >= OFFSETS_FROM {
        reader.take(n.checked_mul(4)?)?;
    }
    for container in 0..n {
        let base = upper | u64::from(head.u16()?) << 16;
        let count = usize::from(head.u16()?) + 1;
        let has_runs = runs.is_some_and(|runs| runs[container / 8] >> (container % 8) & 1 == 1);
        if has_runs {
            for _ in 0..reader.u16()? {
                let (start, more) = (u64::from(reader.u16()?), u64::from(reader.u16()?));
                if start + more > u64::from(u16::MAX) {
                    return None;
                }
                ranges.push(base + start..base + start + more + 1)?;
            }
        } else if count <= ARRAY_MAX {
            for _ in 0..count {
                let at = base + u64::from(reader.u16()?);
                ranges.push(at..at + 1)?;
            }
        } else {
            for word in 0..1024_u64 {
                let mut bits = reader.u64()?;
                while bits != 0 {
                    let at = u64::from(bits.trailing_zeros());
                    let length = u64::from((bits >> at).trailing_ones());
                    let start = base + word * 64 + at;
                    ranges.push(start..start + length)?;
                    bits &= !(u64::MAX.checked_shr(64 - u32::try_from(length).ok()?)? << at);
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_arrays_bitmaps_and_runs() {
        // One bitmap with an array {1, 2, 9}, a container of runs {5..8}, and a full bitmap of 5000 values.
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(7_u32.to_le_bytes());
        bytes.extend((12347_u32 | 2 << 16).to_le_bytes());
        bytes.push(0b010);
        for (key, count) in [(0_u16, 3_u16), (1, 3), (2, 5000)] {
            bytes.extend(key.to_le_bytes());
            bytes.extend((count - 1).to_le_bytes());
        }
        for value in [1_u16, 2, 9, 1, 5, 2] {
            bytes.extend(value.to_le_bytes());
        }
        for word in 0..1024_u64 {
            let bits = match word {
                0..78 => u64::MAX,
                78 => 0xFF,
                _ => 0,
            };
            bytes.extend(bits.to_le_bytes());
        }
        let upper = 7_u64 << 32;
        let ranges = bitmap(&bytes).unwrap();
        let expected = [(1, 3), (9, 10), (65541, 65544), (131_072, 136_072)];
        let expected = expected.map(|(start, end)| upper + start..upper + end);
        assert_eq!(ranges, expected);
        for n in 0..bytes.len() {
            assert!(bitmap(&bytes[..n]).is_none(), "cut after {n} bytes");
        }
    }

    #[test]
    fn knows_the_digits_and_the_sum() {
        assert_eq!(
            base85(b"HelloWorld").unwrap(),
            [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B]
        );
        assert_eq!(base85(b"Hello World"), None);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
