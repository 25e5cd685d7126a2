//! Rules about who may know whom.

use crate::manifests::{Manifest, manifests};
use crate::tree::{Text, is_test, report, rust_files, without_tests};

/// `name` as a path at the beginning of `name::…` or in `use name…`, in code and not in a comment.
fn names_crate(file: &Text, name: &str) -> Option<usize> {
    without_tests(&file.text).lines().position(|line| {
        let code = line.split("//").next().unwrap_or("");
        code.match_indices(name).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = &code[at + name.len()..];
            let starts = !before.is_some_and(|c| c.is_alphanumeric() || "_.\"".contains(c));
            starts
                && (after.starts_with("::")
                    || (code.trim_start().starts_with("use ") && after.starts_with([';', ' '])))
        })
    })
}

#[test]
fn protocols_are_named_only_in_the_servers() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let at_home = file.path.starts_with("src/server") || file.path.starts_with("src/console");
        if at_home || is_test(&file.path) || file.path.starts_with("benches/") {
            continue;
        }
        for name in ["pgwire", "tonic", "arrow_flight", "axum"] {
            if let Some(line) = names_crate(&file, name) {
                broken.push(format!("{}:{}: {name}", file.path, line + 1));
            }
        }
    }
    report("pgwire, tonic, arrow_flight and axum belong to src/server and src/console:", &broken);
}

/// Each implementation costs seconds of type checking and is one more place where pushdown can go wrong.
#[test]
fn table_providers_are_few() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let allowed = file.path.starts_with("connectors/api/src/") || file.path.starts_with("src/");
        let implements = without_tests(&file.text).lines().any(|line| {
            line.trim_start().starts_with("impl") && line.contains("TableProvider for ")
        });
        if implements && !allowed && !is_test(&file.path) {
            broken.push(file.path);
        }
    }
    report(
        "implement `maru_connect::Table`; only connectors/api makes a DataFusion table of it:",
        &broken,
    );
}

/// What a package in this folder may depend on among our own packages.
fn allowed(manifest: &Manifest) -> Option<&'static [&'static str]> {
    Some(match manifest.folder.as_str() {
        "" => return None,
        "sql/core" | "tests/tidy" => &[],
        "sql/dialect" => &["maru-core", "maru-connect"],
        "connectors/api" => &["maru-core"],
        // The Hive connector reads the same file formats and stores as the file connectors.
        "connectors/hive" => &["maru-core", "maru-connect", "maru-files"],
        "udfs/ml/kernels" => &["maru-core"],
        "udfs/ml/onnx" => &["maru-core", "maru-ml-kernels"],
        "udfs/ml" => &["maru-core", "maru-ml-kernels", "maru-ml-onnx", "maru-sql"],
        "udfs/clean" => &["maru-core", "maru-ml-kernels"],
        folder if folder.starts_with("connectors/") => &["maru-core", "maru-connect"],
        _ => return None,
    })
}

#[test]
fn dependencies_point_one_way() {
    let mut broken = Vec::new();
    for manifest in manifests() {
        let Some(allowed) = allowed(&manifest) else { continue };
        for name in &manifest.dependencies {
            let ours = name == "maru" || name.starts_with("maru-");
            if ours && !allowed.contains(&name.as_str()) {
                broken.push(format!("{}/Cargo.toml: {name}", manifest.folder));
            }
        }
    }
    report(
        "connectors see only connectors/api and sql/core, the language never a connector:",
        &broken,
    );
}
