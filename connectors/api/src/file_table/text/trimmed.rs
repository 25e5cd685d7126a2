//! Files whose first and last lines are no rows.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;

use super::Decoder;
use super::hive::{LINE_BYTES_MAX, line_end};

/// Drops lines at both ends before the decoder sees them.
pub(super) struct Trimmed {
    inner: Box<dyn Decoder>,
    /// Lines at the start that are still to be dropped.
    n_header: usize,
    dropped: u64,
    /// Lines at the end to be dropped, which are known as such only when the file ends.
    n_footer: usize,
    buffer: Vec<u8>,
    /// Starts of the last whole lines in `buffer`, at most `n_footer` of them.
    starts: VecDeque<usize>,
    /// Where the line begins whose end is not here yet.
    open: usize,
    /// Where its end is looked for.
    searched: usize,
    /// The number of that line.
    line: u64,
    begun: bool,
    path: Path,
}

impl Trimmed {
    pub(super) fn new(
        inner: Box<dyn Decoder>,
        n_header: usize,
        n_footer: usize,
        path: &Path,
    ) -> Self {
        Self {
            inner,
            n_header,
            dropped: 0,
            n_footer,
            buffer: Vec::new(),
            starts: VecDeque::new(),
            open: 0,
            searched: 0,
            line: 1,
            begun: false,
            path: path.clone(),
        }
    }

    /// Takes the lines that are whole; with `last` the rest is a line, too.
    fn cut(&mut self, last: bool) {
        while self.open < self.buffer.len() {
            let next = match line_end(&self.buffer, self.searched.max(self.open), last) {
                Some((_, next)) => next,
                None if last => self.buffer.len(),
                None => {
                    // A carriage return at the end may be half of an end of a line.
                    self.searched = self.buffer.len() - 1;
                    return;
                }
            };
            self.line += 1;
            if self.n_header > 0 {
                self.n_header -= 1;
                self.dropped += 1;
                self.buffer.drain(..next);
                self.searched = 0;
                continue;
            }
            self.starts.push_back(self.open);
            if self.starts.len() > self.n_footer {
                self.starts.pop_front();
            }
            self.open = next;
        }
    }

    /// Refuses lines without an end, before they take all memory.
    fn check(&self) -> Result<()> {
        if self.buffer.len() <= LINE_BYTES_MAX {
            return Ok(());
        }
        let (path, line) = (&self.path, self.line);
        let what =
            format!("file \"{path}\" line {line}: the line is longer than {LINE_BYTES_MAX} bytes");
        Err(Error::new(ErrorKind::LimitExceeded, what))
    }
}

impl Decoder for Trimmed {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        if self.n_header == 0 && self.n_footer == 0 && self.begun && self.buffer.is_empty() {
            return self.inner.push(bytes, last);
        }
        self.buffer.extend_from_slice(bytes);
        self.cut(last);
        if self.n_header > 0 && !last {
            self.check()?;
            return Ok(Vec::new());
        }
        if !self.begun {
            self.begun = true;
            self.inner.begins_at_line(self.dropped + 1);
        }
        // Rows are what stands before the lines that may turn out to be the last ones.
        let end = self.starts.front().copied().unwrap_or(self.open);
        let rows = self.buffer.drain(..end).collect::<Vec<_>>();
        self.open -= end;
        self.searched = self.searched.saturating_sub(end);
        self.check()?;
        for start in &mut self.starts {
            *start -= end;
        }
        if rows.is_empty() && !last {
            return Ok(Vec::new());
        }
        self.inner.push(&rows, last)
    }
}
