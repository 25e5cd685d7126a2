//! The binary form of a copy: a signature, then each row with its number of fields, each field behind its length.

use std::ops::Range;

use maru_core::{Error, ErrorKind, Result, limits};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Readers must not go on where one of these flags is set that they do not know.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
const WITH_OIDS: u32 = 1 << 16;

/// Bytes that have come, cut into rows.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    bytes: Vec<u8>,
    at: usize,
    header_read: bool,
    ended: bool,
    /// Rows that have been read, with the one that is being read.
    pub(super) number: u64,
    /// The fields of the row that was read last; `None` for NULL.
    fields: Vec<Option<Range<usize>>>,
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadCopyFormat, message)
}

impl Tuples {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(piece);
    }

    pub(super) fn field(&self, index: usize) -> Option<&[u8]> {
        let range = self.fields.get(index)?.clone()?;
        self.bytes.get(range)
    }

    /// Reads the next row of `columns` fields; returns whether there is one. Without one, more bytes are needed, or, after the
    /// `last` ones, all have been read.
    ///
    /// # Errors
    /// 22P04 for bytes that are no copy; 54000 for a row that is too long.
    pub(super) fn next(&mut self, columns: usize, last: bool) -> Result<bool> {
        if !self.header_read && !self.read_header(last)? {
            return Ok(false);
        }
        let rest = self.bytes.len() - self.at;
        if self.ended {
            return match rest {
                0 => Ok(false),
                _ => Err(bad("received copy data after EOF marker")),
            };
        }
        if rest == 0 {
            return Ok(false);
        }
        match self.read_row(columns)? {
            Some(end) => {
                self.at = end;
                Ok(!self.ended || self.next(columns, last)?)
            }
            None if last => Err(bad("unexpected EOF in COPY data")),
            None if rest > limits::COPY_ROW_BYTES_MAX => {
                Err(Error::new(ErrorKind::LimitExceeded, "row is too long").with_detail(format!(
                    "The limit copy_row_bytes_max is {}.",
                    limits::COPY_ROW_BYTES_MAX
                )))
            }
            None => Ok(false),
        }
    }

    fn word<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at + N)?.try_into().ok()
    }

    fn read_header(&mut self, last: bool) -> Result<bool> {
        let known = self.bytes.len().min(SIGNATURE.len());
        if self.bytes[..known] != SIGNATURE[..known] || (last && known < SIGNATURE.len()) {
            return Err(bad("COPY file signature not recognized"));
        }
        let at = SIGNATURE.len();
        let (Some(flags), Some(length)) = (self.word::<4>(at), self.word::<4>(at + 4)) else {
            return if last {
                Err(bad("invalid COPY file header (missing flags)"))
            } else {
                Ok(false)
            };
        };
        let flags = u32::from_be_bytes(flags);
        if flags & WITH_OIDS != 0 {
            return Err(bad("invalid COPY file header (WITH OIDS)"));
        }
        if flags & CRITICAL_FLAGS != 0 {
            return Err(bad("unrecognized critical flags in COPY file header"));
        }
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= limits::COPY_ROW_BYTES_MAX)
            .ok_or_else(|| bad("invalid COPY file header (wrong length)"))?;
        if self.bytes.len() < at + 8 + length {
            return if last {
                Err(bad("invalid COPY file header (wrong length)"))
            } else {
                Ok(false)
            };
        }
        self.at = at + 8 + length;
        self.header_read = true;
        Ok(true)
    }

    /// Returns where the row ends; `None` if not all of it is there.
    fn read_row(&mut self, columns: usize) -> Result<Option<usize>> {
        let Some(count) = self.word::<2>(self.at) else { return Ok(None) };
        let mut at = self.at + 2;
        let count = i16::from_be_bytes(count);
        if count == -1 {
            self.ended = true;
            return Ok(Some(at));
        }
        if usize::try_from(count) != Ok(columns) {
            self.number += 1;
            return Err(bad(format!("row field count is {count}, expected {columns}")));
        }
        self.fields.clear();
        for _ in 0..columns {
            let Some(length) = self.word::<4>(at) else { return Ok(None) };
            at += 4;
            match i32::from_be_bytes(length) {
                -1 => self.fields.push(None),
                length => {
                    let length = usize::try_from(length).map_err(|_| bad("invalid field size"))?;
                    if length > limits::COPY_ROW_BYTES_MAX {
                        return Err(bad("invalid field size"));
                    }
                    if self.bytes.len() < at + length {
                        return Ok(None);
                    }
                    self.fields.push(Some(at..at + length));
                    at += length;
                }
            }
        }
        self.number += 1;
        Ok(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> Vec<u8> {
        [SIGNATURE, &[0; 8]].concat()
    }

    fn rows(bytes: &[u8], size: usize) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let mut tuples = Tuples::default();
        let mut found = Vec::new();
        let mut read = |tuples: &mut Tuples, last| -> Result<()> {
            while tuples.next(2, last)? {
                found.push((0..2).map(|i| tuples.field(i).map(<[u8]>::to_vec)).collect());
            }
            Ok(())
        };
        for piece in bytes.chunks(size) {
            tuples.push(piece);
            read(&mut tuples, false)?;
        }
        read(&mut tuples, true)?;
        Ok(found)
    }

    #[test]
    fn rows_are_the_same_however_they_are_cut() {
        let row = [&[0, 2][..], &[0, 0, 0, 1, 7], &[0xff; 4]].concat();
        let bytes = [begin(), row.clone(), row, vec![0xff; 2]].concat();
        for size in 1..=bytes.len() {
            let expected = vec![Some(vec![7]), None];
            assert_eq!(rows(&bytes, size).unwrap(), [expected.clone(), expected], "by {size}");
        }
        assert_eq!(rows(&begin(), 4).unwrap().len(), 0, "PostgreSQL wants no end mark");
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        let with = |more: &[u8]| [&begin()[..], more].concat();
        for (bytes, message) in [
            (b"not a copy".to_vec(), "COPY file signature not recognized"),
            (
                [SIGNATURE, &[0, 1, 0, 0, 0, 0, 0, 0]].concat(),
                "invalid COPY file header (WITH OIDS)",
            ),
            (with(&[0, 3]), "row field count is 3, expected 2"),
            (with(&[0, 2, 0xff, 0xff, 0xff, 0xfe]), "invalid field size"),
            (with(&[0, 2, 0, 0, 0, 9, 1]), "unexpected EOF in COPY data"),
            (with(&[0xff, 0xff, 1]), "received copy data after EOF marker"),
        ] {
            for size in 1..=bytes.len() {
                let error = rows(&bytes, size).unwrap_err();
                assert_eq!((error.sqlstate(), error.primary()), ("22P04", message));
            }
        }
    }
}
