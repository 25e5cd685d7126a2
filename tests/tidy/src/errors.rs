//! Every kind of error is shown to a user in at least one snapshot under tests/slt/errors.

use crate::tree::{files, report, rust_files};

/// The names in the list of kinds: lines such as `Syntax = "42601", Client, false;`.
fn kinds() -> Vec<String> {
    let all = rust_files();
    let file = all
        .iter()
        .find(|f| f.path == "sql/core/src/error/kind.rs")
        .expect("the kinds of error have a file");
    let (_, list) = file.text.rsplit_once("kinds! {").expect("the kinds of error are one list");
    let names: Vec<_> = list
        .lines()
        .filter_map(|line| line.trim().split_once(" = \""))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert!(names.len() > 30, "read only {} kinds of error", names.len());
    names
}

/// Kinds that no SQL text on an embedded engine can bring about, and the test that does.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("NotAuthenticated", "28P01", "src/session/tests.rs"),
    ("RemoteTableNotFound", "HV00R", "connectors/files/src/tests/errors.rs"),
    ("RemoteTypeUnsupported", "HV004", "connectors/hive/src/table/tests.rs"),
    ("UniqueViolation", "23505", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("ForeignKeyViolation", "23503", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("ConstraintViolation", "23000", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("GeneratedColumn", "428C9", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("LockNotAvailable", "55P03", "connectors/rdbms/src/sqlite/write/tests.rs"),
    ("TextTooLong", "22001", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("CheckViolation", "23514", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("Deadlock", "40P01", "src/engine/locks.rs"),
    ("Serialization", "40001", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("Cardinality", "21000", "connectors/rdbms/src/postgres/write/tests.rs"),
    ("RemoteFailed", "HV000", "connectors/rdbms/src/postgres/tests.rs"),
    ("PushdownDiffers", "HV000", "connectors/memory/src/tests/verify.rs"),
    ("RemoteAuthentication", "HV00L", "connectors/files/src/tests/services.rs"),
    ("BadCopyFormat", "22P04", "src/server/pg/copy_in/lines.rs"),
    ("BadBinary", "22P03", "src/server/pg/copy_in/columns.rs"),
    ("BadEncoding", "22021", "src/server/pg/codec.rs"),
    ("Cancelled", "57014", "src/session/tests.rs"),
    ("TooManyConnections", "53300", "src/server/tests.rs"),
    ("QueueFull", "53000", "src/engine/admission.rs"),
    ("ProtocolViolation", "08P01", "src/session/tests.rs"),
    ("ConfigInvalid", "F0000", "src/store/tests.rs"),
    ("LockedDataDir", "55006", "src/owner.rs"),
    ("ShuttingDown", "57P01", "src/server/tests.rs"),
];

/// Kinds for what no test can bring about at will: a full disk, a failing one, a broken connection, our own defects.
const UNTESTED: &[&str] = &["DiskFull", "Io", "ConnectionFailed", "CommitUnknown", "Internal"];

#[test]
fn kinds_shown_elsewhere_are_shown_there() {
    let all = rust_files();
    let missing: Vec<_> = ELSEWHERE
        .iter()
        .filter(|(kind, sqlstate, path)| {
            let shows = |text: &str| {
                text.contains(sqlstate) || text.contains(&format!("ErrorKind::{kind}"))
            };
            !all.iter().any(|f| f.path == *path && shows(&f.text))
        })
        .map(|(kind, _, path)| format!("{kind} in {path}"))
        .collect();
    report("these files no longer test the kind of error they are said to:", &missing);
}

#[test]
fn every_kind_of_error_has_a_snapshot() {
    let shown: Vec<_> = files(|name| name.ends_with(".slt"))
        .into_iter()
        .filter(|f| f.path.starts_with("tests/slt/errors/"))
        .flat_map(|f| {
            let comments = f.text.lines().filter(|l| l.starts_with('#'));
            comments
                .flat_map(|l| l.split(|c: char| !c.is_alphanumeric()))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = kinds()
        .into_iter()
        .filter(|kind| !shown.contains(kind) && !UNTESTED.contains(&kind.as_str()))
        .filter(|kind| !ELSEWHERE.iter().any(|(elsewhere, _, _)| elsewhere == kind))
        .collect();
    report(
        "show these kinds of error in a file under tests/slt/errors and name them in a comment there:",
        &missing,
    );
}
