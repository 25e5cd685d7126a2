//! What a refused write means: PostgreSQL's own SQLSTATE, constraint, column and, where COPY tells it, the row.

use maru_core::{Error, ErrorKind};
use sqlx::postgres::PgDatabaseError;

use super::STAGED;
use crate::failure::Peer;

/// Returns what a failure of a write means. `before` rows came before those of the COPY that failed.
pub(super) fn write_error(peer: &Peer, error: sqlx::Error, before: u64) -> Error {
    let sqlx::Error::Database(inner) = &error else { return peer.query_error(error) };
    let Some(told) = inner.try_downcast_ref::<PgDatabaseError>() else {
        return peer.query_error(error);
    };
    let kind = kind(told.code());
    let constraint = told.constraint().map(str::to_owned);
    let column = told.column().map(str::to_owned).or_else(|| copied(told.r#where()).1);
    let row = copied(told.r#where()).0.map(|line| before + line);
    let (detail, hint) = (told.detail().map(str::to_owned), told.hint().map(str::to_owned));
    let mut error = peer.query_error(error);
    if let Some(kind) = kind {
        error = error.with_kind(kind);
    }
    for (key, value) in
        [("constraint", constraint), ("column", column), ("row", row.map(|row| row.to_string()))]
    {
        if let Some(value) = value {
            error = error.or_context(key, value);
        }
    }
    if let Some(detail) = detail {
        error = error.with_detail(detail);
    }
    error.or_hint(|| hint)
}

fn kind(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "23502" => ErrorKind::NotNullViolation,
        "23503" => ErrorKind::ForeignKeyViolation,
        "23505" => ErrorKind::UniqueViolation,
        "23514" | "44000" => ErrorKind::CheckViolation,
        "22001" => ErrorKind::TextTooLong,
        "22003" => ErrorKind::OutOfRange,
        "22007" | "22008" => ErrorKind::InvalidDatetime,
        "22P02" | "22P03" | "22P05" | "22021" => ErrorKind::InvalidText,
        "428C9" => ErrorKind::GeneratedColumn,
        "21000" => ErrorKind::Cardinality,
        "40001" | "40P01" => ErrorKind::Serialization,
        "55P03" => ErrorKind::LockNotAvailable,
        "42P07" | "42710" => ErrorKind::DuplicateTable,
        "42P06" => ErrorKind::DuplicateSchema,
        "42701" => ErrorKind::DuplicateColumn,
        "42703" => ErrorKind::UndefinedColumn,
        "42P01" => ErrorKind::UndefinedTable,
        "3F000" => ErrorKind::UndefinedSchema,
        "42809" => ErrorKind::WrongObjectType,
        "42804" => ErrorKind::TypeMismatch,
        "42846" => ErrorKind::CannotCast,
        "42P10" | "42P16" => ErrorKind::InvalidStatement,
        "2BP01" => ErrorKind::DependentObjects,
        "57014" => ErrorKind::RemoteFailed,
        "53100" => ErrorKind::DiskFull,
        "54000" | "54011" => ErrorKind::LimitExceeded,
        "0A000" => ErrorKind::Unsupported,
        _ if code.starts_with("23") => ErrorKind::ConstraintViolation,
        _ => return None,
    })
}

/// Reads `COPY t, line 3, column n: "…"`.
fn copied(context: Option<&str>) -> (Option<u64>, Option<String>) {
    let Some(place) = context.and_then(|context| {
        context.lines().find_map(|line| line.trim().strip_prefix("COPY ")?.split_once(", line "))
    }) else {
        return (None, None);
    };
    let digits = place.1.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let column = place.1.split_once(", column ").map(|(_, name)| {
        let name = name.split_once(": ").map_or(name, |(name, _)| name);
        match place.0 {
            STAGED => name.strip_prefix("c_").unwrap_or(name).to_owned(),
            _ => name.to_owned(),
        }
    });
    (digits.parse().ok(), column)
}

/// Returns whether the connection was lost, so that what the server did last is not known.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::copied;

    #[test]
    fn copy_tells_the_row_and_the_column() {
        let told = copied(Some("COPY t, line 12, column n: \"x, column y\""));
        assert_eq!(told, (Some(12), Some("n".to_owned())));
        let told = copied(Some("COPY maru_stage, line 2, column c_n"));
        assert_eq!(told, (Some(2), Some("n".to_owned())));
        let told = copied(Some("SQL function\nCOPY t, line 3"));
        assert_eq!(told, (Some(3), None));
        assert_eq!(copied(Some("PL/pgSQL function f() line 3 at RAISE")), (None, None));
    }
}
