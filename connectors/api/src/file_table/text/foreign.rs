//! Bytes that are no text, told before they are taken for some: a file of another name than it should have would be a table of
//! garbage, or of no rows.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use maru_core::{Error, ErrorKind, Result};
use memchr::memchr;
use object_store::path::Path;

/// Bytes that are looked at.
const LOOK_BYTES: usize = 512;

const RENAME: &str = "The end of the name says how a file is packed: name it such as .csv.gz.";
const UNPACK: &str = "Unpack the file, or pack it as .gz, .bz2, .zst or .xz.";
const BY_NAME: &str = "The end of the name, or STORED AS, says the format.";
const CONVERT: &str = "Convert the file to UTF-8, for example with iconv.";

/// How files begin, what they are then, and what to do. Those that letters alone begin are told apart from text by what follows.
const MARKS: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b\x08", "packed with gzip", RENAME),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", RENAME),
    (b"\xfd7zXZ\0", "packed with xz", RENAME),
    (b"BZh", "packed with bzip2", RENAME),
    (b"\x04\x22\x4d\x18", "packed with lz4", UNPACK),
    (b"\xff\x06\0\0sNaPpY", "packed with snappy", UNPACK),
    (b"\x89LZO\0\r\n\x1a\n", "packed with lzop", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"PAR1", "Parquet", BY_NAME),
    (b"ORC", "ORC", BY_NAME),
    (b"Obj\x01", "Avro", BY_NAME),
    (b"\xff\xfe", "text in UTF-16", CONVERT),
    (b"\xfe\xff", "text in UTF-16", CONVERT),
    (b"\0\0\xfe\xff", "text in UTF-32", CONVERT),
];

/// Looks at the first bytes of a file before any of them is handed on.
///
/// # Errors
/// 22P04 with the file's name for what is no text.
pub(super) fn refused(
    bytes: BoxStream<'static, Result<Bytes>>,
    path: Path,
) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((bytes, false), move |(mut bytes, looked)| {
        let path = path.clone();
        async move {
            let Some(mut first) = bytes.try_next().await? else { return Ok(None) };
            while !looked && first.len() < LOOK_BYTES {
                let Some(next) = bytes.try_next().await? else { break };
                first = Bytes::from([first, next].concat());
            }
            if !looked {
                check(&first[..first.len().min(LOOK_BYTES)], &path)?;
            }
            Ok(Some((first, (bytes, true))))
        }
    })
    .boxed()
}

fn check(first: &[u8], path: &Path) -> Result<()> {
    let mark = MARKS.iter().find(|(mark, ..)| first.starts_with(mark));
    // A header may begin with letters alone.
    let is_word = |mark: &[u8]| mark.iter().all(u8::is_ascii_alphanumeric);
    let mark = mark.filter(|(mark, ..)| !is_word(mark) || !is_text(first));
    let (what, hint) = match mark {
        Some((_, what, hint)) => (*what, *hint),
        None if has_wide_letters(first) => ("text in UTF-16", CONVERT),
        None => return Ok(()),
    };
    let message = format!("file \"{path}\" is {what}, not text in UTF-8");
    Err(Error::new(ErrorKind::BadFileFormat, message).with_hint(hint))
}

/// Returns whether bytes are letters; the last one may be cut off.
fn is_text(bytes: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && memchr(0, bytes).is_none()
}

/// Returns whether almost every other byte is zero, as in UTF-16 without a mark.
fn has_wide_letters(bytes: &[u8]) -> bool {
    let pairs = bytes[..bytes.len().min(64)].chunks_exact(2);
    let n_pairs = pairs.len();
    let n_zeros = |at: usize| pairs.clone().filter(|pair| pair[at] == 0).count();
    let is_wide = |high: usize| n_zeros(high) * 4 >= n_pairs * 3 && n_zeros(1 - high) == 0;
    n_pairs > 1 && (is_wide(0) || is_wide(1))
}

/// Checks the header of a file, which nothing else would hold against UTF-8.
///
/// # Errors
/// 22P04 with the file's name for one that is not.
pub(super) fn check_header<'a>(fields: impl Iterator<Item = &'a [u8]>, path: &Path) -> Result<()> {
    for field in fields {
        if memchr(0, field).is_some() || std::str::from_utf8(field).is_err() {
            let message = format!("file \"{path}\" line 1: the header is not valid UTF-8");
            return Err(Error::new(ErrorKind::BadFileFormat, message).with_hint(
                "Convert the file to UTF-8, for example with iconv; it may be UTF-16.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(first: &[u8]) -> Option<String> {
        check(first, &Path::from("t/a.csv")).err().map(|error| error.message())
    }

    #[test]
    fn what_is_no_text_is_told() {
        let utf_16 =
            "id,name\n1,한\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let marked = [&b"\xff\xfe"[..], &utf_16].concat();
        let turned = "id,name\n".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        for (first, what) in [
            (&b"\x1f\x8b\x08\0\0\0"[..], "packed with gzip"),
            (b"\x28\xb5\x2f\xfd\x24", "packed with zstd"),
            (b"\xfd7zXZ\0\0", "packed with xz"),
            (b"BZh91AY&SY\x8f", "packed with bzip2"),
            (b"\x04\x22\x4d\x18\x64", "packed with lz4"),
            (b"PK\x03\x04\x14\0", "a ZIP archive"),
            (b"PAR1\x15\x04\x15\0", "Parquet"),
            (b"ORC\n\x05\0\0\0", "ORC"),
            (b"Obj\x01\x04\x16avro", "Avro"),
            (&utf_16, "text in UTF-16"),
            (&turned, "text in UTF-16"),
            (&marked, "text in UTF-16"),
        ] {
            let wanted = format!("file \"t/a.csv\" is {what}, not text in UTF-8");
            assert_eq!(told(first), Some(wanted));
        }
    }

    #[test]
    fn text_is_text_whatever_it_begins_with() {
        for first in [
            "ORC,name\n1,a\n",
            "PAR1\n1\n",
            "BZh\n",
            "한,글\n",
            "\u{feff}id\n",
            "",
            "a",
            "a\0b\0c,\n",
        ] {
            assert_eq!(told(first.as_bytes()), None, "{first:?}");
        }
        let cut = &"ORC 가".as_bytes()[..6];
        assert_eq!(told(cut), None);
    }
}
