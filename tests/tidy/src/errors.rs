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
    let missing: Vec<_> = kinds().into_iter().filter(|kind| !shown.contains(kind)).collect();
    report(
        "show these kinds of error in a file under tests/slt/errors and name them in a comment there:",
        &missing,
    );
}
