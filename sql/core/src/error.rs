//! The one error of Maru.
//!
//! A federated query crosses half a dozen crates. One error type for all of them keeps what the user needs (SQLSTATE,
//! position, hint) from being lost on the way. The [`ErrorKind`] alone decides SQLSTATE, retry and blame.

mod datafusion;
mod kind;
mod phrases;

use std::fmt;
use std::sync::Arc;

pub use kind::{Blame, ErrorKind};

/// The result of everything in Maru that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, told to the person who wrote the SQL. One pointer wide.
///
/// `{}` prints the primary message with its causes; [`Error::report`] prints the block that psql users know
/// (`ERROR:  42P01: …`, `DETAIL:`, `HINT:`). Wording follows PostgreSQL's guide: the message is one lower-case line
/// without a full stop, detail and hint are sentences.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
    line_column: Option<(usize, usize)>,
    context: Vec<(&'static str, String)>,
    input: Option<String>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind` with its primary message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            line_column: None,
            context: Vec::new(),
            input: None,
            cause: None,
        }))
    }

    /// Returns the refusal of something Maru cannot do (0A000), never a guess at it.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    /// Returns a broken promise of Maru's own code (XX000).
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .with_hint("This is a defect of Maru. Please report it with the statement.")
    }

    /// Returns the error of a statement that was cancelled (57014).
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "canceling statement due to user request")
    }

    /// Adds facts, as sentences.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds what to try, as a sentence.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a hint unless the error already has one.
    pub fn or_hint(self, hint: impl FnOnce() -> Option<String>) -> Self {
        if self.0.hint.is_some() {
            return self;
        }
        match hint() {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// Adds the place in the SQL text: characters, counted from 1.
    pub fn with_position(mut self, position: usize) -> Self {
        self.0.position = Some(position);
        self
    }

    /// Adds the place in the SQL text as line and column, counted from 1, for [`Error::locate`] to turn into an offset.
    pub fn with_line_column(mut self, line: usize, column: usize) -> Self {
        if line > 0 {
            self.0.line_column = Some((line, column));
        }
        self
    }

    /// Returns whether a place in the text is known already.
    pub fn has_line_column(&self) -> bool {
        self.0.line_column.is_some()
    }

    /// Takes the place away: it was one in a text that the user has not sent.
    pub fn without_place(mut self) -> Self {
        self.0.line_column = None;
        self.0.position = None;
        self
    }

    /// Turns line and column into [`Error::position`], now that the text is known. `sql` is the text the error's
    /// place refers to, and it starts `offset` characters into what the user sent.
    pub fn locate(mut self, sql: &str, offset: usize) -> Self {
        if let (Some((line, column)), None) = (self.0.line_column, self.0.position) {
            let before = sql.split_inclusive('\n').take(line - 1).map(|l| l.chars().count());
            self.0.position = Some(offset + before.sum::<usize>() + column.max(1));
        }
        self
    }

    /// Moves the place of an error in a part of a text, which starts `offset` characters into `sql`, to where it is in the whole.
    pub fn of_part(self, sql: &str, part: &str, offset: usize) -> Self {
        let mut error = self.locate(part, 0);
        let place =
            error.0.position.take().map_or(offset, |position| offset + position.saturating_sub(1));
        let (line, column) = line_column(sql, place);
        error.with_line_column(line, column)
    }

    /// Adds one fact about where it happened (`source`, `path`, `table`). Never a secret.
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.context.push((key, value.into()));
        self
    }

    /// Adds a fact unless one of that key is there already: the innermost place is the one that tells.
    pub fn or_context(self, key: &'static str, value: impl Into<String>) -> Self {
        if self.0.context.iter().any(|(known, _)| *known == key) {
            return self;
        }
        self.with_context(key, value)
    }

    /// Changes the texts that may name files: the message, its detail and hint, and the files among the facts.
    pub fn map_text(mut self, change: impl Fn(&str) -> String) -> Self {
        self.0.message = change(&self.0.message);
        self.0.detail = self.0.detail.as_deref().map(&change);
        self.0.hint = self.0.hint.as_deref().map(&change);
        for (key, value) in &mut self.0.context {
            if matches!(*key, "file" | "path") {
                *value = change(value);
            }
        }
        self
    }

    /// Adds the place in the data that a client sends, as PostgreSQL's CONTEXT tells it: `COPY t, line 3, column n: "x"`.
    /// The innermost place is the one that tells.
    pub fn with_input(mut self, place: impl Into<String>) -> Self {
        self.0.input.get_or_insert_with(|| place.into());
        self
    }

    /// Adds the error underneath. Its text is shown, so it must not hold a secret.
    pub fn with_cause(
        mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Replaces the kind, for a caller that knows better what a failure means.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        self.0.kind.sqlstate()
    }

    /// Returns the primary message alone, without its causes.
    pub fn primary(&self) -> &str {
        &self.0.message
    }

    /// Returns the primary message and, after colons, the causes.
    pub fn message(&self) -> String {
        self.to_string()
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the place in the data that a client has sent.
    pub fn input(&self) -> Option<&str> {
        self.0.input.as_deref()
    }

    pub fn position(&self) -> Option<usize> {
        self.0.position
    }

    /// Returns the detail with the context pairs below it, as a client shows it.
    pub fn detail(&self) -> Option<String> {
        let context = self
            .0
            .context
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ");
        match (&self.0.detail, context.is_empty()) {
            (None, true) => None,
            (Some(detail), true) => Some(detail.clone()),
            (None, false) => Some(context),
            (Some(detail), false) => Some(format!("{detail} ({context})")),
        }
    }

    /// Returns the whole error as lines: `ERROR:  SQLSTATE: message`, then DETAIL, HINT and CONTEXT where there are any.
    pub fn report(&self) -> String {
        let mut text = format!("ERROR:  {}: {self}", self.sqlstate());
        if let Some(detail) = self.detail() {
            text.push_str(&format!("\nDETAIL:  {detail}"));
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nHINT:  {hint}"));
        }
        if let Some(input) = self.input() {
            text.push_str(&format!("\nCONTEXT:  {input}"));
        }
        text
    }
}

/// Returns line and column, counted from 1, of what stands `offset` characters into a text.
pub fn line_column(sql: &str, offset: usize) -> (usize, usize) {
    let before = sql.chars().take(offset);
    before.fold((1, 1), |(line, column), c| match c {
        '\n' => (line + 1, 1),
        _ => (line, column + 1),
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut shown = self.0.message.clone();
        let mut cause: Option<&(dyn std::error::Error + 'static)> =
            self.0.cause.as_deref().map(|cause| cause as _);
        while let Some(error) = cause {
            // Many libraries print their source inside their own message: say each thing once.
            let text = error.to_string();
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// Adds the meaning of a failure where it is known.
pub trait ResultExt<T> {
    /// Turns a foreign error into ours: `.or_error(ErrorKind::Io, || "could not read …")`.
    fn or_error(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> ResultExt<T>
    for std::result::Result<T, E>
{
    fn or_error(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::new(kind, message()).with_cause(cause))
    }
}

#[cfg(test)]
mod tests;
