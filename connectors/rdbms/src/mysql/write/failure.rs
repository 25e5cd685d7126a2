//! What a refused write means: MySQL's error number as a SQLSTATE, with the column and the row that its message names.

use maru_core::{Error, ErrorKind};
use sqlx::mysql::MySqlDatabaseError;

use super::wire::Failure;
use crate::failure::Peer;

/// A refusal, or a connection that was lost.
pub(super) struct Refused {
    number: Option<u16>,
    message: String,
    error: Error,
    lost: bool,
}

impl Refused {
    pub fn of(peer: &Peer, error: sqlx::Error) -> Self {
        let told = error.as_database_error();
        let told = told.and_then(|told| told.try_downcast_ref::<MySqlDatabaseError>());
        let number = told.map(MySqlDatabaseError::number);
        let message = told.map(|told| told.message().to_owned()).unwrap_or_default();
        let lost = matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
        );
        Self { number, message, error: peer.query_error(error), lost }
    }

    /// Of the connection that loads data.
    pub fn of_wire(peer: &Peer, failure: Failure) -> Self {
        match failure {
            Failure::Told(number, message) => Self::told(peer, number, message),
            Failure::Lost(error) => Self::of(peer, sqlx::Error::Io(error)),
        }
    }

    /// What the server has told by its number and its words.
    pub fn told(peer: &Peer, number: u16, message: String) -> Self {
        let code = number.to_string();
        let kind = (peer.classify)(&code).unwrap_or(ErrorKind::RemoteFailed);
        let error = Error::new(kind, format!("{}: {message}", peer.name()));
        let error = error.with_context("code", code);
        Self { number: Some(number), message, error, lost: false }
    }

    /// Returns the error. `before` rows came before those of the statement that failed.
    pub fn error(self, before: u64) -> Error {
        let column = self.column().map(str::to_owned);
        let (message, mut error) = (self.message, self.error);
        if let Some(kind) = self.number.and_then(kind) {
            error = error.with_kind(kind);
        }
        if let Some(column) = column {
            error = error.or_context("column", column);
        }
        let constraint = between(&message, "CONSTRAINT `", "`");
        if let Some(name) = constraint.or_else(|| between(&message, "for key '", "'")) {
            error = error.or_context("constraint", name);
        }
        // Counted within the statement.
        let row = message.rsplit_once(" at row ").map(|(_, row)| row.trim().parse::<u64>());
        match row {
            Some(Ok(row)) => error.or_context("row", (before + row).to_string()),
            _ => error,
        }
    }

    /// Returns the column that the server names, as it is called there.
    pub fn column(&self) -> Option<&str> {
        let message = &self.message;
        between(message, "olumn '", "'").or_else(|| between(message, "ield '", "'"))
    }

    /// Returns whether a value was cut, or is none of its column.
    pub fn is_cut(&self) -> bool {
        self.number == Some(1265)
    }

    /// Returns whether the connection was lost, so that what the server did last is not known.
    pub fn is_lost(&self) -> bool {
        self.lost || matches!(self.number, Some(1053 | 1927 | 4031 | 1317))
    }

    /// Returns whether the server says that this user may not.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.number, Some(1044 | 1142 | 1143 | 1227 | 1370))
    }
}

/// Returns what a failure of a write means.
pub(super) fn write_error(peer: &Peer, error: sqlx::Error) -> Error {
    Refused::of(peer, error).error(0)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

fn kind(number: u16) -> Option<ErrorKind> {
    Some(match number {
        1048 | 1263 | 1364 => ErrorKind::NotNullViolation,
        1022 | 1062 | 1169 | 1586 => ErrorKind::UniqueViolation,
        1216 | 1217 | 1451 | 1452 => ErrorKind::ForeignKeyViolation,
        // CHECK of MySQL, of MariaDB, and of a view.
        3819 | 4025 | 1369 => ErrorKind::CheckViolation,
        1406 => ErrorKind::TextTooLong,
        1264 | 1690 => ErrorKind::OutOfRange,
        1292 => ErrorKind::InvalidDatetime,
        1265 | 1366 | 3140 | 4038 => ErrorKind::InvalidText,
        1205 | 3572 => ErrorKind::LockNotAvailable,
        // A deadlock; in MariaDB also a row that was changed since.
        1213 | 1020 => ErrorKind::Serialization,
        1050 => ErrorKind::DuplicateTable,
        1007 => ErrorKind::DuplicateSchema,
        1060 => ErrorKind::DuplicateColumn,
        1054 | 1091 => ErrorKind::UndefinedColumn,
        1146 | 1051 => ErrorKind::UndefinedTable,
        1049 => ErrorKind::UndefinedSchema,
        // A value for a generated column, in MariaDB and MySQL.
        1906 | 3105 => ErrorKind::GeneratedColumn,
        1347 | 1471 | 1288 | 1394 => ErrorKind::WrongObjectType,
        1701 | 1730 | 3730 | 1834 | 1829 => ErrorKind::DependentObjects,
        1114 | 1021 => ErrorKind::DiskFull,
        1153 | 1118 | 1117 => ErrorKind::LimitExceeded,
        _ => return None,
    })
}
