//! What the shell talks to: an engine in this process, or a server over the PostgreSQL wire.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use maru_core::Error;

use crate::session::StatementText;

/// One row; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// How the values of a column are aligned and written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Number,
    Boolean,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

/// What a statement gave back.
pub enum Reply {
    Rows(ResultSet),
    /// The command tag.
    Command(String),
}

/// Rows that arrive as they are read. Dropping it cancels the statement.
pub struct ResultSet {
    pub columns: Vec<Column>,
    pub rows: Pin<Box<dyn Stream<Item = Result<Vec<Row>, Failure>> + Send>>,
}

/// An error as the shell prints it, from an engine here or from a server whose kinds of error we need not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Characters from the start of the whole text, counted from 1.
    pub position: Option<usize>,
    /// The connection is gone: nothing more can be run.
    pub lost: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            sqlstate: error.sqlstate().to_owned(),
            message: error.message(),
            detail: error.detail(),
            hint: error.hint().map(str::to_owned),
            position: error.position(),
            lost: false,
        }
    }
}

impl Failure {
    /// Returns the block that psql users know. `text` is what the position counts in, `first_line` the number of its
    /// first line in the file it comes from.
    pub fn report(&self, text: &str, first_line: usize) -> String {
        let mut report = format!("ERROR:  {}: {}\n", self.sqlstate, self.message);
        if let Some(place) = self.position.and_then(|position| place(text, position, first_line)) {
            report.push_str(&place);
        }
        if let Some(detail) = &self.detail {
            report.push_str(&format!("DETAIL:  {detail}\n"));
        }
        if let Some(hint) = &self.hint {
            report.push_str(&format!("HINT:  {hint}\n"));
        }
        report
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.report("", 1).trim_end())
    }
}

/// Columns of a long line that are shown around the error.
const PLACE_WIDTH: usize = 60;

/// Returns the line of a position and a caret under it.
fn place(text: &str, position: usize, first_line: usize) -> Option<String> {
    let index = position.checked_sub(1)?;
    if index > text.chars().count() || text.is_empty() {
        return None;
    }
    let before: String = text.chars().take(index).collect();
    let line_number = first_line + before.matches('\n').count();
    let head: Vec<char> = before.rsplit('\n').next().unwrap_or_default().chars().collect();
    let tail: Vec<char> = text.chars().skip(index).take_while(|c| *c != '\n').collect();
    let cut = head.len().saturating_sub(PLACE_WIDTH);
    let clean = |chars: &[char]| -> String {
        chars.iter().map(|c| if c.is_control() { ' ' } else { *c }).collect()
    };
    let (dots, head) = if cut > 0 { ("...", &head[cut..]) } else { ("", &head[..]) };
    let (tail, more) =
        if tail.len() > PLACE_WIDTH { (&tail[..PLACE_WIDTH], "...") } else { (&tail[..], "") };
    let prefix = format!("LINE {line_number}: {dots}{}", clean(head));
    let indent = unicode_width::UnicodeWidthStr::width(prefix.as_str());
    Some(format!("{prefix}{}{more}\n{}^\n", clean(tail), " ".repeat(indent)))
}

/// Runs statements one at a time.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Runs one statement. `typed` asks for the kinds of the columns, which may cost a round trip; without it all are
    /// text.
    async fn run(&self, statement: &StatementText, typed: bool) -> Result<Reply, Failure>;

    /// Cancels the running statement, which then ends with 57014.
    async fn cancel(&self);

    /// Returns the notices since the last call.
    fn take_notices(&self) -> Vec<String>;

    /// Returns one sentence about who is connected to what.
    fn describe(&self) -> String;

    /// Opens a second session on the same engine, for completion.
    async fn companion(&self) -> Result<Arc<dyn Backend>, Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_line_and_a_caret_under_the_character() {
        let failure = Failure {
            sqlstate: "42703".to_owned(),
            message: "column \"x\" does not exist".to_owned(),
            detail: None,
            hint: Some("Did you mean \"y\"?".to_owned()),
            position: Some(23),
            lost: false,
        };
        let text = "SELECT 1;\nSELECT '한', x\nFROM t";
        let expected = "ERROR:  42703: column \"x\" does not exist\n\
                        LINE 6: SELECT '한', x\n                     ^\n\
                        HINT:  Did you mean \"y\"?\n";
        assert_eq!(failure.report(text, 5), expected);
        let past = Failure { position: Some(1000), ..failure };
        assert!(!past.report(text, 1).contains("LINE"));
    }
}
