//! `maru sql`: the shell on an engine in this process or on a server.
//!
//! [`run`] decides between a script and a person; `Shell` runs statements and prints what they give; everything it
//! knows of the engine goes through [`backend::Backend`].

pub mod backend;
mod batch;
mod complete;
mod editor;
pub mod embedded;
pub mod format;
mod meta;
mod output;
pub mod remote;
mod script;
pub mod text;

use std::io::{self, BufRead, IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use maru_core::{Error, ErrorKind};

use self::backend::{Backend, Failure, Reply, ResultSet};
use self::format::{Printer, Style};
use self::output::Output;
use self::script::Feeder;
use crate::output::WARNING;
use crate::session::StatementText;

pub use self::batch::{Batch, run_batch, variable};
pub use self::format::Format;
pub use self::script::{Piece, pieces};

/// How the shell ends, as psql's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    /// A statement of `-c` failed, or the shell itself did.
    Failure = 1,
    /// The connection could not be made or is lost.
    Connection = 2,
    /// A statement of a script failed (`-f`, standard input).
    Script = 3,
}

/// Where statements come from, in the order of the command line; none means a person or standard input.
#[derive(Debug, Clone)]
pub enum Input {
    Text(String),
    File(PathBuf),
}

/// What the command line asks for.
#[derive(Debug)]
pub struct Options {
    pub inputs: Vec<Input>,
    pub style: Style,
    pub timing: bool,
    /// Whether a pager may be used.
    pub paging: bool,
    /// Notices and hints for people are left out.
    pub quiet: bool,
    pub history: Option<PathBuf>,
}

/// Runs everything the options ask for.
pub async fn run(backend: Arc<dyn Backend>, options: Options) -> Exit {
    let interactive =
        options.inputs.is_empty() && io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut shell = Shell {
        backend,
        style: options.style,
        timing: options.timing,
        paging: options.paging && interactive,
        quiet: options.quiet,
        interactive,
        output: Output::default(),
        depth: 0,
        ends: None,
    };
    if interactive {
        return editor::converse(&mut shell, options.history).await;
    }
    let inputs = options.inputs;
    if inputs.is_empty() {
        return shell.standard_input().await;
    }
    for input in inputs {
        let (flow, failed) = match input {
            Input::Text(text) => (shell.script(&text).await, Exit::Failure),
            Input::File(path) => (shell.file(&path).await, Exit::Script),
        };
        match flow {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(stop) => return stop.exit(failed),
        }
    }
    Exit::Success
}

/// Why a script stops. It has been reported already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Failed,
    Lost,
    /// The shell itself failed: a file it cannot read, a terminal that is gone.
    Fatal,
}

impl Stop {
    fn exit(self, failed: Exit) -> Exit {
        match self {
            Self::Failed => failed,
            Self::Lost => Exit::Connection,
            Self::Fatal => Exit::Failure,
        }
    }
}

/// How often `\i` may nest.
const INCLUDE_DEPTH_MAX: usize = 16;

/// How long a cancelled statement is given to end by itself.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

struct Shell {
    backend: Arc<dyn Backend>,
    style: Style,
    timing: bool,
    paging: bool,
    quiet: bool,
    interactive: bool,
    output: Output,
    /// Files that are being read by `\i`.
    depth: usize,
    /// Set once reading goes on in vain: the reader of standard output is gone.
    ends: Option<Exit>,
}

impl Shell {
    /// Runs a whole text and stops at its first error.
    async fn script(&mut self, text: &str) -> Result<ControlFlow<()>, Stop> {
        for piece in pieces(text) {
            if self.piece(piece).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Runs a file; `-` is standard input.
    async fn file(&mut self, path: &std::path::Path) -> Result<ControlFlow<()>, Stop> {
        if self.depth >= INCLUDE_DEPTH_MAX {
            return self.fatal(Error::new(
                ErrorKind::LimitExceeded,
                format!("files include one another more than {INCLUDE_DEPTH_MAX} deep"),
            ));
        }
        let read = match path.as_os_str() == "-" {
            true => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).map(|_| text)
            }
            false => std::fs::read_to_string(path),
        };
        let text = match read {
            Ok(text) => text,
            Err(cause) => {
                let message = format!("cannot read \"{}\"", path.display());
                return self.fatal(Error::new(ErrorKind::Io, message).with_cause(cause));
            }
        };
        self.depth += 1;
        let flow = Box::pin(self.script(&text)).await;
        self.depth -= 1;
        flow
    }

