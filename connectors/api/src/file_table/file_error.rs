//! Errors that say which file they are about.

use std::panic::{AssertUnwindSafe, catch_unwind};

use datafusion::error::DataFusionError;
use futures::FutureExt;
use maru_core::{Error, ErrorKind};
use object_store::path::Path;

/// Adds the file to an error of reading it. A file that is gone and a corrupt one are told as such; an error that
/// names the file already stays as it is.
pub(super) fn in_file(path: &Path, error: impl Into<Error>) -> Error {
    let error = error.into();
    let text = error.message();
    // Parquet's reader flattens the store's error into text.
    if error.kind() == ErrorKind::DataCorrupted && text.contains("not found: ") {
        return Error::new(ErrorKind::FileNotFound, format!("file \"{path}\" does not exist"))
            .with_hint(
                "Another program may have removed it while the statement ran. Run the statement again.",
            );
    }
    // A store tells of a condition, a part, or an end that the file does not have any more.
    let changed = ["precondition", "Precondition", "Requested range was invalid", "412"];
    if error.kind() == ErrorKind::RemoteFailed && changed.iter().any(|what| text.contains(what)) {
        return changed_meanwhile(path);
    }
    match error.kind() {
        ErrorKind::DataCorrupted if !text.contains("file \"") => {
            let what = text
                .strip_prefix("invalid Parquet file: ")
                .map_or(text.as_str(), |what| what.trim_start_matches("Parquet error: "));
            let what = match what.split_once(&format!("for file {path}: ")) {
                Some((_, rest)) => rest.trim_start_matches("Parquet error: "),
                None => what,
            };
            Error::new(
                ErrorKind::DataCorrupted,
                format!("file \"{path}\" is not valid Parquet: {what}"),
            )
            .with_hint("The file may be cut off or of another format. Write it again or remove it.")
        }
        ErrorKind::Cancelled
        | ErrorKind::TimedOut
        | ErrorKind::OutOfMemory
        | ErrorKind::FileNotFound
        | ErrorKind::BadFileFormat
        | ErrorKind::DataCorrupted => error,
        _ if text.contains(path.as_ref()) => error,
        _ => error.with_context("file", path.to_string()),
    }
}

/// The file is not the one that was listed any more.
pub(super) fn changed_meanwhile(path: &Path) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("file \"{path}\" changed while the statement read it"),
    )
    .with_hint("Run the statement again once the program that writes the file is done.")
}

/// Reads a part of a file whose bytes may be anything: where the reader panics, the file is corrupt. (parquet 59.3 cuts a
/// range without looking when a footer claims to be longer than its file.)
pub(super) async fn read_untrusted<T>(
    path: &Path,
    read: impl Future<Output = Result<T, DataFusionError>>,
) -> Result<T, Error> {
    match AssertUnwindSafe(read).catch_unwind().await {
        Ok(result) => result.map_err(|error| in_file(path, error)),
        Err(_) => Err(makes_no_sense(path)),
    }
}

/// [`read_untrusted`] for what does not wait.
pub(super) fn untrusted<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, DataFusionError>,
) -> Result<T, DataFusionError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(makes_no_sense(path).into()))
        .map_err(|error| df_in_file(path, error))
}

/// The reader panicked over the bytes of the file.
pub(super) fn makes_no_sense(path: &Path) -> Error {
    in_file(path, Error::new(ErrorKind::DataCorrupted, "its contents make no sense"))
}

/// [`in_file`] for DataFusion's error type.
fn df_in_file(path: &Path, error: DataFusionError) -> DataFusionError {
    in_file(path, error).into()
}
