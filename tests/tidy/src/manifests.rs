//! Rules about the workspace's Cargo.toml files, read line by line: they are ours and plainly written.

use std::fs;

use crate::tree::{report, root};

pub(crate) struct Manifest {
    /// From the root; empty for the root package.
    pub(crate) folder: String,
    pub(crate) text: String,
    /// Names in `[dependencies]`, as written; those for tests and build scripts are not in it.
    pub(crate) dependencies: Vec<String>,
    /// Names in every section of dependencies.
    pub(crate) all_dependencies: Vec<String>,
}

/// The lines of all sections `wanted` accepts, without comments.
fn section(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or("").trim();
        if line.starts_with('[') {
            inside = wanted(line.trim_matches(['[', ']']));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn names(lines: &[String]) -> Vec<String> {
    lines.iter().filter_map(|l| l.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

pub(crate) fn manifests() -> Vec<Manifest> {
    let top =
        fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a Cargo.toml");
    let list = top
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("it lists members");
    let members: Vec<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(members.len() >= 8, "read only {} members of the workspace", members.len());
    members
        .into_iter()
        .map(|member| {
            let folder = if member == "." { String::new() } else { member };
            let text = fs::read_to_string(root().join(&folder).join("Cargo.toml"))
                .expect("a member has a Cargo.toml");
            let dependencies = names(&section(&text, |name| name == "dependencies"));
            let all_dependencies = names(&section(&text, |name| {
                name.ends_with("dependencies") && !name.starts_with("workspace")
            }));
            Manifest { folder, text, dependencies, all_dependencies }
        })
        .collect()
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let broken: Vec<_> = manifests()
        .into_iter()
        .filter(|m| section(&m.text, |name| name == "lints") != ["workspace = true"])
        .map(|m| format!("{}/Cargo.toml", m.folder))
        .collect();
    report("add `[lints]` and `workspace = true`:", &broken);
}

#[test]
fn versions_stand_in_one_place() {
    let mut broken = Vec::new();
    for manifest in manifests() {
        let lines = section(&manifest.text, |name| {
            name.ends_with("dependencies") && !name.starts_with("workspace")
        });
        for line in lines.iter().filter(|l| !l.contains("workspace = true")) {
            broken.push(format!("{}/Cargo.toml: {line}", manifest.folder));
        }
    }
    report("name the version in the root Cargo.toml and write `workspace = true` here:", &broken);
}

#[test]
fn no_version_is_listed_for_nothing() {
    let all = manifests();
    let top = all.iter().find(|m| m.folder.is_empty()).expect("the root is a package");
    let used: Vec<_> = all.iter().flat_map(|m| &m.all_dependencies).collect();
    let broken: Vec<_> = names(&section(&top.text, |name| name == "workspace.dependencies"))
        .into_iter()
        .filter(|name| !used.contains(&name))
        .collect();
    report("no package uses these entries of [workspace.dependencies]; take them out:", &broken);
}
