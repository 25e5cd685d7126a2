//! Where results go: standard output, a file (`\o`), or a pager when the terminal is too small.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use console::Term;
use unicode_width::UnicodeWidthStr;

/// A place for results.
#[derive(Debug, Default)]
pub enum Output {
    #[default]
    Stdout,
    File(File),
}

impl Output {
    /// Creates or empties a file for results.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        Ok(Self::File(File::create(path)?))
    }

    /// Returns a writer for one result. `paged` allows a pager if this is a terminal.
    pub fn writer(&self, paged: bool) -> io::Result<Box<dyn ResultWriter>> {
        Ok(match self {
            Self::File(file) => Box::new(Plain(io::BufWriter::new(file.try_clone()?))),
            Self::Stdout if paged && io::stdout().is_terminal() => Box::new(Paged::new()),
            Self::Stdout => Box::new(Plain(io::BufWriter::new(io::stdout()))),
        })
    }
}

/// A writer that has something left to do at the end of a result.
pub trait ResultWriter: Write {
    /// Shows what is still held and waits for the pager.
    fn end(&mut self) -> io::Result<()>;
}

struct Plain<W: Write>(io::BufWriter<W>);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> ResultWriter for Plain<W> {
    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Holds a result until it is longer or wider than the terminal; then a pager gets it and all that follows.
struct Paged {
    held: Vec<u8>,
    lines: usize,
    checked: usize,
    size: (usize, usize),
    pager: Option<Child>,
}

impl Paged {
    fn new() -> Self {
        let (rows, columns) = Term::stdout().size();
        Self {
            held: Vec::new(),
            lines: 0,
            checked: 0,
            size: (usize::from(rows), usize::from(columns)),
            pager: None,
        }
    }

    fn is_too_large(&mut self) -> bool {
        while let Some(end) = self.held[self.checked..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.held[self.checked..self.checked + end]);
            self.lines += 1;
            self.checked += end + 1;
            // Two lines belong to the prompt.
            if line.width() > self.size.1 || self.lines + 2 > self.size.0 {
                return true;
            }
        }
        false
    }

    fn start_pager(&mut self) -> io::Result<()> {
        let named = std::env::var("MARU_PAGER").or_else(|_| std::env::var("PAGER"));
        let command = named.unwrap_or_else(|_| "less -SFRX".to_owned());
        let mut words = command.split_whitespace();
        let child = words.next().map(|program| {
            Command::new(program)
                .args(words)
                .stdin(Stdio::piped())
                .env("LESSCHARSET", "utf-8")
                .spawn()
        });
        match child {
            Some(Ok(child)) => self.pager = Some(child),
            // No pager on this machine: the screen scrolls.
            Some(Err(_)) | None => self.size = (usize::MAX, usize::MAX),
        }
        self.write_held()
    }

    fn write_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.checked = 0;
        match self.pager.as_mut().and_then(|pager| pager.stdin.as_mut()) {
            Some(stdin) => stdin.write_all(&held),
            None => io::stdout().write_all(&held),
        }
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.pager.is_some() || self.size.0 == usize::MAX {
            self.write_held()?;
        } else if self.is_too_large() {
            self.start_pager()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ResultWriter for Paged {
    fn end(&mut self) -> io::Result<()> {
        let written = self.write_held();
        if let Some(mut pager) = self.pager.take() {
            // Closing its input tells the pager that this was all.
            drop(pager.stdin.take());
            pager.wait()?;
        } else {
            io::stdout().flush()?;
        }
        match written {
            // The user has left the pager early.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        if let Some(mut pager) = self.pager.take() {
            drop(pager.stdin.take());
            let _ = pager.wait();
        }
    }
}
