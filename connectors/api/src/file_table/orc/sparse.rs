//! The parts of a file that were fetched, as orc-rust reads them.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use orc_rust::reader::ChunkReader;

/// A file of which some parts are there. One that is not is an error, never a wait.
pub(super) struct Sparse {
    size: u64,
    /// Where the bytes to the end of the file begin.
    end: (u64, Bytes),
    /// By where they begin and how long they are.
    parts: HashMap<(u64, u64), Bytes>,
}

impl Sparse {
    /// Returns a file of `size` bytes that ends with `end`.
    pub(super) fn of_end(size: u64, end: Bytes) -> Self {
        Self { size, end: (size - end.len() as u64, end), parts: HashMap::new() }
    }

    /// Returns a file of `size` bytes of which `parts` are there.
    pub(super) fn of_parts(size: u64, parts: HashMap<(u64, u64), Bytes>) -> Self {
        Self { size, end: (size, Bytes::new()), parts }
    }
}

impl ChunkReader for Sparse {
    type T = Reader<Bytes>;

    fn len(&self) -> u64 {
        self.size
    }

    fn get_read(&self, start: u64) -> Result<Reader<Bytes>> {
        self.get_bytes(start, self.size.saturating_sub(start)).map(Buf::reader)
    }

    fn get_bytes(&self, start: u64, length: u64) -> Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(part) = self.parts.get(&(start, length)) {
            return Ok(part.clone());
        }
        let (first, bytes) = &self.end;
        let from = start.checked_sub(*first).and_then(|from| usize::try_from(from).ok());
        let range =
            from.and_then(|from| Some(from..from.checked_add(usize::try_from(length).ok()?)?));
        match range.filter(|range| range.end <= bytes.len()) {
            Some(range) => Ok(bytes.slice(range)),
            None => Err(Error::new(ErrorKind::UnexpectedEof, "it is shorter than it says")),
        }
    }
}
