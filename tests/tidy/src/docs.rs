//! Rules about the documents.

use std::path::Path;

use crate::tree::{files, report, root};

/// The targets of `[text](target)` in a Markdown text, outside of code blocks.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second piece between back ticks is code.
        let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for rest in prose.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files(|name| name.ends_with(".md")) {
        let folder = root().join(Path::new(&file.path).parent().unwrap_or(Path::new("")));
        for link in links(&file.text) {
            let target = link.split('#').next().unwrap_or("");
            let outside = link.contains("://") || link.starts_with("mailto:");
            if !target.is_empty() && !outside && !folder.join(target).exists() {
                broken.push(format!("{}: {link}", file.path));
            }
        }
    }
    report("these links lead nowhere:", &broken);
}

#[test]
fn links_are_found() {
    let text = "see [a](docs/a.md) and [b](b.md#x), `[c](c.md)`\n```\n[d](d.md)\n```\n";
    assert_eq!(links(text), ["docs/a.md", "b.md#x"]);
}
