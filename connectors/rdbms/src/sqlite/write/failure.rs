//! What a refused write means: SQLite's result code as a SQLSTATE, with the column that its message names.

use maru_core::{Error, ErrorKind};

use crate::failure::Peer;

/// Returns what a failure of a write means.
pub(super) fn write_error(peer: &Peer, error: sqlx::Error) -> Error {
    let told = error.as_database_error().map(|told| {
        let code = told.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or_default();
        (code, told.message().to_owned())
    });
    let error = peer.query_error(error);
    let Some((code, message)) = told else { return error };
    let error = match kind(code, &message) {
        Some(kind) => error.with_kind(kind),
        None => error,
    };
    // `UNIQUE constraint failed: t.id`, `CHECK constraint failed: positive`
    let place = message.split_once("constraint failed: ").map(|(_, place)| place);
    let error = match (code, place) {
        (275, Some(name)) => error.or_context("constraint", name),
        (_, Some(columns)) => {
            let names = columns.split(", ").map(|name| name.rsplit('.').next().unwrap_or(name));
            error.or_context("column", names.collect::<Vec<_>>().join(","))
        }
        _ => error,
    };
    match code & 0xff {
        5 | 6 => error.or_hint(|| {
            Some("Another process writes to the file; run the statement again.".to_owned())
        }),
        _ => error,
    }
}

fn kind(code: i64, message: &str) -> Option<ErrorKind> {
    Some(match code {
        275 => ErrorKind::CheckViolation,
        787 => ErrorKind::ForeignKeyViolation,
        1299 => ErrorKind::NotNullViolation,
        1555 | 2067 | 2579 => ErrorKind::UniqueViolation,
        // A value that a STRICT table does not take; a row number that is no number.
        3091 | 20 => ErrorKind::InvalidText,
        // What was read is old by now.
        517 => ErrorKind::Serialization,
        _ => match code & 0xff {
            5 | 6 => ErrorKind::LockNotAvailable,
            8 => ErrorKind::NotAllowed,
            13 => ErrorKind::DiskFull,
            14 => ErrorKind::NotAllowed,
            18 => ErrorKind::LimitExceeded,
            19 => ErrorKind::ConstraintViolation,
            1 => return by_message(message),
            _ => return None,
        },
    })
}

/// Errors of statements have one code for all of them.
fn by_message(message: &str) -> Option<ErrorKind> {
    let has = |part: &str| message.contains(part);
    Some(if has("after drop column") || has("cannot drop") || has("error in view") {
        ErrorKind::DependentObjects
    } else if has("generated column") {
        ErrorKind::GeneratedColumn
    } else if has("no such table") {
        ErrorKind::UndefinedTable
    } else if has("no such column") || has("has no column named") {
        ErrorKind::UndefinedColumn
    } else if has("duplicate column") {
        ErrorKind::DuplicateColumn
    } else if has("already exists") || has("there is already") {
        ErrorKind::DuplicateTable
    } else if has("because it is a view") || has("is not a table") || has("use DROP VIEW") {
        ErrorKind::WrongObjectType
    } else if has("ON CONFLICT clause") {
        ErrorKind::InvalidStatement
    } else {
        return None;
    })
}
