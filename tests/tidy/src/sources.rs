//! Rules about single files: their heads, their length, what they must not say.

use crate::tree::{files, is_test, report, rust_files, without_tests};

#[test]
fn every_rust_file_says_at_its_head_what_it_is_for() {
    let broken: Vec<_> =
        rust_files().into_iter().filter(|f| !f.text.starts_with("//! ")).map(|f| f.path).collect();
    report("begin the file with `//! ` and a sentence that says what it is for:", &broken);
}

/// 150 to 400 lines are good, 600 are many; beyond 700 nobody reads a file from top to bottom.
#[test]
fn no_file_is_too_long_to_read() {
    let broken: Vec<_> = rust_files()
        .into_iter()
        .filter(|f| !is_test(&f.path))
        .map(|f| (without_tests(&f.text).lines().count(), f.path))
        .filter(|(lines, _)| *lines > 700)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    report(
        "split these files, 400 lines are a good length (unit tests at the end do not count):",
        &broken,
    );
}

#[test]
fn modules_are_files_named_after_them() {
    let broken: Vec<_> =
        rust_files().into_iter().filter(|f| f.path.ends_with("/mod.rs")).map(|f| f.path).collect();
    report("name it `foo.rs` beside the folder `foo/` instead of `foo/mod.rs`:", &broken);
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    // Put together here, so that this file does not break its own rule.
    let places = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/ho", "me/"].concat()];
    let mut broken = Vec::new();
    for file in files(|name| name != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            let starts_a_path = |place: &str| {
                line.match_indices(place).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/*:".contains(c))
                })
            };
            if places.iter().any(|place| starts_a_path(place)) {
                broken.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    report("say where a file lies from the root of the repository, or by a variable:", &broken);
}

#[test]
fn unfinished_work_is_not_kept_as_a_remark() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let mut broken = Vec::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            if line.contains("//") && marks.iter().any(|mark| line.contains(mark.as_str())) {
                broken.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    report("finish it, or return `Error::unsupported` and write it down in docs/notes:", &broken);
}