    /// Runs what comes in, as it comes in: the writer may wait for the answer to one statement before the next.
    async fn standard_input(&mut self) -> Exit {
        let mut feeder = Feeder::default();
        loop {
            let read = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                io::stdin().lock().read_line(&mut line).map(|bytes| (bytes, line))
            });
            let line = match read.await {
                Ok(Ok((0, _))) => None,
                Ok(Ok((_, line))) => Some(line),
                Ok(Err(cause)) => {
                    let error = Error::new(ErrorKind::Io, "cannot read standard input");
                    let _ = self.fatal(error.with_cause(cause));
                    return Exit::Failure;
                }
                Err(_) => return Exit::Failure,
            };
            let piece = match &line {
                Some(line) => feeder.line(line.trim_end_matches(['\n', '\r'])),
                None => feeder.rest(),
            };
            if let Some(piece) = piece {
                match self.piece(piece).await {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return self.ends.unwrap_or(Exit::Success),
                    Err(stop) => return stop.exit(Exit::Script),
                }
            }
            if line.is_none() {
                return self.ends.unwrap_or(Exit::Success);
            }
        }
    }

    async fn piece(&mut self, piece: Piece) -> Result<ControlFlow<()>, Stop> {
        match piece {
            Piece::Command(line) => meta::run(self, &line).await,
            Piece::Statements { text, first_line, statements } => {
                for statement in statements {
                    if let Err(failure) = self.statement(&statement).await {
                        eprint!("{}", failure.report(&text, first_line));
                        return Err(if failure.lost { Stop::Lost } else { Stop::Failed });
                    }
                    if self.ends.is_some() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// Runs one statement and prints what it gives. Ctrl-C cancels it.
    async fn statement(&mut self, statement: &StatementText) -> Result<(), Failure> {
        let started = Instant::now();
        let backend = Arc::clone(&self.backend);
        // CSV is all text: the kinds of the columns are not worth a round trip.
        let typed = self.style.format != Format::Csv;
        let reply = interruptible(backend.as_ref(), backend.run(statement, typed)).await;
        let result = match reply {
            Ok(Ok(Reply::Rows(result))) => self.print(result).await,
            Ok(Ok(Reply::Command(tag))) => {
                self.print_notices();
                self.print_tag(&tag);
                Ok(())
            }
            Ok(Err(failure)) | Err(failure) => Err(failure),
        };
        self.print_notices();
        result?;
        if self.timing {
            self.print_line(&format!("Time: {}", milliseconds(started.elapsed())));
        }
        Ok(())
    }

    async fn print(&mut self, mut result: ResultSet) -> Result<(), Failure> {
        let cannot_write = |cause: io::Error| {
            Failure::from(Error::new(ErrorKind::Io, "cannot write the result").with_cause(cause))
        };
        let backend = Arc::clone(&self.backend);
        let columns = std::mem::take(&mut result.columns);
        let mut printer = Printer::new(self.style.clone(), columns);
        let mut writer = self.output.writer(self.paging).map_err(cannot_write)?;
        loop {
            let written = match interruptible(backend.as_ref(), result.rows.next()).await? {
                Some(rows) => printer.rows(rows?, &mut *writer),
                None => {
                    let finished = printer.finish(&mut *writer).map(drop);
                    let ended = finished.and_then(|()| writer.end());
                    return match ended {
                        Err(error) if is_pipe_gone(&error) => {
                            self.leave_unless_interactive();
                            Ok(())
                        }
                        other => other.map_err(cannot_write),
                    };
                }
            };
            match written {
                Ok(()) => {}
                // Nobody reads on: `head` has enough, or the pager was left.
                Err(error) if is_pipe_gone(&error) => {
                    self.leave_unless_interactive();
                    backend.cancel().await;
                    while result.rows.next().await.is_some_and(|rows| rows.is_ok()) {}
                    return Ok(());
                }
                Err(error) => return Err(cannot_write(error)),
            }
        }
    }

    fn leave_unless_interactive(&mut self) {
        if !self.interactive {
            self.ends = Some(Exit::Success);
        }
    }

    fn print_notices(&self) {
        for notice in self.backend.take_notices() {
            if !self.quiet {
                let kind = if notice.starts_with(WARNING) { "" } else { "NOTICE:  " };
                eprintln!("{kind}{notice}");
            }
        }
    }

    fn print_tag(&self, tag: &str) {
        if !self.quiet && self.style.format == Format::Table {
            self.print_line(tag);
        }
    }

    /// Prints a line where results go.
    fn print_line(&self, line: &str) {
        let printed = self.output.writer(false).and_then(|mut writer| {
            writeln!(writer, "{line}")?;
            writer.end()
        });
        if let Err(error) = printed {
            tracing::debug!(%error, "could not print");
        }
    }

    fn fatal(&self, error: Error) -> Result<ControlFlow<()>, Stop> {
        eprintln!("{}", error.report());
        Err(Stop::Fatal)
    }
}

fn is_pipe_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Waits for something a backend does. The first Ctrl-C cancels the statement; if it does not end then, or at a second
/// one, the wait is given up.
async fn interruptible<T>(
    backend: &dyn Backend,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Ok(done),
        _ = tokio::signal::ctrl_c() => {}
    }
    eprintln!("Cancel request sent");
    backend.cancel().await;
    tokio::select! {
        done = &mut work => Ok(done),
        _ = tokio::signal::ctrl_c() => Err(Error::cancelled().into()),
        () = tokio::time::sleep(CANCEL_PATIENCE) => Err(Error::cancelled().into()),
    }
}

fn milliseconds(elapsed: Duration) -> String {
    let millis = elapsed.as_secs_f64() * 1000.0;
    if millis < 1000.0 {
        return format!("{millis:.3} ms");
    }
    let seconds = elapsed.as_secs();
    format!(
        "{millis:.3} ms ({:02}:{:02}.{:03})",
        seconds / 60,
        seconds % 60,
        elapsed.subsec_millis()
    )
}
