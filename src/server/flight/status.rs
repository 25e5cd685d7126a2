//! Errors as gRPC tells them: a code for programs, and a text with SQLSTATE, detail and hint for people.

use maru_core::{Blame, Error, ErrorKind};
use tonic::{Code, Status};

/// Characters of a message; gRPC sends it in a header, and headers are bounded.
const MESSAGE_CHARS_MAX: usize = 2000;

pub(super) fn status(error: Error) -> Status {
    let report = error.report();
    let text = report.strip_prefix("ERROR:  ").unwrap_or(&report);
    let text = match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    Status::new(code(error.kind()), text)
}

fn code(kind: ErrorKind) -> Code {
    use ErrorKind as K;
    match kind {
        K::UndefinedTable
        | K::UndefinedSchema
        | K::UndefinedCatalog
        | K::UndefinedObject
        | K::RemoteTableNotFound
        | K::FileNotFound => Code::NotFound,
        K::DuplicateTable | K::DuplicateObject | K::DuplicateSchema => Code::AlreadyExists,
        K::Unsupported | K::RemoteTypeUnsupported => Code::Unimplemented,
        K::NotAuthenticated => Code::Unauthenticated,
        K::NotAllowed | K::ReadOnly => Code::PermissionDenied,
        K::Cancelled => Code::Cancelled,
        K::TimedOut => Code::DeadlineExceeded,
        K::OutOfMemory | K::DiskFull | K::TooManyConnections | K::QueueFull | K::LimitExceeded => {
            Code::ResourceExhausted
        }
        K::OutOfRange => Code::OutOfRange,
        K::DependentObjects | K::TransactionAborted => Code::FailedPrecondition,
        K::RemoteUnavailable | K::ConnectionFailed | K::ShuttingDown => Code::Unavailable,
        K::DataCorrupted | K::BadFileFormat => Code::DataLoss,
        K::Internal => Code::Internal,
        kind if kind.blame() == Blame::Client => Code::InvalidArgument,
        kind if kind.blame() == Blame::Bug => Code::Internal,
        _ => Code::Unknown,
    }
}

/// Returns the refusal of something the protocol has and Maru does not.
pub(super) fn unsupported(what: &str) -> Status {
    status(Error::unsupported(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_holds_what_a_user_needs() {
        let error = Error::new(ErrorKind::UndefinedTable, "table \"t\" does not exist")
            .with_detail("It was dropped.")
            .with_hint("Did you mean \"tt\"?");
        let status = status(error);
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.message(),
            "42P01: table \"t\" does not exist\nDETAIL:  It was dropped.\nHINT:  Did you mean \"tt\"?"
        );
    }

    #[test]
    fn codes_follow_the_kind() {
        let of = |kind| status(Error::new(kind, "x")).code();
        assert_eq!(of(ErrorKind::Syntax), Code::InvalidArgument);
        assert_eq!(of(ErrorKind::OutOfMemory), Code::ResourceExhausted);
        assert_eq!(of(ErrorKind::Cancelled), Code::Cancelled);
        assert_eq!(of(ErrorKind::RemoteFailed), Code::Unknown);
        let long = status(Error::new(ErrorKind::Syntax, "가".repeat(10_000)));
        assert!(long.message().chars().count() <= MESSAGE_CHARS_MAX + 1);
    }
}
