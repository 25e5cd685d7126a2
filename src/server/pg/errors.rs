//! Errors and notices as the Postgres wire writes them.

use maru_core::{Error, ErrorKind};
use pgwire::error::PgWireError;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use crate::output::WARNING;

/// Why a message was not answered as the client wished.
#[derive(Debug)]
pub(super) enum Failure {
    /// Told to the client; the conversation goes on.
    Statement(WireError),
    /// Told to the client; then the connection ends.
    Fatal(WireError),
    /// The client is not there any more.
    Gone,
}

pub(super) type Step<T = ()> = Result<T, Failure>;

/// An error in the fields of the protocol. Some SQLSTATEs exist only here, where the protocol itself is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WireError {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<Box<str>>,
    /// Characters from 1.
    pub position: Option<usize>,
    /// Where in the data that the client sent: CONTEXT.
    pub input: Option<Box<str>>,
}

impl WireError {
    pub(super) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            input: None,
        }
    }

    pub(super) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn response(self, severity: &str) -> ErrorResponse {
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.sqlstate.to_owned()),
            (b'M', one_line(&self.message)),
        ];
        fields.extend(self.detail.map(|detail| (b'D', without_nul(&detail))));
        fields.extend(self.hint.map(|hint| (b'H', without_nul(&hint))));
        fields.extend(self.input.map(|input| (b'W', without_nul(&input))));
        fields.extend(self.position.map(|position| (b'P', position.to_string())));
        fields.extend(broken_rule(self.sqlstate, &self.message));
        ErrorResponse::new(fields)
    }
}

/// What PostgreSQL's messages of broken constraints name, and the fields in which drivers look for it.
const RULES: &[(&str, u8)] = &[
    ("null value in column ", b'c'),
    ("of relation ", b't'),
    ("for relation ", b't'),
    ("on table ", b't'),
    ("violates check constraint ", b'n'),
    ("violates unique constraint ", b'n'),
    ("violates foreign key constraint ", b'n'),
];

/// Returns the names in a message of a broken constraint (class 23). Each stands in double quotes behind its words.
fn broken_rule(sqlstate: &str, message: &str) -> Vec<(u8, String)> {
    if !sqlstate.starts_with("23") {
        return Vec::new();
    }
    let named = |words: &str| {
        let (_, behind) = message.split_once(words)?;
        let (name, _) = behind.strip_prefix('"')?.split_once('"')?;
        Some(without_nul(name))
    };
    let mut fields = Vec::<(u8, String)>::new();
    for (words, letter) in RULES {
        if fields.iter().all(|(known, _)| known != letter) {
            fields.extend(named(words).map(|name| (*letter, name)));
        }
    }
    fields
}

/// Strings end at a zero byte on this wire.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The primary message is one line by PostgreSQL's rules; some sources answer with several.
fn one_line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    without_nul(&lines.join(" "))
}

pub(super) fn notice(text: &str) -> NoticeResponse {
    let (severity, code, text) = match text.strip_prefix(WARNING) {
        Some(warning) => ("WARNING", "01000", warning),
        None => ("NOTICE", "00000", text),
    };
    NoticeResponse::new(vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', code.to_owned()),
        (b'M', without_nul(text)),
    ])
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        Self {
            sqlstate: error.sqlstate(),
            message: error.message(),
            detail: error.detail(),
            hint: error.hint().map(Box::from),
            position: error.position(),
            input: error.input().map(Box::from),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // PostgreSQL's clients take 57P01 for the end of the connection.
        if error.kind() == ErrorKind::ShuttingDown {
            Self::Fatal(error.into())
        } else {
            Self::Statement(error.into())
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<PgWireError> for Failure {
    fn from(error: PgWireError) -> Self {
        match error {
            PgWireError::IoError(_) => Self::Gone,
            // What the codec cannot read leaves the stream in an unknown place.
            error => Self::Fatal(WireError::new("08P01", error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_error_reaches_its_field() {
        let error = Error::new(ErrorKind::UndefinedTable, "table \"t\" does not exist\n  in b")
            .with_detail("The catalog is there.")
            .with_hint("Perhaps you meant \"tt\".")
            .with_position(15);
        let fields = WireError::from(error).response("ERROR").fields;
        assert_eq!(
            fields,
            [
                (b'S', "ERROR"),
                (b'V', "ERROR"),
                (b'C', "42P01"),
                (b'M', "table \"t\" does not exist in b"),
                (b'D', "The catalog is there."),
                (b'H', "Perhaps you meant \"tt\"."),
                (b'P', "15"),
            ]
            .map(|(key, text)| (key, text.to_owned()))
        );
    }

    #[test]
    fn a_broken_constraint_is_named() {
        let named = |message: &str| broken_rule("23502", message);
        let text = |letter: u8, name: &str| (letter, name.to_owned());
        let null = "null value in column \"a b\" of relation \"t\" violates not-null constraint";
        assert_eq!(named(null), [text(b'c', "a b"), text(b't', "t")]);
        let check = "new row for relation \"t\" violates check constraint \"positive\"";
        assert_eq!(named(check), [text(b't', "t"), text(b'n', "positive")]);
        let key = "duplicate key value violates unique constraint \"t_pkey\"";
        assert_eq!(named(key), [text(b'n', "t_pkey")]);
        assert!(named("something else").is_empty() && broken_rule("42703", null).is_empty());
    }

    #[test]
    fn shutting_down_ends_the_connection() {
        let error = Error::new(ErrorKind::ShuttingDown, "the server is stopping");
        assert!(matches!(Failure::from(error), Failure::Fatal(e) if e.sqlstate == "57P01"));
    }

    #[test]
    fn zero_bytes_do_not_cut_a_message() {
        let fields = WireError::new("22021", "a\0b").response("ERROR").fields;
        assert!(fields.contains(&(b'M', "a\u{fffd}b".to_owned())));
    }
}
