//! Files whose first and last lines are no rows.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use maru_core::Result;

use super::Decoder;
use super::hive::line_end;

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
    begun: bool,
}

impl Trimmed {
    pub(super) fn new(inner: Box<dyn Decoder>, n_header: usize, n_footer: usize) -> Self {
        Self {
            inner,
            n_header,
            dropped: 0,
            n_footer,
            buffer: Vec::new(),
            starts: VecDeque::new(),
            open: 0,
            begun: false,
        }
    }

    /// Takes the lines that are whole; with `last` the rest is a line, too.
    fn cut(&mut self, last: bool) {
        while self.open < self.buffer.len() {
            let next = match line_end(&self.buffer, self.open, last) {
                Some((_, next)) => next,
                None if last => self.buffer.len(),
                None => return,
            };
            if self.n_header > 0 {
                self.n_header -= 1;
                self.dropped += 1;
                self.buffer.drain(..next);
                continue;
            }
            self.starts.push_back(self.open);
            if self.starts.len() > self.n_footer {
                self.starts.pop_front();
            }
            self.open = next;
        }
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
        for start in &mut self.starts {
            *start -= end;
        }
        if rows.is_empty() && !last {
            return Ok(Vec::new());
        }
        self.inner.push(&rows, last)
    }
}
