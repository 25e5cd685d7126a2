//! What is in the repository: walking and reading files, reporting what breaks a rule.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    // Asked at run time, since a test built in one clone may be run from the cache in another.
    let here = std::env::var("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&here)
        .parent()
        .and_then(Path::parent)
        .expect("tests/tidy lies two folders down")
        .to_path_buf()
}

/// A text file of the repository.
pub(crate) struct Text {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All files whose name passes `wanted`, in order of their paths. Build outputs, data and hidden folders are left out,
/// except `.ci`; so is what is no UTF-8.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<Text> {
    let root = root();
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folders of the repository can be read") {
            let entry = entry.expect("folders of the repository can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("files have a type");
            let hidden = name.starts_with('.') && name != ".ci";
            if kind.is_dir()
                && !hidden
                && !["target", "maru-data", "shared"].contains(&name.as_str())
            {
                folders.push(entry.path());
            } else if kind.is_file() && !hidden && wanted(&name) {
                let path = entry.path();
                let relative = path.strip_prefix(&root).expect("it lies below the root");
                if let Ok(text) = fs::read_to_string(&path) {
                    found.push(Text { path: relative.to_string_lossy().replace('\\', "/"), text });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

pub(crate) fn rust_files() -> Vec<Text> {
    let files = files(|name| name.ends_with(".rs"));
    assert!(files.len() > 20, "the walk over the repository found only {} Rust files", files.len());
    files
}

/// The part of a Rust file before its unit tests.
pub(crate) fn without_tests(text: &str) -> &str {
    let at = text
        .find("#[cfg(test)]\nmod ")
        .filter(|at| !text[*at..].lines().nth(1).unwrap_or("").ends_with(';'));
    &text[..at.unwrap_or(text.len())]
}

/// Is this file made of tests only?
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_test.rs")
        || path.contains("/conformance")
}

/// Fails with one line for each thing that breaks the rule.
pub(crate) fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}
